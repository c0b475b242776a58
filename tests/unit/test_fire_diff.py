"""The difference between two schedules, and the clock changes that touch one."""

from datetime import UTC, datetime, timedelta

import pytest

from cronsvc.domain.fire_diff import clock_changes, fire_diff
from cronsvc.domain.schedule import Schedule, fires_between

FROM = datetime(2026, 3, 1, tzinfo=UTC)
T = [FROM + timedelta(hours=n) for n in range(5)]


def test_what_only_one_of_two_lists_has() -> None:
    diff = fire_diff([T[0], T[1], T[3]], [T[1], T[2], T[3], T[4]])
    assert (diff.added, diff.removed, diff.first_changed) == ((T[2], T[4]), (T[0],), T[0])
    assert fire_diff(T, T).first_changed is None


@pytest.mark.parametrize(
    ("expression", "timezone", "month", "expected"),
    [
        ("30 2 * * *", "Europe/Berlin", 3, ("2026-03-29T01:00", "02:00", "03:00", "moved")),
        ("30 2 * * *", "Europe/Berlin", 10, ("2026-10-25T01:00", "02:00", "03:00", "once")),
        ("*/10 * * * *", "Europe/Berlin", 3, ("2026-03-29T01:00", "02:00", "03:00", "left_out")),
        ("*/10 * * * *", "Europe/Berlin", 10, ("2026-10-25T01:00", "02:00", "03:00", "twice")),
        ("0 2 * * *", "Europe/Berlin", 3, ("2026-03-29T01:00", "02:00", "03:00", "moved")),
        ("45 1 * * *", "Australia/Lord_Howe", 4, ("2026-04-04T15:00", "01:30", "02:00", "once")),
        ("0 3 * * *", "Europe/Berlin", 3, None),
        ("30 2 * * 1", "Europe/Berlin", 3, None),
        ("30 2 * * *", "UTC", 3, None),
    ],
)
def test_clock_changes(expression: str, timezone: str, month: int, expected: tuple[str, ...] | None) -> None:
    schedule = Schedule(cron_expression=expression, timezone=timezone)
    begin = datetime(2026, month, 2, 7, 13, 5, 17, tzinfo=UTC)
    found = [
        (f"{each.at:%Y-%m-%dT%H:%M}", f"{each.wall_from:%H:%M}", f"{each.wall_until:%H:%M}", each.effect.value)
        for each in clock_changes(schedule, begin, begin + timedelta(days=30))
    ]
    assert found == ([] if expected is None else [expected])


def test_what_it_says_is_what_fires() -> None:
    """Twice means that the two passes of an hour fire each; once, that only one of them does."""
    night = datetime(2026, 10, 25, 0, 0, tzinfo=UTC) - timedelta(seconds=1)
    for expression, runs in (("*/30 * * * *", 4), ("0,30 2 * * *", 2)):
        schedule = Schedule(cron_expression=expression, timezone="Europe/Berlin")
        assert len(fires_between(schedule, night, night + timedelta(hours=2), 10)) == runs


def test_intervals_have_no_wall_times() -> None:
    assert clock_changes(Schedule(every_seconds=60, timezone="Europe/Berlin"), FROM, FROM + timedelta(days=60)) == []
