"""The public face of schedules: validation, intervals, one-shots, bounds, jitter, H, words, zones."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronsvc.domain import cron, zones
from cronsvc.domain import schedule as schedules
from cronsvc.domain.schedule import (
    ParserDisagreementError,
    Schedule,
    ScheduleError,
    check_with_croniter,
    describe,
    faults,
    fires_between,
    jitter,
    last_fire,
    next_fire,
    resolve_hash,
    timezones,
    tzdata_version,
    validate,
)

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


# --- jitter and H: the same in every process -------------------------------------------------------------------------


def test_jitter_is_a_function_of_job_and_instant() -> None:
    assert jitter(7, NOW, 60) == jitter(7, NOW.astimezone(timezone(timedelta(hours=3))), 60)
    assert jitter(7, NOW, 60) != jitter(8, NOW, 60)
    assert jitter(7, NOW, 60) != jitter(7, NOW + SECOND, 60)
    assert jitter(7, NOW, 0) == timedelta(0)
    with pytest.raises(ScheduleError, match="jitterSeconds"):
        jitter(7, NOW, -1)


def test_jitter_is_even() -> None:
    delays = [jitter(job, NOW, 100) / SECOND for job in range(4000)]
    assert 0 <= min(delays) < 1
    assert 99 < max(delays) <= 100
    tenths = [sum(10 * k <= delay < 10 * (k + 1) for delay in delays) for k in range(10)]
    assert all(320 < count < 480 for count in tenths)


def test_the_same_in_another_process() -> None:
    """Python's own `hash` would differ: each process has its own seed."""
    code = (
        "import json\n"
        "from datetime import UTC, datetime\n"
        "from cronsvc.domain.schedule import jitter, resolve_hash\n"
        "print(json.dumps([str(jitter(7, datetime(2026, 3, 1, 12, tzinfo=UTC), 60)), resolve_hash('H H * * *', 'a')]))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert [json.loads(text) for text in seen] == [[str(jitter(7, NOW, 60)), resolve_hash("H H * * *", "a")]]


def test_hash_places_never_move() -> None:
    """Literals: a change here would move the places of jobs that are defined again after an upgrade."""
    assert resolve_hash("H H * * *", "nightly") == "38 12 * * *"
    assert resolve_hash("H/15 H(0-5) H * H", "nightly") == "8-59/15 0 15 * 4"
    assert jitter(7, NOW, 60) == timedelta(seconds=37, microseconds=836_559)


@pytest.mark.parametrize(
    "expression", ["0 9 * * 1-5", "@hourly", "0 0 * mar thu", "nonsense", "", "1 2 3 4 5 6 7", " 0  9 * * * "]
)
def test_without_h_nothing_changes(expression: str) -> None:
    assert resolve_hash(expression, "key") == expression


def test_leading_seconds_move_no_other_field() -> None:
    assert resolve_hash("0 H H * * *", "key") == "0 " + resolve_hash("H H * * *", "key")


@REPEATABLE
@given(key=st.text(max_size=30))
def test_h_resolves_inside_its_bounds(key: str) -> None:
    def numbers(expression: str) -> cron.CronTable:
        resolved = resolve_hash(expression, key)
        assert resolve_hash(expression, key) == resolved
        assert "H" not in resolved
        return cron.parse(resolved)

    every = numbers("H H H H H H")
    assert [len(every.seconds), len(every.minutes), len(every.hours)] == [1, 1, 1]
    assert [len(every.days_of_month), len(every.months), len(every.weekdays)] == [1, 1, 1]
    assert every.days_of_month[0] <= 28  # every month has it
    quarter = numbers("H/15 * * * *")
    assert len(quarter.minutes) == 4
    assert {later - earlier for earlier, later in itertools.pairwise(quarter.minutes)} == {15}
    assert numbers("H(10-29) * * * *").minutes[0] in range(10, 30)
    tens = numbers("H(0-29)/10 * * * *").minutes
    assert len(tens) == 3
    assert tens[-1] <= 29
    assert numbers("H/60 * * * *").minutes[0] in range(60)
    assert 7 in numbers("7,h * * * *").minutes


def test_h_spreads_keys() -> None:
    minutes = {resolve_hash("H * * * *", f"job-{number}").split()[0] for number in range(1000)}
    assert len(minutes) == 60


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("H(30-10) * * * *", "minute field"),
        ("H(0-60) * * * *", "inside 0-59"),
        ("* * H(0-5) * *", "day of month field"),
        ("* * H(1-31)/32 * *", "1 to 31"),
        ("H/61 * * * *", "1 to 60"),
        ("H/0 * * * *", "1 to 60"),
    ],
)
def test_h_refused(expression: str, words: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        resolve_hash(expression, "key")
    assert caught.value.field == "cronExpression"
    assert words in caught.value.reason


# --- words, zones, and the second opinion ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (Schedule(cron_expression="0 9 * * 1-5"), "At 09:00, Monday through Friday"),
        (
            Schedule(cron_expression="0 9 * * 1-5", timezone="Asia/Tokyo"),
            "At 09:00, Monday through Friday (Asia/Tokyo)",
        ),
        (Schedule(cron_expression="@daily"), "At 00:00"),
        (Schedule(cron_expression="@Hourly"), "Every hour"),
        (Schedule(cron_expression="*/10 * * * * *"), "Every 10 seconds"),
        (Schedule(cron_expression="0 0 13 * 5"), "At 00:00, on day 13 of the month, or on Friday"),
        (Schedule(cron_expression="0 0 LW * *"), "At 00:00, on the last weekday of the month"),
        (Schedule(cron_expression="0 0 */2 * 1"), "cron 0 0 */2 * 1"),  # "or on Monday" would be wrong: AND
        (Schedule(cron_expression="0 0 13 * 5#2"), "cron 0 0 13 * 5#2"),
        (Schedule(cron_expression="0 0 * * 1,3#2"), "cron 0 0 * * 1,3#2"),
        (Schedule(cron_expression="*/70 * * * *"), "cron */70 * * * *"),  # hourly, not every 70 minutes
        (Schedule(cron_expression="0 0 * * 1/2"), "cron 0 0 * * 1/2"),
        (Schedule(cron_expression="10 */5,3 * * *"), "cron 10 */5,3 * * *"),  # the library raises
        (Schedule(cron_expression="not cron"), "cron not cron"),
        (Schedule(every_seconds=90), "every 90 seconds"),
        (Schedule(every_seconds=60), "every minute"),
        (Schedule(every_seconds=7200), "every 2 hours"),
        (Schedule(every_seconds=86_400), "every day"),
        (Schedule(run_at=at("2026-01-31T10:00:00+01:00")), "once at 2026-01-31 09:00:00 UTC"),
        (Schedule(), "never"),
    ],
)
def test_describe(schedule: Schedule, words: str) -> None:
    assert describe(schedule) == words


def test_describe_ignores_the_host_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setattr("locale.getlocale", lambda: ("de_DE", "UTF-8"))
    assert describe(Schedule(cron_expression="0 9 * * 1")) == "At 09:00, only on Monday"


@REPEATABLE
@given(text=st.text(max_size=60))
def test_describe_and_parse_survive_anything(text: str) -> None:
    assert describe(Schedule(cron_expression=text))
    try:
        validate(Schedule(cron_expression=text), now=NOW)
    except ScheduleError as error:
        assert error.field == "cronExpression"


def test_timezones_are_those_of_the_package() -> None:
    names = timezones()
    assert {"UTC", "Europe/London", "America/Argentina/Buenos_Aires", "Asia/Kolkata", "Etc/GMT+5"} <= names
    assert not names & {"Factory", "localtime", "posixrules"}
    assert not any(name.startswith("right/") for name in names)
    assert len(names) > 550
    for name in names:
        assert zones.zone(name).key == name
    assert tzdata_version().startswith("20")


@pytest.fixture
def lying_host(tmp_path: Path) -> Iterator[None]:
    """A host whose file for Europe/London holds Tokyo's rules."""
    tokyo = resources.files("tzdata").joinpath("zoneinfo", "Asia", "Tokyo").read_bytes()
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "London").write_bytes(tokyo)
    zoneinfo.reset_tzpath(to=[tmp_path])
    zones.zone.cache_clear()
    yield
    zoneinfo.reset_tzpath()
    zones.zone.cache_clear()


@pytest.mark.usefixtures("lying_host")
def test_zone_rules_do_not_come_from_the_host() -> None:
    assert NOW.astimezone(ZoneInfo.no_cache("Europe/London")).utcoffset() == timedelta(hours=9)
    assert NOW.astimezone(zones.zone("Europe/London")).utcoffset() == timedelta(0)


def test_zone_rules_are_new_enough() -> None:
    """Morocco: by 2025b it keeps +01 in December 2026, by 2026f it does not."""
    schedule = Schedule(cron_expression="0 9 1 12 *", timezone="Africa/Casablanca")
    assert next_fire(schedule, at("2026-11-01T00:00:00Z")) == at("2026-12-01T09:00:00Z")


def test_croniter_disagreement_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """If our parser were wrong, defining a job would say so instead of firing at other times than promised."""
    check_with_croniter("1 2 3 4 5")
    check_with_croniter("5-5 * * * *")  # known to be read wrongly there: not asked
    check_with_croniter("0 0 13 * 5#2")
    genuine = cron.parse

    def wrong(expression: str) -> cron.CronTable:
        return dataclasses.replace(genuine(expression), weekdays=(1,))

    monkeypatch.setattr(cron, "parse", wrong)
    with pytest.raises(ParserDisagreementError, match="day of week field"):
        check_with_croniter("1 2 3 4 6")


def test_tables_are_in_order() -> None:
    table = cron.parse("50,10,30 59,1 23,2-4 31,1 12,1 7,1")
    assert (table.seconds, table.minutes, table.hours) == ((10, 30, 50), (1, 59), (2, 3, 4, 23))
    assert (table.days_of_month, table.months, table.weekdays) == ((1, 31), (1, 12), (0, 1))
    assert table.next_wall(datetime(2026, 1, 1)) == datetime(2026, 1, 1, 2, 1, 10)
    assert len(table.days_by_shape) == 28
    assert date(2026, 1, 31).day in table.days_by_shape[cron._shape(2026, 1)]


def test_one_fault_does_not_hide_another() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    naive = datetime(2026, 2, 1)
    bad = Schedule(cron_expression="61 * * * *", timezone="Mars/Olympus", start_at=naive, end_at=naive)
    assert [error.field for error in faults(bad, now=now)] == ["timezone", "startAt", "endAt", "cronExpression"]
    assert faults(Schedule(cron_expression="* * * * *"), now=now) == []
    assert [error.field for error in faults(Schedule(), now=now)] == ["cronExpression"]
