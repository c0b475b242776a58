"""Statements on the page's sessions and on sign-ins under way. Only hashes of their tokens are stored.

A session lasts until its absolute end, until it has not been used for a while, or until its key ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncCursor, sql
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from cronsvc.store.edges import Edge
from cronsvc.store.pool import Conn


@dataclass(frozen=True, slots=True)
class Session:
    """A living session, and what its holder may do. `namespaces` None means all; `api_key_id` is a row's id."""

    id: int
    actor: str
    role: str
    namespaces: tuple[str, ...] | None
    roles: Mapping[str, str] | None
    source: str | None
    api_key_id: int | None
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    use_is_old: bool


_LIVING = """
SELECT s.id, coalesce(s.actor, 'key:' || k.name) AS actor, coalesce(s.role, k.role) AS role,
       coalesce(s.namespaces, k.namespaces) AS namespaces, coalesce(s.roles, k.roles) AS roles, s.source, s.api_key_id,
       s.created_at, s.last_seen_at, s.expires_at,
       s.last_seen_at < clock_timestamp() - interval '1 minute' AS use_is_old
  FROM sessions AS s LEFT JOIN api_keys AS k ON k.id = s.api_key_id
 WHERE s.expires_at > clock_timestamp() AND s.last_seen_at > clock_timestamp() - %(idle)s::interval
   AND (k.id IS NULL OR (k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())))
"""

FIND = sql.SQL(_LIVING + " AND s.token_hash = %(token_hash)s::bytea")


async def find(conn: Conn, token_hash: bytes, *, idle: timedelta) -> Session | None:
    """The living session of this token, one that was used within `idle`."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        found = await _sessions(await cursor.execute(FIND, {"token_hash": token_hash, "idle": idle}))
    return found[0] if found else None


FROM_THE_NEWEST = Edge()

PAGE = sql.SQL(
    _LIVING + " AND (%(namespaces)s::text[] IS NULL OR coalesce(s.namespaces, k.namespaces) <@ %(namespaces)s::text[])"
    " AND (%(actor)s::text IS NULL OR coalesce(s.actor, 'key:' || k.name) = %(actor)s::text)"
    " AND {beyond} ORDER BY s.id {turn} LIMIT %(limit)s::integer"
)


async def living(
    conn: Conn,
    *,
    idle: timedelta,
    namespaces: Sequence[str] | None,
    actor: str | None = None,
    edge: Edge = FROM_THE_NEWEST,
    limit: int,
) -> list[Session]:
    """Living sessions by id, of this actor or of all; with `namespaces` those that reach no further."""
    parameters = {
        "idle": idle,
        "namespaces": None if namespaces is None else list(namespaces),
        "actor": actor,
        "edge": edge.beyond,
        "limit": limit,
    }
    async with conn.cursor(row_factory=dict_row) as cursor:
        return await _sessions(await cursor.execute(PAGE.format(**edge.parts("s.id")), parameters))


TOUCH = """
UPDATE sessions SET last_seen_at = clock_timestamp()
 WHERE token_hash = (SELECT s.token_hash FROM sessions AS s WHERE s.id = %(id)s::bigint FOR NO KEY UPDATE SKIP LOCKED)
"""


async def touch(conn: Conn, session_id: int) -> None:
    """Note that a session was used, without waiting for a lock."""
    await conn.execute(TOUCH, {"id": session_id})


OPEN_FOR_KEY = """
INSERT INTO sessions (token_hash, api_key_id, source, expires_at)
SELECT %(token_hash)s::bytea, k.id, %(source)s::text, least(clock_timestamp() + %(lifetime)s::interval, k.expires_at)
  FROM api_keys AS k WHERE k.id = %(id)s::bigint AND k.revoked_at IS NULL
RETURNING expires_at
"""


async def open_for_key(
    conn: Conn, *, token_hash: bytes, row_id: int, source: str | None, lifetime: timedelta
) -> datetime | None:
    """Store a session of this key, which ends after `lifetime` or with the key; returns when. None: the key is gone."""
    parameters = {"token_hash": token_hash, "id": row_id, "source": source, "lifetime": lifetime}
    row = await (await conn.execute(OPEN_FOR_KEY, parameters)).fetchone()
    return None if row is None else row[0]


OPEN_FOR_PERSON = """
INSERT INTO sessions (token_hash, actor, role, namespaces, roles, source, expires_at)
VALUES (%(token_hash)s::bytea, %(actor)s::text, %(role)s::text, %(namespaces)s::text[], %(roles)s::jsonb,
        %(source)s::text, clock_timestamp() + %(lifetime)s::interval)
RETURNING expires_at
"""


async def open_for_person(
    conn: Conn,
    *,
    token_hash: bytes,
    actor: str,
    role: str,
    namespaces: Sequence[str] | None,
    roles: Mapping[str, str] | None,
    source: str | None,
    lifetime: timedelta,
) -> datetime:
    """Store a session of somebody without a key; returns when it ends at the latest."""
    parameters = {
        "token_hash": token_hash,
        "actor": actor,
        "role": role,
        "namespaces": None if namespaces is None else list(namespaces),
        "roles": None if roles is None else Jsonb(dict(roles)),
        "source": source,
        "lifetime": lifetime,
    }
    row = await (await conn.execute(OPEN_FOR_PERSON, parameters)).fetchone()
    assert row is not None
    ends: datetime = row[0]
    return ends


CLOSE = "DELETE FROM sessions WHERE token_hash = %(token_hash)s::bytea"


async def close(conn: Conn, token_hash: bytes) -> None:
    """Forget a session; nothing happens if there is none."""
    await conn.execute(CLOSE, {"token_hash": token_hash})


CLOSE_MANY = "DELETE FROM sessions WHERE id = ANY (%(ids)s::bigint[])"


async def close_many(conn: Conn, ids: Sequence[int]) -> None:
    """Forget these sessions."""
    await conn.execute(CLOSE_MANY, {"ids": list(ids)})


PRUNE = """
DELETE FROM sessions AS s
 WHERE s.expires_at < clock_timestamp() OR s.last_seen_at < clock_timestamp() - %(idle)s::interval
    OR EXISTS (SELECT FROM api_keys AS k WHERE k.id = s.api_key_id AND k.revoked_at IS NOT NULL)
"""


async def prune(conn: Conn, *, idle: timedelta) -> int:
    """Forget sessions that have ended; returns how many."""
    return (await conn.execute(PRUNE, {"idle": idle})).rowcount


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in on its way back from an identity provider."""

    nonce: str
    verifier: str
    next: str


BEGIN_SIGN_IN = """
INSERT INTO sign_ins (state_hash, browser_hash, nonce, verifier, next, expires_at)
VALUES (%(state_hash)s::bytea, %(browser_hash)s::bytea, %(nonce)s::text, %(verifier)s::text, %(next)s::text,
        clock_timestamp() + %(lifetime)s::interval)
"""


async def begin_sign_in(
    conn: Conn, sign_in: SignIn, *, state_hash: bytes, browser_hash: bytes, lifetime: timedelta
) -> None:
    """Remember what the answer to this sign-in must match."""
    await conn.execute(
        BEGIN_SIGN_IN,
        {
            "state_hash": state_hash,
            "browser_hash": browser_hash,
            "nonce": sign_in.nonce,
            "verifier": sign_in.verifier,
            "next": sign_in.next,
            "lifetime": lifetime,
        },
    )


TAKE_SIGN_IN = """
DELETE FROM sign_ins
 WHERE state_hash = %(state_hash)s::bytea AND browser_hash = %(browser_hash)s::bytea AND expires_at > clock_timestamp()
RETURNING nonce, verifier, next
"""


async def take_sign_in(conn: Conn, *, state_hash: bytes, browser_hash: bytes) -> SignIn | None:
    """The sign-in that this browser began with this state; each can be taken once."""
    async with conn.cursor(row_factory=class_row(SignIn)) as cursor:
        await cursor.execute(TAKE_SIGN_IN, {"state_hash": state_hash, "browser_hash": browser_hash})
        return await cursor.fetchone()


PRUNE_SIGN_INS = "DELETE FROM sign_ins WHERE expires_at < clock_timestamp()"


async def prune_sign_ins(conn: Conn) -> int:
    """Forget sign-ins that nobody finished in time; returns how many."""
    return (await conn.execute(PRUNE_SIGN_INS)).rowcount


async def _sessions(cursor: AsyncCursor[dict[str, Any]]) -> list[Session]:
    rows = await cursor.fetchall()
    return [
        Session(**row | {"namespaces": None if row["namespaces"] is None else tuple(row["namespaces"])}) for row in rows
    ]
