"""What the wall clock showed at an instant, and what a change of the clock near it means for a schedule.

The rules are those of `zones`, said in words: a time that the clock skips is run right after the gap, a time that comes
twice is run at the first; a job that follows the clock has nothing in a gap and runs in both passes.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from cronsvc.domain import cron, zones
from cronsvc.domain.cron_syntax import CronSyntaxError
from cronsvc.domain.evidence import Step, moment
from cronsvc.domain.schedule import Schedule

_HOUR = timedelta(hours=1)
_SECOND = timedelta(seconds=1)
_HOURS_LOOKED_AT = 26  # more than the greatest change there was, a day
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class ClockChange:
    """The clock of a zone changes its offset at an instant."""

    at: datetime
    before: timedelta
    later: timedelta

    @property
    def is_gap(self) -> bool:
        """Forward: wall times are skipped. Otherwise they come twice."""
        return self.later > self.before

    @property
    def walls(self) -> tuple[datetime, datetime]:
        """The wall times that are skipped or come twice, from the first up to and without the second (naive)."""
        naive = self.at.replace(tzinfo=None)
        return naive + min(self.before, self.later), naive + max(self.before, self.later)


def change_near(instant: datetime, timezone: str) -> ClockChange | None:
    """The change in whose gap or repeated stretch, or right beside it, an instant lies; None if there is none."""
    rules = zones.zone(timezone)
    start = instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0) - _HOURS_LOOKED_AT * _HOUR
    near: list[ClockChange] = []
    for step in range(2 * _HOURS_LOOKED_AT):
        early, late = start + step * _HOUR, start + (step + 1) * _HOUR
        before, later = _offset(early, rules), _offset(late, rules)
        if before == later:
            continue
        while late - early > _SECOND:
            middle = early + (late - early) // (2 * _SECOND) * _SECOND
            early, late = (middle, late) if _offset(middle, rules) == before else (early, middle)
        if abs(instant - late) <= abs(later - before):
            near.append(ClockChange(late, before, later))
    return min(near, key=lambda change: abs(instant - change.at), default=None)


def instant_of_wall(wall: datetime, timezone: str) -> datetime:
    """The instant that a wall time (naive) names, by the rule for named times: right after the gap that skips it, the
    first of two. Raises zones.UnknownTimezoneError.
    """
    instant = wall.replace(tzinfo=zones.zone(timezone), fold=0).astimezone(UTC)
    if instant.astimezone(zones.zone(timezone)).replace(tzinfo=None, fold=0) == wall:
        return instant
    change = change_near(instant, timezone)
    return instant if change is None else change.at


def clock_step(schedule: Schedule, at: datetime) -> Step:
    """Local time and UTC of an instant, and the rule for the change of the clock near it, if there is one.

    Raises zones.UnknownTimezoneError.
    """
    local = at.astimezone(zones.zone(schedule.timezone))
    facts: dict[str, Any] = {"timezone": schedule.timezone, "local_time": local.isoformat(), "utc": at}
    shown = f"{local:%Y-%m-%d %H:%M:%S}"
    says = f"{moment(at)} is {shown} ({local:%A}) in {schedule.timezone}."
    if schedule.timezone == "UTC":
        says = f"The schedule is in UTC, where no clock changes; {shown} is a {local:%A}."
    change = change_near(at, schedule.timezone)
    if change is not None:
        rule, named = _rule(schedule, change, local)
        first, last = change.walls
        facts["change"] = {
            "kind": "gap" if change.is_gap else "overlap",
            "at": change.at,
            "first_wall": first.isoformat(),
            "until_wall": last.isoformat(),
            "named": [wall.isoformat() for wall in named],
            "rule": rule,
        }
        says = f"{says} {rule}"
    return Step("timezone", says, facts)


def clock_rule(step: Step) -> str | None:
    """The sentence of a `clock_step` about a change of the clock that touches the times of the schedule."""
    change = step.facts.get("change")
    return str(change["rule"]) if change is not None and change["named"] else None


def _rule(schedule: Schedule, change: ClockChange, local: datetime) -> tuple[str, list[datetime]]:
    """What the schedule does about the change, and which of the times that it names are concerned."""
    first, last = change.walls
    zone, day = schedule.timezone, f"{first:%Y-%m-%d}"
    # Read at either side of the change: forward from the first to the last, back from the last to the first.
    turned = f"from {first:%H:%M} to {last:%H:%M}" if change.is_gap else f"back from {last:%H:%M} to {first:%H:%M}"
    if schedule.cron_expression is None:
        return f"The clock of {zone} went {turned} on {day}, which moves neither intervals nor single instants.", []
    try:
        table = cron.parse(schedule.cron_expression)
    except CronSyntaxError:
        return f"The clock of {zone} went {turned} on {day}.", []
    named = _named(table, first, last)
    if not named:
        return f"The clock of {zone} went {turned} on {day}; the schedule names no time that this touches.", []
    wall = local.replace(tzinfo=None, fold=0)
    times = _times([wall] if wall in named else named)
    if change.is_gap:
        return _gap_rule(table, change, times, zone), named
    where = f"{times} came twice in {zone} on {day}, when the clock went {turned}"
    if table.follows_clock:
        return f"{where}: a job that follows the clock (its minute or hour begins with *) runs both times.", named
    spoken = wall if wall in named else named[0]
    run = (spoken - change.before).replace(tzinfo=UTC)
    return f"{where}: the job runs at the first, {moment(run)}, and not again at the second.", named


def _gap_rule(table: cron.CronTable, change: ClockChange, times: str, zone: str) -> str:
    first, last = change.walls
    turned = f"when the clock went from {first:%H:%M} to {last:%H:%M}"
    where = f"{times} did not exist in {zone} on {first:%Y-%m-%d}, {turned}"
    if table.follows_clock:
        return f"{where}: a job that follows the clock (its minute or hour begins with *) has no instant there."
    return f"{where}: the job runs once, right after the gap, at {last:%H:%M} ({moment(change.at)})."


def _named(table: cron.CronTable, first: datetime, last: datetime) -> list[datetime]:
    """The first wall times of a stretch that the table names; one more than are said says that there are more."""
    found: list[datetime] = []
    wall = table.next_wall(first - _SECOND)
    while wall is not None and wall < last and len(found) <= _MOST_NAMED:
        found.append(wall)
        wall = table.next_wall(wall)
    return found


def _times(walls: list[datetime]) -> str:
    spoken = [f"{wall:%H:%M:%S}" if wall.second else f"{wall:%H:%M}" for wall in walls[:_MOST_NAMED]]
    return ", ".join(spoken) + (", …" if len(walls) > _MOST_NAMED else "")


def _offset(instant: datetime, rules: ZoneInfo) -> timedelta:
    offset = instant.astimezone(rules).utcoffset()
    assert offset is not None
    return offset
