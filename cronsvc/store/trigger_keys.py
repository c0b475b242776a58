"""Statements on `trigger_keys`: which execution a key has started, for 24 hours."""

from dataclasses import dataclass
from datetime import datetime

from cronsvc.store.pool import Conn

# A key of which the day is over is taken like a new one. Of two transactions that take the same key the second waits
# here for the first: then it finds the key taken, or free again when the first was rolled back.
TAKE = """
INSERT INTO trigger_keys AS k (job_id, key_hash, request_hash, created_at)
VALUES (%(job_id)s::bigint, %(key_hash)s::bytea, %(request_hash)s::bytea,
        coalesce(%(now)s::timestamptz, clock_timestamp()))
    ON CONFLICT (job_id, key_hash) DO UPDATE
   SET request_hash = excluded.request_hash, created_at = excluded.created_at, execution_id = NULL,
       scheduled_time = NULL
 WHERE k.created_at <= excluded.created_at - interval '24 hours'
RETURNING k.job_id
"""


async def take(conn: Conn, job_id: int, *, key_hash: bytes, request_hash: bytes, now: datetime | None = None) -> bool:
    """Make a key this transaction's; False when it has started an execution within 24 hours."""
    parameters = {"job_id": job_id, "key_hash": key_hash, "request_hash": request_hash, "now": now}
    return await (await conn.execute(TAKE, parameters)).fetchone() is not None


FILL = """
UPDATE trigger_keys SET execution_id = %(execution_id)s::bigint, scheduled_time = %(scheduled_time)s::timestamptz
 WHERE job_id = %(job_id)s::bigint AND key_hash = %(key_hash)s::bytea
"""


async def fill(conn: Conn, job_id: int, *, key_hash: bytes, execution_id: int, scheduled_time: datetime) -> None:
    """Say which execution a key that this transaction took has started."""
    parameters = {"execution_id": execution_id, "scheduled_time": scheduled_time}
    await conn.execute(FILL, parameters | {"job_id": job_id, "key_hash": key_hash})


@dataclass(frozen=True, slots=True)
class TakenKey:
    """What a key stands for."""

    request_hash: bytes
    execution_id: int | None


FIND = """
SELECT request_hash, execution_id FROM trigger_keys
 WHERE job_id = %(job_id)s::bigint AND key_hash = %(key_hash)s::bytea
"""


async def find(conn: Conn, job_id: int, *, key_hash: bytes) -> TakenKey | None:
    """What a key has started."""
    row = await (await conn.execute(FIND, {"job_id": job_id, "key_hash": key_hash})).fetchone()
    return None if row is None else TakenKey(bytes(row[0]), row[1])


PRUNE = """
DELETE FROM trigger_keys
 WHERE (job_id, key_hash) IN (
       SELECT job_id, key_hash FROM trigger_keys
        WHERE created_at < (SELECT coalesce(%(now)s::timestamptz, clock_timestamp()) - interval '24 hours')
        ORDER BY created_at LIMIT %(batch)s::integer FOR UPDATE SKIP LOCKED)
"""


async def prune(conn: Conn, *, batch: int, now: datetime | None = None) -> int:
    """Forget up to `batch` keys of which the day is over; returns how many."""
    return (await conn.execute(PRUNE, {"batch": batch, "now": now})).rowcount
