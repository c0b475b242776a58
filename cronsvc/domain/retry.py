"""How long to wait before the next attempt.

Pure: the spread is a hash of (execution, attempt), so every process that works it out gets the same number.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum


class BackoffType(StrEnum):
    EXPONENTIAL = "exponential"  # delay * factor ** (attempt - 1)
    LINEAR = "linear"  # delay * attempt
    FIXED = "fixed"  # delay


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds between attempts. `jitter` is the share (0..1) by which a delay may be longer or shorter."""

    type: BackoffType = BackoffType.EXPONENTIAL
    delay_seconds: float = 2.0
    factor: float = 2.0
    max_seconds: float = 300.0
    jitter: float = 0.1


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
    digest = hashlib.blake2b(f"{execution_id}:{attempt}".encode(), digest_size=8).digest()
    spread = int.from_bytes(digest) / 2**63 - 1.0  # -1.0 .. 1.0
    return max(0.0, min(backoff.max_seconds, plain * (1.0 + backoff.jitter * spread)))
