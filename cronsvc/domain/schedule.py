"""Schedules: the one set of functions that preview, backfill, forecast and firing share.

A schedule is a cron expression, an interval or one instant, bounded by an optional start and end, perhaps with a
calendar (`calendars`). Promises: every instant is aware, in UTC and a whole second; the next one is always later than
the one given, so that iterating and starting afresh agree; times around clock changes follow the Debian rule (`zones`).
`next_fire`, `fires_between` and `last_fire` speak of what runs; `next_instant`, `instants_between` and `last_instant`
of what the ledger accounts for, which a calendar makes more. Naive datetimes are refused.

What is accepted is decided in `schedule_validation`. croniter is here as a second opinion and never as the clock: when
a schedule is defined, its reading of the fields must equal ours wherever it is known to be right.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from dataclasses import field as a_field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache, partial
from zoneinfo import ZoneInfo

from croniter import CroniterError, croniter

from cronsvc.domain import cron, spread, words, zones
from cronsvc.domain.calendars import CalendarRule, ClosedDays, Working
from cronsvc.domain.cron_syntax import FIELDS, CronField, CronSyntaxError
from cronsvc.domain.steps import Step, between, latest

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_ONE_MICROSECOND = timedelta(microseconds=1)


class ScheduleError(ValueError):
    """A schedule that is not accepted: `field` is its API name, `reason` says what is wrong and what would be right."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class ParserDisagreementError(RuntimeError):
    """Our parser and croniter read a plain expression differently: a defect in one of them, not in the input."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job runs: exactly one of `cron_expression` (H already resolved), `every_seconds` and `run_at`.

    An interval's instants are `anchor + k * every_seconds`, for any whole k; without an anchor they are counted from
    the Unix epoch. `start_at` and `end_at` are inclusive. `closed_days` is what the calendar of that name holds:
    whoever loads a schedule brings it along, and one whose calendar is not there cannot be asked for instants.
    """

    cron_expression: str | None = None
    every_seconds: int | None = None
    run_at: datetime | None = None
    timezone: str = "UTC"
    anchor: datetime | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None
    calendar: str | None = None
    calendar_rule: CalendarRule = CalendarRule.SKIP
    closed_days: ClosedDays | None = a_field(default=None, compare=False)


def next_fire(schedule: Schedule, after: datetime) -> datetime | None:
    """Return the first instant strictly after `after`; None when there is none (for cron: within 100 years).

    Cron results are remembered per (expression, timezone, after): a herd of equal jobs costs one computation.
    """
    return _step(schedule, remember=True)(in_utc("after", after))


def next_instant(schedule: Schedule, after: datetime) -> datetime | None:
    """Return the first instant strictly after `after` that the ledger accounts for, run or not: a cursor's place."""
    return _step(schedule, remember=True, every=True)(in_utc("after", after))


def fires_between(schedule: Schedule, after: datetime, until: datetime, limit: int) -> list[datetime]:
    """Return the instants t with after < t <= until in order, at most `limit` of them."""
    return between(_step(schedule), in_utc("after", after), in_utc("until", until), limit)


def instants_between(schedule: Schedule, after: datetime, until: datetime, limit: int) -> list[datetime]:
    """`fires_between` for every instant that the ledger accounts for."""
    return between(_step(schedule, every=True), in_utc("after", after), in_utc("until", until), limit)


def last_fire(schedule: Schedule, after: datetime, until: datetime) -> datetime | None:
    """Return the latest instant t with after < t <= until; None when there is none."""
    return latest(_step(schedule), in_utc("after", after), in_utc("until", until))


def last_instant(schedule: Schedule, after: datetime, until: datetime) -> datetime | None:
    """`last_fire` for every instant that the ledger accounts for."""
    return latest(_step(schedule, every=True), in_utc("after", after), in_utc("until", until))


def is_closed(schedule: Schedule, instant: datetime) -> bool:
    """Whether an instant that the ledger accounts for does not run, because its calendar closes that day."""
    return schedule.calendar is not None and _working(schedule, remember=False).is_closed(instant)


def moved_to(schedule: Schedule, instant: datetime) -> datetime | None:
    """Where the calendar moves an instant that it closes; None: nowhere."""
    return None if schedule.calendar is None else _working(schedule, remember=False).moved(instant)


def _step(schedule: Schedule, *, remember: bool = False, every: bool = False) -> Step:
    """From one instant in UTC to the next: those that run, or with `every` all that the ledger accounts for."""
    if schedule.calendar is None:
        return partial(_next, schedule, remember=remember)
    working = _working(schedule, remember=remember)
    return working.next_event if every else working.next_run


def _working(schedule: Schedule, *, remember: bool) -> Working:
    if schedule.closed_days is None:
        raise ScheduleError("calendar", f"there is no calendar {schedule.calendar!r} in its namespace")
    return Working(
        schedule.closed_days,
        schedule.calendar_rule,
        zone_rules(schedule.timezone),
        partial(_next, schedule, remember=remember),
        partial(_taken_over, schedule, schedule.closed_days),
        schedule.start_at,
        schedule.end_at,
    )


@lru_cache(maxsize=512)
def _taken_over(schedule: Schedule, days: ClosedDays, day: date) -> tuple[datetime, ...]:
    """What a working day takes over from the closed dates beside it; one computation for a herd."""
    try:
        return _working(replace(schedule, closed_days=days), remember=False).taken_over(day)
    except ScheduleError:
        raise
    except ValueError as error:
        raise ScheduleError("calendarRule", str(error)) from None


def _next(schedule: Schedule, after: datetime, *, remember: bool) -> datetime | None:
    """The next instant that the schedule itself names; `remember` goes through the memory that herds share."""
    if schedule.start_at is not None and after < schedule.start_at:
        after = in_utc("startAt", schedule.start_at) - _ONE_MICROSECOND
    if schedule.cron_expression is not None:
        search = _remembered_cron if remember else _next_cron
        instant = search(schedule.cron_expression, schedule.timezone, after)
    elif schedule.every_seconds is not None:
        instant = _next_of_interval(schedule.every_seconds, schedule.anchor, after)
    elif schedule.run_at is not None:
        once = in_utc("runAt", schedule.run_at)
        instant = once if once > after else None
    else:
        return None
    if instant is None or (schedule.end_at is not None and instant > schedule.end_at):
        return None
    return instant


def _next_of_interval(every_seconds: int, anchor: datetime | None, after: datetime) -> datetime | None:
    origin = EPOCH if anchor is None else in_utc("anchor", anchor)
    every = timedelta(seconds=every_seconds)
    try:
        return origin + ((after - origin) // every + 1) * every
    except OverflowError:  # past the year 9999
        return None


def _next_cron(expression: str, timezone: str, after: datetime) -> datetime | None:
    table = cron_table(expression)
    return zones.next_instant(
        table.next_wall,
        zone_rules(timezone),
        after,
        follows_clock=table.follows_clock,
        horizon_years=cron.HORIZON_YEARS,
    )


_remembered_cron = lru_cache(maxsize=8192)(_next_cron)


def jitter(job_id: int, instant: datetime, max_seconds: int) -> timedelta:
    """Return the delay of this job at this instant, 0 to `max_seconds`: equal in every process, different per job."""
    if max_seconds < 0:
        raise ScheduleError("jitterSeconds", f"is {max_seconds}; 0 or more seconds are possible")
    return spread.jitter(job_id, in_utc("instant", instant), max_seconds)


def resolve_hash(expression: str, key: str) -> str:
    """Return the plain expression to store for one that may hold H; without H it comes back unchanged."""
    try:
        return spread.resolve_hash(expression, key)
    except CronSyntaxError as error:
        raise ScheduleError("cronExpression", str(error)) from None


def describe(schedule: Schedule) -> str:
    """Return the schedule in words, such as `At 09:00, Monday through Friday (Europe/London)`; never fails."""
    said = _describe(schedule)
    if schedule.calendar is None:
        return said
    return f"{said}, {words.CALENDAR_RULES[schedule.calendar_rule]} closed days of {schedule.calendar}"


def _describe(schedule: Schedule) -> str:
    if schedule.cron_expression is not None:
        return words.describe_cron(schedule.cron_expression, schedule.timezone)
    if schedule.every_seconds is not None:
        return words.describe_interval(schedule.every_seconds)
    if schedule.run_at is not None:
        return words.describe_instant(schedule.run_at)
    return "never"


def timezones() -> frozenset[str]:
    """Return every time zone name that a schedule may carry."""
    return zones.timezones()


def tzdata_version() -> str:
    """Return the version of the zone rules behind every computation here, such as `2026f`."""
    return zones.tzdata_version()


def cron_table(expression: str) -> cron.CronTable:
    try:
        return cron.parse(expression)
    except CronSyntaxError as error:
        raise ScheduleError("cronExpression", str(error)) from None


def zone_rules(timezone: str) -> ZoneInfo:
    try:
        return zones.zone(timezone)
    except zones.UnknownTimezoneError as error:
        raise ScheduleError("timezone", str(error)) from None


def in_utc(field: str, value: datetime) -> datetime:
    """Return the instant in UTC; raise ScheduleError for a naive one, which names no instant."""
    if value.tzinfo is UTC:
        return value
    if value.utcoffset() is None:
        raise ScheduleError(field, "has no UTC offset; write for example 2026-01-31T09:00:00Z")
    return value.astimezone(UTC)


@lru_cache(maxsize=1024)
def check_with_croniter(expression: str) -> None:
    """Raise ParserDisagreementError unless croniter expands the fields to the same numbers; skip what it reads wrongly.

    Only the parser is asked, and only with a naive start: its own arithmetic around clock changes is wrong. This
    belongs to defining a job, not to firing it.
    """
    table = cron.parse(expression)
    if not table.plain:
        return
    try:
        expanded = croniter(
            table.expression, datetime(2026, 1, 1), second_at_beginning=True, implement_cron_bug=True
        ).expanded
    except (CroniterError, ValueError) as error:
        raise ParserDisagreementError(f"croniter refuses {table.expression!r}, which we accept: {error}") from error
    ours = (table.minutes, table.hours, table.days_of_month, table.months, table.weekdays, table.seconds)
    for field, numbers, theirs in zip(_CRONITER_ORDER, ours, expanded, strict=False):
        if set(numbers) != _numbers_of_croniter(field, theirs):
            raise ParserDisagreementError(
                f"the {field.name} field of {table.expression!r} is {numbers} to us and {theirs} to croniter"
            )


# croniter puts the seconds last in its result, and leaves them out when there are five fields.
_CRONITER_ORDER = (*FIELDS[1:], FIELDS[0])


def _numbers_of_croniter(field: CronField, expanded: Sequence[int | str]) -> set[int]:
    if "*" in expanded:
        return set(range(field.low, field.top + 1))
    return {int(number) for number in expanded}
