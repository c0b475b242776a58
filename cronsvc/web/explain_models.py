"""The explanation of an instant as JSON."""

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from cronsvc.domain.evidence import Verdict
from cronsvc.web.models import AnswerModel, QueryModel
from cronsvc.web.run_models import AttemptAnswer, ExecutionAnswer
from cronsvc.web.scalars import INSTANT_WORDS, Instant, read_instant

_WALL = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(?::\d{2})?", re.ASCII)
_WORDS = f"{INSTANT_WORDS}, or without one a local time in the time zone of the job, such as 2026-03-08T02:30"


def read_moment(value: Any) -> datetime:
    """Return an instant in UTC, or a naive wall time; ValueError says what both look like."""
    try:
        if isinstance(value, str) and _WALL.fullmatch(value):
            return datetime.fromisoformat(value.upper())
        return read_instant(value)
    except ValueError:
        raise ValueError(_WORDS) from None


Moment = Annotated[
    datetime,
    BeforeValidator(read_moment),
    WithJsonSchema({"type": "string", "examples": ["2026-03-08T07:00:00Z", "2026-03-08T02:30"]}),
]


class ExplainQuery(QueryModel):
    """Now, unless said. Without an offset `at` is a local time in the job's time zone, read as its schedule would."""

    at: Moment | None = None


class StepAnswer(AnswerModel):
    """One thing that had a say. `what` is stable: revision, schedule, timezone, pause, record, attempt, …"""

    what: str
    says: str
    facts: dict[str, Any]


class NearestAnswer(AnswerModel):
    """The instants around, by the schedule that was in force."""

    before: Instant | None
    after: Instant | None


class ExplanationAnswer(AnswerModel):
    """Why a job did or did not run at an instant; `summary` says it in words, `steps` what it rests on.

    `missing` is a defect of cronsvc or of who deleted its rows: the instant was due and nothing accounts for it.
    """

    at: Instant
    job_id: int
    job_name: str
    verdict: Verdict
    summary: str
    steps: list[StepAnswer]
    nearest: NearestAnswer
    execution: ExecutionAnswer | None
    attempts: list[AttemptAnswer]
