"""The public face of schedules: validation, intervals, one-shots, bounds, jitter, H, words, zones."""

import dataclasses
import itertools
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronsvc.domain import schedule as schedules
from cronsvc.domain import zones
from cronsvc.domain.schedule import Schedule, ScheduleError, fires_between, jitter, last_fire, next_fire
from cronsvc.domain.schedule_validation import faults, validate

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
REPEATABLE = settings(derandomize=True, database=None, deadline=None)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


# --- what is accepted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "field", "words"),
    [
        (Schedule(), "cronExpression", "one of"),
        (Schedule(cron_expression="* * * * *", every_seconds=5), "every", "exactly one"),
        (Schedule(every_seconds=5, run_at=NOW), "runAt", "exactly one"),
        (Schedule(every_seconds=0), "every", "1 second"),
        (Schedule(every_seconds=-60), "every", "1 second"),
        (Schedule(every_seconds=366 * 86_400 + 1), "every", "366 days"),
        (Schedule(every_seconds=60, timezone="Europe/Lodnon"), "timezone", "Europe/London"),
        (Schedule(every_seconds=60, timezone="utc"), "timezone", "such as UTC"),
        (Schedule(every_seconds=60, timezone="Europe"), "timezone", "not a time zone"),
        (Schedule(every_seconds=60, timezone="right/UTC"), "timezone", "not a time zone"),
        (Schedule(every_seconds=60, timezone="localtime"), "timezone", "not a time zone"),
        (Schedule(every_seconds=60, timezone="Factory"), "timezone", "not a time zone"),
        (Schedule(every_seconds=60, timezone="../../etc/passwd"), "timezone", "not a time zone"),
        (Schedule(every_seconds=60, timezone=""), "timezone", "not a time zone"),
        (Schedule(every_seconds=60, timezone="\0" * 5000), "timezone", "not a time zone"),
        (Schedule(every_seconds=60, start_at=datetime(2026, 1, 1)), "startAt", "UTC offset"),
        (Schedule(every_seconds=60, end_at=datetime(2026, 1, 1)), "endAt", "UTC offset"),
        (Schedule(every_seconds=60, anchor=datetime(2026, 1, 1)), "anchor", "UTC offset"),
        (Schedule(run_at=datetime(2026, 1, 1)), "runAt", "UTC offset"),
        (Schedule(run_at=NOW.replace(microsecond=1)), "runAt", "whole seconds"),
        (Schedule(every_seconds=60, anchor=NOW.replace(microsecond=1)), "anchor", "whole seconds"),
        (Schedule(every_seconds=60, start_at=NOW, end_at=NOW - SECOND), "endAt", "before startAt"),
        (Schedule(every_seconds=60, end_at=NOW), "endAt", "no instant"),
        (Schedule(cron_expression="0 13 * * *", end_at=NOW + 3599 * SECOND), "endAt", "no instant"),
        (Schedule(cron_expression="0 0 1 1 *", start_at=NOW, end_at=NOW + SECOND), "endAt", "no instant"),
        (Schedule(run_at=NOW, start_at=NOW + SECOND), "runAt", "before startAt"),
        (Schedule(run_at=NOW, end_at=NOW - SECOND), "runAt", "after endAt"),
        (Schedule(cron_expression="61 * * * *"), "cronExpression", "minute field: '61'"),
    ],
)
def test_refused(schedule: Schedule, field: str, words: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        validate(schedule, now=NOW)
    assert caught.value.field == field
    assert words in caught.value.reason
    assert str(caught.value) == f"{field}: {caught.value.reason}"


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(cron_expression="0 13 * * *", end_at=NOW + 3600 * SECOND),
        Schedule(every_seconds=1),
        Schedule(every_seconds=366 * 86_400),
        Schedule(run_at=NOW - timedelta(days=9)),  # the past is the caller's decision
        Schedule(run_at=NOW, start_at=NOW, end_at=NOW),
        Schedule(every_seconds=60, start_at=NOW, end_at=NOW + 60 * SECOND),
        Schedule(cron_expression="0 0 29 2 *", timezone="Asia/Tokyo"),
    ],
)
def test_accepted(schedule: Schedule) -> None:
    validate(schedule, now=NOW)


def test_naive_instants_are_refused() -> None:
    schedule, naive = Schedule(every_seconds=60), datetime(2026, 1, 1)
    for call in (
        lambda: next_fire(schedule, naive),
        lambda: fires_between(schedule, naive, NOW, 5),
        lambda: fires_between(schedule, NOW, naive, 5),
        lambda: last_fire(schedule, NOW, naive),
        lambda: jitter(1, naive, 5),
        lambda: validate(schedule, now=naive),
    ):
        with pytest.raises(ScheduleError, match="UTC offset"):
            call()


def test_other_offsets_mean_the_same_instant() -> None:
    schedule = Schedule(cron_expression="0 9 * * *", timezone="Europe/London")
    expected = next_fire(schedule, NOW)
    for tz in (timezone(timedelta(hours=5)), ZoneInfo("UTC"), ZoneInfo("America/New_York")):
        found = next_fire(schedule, NOW.astimezone(tz))
        assert found == expected
        assert found is not None and found.tzinfo is UTC
    once = Schedule(run_at=NOW.astimezone(timezone(timedelta(hours=5))))
    found = next_fire(once, NOW - SECOND)
    assert found == NOW
    assert found is not None and found.tzinfo is UTC


# --- intervals and one-shots -----------------------------------------------------------------------------------------


def test_interval_counts_from_the_epoch_or_its_anchor() -> None:
    assert next_fire(Schedule(every_seconds=90), at("1970-01-01T00:00:00Z")) == at("1970-01-01T00:01:30Z")
    anchored = Schedule(every_seconds=3600, anchor=at("2026-03-01T00:07:00Z"))
    assert next_fire(anchored, NOW) == at("2026-03-01T12:07:00Z")
    assert next_fire(anchored, at("2026-03-01T12:07:00Z")) == at("2026-03-01T13:07:00Z")
    assert next_fire(anchored, at("2020-01-01T00:00:00Z")) == at("2020-01-01T00:07:00Z")  # the anchor is a phase
    elsewhere = Schedule(every_seconds=86_400, anchor=datetime(2025, 1, 1, tzinfo=ZoneInfo("Europe/London")))
    assert next_fire(elsewhere, at("2025-07-01T00:00:00Z")) == at("2025-07-02T00:00:00Z")  # real days, no summer time


@REPEATABLE
@given(
    every=st.integers(1, 366 * 86_400),
    anchor=st.datetimes(datetime(1990, 1, 1), datetime(2050, 1, 1)).map(lambda d: d.replace(microsecond=0, tzinfo=UTC)),
    after=st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),
    length=st.integers(0, 40),
)
def test_intervals_never_drift(every: int, anchor: datetime, after: datetime, length: int) -> None:
    schedule = Schedule(every_seconds=every, anchor=anchor)
    until = after + length * timedelta(seconds=every)
    fires = fires_between(schedule, after, until, 100)
    assert len(fires) == length
    assert all((fire - anchor) % timedelta(seconds=every) == timedelta(0) for fire in fires)
    assert all(after < fire <= until for fire in fires)
    assert all(later - earlier == timedelta(seconds=every) for earlier, later in itertools.pairwise(fires))
    assert last_fire(schedule, after, until) == (fires[-1] if fires else None)


def test_one_shot_fires_once() -> None:
    schedule = Schedule(run_at=NOW)
    assert next_fire(schedule, NOW - SECOND) == NOW
    assert next_fire(schedule, NOW) is None
    assert fires_between(schedule, NOW - SECOND, NOW + SECOND, 9) == [NOW]
    assert last_fire(schedule, NOW - timedelta(days=900), NOW + timedelta(days=900)) == NOW
    assert last_fire(schedule, NOW, NOW + SECOND) is None


@pytest.mark.parametrize(
    "base", [Schedule(cron_expression="*/10 * * * *"), Schedule(every_seconds=600)], ids=["cron", "interval"]
)
def test_start_and_end_are_inclusive(base: Schedule) -> None:
    schedule = dataclasses.replace(base, start_at=at("2026-03-01T13:00:00Z"), end_at=at("2026-03-01T13:20:00Z"))
    expected = [at(f"2026-03-01T13:{minute}:00Z") for minute in ("00", "10", "20")]
    day = timedelta(days=1)
    assert fires_between(schedule, NOW - day, NOW + day, 99) == expected
    assert fires_between(schedule, expected[0], NOW + day, 99) == expected[1:]
    assert last_fire(schedule, NOW - day, NOW + day) == expected[-1]
    assert next_fire(schedule, NOW) == expected[0]
    assert next_fire(schedule, expected[-1]) is None
    inside = dataclasses.replace(base, start_at=at("2026-03-01T13:00:01Z"), end_at=at("2026-03-01T13:19:59Z"))
    assert fires_between(inside, NOW, NOW + day, 99) == expected[1:2]


# --- windows ---------------------------------------------------------------------------------------------------------


def test_fires_between_is_open_then_closed_and_limited() -> None:
    schedule = Schedule(cron_expression="0 * * * *")
    assert fires_between(schedule, NOW, NOW + 3600 * SECOND, 9) == [NOW + 3600 * SECOND]
    assert fires_between(schedule, NOW, NOW + 3599 * SECOND, 9) == []
    assert fires_between(schedule, NOW, NOW, 9) == []
    assert fires_between(schedule, NOW, NOW - SECOND, 9) == []
    assert len(fires_between(schedule, NOW, NOW + timedelta(days=99), 7)) == 7
    assert fires_between(schedule, NOW, NOW + timedelta(days=99), 0) == []


@pytest.mark.parametrize(
    ("expression", "zone", "window", "expected"),
    [
        ("* * * * * *", "Europe/London", timedelta(days=366), "2026-03-01T12:00:00Z"),
        ("0 0 1 1 *", "UTC", timedelta(days=3660), "2026-01-01T00:00:00Z"),
        ("* * * 1 1 *", "UTC", timedelta(days=3660), "2026-01-01T23:59:59Z"),
        ("0 0 29 2 *", "UTC", timedelta(days=3660), "2024-02-29T00:00:00Z"),
        ("30 2 9 3 *", "America/New_York", timedelta(days=3660), "2025-03-09T07:00:00Z"),
        ("0 0 29 2 *", "UTC", timedelta(days=300), None),
    ],
)
def test_last_fire_in_long_windows(expression: str, zone: str, window: timedelta, expected: str | None) -> None:
    """Each would take minutes if it were enumerated second by second."""
    found = last_fire(Schedule(cron_expression=expression, timezone=zone), NOW - window, NOW)
    assert found == (None if expected is None else at(expected))


def test_last_fire_keeps_to_its_window() -> None:
    schedule = Schedule(cron_expression="0 * * * *")
    hour = 3600 * SECOND
    assert last_fire(schedule, NOW, NOW + hour - SECOND) is None
    assert last_fire(schedule, NOW - SECOND, NOW) == NOW
    assert last_fire(schedule, NOW, NOW + hour) == NOW + hour
    assert last_fire(schedule, NOW, NOW - hour) is None


def test_a_herd_shares_one_computation(monkeypatch: pytest.MonkeyPatch) -> None:
    searches = []

    def counted(*arguments: object, **options: object) -> datetime:
        searches.append(arguments)
        return NOW + SECOND

    monkeypatch.setattr(zones, "next_instant", counted)
    for _ in range(50):
        assert next_fire(Schedule(cron_expression="59 58 23 30 12 *", timezone="Asia/Tokyo"), NOW) == NOW + SECOND
    assert len(searches) == 1
    assert schedules._remembered_cron.cache_info().maxsize == 8192
    schedules._remembered_cron.cache_clear()


def test_one_fault_does_not_hide_another() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    naive = datetime(2026, 2, 1)
    bad = Schedule(cron_expression="61 * * * *", timezone="Mars/Olympus", start_at=naive, end_at=naive)
    assert [error.field for error in faults(bad, now=now)] == ["timezone", "startAt", "endAt", "cronExpression"]
    assert faults(Schedule(cron_expression="* * * * *"), now=now) == []
    assert [error.field for error in faults(Schedule(), now=now)] == ["cronExpression"]
