"""The drawing of the states, the transitions as data, and what an outcome becomes."""

import re
from datetime import UTC, datetime

import pytest

from cronsvc.domain import execution
from cronsvc.domain.execution import (
    REPEATABLE,
    TERMINAL,
    TRANSITIONS,
    Claimed,
    ErrorDetail,
    Outcome,
    Reason,
    Status,
    Trigger,
)
from cronsvc.domain.finish import after_cancel, after_loss, after_outcome, after_release, hand_back
from cronsvc.domain.retry import Backoff, BackoffType, delay_seconds

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def claimed(attempt: int = 1, max_attempts: int = 3) -> Claimed:
    return Claimed(11, 7, NOW, Trigger.SCHEDULE, 1, attempt, max_attempts, attempt, NOW, NOW, None)


def drawn_arrows() -> set[tuple[str, str]]:
    """Read the arrows off the drawing in the module docstring: what leads where, by the lines' own logic."""
    text = execution.__doc__ or ""
    arrows = set()
    if re.search(r"\(fire\) ─+▶ QUEUED", text):
        arrows.add(("(fire)", "QUEUED"))
    if re.search(r"└─+▶ SKIPPED", text):
        arrows.add(("(fire)", "SKIPPED"))
    if re.search(r"QUEUED ─+ claim: .* ─+▶ RUNNING", text):
        arrows.add(("QUEUED", "RUNNING"))
    if re.search(r"┌─+ retry: .* ─+┐", text):
        arrows.add(("RUNNING", "QUEUED"))
    arrows |= {("RUNNING", word) for word in re.findall(r"├─+▶ (\w+)", text)}
    if re.search(r"├─+ its deadline passes ─+▶ FAILED ◀─+┤", text):
        arrows |= {("QUEUED", "FAILED"), ("RUNNING", "FAILED")}
    if re.search(r"└─+▶ CANCELLED ◀─+┘", text):
        arrows |= {("QUEUED", "CANCELLED"), ("RUNNING", "CANCELLED")}
    if again := re.search(r"└─+ again, when somebody asks: ([A-Z, ]+) ─+┘", text):
        arrows |= {(word, "QUEUED") for word in again[1].split(", ")}
    arrows |= set(re.findall(r"(SKIPPED) ─+ backfill ─+▶ (QUEUED)", text))
    return arrows


def test_the_drawing_equals_the_transitions() -> None:
    listed = {(start.value if start else "(fire)", end.value) for start, ends in TRANSITIONS.items() for end in ends}
    assert drawn_arrows() == listed


def test_from_where_it_has_ended_there_is_only_a_new_beginning() -> None:
    assert {status for status in Status if TRANSITIONS[status] == {Status.QUEUED}} == TERMINAL
    assert TERMINAL - {Status.SKIPPED} == REPEATABLE


def test_a_cancelled_attempt_ends_the_execution_and_counts() -> None:
    finish = after_cancel(claimed(), ErrorDetail("cancelled", "left behind"))
    assert (finish.status, finish.status_reason, finish.outcome) == (Status.CANCELLED, Reason.USER, "cancelled")
    assert finish.error is not None and finish.retry_seconds is None and not finish.refund_attempt


def test_success_ends_the_execution() -> None:
    finish = after_outcome(claimed(), Outcome(result={"rows": 3}), Backoff())
    assert (finish.status, finish.status_reason, finish.outcome) == (Status.SUCCESS, None, "success")


@pytest.mark.parametrize(
    ("type_", "retryable", "attempt", "status", "reason"),
    [
        ("http_status", True, 1, Status.QUEUED, None),
        ("http_status", True, 3, Status.FAILED, Reason.ERROR),
        ("http_status", False, 1, Status.FAILED, Reason.ERROR),
        ("timeout", True, 3, Status.FAILED, Reason.TIMEOUT),
        ("lost", False, 1, Status.FAILED, Reason.LOST),
    ],
)
def test_a_failure_retries_while_it_may_and_says_why_when_it_may_not(
    type_: str, retryable: bool, attempt: int, status: Status, reason: Reason | None
) -> None:
    outcome = Outcome(error=ErrorDetail(type_, "no"), retryable=retryable)
    finish = after_outcome(claimed(attempt), outcome, Backoff())
    assert (finish.status, finish.status_reason) == (status, reason)
    assert (finish.retry_seconds is not None) == (status is Status.QUEUED)


def test_retry_after_lengthens_the_pause_and_never_shortens_it() -> None:
    asked = Outcome(error=ErrorDetail("http_status", "429"), retry_after=30)
    assert after_outcome(claimed(), asked, Backoff()).retry_seconds == 30
    shorter = Outcome(error=ErrorDetail("http_status", "429"), retry_after=0.1)
    assert after_outcome(claimed(), shorter, Backoff(jitter=0)).retry_seconds == 2


def test_a_lost_attempt_runs_again_at_once_or_is_recorded_as_lost() -> None:
    again = after_loss(claimed(1))
    assert (again.status, again.retry_seconds, again.outcome) == (Status.QUEUED, 0.0, "lost")
    once = after_loss(claimed(1, max_attempts=1))
    assert (once.status, once.status_reason) == (Status.FAILED, Reason.LOST)


def test_a_released_attempt_counts_and_a_handed_back_one_does_not() -> None:
    assert not after_release(claimed(1)).refund_attempt
    assert after_release(claimed(1, max_attempts=1)).status_reason is Reason.LOST
    assert hand_back(claimed(1), seconds=5).refund_attempt


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        (Backoff(jitter=0), [2, 4, 8]),
        (Backoff(delay_seconds=5, factor=5, jitter=0), [5, 25, 125]),
        (Backoff(BackoffType.LINEAR, delay_seconds=3, jitter=0), [3, 6, 9]),
        (Backoff(BackoffType.FIXED, delay_seconds=7, jitter=0), [7, 7, 7]),
        (Backoff(delay_seconds=100, factor=10, max_seconds=300, jitter=0), [100, 300, 300]),
    ],
)
def test_backoff(backoff: Backoff, expected: list[float]) -> None:
    assert [delay_seconds(backoff, attempt=n, execution_id=1) for n in (1, 2, 3)] == expected


def test_jitter_stays_within_its_share_and_is_the_same_everywhere() -> None:
    delays = [delay_seconds(Backoff(), attempt=1, execution_id=n) for n in range(200)]
    assert all(1.8 <= delay <= 2.2 for delay in delays) and len(set(delays)) > 150
    assert delays == [delay_seconds(Backoff(), attempt=1, execution_id=n) for n in range(200)]


def test_a_huge_budget_does_not_overflow() -> None:
    assert delay_seconds(Backoff(factor=10), attempt=100, execution_id=1) == 300
