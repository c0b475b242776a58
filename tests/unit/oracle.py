"""A slow, plain second opinion on cron: what a daemon would do that wakes up every minute and looks at the clock.

Shares nothing with cronsvc but the tzdata files, which it opens itself. Expressions are matched number by number
(no tables, no search), and clock changes are noticed the way Debian's cron notices them: by comparing the wall clock
of this minute with that of the last one. Only for expressions that are known to be valid.
"""

import calendar
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
NAMES = {
    **{name: str(number) for number, name in enumerate(calendar.month_abbr) if name},
    **{name: str((number + 1) % 7) for number, name in enumerate(calendar.day_abbr)},
}
MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    with resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


class Oracle:
    """Matches wall times against one expression."""

    def __init__(self, expression: str) -> None:
        fields = MACROS.get(expression.lower(), expression).split()
        if len(fields) == 5:
            fields.insert(0, "0")
        self.second, self.minute, self.hour, self.day, self.month, self.weekday = map(self._digits, fields)
        self.wildcard = self.minute.startswith("*") or self.hour.startswith("*")
        self._dates: dict[date, bool] = {}
        self.hours = {number for number in range(24) if self._in(self.hour, number, 23)}
        self.minutes = {number for number in range(60) if self._in(self.minute, number, 59)}
        self.seconds = [number for number in range(60) if self._in(self.second, number, 59)]

    @staticmethod
    def _digits(field: str) -> str:
        for name, number in NAMES.items():
            field = field.upper().replace(name.upper(), number)
        return field

    @staticmethod
    def _in(field: str, number: int, top: int, low: int = 0) -> bool:
        """Does one number belong to a field of plain elements?"""
        for element in field.split(","):
            base, _, step = element.partition("/")
            if base in ("*", "?"):
                first, last = low, top
            elif "-" in base:
                first, last = map(int, base.split("-"))
            else:
                first = int(base)
                last = top if step else first
            if first <= number <= last and (number - first) % int(step or 1) == 0:
                return True
        return False

    def matches_date(self, day: date) -> bool:
        if day not in self._dates:
            self._dates[day] = self._matches_date(day)
        return self._dates[day]

    def _matches_date(self, day: date) -> bool:
        if not self._in(self.month, day.month, 12, 1):
            return False
        by_day = any(self._day_element(element, day) for element in self.day.split(","))
        by_weekday = any(self._weekday_element(element, day) for element in self.weekday.split(","))
        if self.day[0] in "*?" or self.weekday[0] in "*?":
            return by_day and by_weekday
        return by_day or by_weekday

    def _day_element(self, element: str, day: date) -> bool:
        last = calendar.monthrange(day.year, day.month)[1]
        if element == "L":
            return day.day == last
        if element == "LW":
            workdays = [n for n in range(1, last + 1) if day.replace(day=n).weekday() < 5]
            return day.day == workdays[-1]
        if element.endswith("W"):
            target = min(int(element[:-1]), last)
            workdays = [n for n in range(1, last + 1) if day.replace(day=n).weekday() < 5]
            return day.day == min(workdays, key=lambda n: abs(n - target))
        return self._in(element, day.day, 31, 1)

    def _weekday_element(self, element: str, day: date) -> bool:
        weekday = day.isoweekday() % 7
        if "#" in element:
            wanted, nth = element.split("#")
            earlier = [n for n in range(1, day.day + 1) if day.replace(day=n).isoweekday() % 7 == weekday]
            return weekday == int(wanted) % 7 and len(earlier) == int(nth)
        if element.endswith("L"):
            return weekday == int(element[:-1]) % 7 and (day + timedelta(days=7)).month != day.month
        if element.startswith("7/"):
            element = "0" + element[1:]
        return (
            self._in(element, weekday, 6)
            or (weekday == 0 and element[0] not in "*?" and "-" in element and self._in(element, 7, 7))
            or (weekday == 0 and element == "7")
        )

    def matches(self, wall: datetime) -> bool:
        """Does this wall minute match (seconds aside)?"""
        return wall.minute in self.minutes and wall.hour in self.hours and self.matches_date(wall.date())

    def walls(self, start: date, days: int) -> Iterator[datetime]:
        """Yield every matching naive wall time of these days."""
        for offset in range(days):
            day = start + timedelta(days=offset)
            if self.matches_date(day):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        for second in self.seconds:
                            yield datetime(day.year, day.month, day.day, hour, minute, second)

    def simulate(self, zone_name: str, start: datetime, end: datetime) -> list[datetime]:
        """Return the instants in [start, end) at which the daemon runs the job, by the Debian rule.

        Start well before the instants of interest: the daemon has to have seen the clock before a repeat.
        """
        rules = zone(zone_name)
        fires: set[datetime] = set()
        now = start.replace(second=0, microsecond=0)
        seen = now.astimezone(rules).replace(tzinfo=None, fold=0) - MINUTE
        while now < end:
            wall = now.astimezone(rules).replace(tzinfo=None, fold=0)
            if self.wildcard:
                due = self.matches(wall)
            else:
                missed = seen + MINUTE
                while missed < wall:
                    if self.matches(missed):
                        fires.add(now)
                    missed += MINUTE
                due = wall > seen and self.matches(wall)
                seen = max(seen, wall)
            if due:
                fires.update(now + timedelta(seconds=second) for second in self.seconds)
            now += MINUTE
        return sorted(fires)


def changes(zone_name: str, start: datetime, end: datetime) -> list[datetime]:
    """Return the instants in [start, end) at which the zone's offset changes, found by looking at every minute of a
    day whose ends differ."""
    rules = zone(zone_name)

    def offset(instant: datetime) -> timedelta | None:
        return instant.astimezone(rules).utcoffset()

    found = []
    day = start
    while day < end:
        following = day + timedelta(days=1)
        if offset(day) != offset(following):
            instant = day
            while offset(instant) == offset(day):
                instant += MINUTE
            found.append(instant.astimezone(UTC))
        day = following
    return found
