"""`fields`: answers of a list with the members that the caller names and no others."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field
from starlette.responses import Response

from cronsvc.errors import InvalidInput
from cronsvc.web.answers import answer
from cronsvc.web.models import AnswerModel, api_names

Fields = Annotated[
    str,
    Field(max_length=1000, description="members of each item to answer with, separated by commas; id is always there"),
]


class SparseList(AnswerModel):
    """A page of items with the members that `fields` names."""

    items: list[dict[str, Any]]
    next_cursor: str | None


def listed(page: AnswerModel, items: Sequence[AnswerModel], item: type[AnswerModel], fields: str | None) -> Response:
    """Answer with a page, or with what `fields` leaves of its items. InvalidInput names what no item has."""
    if fields is None:
        return answer(page)
    wanted = dict.fromkeys(["id", *(name.strip() for name in fields.split(","))])
    known = api_names(item)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise InvalidInput.of("fields", f"has {unknown[0][:40]!r}; known here: {', '.join(known)}")
    whole = [each.model_dump(mode="json", by_alias=True) for each in items]
    sparse = [{name: each[name] for name in wanted} for each in whole]
    cursor: str | None = getattr(page, "next_cursor", None)
    return answer(SparseList(items=sparse, next_cursor=cursor))
