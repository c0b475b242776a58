"""From an attempt's outcome to the row's next state: the one place that decides it."""

from cronsvc.domain.execution import Claimed, ErrorDetail, Finish, Outcome, Reason, Status
from cronsvc.domain.retry import Backoff, delay_seconds

LOST = ErrorDetail("lost", "the worker died while it held this execution; whether the target was called is unknown")
RELEASED = ErrorDetail("released", "the worker shut down before the attempt had ended")

_REASONS = {"timeout": Reason.TIMEOUT, "lost": Reason.LOST}


def after_outcome(claimed: Claimed, outcome: Outcome, backoff: Backoff) -> Finish:
    """SUCCESS, or QUEUED again after a pause while the failure is retryable and the budget lasts, or FAILED.

    A pause is the longer of the job's backoff and what the target asked for with Retry-After.
    """
    error = outcome.error
    if error is None:
        return _finish(claimed, outcome, Status.SUCCESS, None, "success")
    word = error.type if error.type in _REASONS else "error"
    if outcome.retryable and claimed.attempt < claimed.max_attempts:
        pause = delay_seconds(backoff, attempt=claimed.attempt, execution_id=claimed.execution_id)
        return _finish(claimed, outcome, Status.QUEUED, None, word, max(pause, outcome.retry_after or 0.0))
    return _finish(claimed, outcome, Status.FAILED, _REASONS.get(error.type, Reason.ERROR), word)


def after_loss(claimed: Claimed) -> Finish:
    """The lease ran out: try again at once while the budget lasts, else FAILED(lost). Never guesses what happened."""
    return _interrupted(claimed, Outcome(error=LOST), "lost")


def after_release(claimed: Claimed) -> Finish:
    """A draining worker stopped an attempt that had begun: it counts, because its target may have been called."""
    return _interrupted(claimed, Outcome(error=RELEASED), "released")


def hand_back(claimed: Claimed, *, seconds: float) -> Finish:
    """Nothing was begun (a drain, an unknown job type): back to QUEUED, and the attempt is refunded."""
    return _finish(claimed, Outcome(error=RELEASED), Status.QUEUED, None, "released", seconds, refund=True)


def _interrupted(claimed: Claimed, outcome: Outcome, word: str) -> Finish:
    if claimed.attempt < claimed.max_attempts:
        return _finish(claimed, outcome, Status.QUEUED, None, word, 0.0)
    return _finish(claimed, outcome, Status.FAILED, Reason.LOST, word)


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
    )
