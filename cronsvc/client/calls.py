"""One request as a value: what is asked, and how its answer is read. Sending it is `clients`' part.

The functions that make calls are in `generated`, one for each operation of the OpenAPI document. A call is complete:
its Idempotency-Key is chosen when it is made, so however often it is sent, it is the same request.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Any, Final, Generic, Literal, Protocol, TypeVar
from urllib.parse import quote
from uuid import uuid4

from pydantic import BaseModel, TypeAdapter

from cronsvc.client.errors import BadCall

T = TypeVar("T")
Item = TypeVar("Item")
Item_co = TypeVar("Item_co", covariant=True)


class Unset(Enum):
    """What an argument is that was not given; None is a value of its own, and is sent as null."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final[Literal[Unset.UNSET]] = Unset.UNSET
_VISIBLE = re.compile(r"[\x20-\x7e]{1,1000}")


class PageOf(Protocol[Item_co]):
    """One page of a list."""

    @property
    def items(self) -> Sequence[Item_co]: ...

    @property
    def next_cursor(self) -> str | None: ...


PageT = TypeVar("PageT", bound=PageOf[Any])


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request. `repeatable`: sent twice, it does no more than once. `statuses` are those of a success."""

    operation: str
    method: str
    path: str = field(repr=False)  # a token may stand in it
    answer: Callable[[bytes], T]
    statuses: tuple[int, ...] = (200,)
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    repeatable: bool = False

    @property
    def has_key(self) -> bool:
        """Whether the service itself sees to it that the request is carried out once."""
        return "Idempotency-Key" in self.headers


@dataclass(frozen=True, slots=True)
class Paged(Generic[Item, PageT]):
    """The request for the first page of a list."""

    first: Call[PageT]

    def after(self, cursor: str) -> Call[PageT]:
        """The request for the page that begins at a cursor."""
        query = [(name, value) for name, value in self.first.query if name != "cursor"]
        return replace(self.first, query=(*query, ("cursor", cursor)))

    def following(self, page: PageT) -> Call[PageT] | None:
        """The request for the page after this one, if there is one."""
        return None if page.next_cursor is None else self.after(page.next_cursor)


def call(
    operation: str,
    method: str,
    path: str,
    answer: Callable[[bytes], T],
    *,
    statuses: tuple[int, ...] = (200,),
    names: Mapping[str, object] | None = None,
    query: Mapping[str, object] | None = None,
    body: Mapping[str, object] | None = None,
    content: bytes | None = None,
    content_type: str = "application/json",
    if_match: str | None = None,
    idempotency_key: str | Unset | None = UNSET,
    is_repeatable: bool = False,
) -> Call[T]:
    """Put a request together. `idempotency_key` None: a new one; UNSET: the operation takes none.

    BadCall: a name that cannot stand in a path, a header that cannot be sent, a time without its offset, or a value
    that JSON cannot hold.
    """
    try:
        target = path.format_map({name: _segment(value) for name, value in (names or {}).items()})
        asked = tuple((name, _text(value)) for name, value in (query or {}).items() if value is not None)
        for _, value in asked:
            value.encode()
        if body is not None:
            content = json.dumps(plain(body), ensure_ascii=True, allow_nan=False).encode()
        headers = _headers(content, content_type, if_match, idempotency_key)
    except RecursionError:
        raise BadCall(f"{operation}: it is nested too deep to be sent") from None
    except UnicodeEncodeError:
        raise BadCall(f"{operation}: it has a character that UTF-8 cannot hold") from None
    except (ValueError, OverflowError, TypeError) as error:
        raise BadCall(f"{operation}: {error}") from None
    names_a_revision = if_match is not None or (body is not None and isinstance(body.get("revision"), int))
    return Call(
        operation,
        method,
        target,
        answer,
        statuses,
        asked,
        headers,
        content,
        # A PUT that names a revision would find it gone if it had been carried out and nobody had heard of it.
        repeatable=is_repeatable
        or method in ("GET", "DELETE")
        or (method == "PUT" and not names_a_revision)
        or "Idempotency-Key" in headers,
    )


def _headers(
    content: bytes | None, content_type: str, if_match: str | None, idempotency_key: str | Unset | None
) -> dict[str, str]:
    headers: dict[str, str] = {}
    if content is not None:
        headers["Content-Type"] = content_type
    if if_match is not None:
        headers["If-Match"] = _header("if_match", if_match)
    if not isinstance(idempotency_key, Unset):
        key = str(uuid4()) if idempotency_key is None else idempotency_key
        headers["Idempotency-Key"] = _header("idempotency_key", key)
    return headers


def plain(value: Any) -> Any:
    """What JSON can hold: models by their API names with what was given, instants in UTC, durations in seconds."""
    if isinstance(value, BaseModel):
        given = {name: getattr(value, name) for name in type(value).model_fields if name in value.model_fields_set}
        return {type(value).model_fields[name].alias or name: plain(each) for name, each in given.items()}
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items() if each is not UNSET}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, timedelta):
        return _seconds(value)
    return _moment(value) if isinstance(value, date) else value


def text(content: bytes) -> str:
    """The answer as it is."""
    return content.decode("utf-8")


def nothing(_: bytes) -> None:
    """There is none."""


_OBJECT = TypeAdapter(dict[str, Any])


def any_object(content: bytes) -> dict[str, Any]:
    """A JSON object that no model describes."""
    return _OBJECT.validate_json(content)


def _segment(value: object) -> str:
    segment = quote(str(value), safe="")
    if segment in ("", ".", ".."):
        raise ValueError(f"{segment!r} cannot stand in a path")
    return segment


def _header(name: str, value: str) -> str:
    if not _VISIBLE.fullmatch(value):
        raise ValueError(f"{name} should be visible ASCII characters, and at least one")
    return value


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return _moment(value) if isinstance(value, date) else str(value)


def _moment(value: date) -> str:
    if not isinstance(value, datetime):
        return value.isoformat()
    if value.utcoffset() is None:
        raise ValueError(f"{value.isoformat()} does not say its offset: use for example datetime.now(UTC)")
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _seconds(value: timedelta) -> int:
    seconds = value.total_seconds()
    if seconds != int(seconds):
        raise ValueError(f"{value} is not a whole number of seconds")
    return int(seconds)
