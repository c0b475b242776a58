"""Which failures are tried again, when, and what an outcome becomes: retry_on, the list of delays, the deadline."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronsvc.domain.execution import Claimed, ErrorDetail, Outcome, Reason, Status, Trigger
from cronsvc.domain.finish import after_loss, after_outcome, after_release
from cronsvc.domain.retry import NEVER_RETRIED, Backoff, BackoffType, delay_seconds, may_retry

NOW = datetime(2026, 3, 1, tzinfo=UTC)
FIXED = Backoff(BackoffType.FIXED, delay_seconds=10, jitter=0)


def claimed(attempt: int = 1, max_attempts: int = 3, **policy: Any) -> Claimed:
    return replace(Claimed(11, 7, NOW, Trigger.SCHEDULE, 1, attempt, max_attempts, attempt, NOW, NOW, None), **policy)


def failed(type_: str, status: int | None = None, *, retryable: bool = True) -> Outcome:
    return Outcome(error=ErrorDetail(type_, "no"), retryable=retryable, http_status=status)


BACKOFFS = st.builds(
    Backoff,
    type=st.sampled_from(BackoffType),
    delay_seconds=st.floats(0, 604_800),
    factor=st.floats(1, 100),
    max_seconds=st.floats(0, 604_800),
    jitter=st.floats(0, 1),
    delays=st.lists(st.floats(0, 604_800), min_size=1, max_size=100).map(tuple),
)


@given(backoff=BACKOFFS, attempt=st.integers(1, 1000), execution_id=st.integers(1, 2**63 - 1))
def test_a_delay_keeps_its_bounds(backoff: Backoff, attempt: int, execution_id: int) -> None:
    delay = delay_seconds(backoff, attempt=attempt, execution_id=execution_id)
    assert 0 <= delay <= backoff.max_seconds
    assert delay == delay_seconds(backoff, attempt=attempt, execution_id=execution_id)
    plain = delay_seconds(replace(backoff, jitter=0, max_seconds=1e12), attempt=attempt, execution_id=execution_id)
    least, most = plain * (1 - backoff.jitter), plain * (1 + backoff.jitter)
    assert delay == backoff.max_seconds or least * (1 - 1e-9) <= delay <= most * (1 + 1e-9) or plain >= 1e12


@given(backoff=BACKOFFS.map(lambda backoff: replace(backoff, jitter=0)), attempt=st.integers(1, 100))
def test_a_computed_delay_never_shrinks(backoff: Backoff, attempt: int) -> None:
    if backoff.type is not BackoffType.LIST:
        first, second = (delay_seconds(backoff, attempt=n, execution_id=1) for n in (attempt, attempt + 1))
        assert first <= second


def test_the_last_delay_of_a_list_repeats() -> None:
    listed = Backoff(BackoffType.LIST, jitter=0, delays=(1, 60, 10))
    assert [delay_seconds(listed, attempt=n, execution_id=1) for n in range(1, 6)] == [1, 60, 10, 10, 10]
    assert delay_seconds(replace(listed, max_seconds=30), attempt=2, execution_id=1) == 30


# retry_on, what failed, whether the job type would retry, → whether it is retried
MAY_RETRY = [
    (None, ("timeout", None), True, True),
    (None, ("http_status", 503), True, True),
    (None, ("http_status", 404), False, False),
    (("timeout", "connect"), ("timeout", None), True, True),
    (("timeout", "connect"), ("connect", None), True, True),
    (("timeout", "connect"), ("http_status", 503), True, False),
    (("http_status:503",), ("http_status", 503), True, True),
    (("http_status:503",), ("http_status", 500), True, False),
    (("http_status:404",), ("http_status", 404), False, True),  # named exactly: even though the job type gives up
    (("http_status",), ("http_status", 503), True, True),
    (("http_status",), ("http_status", 404), False, False),  # a type alone only narrows
    (("timeout",), ("timeout", None), False, False),
    ((), ("timeout", None), True, False),
    *(((each,), (each, None), True, False) for each in sorted(NEVER_RETRIED)),
    *((None, (each, None), True, False) for each in sorted(NEVER_RETRIED)),
]


@pytest.mark.parametrize(("retry_on", "failure", "retryable", "again"), MAY_RETRY)
def test_what_is_tried_again(
    retry_on: tuple[str, ...] | None, failure: tuple[str, int | None], retryable: bool, again: bool
) -> None:
    type_, status = failure
    assert may_retry(retry_on, error_type=type_, http_status=status, retryable=retryable) is again
    finish = after_outcome(claimed(retry_on=retry_on), failed(type_, status, retryable=retryable), FIXED)
    assert finish.status is (Status.QUEUED if again else Status.FAILED)
    last = after_outcome(claimed(3, retry_on=retry_on), failed(type_, status, retryable=retryable), FIXED)
    assert last.status is Status.FAILED  # the budget comes before everything


@pytest.mark.parametrize("interrupted", [after_loss, after_release])
@pytest.mark.parametrize(("retry_on", "again"), [(None, True), (("lost",), True), (("connect",), False), ((), False)])
def test_what_was_interrupted_runs_again_only_where_that_may_be(
    interrupted: Any, retry_on: tuple[str, ...] | None, again: bool
) -> None:
    """Its target may have been called: who retries on `connect` alone wants none of that."""
    finish = interrupted(claimed(retry_on=retry_on))
    assert (finish.status, finish.status_reason) == ((Status.QUEUED, None) if again else (Status.FAILED, Reason.LOST))


# seconds left at the claim, spent, what failed, → status, reason, error type
DEADLINES = [
    (30.0, 5.0, failed("http_status", 503), Status.QUEUED, None, "http_status"),
    (30.0, 19.9, failed("http_status", 503), Status.QUEUED, None, "http_status"),
    (30.0, 20.0, failed("http_status", 503), Status.FAILED, Reason.TIMEOUT, "deadline"),  # the pause would reach it
    (30.0, 30.0, failed("timeout"), Status.FAILED, Reason.TIMEOUT, "deadline"),
    (30.0, 29.99, failed("timeout", retryable=False), Status.FAILED, Reason.TIMEOUT, "deadline"),  # cut by it
    (30.0, 5.0, failed("timeout", retryable=False), Status.FAILED, Reason.TIMEOUT, "timeout"),
    (30.0, 30.0, failed("http_status", 404, retryable=False), Status.FAILED, Reason.ERROR, "http_status"),
    (30.0, 30.0, failed("lost", retryable=False), Status.FAILED, Reason.LOST, "lost"),  # what is unknown stays so
    (30.0, 31.0, Outcome(), Status.SUCCESS, None, None),
    (None, 9e9, failed("timeout"), Status.QUEUED, None, "timeout"),
]


@pytest.mark.parametrize(("left", "spent", "outcome", "status", "reason", "error"), DEADLINES)
def test_the_deadline_of_the_whole_execution(
    left: float | None, spent: float, outcome: Outcome, status: Status, reason: Reason | None, error: str | None
) -> None:
    finish = after_outcome(claimed(deadline_left=left), outcome, FIXED, spent=spent)
    assert (finish.status, finish.status_reason, finish.error and finish.error.type) == (status, reason, error)
    if error == "deadline":  # the attempt's own row keeps what the attempt ended with
        assert finish.attempt_error == outcome.error


def test_a_lost_attempt_after_the_deadline_is_lost() -> None:
    assert after_loss(claimed(deadline_left=0.0)).status_reason is Reason.LOST
    assert after_loss(claimed(deadline_left=0.1)).status is Status.QUEUED


@pytest.mark.parametrize(
    ("outcome", "counted", "attempt", "steers"),
    [
        (Outcome(), False, 1, False),
        (Outcome(), True, 1, True),
        (failed("timeout"), True, 1, False),  # it will be tried again: no end
        (failed("timeout"), True, 3, True),
        (failed("timeout"), False, 3, False),
        (failed("http_status", 410, retryable=False), False, 1, True),  # gone, whatever the job says
        (failed("http_status", 404, retryable=False), False, 1, False),
        (failed("expectation", 410, retryable=False), False, 1, False),
    ],
)
def test_which_ends_may_pause_their_job(outcome: Outcome, counted: bool, attempt: int, steers: bool) -> None:
    assert after_outcome(claimed(attempt, counted=counted), outcome, FIXED).steers_job is steers
