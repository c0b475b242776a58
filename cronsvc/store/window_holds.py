"""Statements on what maintenance windows hold.

A row that is held is QUEUED, has `held` = 'maintenance', no `dispatch_at`, and in `ready_at` the moment at which it is
to be looked at again: some time after the end of its window. Then it is released, or another window keeps it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import dict_row

from cronsvc.store.locking import lock_rows
from cronsvc.store.pool import Conn
from cronsvc.store.spans import by_key

OF_WINDOW = """
SELECT e.job_id, e.scheduled_time FROM job_executions AS e
 WHERE e.status = 'QUEUED' AND e.held = 'maintenance' AND e.window_id = %(window_id)s::bigint
 ORDER BY e.job_id, e.scheduled_time FOR NO KEY UPDATE
"""

LOOK_AGAIN = """
UPDATE job_executions AS e SET ready_at = clock_timestamp()
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'QUEUED' AND e.held = 'maintenance'
"""


async def look_again(conn: Conn, window_id: int) -> int:
    """Have what a locked window holds looked at in the next round; returns how many rows."""
    keys = await lock_rows(conn, OF_WINDOW, {"window_id": window_id})
    return 0 if keys is None else (await conn.execute(LOOK_AGAIN, keys)).rowcount


HELD_BEFORE = """
SELECT e.job_id, e.scheduled_time
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
  JOIN job_executions AS e ON e.job_id = t.job_id AND e.scheduled_time < t.scheduled_time
 WHERE e.held = 'maintenance' AND e.status = 'QUEUED' AND (e.status = 'QUEUED' OR e.status = 'RUNNING')
 ORDER BY e.job_id, e.scheduled_time FOR UPDATE OF e
"""

REPLACE_HELD = """
UPDATE job_executions AS e
   SET status = 'CANCELLED', status_reason = 'replaced', end_time = clock_timestamp(), dispatch_at = NULL, held = NULL
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.held = 'maintenance' AND e.status = 'QUEUED'
"""


async def replace_held(conn: Conn, before: Collection[tuple[int, datetime]]) -> int:
    """Cancel what windows hold of these locked jobs before an instant of each; returns how many."""
    ordered = sorted(before)
    parameters = {"job_ids": [job_id for job_id, _ in ordered], "times": [instant for _, instant in ordered]}
    keys = await lock_rows(conn, HELD_BEFORE, parameters)
    return 0 if keys is None else (await conn.execute(REPLACE_HELD, keys)).rowcount


@dataclass(frozen=True, slots=True)
class Held:
    """An execution whose time to be looked at again has come, and what windows ask of its job."""

    job_id: int
    scheduled_time: datetime
    namespace: str
    tags: tuple[str, ...]
    queue: str
    allows_overlap: bool


RELEASABLE = """
SELECT e.job_id, e.scheduled_time, j.namespace, j.tags, j.queue, j.overlap_policy = 'allow' AS allows_overlap,
       clock_timestamp() AS now
  FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
 WHERE e.status = 'QUEUED' AND e.held = 'maintenance' AND e.ready_at <= (SELECT coalesce(%(now)s, clock_timestamp()))
 ORDER BY e.ready_at LIMIT %(batch)s::integer
   FOR NO KEY UPDATE OF e SKIP LOCKED
"""


async def releasable(conn: Conn, *, batch: int, now: datetime | None = None) -> tuple[list[Held], datetime | None]:
    """Lock held executions that are due for another look, and say at which moment they were judged."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        rows = await (await cursor.execute(RELEASABLE, {"batch": batch, "now": now})).fetchall()
    held = [
        Held(
            row["job_id"],
            row["scheduled_time"],
            row["namespace"],
            tuple(row["tags"]),
            row["queue"],
            row["allows_overlap"],
        )
        for row in rows
    ]
    return held, (now or rows[-1]["now"]) if rows else None


KEEP = """
UPDATE job_executions AS e SET ready_at = t.release_at, window_id = t.window_id
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[], %(release_at)s::timestamptz[], %(window_ids)s::bigint[])
    AS t(job_id, scheduled_time, release_at, window_id)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'QUEUED' AND e.held = 'maintenance'
"""


async def keep(conn: Conn, kept: Sequence[tuple[Held, int, datetime]]) -> None:
    """Leave these locked executions to another window, to be looked at again at its time."""
    await conn.execute(
        KEEP,
        {
            **by_key((held.job_id, held.scheduled_time) for held, _, _ in kept),
            "release_at": [release_at for _, _, release_at in kept],
            "window_ids": [window_id for _, window_id, _ in kept],
        },
    )


# One that may not overlap goes to the release of those, which lets it go when nothing else of its job is unfinished.
RELEASE = """
UPDATE job_executions AS e
   SET held = CASE WHEN t.allows_overlap THEN NULL ELSE 'overlap' END, ready_at = clock_timestamp(),
       dispatch_at = CASE WHEN t.allows_overlap THEN clock_timestamp() END, dispatches = 0,
       deadline_at = CASE WHEN t.allows_overlap
                          THEN clock_timestamp() + make_interval(secs => (SELECT j.deadline_seconds FROM jobs AS j
                                                                           WHERE j.id = e.job_id)) END
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[], %(allows_overlap)s::boolean[])
    AS t(job_id, scheduled_time, allows_overlap)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'QUEUED' AND e.held = 'maintenance'
"""


async def release(conn: Conn, released: Sequence[Held]) -> None:
    """Let these locked executions go: they are due for dispatch."""
    await conn.execute(
        RELEASE,
        {
            **by_key((held.job_id, held.scheduled_time) for held in released),
            "allows_overlap": [held.allows_overlap for held in released],
        },
    )
