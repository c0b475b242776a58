"""The body of a request: one of `data` (the plain shape), `json`, `form` and `text`.

- `data`: any JSON value, sent as application/json; null is no body. A string beside a `Content-Type` header is sent as
  it is, and anything else than JSON must be such a string.
- `json`: as `data`, but a string is always sent as JSON.
- `form`: names with strings, numbers, booleans or lists of them, sent as application/x-www-form-urlencoded.
- `text`: a string, sent as it is; text/plain in UTF-8 unless the headers say otherwise.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

BODY_LIMIT = 1_048_576  # bytes
FORM_TYPE = "application/x-www-form-urlencoded"
MEMBERS = ("data", "json", "form", "text")

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes to send, and the Content-Type to add to the user's headers. A fault replaces both."""

    content: bytes | None = None
    content_type: str | None = None
    fault: str | None = None


def body_of(member: str, value: Any, headers: Mapping[str, str]) -> Body:
    """The body that one member describes beside these headers; `fault` says what is wrong with the member."""
    given = next((text for name, text in headers.items() if name.lower() == "content-type"), None)
    try:
        match member:
            case "text":
                made, kind = str(value).encode(), "text/plain; charset=utf-8"
            case "form":
                if given is not None and _kind(given) != FORM_TYPE:
                    return Body(fault=f"cannot be sent beside another Content-Type than {FORM_TYPE}")
                made, kind = urlencode(list(pairs_of(value))).encode(), FORM_TYPE
            case _:
                return _json_body(member, value, given)
    except ValueError:  # UnicodeEncodeError is one
        return Body(fault="must be valid Unicode")
    return _bounded(made, None if given is not None else kind)


def pairs_of(entries: Mapping[str, Scalar | list[Scalar]]) -> Iterable[tuple[str, str]]:
    """The names and values of a form or a query; a list repeats its name."""
    for name, entry in entries.items():
        for value in entry if isinstance(entry, list) else [entry]:
            yield name, spelt(value)


def spelt(value: Scalar) -> str:
    """A value as text: true and false in lower case."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_unicode(text: str) -> bool:
    """False for lone surrogates, which no wire format carries."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _json_body(member: str, value: Any, given: str | None) -> Body:
    if value is None:
        return Body()
    as_it_is = member == "data" and isinstance(value, str) and given is not None
    if given is not None and not as_it_is and not _is_json(given):
        words = "must be a string when Content-Type is not JSON"
        return Body(fault=words if member == "data" else "cannot be sent beside a Content-Type that is not JSON")
    try:
        text = value if as_it_is else json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        content = text.encode()
    except (TypeError, ValueError, RecursionError):
        return Body(fault="must be a JSON value: finite numbers, valid Unicode, not nested too deeply")
    return _bounded(content, None if given is not None else "application/json")


def _bounded(content: bytes, content_type: str | None) -> Body:
    if len(content) > BODY_LIMIT:
        return Body(fault=f"must be {BODY_LIMIT} bytes or fewer")
    return Body(content, content_type)


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _is_json(content_type: str) -> bool:
    kind = _kind(content_type)
    return kind == "application/json" or kind.endswith("+json")
