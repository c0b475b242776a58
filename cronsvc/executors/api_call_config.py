"""What a person writes for API_CALL, and the one request it becomes.

    {"url": …, "method": …, "headers": {…}, "data": …, "params": {…}}      (the seeds' shape; only `url` is required)

- `method`: GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS; without one, POST when there is `data` and GET otherwise.
- `data`: any JSON value is sent as application/json; null is no body. A string beside a `Content-Type` header is sent
  as it is; anything else than JSON must be such a string.
- `params` are appended to the URL's query: strings, numbers, true/false, or lists of them for repeated names.
- Headers that cronsvc or HTTP itself decides are refused, and so is everything that could split a header.

Every fault is reported at once. Reasons never repeat a value: it may be a secret.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from yarl import URL

from cronsvc.errors import FieldError, InvalidInput
from cronsvc.executors.egress import REFUSAL, Egress, TargetRefused

PATH = "taskPayload.config"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
URL_LIMIT = 2048
QUERY_URL_LIMIT = 8192  # with `params`; common servers stop reading the request line there
DATA_LIMIT = 1_048_576  # bytes of the body
HEADERS_LIMIT = 16_384  # bytes of all names and values
HEADER_COUNT_LIMIT = 100

UNSAFE_IN_URL = re.compile(r"[\x00-\x20\x7f-\x9f\\]")
AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}", re.ASCII)
UNSAFE_IN_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

OWN_HEADERS = frozenset({"idempotency-key", "accept-encoding"})
CONNECTION_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect"}
)
OWN_PREFIXES = ("x-cronsvc-", "webhook-", "proxy-")

Scalar = str | int | float | bool


class ApiCallConfig(BaseModel):
    """The `config` of an API_CALL job."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    url: str = Field(min_length=1, max_length=URL_LIMIT, description="http:// or https://, without a user or password")
    method: str | None = Field(None, description="GET, or POST when there is data")
    headers: dict[str, str] = Field(default_factory=dict, max_length=HEADER_COUNT_LIMIT)
    data: Any = Field(None, description="JSON body; a string beside a Content-Type header is sent as it is")
    params: dict[str, Scalar | list[Scalar]] = Field(default_factory=dict, description="appended to the URL's query")


# How a value of the wrong shape is answered; pydantic's own words would name its types and unions.
SHAPES = {
    "url": f"must be a string of 1 to {URL_LIMIT} characters that starts with http:// or https://",
    "method": f"must be one of {', '.join(METHODS)}",
    "headers": f"must be an object of at most {HEADER_COUNT_LIMIT} names, each with a string",
    "data": "must be a JSON value",
    "params": "must be an object of names, each with a string, number, boolean or a list of them",
}


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """One request, ready to be sent once an attempt. `listed_host`: the operator's allow-list names its host."""

    url: URL
    method: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    listed_host: bool


def prepare(config: Mapping[str, Any], egress: Egress) -> PreparedCall:
    """Turn a `taskPayload.config` into a request.

    Raises InvalidInput with every bad field; TargetRefused, a kind of it, when the target's address is the only fault.
    """
    if not isinstance(config, Mapping):  # a definition written by SQL may hold anything
        raise InvalidInput.of(PATH, "must be an object with a url")
    faults = list(_shape_faults(config))
    misshapen = {fault.field.removeprefix(f"{PATH}.").partition(".")[0] for fault in faults}
    # A field of the wrong shape reads as absent here, so that the faults of the others are still found.
    read = {name: None if name in misshapen else config.get(name) for name in ApiCallConfig.model_fields}
    given = config.get("headers")
    headers = (
        {name: value for name, value in given.items() if isinstance(value, str)} if isinstance(given, dict) else {}
    )
    method = (read["method"] or ("GET" if read["data"] is None else "POST")).upper()
    body, content_type, data_fault = _body(read["data"], headers)
    url, url_fault, params_fault = _target(read["url"], read["params"] or {}, egress)
    faults.extend(_header_faults(headers))
    for name, fault in (
        ("url", url_fault),
        ("method", None if method in METHODS else SHAPES["method"]),
        ("data", data_fault),
        ("params", params_fault),
    ):
        if fault is not None:
            faults.append(FieldError(f"{PATH}.{name}", fault))
    if faults or url is None:
        raise TargetRefused(faults) if url_fault == REFUSAL and len(faults) == 1 else InvalidInput(faults)
    added = (("Content-Type", content_type),) if content_type else ()
    return PreparedCall(url, method, (*headers.items(), *added), body, egress.lists_host(url.raw_host or ""))


def _shape_faults(config: Mapping[str, Any]) -> Iterator[FieldError]:
    """Unknown, missing and wrongly typed fields, each once."""
    try:
        ApiCallConfig.model_validate(dict(config))
    except ValidationError as error:
        seen: set[str] = set()
        for fault in error.errors(include_input=False, include_context=False, include_url=False):
            place = [str(part)[:100] for part in fault["loc"]]
            # Below headers and params the entry is named; what pydantic adds after it (`[key]`, union members) is not.
            field = ".".join([PATH, *place[:2]])
            if field in seen:
                continue
            seen.add(field)
            if fault["type"] == "extra_forbidden":
                yield FieldError(field, _unknown(place[0]))
            elif fault["type"] == "missing":
                yield FieldError(field, "is required")
            else:
                yield FieldError(field, _shape_reason(place))


def _unknown(name: str) -> str:
    known = sorted(ApiCallConfig.model_fields)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"is not a setting of API_CALL; {hint}known are {', '.join(known)}"


def _shape_reason(place: list[str]) -> str:
    if len(place) > 1 and place[0] == "headers":
        return "must be a string"
    if len(place) > 1 and place[0] == "params":
        return "must be a string, a finite number, a boolean or a list of them"
    return SHAPES[place[0]]


def _url_fault(text: str, egress: Egress) -> str | None:
    """What is wrong with a URL, in words; None when a request may be made of it."""
    if UNSAFE_IN_URL.search(text):
        return "must not contain spaces, control characters or backslashes; percent-encode them"
    authority = AUTHORITY.match(text)
    if authority is None or not text.lower().startswith(("http://", "https://")):
        return "must start with http:// or https://"
    if "@" in authority.group(1):
        return "must not contain a user or password; use an Authorization header"
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        return "is not a URL: check the host, the port and the brackets of an IPv6 address"
    if not url.raw_host:
        return "must name a host"
    if port == 0:
        return "must name a port from 1 to 65535"
    return egress.refusal(url.raw_host)


def _header_faults(headers: Mapping[str, str]) -> Iterator[FieldError]:
    size = 0
    seen: set[str] = set()
    for name, value in headers.items():
        field = f"{PATH}.headers.{name[:100]}"
        plain = name.lower()
        size += len(name) + len(value)
        if not HEADER_NAME.fullmatch(name):
            yield FieldError(field, "is not a header name: letters, digits and hyphens")
        elif plain in CONNECTION_HEADERS or plain in OWN_HEADERS or plain.startswith(OWN_PREFIXES):
            yield FieldError(field, "is set by cronsvc or by HTTP itself and cannot be chosen")
        elif plain in seen:
            yield FieldError(field, "is given twice; header names do not differ by case")
        elif UNSAFE_IN_HEADER.search(value) or not _is_unicode(value):
            yield FieldError(field, "must not contain line breaks or control characters")
        seen.add(plain)
    if size > HEADERS_LIMIT:
        yield FieldError(f"{PATH}.headers", f"must be {HEADERS_LIMIT} characters or fewer altogether")


def _is_unicode(text: str) -> bool:
    """False for lone surrogates, which no wire format carries."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _body(data: Any, headers: Mapping[str, str]) -> tuple[bytes | None, str | None, str | None]:
    """The bytes to send, the Content-Type to add to the user's headers, and what is wrong with `data`."""
    if data is None:
        return None, None, None
    given = next((value for name, value in headers.items() if name.lower() == "content-type"), None)
    as_it_is = isinstance(data, str) and given is not None
    if given is not None and not as_it_is and not _is_json(given):
        return None, None, "must be a string when Content-Type is not JSON"
    try:
        text = data if as_it_is else json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        body: bytes = text.encode()
    except (TypeError, ValueError, RecursionError):  # UnicodeEncodeError is a ValueError
        return None, None, "must be a JSON value: finite numbers, valid Unicode, not nested too deeply"
    if len(body) > DATA_LIMIT:
        return None, None, f"must be {DATA_LIMIT} bytes or fewer"
    return body, None if given is not None else "application/json", None


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _target(
    text: str | None, params: Mapping[str, Scalar | list[Scalar]], egress: Egress
) -> tuple[URL | None, str | None, str | None]:
    """The URL to call, what is wrong with `url`, and with `params`; all None when there is no `url` to read."""
    if text is None:
        return None, None, None
    url_fault = _url_fault(text, egress)
    if url_fault is not None:
        return None, url_fault, None
    pairs = [
        (name, _spell(value))
        for name, entry in params.items()
        for value in (entry if isinstance(entry, list) else [entry])
    ]
    if not all(_is_unicode(part) for pair in pairs for part in pair):
        return None, None, "must be valid Unicode"
    url = URL(text).with_fragment(None)
    if pairs:
        url = url.extend_query(pairs)
    if len(str(url)) > QUERY_URL_LIMIT:
        return None, None, f"must leave the URL at {QUERY_URL_LIMIT} characters or fewer"
    return url, None, None


def _spell(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
