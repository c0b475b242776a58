"""Statistics of a job and the clean-up of executions as JSON."""

import re
from datetime import date
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from cronsvc.domain.execution import Trigger
from cronsvc.web.models import AnswerModel, QueryModel, RequestModel

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DAY_WORDS = "must be a day such as 2026-01-31, in UTC"


def _read_day(value: Any) -> date:
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            day = date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{_DAY_WORDS}; {value} is not in the calendar") from None
        if 1970 <= day.year <= 9000:
            return day
    raise ValueError(_DAY_WORDS)


QueryDay = Annotated[
    date, BeforeValidator(_read_day), WithJsonSchema({"type": "string", "format": "date", "examples": ["2026-01-31"]})
]


class StatisticsQuery(QueryModel):
    """Both days are included. The last 30 days unless said; at most 366."""

    first: Annotated[QueryDay | None, Field(alias="from")] = None
    last: Annotated[QueryDay | None, Field(alias="to")] = None


class CountsAnswer(AnswerModel):
    """Executions that have ended. `attempts` counts the first tries too; durations are those of the successful ones."""

    success: int
    failed: int
    skipped: int
    cancelled: int
    attempts: int
    duration_ms_average: float | None
    duration_ms_min: int | None
    duration_ms_max: int | None


class DayAnswer(CountsAnswer):
    day: date
    trigger: Trigger


class StatisticsAnswer(AnswerModel):
    """A job's executions by day (UTC, of the scheduled time) and trigger, also those whose rows are gone.

    Days without any are left out.
    """

    first: Annotated[date, Field(alias="from")]
    last: Annotated[date, Field(alias="to")]
    total: CountsAnswer
    days: list[DayAnswer]


class CleanupIn(RequestModel):
    """Executions that ended longer ago than this are deleted; they stay in the statistics."""

    grace_period_hours: Annotated[int, Field(json_schema_extra={"minimum": 0, "maximum": 87_600})] = 24


class CleanupAnswer(AnswerModel):
    """`more`: the call stopped at its bound, and the same call again deletes further ones."""

    success: bool
    message: str
    deleted: int
    more: bool
