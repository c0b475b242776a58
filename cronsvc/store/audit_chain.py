"""Statements on the chain of hashes over the audit log; the work is done by functions in the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from cronsvc.store.pool import Conn


@dataclass(frozen=True, slots=True)
class Sealed:
    """How many entries got a place, and the head of the chain then: place 0 while it is empty."""

    sealed: int
    head_place: int
    head_hash: bytes


SEAL = "SELECT sealed, head_place, head_hash FROM cronsvc_seal_audit(%(most)s::integer)"


async def seal(conn: Conn, *, most: int) -> Sealed:
    """Give at most so many waiting entries their places. Waits for others who do the same."""
    async with conn.cursor(row_factory=class_row(Sealed)) as found:
        row = await (await found.execute(SEAL, {"most": most})).fetchone()
    assert row is not None
    return row


@dataclass(frozen=True, slots=True)
class Head:
    """The last place of the chain (None: it is empty), and what has none yet. `lost_id`: it waits, and is gone."""

    place: int | None
    hash: bytes | None
    sealed_at: datetime | None
    waiting: int
    waiting_since: datetime | None
    lost_id: int | None


BACKLOG = """
SELECT (SELECT count(*) FROM (SELECT FROM audit_unsealed LIMIT %(most)s) AS w),
       (SELECT extract(epoch FROM clock_timestamp() - u.added_at)::float8 FROM audit_unsealed AS u
         ORDER BY u.audit_id LIMIT 1)
"""


async def backlog(conn: Conn, *, most: int) -> tuple[int, float]:
    """How many entries have no place yet, counted up to `most`, and for how many seconds the first of them."""
    row = await (await conn.execute(BACKLOG, {"most": most})).fetchone()
    assert row is not None
    return int(row[0]), max(float(row[1] or 0), 0.0)


UNUSED_IDS = "SELECT cronsvc_v1.audit_unused_ids()"


async def unused_ids(conn: Conn) -> int:
    """How many ids were given out after the last entry: rolled back, not committed yet, or cut off."""
    row = await (await conn.execute(UNUSED_IDS)).fetchone()
    return 0 if row is None else int(row[0])


WAITING = "SELECT EXISTS (SELECT FROM audit_unsealed)"


async def waiting(conn: Conn) -> bool:
    """Whether any entry has no place yet."""
    row = await (await conn.execute(WAITING)).fetchone()
    return row is not None and bool(row[0])


HEAD = "SELECT place, hash, sealed_at, waiting, waiting_since, lost_id FROM cronsvc_v1.audit_head()"


async def head(conn: Conn) -> Head:
    """Where the chain ends."""
    async with conn.cursor(row_factory=class_row(Head)) as found:
        row = await (await found.execute(HEAD)).fetchone()
    assert row is not None
    return row


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a piece of the chain looks like: how many places are right, the last of them, and the first that is not."""

    checked: int
    place: int
    hash: bytes
    broken_place: int | None
    broken_id: int | None
    reason: str | None


VERIFY = """
SELECT checked, place, hash, broken_place, broken_id, reason
  FROM cronsvc_v1.audit_verify(%(after)s::bigint, %(most)s::integer)
"""


async def verify(conn: Conn, *, after: int, most: int) -> Stretch:
    """Compute at most so many places anew, those after `after`."""
    async with conn.cursor(row_factory=class_row(Stretch)) as found:
        row = await (await found.execute(VERIFY, {"after": after, "most": most})).fetchone()
    assert row is not None
    return row


@dataclass(frozen=True, slots=True)
class Unchained:
    """How many entries were looked at, the last of them, and the first that the chain should know and does not."""

    checked: int
    last_id: int | None
    broken_id: int | None


UNCHAINED = """
SELECT checked, last_id, broken_id FROM cronsvc_v1.audit_unchained(%(after)s::bigint, %(most)s::integer)
"""


async def unchained(conn: Conn, *, after: int, most: int) -> Unchained:
    """Look for entries that neither have a place nor wait for one, at most so many, those with ids after `after`."""
    async with conn.cursor(row_factory=class_row(Unchained)) as found:
        row = await (await found.execute(UNCHAINED, {"after": after, "most": most})).fetchone()
    assert row is not None
    return row


PLACE_OF = """
SELECT c.place FROM audit_log AS a LEFT JOIN audit_chain AS c ON c.audit_id = a.id
 WHERE a.id = %(id)s::bigint AND (%(namespaces)s::text[] IS NULL OR a.namespace = ANY (%(namespaces)s::text[]))
"""


async def place_of(conn: Conn, entry_id: int, *, namespaces: Sequence[str] | None) -> int | None:
    """The place of an entry, 0 while it has none; None when there is no such entry that may be seen."""
    wanted = None if namespaces is None else list(namespaces)
    row = await (await conn.execute(PLACE_OF, {"id": entry_id, "namespaces": wanted})).fetchone()
    return None if row is None else int(row[0] or 0)


HASH_AT = "SELECT hash FROM audit_chain WHERE place = %(place)s::bigint"


async def hash_at(conn: Conn, place: int) -> bytes | None:
    """The hash in one place, None when there is no such place."""
    row = await (await conn.execute(HASH_AT, {"place": place})).fetchone()
    return None if row is None else bytes(row[0])
