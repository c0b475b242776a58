"""Reading the audit log: in order of time, and in order of the places in its chain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from cronsvc.store.pool import Conn


@dataclass(frozen=True, slots=True)
class Entry:
    """Who did what to what, when and from where. `place` and `hash`: in the chain; None until it is sealed."""

    id: int
    at: datetime
    actor: str
    source: str | None
    request_id: str | None
    action: str
    entity: str
    entity_id: str
    namespace: str | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    place: int | None
    hash: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: None asks for all. `namespaces` bounds what may be seen; then entries of none are left out."""

    namespaces: Sequence[str] | None = None
    actor: str | None = None
    action: str | None = None
    entity: str | None = None
    entity_id: str | None = None
    request_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


_ENTRIES = """
SELECT a.id, a.at, a.actor, a.source, a.request_id, a.action, a.entity, a.entity_id, a.namespace, a.before, a.after,
       c.place, encode(c.hash, 'hex') AS hash
  FROM audit_log AS a {chained} JOIN audit_chain AS c ON c.audit_id = a.id
 WHERE (%(namespaces)s::text[] IS NULL OR a.namespace = ANY (%(namespaces)s::text[]))
   AND (%(actor)s::text IS NULL OR a.actor = %(actor)s::text)
   AND (%(action)s::text IS NULL OR a.action = %(action)s::text)
   AND (%(entity)s::text IS NULL OR a.entity = %(entity)s::text)
   AND (%(entity_id)s::text IS NULL OR a.entity_id = %(entity_id)s::text)
   AND (%(request_id)s::text IS NULL OR a.request_id = %(request_id)s::text)
   AND a.at >= coalesce(%(since)s::timestamptz, '-infinity') AND a.at < coalesce(%(until)s::timestamptz, 'infinity')
   AND {keyset}
 ORDER BY {order} LIMIT %(limit)s::integer
"""
NEWEST_FIRST = sql.SQL(_ENTRIES).format(
    chained=sql.SQL("LEFT"),
    keyset=sql.SQL("(a.at, a.id) < (coalesce(%(edge_at)s::timestamptz, 'infinity'), coalesce(%(edge_id)s::bigint, 0))"),
    order=sql.SQL("a.at DESC, a.id DESC"),
)
OLDEST_FIRST = sql.SQL(_ENTRIES).format(
    chained=sql.SQL("LEFT"),
    keyset=sql.SQL(
        "(a.at, a.id) > (coalesce(%(edge_at)s::timestamptz, '-infinity'), coalesce(%(edge_id)s::bigint, 0))"
    ),
    order=sql.SQL("a.at, a.id"),
)
BY_PLACE = sql.SQL(_ENTRIES).format(
    chained=sql.SQL("INNER"), keyset=sql.SQL("c.place > %(after_place)s::bigint"), order=sql.SQL("c.place")
)


async def page(
    conn: Conn, wanted: Wanted, *, edge: tuple[datetime, int] | None, limit: int, newest_first: bool = True
) -> list[Entry]:
    """Entries beyond `edge` in this order, the first ones when it is None."""
    parameters = _parameters(wanted, limit) | {
        "edge_at": None if edge is None else edge[0],
        "edge_id": None if edge is None else edge[1],
    }
    async with conn.cursor(row_factory=class_row(Entry)) as found:
        return await (await found.execute(NEWEST_FIRST if newest_first else OLDEST_FIRST, parameters)).fetchall()


async def sealed(conn: Conn, wanted: Wanted, *, after_place: int, limit: int) -> list[Entry]:
    """Entries with a place beyond `after_place`, by place: none appears before one that was seen earlier."""
    async with conn.cursor(row_factory=class_row(Entry)) as found:
        return await (
            await found.execute(BY_PLACE, _parameters(wanted, limit) | {"after_place": after_place})
        ).fetchall()


def _parameters(wanted: Wanted, limit: int) -> dict[str, Any]:
    return {
        "namespaces": None if wanted.namespaces is None else list(wanted.namespaces),
        "actor": wanted.actor,
        "action": wanted.action,
        "entity": wanted.entity,
        "entity_id": wanted.entity_id,
        "request_id": wanted.request_id,
        "since": wanted.since,
        "until": wanted.until,
        "limit": limit,
    }
