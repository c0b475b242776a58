"""From an attempt's outcome to the row's next state: the one place that decides it."""

import math
from dataclasses import replace

from cronsvc.domain.execution import Claimed, ErrorDetail, Finish, Outcome, Reason, Status
from cronsvc.domain.retry import LONGEST_PAUSE_SECONDS, Backoff, delay_seconds, may_retry

LOST = ErrorDetail("lost", "the worker died while it held this execution; whether the target was called is unknown")
RELEASED = ErrorDetail("released", "the worker shut down before the attempt had ended")

_REASONS = {"timeout": Reason.TIMEOUT, "lost": Reason.LOST}

# An attempt that was cut at the deadline ends this close to it, by two clocks.
_ROUNDING_SECONDS = 0.05


def after_outcome(claimed: Claimed, outcome: Outcome, backoff: Backoff, *, spent: float = 0.0) -> Finish:
    """SUCCESS, or QUEUED again after a pause while the failure may be retried and the budget lasts, or FAILED.

    What the target has taken over stays RUNNING, and waits.
    What may be retried is `retry.may_retry`'s to say. A pause is the longer of the job's backoff and what the target
    asked for with Retry-After. `spent`: seconds since the claim; when the pause would reach the deadline, or the
    attempt was cut by it, the end is FAILED(timeout) with the error type `deadline`.
    """
    error = outcome.error
    if outcome.awaiting is not None:
        return replace(_finish(claimed, outcome, Status.RUNNING, None, "awaiting"), awaiting=outcome.awaiting)
    if error is None:
        return _finish(claimed, outcome, Status.SUCCESS, None, "success")
    word = error.type if error.type in _REASONS else "error"
    left = math.inf if claimed.deadline_left is None else claimed.deadline_left - spent
    again = claimed.attempt < claimed.max_attempts and may_retry(
        claimed.retry_on, error_type=error.type, http_status=outcome.http_status, retryable=outcome.retryable
    )
    if again:
        pause = delay_seconds(backoff, attempt=claimed.attempt, execution_id=claimed.execution_id)
        pause = min(max(pause, outcome.retry_after or 0.0), LONGEST_PAUSE_SECONDS)
        if pause < left:
            return _finish(claimed, outcome, Status.QUEUED, None, word, pause)
    if again or (error.type == "timeout" and left <= _ROUNDING_SECONDS):
        return _overdue(claimed, outcome, error, word)
    return _finish(claimed, outcome, Status.FAILED, _REASONS.get(error.type, Reason.ERROR), word)


def after_loss(claimed: Claimed) -> Finish:
    """The lease ran out: try again at once while the budget lasts, else FAILED(lost). Never guesses what happened.

    A job that names what it retries on is run again only if it names `lost`: the target may have been called.
    """
    return _interrupted(claimed, Outcome(error=LOST), "lost")


def after_release(claimed: Claimed) -> Finish:
    """A draining worker stopped an attempt that had begun: it counts, because its target may have been called."""
    return _interrupted(claimed, Outcome(error=RELEASED), "released")


def after_cancel(claimed: Claimed, error: ErrorDetail | None = None) -> Finish:
    """A person wanted it to end, and the attempt has been stopped; `error` is what it still said, if anything."""
    return _finish(claimed, Outcome(error=error), Status.CANCELLED, Reason.USER, "cancelled")


def hand_back(claimed: Claimed, *, seconds: float) -> Finish:
    """Nothing was begun (a drain, an unknown job type): back to QUEUED, and the attempt is refunded."""
    return _finish(claimed, Outcome(error=RELEASED), Status.QUEUED, None, "released", seconds, refund=True)


def _interrupted(claimed: Claimed, outcome: Outcome, word: str) -> Finish:
    in_time = claimed.deadline_left is None or claimed.deadline_left > 0
    again = may_retry(claimed.retry_on, error_type="lost", http_status=None, retryable=True)
    if claimed.attempt < claimed.max_attempts and in_time and again:
        return _finish(claimed, outcome, Status.QUEUED, None, word, 0.0)
    return _finish(claimed, outcome, Status.FAILED, Reason.LOST, word)


def _overdue(claimed: Claimed, outcome: Outcome, last: ErrorDetail, word: str) -> Finish:
    """FAILED because the deadline leaves no time; the attempt keeps the error it ended with."""
    error = ErrorDetail("deadline", f"the deadline leaves no time for another attempt; {last.type}: {last.message}")
    finish = _finish(claimed, replace(outcome, error=error), Status.FAILED, Reason.TIMEOUT, word)
    return replace(finish, attempt_error=last)


def _finish(
    claimed: Claimed,
    outcome: Outcome,
    status: Status,
    reason: Reason | None,
    word: str,
    retry_seconds: float | None = None,
    *,
    refund: bool = False,
) -> Finish:
    return Finish(
        execution_id=claimed.execution_id,
        job_id=claimed.job_id,
        scheduled_time=claimed.scheduled_time,
        claim_no=claimed.claim_no,
        ready_at=claimed.ready_at,
        status=status,
        status_reason=reason,
        outcome=word,
        retry_seconds=retry_seconds,
        refund_attempt=refund,
        result=outcome.result,
        error=outcome.error,
        http_status=outcome.http_status,
        excerpt=outcome.excerpt,
        counted=claimed.counted,
    )
