"""Schedules as JSON: the next fires of a job, and a schedule tried out without one."""

from typing import Annotated

from pydantic import Field

from cronsvc.domain.calendars import CalendarRule
from cronsvc.domain.maintenance import During
from cronsvc.web.job_models import CalendarName, Cron, SlugText, Timezone
from cronsvc.web.models import AnswerModel, QueryModel, RequestModel
from cronsvc.web.scalars import EverySeconds, Instant, QueryCount


class UpcomingQuery(QueryModel):
    count: Annotated[QueryCount, Field(ge=1, le=1000)] = 10


class InWindow(AnswerModel):
    """An instant that lies in a maintenance window: it will not run (skip), or wait for the end (hold)."""

    fire_time: Instant
    window_id: int
    name: str
    during: During
    until: Instant


class UpcomingAnswer(AnswerModel):
    """The next instants that will fire: none while the job is held back without an end.

    `inWindows`: which of them lie in a maintenance window, as far as is known now.
    """

    fire_times: list[Instant]
    description: str
    in_windows: list[InWindow]


class PreviewIn(RequestModel):
    """A schedule to try out: exactly one of cronExpression, every and runAt. `after` is now unless given."""

    cron_expression: Cron | None = None
    every: EverySeconds | None = None
    run_at: Instant | None = None
    timezone: Timezone = "UTC"
    start_at: Instant | None = None
    end_at: Instant | None = None
    calendar: CalendarName | None = None
    calendar_rule: CalendarRule = CalendarRule.SKIP
    namespace: Annotated[SlugText | None, Field(description="of the calendar")] = None
    after: Instant | None = None
    count: Annotated[int, Field(ge=1, le=1000)] = 10


class PreviewAnswer(AnswerModel):
    fire_times: list[Instant]
    description: str
