"""The project's cron vectors: every line of both files, and the forms that people ask about."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cronsvc.domain.schedule import Schedule, ScheduleError, fires_between, next_fire
from cronsvc.domain.schedule_validation import validate

DATA = Path(__file__).parent / "data"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text().splitlines() if line.strip()]


def label(vector: dict[str, Any]) -> str:
    return f"{vector['expr'][:40]!a} {vector.get('tz', '')} {vector.get('after', '')}"


@pytest.mark.parametrize("vector", lines("cron_examples.jsonl"), ids=label)
def test_examples(vector: dict[str, Any]) -> None:
    schedule = Schedule(cron_expression=vector["expr"], timezone=vector["tz"])
    after = datetime.fromisoformat(vector["after"])
    expected = [datetime.fromisoformat(text) for text in vector["next"]]
    validate(schedule, now=after)
    assert fires_between(schedule, after, expected[-1], len(expected)) == expected
    for instant in expected:
        after_this = next_fire(schedule, after)
        assert after_this == instant
        assert after_this.tzinfo is UTC
        after = after_this


@pytest.mark.parametrize("vector", lines("cron_invalid_examples.jsonl"), ids=label)
def test_invalid_examples(vector: dict[str, Any]) -> None:
    with pytest.raises(ScheduleError) as caught:
        validate(Schedule(cron_expression=vector["expr"]), now=NOW)
    assert caught.value.field == "cronExpression"
    assert len(caught.value.reason) > 10


REFUSED = [
    ("0 0 0 1 1 * 2026", "7 fields"),
    ("", "empty"),
    ("   ", "empty"),
    ("@reboot", "not a known macro"),
    ("@every 5m", "not a known macro"),
    ("R * * * *", "random"),
    ("H * * * *", "resolved when the job is created"),
    ("H(0-29)/10 * * * *", "resolved when the job is created"),
    ("*/0 * * * *", "from 1"),
    ("/5 * * * *", "expected"),
    ("5/ * * * *", "from 1"),
    ("1,,2 * * * *", "missing"),
    ("? * * * *", "? stands alone"),
    ("0 0 ?,5 * *", "? stands alone"),
    ("0 0 * * fri-mon", "5-6,0-1"),
    ("0 0 * * sat-sun", "6-7"),
    ("0 0 * dec-jan *", "12-12,1-1"),
    ("0 0 * * friday", "expected"),
    ("0 0 1-5W * *", "day of month"),
    ("0 0 W * *", "day of month"),
    ("0 0 L-3 * *", "not supported"),
    ("0 0 * * 5#6", "1 to 5"),
    ("0 0 * * 5#0", "1 to 5"),
    ("0 0 * * 1-5#2", "day of week"),
    ("0 0 0 * *", "day of month"),
    ("0 0 * 0 *", "month"),
    ("0 0 31 2,4,6,9,11 *", "never comes"),
    ("0 0 31 4 ?", "never comes"),
    ("٥ * * * *", "ASCII"),
    ("0\u00a00 * * *", "ASCII"),
    ("0 0 * * *\n", "one line"),
    ("0 0\r* * *", "one line"),
    ("99999 * * * *", "expected"),
    ("0 0 * * *" + " " * 248, "256"),
    ("*/" + "9" * 250 + " * * * *", "256"),
]


@pytest.mark.parametrize(("expression", "words"), REFUSED, ids=lambda value: ascii(value[:30]))
def test_refused_with_a_reason(expression: str, words: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        validate(Schedule(cron_expression=expression), now=NOW)
    assert words in caught.value.reason


@pytest.mark.parametrize(
    ("expression", "first"),
    [
        ("0 0 29 2 */7", "2032-02-29T00:00:00Z"),  # * joins by AND: a Sunday 29 February
        ("0 0 * 2 0#5", "2032-02-29T00:00:00Z"),
        ("0 0 31W 4 *", "2026-04-30T00:00:00Z"),
        ("0 0 1W 8 *", "2026-08-03T00:00:00Z"),  # the 1st is a Saturday: forwards, never into July
        ("0 0 * * friL", "2026-01-30T00:00:00Z"),
        ("0 0 * * FRI#2", "2026-01-09T00:00:00Z"),
        ("0\t9 * * 1", "2026-01-05T09:00:00Z"),
        ("  0 9 * * 1  ", "2026-01-05T09:00:00Z"),
        ("@Daily", "2026-01-02T00:00:00Z"),
        ("5-5 * * * *", "2026-01-01T00:05:00Z"),
        ("59/15 * * * *", "2026-01-01T00:59:00Z"),
        ("0 0 * * 5-7", "2026-01-02T00:00:00Z"),
        ("0 0 ? * ?", "2026-01-02T00:00:00Z"),
    ],
)
def test_accepted(expression: str, first: str) -> None:
    schedule = Schedule(cron_expression=expression)
    validate(schedule, now=NOW)
    assert next_fire(schedule, NOW) == datetime.fromisoformat(first)


def test_rarest_date_is_found_across_2100() -> None:
    """After 29 February 2072, the next one on the same weekday is 40 years away, since 2100 is no leap year."""
    schedule = Schedule(cron_expression="0 0 29 2 */8", timezone="UTC")  # */8 is Sunday alone, joined by AND
    assert next_fire(schedule, datetime(2072, 2, 1, tzinfo=UTC)) == datetime(2088, 2, 29, tzinfo=UTC)
    monday = Schedule(cron_expression="0 0 ? 2 1#5")
    assert next_fire(monday, datetime(2072, 2, 29, tzinfo=UTC)) == datetime(2112, 2, 29, tzinfo=UTC)
    validate(monday, now=datetime(2072, 2, 29, tzinfo=UTC))


def test_always_in_a_gap_is_refused() -> None:
    """New York has no 02:00 on the second Sunday of March, and a job that follows the clock does not make it up."""
    with pytest.raises(ScheduleError, match="clock changes"):
        validate(Schedule(cron_expression="*/5 2 ? 3 0#2", timezone="America/New_York"), now=NOW)
    fixed = Schedule(cron_expression="5 2 ? 3 0#2", timezone="America/New_York")
    validate(fixed, now=NOW)
    assert next_fire(fixed, NOW) == datetime(2026, 3, 8, 7, 0, tzinfo=UTC)


HOSTILE = [
    "* * * * " + ",".join(["*"] * 124),
    "* * " + ",".join(["15W"] * 61) + " * 1",
    "* * * * " + ",".join(["5#2", "5L"] * 35),
    "0-59," * 49 + "1 * * * *",
    "*/1," * 61 + "1 * * * *",
    "1-1," * 61 + "1 * * * *",
    "," * 256,
    "-" * 256,
    "/" * 256,
    "H(" * 128,
    "L" * 256,
    "@" * 256,
    "* " * 128,
    "? " * 128,
    "#" * 248 + " * * * *",
]


def test_hostile_expressions_cost_little() -> None:
    """A generous ceiling in process time: what it guards against is seconds, not a slow machine."""
    for expression in HOSTILE:
        assert len(expression) <= 256
        started = time.process_time()
        try:
            found = next_fire(Schedule(cron_expression=expression), NOW)
        except ScheduleError:
            continue
        finally:
            assert time.process_time() - started < 0.5
        assert found is not None
        assert found > NOW


def test_next_fire_near_the_ends_of_time() -> None:
    schedule = Schedule(cron_expression="0 0 29 2 *", timezone="Pacific/Auckland")
    assert next_fire(schedule, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)) is None
    assert next_fire(Schedule(every_seconds=60), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)) is None
    early = next_fire(Schedule(cron_expression="* * * * *", timezone="Europe/Amsterdam"), datetime(2, 1, 1, tzinfo=UTC))
    assert early is not None
    assert early - datetime(2, 1, 1, tzinfo=UTC) <= timedelta(minutes=1)
