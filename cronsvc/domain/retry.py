"""Whether a failure is worth another attempt, and how long to wait before it.

Pure: the spread is a hash of (execution, attempt), so every process that works it out gets the same number.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

# No backoff or Retry-After is longer, whatever was reported.
LONGEST_PAUSE_SECONDS = 7 * 86_400.0


class BackoffType(StrEnum):
    EXPONENTIAL = "exponential"  # delay * factor ** (attempt - 1)
    LINEAR = "linear"  # delay * attempt
    FIXED = "fixed"  # delay
    LIST = "list"  # delays[attempt - 1]; the last one repeats


MOST_SECONDS = 604_800.0  # a week between two attempts is the longest a job may ask for

# What no attempt can mend, and what `retry_on` therefore cannot name.
NEVER_RETRIED = frozenset({"egress_denied", "invalid_config", "secret_unknown", "deadline"})


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds between attempts. `jitter` is the share (0..1) by which a delay may be longer or shorter.

    `delays` is for the type LIST alone, which needs at least one and has no use for `delay_seconds` and `factor`.
    """

    type: BackoffType = BackoffType.EXPONENTIAL
    delay_seconds: float = 2.0
    factor: float = 2.0
    max_seconds: float = 300.0
    jitter: float = 0.1
    delays: tuple[float, ...] = ()


def delay_seconds(backoff: Backoff, *, attempt: int, execution_id: int) -> float:
    """Seconds to wait after `attempt` (1 for the first) has failed; never negative, never more than `max_seconds`."""
    match backoff.type:
        case BackoffType.EXPONENTIAL:
            # The exponent is bounded so that a budget of a hundred attempts cannot overflow the float.
            plain = backoff.delay_seconds * backoff.factor ** min(attempt - 1, 64)
        case BackoffType.LINEAR:
            plain = backoff.delay_seconds * attempt
        case BackoffType.FIXED:
            plain = backoff.delay_seconds
        case BackoffType.LIST:
            plain = backoff.delays[min(attempt, len(backoff.delays)) - 1]
    digest = hashlib.blake2b(f"{execution_id}:{attempt}".encode(), digest_size=8).digest()
    spread = int.from_bytes(digest) / 2**63 - 1.0  # -1.0 .. 1.0
    return max(0.0, min(backoff.max_seconds, plain * (1.0 + backoff.jitter * spread)))


def may_retry(retry_on: Sequence[str] | None, *, error_type: str, http_status: int | None, retryable: bool) -> bool:
    """Whether a failure is one to try again after, budget aside; `retryable` is what the job type says of it.

    `retry_on` None: as the job type says. Else only what it names: `"timeout"` lets through what has that error type
    and is retryable, `"http_status:404"` exactly that answer even though the job type would give up. What no attempt
    can mend (NEVER_RETRIED) is not retried whatever is named.
    """
    if error_type in NEVER_RETRIED:
        return False
    if retry_on is None:
        return retryable
    if http_status is not None and f"{error_type}:{http_status}" in retry_on:
        return True
    return retryable and error_type in retry_on
