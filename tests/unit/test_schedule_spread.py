"""Jitter and H: spread evenly, and the same in every process."""

import itertools
import json
import os
import subprocess
import sys
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronsvc.domain import cron
from cronsvc.domain.schedule import (
    ScheduleError,
    jitter,
    resolve_hash,
)
from tests.unit.test_schedule import NOW, REPEATABLE, SECOND


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
