"""What the clock has to do with an instant: changes of it, times that do not exist or come twice, lengths in words."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cronsvc.domain.evidence import (
    Verdict,
    length,
)
from cronsvc.domain.explain import explain
from cronsvc.domain.explain_clock import change_near, clock_step, instant_of_wall
from cronsvc.domain.schedule import Schedule, next_fire
from tests.support.evidence import FIRST, JOB, PLAIN, defined, seconds

NEW_YORK = "America/New_York"
GAP = datetime(2026, 3, 8, 7, tzinfo=UTC)
FIRST_PASS, SECOND_PASS = datetime(2026, 11, 1, 5, 30, tzinfo=UTC), datetime(2026, 11, 1, 6, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "at", "says", "runs"),
    [
        ("30 2 * * *", GAP, "02:30 did not exist in America/New_York on 2026-03-08", True),
        ("30 2 * * *", GAP, "right after the gap, at 03:00 (2026-03-08 07:00:00 UTC)", True),
        ("30 2 * * *", GAP + timedelta(minutes=30), "right after the gap, at 03:00", False),
        ("0,20,40 2 * * *", GAP, "02:00, 02:20, 02:40 did not exist", True),
        ("30 * * * *", GAP, "has no instant there", False),
        ("30 * * * *", GAP + timedelta(minutes=30), "02:30 did not exist", True),
        ("0 3 * * *", GAP, "names no time that this touches", True),
        ("30 1 * * *", FIRST_PASS, "the job runs at the first, 2026-11-01 05:30:00 UTC", True),
        ("30 1 * * *", SECOND_PASS, "not again at the second", False),
        ("30 * * * *", SECOND_PASS, "01:30 came twice", True),
        ("30 * * * *", FIRST_PASS, "runs both times", True),
    ],
)
def test_the_rule_of_a_clock_change(expression: str, at: datetime, says: str, runs: bool) -> None:
    """The words agree with the function that fires."""
    schedule = Schedule(cron_expression=expression, timezone=NEW_YORK)
    assert says in clock_step(schedule, at).says
    assert (next_fire(schedule, at - timedelta(microseconds=1)) == at) is runs
    evidence = replace(
        defined(schedule=schedule),
        at=at,
        now=at + timedelta(days=1),
        revision=replace(
            FIRST, definition=replace(PLAIN, schedule=schedule), created_at=datetime(2026, 1, 1, tzinfo=UTC)
        ),
        job=replace(
            JOB,
            definition=replace(PLAIN, schedule=schedule),
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            next_fire_time=at + timedelta(days=2),
        ),
    )
    found = explain(evidence)
    assert found.verdict is (Verdict.MISSING if runs else Verdict.NOT_SCHEDULED)
    assert (says in found.summary) is ("touches" not in says)


def test_changes_of_other_sizes() -> None:
    lord_howe = change_near(datetime(2026, 4, 4, 15, 20, tzinfo=UTC), "Australia/Lord_Howe")
    assert (
        lord_howe is not None and not lord_howe.is_gap and lord_howe.before - lord_howe.later == timedelta(minutes=30)
    )
    apia = change_near(datetime(2011, 12, 30, 12, tzinfo=UTC), "Pacific/Apia")
    assert apia is not None and apia.is_gap and apia.walls[0] == datetime(2011, 12, 30)
    assert change_near(GAP + timedelta(hours=1, seconds=1), NEW_YORK) is None
    assert change_near(GAP, "UTC") is None


def test_wall_times() -> None:
    assert instant_of_wall(datetime(2026, 3, 8, 2, 30), NEW_YORK) == GAP
    assert instant_of_wall(datetime(2026, 11, 1, 1, 30), NEW_YORK) == FIRST_PASS
    assert instant_of_wall(datetime(2026, 7, 1, 9), NEW_YORK) == datetime(2026, 7, 1, 13, tzinfo=UTC)


def test_lengths() -> None:
    spans = [0.0842, 2.44, 185, 7500, 90_061, 86_400]
    assert [length(seconds(each)) for each in spans] == ["84 ms", "2.4 s", "3 min 5 s", "2 h 5 min", "1 d 1 h", "1 d"]
