"""Statements on API keys. Only hashes are stored; the secrets exist with their holders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncCursor, sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cronsvc.store.edges import Edge
from cronsvc.store.pool import Conn


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as people may see it: everything but its secret. `namespaces` None means all."""

    key_id: str
    name: str
    role: str
    namespaces: tuple[str, ...] | None
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    roles: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What checking a credential needs. `seconds_left` until it expires (None: never), by the database clock."""

    id: int
    key_id: str
    name: str
    role: str
    namespaces: tuple[str, ...] | None
    secret_hash: bytes
    revoked: bool
    seconds_left: float | None
    use_is_old: bool
    roles: Mapping[str, str] | None = None


KEY_COLUMNS = sql.SQL("""
    k.key_id, k.name, k.role, k.namespaces, k.created_by, k.created_at, k.expires_at, k.last_used_at, k.revoked_at,
    k.roles
""")

INSERT = sql.SQL("""
INSERT INTO api_keys AS k (key_id, name, secret_hash, role, namespaces, roles, created_by, expires_at)
VALUES (%(key_id)s, %(name)s, %(secret_hash)s, %(role)s, %(namespaces)s::text[], %(roles)s::jsonb, %(created_by)s,
        %(expires_at)s)
    ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
RETURNING {columns}
""").format(columns=KEY_COLUMNS)


async def insert(
    conn: Conn,
    *,
    key_id: str,
    name: str,
    secret_hash: bytes,
    role: str,
    namespaces: Sequence[str] | None,
    roles: Mapping[str, str] | None,
    created_by: str,
    expires_at: datetime | None,
) -> ApiKey | None:
    """Store a new key; None if a key of that name has not been revoked."""
    async with conn.cursor(row_factory=dict_row) as found:
        await found.execute(
            INSERT,
            {
                "key_id": key_id,
                "name": name,
                "secret_hash": secret_hash,
                "role": role,
                "namespaces": None if namespaces is None else list(namespaces),
                "roles": None if roles is None else Jsonb(dict(roles)),
                "created_by": created_by,
                "expires_at": expires_at,
            },
        )
        return await _key(found)


ALL = sql.SQL("SELECT {columns} FROM api_keys AS k ORDER BY k.id LIMIT 1000").format(columns=KEY_COLUMNS)


async def all_keys(conn: Conn) -> list[ApiKey]:
    """Every key there ever was, oldest first, at most a thousand."""
    async with conn.cursor(row_factory=dict_row) as found:
        await found.execute(ALL)
        return [ApiKey(**_granted(row)) for row in await found.fetchall()]


PAGE = sql.SQL("""
SELECT {columns}, k.id FROM api_keys AS k
 WHERE (%(namespaces)s::text[] IS NULL OR k.namespaces <@ %(namespaces)s::text[])
   AND (%(name)s::text IS NULL OR k.name = %(name)s::text)
   AND (%(is_live)s::boolean IS NULL
        OR %(is_live)s::boolean = (k.revoked_at IS NULL AND coalesce(k.expires_at > clock_timestamp(), true)))
   AND {beyond}
 ORDER BY k.id {turn} LIMIT %(limit)s::integer
""")


async def page(
    conn: Conn, *, namespaces: Sequence[str] | None, name: str | None, is_live: bool | None, edge: Edge, limit: int
) -> list[tuple[int, ApiKey]]:
    """(row's id, key) of those that reach no further than `namespaces` (None: all), by id, from `edge` on."""
    parameters = {
        "namespaces": None if namespaces is None else list(namespaces),
        "name": name,
        "is_live": is_live,
        "edge": edge.beyond,
        "limit": limit,
    }
    async with conn.cursor(row_factory=dict_row) as found:
        await found.execute(PAGE.format(columns=KEY_COLUMNS, **edge.parts("k.id")), parameters)
        return [(row.pop("id"), ApiKey(**_granted(row))) for row in await found.fetchall()]


STORED_COLUMNS = sql.SQL("""
    k.id, k.key_id, k.name, k.role, k.namespaces, k.secret_hash, k.revoked_at IS NOT NULL AS revoked,
    extract(epoch FROM k.expires_at - clock_timestamp())::float8 AS seconds_left,
    k.last_used_at IS NULL OR k.last_used_at < clock_timestamp() - interval '1 minute' AS use_is_old,
    k.roles
""")

STORED = sql.SQL("SELECT {columns} FROM api_keys AS k WHERE k.key_id = %(key_id)s::text").format(columns=STORED_COLUMNS)


async def stored(conn: Conn, key_id: str) -> StoredKey | None:
    """The key with this public id, whatever its state."""
    async with conn.cursor(row_factory=dict_row) as found:
        return await _stored(await found.execute(STORED, {"key_id": key_id}))


# Of two requests at once the second goes on without waiting for the first one's note.
TOUCH = """
UPDATE api_keys SET last_used_at = clock_timestamp()
 WHERE id = (SELECT k.id FROM api_keys AS k
              WHERE k.id = %(id)s::bigint
                AND (k.last_used_at IS NULL OR k.last_used_at < clock_timestamp() - interval '1 minute')
                FOR NO KEY UPDATE SKIP LOCKED)
"""


async def touch(conn: Conn, row_id: int) -> None:
    """Note that a key was used; at most one write a minute, and no waiting for a lock."""
    await conn.execute(TOUCH, {"id": row_id})


REVOKE = sql.SQL("""
UPDATE api_keys AS k SET revoked_at = clock_timestamp()
 WHERE k.key_id = %(key_id)s::text AND k.revoked_at IS NULL
   AND (%(namespaces)s::text[] IS NULL OR k.namespaces <@ %(namespaces)s::text[])
RETURNING {columns}
""").format(columns=KEY_COLUMNS)


async def revoke(conn: Conn, key_id: str, *, namespaces: Sequence[str] | None) -> ApiKey | None:
    """End a key for good; None if there is none to end that reaches no further than `namespaces` (None: any)."""
    async with conn.cursor(row_factory=dict_row) as found:
        await found.execute(REVOKE, {"key_id": key_id, "namespaces": None if namespaces is None else list(namespaces)})
        return await _key(found)


REVOKED = sql.SQL("""
SELECT {columns} FROM api_keys AS k
 WHERE k.key_id = %(key_id)s::text AND k.revoked_at IS NOT NULL
   AND (%(namespaces)s::text[] IS NULL OR k.namespaces <@ %(namespaces)s::text[])
""").format(columns=KEY_COLUMNS)


async def revoked(conn: Conn, key_id: str, *, namespaces: Sequence[str] | None) -> ApiKey | None:
    """A key that has been ended; None if there is none that reaches no further than `namespaces` (None: any)."""
    async with conn.cursor(row_factory=dict_row) as found:
        await found.execute(REVOKED, {"key_id": key_id, "namespaces": None if namespaces is None else list(namespaces)})
        return await _key(found)


async def _key(found: AsyncCursor[dict[str, Any]]) -> ApiKey | None:
    row = await found.fetchone()
    return None if row is None else ApiKey(**_granted(row))


async def _stored(found: AsyncCursor[dict[str, Any]]) -> StoredKey | None:
    row = await found.fetchone()
    return None if row is None else StoredKey(**_granted(row))


def _granted(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its namespaces as the tuple that a frozen value holds."""
    return row | {"namespaces": None if row["namespaces"] is None else tuple(row["namespaces"])}
