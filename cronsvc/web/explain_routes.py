"""Why a job did or did not run at an instant: the call, and the page that says the same."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic.alias_generators import to_camel
from starlette.responses import Response

from cronsvc.domain.evidence import Explanation, Verdict
from cronsvc.services.access import Role
from cronsvc.web import views
from cronsvc.web.answers import answer
from cronsvc.web.explain_models import ExplainQuery, ExplanationAnswer, NearestAnswer, StepAnswer
from cronsvc.web.mapping import attempt_answer, execution_answer
from cronsvc.web.page import Pages
from cronsvc.web.page_models import WhyQuery
from cronsvc.web.routing import Call, Door, Route
from cronsvc.web.scalars import write_instant

_CLASSES = {
    Verdict.RAN: "good",
    Verdict.RUNNING: "busy",
    Verdict.WAITING: "wait",
    Verdict.HELD: "wait",
    Verdict.PAUSED: "wait",
    Verdict.DUE: "wait",
    Verdict.FAILED: "bad",
    Verdict.MISSING: "bad",
    Verdict.QUARANTINED: "bad",
}


async def explain(call: Call) -> Response:
    """Why a job, live or deleted, did or did not run at an instant."""
    query: ExplainQuery = call.query
    return answer(
        explanation_answer(await call.services.explaining.explain(call.id_in_path("jobId"), call.caller, at=query.at))
    )


def explanation_answer(explanation: Explanation) -> ExplanationAnswer:
    """Return an explanation as the API shows it."""
    execution = explanation.execution
    return ExplanationAnswer(
        at=explanation.at,
        job_id=explanation.job_id,
        job_name=explanation.job_name,
        verdict=explanation.verdict,
        summary=explanation.summary,
        steps=[StepAnswer(what=step.what, says=step.says, facts=_facts(step.facts)) for step in explanation.steps],
        nearest=NearestAnswer(before=explanation.before, after=explanation.after),
        execution=None if execution is None else execution_answer(execution),
        attempts=[attempt_answer(attempt) for attempt in explanation.attempts],
    )


def _facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {to_camel(name): _value(value) for name, value in facts.items()}


def _value(value: Any) -> Any:
    """Facts are instants, plain values, and lists and objects of them."""
    if isinstance(value, datetime):
        return write_instant(value)
    if isinstance(value, Mapping):
        return _facts(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_value(each) for each in value]
    return value


class ExplainPages:
    """The handler of the page; `pages` renders."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def why(self, call: Call) -> Response:
        """The explanation for people; never fetches itself again, for it is about one instant."""
        query: WhyQuery = call.query
        explanation = await call.services.explaining.explain(call.id_in_path("jobId"), call.caller, at=query.at)
        zone = next((step.facts["timezone"] for step in explanation.steps if step.what == "timezone"), "UTC")
        return self._pages.render(
            "why.html",
            call.caller,
            None,
            explanation=explanation,
            verdict=explanation.verdict.value.replace("_", " "),
            verdict_class=_CLASSES.get(explanation.verdict, "idle"),
            execution=None if explanation.execution is None else views.execution_view(explanation.execution),
            timezone=zone,
        )


EXPLAIN_ROUTES = (
    Route(
        "GET",
        "/api/v1/jobs/{jobId}/explain",
        Role.VIEWER,
        explain,
        "explainJob",
        "Why a job did or did not run at an instant",
        "jobs",
        query=ExplainQuery,
        answer=ExplanationAnswer,
    ),
)


def explain_page_routes(pages: Pages) -> tuple[Route, ...]:
    """The browser's route of this file."""
    own = ExplainPages(pages)
    return (
        Route(
            "GET", "/jobs/{jobId}/why", Role.VIEWER, own.why, "pageWhy", "Why", "page", door=Door.PAGE, query=WhyQuery
        ),
    )
