"""Reading a request body without trusting it.

Promises: at most `max_bytes` are held, however the body is sent; it arrives within a deadline or the request is
refused; what comes out is JSON that Postgres can store as jsonb and that reads the same to every parser: no name
twice, no NaN or infinity, integers within 64 bits, at most 32 levels, no NUL and no lone surrogate.
"""

import asyncio
import json
import math
from collections.abc import Sequence
from typing import Any, NoReturn

from starlette.requests import Request

from cronsvc.errors import FieldError, InvalidInput
from cronsvc.web.problems import MALFORMED, MEDIA, MOST_ERRORS, TOO_LARGE, TOO_SLOW, Refused

MAX_DEPTH = 32
_GREATEST_INTEGER = 2**63 - 1
_JSON_TYPES = frozenset({"application/json", "application/merge-patch+json"})
FORM_TYPE = "application/x-www-form-urlencoded"


async def read_body(request: Request, *, max_bytes: int, deadline_seconds: float) -> bytes:
    """Return the whole body; Refused with 413 beyond `max_bytes`, with 408 after `deadline_seconds`."""
    too_large = Refused(TOO_LARGE, f"The body may have at most {max_bytes} bytes.", {"Connection": "close"})
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and (len(announced) > 18 or int(announced) > max_bytes):
        raise too_large
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(deadline_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    raise too_large
                chunks.append(chunk)
    except TimeoutError:
        detail = f"The body did not arrive within {deadline_seconds:g} seconds."
        raise Refused(TOO_SLOW, detail, {"Connection": "close"}) from None
    return b"".join(chunks)


def media_type(request: Request) -> str:
    """Return the media type of the body in lower case, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_json_type(request: Request) -> None:
    """Refuse with 415 unless the body says it is JSON."""
    found = media_type(request)
    if found not in _JSON_TYPES:
        said = f"it says {found}" if found else "it does not say what it is"
        raise Refused(MEDIA, f"The body must come with Content-Type: application/json; {said}.")


def require_type(request: Request, wanted: str) -> None:
    """Refuse with 415 unless the body says that it is of this media type."""
    if media_type(request) != wanted:
        raise Refused(MEDIA, f"The body must come with Content-Type: {wanted}.")


def parse_json(raw: bytes) -> Any:
    """Return the value of a JSON text; Refused (400) if it is none, InvalidInput if a text in it cannot be stored."""
    if not raw.strip():
        raise Refused(MALFORMED, "The body is empty; a JSON object is needed.")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(MALFORMED, f"The body is not UTF-8: byte {error.start} does not belong.") from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Refused(MALFORMED, f"The body is not JSON: {error.msg} at {where}.") from None
    except RecursionError:
        _too_deep()
    problems = check_texts(value)
    if problems:
        raise InvalidInput(problems)
    return value


def check_texts(value: Any) -> list[FieldError]:
    """List the first texts that Postgres cannot store; Refused with 400 when the value is nested too deep."""
    found: list[FieldError] = []
    waiting: list[tuple[Any, tuple[str, ...]]] = [(value, ())]
    while waiting and len(found) < MOST_ERRORS:
        item, path = waiting.pop()
        if isinstance(item, str):
            reason = _bad_text(item)
            if reason:
                found.append(FieldError(".".join(path), reason))
        elif isinstance(item, dict | list):
            if len(path) >= MAX_DEPTH:
                _too_deep()
            children = item.items() if isinstance(item, dict) else ((str(at), child) for at, child in enumerate(item))
            for name, child in children:
                reason = _bad_text(name)
                if reason and len(found) < MOST_ERRORS:
                    found.append(FieldError(".".join(path), f"a name in it {reason}"))
                else:
                    waiting.append((child, (*path, name)))
    return found


def _bad_text(text: str) -> str | None:
    if "\x00" in text:
        return "holds the character U+0000, which Postgres cannot store; leave it out"
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        return "holds half of a surrogate pair, which is not a character; send it as UTF-8"
    return None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise Refused(MALFORMED, f"The body gives the name {json.dumps(name[:100])} twice in one object.")
        found[name] = value
    return found


def _integer(digits: str) -> int:
    # Checked by length first: turning thousands of digits into a number is slow, and refused by Python itself.
    if len(digits) > 20 or abs(int(digits)) > _GREATEST_INTEGER:
        raise Refused(MALFORMED, "The body holds an integer beyond 64 bits; send such numbers as text.")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise Refused(MALFORMED, "The body holds a number too large for a 64-bit float; send it as text.")
    return value


def _constant(name: str) -> NoReturn:
    raise Refused(MALFORMED, f"The body holds {name}, which is not JSON.")


def _too_deep() -> NoReturn:
    raise Refused(MALFORMED, f"The body is nested deeper than {MAX_DEPTH} levels.")
