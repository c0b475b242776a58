"""Statements on `request_keys`: the keys of requests and the answers they got, for 24 hours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.types.json import Jsonb

from cronsvc.store.pool import Conn


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer as it was sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class TakenRequest:
    """What is known of a key. `is_free`: its day is over, or who had it died before anything was changed."""

    request_hash: bytes
    is_free: bool
    took_effect: bool
    age: timedelta
    answer: KeptAnswer | None


_FREE = """(k.created_at <= t.now - interval '24 hours'
        OR (k.took_effect_at IS NULL AND k.status IS NULL AND k.created_at <= t.now - %(abandoned)s::interval))"""

FIND = f"""
SELECT k.request_hash, {_FREE}, k.took_effect_at IS NOT NULL, t.now - k.created_at, k.status, k.headers, k.body
  FROM request_keys AS k, (SELECT coalesce(%(now)s::timestamptz, clock_timestamp()) AS now) AS t
 WHERE k.key_hash = %(key_hash)s::bytea
"""  # noqa: S608 both parts are constants of this file


async def find(
    conn: Conn, key_hash: bytes, *, abandoned: timedelta, now: datetime | None = None
) -> TakenRequest | None:
    """What a key stands for; waits for nobody. After `abandoned` a request that has changed nothing counts as dead."""
    parameters = {"key_hash": key_hash, "abandoned": abandoned, "now": now}
    row = await (await conn.execute(FIND, parameters)).fetchone()
    if row is None:
        return None
    answer = None if row[4] is None else KeptAnswer(row[4], row[5], bytes(row[6]))
    return TakenRequest(bytes(row[0]), row[1], row[2], row[3], answer)


FREE = f"""
DELETE FROM request_keys AS k USING (SELECT coalesce(%(now)s::timestamptz, clock_timestamp()) AS now) AS t
 WHERE k.key_hash = %(key_hash)s::bytea AND {_FREE}
"""  # noqa: S608 both parts are constants of this file

TAKE = """
INSERT INTO request_keys (key_hash, request_hash, caller_hash, namespaces, claim, created_at)
VALUES (%(key_hash)s::bytea, %(request_hash)s::bytea, %(caller_hash)s::bytea, %(namespaces)s::text[], %(claim)s::uuid,
        coalesce(%(now)s::timestamptz, clock_timestamp()))
    ON CONFLICT (key_hash) DO NOTHING
RETURNING 1
"""


async def take(
    conn: Conn,
    key_hash: bytes,
    *,
    request_hash: bytes,
    caller_hash: bytes,
    namespaces: Sequence[str] | None,
    claim: UUID,
    abandoned: timedelta,
    now: datetime | None = None,
) -> bool:
    """Give a key that is new or free to this claim; False when it is somebody's. Of several at once one gets it."""
    await conn.execute(FREE, {"key_hash": key_hash, "abandoned": abandoned, "now": now})
    parameters = {
        "key_hash": key_hash,
        "request_hash": request_hash,
        "caller_hash": caller_hash,
        "namespaces": None if namespaces is None else list(namespaces),
        "claim": claim,
        "now": now,
    }
    return await (await conn.execute(TAKE, parameters)).fetchone() is not None


COUNT = """
SELECT count(*)
  FROM (SELECT FROM request_keys AS k
         WHERE k.caller_hash = %(caller_hash)s::bytea
           AND k.created_at > coalesce(%(now)s::timestamptz, clock_timestamp()) - interval '24 hours'
         LIMIT %(most)s::bigint) AS found
"""


async def count(conn: Conn, caller_hash: bytes, *, most: int, now: datetime | None = None) -> int:
    """How many keys a caller has had within 24 hours, counted up to `most`."""
    row = await (await conn.execute(COUNT, {"caller_hash": caller_hash, "most": most, "now": now})).fetchone()
    return 0 if row is None else int(row[0])


KEEP = """
UPDATE request_keys SET status = %(status)s::smallint, headers = %(headers)s::jsonb, body = %(body)s::bytea
 WHERE key_hash = %(key_hash)s::bytea AND claim = %(claim)s::uuid
"""


async def keep(conn: Conn, key_hash: bytes, claim: UUID, answer: KeptAnswer) -> None:
    """Keep the answer of the request that has the key; nothing when another has it by now."""
    parameters = {"status": answer.status, "headers": Jsonb(dict(answer.headers)), "body": answer.body}
    await conn.execute(KEEP, parameters | {"key_hash": key_hash, "claim": claim})


RELEASE = """
DELETE FROM request_keys
 WHERE key_hash = %(key_hash)s::bytea AND claim = %(claim)s::uuid AND took_effect_at IS NULL AND status IS NULL
"""


async def release(conn: Conn, key_hash: bytes, claim: UUID) -> None:
    """Forget a key whose request has changed nothing."""
    await conn.execute(RELEASE, {"key_hash": key_hash, "claim": claim})


PRUNE = """
DELETE FROM request_keys
 WHERE key_hash IN (
       SELECT key_hash FROM request_keys
        WHERE created_at < (SELECT coalesce(%(now)s::timestamptz, clock_timestamp()) - interval '24 hours')
        ORDER BY created_at LIMIT %(batch)s::integer FOR UPDATE SKIP LOCKED)
"""


async def prune(conn: Conn, *, batch: int, now: datetime | None = None) -> int:
    """Forget up to `batch` keys of which the day is over; returns how many."""
    return (await conn.execute(PRUNE, {"batch": batch, "now": now})).rowcount
