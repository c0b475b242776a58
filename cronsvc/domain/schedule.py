"""Schedules: the one set of functions that preview, backfill, forecast and firing share.

A schedule is a cron expression, an interval or one instant, bounded by an optional start and end. Promises: every
instant is aware, in UTC and a whole second; the next one is always later than the one given, so that iterating
and starting afresh agree; times around clock changes follow the Debian rule (`zones`). Naive datetimes are refused.

croniter is here as a second opinion and never as the clock: when a schedule is defined, its reading of the fields
must equal ours wherever it is known to be right (reference/cron.md lists where it is not).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from croniter import CroniterError, croniter

from cronsvc.domain import cron, spread, words, zones
from cronsvc.domain.cron_syntax import FIELDS, CronField, CronSyntaxError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST_EVERY_SECONDS = 366 * 86_400

_ONE_SECOND = timedelta(seconds=1)
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
    the Unix epoch. `start_at` and `end_at` are inclusive.
    """

    cron_expression: str | None = None
    every_seconds: int | None = None
    run_at: datetime | None = None
    timezone: str = "UTC"
    anchor: datetime | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None


def validate(schedule: Schedule, *, now: datetime) -> None:
    """Raise ScheduleError unless the schedule is well formed and has an instant after `now`.

    A `run_at` may lie in the past: whether that is welcome is the caller's decision.
    """
    kinds = {"cronExpression": schedule.cron_expression, "every": schedule.every_seconds, "runAt": schedule.run_at}
    given = [field for field, value in kinds.items() if value is not None]
    if not given:
        raise ScheduleError("cronExpression", "one of cronExpression, every and runAt is needed")
    if len(given) > 1:
        raise ScheduleError(given[1], f"cannot be combined with {given[0]}; give exactly one of {', '.join(kinds)}")
    _rules(schedule.timezone)
    _validate_instants(schedule)
    if schedule.cron_expression is not None:
        _table(schedule.cron_expression)
        check_with_croniter(schedule.cron_expression)
    if schedule.every_seconds is not None and not 1 <= schedule.every_seconds <= LONGEST_EVERY_SECONDS:
        raise ScheduleError("every", f"is {schedule.every_seconds} seconds; 1 second to 366 days are possible")
    if schedule.run_at is None and next_fire(schedule, now) is None:
        if schedule.end_at is not None:
            raise ScheduleError("endAt", f"no instant of this schedule lies between {_utc('now', now)} and endAt")
        raise ScheduleError(
            "cronExpression", f"never fires in {schedule.timezone}: clock changes always skip the times it names"
        )


# What a faulty field is replaced by while the others are looked at.
_NEUTRAL: Mapping[str, Mapping[str, str | None]] = {
    "timezone": {"timezone": "UTC"},
    "startAt": {"start_at": None},
    "endAt": {"end_at": None},
}


def faults(schedule: Schedule, *, now: datetime) -> list[ScheduleError]:
    """Return what is wrong with each field, as far as they can be told apart; empty when `validate` accepts."""
    found: list[ScheduleError] = []
    while True:
        try:
            validate(schedule, now=now)
        except ScheduleError as error:
            found.append(error)
            neutral = _NEUTRAL.get(error.field)
            replaced = schedule if neutral is None else replace(schedule, **neutral)  # type: ignore[arg-type]
            if replaced == schedule:
                return found
            schedule = replaced
        else:
            return found


def _validate_instants(schedule: Schedule) -> None:
    """Refuse instants that are naive, not whole seconds (those belong to manual triggers) or out of order."""
    instants = {
        "runAt": schedule.run_at,
        "anchor": schedule.anchor,
        "startAt": schedule.start_at,
        "endAt": schedule.end_at,
    }
    for field, value in instants.items():
        if value is None:
            continue
        _utc(field, value)
        if field in ("runAt", "anchor") and value.microsecond:
            raise ScheduleError(field, "has a fraction of a second; scheduled instants are whole seconds")
    start, end, once = schedule.start_at, schedule.end_at, schedule.run_at
    if start is not None and end is not None and start > end:
        raise ScheduleError("endAt", "lies before startAt")
    if once is not None and start is not None and once < start:
        raise ScheduleError("runAt", "lies before startAt, so it would never run")
    if once is not None and end is not None and once > end:
        raise ScheduleError("runAt", "lies after endAt, so it would never run")


def next_fire(schedule: Schedule, after: datetime) -> datetime | None:
    """Return the first instant strictly after `after`; None when there is none (for cron: within 100 years).

    Cron results are remembered per (expression, timezone, after): a herd of equal jobs costs one computation.
    """
    return _next(schedule, _utc("after", after), remember=True)


def fires_between(schedule: Schedule, after: datetime, until: datetime, limit: int) -> list[datetime]:
    """Return the instants t with after < t <= until in order, at most `limit` of them."""
    found: list[datetime] = []
    last = _utc("until", until)
    instant = _next(schedule, _utc("after", after), remember=False) if limit > 0 else None
    while instant is not None and instant <= last:
        found.append(instant)
        if len(found) >= limit:
            break
        instant = _next(schedule, instant, remember=False)
    return found


def last_fire(schedule: Schedule, after: datetime, until: datetime) -> datetime | None:
    """Return the latest instant t with after < t <= until; None when there is none.

    Halves the stretch that can hold it, so a year of an every-second job costs some thirty steps, not thirty million.
    """
    end = _utc("until", until)
    found = _next(schedule, _utc("after", after), remember=False)
    if found is None or found > end:
        return None
    # `found` is an instant of the schedule and there is none in (end, until]. Instants are whole seconds apart.
    while end - found >= _ONE_SECOND:
        middle = found + (end - found) / 2
        later = _next(schedule, middle, remember=False)
        if later is None or later > end:
            end = middle
        else:
            found = later
    return found


def _next(schedule: Schedule, after: datetime, *, remember: bool) -> datetime | None:
    """`next_fire` for an `after` known to be in UTC; `remember` goes through the memory that herds share."""
    if schedule.start_at is not None and after < schedule.start_at:
        after = _utc("startAt", schedule.start_at) - _ONE_MICROSECOND
    if schedule.cron_expression is not None:
        search = _remembered_cron if remember else _next_cron
        instant = search(schedule.cron_expression, schedule.timezone, after)
    elif schedule.every_seconds is not None:
        instant = _next_of_interval(schedule.every_seconds, schedule.anchor, after)
    elif schedule.run_at is not None:
        once = _utc("runAt", schedule.run_at)
        instant = once if once > after else None
    else:
        return None
    if instant is None or (schedule.end_at is not None and instant > schedule.end_at):
        return None
    return instant


def _next_of_interval(every_seconds: int, anchor: datetime | None, after: datetime) -> datetime | None:
    origin = EPOCH if anchor is None else _utc("anchor", anchor)
    every = timedelta(seconds=every_seconds)
    try:
        return origin + ((after - origin) // every + 1) * every
    except OverflowError:  # past the year 9999
        return None


def _next_cron(expression: str, timezone: str, after: datetime) -> datetime | None:
    table = _table(expression)
    return zones.next_instant(
        table.next_wall,
        _rules(timezone),
        after,
        follows_clock=table.follows_clock,
        horizon_years=cron.HORIZON_YEARS,
    )


_remembered_cron = lru_cache(maxsize=8192)(_next_cron)


def jitter(job_id: int, instant: datetime, max_seconds: int) -> timedelta:
    """Return the delay of this job at this instant, 0 to `max_seconds`: equal in every process, different per job."""
    if max_seconds < 0:
        raise ScheduleError("jitterSeconds", f"is {max_seconds}; 0 or more seconds are possible")
    return spread.jitter(job_id, _utc("instant", instant), max_seconds)


def resolve_hash(expression: str, key: str) -> str:
    """Return the plain expression to store for one that may hold H; without H it comes back unchanged."""
    try:
        return spread.resolve_hash(expression, key)
    except CronSyntaxError as error:
        raise ScheduleError("cronExpression", str(error)) from None


def describe(schedule: Schedule) -> str:
    """Return the schedule in words, such as `At 09:00, Monday through Friday (Europe/London)`; never fails."""
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


def _table(expression: str) -> cron.CronTable:
    try:
        return cron.parse(expression)
    except CronSyntaxError as error:
        raise ScheduleError("cronExpression", str(error)) from None


def _rules(timezone: str) -> ZoneInfo:
    try:
        return zones.zone(timezone)
    except zones.UnknownTimezoneError as error:
        raise ScheduleError("timezone", str(error)) from None


def _utc(field: str, value: datetime) -> datetime:
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
