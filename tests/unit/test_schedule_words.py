"""A schedule in words, the zones it may name, and croniter's second opinion."""

import dataclasses
import zoneinfo
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronsvc.domain import cron, zones
from cronsvc.domain.schedule import (
    ParserDisagreementError,
    Schedule,
    ScheduleError,
    check_with_croniter,
    describe,
    next_fire,
    timezones,
    tzdata_version,
)
from cronsvc.domain.schedule_validation import validate
from tests.unit.test_schedule import NOW, REPEATABLE, at


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
