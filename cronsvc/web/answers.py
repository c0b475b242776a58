"""Models as responses."""

from collections.abc import Mapping

from starlette.responses import Response

from cronsvc.web.models import AnswerModel


def answer(model: AnswerModel, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return the model as JSON in its API spelling."""
    return Response(
        model.model_dump_json(by_alias=True),
        status_code=status,
        headers=dict(headers or {}),
        media_type="application/json",
    )
