"""Budgets and breakers of hosts, decided without a database."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronsvc.domain.execution import ErrorDetail, Outcome
from cronsvc.domain.target_host import (
    LONGEST_HOLD_SECONDS,
    BreakerState,
    Budget,
    Go,
    Hold,
    HoldReason,
    HostRule,
    HostUse,
    Verdict,
    after_call,
    failed,
)

CLOSED, OPEN, HALF_OPEN = BreakerState


def rule(state: BreakerState = CLOSED, failures: int = 0, threshold: int | None = 3) -> HostRule:
    return HostRule("a.example", breaker_failures=threshold, state=state, failures=failures)


@pytest.mark.parametrize(
    ("before", "verdict", "state", "failures"),
    [
        (rule(), Verdict(True), CLOSED, 1),
        (rule(failures=1), Verdict(False), CLOSED, 0),
        (rule(failures=2), Verdict(True), OPEN, 3),
        (rule(failures=2), Verdict(True, is_old=True), CLOSED, 2),
        (rule(failures=2), Verdict(False, is_old=True), CLOSED, 2),
        (rule(failures=99, threshold=None), Verdict(True), CLOSED, 100),
        (rule(OPEN, 3), Verdict(False), OPEN, 3),
        (rule(OPEN, 3), Verdict(True), OPEN, 3),
        (rule(HALF_OPEN, 3), Verdict(False), HALF_OPEN, 3),
        (rule(HALF_OPEN, 3), Verdict(False, is_probe=True), CLOSED, 0),
        (rule(HALF_OPEN, 3), Verdict(True, is_probe=True), OPEN, 4),
    ],
)
def test_every_arrow_of_the_drawing(before: HostRule, verdict: Verdict, state: BreakerState, failures: int) -> None:
    after = after_call(before, verdict)
    assert (after.state, after.failures) == (state, failures)


def test_open_lets_one_call_try_when_its_time_is_over() -> None:
    assert Budget(rule(OPEN), HostUse(open_left=7.0)).ask() == Hold(HoldReason.BREAKER, 7.0)
    assert Budget(rule(OPEN), HostUse(open_left=None)).ask() == Hold(HoldReason.BREAKER, LONGEST_HOLD_SECONDS)
    budget = Budget(rule(OPEN), HostUse(open_left=0.0))
    assert budget.ask() == Go(is_probe=True)
    assert isinstance(budget.ask(), Hold)
    assert isinstance(Budget(rule(HALF_OPEN), HostUse(probe_runs=True)).ask(), Hold)
    assert Budget(rule(HALF_OPEN), HostUse()).ask() == Go(is_probe=True), "its probe died"


limits = st.none() | st.integers(1, 20)
counts = st.integers(0, 30)


@given(limits, limits, limits, counts, counts, counts, st.integers(1, 60))
def test_a_batch_never_gets_more_than_there_is(
    second: int | None, minute: int | None, most: int | None, now: int, lately: int, running: int, asks: int
) -> None:
    host = HostRule("a.example", calls_per_second=second, calls_per_minute=minute, max_concurrent=most)
    budget = Budget(host, HostUse(running=running, in_second=now, in_minute=lately))
    answers = [budget.ask() for _ in range(asks)]
    begun = sum(isinstance(each, Go) for each in answers)
    for limit, taken in ((second, now), (minute, lately), (most, running)):
        assert limit is None or begun <= max(0, limit - taken)
    room = [max(0, limit - taken) for limit, taken in ((second, now), (minute, lately), (most, running)) if limit]
    assert begun == min([asks, *room]), "and all that there is"
    held = [each.seconds for each in answers if isinstance(each, Hold)]
    assert held[:5] == sorted(held[:5]), "each after those before it, until the places reach the bound"
    assert all(0 < seconds <= 2 * LONGEST_HOLD_SECONDS for seconds in held)


def test_a_herd_beyond_the_longest_hold_does_not_come_back_in_one_second() -> None:
    budget = Budget(HostRule("a.example", calls_per_minute=60), HostUse(in_minute=60, minute_left=1.0))
    seconds = Counter(int(answer.seconds) for answer in (budget.ask() for _ in range(5000)) if isinstance(answer, Hold))
    assert sum(seconds.values()) == 5000
    assert max(seconds.values()) <= 2 * 5000 / LONGEST_HOLD_SECONDS


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (Outcome(), False),
        (Outcome(error=ErrorDetail("http_status", ""), http_status=503), True),
        (Outcome(error=ErrorDetail("http_status", ""), http_status=429), False),
        (Outcome(error=ErrorDetail("unexpected_body", ""), http_status=200), False),
        (Outcome(error=ErrorDetail("connect", "")), True),
        (Outcome(error=ErrorDetail("lost", "")), True),
        (Outcome(error=ErrorDetail("egress_denied", "")), None),
        (Outcome(error=ErrorDetail("auth_failed", "")), None),
        (Outcome(error=ErrorDetail("connect", ""), elsewhere=True), False),
    ],
)
def test_what_speaks_against_a_host(outcome: Outcome, verdict: bool | None) -> None:
    assert failed(outcome) is verdict
