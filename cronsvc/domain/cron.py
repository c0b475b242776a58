"""Cron expressions as sorted tables of numbers, evaluated on the wall clock.

This file knows the calendar and nothing of time zones: every datetime here is naive. Promises: a table is
built only from an expression that names at least one date; `next_wall` is exact and costs a few binary searches.
A month has only 28 possible shapes (weekday of its first day, length), so the days that an expression picks
are worked out once per shape, when it is parsed.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

from cronsvc.domain.cron_syntax import (
    DAY_OF_MONTH,
    DAY_OF_WEEK,
    HOUR,
    MINUTE,
    MONTH,
    SECOND,
    CronDays,
    CronSyntaxError,
    has_one_value_range,
    read_days,
    read_numbers,
    split_fields,
)

# The calendar repeats its rarest date (29 February on a given weekday, across 2100) within 40 years. The rest
# is margin for an instant that a clock change removes.
HORIZON_YEARS = 100

_MONTH_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_ONE_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class CronTable:
    """A parsed expression: sorted numbers for each field, and for each shape of month the days that match.

    `follows_clock`: the minute or hour field starts with `*`, so it runs at every real moment that matches;
    otherwise it names times, each of which runs once. `plain`: only forms that all crons read alike (no L, W, #,
    no range of one value), so that another parser may be asked for its opinion. `both_days_must_match`: the two
    day fields are joined by AND, because one starts with `*` or `?`. Weekdays count from Sunday = 0.
    """

    expression: str
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days_of_month: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    days_by_shape: tuple[tuple[int, ...], ...]
    follows_clock: bool
    both_days_must_match: bool
    plain: bool

    def next_wall(self, wall: datetime) -> datetime | None:
        """Return the first matching wall time strictly after `wall` (naive, whole seconds); None beyond the horizon."""
        start = wall.replace(microsecond=0, fold=0) + _ONE_SECOND
        if self._names_date(start):
            time = self._time_from(start.hour, start.minute, start.second)
            if time is not None:
                return start.replace(hour=time[0], minute=time[1], second=time[2])
        day = self._date_after(start.year, start.month, start.day)
        if day is None:
            return None
        return datetime(day[0], day[1], day[2], self.hours[0], self.minutes[0], self.seconds[0])

    def _names_date(self, wall: datetime) -> bool:
        return wall.month in self.months and wall.day in self.days_by_shape[_shape(wall.year, wall.month)]

    def _time_from(self, hour: int, minute: int, second: int) -> tuple[int, int, int] | None:
        """Return the first matching time of day at or after the given one; None if the day has no more."""
        hour_at = bisect_left(self.hours, hour)
        if hour_at < len(self.hours) and self.hours[hour_at] == hour:
            minute_at = bisect_left(self.minutes, minute)
            if minute_at < len(self.minutes) and self.minutes[minute_at] == minute:
                second_at = bisect_left(self.seconds, second)
                if second_at < len(self.seconds):
                    return hour, minute, self.seconds[second_at]
                minute_at += 1
            if minute_at < len(self.minutes):
                return hour, self.minutes[minute_at], self.seconds[0]
            hour_at += 1
        if hour_at < len(self.hours):
            return self.hours[hour_at], self.minutes[0], self.seconds[0]
        return None

    def _date_after(self, year: int, month: int, day: int) -> tuple[int, int, int] | None:
        """Return the first matching date strictly after the given one as (year, month, day)."""
        month_at = bisect_left(self.months, month)
        if month_at < len(self.months) and self.months[month_at] == month:
            days = self.days_by_shape[_shape(year, month)]
            day_at = bisect_right(days, day)
            if day_at < len(days):
                return year, month, days[day_at]
            month_at += 1
        for later_year in range(year, min(year + HORIZON_YEARS, 9999) + 1):
            for later_month in self.months[month_at:]:
                days = self.days_by_shape[_shape(later_year, later_month)]
                if days:
                    return later_year, later_month, days[0]
            month_at = 0
        return None


@lru_cache(maxsize=4096)
def parse(expression: str) -> CronTable:
    """Read an expression (5 fields, 6 with leading seconds, or a macro); raise CronSyntaxError with a reason."""
    second, minute, hour, day_of_month, month, day_of_week = texts = split_fields(expression)
    dates = read_days(DAY_OF_MONTH, day_of_month)
    weekdays = read_days(DAY_OF_WEEK, day_of_week)
    months = read_numbers(MONTH, month)
    both = day_of_month[0] in "*?" or day_of_week[0] in "*?"
    table = CronTable(
        expression=expression,
        seconds=tuple(sorted(read_numbers(SECOND, second))),
        minutes=tuple(sorted(read_numbers(MINUTE, minute))),
        hours=tuple(sorted(read_numbers(HOUR, hour))),
        days_of_month=tuple(sorted(dates.numbers)),
        months=tuple(sorted(months)),
        weekdays=tuple(sorted(weekdays.numbers)),
        days_by_shape=tuple(
            _days_of_shape(dates, weekdays, first_weekday, length, both=both)
            for first_weekday in range(7)
            for length in range(28, 32)
        ),
        follows_clock=minute[0] == "*" or hour[0] == "*",
        both_days_must_match=both,
        plain=not (dates.special or weekdays.special or has_one_value_range(texts)),
    )
    if not _ever_names_a_date(table):
        raise CronSyntaxError("the date never comes: no month named here has such a day")
    return table


def _ever_names_a_date(table: CronTable) -> bool:
    """Tell whether any shape that the named months can take has a matching day; exact, since every shape does occur."""
    lengths = {_MONTH_LENGTHS[month - 1] for month in table.months} | ({29} if 2 in table.months else set())
    return any(table.days_by_shape[first * 4 + length - 28] for first in range(7) for length in lengths)


def _shape(year: int, month: int) -> int:
    """Return the index of this month's shape: weekday of the first day (Sunday = 0) times four, plus length - 28."""
    length = _MONTH_LENGTHS[month - 1]
    if month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
        length = 29
    return date(year, month, 1).toordinal() % 7 * 4 + length - 28


def _days_of_shape(
    dates: CronDays, weekdays: CronDays, first_weekday: int, length: int, *, both: bool
) -> tuple[int, ...]:
    """Return the days a month of this shape contributes, the two day fields joined by AND (`both`) or OR."""

    def weekday_of(day: int) -> int:
        return (first_weekday + day - 1) % 7

    def nearest_workday(day: int) -> int:
        # Quartz's rule: the nearest Monday to Friday inside the month. A day the month lacks counts as its last.
        day = min(day, length)
        if weekday_of(day) == 6:
            return day - 1 if day > 1 else 3
        if weekday_of(day) == 0:
            return day + 1 if day < length else day - 2
        return day

    by_date = {day for day in dates.numbers if day <= length} | {nearest_workday(day) for day in dates.nearest_workdays}
    if dates.last_day:
        by_date.add(length)
    if dates.last_workday:
        by_date.add(next(day for day in range(length, 0, -1) if 1 <= weekday_of(day) <= 5))
    by_weekday = set()
    for day in range(1, length + 1):
        weekday = weekday_of(day)
        if (
            weekday in weekdays.numbers
            or (weekday, (day + 6) // 7) in weekdays.nth_weekdays
            or (weekday in weekdays.last_weekdays and day > length - 7)
        ):
            by_weekday.add(day)
    return tuple(sorted(by_date & by_weekday if both else by_date | by_weekday))
