"""T2 of a firing: executions that wait and whose ticket is due, or due again."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from cronsvc.domain.execution import Ticket
from cronsvc.store.locking import lock_rows
from cronsvc.store.pool import Conn
from cronsvc.store.spans import by_key

WAITING = """
SELECT job_id, scheduled_time FROM job_executions
 WHERE status = 'QUEUED' AND dispatch_at <= (SELECT coalesce(%(now)s::timestamptz, clock_timestamp()))
   AND queue <> ALL (%(paused)s::text[]) AND NOT (SELECT cronsvc_fenced())
 ORDER BY dispatch_at LIMIT %(batch)s
"""

REDISPATCH = """
UPDATE job_executions AS e
   SET dispatches = least(e.dispatches + 1, 1000)::smallint,
       dispatch_at = clock_timestamp()
                   + least(%(redispatch)s::interval * power(2, least(e.dispatches, 8)), interval '60 seconds')
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s
   AND e.status = 'QUEUED' AND e.dispatch_at <= coalesce(%(now)s::timestamptz, clock_timestamp())
RETURNING e.id, e.job_id, e.scheduled_time, e.claim_no, e.queue, e.priority
"""


async def redispatch(
    conn: Conn, *, batch: int, redispatch: timedelta, paused: Sequence[str] = (), now: datetime | None = None
) -> list[Ticket]:
    """Take up to `batch` waiting executions whose dispatch is due, none of `paused` queues; say when to look again.

    The pause between two dispatches of one row doubles up to a minute, so that a long backlog is not pushed over and
    over; Redis refuses the ticket that still waits there.
    """
    waiting = await (await conn.execute(WAITING, {"batch": batch, "now": now, "paused": list(paused)})).fetchall()
    if not waiting:
        return []
    parameters = by_key(sorted(waiting)) | {"redispatch": redispatch, "now": now}
    rows = await (await conn.execute(REDISPATCH, parameters)).fetchall()
    return [Ticket(*row) for row in rows]


PUSHED = """
SELECT job_id, scheduled_time FROM job_executions
 WHERE status = 'QUEUED' AND dispatches > 0 AND dispatch_at > (SELECT clock_timestamp())
 LIMIT %(batch)s FOR NO KEY UPDATE SKIP LOCKED
"""

CALL_IN = """
UPDATE job_executions AS e SET dispatch_at = clock_timestamp(), dispatches = 0
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'QUEUED'
"""


async def call_in(conn: Conn, *, batch: int) -> int:
    """Redis lost its tickets: make up to `batch` pushed rows due for dispatch now; backoff and jitter stay."""
    keys = await lock_rows(conn, PUSHED, {"batch": batch})
    return 0 if keys is None else (await conn.execute(CALL_IN, keys)).rowcount
