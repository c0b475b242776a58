"""Working days: which dates a calendar closes, and where an instant of a closed date goes.

Pure: a calendar comes in as data, a schedule as the function that names its instants one by one. Every instant a
schedule names is an event. So is the time that an instant of a closed date moves to: the same time of day on the next
or previous working day, right after the gap if the clock skips it, at the first pass if it is repeated. An event runs
exactly if its own date is open, and events that fall on one moment are one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from cronsvc.domain import zones

# An instant that finds no working day within so many days is skipped.
MOST_DAYS_MOVED = 366

# What one closed date may move: more often than every minute, `skip` says the same.
MOST_MOVED = 1440

# Closed stretches that a search for a run may jump over; after that there is none.
_MOST_STRETCHES = 400

_DAY = timedelta(days=1)
_TICK = timedelta(microseconds=1)
# Where the clock goes back over midnight, the end of a date comes after the beginning of the next.
_SLACK = timedelta(hours=3)

Step = Callable[[datetime], datetime | None]


class CalendarRule(StrEnum):
    SKIP = "skip"  # an instant on a closed date does not run
    NEXT = "next"  # it runs at the same time of the next working day
    PREVIOUS = "previous"  # it runs at the same time of the working day before


@dataclass(frozen=True, slots=True)
class ClosedDays:
    """The dates a calendar lists, and the weekdays (1 is Monday, 7 Sunday) that are never working days."""

    dates: frozenset[date] = frozenset()
    weekend: frozenset[int] = frozenset()

    def close(self, day: date) -> bool:
        """Whether this is no working day."""
        return day in self.dates or day.isoweekday() in self.weekend


@dataclass(frozen=True, slots=True)
class Working:
    """A calendar as one schedule reads it: closed days, a rule, and the time zone whose dates count.

    `named` steps through the instants that the schedule names; `arrivals` remembers what a working day takes over.
    Nothing moves out of the bounds of the schedule, `start` and `end`.
    """

    days: ClosedDays
    rule: CalendarRule
    rules: ZoneInfo
    named: Step
    arrivals: Callable[[date], tuple[datetime, ...]]
    start: datetime | None = None
    end: datetime | None = None

    def is_closed(self, instant: datetime) -> bool:
        """Whether an event does not run."""
        return self.days.close(zones.local(instant, self.rules).date())

    def next_event(self, after: datetime) -> datetime | None:
        """The first event strictly after `after`, whether it runs or not."""
        named = self.named(after)
        day = self._takes_over(after, named)
        moved = None if day is None else next((each for each in self.arrivals(day) if each > after), None)
        return min((each for each in (named, moved) if each is not None), default=None)

    def next_run(self, after: datetime) -> datetime | None:
        """The first event strictly after `after` that runs; None when none does, for years."""
        for _ in range(_MOST_STRETCHES):
            event = self.next_event(after)
            if event is None or not self.is_closed(event):
                return event
            day = self._open_from(zones.local(event, self.rules).date())
            if day is None:
                return None
            after = max(event, zones.start_of(day, self.rules) - _TICK)
        return None

    def moved(self, instant: datetime) -> datetime | None:
        """Where an instant of a closed date goes; None when it goes nowhere."""
        found = self._target(instant)
        if (
            found is None
            or (self.start is not None and found < self.start)
            or (self.end is not None and found > self.end)
        ):
            return None
        return found

    def _target(self, instant: datetime) -> datetime | None:
        """`moved` without the bounds."""
        if self.rule is CalendarRule.SKIP:
            return None
        wall = zones.local(instant, self.rules)
        step = _DAY if self.rule is CalendarRule.NEXT else -_DAY
        day = wall.date()
        for _ in range(MOST_DAYS_MOVED):
            day += step
            if self.days.close(day):
                continue
            found = zones.instant_of(datetime.combine(day, wall.time()), self.rules)
            forwards = found > instant
            # A date that the zone has left out has no such time.
            if zones.local(found, self.rules).date() == day and forwards is (self.rule is CalendarRule.NEXT):
                return found
        return None

    def taken_over(self, day: date) -> tuple[datetime, ...]:
        """What a working day takes over from the closed dates beside it, in order; ValueError when that is too much."""
        found: set[datetime] = set()
        step = -_DAY if self.rule is CalendarRule.NEXT else _DAY
        source = day + step
        for _ in range(MOST_DAYS_MOVED):
            if self._is_open(source):
                break
            found.update(each for each in self._named_on(source) if zones.local(each, self.rules).date() == day)
            source += step
        return tuple(sorted(found))

    def _named_on(self, day: date) -> list[datetime]:
        """Where the instants of one closed date go."""
        end = zones.start_of(day + _DAY, self.rules) + _SLACK
        instant = self.named(zones.start_of(day, self.rules) - _TICK)
        found: list[datetime] = []
        count = 0
        while instant is not None and instant < end:
            if zones.local(instant, self.rules).date() == day:
                count += 1
                if count > MOST_MOVED:
                    raise ValueError(f"moves more than {MOST_MOVED} instants of one day; the rule for those is skip")
                moved = self.moved(instant)
                if moved is not None:
                    found.append(moved)
            instant = self.named(instant)
        return found

    def _takes_over(self, after: datetime, named: datetime | None) -> date | None:
        """The one day whose arrivals may come before the next named instant."""
        match self.rule:
            case CalendarRule.SKIP:
                return None
            case CalendarRule.NEXT:
                # What moves forwards comes from dates before it: none later than the next named instant matters.
                return self._open_from(zones.local(after, self.rules).date())
            case CalendarRule.PREVIOUS:
                if named is None:
                    return None
                if not self.is_closed(named):
                    return zones.local(named, self.rules).date()
                target = self._target(named)
                return None if target is None else zones.local(target, self.rules).date()

    def _open_from(self, day: date) -> date | None:
        """The first working day from this date on."""
        for _ in range(2 * MOST_DAYS_MOVED):
            if self._is_open(day):
                return day
            day += _DAY
        return None

    def _is_open(self, day: date) -> bool:
        """Whether this is a working day. A date that the zone has left out is none."""
        return not self.days.close(day) and zones.local(zones.start_of(day, self.rules), self.rules).date() == day
