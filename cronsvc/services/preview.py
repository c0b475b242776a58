"""What a schedule would do, before there is a job: the same functions that fire, so that preview and firing agree."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cronsvc.domain.schedule import Schedule, ScheduleError, describe, next_fire, resolve_hash
from cronsvc.domain.schedule_validation import faults
from cronsvc.errors import FieldError, InvalidInput

MAX_COUNT = 1000


@dataclass(frozen=True, slots=True)
class Preview:
    """The next instants of a schedule, in UTC, and the schedule in words. Fewer than asked for: there are no more."""

    fire_times: tuple[datetime, ...]
    description: str


def preview(schedule: Schedule, *, after: datetime, count: int, hash_key: str = "") -> Preview:
    """Work out the first `count` (1 to 1000) instants strictly after `after`; raises InvalidInput naming the field.

    `H` needs the job's `namespace/name` as `hash_key`: without it the times are an example of what a job would get.
    An interval without a start counts from `after`, as a job created at that moment would.
    """
    check_count(count)
    if after.utcoffset() is None:
        raise InvalidInput.of("after", "has no UTC offset; write for example 2026-01-31T09:00:00Z")
    try:
        plain = anchored(resolved(schedule, hash_key), after)
    except ScheduleError as error:
        raise InvalidInput.of(error.field, error.reason) from None
    if bad := faults(plain, now=after):
        raise InvalidInput([FieldError(error.field, error.reason) for error in bad])
    return Preview(tuple(instants(plain, after, count)), describe(plain))


def check_count(count: int) -> None:
    """Raise InvalidInput unless so many instants may be asked for at once."""
    if not 1 <= count <= MAX_COUNT:
        raise InvalidInput.of("count", f"is {count}; 1 to {MAX_COUNT} fire times are possible")


def instants(schedule: Schedule, after: datetime, count: int) -> list[datetime]:
    """Return the first instants strictly after `after`, at most `count`."""
    found: list[datetime] = []
    instant = next_fire(schedule, after) if count > 0 else None
    while instant is not None:
        found.append(instant)
        if len(found) >= count:
            break
        instant = next_fire(schedule, instant)
    return found


def resolved(schedule: Schedule, hash_key: str) -> Schedule:
    """Return the schedule with every `H` replaced by its place for this key; raises ScheduleError."""
    if schedule.cron_expression is None:
        return schedule
    return replace(schedule, cron_expression=resolve_hash(schedule.cron_expression, hash_key))


def anchored(schedule: Schedule, now: datetime) -> Schedule:
    """Return the schedule with the anchor an interval needs: its start, else the whole second of `now`."""
    if schedule.every_seconds is None or schedule.anchor is not None:
        return schedule
    start = schedule.start_at
    if start is None or start.utcoffset() is None:  # a naive start is for `validate` to refuse
        return replace(schedule, anchor=now.astimezone(UTC).replace(microsecond=0))
    # Instants are whole seconds, so a start between two of them counts from the later one.
    return replace(schedule, anchor=_whole_second_from(start.astimezone(UTC)))


def _whole_second_from(instant: datetime) -> datetime:
    whole = instant.replace(microsecond=0)
    return whole if whole == instant else datetime.fromtimestamp(int(whole.timestamp()) + 1, UTC)
