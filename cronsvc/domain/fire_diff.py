"""What a change of a schedule does to its fires, and where clocks that are put forward or back touch it.

Pure: two lists of instants in, the difference out. The rule that it describes at clock changes is that of `zones`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from cronsvc.domain import zones
from cronsvc.domain.schedule import Schedule, cron_table, zone_rules

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class FireDiff:
    """The instants that only the new definition has, and those that only the old one had, in order."""

    added: tuple[datetime, ...]
    removed: tuple[datetime, ...]

    @property
    def first_changed(self) -> datetime | None:
        """The earliest instant at which the two differ."""
        return min((*self.added[:1], *self.removed[:1]), default=None)


def fire_diff(old: Sequence[datetime], new: Sequence[datetime]) -> FireDiff:
    """Compare two ordered lists of instants."""
    had, has = set(old), set(new)
    return FireDiff(tuple(t for t in new if t not in had), tuple(t for t in old if t not in has))


class ClockEffect(StrEnum):
    """What a clock change does to the times of a schedule that it touches."""

    MOVED = "moved"  # they do not exist that day: one run, right after the gap
    LEFT_OUT = "left_out"  # they do not exist that day, and a schedule that follows the clock has none
    ONCE = "once"  # they come twice that day: one run each, in the first pass
    TWICE = "twice"  # they come twice that day, and a schedule that follows the clock runs in both passes


@dataclass(frozen=True, slots=True)
class ClockChange:
    """A clock change that touches a schedule: wall times `wall_from` up to `wall_until` are skipped or come twice."""

    at: datetime
    wall_from: datetime
    wall_until: datetime
    effect: ClockEffect


def clock_changes(schedule: Schedule, after: datetime, until: datetime) -> list[ClockChange]:
    """The clock changes with after < t <= until that touch the times of a cron schedule; others have no wall times."""
    if schedule.cron_expression is None:
        return []
    table, rules = cron_table(schedule.cron_expression), zone_rules(schedule.timezone)
    found = []
    for change in _changes(rules, after, until):
        before, later = zones.local(change - _SECOND, rules) + _SECOND, zones.local(change, rules)
        wall_from, wall_until = sorted((before.replace(fold=0), later.replace(fold=0)))
        touched = table.next_wall(wall_from - _MICROSECOND)
        within = schedule.start_at is None or schedule.start_at <= change
        within = within and (schedule.end_at is None or change <= schedule.end_at)
        if within and touched is not None and touched < wall_until:
            skipped = before.replace(fold=0) < later.replace(fold=0)
            if skipped:
                effect = ClockEffect.LEFT_OUT if table.follows_clock else ClockEffect.MOVED
            else:
                effect = ClockEffect.TWICE if table.follows_clock else ClockEffect.ONCE
            found.append(ClockChange(change, wall_from, wall_until, effect))
    return found


def _changes(rules: ZoneInfo, after: datetime, until: datetime) -> list[datetime]:
    """The instants at which the offset of a zone changes; of several within a day, one."""
    found, early = [], after.replace(microsecond=0)
    while early < until:
        late = min(early + _DAY, until)
        if _offset(rules, early) != _offset(rules, late):
            low, high = early, late
            while high - low > _SECOND:
                middle = low + (high - low) // (2 * _SECOND) * _SECOND
                low, high = (middle, high) if _offset(rules, middle) == _offset(rules, early) else (low, middle)
            found.append(high)
        early = late
    return found


def _offset(rules: ZoneInfo, instant: datetime) -> timedelta | None:
    return instant.astimezone(rules).utcoffset()
