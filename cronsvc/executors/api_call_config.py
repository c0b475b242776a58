"""What a person writes for API_CALL, and the one request it becomes.

    {"url": …, "method": …, "headers": {…}, "data": …, "params": {…}}      (the plain shape; only `url` is required)

- `method`: GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS; without one, POST when there is a body and GET otherwise.
- The body is one of `data`, `json`, `form` and `text` (`api_call_body.py`); `params` are appended to the URL's query:
  strings, numbers, true/false, or lists of them for repeated names.
- Headers that cronsvc or HTTP itself decides are refused, and so is everything that could split a header.
- `auth`, `tls`, `signing`, `expect`, `capture` have files of their own, `followRedirects` has `api_call_redirects.py`.

With `{{secret:name}}` in it a config is checked as it stands and made into a request only when an attempt has the
values; it is then checked again. Every fault is reported at once. Reasons never repeat a value: it may be a secret.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from yarl import URL

from cronsvc.domain.execution import Awaiting
from cronsvc.domain.secret_references import filled, names
from cronsvc.errors import FieldError, InvalidInput
from cronsvc.executors.api_call_auth import NOBODY, Auth, read_auth
from cronsvc.executors.api_call_body import MEMBERS as BODY_MEMBERS
from cronsvc.executors.api_call_body import Body, Scalar, body_of, is_unicode, pairs_of
from cronsvc.executors.api_call_capture import USUAL, Capture, read_capture
from cronsvc.executors.api_call_expect import ANY_SUCCESS, Expectation, read_expectation
from cronsvc.executors.api_call_redirects import MOST_HOPS
from cronsvc.executors.api_call_signing import read_signing
from cronsvc.executors.api_call_tls import Tls, read_tls
from cronsvc.executors.api_call_url import QUERY_URL_LIMIT, URL_LIMIT, target, url_fault, with_blanks
from cronsvc.executors.config_faults import PATH, read_part
from cronsvc.executors.egress import REFUSAL, Egress, TargetRefused

__all__ = ["QUERY_URL_LIMIT", "PreparedCall", "Timeouts", "prepare"]

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
HEADERS_LIMIT = 16_384  # bytes of all names and values
HEADER_COUNT_LIMIT = 100

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}", re.ASCII)
UNSAFE_IN_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

OWN_HEADERS = frozenset({"idempotency-key", "accept-encoding"})
CONNECTION_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect"}
)
OWN_PREFIXES = ("x-cronsvc-", "webhook-", "proxy-")

SECRET_MEMBERS = ("url", "headers", "params", "data", "json", "form", "text", "auth", "tls", "signing")
"""Where `{{secret:name}}` may stand."""

ROUTING_MEMBERS = frozenset({"url", "method", "auth", "tls", "signing", "followRedirects", "completion"})
"""What decides where a request goes, as whom and how; the others are what it says, and what is kept of its answer."""

LONGEST_SECONDS = 604_800

Part = TypeVar("Part")


class ApiCallConfig(BaseModel):
    """The `config` of an API_CALL job."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    url: str = Field(min_length=1, max_length=URL_LIMIT, description="http:// or https://, without a user or password")
    method: str | None = Field(None, description="GET, or POST when there is data")
    headers: dict[str, str] = Field(default_factory=dict, max_length=HEADER_COUNT_LIMIT)
    data: Any = Field(None, description="JSON body; a string beside a Content-Type header is sent as it is")
    params: dict[str, Scalar | list[Scalar]] = Field(default_factory=dict, description="appended to the URL's query")
    json_: Any = Field(None, alias="json", description="JSON body")
    form: dict[str, Scalar | list[Scalar]] | None = Field(None, description="a form's fields")
    text: str | None = Field(None, description="a body that is sent as it is")
    auth: dict[str, Any] | None = Field(None, description="see api_call_auth")
    tls: dict[str, Any] | None = Field(None, description="see api_call_tls")
    signing: dict[str, Any] | None = Field(None, description="see api_call_signing")
    expect: dict[str, Any] | None = Field(None, description="see api_call_expect")
    capture: dict[str, Any] | None = Field(None, description="see api_call_capture")
    timeouts: dict[str, Any] | None = Field(None, description="see TimeoutsConfig")
    follow_redirects: int = Field(0, alias="followRedirects", ge=0, le=MOST_HOPS, description="how many hops")
    completion: None = Field(None, description="who ends it: see api_call_completion, which reads it first")


class TimeoutsConfig(BaseModel):
    """Its `timeouts`: parts of the job's `timeoutSeconds`, which stays above them all."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    connect: float | None = Field(
        None, alias="connectSeconds", gt=0, le=LONGEST_SECONDS, description="a number of seconds above 0"
    )
    idle: float | None = Field(
        None, alias="idleSeconds", gt=0, le=LONGEST_SECONDS, description="a number of seconds above 0"
    )


# How a value of the wrong shape is answered; pydantic's own words would name its types and unions.
SHAPES = {
    "url": f"must be a string of 1 to {URL_LIMIT} characters that starts with http:// or https://",
    "method": f"must be one of {', '.join(METHODS)}",
    "headers": f"must be an object of at most {HEADER_COUNT_LIMIT} names, each with a string",
    "data": "must be a JSON value",
    "params": "must be an object of names, each with a string, number, boolean or a list of them",
    "json": "must be a JSON value",
    "form": "must be an object of names, each with a string, number, boolean or a list of them",
    "text": "must be a string",
    "followRedirects": f"must be a whole number from 0 to {MOST_HOPS}",
    **dict.fromkeys(("auth", "tls", "signing", "expect", "capture", "timeouts", "completion"), "must be an object"),
}
NAMES = {field.alias or name: name for name, field in ApiCallConfig.model_fields.items()}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for single parts of a call; None: what is usual. `idle` is the longest silence of the target."""

    connect: float | None = None
    idle: float | None = None


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """One request, ready to be sent once an attempt. `listed_host`: the operator's allow-list names its host.

    `completion`: its target may answer 202 and end it later. `secrets` are to be put into `unfilled`, the config as it
    was written, before it can be sent: see `with_secrets`.
    """

    url: URL
    method: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    listed_host: bool
    completion: Awaiting | None = None
    auth: Auth = NOBODY
    tls: Tls | None = None
    signing: tuple[bytes, ...] = field(default=(), repr=False)
    expectation: Expectation = ANY_SUCCESS
    capture: Capture = USUAL
    timeouts: Timeouts = Timeouts()
    most_hops: int = 0
    secrets: frozenset[str] = frozenset()
    unfilled: Mapping[str, Any] = field(default_factory=dict, repr=False)


def prepare(
    config: Mapping[str, Any], egress: Egress, *, insecure_tls: bool = False, is_filled: bool = False
) -> PreparedCall:
    """Turn a `taskPayload.config` into a request. `is_filled`: secrets are put in already.

    Raises InvalidInput with every bad field; TargetRefused, a kind of it, when the target's address is the only fault.
    """
    if not isinstance(config, Mapping):  # a definition written by SQL may hold anything
        raise InvalidInput.of(PATH, "must be an object with a url")
    faults = list(_shape_faults(config))
    misshapen = {fault.field.removeprefix(f"{PATH}.").partition(".")[0] for fault in faults}
    # A field of the wrong shape reads as absent here, so that the faults of the others are still found.
    read = {name: None if name in misshapen else config.get(name) for name in NAMES}
    given = config.get("headers")
    headers = (
        {name: value for name, value in given.items() if isinstance(value, str)} if isinstance(given, dict) else {}
    )
    parts = _Parts(read, faults, insecure_tls=insecure_tls, is_filled=is_filled)
    auth = parts.read("auth", lambda value, path: read_auth(value, path, is_filled=is_filled)) or NOBODY
    body = parts.body(headers)
    method = (read["method"] or ("GET" if body.content is None else "POST")).upper()
    text, misplaced = (read["url"], None) if is_filled or read["url"] is None else with_blanks(read["url"])
    url, url_fault_, params_fault = target(text, [*pairs_of(read["params"] or {}), *auth.params], egress)
    faults.extend(_header_faults(headers))
    faults.extend(_auth_faults(auth, headers, egress))
    for name, fault in (
        ("url", misplaced or url_fault_),
        ("method", None if method in METHODS else SHAPES["method"]),
        ("params", params_fault),
    ):
        if fault is not None:
            faults.append(FieldError(f"{PATH}.{name}", fault))
    call = parts.call(
        url or URL(), method, (*headers.items(), *_content_type(body), *auth.headers), body.content, auth, egress
    )
    if faults or url is None:
        raise TargetRefused(faults) if [fault.reason for fault in faults] == [REFUSAL] else InvalidInput(faults)
    return call if is_filled else _with_references(call, config)


def with_secrets(call: PreparedCall, values: Mapping[str, str], egress: Egress, *, insecure_tls: bool) -> PreparedCall:
    """The request with its secrets in it; InvalidInput when it is none with these values, which it does not repeat."""
    plain = {name: value for name, value in call.unfilled.items() if name not in SECRET_MEMBERS}
    secret = {name: value for name, value in call.unfilled.items() if name in SECRET_MEMBERS}
    # In a URL a value is percent-encoded: it can neither end the query nor begin another parameter.
    url = filled(secret.pop("url", None), values, spell=lambda value: quote(value, safe=""))
    made = prepare(plain | {"url": url} | filled(secret, values), egress, insecure_tls=insecure_tls, is_filled=True)
    return replace(made, completion=call.completion)


def _with_references(call: PreparedCall, config: Mapping[str, Any]) -> PreparedCall:
    """The call, and which secrets it still needs."""
    needed = names({name: value for name, value in config.items() if name in SECRET_MEMBERS})
    return replace(call, secrets=needed, unfilled=dict(config)) if needed else call


class _Parts:
    """The members of a config that other files read; what is wrong with them goes to `faults`."""

    def __init__(
        self, read: Mapping[str, Any], faults: list[FieldError], *, insecure_tls: bool, is_filled: bool
    ) -> None:
        self._read = read
        self._faults = faults
        self._insecure_tls = insecure_tls
        self._is_filled = is_filled

    def read(self, name: str, reader: Callable[[object, str], Part]) -> Part | None:
        """What `reader` makes of a member; None when it is absent or wrong."""
        value = self._read[name]
        if value is None:
            return None
        try:
            return reader(value, f"{PATH}.{name}")
        except InvalidInput as error:
            self._faults.extend(error.errors)
            return None

    def body(self, headers: Mapping[str, str]) -> Body:
        """The body; empty when there is none, or too many."""
        given = [name for name in BODY_MEMBERS if self._read[name] is not None]
        if not given:
            return Body()
        for name in given[1:]:
            self._faults.append(FieldError(f"{PATH}.{name}", f"cannot be sent beside {given[0]}: a call has one body"))
        body = body_of(given[0], self._read[given[0]], headers)
        if body.fault is not None:
            self._faults.append(FieldError(f"{PATH}.{given[0]}", body.fault))
        return body

    def call(
        self,
        url: URL,
        method: str,
        headers: tuple[tuple[str, str], ...],
        body: bytes | None,
        auth: Auth,
        egress: Egress,
    ) -> PreparedCall:
        """The request, and how to send and judge it."""
        insecure, is_filled = self._insecure_tls, self._is_filled
        times = self.read("timeouts", lambda value, path: read_part(TimeoutsConfig, value, path=path, kind="timeouts"))
        return PreparedCall(
            url,
            method,
            headers,
            body,
            egress.lists_host(url.raw_host or ""),
            auth=auth,
            tls=self.read(
                "tls", lambda value, path: read_tls(value, path, insecure_allowed=insecure, is_filled=is_filled)
            ),
            signing=self.read("signing", lambda value, path: read_signing(value, path, is_filled=is_filled)) or (),
            expectation=self.read("expect", read_expectation) or ANY_SUCCESS,
            capture=self.read("capture", read_capture) or USUAL,
            timeouts=Timeouts() if times is None else Timeouts(times.connect, times.idle),
            most_hops=self._read["followRedirects"] or 0,
        )


def _content_type(body: Body) -> tuple[tuple[str, str], ...]:
    return (("Content-Type", body.content_type),) if body.content_type else ()


def _auth_faults(auth: Auth, headers: Mapping[str, str], egress: Egress) -> Iterator[FieldError]:
    """What is wrong with what `auth` adds to a request, or asks for a token."""
    given = {name.lower() for name in headers}
    added = [*auth.headers, *([("Authorization", "")] if auth.token else [])]
    for name, value in added:
        if name.lower() in given:
            yield FieldError(f"{PATH}.headers.{name[:100]}", "is what auth sets; leave one of them out")
        elif any(_header_faults({name: value})):
            yield FieldError(f"{PATH}.auth", f"makes no header that can be sent: {name[:100]!r} with that value")
    if auth.token is not None and (fault := url_fault(auth.token.url, egress)) is not None:
        yield FieldError(f"{PATH}.auth.tokenUrl", fault)


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
    known = sorted(NAMES)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"is not a setting of API_CALL; {hint}known are {', '.join(known)}"


def _shape_reason(place: list[str]) -> str:
    if len(place) > 1 and place[0] == "headers":
        return "must be a string"
    if len(place) > 1 and place[0] in ("params", "form"):
        return "must be a string, a finite number, a boolean or a list of them"
    return SHAPES[place[0]]


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
        elif UNSAFE_IN_HEADER.search(value) or not is_unicode(value):
            yield FieldError(field, "must not contain line breaks or control characters")
        seen.add(plain)
    if size > HEADERS_LIMIT:
        yield FieldError(f"{PATH}.headers", f"must be {HEADERS_LIMIT} characters or fewer altogether")
