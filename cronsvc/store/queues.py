"""Statements on `queues`: what there is, who paused what, and what a pause has parked.

A job that names a new queue adds it, by the trigger on `jobs`. Pauses and limits are audited by triggers in the same
transaction, whoever writes them. While a queue is paused its due rows are parked (`held`, no `dispatch_at`); parking
holds the queue's row locked, so the end of the pause sees every row that was parked before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from cronsvc.domain.job import Pause
from cronsvc.store.edges import Edge
from cronsvc.store.locking import lock_rows
from cronsvc.store.pool import Conn

# `job_executions.held` of a row that waits for its queue's pause to end.
HELD = "queue_paused"

# No row that was dispatched waits longer than this for its next dispatch; see dispatches.REDISPATCH.
LONGEST_REDISPATCH = timedelta(seconds=61)


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as it is set. A pause that has reached its end is none."""

    name: str
    pause: Pause | None
    concurrency: int | None
    rate_per_minute: int | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """What one queue has to do; `oldest_seconds` is how long the first waiting execution has been ready to run."""

    waiting: int = 0
    running: int = 0
    oldest_seconds: float | None = None
    workers: int = 0


# Written out where a row that is being changed or locked is asked: the function sees it as it was before.
PAUSED = sql.SQL("(q.paused_at IS NOT NULL AND (q.paused_until IS NULL OR q.paused_until > clock_timestamp()))")

COLUMNS = sql.SQL("""
       q.name, q.concurrency, q.rate_per_minute, q.created_at, q.paused_by, q.pause_note, q.paused_until,
       CASE WHEN {paused} THEN q.paused_at END AS paused_at
""").format(paused=PAUSED)

PAGE = sql.SQL("""
SELECT {columns} FROM queues AS q
 WHERE (%(is_paused)s::boolean IS NULL OR {paused} = %(is_paused)s::boolean) AND {beyond}
 ORDER BY q.name {turn} LIMIT %(limit)s::integer
""")


async def page(conn: Conn, *, is_paused: bool | None = None, edge: Edge, limit: int) -> list[Queue]:
    """Queues by name, from `edge` on; paused ones or others, where `is_paused` says so."""
    statement = PAGE.format(columns=COLUMNS, paused=PAUSED, **edge.parts("q.name"))
    async with conn.cursor(row_factory=dict_row) as found:
        await found.execute(statement, {"is_paused": is_paused, "edge": edge.beyond, "limit": limit})
        return [_queue(row) for row in await found.fetchall()]


FIND = sql.SQL("SELECT {columns} FROM queues AS q WHERE q.name = %(name)s::text").format(columns=COLUMNS)


async def find(conn: Conn, name: str) -> Queue | None:
    """One queue."""
    return await _one(conn, FIND, {"name": name})


NAMES = sql.SQL("SELECT q.name, {paused} FROM queues AS q ORDER BY q.name").format(paused=PAUSED)


async def names(conn: Conn) -> dict[str, bool]:
    """Every queue in order of name, and whether it is paused now."""
    rows = await (await conn.execute(NAMES)).fetchall()
    return dict(rows)


SET_LIMITS = sql.SQL("""
UPDATE queues AS q
   SET concurrency = CASE WHEN %(sets_concurrency)s::boolean THEN %(concurrency)s::integer ELSE q.concurrency END,
       rate_per_minute = CASE WHEN %(sets_rate)s::boolean THEN %(rate_per_minute)s::integer ELSE q.rate_per_minute END
 WHERE q.name = %(name)s::text
RETURNING {columns}
""").format(columns=COLUMNS)


async def set_limits(conn: Conn, name: str, limits: dict[str, int | None]) -> Queue | None:
    """Set the limits that `limits` has (`concurrency`, `rate_per_minute`; None is no limit), leave the others."""
    parameters = {
        "name": name,
        "sets_concurrency": "concurrency" in limits,
        "concurrency": limits.get("concurrency"),
        "sets_rate": "rate_per_minute" in limits,
        "rate_per_minute": limits.get("rate_per_minute"),
    }
    return await _one(conn, SET_LIMITS, parameters)


PAUSE = sql.SQL("""
UPDATE queues AS q
   SET paused_at = CASE WHEN {paused} THEN q.paused_at ELSE clock_timestamp() END,
       paused_by = CASE WHEN {paused} THEN q.paused_by ELSE %(by)s::text END,
       pause_note = %(note)s::text, paused_until = %(until)s::timestamptz
 WHERE q.name = %(name)s::text
RETURNING {columns}
""").format(columns=COLUMNS, paused=PAUSED)


async def pause(conn: Conn, name: str, *, by: str, note: str | None, until: datetime | None) -> Queue | None:
    """Pause a queue. A paused one keeps who paused it and when; note and end are replaced. None: no such queue."""
    return await _one(conn, PAUSE, {"name": name, "by": by, "note": note, "until": until})


RESUME = sql.SQL("""
UPDATE queues AS q SET paused_at = NULL
 WHERE q.name = %(name)s::text AND q.paused_at IS NOT NULL
   AND (NOT %(only_ended)s::boolean OR q.paused_until <= clock_timestamp())
RETURNING {columns}
""").format(columns=COLUMNS)


async def resume(conn: Conn, name: str, *, only_ended: bool = False) -> Queue | None:
    """End a pause; what it held back is to be called in. None when there is none to end.

    `only_ended`: not one that somebody has prolonged meanwhile.
    """
    return await _one(conn, RESUME, {"name": name, "only_ended": only_ended})


ATTENTION = """
SELECT q.name, q.calling_in FROM queues AS q WHERE q.calling_in OR q.paused_until <= (SELECT clock_timestamp())
 ORDER BY q.name
"""


async def attention(conn: Conn) -> dict[str, bool]:
    """Queues whose pause has reached its end (False), or has ended with rows still to be called in (True)."""
    rows = await (await conn.execute(ATTENTION)).fetchall()
    return dict(rows)


HOLD_PAUSED = sql.SQL("SELECT q.name FROM queues AS q WHERE {paused} ORDER BY q.name FOR SHARE OF q").format(
    paused=PAUSED
)


async def hold_paused(conn: Conn) -> list[str]:
    """The queues that are paused now; none of these pauses ends before this transaction does."""
    rows = await (await conn.execute(HOLD_PAUSED)).fetchall()
    return [name for (name,) in rows]


DUE = """
SELECT e.job_id, e.scheduled_time FROM job_executions AS e
 WHERE e.status = 'QUEUED' AND e.dispatch_at <= (SELECT coalesce(%(now)s::timestamptz, clock_timestamp()))
   AND e.queue = ANY (%(queues)s::text[])
 ORDER BY e.dispatch_at LIMIT %(batch)s::integer FOR NO KEY UPDATE SKIP LOCKED
"""

PARK = """
UPDATE job_executions AS e SET held = %(held)s::text, dispatch_at = NULL
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'QUEUED'
"""


async def park(conn: Conn, paused: Sequence[str], *, batch: int, now: datetime | None = None) -> int:
    """Take up to `batch` rows of these held queues out of the dispatch, instead of pushing them again and again."""
    keys = await lock_rows(conn, DUE, {"queues": list(paused), "batch": batch, "now": now})
    return 0 if keys is None else (await conn.execute(PARK, keys | {"held": HELD})).rowcount


PARKED = """
SELECT e.job_id, e.scheduled_time FROM job_executions AS e
 WHERE e.status = 'QUEUED' AND e.held = 'queue_paused' AND e.queue = %(name)s::text
 LIMIT %(batch)s::integer FOR NO KEY UPDATE SKIP LOCKED
"""

# Pushed before the pause or during it, and perhaps refused by a claim since: nobody has to wait for the next push.
DISPATCHED = """
SELECT e.job_id, e.scheduled_time FROM job_executions AS e
 WHERE e.status = 'QUEUED' AND e.dispatches > 0 AND e.queue = %(name)s::text
   AND e.dispatch_at > (SELECT clock_timestamp())
   AND e.dispatch_at < (SELECT clock_timestamp() + %(longest)s::interval)
 LIMIT %(batch)s::integer FOR NO KEY UPDATE SKIP LOCKED
"""

CALL_IN = """
UPDATE job_executions AS e
   SET held = NULL, dispatches = 0, dispatch_at = greatest(e.ready_at, clock_timestamp())
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'QUEUED'
"""


async def call_in(conn: Conn, name: str, *, batch: int) -> int:
    """Make up to `batch` rows that a queue's pause held back due for dispatch; returns how many."""
    parameters = {"name": name, "batch": batch, "longest": LONGEST_REDISPATCH}
    called_in = 0
    for found in (PARKED, DISPATCHED):
        if (keys := await lock_rows(conn, found, parameters)) is not None:
            called_in += (await conn.execute(CALL_IN, keys)).rowcount
    return called_in


CALLED_IN = """
UPDATE queues AS q SET calling_in = false
 WHERE q.name = %(name)s::text AND q.calling_in
   AND NOT EXISTS (SELECT FROM job_executions AS e
                    WHERE e.status = 'QUEUED' AND e.held = 'queue_paused' AND e.queue = q.name)
"""


async def called_in(conn: Conn, name: str) -> bool:
    """Everything the pause held back is under way; False while another replica still has rows of it in hand."""
    return (await conn.execute(CALLED_IN, {"name": name})).rowcount == 1


LOADS = """
WITH waiting AS (
    SELECT w.queue, count(*)::integer AS rows, min(w.ready_at) FILTER (WHERE w.ready_at <= clock_timestamp()) AS oldest
      FROM (SELECT e.queue, e.ready_at FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
             WHERE e.status = 'QUEUED'
               AND (%(namespaces)s::text[] IS NULL OR j.namespace = ANY (%(namespaces)s::text[]))
             LIMIT %(most)s::integer) AS w
     GROUP BY w.queue
), running AS (
    SELECT r.queue, count(*)::integer AS rows
      FROM (SELECT e.queue FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
             WHERE e.status = 'RUNNING'
               AND (%(namespaces)s::text[] IS NULL OR j.namespace = ANY (%(namespaces)s::text[]))
             LIMIT %(most)s::integer) AS r
     GROUP BY r.queue
), serving AS (
    SELECT s.queue, count(*)::integer AS rows
      FROM workers AS w CROSS JOIN unnest(w.queues) AS s(queue)
     WHERE w.state = 'active' AND w.lease_until > clock_timestamp()
     GROUP BY s.queue
)
SELECT n.name, coalesce(w.rows, 0), coalesce(r.rows, 0), extract(epoch FROM clock_timestamp() - w.oldest)::float8,
       coalesce(s.rows, 0)
  FROM unnest(%(names)s::text[]) AS n(name)
  LEFT JOIN waiting AS w ON w.queue = n.name
  LEFT JOIN running AS r ON r.queue = n.name
  LEFT JOIN serving AS s ON s.queue = n.name
"""


async def loads(
    conn: Conn, names: Sequence[str], *, namespaces: Sequence[str] | None, most: int = 100_000
) -> dict[str, QueueLoad]:
    """What these queues have to do, of jobs in `namespaces` (None: all), counted among `most` unfinished rows."""
    wanted = None if namespaces is None else list(namespaces)
    rows = await (await conn.execute(LOADS, {"names": list(names), "namespaces": wanted, "most": most})).fetchall()
    return {name: QueueLoad(waiting, running, oldest, workers) for name, waiting, running, oldest, workers in rows}


def _queue(row: dict[str, Any]) -> Queue:
    pause = None
    if row["paused_at"] is not None:
        pause = Pause(row["paused_by"], row["paused_at"], row["pause_note"], row["paused_until"])
    return Queue(row["name"], pause, row["concurrency"], row["rate_per_minute"], row["created_at"])


async def _one(conn: Conn, statement: sql.Composed, parameters: dict[str, Any]) -> Queue | None:
    async with conn.cursor(row_factory=dict_row) as found:
        row = await (await found.execute(statement, parameters)).fetchone()
    return None if row is None else _queue(row)
