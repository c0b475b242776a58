"""One call until it is answered: what is sent when, what counts as an answer, and what is tried again.

`conversation` does no input and output. It yields what is to be done next, `Send` or `Wait`, and is told how it went;
the sync and the async client do it. What it promises:

- a request is repeated only if that cannot do it twice: see `Call.repeatable`; or if it was surely not carried out,
  because no connection was made or the service answered 429;
- waits are drawn between nothing and a bound that doubles, and never shorter than a `Retry-After`;
- no call lasts longer than `total` seconds, no try longer than `per_try`; the sync client looks at the clock when a
  piece of the body has come, so headers that trickle in can hold it for longer than that.
"""

import json
import math
import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Any, TypeVar

from pydantic import ValidationError

from cronsvc.client.calls import Call
from cronsvc.client.errors import BY_STATUS, ApiError, ClientError, FieldError, UnexpectedAnswer, Unreachable

T = TypeVar("T")

_AWAY = (502, 503, 504)
_FOREIGN = (401, 403, 404)  # without a problem document: of another service, or of something before this one
_IS_IT = "is this the URL of a cronsvc?"
_LONGEST_TEXT = 2_000


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how patiently. `tries` 1: never again. `longest_wait` bounds what `Retry-After` may ask for."""

    tries: int = 4
    first_wait: float = 0.25
    longest_wait: float = 30.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for one try, and for a call with all its tries and waits."""

    per_try: float = 15.0
    total: float = 60.0


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request, and wait so many seconds for the end of its answer."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. Names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """Nothing came back. `sent` is false when the service cannot have seen the request."""

    reason: str
    sent: bool
    is_lasting: bool = False  # another try would fail the same way


Told = Reply | Failure | None


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Why a try is no success, and whether another one may be made."""

    error: ClientError
    may_repeat: bool
    at_least: float = 0.0


def conversation(
    call: Call[T], retries: Retries, timeouts: Timeouts, *, clock: Callable[[], float]
) -> Generator[Send | Wait, Told, T]:
    """Return what the call is answered with. Raises a ClientError."""
    deadline = clock() + timeouts.total
    is_unclear = False  # an earlier try may have been carried out
    for number in count(1):
        told = yield Send(max(0.001, min(timeouts.per_try, deadline - clock())))
        if isinstance(told, Reply) and told.status in call.statuses:
            return _read(call, told)
        if isinstance(told, Reply) and is_unclear and 204 in call.statuses and _says_that_it_is_not_there(told):
            return call.answer(b"")  # it is gone, as was wished
        verdict = _judge(call, told)
        if isinstance(told, Failure):
            is_unclear = is_unclear or told.sent
        elif told is not None and told.status in _AWAY:
            is_unclear = True
        if isinstance(verdict.error, Unreachable):
            verdict.error.unclear = is_unclear
        wait = verdict.at_least + random.uniform(0, _bound(retries, number))  # noqa: S311 no secret
        is_over = number >= retries.tries or verdict.at_least > retries.longest_wait or clock() + wait >= deadline
        if is_over or not verdict.may_repeat:
            raise verdict.error
        yield Wait(wait)
    raise AssertionError("count has no end")


def _bound(retries: Retries, number: int) -> float:
    return min(retries.longest_wait, retries.first_wait * 2.0 ** min(number - 1, 30))


def _judge(call: Call[Any], told: Told) -> _Verdict:
    if not isinstance(told, Reply):
        failure = told or Failure("there was no answer", sent=True)
        error = Unreachable(f"{call.operation}: {failure.reason}", unclear=failure.sent)
        return _Verdict(error, not failure.is_lasting and (call.repeatable or not failure.sent))
    refusal = error_of(call.operation, told)
    after = refusal.retry_after if isinstance(refusal, ApiError) else None
    is_under_way = told.status == 409 and call.has_key and after is not None  # an earlier try of this very call
    may_repeat = told.status == 429 or (told.status in _AWAY and call.repeatable) or is_under_way
    return _Verdict(refusal, may_repeat, after or 0.0)


def _read(call: Call[T], reply: Reply) -> T:
    try:
        return call.answer(reply.content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise UnexpectedAnswer(f"{call.operation}: the answer is not JSON: {_IS_IT}") from None
        place = ".".join(str(part) for part in first["loc"])
        why = f"{place}: {first['msg']}" if place else first["msg"]
        raise UnexpectedAnswer(f"{call.operation}: the answer is not as documented: {why}") from None
    except UnicodeDecodeError:
        raise UnexpectedAnswer(f"{call.operation}: the answer is no text: {_IS_IT}") from None


def _says_that_it_is_not_there(reply: Reply) -> bool:
    """Whether cronsvc says so: a proxy between two releases answers 404 as well."""
    problem = _problem(reply) if reply.status == 404 else None
    return problem is not None and _string(problem, "type").endswith("/not-found")


def error_of(operation: str, reply: Reply) -> ClientError:
    """The error that an answer stands for."""
    if 300 <= reply.status < 400:
        return UnexpectedAnswer(
            f"{operation}: a redirect ({reply.status}) came back. It is not followed, because the API key belongs to"
            " the URL that was given; give the right one"
        )
    kind = BY_STATUS.get(reply.status, ApiError)
    problem = _problem(reply)
    if problem is None:
        if reply.status not in BY_STATUS:
            return UnexpectedAnswer(f"{operation}: the answer has the status {reply.status}, which is not documented")
        if reply.status in _FOREIGN and not _is_problem(reply):
            return UnexpectedAnswer(f"{operation}: status {reply.status} came back in no words of cronsvc: {_IS_IT}")
        detail = f"the answer has the status {reply.status} and does not say why"
        return kind(detail, status=reply.status, retry_after=_retry_after(reply))
    return kind(
        _string(problem, "detail"),
        status=reply.status,
        type=_string(problem, "type"),
        title=_string(problem, "title"),
        request_id=_string(problem, "requestId") or None,
        errors=_field_errors(problem.get("errors")),
        retry_after=_retry_after(reply),
    )


def _problem(reply: Reply) -> Mapping[str, Any] | None:
    if not _is_problem(reply):
        return None
    try:
        document = json.loads(reply.content)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _is_problem(reply: Reply) -> bool:
    return reply.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/problem+json"


def _string(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return value[:_LONGEST_TEXT] if isinstance(value, str) else ""


def _field_errors(value: object) -> tuple[FieldError, ...]:
    each = value if isinstance(value, list) else []
    return tuple(FieldError(_string(one, "field"), _string(one, "reason")) for one in each if isinstance(one, dict))


def _retry_after(reply: Reply) -> float | None:
    """Seconds, at least none; a date is read against the clock of whoever answered."""
    value = reply.headers.get("retry-after", "").strip()
    try:
        if not value.isascii() or not value[:1].isdigit():
            now = parsedate_to_datetime(reply.headers.get("date", ""))
            return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if math.isfinite(seconds) else None
