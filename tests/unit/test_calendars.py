"""Calendars: the date rules against an oracle that walks every instant, and the promises of the two readings."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronsvc.domain.calendars import MOST_MOVED, CalendarRule, ClosedDays
from cronsvc.domain.schedule import (
    Schedule,
    ScheduleError,
    describe,
    fires_between,
    instants_between,
    is_closed,
    last_fire,
    last_instant,
    moved_to,
    next_fire,
    next_instant,
)
from cronsvc.domain.schedule_validation import validate
from cronsvc.domain.zones import zone as rules_of  # the pinned rules, not the host's

TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)
MARGIN = timedelta(days=25)

# A place and a stretch in which its clock changes: at night, at midnight (both ways), by half an hour, by a whole day.
PLACES = [
    ("UTC", date(2026, 6, 1)),
    ("Europe/London", date(2026, 3, 27)),
    ("Europe/London", date(2026, 10, 22)),
    ("America/New_York", date(2026, 3, 5)),
    ("America/Havana", date(2025, 3, 6)),
    ("America/Havana", date(2025, 10, 30)),
    ("Asia/Beirut", date(2026, 3, 26)),
    ("Africa/Cairo", date(2026, 4, 22)),
    ("Africa/Cairo", date(2026, 10, 27)),
    ("America/Santiago", date(2026, 9, 3)),
    ("America/Santiago", date(2026, 4, 1)),
    ("Australia/Lord_Howe", date(2026, 10, 1)),
    ("Pacific/Apia", date(2011, 12, 27)),
]
CRONS = ["30 2 * * *", "0 0 * * *", "30 0,12,23 * * *", "15 */5 * * *", "0 9 * * 6", "0 2 1 * *", "59 23 28-31 * *"]


def local(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone)


def instant_of(wall: datetime, zone: ZoneInfo) -> datetime:
    """Right after the gap, or at the first pass: found by walking back minute by minute."""
    found = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if local(found, zone).replace(tzinfo=None) != wall:
        while local(found - timedelta(minutes=1), zone).replace(tzinfo=None) >= wall:
            found -= timedelta(minutes=1)
    return found


def target(instant: datetime, days: ClosedDays, rule: CalendarRule, zone: ZoneInfo) -> datetime | None:
    if rule is CalendarRule.SKIP:
        return None
    wall = local(instant, zone).replace(tzinfo=None, fold=0)
    step = DAY if rule is CalendarRule.NEXT else -DAY
    day = wall.date() + step
    for _ in range(400):
        if day not in days.dates and day.isoweekday() not in days.weekend:
            found = instant_of(datetime.combine(day, wall.time()), zone)
            if local(found, zone).date() == day:
                return found
        day += step
    return None


def oracle(schedule: Schedule, start: datetime, end: datetime) -> tuple[list[datetime], list[datetime]]:
    """Every event and every run with start < t <= end."""
    days, zone = schedule.closed_days, rules_of(schedule.timezone)
    assert days is not None
    named = fires_between(replace(schedule, calendar=None), start - MARGIN, end + MARGIN, 100_000)
    events, runs = set(named), set()
    for instant in named:
        day = local(instant, zone).date()
        if day not in days.dates and day.isoweekday() not in days.weekend:
            runs.add(instant)
        else:
            moved = target(instant, days, schedule.calendar_rule, zone)
            bounds = (schedule.start_at or start - MARGIN - DAY, schedule.end_at or end + 2 * MARGIN)
            if moved is not None and bounds[0] <= moved <= bounds[1]:
                events.add(moved)
                runs.add(moved)
    return sorted(t for t in events if start < t <= end), sorted(t for t in runs if start < t <= end)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Schedule, datetime, datetime]:
    timezone, first = draw(st.sampled_from(PLACES))
    dates = draw(st.frozensets(st.integers(-3, 12).map(lambda n: first + n * DAY), max_size=9))
    weekend = draw(st.sampled_from([frozenset(), frozenset({6, 7}), frozenset({5, 6}), frozenset({1, 3, 5})]))
    start = datetime(first.year, first.month, first.day, tzinfo=UTC) + timedelta(minutes=draw(st.integers(-600, 3000)))
    end = start + timedelta(hours=draw(st.integers(1, 200)))
    every = draw(st.sampled_from([None, None, None, 5400, 9 * 3600, 86_400]))
    bounded = draw(st.integers(0, 3)) == 0
    schedule = Schedule(
        cron_expression=None if every else draw(st.sampled_from(CRONS)),
        every_seconds=every,
        anchor=start if every else None,
        timezone=timezone,
        start_at=start + timedelta(hours=30) if bounded else None,
        end_at=start + timedelta(hours=100) if bounded else None,
        calendar="holidays",
        calendar_rule=draw(st.sampled_from(CalendarRule)),
        closed_days=ClosedDays(dates, weekend),
    )
    return schedule, start, end


@settings(max_examples=250, deadline=None, derandomize=True, database=None)
@given(situations())
def test_the_rules_of_dates_equal_the_oracle(situation: tuple[Schedule, datetime, datetime]) -> None:
    schedule, start, end = situation
    events, runs = oracle(schedule, start, end)
    assert instants_between(schedule, start, end, 10_000) == events
    assert fires_between(schedule, start, end, 10_000) == runs
    assert [event for event in events if not is_closed(schedule, event)] == runs
    assert last_instant(schedule, start, end) == (events[-1] if events else None)
    assert last_fire(schedule, start, end) == (runs[-1] if runs else None)
    for event in events[:20]:  # starting afresh anywhere agrees with going on
        assert next_instant(schedule, event - TICK) == event
    for run in runs[:20]:
        assert next_fire(schedule, run - TICK) == run
    zone, days = rules_of(schedule.timezone), schedule.closed_days
    assert days is not None
    for event in [each for each in events if is_closed(schedule, each)][:20]:
        moved = moved_to(schedule, event)
        assert moved is None or not days.close(local(moved, zone).date())


CHRISTMAS = ClosedDays(frozenset({date(2026, 12, 25), date(2026, 12, 26)}), frozenset({6, 7}))
NINE = Schedule(cron_expression="0 9 * * *", timezone="Europe/London", calendar="uk", closed_days=CHRISTMAS)


def at(day: int, hour: int, month: int = 12) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rule", "runs"),
    [
        (CalendarRule.SKIP, [at(24, 9), at(28, 9), at(29, 9)]),
        (CalendarRule.NEXT, [at(24, 9), at(28, 9), at(29, 9)]),  # four mornings fall on one moment
        (CalendarRule.PREVIOUS, [at(24, 9), at(28, 9), at(29, 9)]),
    ],
)
def test_moments_that_meet_are_one(rule: CalendarRule, runs: list[datetime]) -> None:
    schedule = replace(NINE, calendar_rule=rule)
    assert fires_between(schedule, at(24, 0), at(29, 23), 100) == runs
    assert len(instants_between(schedule, at(24, 0), at(29, 23), 100)) == 6


def test_the_end_of_the_month_on_the_working_day_before() -> None:
    payroll = replace(NINE, cron_expression="0 9 L * *", calendar_rule=CalendarRule.PREVIOUS)
    after = datetime(2026, 1, 1, tzinfo=UTC)
    found = fires_between(payroll, after, datetime(2026, 12, 31, 23, tzinfo=UTC), 100)
    assert [(each.month, each.day) for each in found[:6]] == [(1, 30), (2, 27), (3, 31), (4, 30), (5, 29), (6, 30)]
    assert moved_to(payroll, datetime(2026, 1, 31, 9, tzinfo=UTC)) == datetime(2026, 1, 30, 9, tzinfo=UTC)


def test_a_calendar_that_closes_everything_is_refused_and_never_loops() -> None:
    sundays = replace(NINE, cron_expression="0 9 * * 0")
    with pytest.raises(ScheduleError, match="closes every instant"):
        validate(sundays, now=at(1, 0))
    assert next_fire(sundays, at(1, 0)) is None
    assert next_instant(sundays, at(1, 0)) == at(6, 9)
    always = replace(NINE, closed_days=ClosedDays(frozenset(), frozenset(range(1, 8))), calendar_rule=CalendarRule.NEXT)
    assert next_fire(always, at(1, 0)) is None and moved_to(always, at(1, 9)) is None


def test_what_is_too_frequent_to_move_says_so() -> None:
    busy = replace(NINE, cron_expression="* * * * * *", calendar_rule=CalendarRule.NEXT)
    with pytest.raises(ScheduleError, match=f"more than {MOST_MOVED}"):
        next_fire(busy, at(26, 0))
    assert next_fire(replace(busy, calendar_rule=CalendarRule.SKIP), at(26, 0)) == at(28, 0)


def test_a_calendar_that_nobody_brought_along_is_not_taken_for_an_empty_one() -> None:
    with pytest.raises(ScheduleError, match="there is no calendar 'uk'"):
        next_fire(replace(NINE, closed_days=None), at(1, 0))


def test_what_a_calendar_does_is_said() -> None:
    assert describe(NINE).endswith(", skipping closed days of uk")
    assert "next working day" in describe(replace(NINE, calendar_rule=CalendarRule.NEXT))
