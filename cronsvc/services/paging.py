"""Pages of long lists, by keyset: a page starts after the last row of the one before, however much was added since.

A cursor is opaque to callers and carries nothing secret: the list it belongs to and the sort key of one row. It is
checked like any other input, because anybody can write one.
"""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Generic, TypeVar

from cronsvc.errors import InvalidInput
from cronsvc.store.edges import Edge

T = TypeVar("T")

MAX_LIMIT = 200
_LONGEST_CURSOR = 1500  # a name of 255 characters is in some
_GREATEST_ID = 2**63 - 1
_NOT_OURS = "is not a nextCursor of this list; leave it out to start from the beginning"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a list. `next_cursor` asks for the rows after them; None when these were the last."""

    items: tuple[T, ...]
    next_cursor: str | None


def check_limit(limit: int) -> int:
    """Return `limit`; raises InvalidInput unless it is 1 to MAX_LIMIT."""
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidInput.of("limit", f"is {limit}; 1 to {MAX_LIMIT} rows a page are possible")
    return limit


def page_of(rows: Sequence[T], limit: int, cursor_after: Callable[[T], str]) -> Page[T]:
    """Make a page from up to `limit + 1` rows: the one too many only says that there are more."""
    shown = tuple(rows[:limit])
    return Page(shown, cursor_after(shown[-1]) if len(rows) > limit else None)


def id_cursor(kind: str, row_id: int) -> str:
    """Encode a cursor for the list `kind`, sorted by id alone."""
    return _encode([kind, row_id])


def read_id_cursor(kind: str, cursor: str | None) -> int | None:
    """Return the id to start after, None for the first page; raises InvalidInput for a cursor of anything else."""
    if cursor is None:
        return None
    values = _decode(kind, cursor, 1)
    return _id(values[0])


def name_cursor(kind: str, name: str) -> str:
    """Encode a cursor for the list `kind`, sorted by name."""
    return _encode([kind, name])


def read_name_cursor(kind: str, cursor: str | None) -> str | None:
    """Return the name to start after, None for the first page; raises InvalidInput for a cursor of anything else."""
    if cursor is None:
        return None
    (name,) = _decode(kind, cursor, 1)
    if not isinstance(name, str) or "\x00" in name or not name.isascii():
        raise InvalidInput.of("cursor", _NOT_OURS)
    return name


def time_cursor(kind: str, instant: datetime, row_id: int) -> str:
    """Encode a cursor for the list `kind`, sorted by an instant and then by id."""
    return _encode([kind, instant.astimezone(UTC).isoformat(), row_id])


def read_time_cursor(kind: str, cursor: str | None) -> tuple[datetime, int] | None:
    """Return the (instant, id) to start after, None for the first page; raises InvalidInput as above."""
    if cursor is None:
        return None
    text, row_id = _decode(kind, cursor, 2)
    try:
        instant = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        instant = None
    if instant is None or instant.utcoffset() is None:
        raise InvalidInput.of("cursor", _NOT_OURS)
    return instant, _id(row_id)


def text_cursor(kind: str, text: str, row_id: int) -> str:
    """Encode a cursor for the list `kind`, sorted by a text and then by id."""
    return _encode([kind, text, row_id])


def read_text_cursor(kind: str, cursor: str | None) -> tuple[str, int] | None:
    """Return the (text, id) to start after, None for the first page; raises InvalidInput as above."""
    if cursor is None:
        return None
    text, row_id = _decode(kind, cursor, 2)
    if not isinstance(text, str) or "\x00" in text or any("\ud800" <= each <= "\udfff" for each in text):
        raise InvalidInput.of("cursor", _NOT_OURS)
    return text, _id(row_id)


class IdSort(StrEnum):
    """Orders of a list that is sorted by id, or by revision: the newest or the oldest first."""

    NEWEST = "-id"
    OLDEST = "id"

    def edge(self, kind: str, cursor: str | None) -> Edge:
        """Where a page of the list `kind` begins. InvalidInput: the cursor is of another list, or of another order."""
        return Edge(read_id_cursor(self._kind(kind), cursor), ascending=self is IdSort.OLDEST)

    def cursor(self, kind: str, row_id: int) -> str:
        """The cursor that continues behind a row."""
        return id_cursor(self._kind(kind), row_id)

    def _kind(self, kind: str) -> str:
        return kind if self is IdSort.NEWEST else f"{kind} id"


class NameSort(StrEnum):
    """Orders of a list that is sorted by name."""

    NAME = "name"
    BACKWARDS = "-name"

    def edge(self, kind: str, cursor: str | None) -> Edge:
        """Where a page of the list `kind` begins. InvalidInput as above."""
        return Edge(read_name_cursor(self._kind(kind), cursor), ascending=self is NameSort.NAME)

    def cursor(self, kind: str, name: str) -> str:
        """The cursor that continues behind a name."""
        return name_cursor(self._kind(kind), name)

    def _kind(self, kind: str) -> str:
        return kind if self is NameSort.NAME else f"{kind} -name"


def names_cursor(kind: str, name: str, within: str) -> str:
    """Encode a cursor for the list `kind`, sorted by name and then by what the name is unique within."""
    return _encode([kind, name, within])


def read_names_cursor(kind: str, cursor: str | None) -> tuple[str, str] | None:
    """Return the (name, within) to start after, None for the first page; raises InvalidInput as above."""
    if cursor is None:
        return None
    found = _decode(kind, cursor, 2)
    if not all(isinstance(each, str) and each.isascii() and "\x00" not in each for each in found):
        raise InvalidInput.of("cursor", _NOT_OURS)
    return str(found[0]), str(found[1])


def _encode(values: list[str | int]) -> str:
    return (
        base64.urlsafe_b64encode(json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode())
        .decode()
        .rstrip("=")
    )


def _decode(kind: str, cursor: str, length: int) -> list[object]:
    """The values behind the kind; raises InvalidInput unless it is a list of `length` of them for this kind."""
    values: object = None
    if len(cursor) <= _LONGEST_CURSOR and cursor.isascii():
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        except (binascii.Error, ValueError, RecursionError):
            values = None
    if not isinstance(values, list) or len(values) != length + 1 or values[0] != kind:
        raise InvalidInput.of("cursor", _NOT_OURS)
    return values[1:]


def _id(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _GREATEST_ID:
        raise InvalidInput.of("cursor", _NOT_OURS)
    return value
