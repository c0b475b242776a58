"""Properties of cron schedules: equal to a brute-force daemon around clock changes, to the calendar, and to croniter.

Seeded (derandomised), so a failure comes back.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import pytest
from croniter import croniter
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from cronsvc.domain import cron
from cronsvc.domain.cron_syntax import CronSyntaxError
from cronsvc.domain.schedule import Schedule, ScheduleError, fires_between, last_fire, next_fire
from cronsvc.domain.schedule_validation import validate
from tests.unit import oracle

REPEATABLE = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
MANY = settings(REPEATABLE, max_examples=300)

# Zones and years in which their clocks change: by an hour, 30, 20 or 15 minutes, two hours, a whole day; at
# midnight, at one minute past it, before it; for summer, for Ramadan, and for good.
ZONE_YEARS = [
    ("Europe/London", 2025),
    ("Europe/London", 1947),
    ("Europe/Dublin", 2025),
    ("Europe/Istanbul", 2016),
    ("Europe/Lisbon", 1996),
    ("America/New_York", 2025),
    ("America/St_Johns", 2010),
    ("America/St_Johns", 1988),
    ("America/Havana", 2025),
    ("America/Santiago", 2025),
    ("America/Sao_Paulo", 2018),
    ("America/Caracas", 2007),
    ("America/Caracas", 2016),
    ("America/Asuncion", 2023),
    ("America/Nuuk", 2024),
    ("America/Scoresbysund", 2024),
    ("Atlantic/Azores", 2025),
    ("Africa/Cairo", 2025),
    ("Africa/Casablanca", 2025),
    ("Africa/Juba", 2021),
    ("Antarctica/Troll", 2025),
    ("Antarctica/Vostok", 2023),
    ("Asia/Almaty", 2024),
    ("Asia/Beirut", 2023),
    ("Asia/Gaza", 2024),
    ("Asia/Kathmandu", 1985),
    ("Asia/Pyongyang", 2015),
    ("Asia/Pyongyang", 2018),
    ("Asia/Tehran", 2022),
    ("Australia/Lord_Howe", 2025),
    ("Australia/Lord_Howe", 1985),
    ("Australia/Sydney", 2025),
    ("Pacific/Apia", 2011),
    ("Pacific/Chatham", 2025),
    ("Pacific/Kiritimati", 1994),
    ("Pacific/Kwajalein", 1993),
    ("Pacific/Norfolk", 2015),
]


@lru_cache(maxsize=64)
def changes_of(zone_year: tuple[str, int]) -> list[datetime]:
    zone, year = zone_year
    return oracle.changes(zone, datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 3, tzinfo=UTC))


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    return st.integers(low, high).map(str)


def elements(low: int, high: int, top_step: int) -> st.SearchStrategy[str]:
    pair = st.tuples(st.integers(low, high), st.integers(low, high)).map(sorted)
    step = st.integers(1, top_step)
    return st.one_of(
        numbers(low, high),
        st.builds(lambda p: f"{p[0]}-{p[1]}", pair),
        st.builds(lambda p, s: f"{p[0]}-{p[1]}/{s}", pair, step),
        st.builds(lambda a, s: f"{a}/{s}", st.integers(low, high), step),
        st.builds(lambda s: f"*/{s}", step),
    )


def fields(element: st.SearchStrategy[str], most: int = 3) -> st.SearchStrategy[str]:
    return st.one_of(st.just("*"), st.lists(element, min_size=1, max_size=most).map(",".join))


SECONDS = st.sampled_from(["0", "0", "30", "*/20", "15,45", "59", "7-9"])
MINUTES = fields(elements(0, 59, 30))
# Most clock changes happen between 23:00 and 04:00.
HOURS = st.one_of(
    st.sampled_from(["*", "*/2", "*/3", "0", "1", "2", "3", "23", "1-3", "0,23", "2,*/6", "0-23"]),
    fields(elements(0, 23, 6)),
)
DATES = st.sampled_from(
    ["* * *"] * 8
    + ["*/2 * *", "L * *", "* * 0", "* * 1-5", "? * SUN", "1,L * *", "* * 0L", "1 * 0#2", "1-15 * 6", "31 12 5"]
)
CLOCK_EXPRESSIONS = st.builds(
    lambda second, minute, hour, dates: f"{second} {minute} {hour} {dates}".removeprefix("0 "),
    SECONDS,
    MINUTES,
    HOURS,
    DATES,
) | st.just("@hourly")

PLAIN_DAYS = fields(elements(1, 31, 15))
PLAIN_MONTHS = fields(st.one_of(elements(1, 12, 6), st.sampled_from(["jan", "FEB", "mar-Sep", "dec"])), most=2)
PLAIN_WEEKDAYS = fields(
    st.one_of(elements(0, 7, 3), st.sampled_from(["sun", "MON-FRI", "tue", "7/2", "7", "wed-sat/2"])), most=2
)
SPECIAL_DAYS = st.one_of(
    PLAIN_DAYS,
    st.just("?"),
    st.lists(
        st.one_of(st.sampled_from(["L", "LW"]), numbers(1, 31).map(lambda n: n + "W"), numbers(1, 31)),
        min_size=1,
        max_size=3,
    ).map(",".join),
)
SPECIAL_WEEKDAYS = st.one_of(
    PLAIN_WEEKDAYS,
    st.just("?"),
    st.lists(
        st.one_of(
            st.builds(lambda d, n: f"{d}#{n}", st.integers(0, 7), st.integers(1, 5)),
            numbers(0, 7).map(lambda n: n + "L"),
            numbers(0, 7),
        ),
        min_size=1,
        max_size=3,
    ).map(",".join),
)


@st.composite
def moments(draw: st.DrawFn) -> tuple[str, datetime, datetime]:
    """A zone, one of its clock changes, and an instant near it."""
    zone_year = draw(st.sampled_from(ZONE_YEARS))
    change = draw(st.sampled_from(changes_of(zone_year)))
    reach = draw(st.sampled_from([5_400, 4 * 3_600, 26 * 3_600]))
    return zone_year[0], change, change + timedelta(seconds=draw(st.integers(-reach, reach)))


@settings(MANY, max_examples=900)
@given(expression=CLOCK_EXPRESSIONS, moment=moments(), pick=st.integers(0, 2**30))
@example(
    expression="30 2 * * *",
    moment=("America/New_York", datetime(2025, 11, 2, 6, tzinfo=UTC), datetime(2025, 11, 2, 6, 30, tzinfo=UTC)),
    pick=1,
)
def test_equals_the_daemon_around_clock_changes(
    expression: str, moment: tuple[str, datetime, datetime], pick: int
) -> None:
    zone, change, after = moment
    end = change + timedelta(hours=32)
    truth = oracle.Oracle(expression).simulate(zone, change - timedelta(hours=30), end)
    schedule = Schedule(cron_expression=expression, timezone=zone)
    expected = [instant for instant in truth if instant > after]
    last = end - timedelta(microseconds=1)

    assert fires_between(schedule, after, last, 120) == expected[:120]
    assert last_fire(schedule, after, last) == (expected[-1] if expected else None)
    # Starting afresh anywhere gives what iterating gives.
    later = after + (end - after) * (pick % 1000) / 1000
    following = [instant for instant in expected if instant > later]
    found = next_fire(schedule, later)
    assert found == following[0] if following else (found is None or found >= end)
    before = [instant for instant in expected if instant <= later]
    assert last_fire(schedule, after, later) == (before[-1] if before else None)


def test_the_zones_do_change() -> None:
    """The property above is only worth something if it looks at real changes."""
    assert len({zone for zone, _ in ZONE_YEARS}) >= 20
    assert all(changes_of(zone_year) for zone_year in ZONE_YEARS)


@pytest.mark.parametrize("zone_year", ZONE_YEARS, ids=lambda zone_year: f"{zone_year[0]}-{zone_year[1]}")
def test_common_jobs_at_every_change(zone_year: tuple[str, int]) -> None:
    """The jobs people have, from one minute before to one minute after each change."""
    for change in changes_of(zone_year):
        end = change + timedelta(hours=6)
        for expression in ("30 2 * * *", "0 */2 * * *", "*/20 1 * * *", "0 0 * * *"):
            truth = oracle.Oracle(expression).simulate(zone_year[0], change - timedelta(hours=26), end)
            schedule = Schedule(cron_expression=expression, timezone=zone_year[0])
            for shift in (-60, -1, 0, 1, 60):
                after = change + timedelta(seconds=shift)
                expected = [instant for instant in truth if instant > after]
                assert fires_between(schedule, after, end - timedelta(seconds=1), 99) == expected


@MANY
@given(expression=CLOCK_EXPRESSIONS.filter(lambda e: len(e.split()) == 5), moment=moments())
def test_leading_zero_seconds_change_nothing(expression: str, moment: tuple[str, datetime, datetime]) -> None:
    zone, _, after = moment
    until = after + timedelta(days=3)
    five = fires_between(Schedule(cron_expression=expression, timezone=zone), after, until, 40)
    six = fires_between(Schedule(cron_expression="0 " + expression, timezone=zone), after, until, 40)
    assert five == six


@MANY
@given(
    expression=CLOCK_EXPRESSIONS,
    zone=st.sampled_from(sorted({zone for zone, _ in ZONE_YEARS})),
    after=st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
)
def test_next_is_later_and_iterating_is_starting_afresh(expression: str, zone: str, after: datetime) -> None:
    """At any instant of three centuries, sub-minute historic offsets included."""
    schedule = Schedule(cron_expression=expression, timezone=zone)
    fires = fires_between(schedule, after, datetime(2300, 1, 1, tzinfo=UTC), 6)
    assert len(fires) == 6
    previous = after
    for instant in fires:
        assert instant > previous
        assert instant.microsecond == 0
        assert next_fire(schedule, previous) == instant
        assert next_fire(schedule, previous + (instant - previous) / 2) == instant
        assert next_fire(schedule, instant - timedelta(microseconds=1)) == instant
        previous = instant
    assert last_fire(schedule, after, fires[-1]) == fires[-1]


@settings(MANY, max_examples=400)
@given(
    days=SPECIAL_DAYS,
    months=PLAIN_MONTHS,
    weekdays=SPECIAL_WEEKDAYS,
    start=st.dates(date(1995, 1, 1), date(2105, 1, 1)),
)
@example(days="*/2", months="*", weekdays="1", start=date(2026, 1, 1))
@example(days="13", months="*", weekdays="5#2", start=date(2026, 1, 1))
def test_equals_the_calendar(days: str, months: str, weekdays: str, start: date) -> None:
    expression = f"15 9,17 {days} {months} {weekdays}"
    expected = [wall.replace(tzinfo=UTC) for wall in oracle.Oracle(expression).walls(start, 900)]
    after = datetime(start.year, start.month, start.day, tzinfo=UTC) - timedelta(seconds=1)
    until = after + timedelta(days=900)
    schedule = Schedule(cron_expression=expression)
    try:
        assert fires_between(schedule, after, until, 2000) == expected
    except ScheduleError as error:
        assert "never comes" in error.reason
        assert not any(oracle.Oracle(expression).walls(date(2000, 1, 1), 146_097 // 10))


PLAIN_EXPRESSIONS = st.builds(
    lambda *texts: " ".join(texts).removeprefix("0 "), SECONDS, MINUTES, HOURS, PLAIN_DAYS, PLAIN_MONTHS, PLAIN_WEEKDAYS
)


@settings(MANY, max_examples=500)
@given(expression=PLAIN_EXPRESSIONS)
def test_croniter_reads_plain_fields_as_we_do(expression: str) -> None:
    """`validate` raises ParserDisagreementError if not; an expression that names no date is refused by both."""
    try:
        validate(Schedule(cron_expression=expression), now=datetime(2026, 1, 1, tzinfo=UTC))
    except ScheduleError as error:
        assert "never comes" in error.reason


@settings(MANY, max_examples=250)
@given(expression=PLAIN_EXPRESSIONS, after=st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)))
def test_croniter_agrees_on_the_wall_clock(expression: str, after: datetime) -> None:
    try:
        table = cron.parse(expression)
    except CronSyntaxError:
        assume(False)
    # croniter takes a day list that adds up to every day for `*`, and a range of one value for the whole field
    days, weekdays = expression.split()[-3], expression.split()[-1]
    assume(table.plain)
    assume(len(table.days_of_month) < 31 or days.startswith("*"))
    assume(len(table.weekdays) < 7 or weekdays.startswith("*"))
    other = croniter(expression, after, second_at_beginning=True, implement_cron_bug=True)
    schedule = Schedule(cron_expression=expression)
    instant = after.replace(tzinfo=UTC)
    for _ in range(3):
        found = next_fire(schedule, instant)
        assert found is not None
        theirs = other.get_next(datetime)
        assert found == theirs.replace(tzinfo=UTC)
        instant = found
