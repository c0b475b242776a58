"""What one attempt at a target means: the table of reliability.md §5.3 as one function.

                                              at least once           at most once (max_attempts = 1)
    a status that is wanted (2xx unless the
      job says which), answer complete        success                 success
    the same, but its body is not as wanted   retry                   failed
    401 to a token that was kept              retry, with another     failed
    3xx                                       failed                  failed
    408 425 429, 5xx but 501 and 505          retry                   failed
    any other status                          failed                  failed
    no connection, name or TLS, or too late
      before the request was written          retry                   retry (provably not run)
    time-out, reset or nonsense after that    retry                   lost (its effect is unknown)
    no token: its server is away              retry                   retry (provably not run)
    no token: its server refuses              failed                  failed
    target not permitted, bad configuration   failed                  failed

"retry" only says that another attempt may help; whether one is left is the worker's to know.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from cronsvc.domain.execution import ErrorDetail, Outcome
from cronsvc.errors import InvalidInput
from cronsvc.executors.egress import TargetRefused

UNAUTHORIZED = 401
RETRYABLE_STATUSES = frozenset({408, 425, 429})
FINAL_SERVER_ERRORS = frozenset({501, 505})  # the server says it never will
RETRY_AFTER_LIMIT_SECONDS = 3600.0

SECONDS = re.compile(r"[0-9]{1,18}", re.ASCII)


class Trouble(StrEnum):
    """Why an attempt has no usable answer. The part before the dot is the error type."""

    CONNECT = "connect"  # no address for the name, refused, unreachable, or not connected in time
    TLS = "tls"  # the handshake failed: certificate or protocol
    UNSENT = "timeout.unsent"  # the deadline passed before the request was written
    TIMEOUT = "timeout"  # the deadline passed afterwards
    UNEXPECTED_BODY = "unexpected_body"  # the status is wanted, what came with it is not
    AUTH_LATER = "auth_failed.later"  # the token server is away or overloaded
    AUTH_FAILED = "auth_failed"  # the token server refused us, or gave no token
    PROTOCOL = "protocol"  # reset, closed early, or not HTTP, after the request was written
    EGRESS_DENIED = "egress_denied"  # the target's address is not permitted
    INVALID_CONFIG = "invalid_config"  # the definition cannot be turned into a request

    @property
    def error_type(self) -> str:
        """The stable `error.type`."""
        return self.value.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`error_type` is None for success; `retryable` says whether another attempt could end differently."""

    error_type: str | None
    retryable: bool


SUCCESS = Verdict(None, retryable=False)


def is_success(status: int) -> bool:
    """What counts as success where nobody says otherwise."""
    return 200 <= status <= 299


def judge(
    happened: int | Trouble,
    *,
    at_most_once: bool,
    accepts: Callable[[int], bool] = is_success,
    token_was_kept: bool = False,
) -> Verdict:
    """Read the table: `happened` is the HTTP status of a complete answer, or the trouble that stood in its place.

    `accepts` says which statuses are wanted, `token_was_kept` that the call bore a token from an earlier one.
    """
    if isinstance(happened, int):
        if accepts(happened):
            return SUCCESS
        transient = happened in RETRYABLE_STATUSES or (500 <= happened <= 599 and happened not in FINAL_SERVER_ERRORS)
        transient = transient or (happened == UNAUTHORIZED and token_was_kept)
        return Verdict("http_status", retryable=transient and not at_most_once)
    match happened:
        case Trouble.CONNECT | Trouble.TLS | Trouble.UNSENT | Trouble.AUTH_LATER:
            return Verdict(happened.error_type, retryable=True)
        case Trouble.UNEXPECTED_BODY:
            return Verdict(happened.error_type, retryable=not at_most_once)
        case Trouble.TIMEOUT | Trouble.PROTOCOL:
            return Verdict("lost" if at_most_once else happened.error_type, retryable=not at_most_once)
        case Trouble.EGRESS_DENIED | Trouble.INVALID_CONFIG | Trouble.AUTH_FAILED:
            return Verdict(happened.error_type, retryable=False)


def retry_after_seconds(value: str | None, *, now: datetime) -> float | None:
    """Seconds a `Retry-After` header asks for, at most an hour. None when absent, in the past or not understood.

    `now` (aware) is what its date form is measured from.
    """
    if value is None:
        return None
    text = value.strip()
    if SECONDS.fullmatch(text):
        return min(float(text), RETRY_AFTER_LIMIT_SECONDS)
    instant = http_date(text)
    if instant is None or instant < now:
        return None
    return min((instant - now).total_seconds(), RETRY_AFTER_LIMIT_SECONDS)


def http_date(value: str | None) -> datetime | None:
    """The aware instant an HTTP date names; None when it is absent or not a date."""
    if not value:
        return None
    try:
        instant = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant


def refused(error: InvalidInput) -> Outcome:
    """The outcome of an attempt whose configuration `parse` turned down in the worker: nothing was sent."""
    trouble = Trouble.EGRESS_DENIED if isinstance(error, TargetRefused) else Trouble.INVALID_CONFIG
    verdict = judge(trouble, at_most_once=False)
    return Outcome(error=ErrorDetail(trouble.error_type, str(error)), retryable=verdict.retryable)
