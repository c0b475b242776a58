"""Calendars and maintenance windows as JSON."""

import re
from datetime import date
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from cronsvc.domain.maintenance import During
from cronsvc.services.paging import IdSort
from cronsvc.web.job_models import Cron, SlugText, Timezone, documented
from cronsvc.web.models import AnswerModel, QueryModel, RequestModel
from cronsvc.web.scalars import Cursor, Instant, Limit, QueryFlag

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class Weekday(StrEnum):
    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


WEEKDAYS = tuple(Weekday)
"""In the order of ISO 8601, which counts them from 1."""


def read_day(value: Any) -> date:
    """Return the date; ValueError says what one looks like."""
    if isinstance(value, date):
        return value
    words = "must be a date such as 2026-12-25"
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise ValueError(words)
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{words}; {value} is not in the calendar") from None


Day = Annotated[
    date,
    BeforeValidator(read_day),
    PlainSerializer(date.isoformat, return_type=str),
    WithJsonSchema({"type": "string", "format": "date", "examples": ["2026-12-25"]}),
]
Weekend = Annotated[
    list[Weekday], documented(description="weekdays that are never working days, such as saturday and sunday")
]


class ClosedDateIn(RequestModel):
    """One date on which nothing runs."""

    date: Day
    label: Annotated[str, documented(maxLength=200)] = ""


class CalendarIn(RequestModel):
    """A calendar: its dates are read in the time zone of each job that follows it."""

    name: SlugText
    namespace: SlugText | None = None
    description: Annotated[str, documented(maxLength=10_000)] = ""
    weekend: Weekend = Field(default_factory=list)
    dates: Annotated[list[ClosedDateIn], documented(maxItems=2000)] = Field(default_factory=list)


class ClosedDate(AnswerModel):
    date: Day
    label: str


class CalendarAnswer(AnswerModel):
    """A calendar; `jobs` is how many jobs follow it."""

    id: int
    name: str
    namespace: str
    description: str
    weekend: list[Weekday]
    dates: list[ClosedDate]
    jobs: int
    revision: int
    created_by: str
    created_at: Instant
    updated_at: Instant


class ImportQuery(QueryModel):
    namespace: Annotated[str, Field(max_length=63)] | None = None


class ImportAnswer(AnswerModel):
    """The calendar as it is now; how many dates the file closes, and how many of its events close none."""

    calendar: CalendarAnswer
    dates: int
    ignored_events: int


class CalendarList(AnswerModel):
    items: list[CalendarAnswer]
    next_cursor: str | None


class WindowIn(RequestModel):
    """A maintenance window: once from startsAt to endsAt, or for durationSeconds whenever cronExpression says.

    It concerns the jobs that match namespace, queue and all of the tags, as far as they are given.
    """

    name: Annotated[str, documented(minLength=1, maxLength=200)]
    namespace: SlugText | None = None
    tags: Annotated[list[str], documented(maxItems=50)] = Field(default_factory=list)
    queue: SlugText | None = None
    starts_at: Instant | None = None
    ends_at: Instant | None = None
    cron_expression: Cron | None = None
    timezone: Timezone = "UTC"
    duration_seconds: Annotated[int, documented(minimum=1, maximum=2_678_400)] | None = None
    during: During
    spread_seconds: Annotated[
        int,
        documented(minimum=0, maximum=86_400, description="what was held is let go over so long after the end"),
    ] = 0
    coalesce: Annotated[bool, documented(description="of each job only the latest held execution stays")] = False
    reason: Annotated[str, documented(maxLength=1000)] = ""


class WindowAnswer(AnswerModel):
    """A maintenance window; `held` is how many executions it holds now."""

    id: int
    name: str
    namespace: str | None
    tags: list[str]
    queue: str | None
    starts_at: Instant | None
    ends_at: Instant | None
    cron_expression: str | None
    timezone: str
    duration_seconds: int | None
    during: During
    spread_seconds: int
    coalesce: bool
    reason: str
    held: int
    revision: int
    created_by: str
    created_at: Instant
    updated_at: Instant
    cancelled_at: Instant | None
    cancelled_by: str | None


class WindowList(AnswerModel):
    items: list[WindowAnswer]
    next_cursor: str | None


class CalendarQuery(QueryModel):
    namespace: Annotated[str, Field(max_length=63)] | None = None
    name: Annotated[str, Field(max_length=63)] | None = None
    sort: IdSort = IdSort.NEWEST
    cursor: Cursor | None = None
    limit: Limit = 50


class WindowQuery(QueryModel):
    """`all`: those that are over or cancelled, too. `namespace`: those for it, without those for everybody."""

    all: QueryFlag = False
    namespace: Annotated[str, Field(max_length=63)] | None = None
    sort: IdSort = IdSort.NEWEST
    cursor: Cursor | None = None
    limit: Limit = 50
