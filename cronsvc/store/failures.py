"""Statements on the failures of jobs in a row, and on executions whose deadline has passed.

Whoever counts an end locks its job first and the execution after it, in the order that edits and deletions use too; so
two workers that finish executions of one job at the same moment count one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cronsvc.store.pool import Conn
from cronsvc.store.spans import by_key

LOCK_JOBS = """
SELECT id FROM jobs WHERE id = ANY (%(job_ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE
"""


async def lock_jobs(conn: Conn, job_ids: Sequence[int]) -> None:
    """Keep these jobs as they are until the transaction ends."""
    await conn.execute(LOCK_JOBS, {"job_ids": list(job_ids)})


# What the rows say now, not what was asked of them: a request to cancel may have come between. A success among the ends
# of one transaction comes after every failure that stands before it in the list.
COUNT = """
WITH ends AS (
    SELECT t.job_id, e.status,
           max(t.place) FILTER (WHERE e.status = 'SUCCESS') OVER (PARTITION BY t.job_id) AS success, t.place
      FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) WITH ORDINALITY AS t(job_id, scheduled_time, place)
      JOIN job_executions AS e ON e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
     WHERE e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status IN ('SUCCESS', 'FAILED')
), counted AS (
    SELECT job_id, bool_or(success IS NOT NULL) AS succeeded,
           count(*) FILTER (WHERE status = 'FAILED' AND place > coalesce(success, 0))::int AS failures
      FROM ends GROUP BY job_id
)
UPDATE jobs AS j
   SET consecutive_failures = CASE WHEN c.succeeded THEN 0 ELSE j.consecutive_failures END + c.failures
  FROM counted AS c
 WHERE j.id = c.job_id AND j.pause_after_failures IS NOT NULL
"""


async def count(conn: Conn, ended: Sequence[tuple[int, datetime]]) -> None:
    """Count these ends (job id, scheduled time), in order, for the locked jobs that pause after failures."""
    if not ended:
        return
    await conn.execute(COUNT, by_key(ended))


PAUSE_FAILING = """
UPDATE jobs AS j
   SET paused_at = clock_timestamp(), paused_by = %(by)s::text, paused_until = NULL,
       pause_note = CASE j.consecutive_failures WHEN 1 THEN '1 execution has failed'
                         ELSE j.consecutive_failures || ' executions in a row have failed' END
                    || '; the last error was ' || t.error
  FROM unnest(%(job_ids)s::bigint[], %(errors)s::text[]) AS t(job_id, error)
 WHERE j.id = t.job_id AND j.paused_at IS NULL AND j.deleted_at IS NULL
   AND j.consecutive_failures >= j.pause_after_failures
RETURNING j.id
"""


async def pause_failing(conn: Conn, last_errors: dict[int, str], *, by: str) -> list[int]:
    """Pause those of these locked jobs that have failed as often as they may; returns their ids."""
    parameters = {"job_ids": list(last_errors), "errors": list(last_errors.values()), "by": by}
    return [job_id for (job_id,) in await (await conn.execute(PAUSE_FAILING, parameters)).fetchall()]


PAUSE_GONE = """
UPDATE jobs AS j
   SET paused_at = clock_timestamp(), paused_by = %(by)s::text, paused_until = NULL,
       pause_note = 'the target answered 410: it is gone and will not come back'
 WHERE j.id = ANY (%(job_ids)s::bigint[]) AND j.paused_at IS NULL AND j.deleted_at IS NULL
RETURNING j.id
"""


async def pause_gone(conn: Conn, job_ids: Sequence[int], *, by: str) -> list[int]:
    """Pause these locked jobs, whose target is gone for good; returns the ids of those that were not paused yet."""
    rows = await (await conn.execute(PAUSE_GONE, {"job_ids": list(job_ids), "by": by})).fetchall()
    return [job_id for (job_id,) in rows]


@dataclass(frozen=True, slots=True)
class Overdue:
    """A waiting execution whose deadline has passed."""

    job_id: int
    scheduled_time: datetime
    counted: bool  # its job pauses after so many failures in a row


OVERDUE = """
SELECT e.job_id, e.scheduled_time, j.pause_after_failures IS NOT NULL
  FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
 WHERE e.status = 'QUEUED' AND e.deadline_at IS NOT NULL
   AND e.deadline_at <= (SELECT coalesce(%(now)s::timestamptz, clock_timestamp()))
 ORDER BY e.deadline_at LIMIT %(batch)s
"""


async def overdue(conn: Conn, *, batch: int, now: datetime | None = None) -> list[Overdue]:
    """Up to `batch` waiting executions whose deadline has passed, longest over first; nothing is locked."""
    rows = await (await conn.execute(OVERDUE, {"batch": batch, "now": now})).fetchall()
    return [Overdue(*row) for row in rows]


# The same words as domain.finish has for an attempt that leaves no time for another.
END_OVERDUE = """
WITH waiting AS (
    SELECT e.job_id, e.scheduled_time
      FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
      JOIN job_executions AS e ON e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
     WHERE e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'QUEUED'
       AND e.deadline_at <= (SELECT coalesce(%(now)s::timestamptz, clock_timestamp()))
     ORDER BY e.job_id, e.scheduled_time FOR UPDATE OF e SKIP LOCKED
)
UPDATE job_executions AS e
   SET status = 'FAILED', status_reason = 'timeout', dispatch_at = NULL, held = NULL, end_time = clock_timestamp(),
       error = jsonb_build_object('type', 'deadline', 'message', CASE
               WHEN e.attempt = 0
               THEN concat_ws('; ', 'no attempt began before the deadline',
                              nullif(concat_ws(': ', e.error ->> 'type', e.error ->> 'message'), ''))
               ELSE concat_ws('; ', 'the deadline leaves no time for another attempt',
                              nullif(concat_ws(': ', e.error ->> 'type', e.error ->> 'message'), '')) END)
  FROM waiting AS w
 WHERE e.job_id = w.job_id AND e.scheduled_time = w.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'QUEUED'
RETURNING e.job_id, e.scheduled_time
"""


async def end_overdue(
    conn: Conn, rows: Sequence[Overdue], *, now: datetime | None = None
) -> list[tuple[int, datetime]]:
    """FAILED(timeout), error type `deadline`, for those of these that still wait; returns their keys."""
    parameters = by_key((each.job_id, each.scheduled_time) for each in rows) | {"now": now}
    return [(job_id, time) for job_id, time in await (await conn.execute(END_OVERDUE, parameters)).fetchall()]
