"""Which schedules are accepted: well formed, exactly one of cron expression, interval and instant, and not over yet.

Promise: the reason names the field by its API name and says what would be right; every field that is at fault is named
at once, as far as they can be told apart. What is accepted here has a next instant.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from cronsvc.domain.schedule import (
    Schedule,
    ScheduleError,
    check_with_croniter,
    cron_table,
    in_utc,
    next_fire,
    next_instant,
    zone_rules,
)

LONGEST_EVERY_SECONDS = 366 * 86_400


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
    zone_rules(schedule.timezone)
    _validate_instants(schedule)
    if schedule.cron_expression is not None:
        cron_table(schedule.cron_expression)
        check_with_croniter(schedule.cron_expression)
    if schedule.every_seconds is not None and not 1 <= schedule.every_seconds <= LONGEST_EVERY_SECONDS:
        raise ScheduleError("every", f"is {schedule.every_seconds} seconds; 1 second to 366 days are possible")
    if schedule.calendar is not None and next_fire(schedule, now) is None and next_instant(schedule, now) is not None:
        raise ScheduleError("calendar", f"closes every instant of this schedule after {in_utc('now', now)}")
    if schedule.run_at is None and next_fire(schedule, now) is None:
        if schedule.end_at is not None:
            raise ScheduleError("endAt", f"no instant of this schedule lies between {in_utc('now', now)} and endAt")
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
        in_utc(field, value)
        if field in ("runAt", "anchor") and value.microsecond:
            raise ScheduleError(field, "has a fraction of a second; scheduled instants are whole seconds")
    start, end, once = schedule.start_at, schedule.end_at, schedule.run_at
    if start is not None and end is not None and start > end:
        raise ScheduleError("endAt", "lies before startAt")
    if once is not None and start is not None and once < start:
        raise ScheduleError("runAt", "lies before startAt, so it would never run")
    if once is not None and end is not None and once > end:
        raise ScheduleError("runAt", "lies after endAt, so it would never run")
