"""What a step of a backfill reads of `job_executions` and writes into it.

Nothing here locks ahead: each write names the state it expects and tells which instants it took, so whoever was faster
(another backfill, a tick, a person who retries) keeps what it wrote.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cronsvc.domain.backfill import Backfill, Ledger, Present, Selector
from cronsvc.domain.execution import Status, Ticket, Trigger
from cronsvc.domain.job import Job, JobDefinition
from cronsvc.store.locking import lock_rows
from cronsvc.store.pool import Conn
from cronsvc.store.rows import JOB_COLUMNS, job_for_readers

# The first key of the advisory locks of steps; the second is the job.
LOCK_CLASS = 0x6261636B  # "back"

TRY_JOB = "SELECT pg_try_advisory_xact_lock(%(class)s::int, hashint8(%(job_id)s::bigint))"


async def try_job(conn: Conn, job_id: int) -> bool:
    """Keep other steps of this job away until the transaction ends; False if one is at it. Saves work, no more."""
    row = await (await conn.execute(TRY_JOB, {"class": LOCK_CLASS, "job_id": job_id})).fetchone()
    return row is not None and bool(row[0])


# The range row that reaches into the window is the last row the schedule wrote before it: rows inside a range are
# backfills' and people's.
PRESENT = """
SELECT e.scheduled_time, e.status::text, e.status_reason, e.skipped_until
  FROM job_executions AS e
 WHERE e.job_id = %(job_id)s AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s
   AND (e.skipped_until IS NOT NULL OR e.scheduled_time = ANY (%(instants)s::timestamptz[]))
UNION ALL
SELECT * FROM (
    SELECT e.scheduled_time, e.status::text, e.status_reason, e.skipped_until
      FROM job_executions AS e
     WHERE e.job_id = %(job_id)s AND e.scheduled_time < %(least)s AND e.trigger = 'schedule'
     ORDER BY e.scheduled_time DESC LIMIT 1) AS before
 WHERE before.skipped_until >= %(least)s
"""


# Pruned rows are counted by day; between the first and the last of a day that ran, nothing is missing.
PRUNED = """
SELECT s.first_time, s.last_time FROM job_statistics AS s
 WHERE s.job_id = %(job_id)s AND s.trigger IN ('schedule', 'backfill', 'recovery')
   AND s.success + s.failed + s.cancelled > 0
   AND s.last_time >= %(least)s AND s.first_time <= %(greatest)s
"""


async def ledger(conn: Conn, job_id: int, instants: Collection[datetime]) -> Ledger:
    """What is recorded at these instants, and the range rows and the pruned stretches that they may lie in."""
    if not instants:
        return Ledger()
    parameters = {
        "job_id": job_id,
        "instants": list(instants),
        "least": min(instants),
        "greatest": max(instants),
    }
    rows = await (await conn.execute(PRESENT, parameters)).fetchall()
    pruned = await (await conn.execute(PRUNED, parameters)).fetchall()
    return Ledger(
        tuple(Present(at, Status(status), reason, until) for at, status, reason, until in rows),
        tuple((first, last) for first, last in pruned),
    )


@dataclass(frozen=True, slots=True)
class Run:
    """What the executions of one backfill have in common."""

    backfill: Backfill
    definition: JobDefinition
    redispatch: timedelta

    def columns(self) -> dict[str, Any]:
        """Parameters of the statements below."""
        backfill, definition = self.backfill, self.definition
        return {
            "job_id": backfill.job_id,
            "backfill_id": backfill.id,
            "trigger": (Trigger.BACKFILL if backfill.recovery_id is None else Trigger.RECOVERY).value,
            "revision": backfill.revision,
            "queue": definition.queue,
            "priority": int(definition.priority),
            "max_attempts": definition.max_attempts,
            "params": None if backfill.params is None else Jsonb(dict(backfill.params)),
            "requested_by": backfill.created_by,
            "deadline_seconds": definition.deadline_seconds,
            "redispatch": self.redispatch,
        }


START = """
INSERT INTO job_executions (job_id, scheduled_time, trigger, status, revision, queue, priority, max_attempts,
                            dispatch_at, dispatches, params, requested_by, backfill_id, deadline_at)
SELECT %(job_id)s::bigint, t.scheduled_time, %(trigger)s::text, 'QUEUED', %(revision)s::integer, %(queue)s::text,
       %(priority)s::smallint, %(max_attempts)s::integer, clock_timestamp() + %(redispatch)s::interval, 1,
       %(params)s::jsonb, %(requested_by)s::text, %(backfill_id)s::bigint,
       clock_timestamp() + make_interval(secs => %(deadline_seconds)s::integer)
  FROM unnest(%(instants)s::timestamptz[]) AS t(scheduled_time)
 ORDER BY t.scheduled_time
    ON CONFLICT (job_id, scheduled_time) DO NOTHING
RETURNING id, job_id, scheduled_time, claim_no, queue, priority
"""


async def start(conn: Conn, run: Run, instants: Sequence[datetime]) -> list[Ticket]:
    """Write an execution for each of these instants that has no row; those that got one meanwhile are missing."""
    if not instants:
        return []
    rows = await (await conn.execute(START, run.columns() | {"instants": list(instants)})).fetchall()
    return [Ticket(*row) for row in rows]


AGAIN = """
UPDATE job_executions AS e
   SET status = 'QUEUED', status_reason = NULL, trigger = %(trigger)s::text, revision = %(revision)s::integer,
       queue = %(queue)s::text, priority = %(priority)s::smallint,
       max_attempts = e.attempt + %(max_attempts)s::integer, ready_at = clock_timestamp(),
       dispatch_at = clock_timestamp() + %(redispatch)s::interval, dispatches = 1, held = NULL, end_time = NULL,
       deadline_at = clock_timestamp() + make_interval(secs => %(deadline_seconds)s::integer),
       skipped_until = NULL, skipped_count = NULL, params = %(params)s::jsonb, requested_by = %(requested_by)s::text,
       progress = NULL, result = NULL, error = NULL, log_details = NULL, backfill_id = %(backfill_id)s::bigint,
       cancel_requested_at = NULL, cancel_requested_by = NULL, cancel_reason = NULL, cancel_note = NULL,
       resolved_at = NULL, resolved_by = NULL, resolve_note = NULL, callback_since = NULL, callback_due = NULL,
       callback_until = NULL, callback_heartbeat = NULL, callback_worker = NULL, children_tolerated = NULL,
       run_again_at = clock_timestamp()
  FROM unnest(%(instants)s::timestamptz[], %(statuses)s::text[], %(untils)s::timestamptz[])
    AS t(scheduled_time, status, skipped_until)
 WHERE e.job_id = %(job_id)s::bigint AND e.scheduled_time = t.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s
   AND e.status = t.status AND e.skipped_until IS NOT DISTINCT FROM t.skipped_until
RETURNING e.id, e.job_id, e.scheduled_time, e.claim_no, e.queue, e.priority
"""


async def again(conn: Conn, run: Run, rows: Sequence[Present]) -> list[Ticket]:
    """Make runs of these rows, if they are still what they were; the budget grows and `attempt` never goes back.

    A range row loses its range: what it stood for beside its own instant needs a `remainder`.
    """
    if not rows:
        return []
    ordered = sorted(rows, key=lambda row: row.scheduled_time)
    parameters = run.columns() | {
        "instants": [row.scheduled_time for row in ordered],
        "statuses": [row.status.value for row in ordered],
        "untils": [row.skipped_until for row in ordered],
        "least": ordered[0].scheduled_time,
        "greatest": ordered[-1].scheduled_time,
    }
    found = await (await conn.execute(AGAIN, parameters)).fetchall()
    return [Ticket(*row) for row in found]


@dataclass(frozen=True, slots=True)
class Range:
    """A range row before it becomes a run. `end_time` and `created_at` go with what is left of it."""

    scheduled_time: datetime
    skipped_until: datetime
    skipped_count: int | None
    status_reason: str | None
    revision: int
    created_at: datetime
    end_time: datetime | None


RANGES = """
SELECT e.scheduled_time, e.skipped_until, e.skipped_count, e.status_reason, e.revision, e.created_at, e.end_time
  FROM job_executions AS e
 WHERE e.job_id = %(job_id)s AND e.scheduled_time = ANY (%(instants)s::timestamptz[])
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s
   AND e.status = 'SKIPPED' AND e.skipped_until > e.scheduled_time
 ORDER BY e.scheduled_time
   FOR UPDATE
"""


async def ranges(conn: Conn, job_id: int, instants: Sequence[datetime]) -> list[Range]:
    """Lock and read the range rows that sit on these instants."""
    if not instants:
        return []
    parameters = {"job_id": job_id, "instants": list(instants), "least": min(instants), "greatest": max(instants)}
    rows = await (await conn.execute(RANGES, parameters)).fetchall()
    return [Range(*row) for row in rows]


TAKEN = """
SELECT e.scheduled_time FROM job_executions AS e
 WHERE e.job_id = %(job_id)s AND e.scheduled_time = ANY (%(instants)s::timestamptz[])
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s
"""


async def taken(conn: Conn, job_id: int, instants: Sequence[datetime]) -> set[datetime]:
    """Which of these instants have a row of their own."""
    parameters = {"job_id": job_id, "instants": list(instants), "least": min(instants), "greatest": max(instants)}
    rows = await (await conn.execute(TAKEN, parameters)).fetchall()
    return {instant for (instant,) in rows}


REMAINDER = """
INSERT INTO job_executions (job_id, scheduled_time, trigger, status, status_reason, revision, queue, priority,
                            max_attempts, created_at, dispatch_at, previous_time, skipped_until, skipped_count,
                            end_time)
VALUES (%(job_id)s, %(first)s, 'schedule', 'SKIPPED', %(reason)s, %(revision)s, %(queue)s, %(priority)s,
        %(max_attempts)s, %(created_at)s, NULL, %(previous)s, %(until)s, %(count)s, %(end_time)s)
    ON CONFLICT (job_id, scheduled_time) DO NOTHING
"""


async def remainder(
    conn: Conn, run: Run, old: Range, *, first: datetime, previous: datetime, count: int | None
) -> bool:
    """Write what is left of a range, on its instant `first`; False if that instant has just got a row."""
    parameters: Mapping[str, Any] = run.columns() | {
        "first": first,
        "previous": previous,
        "until": old.skipped_until if old.skipped_until > first else None,
        "count": count if old.skipped_until > first else None,
        "reason": old.status_reason,
        "revision": old.revision,
        "created_at": old.created_at,
        "end_time": old.end_time,
    }
    return (await conn.execute(REMAINDER, parameters)).rowcount == 1


WAITING = """
SELECT e.job_id, e.scheduled_time FROM job_executions AS e
 WHERE e.backfill_id = ANY (%(ids)s::bigint[]) AND e.status = 'QUEUED'
 ORDER BY e.job_id, e.scheduled_time FOR UPDATE
"""

CANCEL_WAITING = """
UPDATE job_executions AS e
   SET status = 'CANCELLED', status_reason = 'user', dispatch_at = NULL, held = NULL, end_time = clock_timestamp(),
       cancel_requested_at = clock_timestamp(), cancel_requested_by = cronsvc_actor(), cancel_reason = 'user'
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'QUEUED'
"""


async def cancel_waiting(conn: Conn, backfill_ids: Sequence[int]) -> int:
    """Call off everything of these backfills that is QUEUED; returns how many. What runs goes on."""
    keys = await lock_rows(conn, WAITING, {"ids": list(backfill_ids)})
    return 0 if keys is None else (await conn.execute(CANCEL_WAITING, keys)).rowcount


LAST_RUNS = """
SELECT wanted.job_id, percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM e.end_time - e.start_time))
  FROM unnest(%(job_ids)s::bigint[]) AS wanted(job_id)
 CROSS JOIN LATERAL (SELECT * FROM job_executions AS last WHERE last.job_id = wanted.job_id
                      ORDER BY last.scheduled_time DESC LIMIT 50) AS e
 WHERE e.status = 'SUCCESS'
 GROUP BY 1
"""


async def median_seconds(conn: Conn, job_ids: Sequence[int]) -> dict[int, float]:
    """The median duration of the successful ones among the last fifty runs of each job; jobs without are missing."""
    rows = await (await conn.execute(LAST_RUNS, {"job_ids": list(job_ids)})).fetchall()
    return {job_id: float(seconds) for job_id, seconds in rows}


ELIGIBLE = sql.SQL("""
SELECT {columns} FROM jobs AS j
 WHERE j.deleted_at IS NULL AND j.is_active AND j.quarantine_reason IS NULL
   AND (%(namespaces)s::text[] IS NULL OR j.namespace = ANY (%(namespaces)s::text[]))
   AND (%(tags)s::text[] = '{{}}' OR j.tags @> %(tags)s::text[])
   AND (%(queue)s::text IS NULL OR j.queue = %(queue)s::text)
   AND (%(name_prefix)s::text IS NULL OR starts_with(j.name, %(name_prefix)s::text))
   AND (%(job_ids)s::bigint[] IS NULL OR j.id = ANY (%(job_ids)s::bigint[]))
 ORDER BY j.id LIMIT %(limit)s::integer
""").format(columns=sql.SQL(JOB_COLUMNS))


async def eligible(conn: Conn, selector: Selector, *, namespaces: Sequence[str] | None, limit: int) -> list[Job]:
    """The live, active jobs of these namespaces that match everything the selector gives, in order of id."""
    parameters = {
        "namespaces": None if namespaces is None else list(namespaces),
        "tags": list(selector.tags),
        "queue": selector.queue,
        "name_prefix": selector.name_prefix,
        "job_ids": None if selector.job_ids is None else list(selector.job_ids),
        "limit": limit,
    }
    async with conn.cursor(row_factory=dict_row) as found:
        await found.execute(ELIGIBLE, parameters)
        return [job_for_readers(row) for row in await found.fetchall()]


# A schedule is in force since the revision that brought it: earlier instants of it were never expected.
IN_FORCE_SINCE = """
WITH timing AS (
    SELECT r.job_id, r.revision, r.created_at,
           jsonb_build_array(r.definition -> 'cron_expression', r.definition -> 'every_seconds',
                             r.definition -> 'run_at', r.definition -> 'timezone', r.definition -> 'anchor',
                             r.definition -> 'start_at', r.definition -> 'end_at', r.definition -> 'is_active') AS rule
      FROM job_revisions AS r WHERE r.job_id = ANY (%(job_ids)s::bigint[])
), present AS (
    SELECT DISTINCT ON (t.job_id) t.job_id, t.rule FROM timing AS t ORDER BY t.job_id, t.revision DESC
)
SELECT t.job_id, min(t.created_at)
  FROM timing AS t JOIN present AS p ON p.job_id = t.job_id
 WHERE t.revision > coalesce((SELECT max(o.revision) FROM timing AS o
                               WHERE o.job_id = t.job_id AND o.rule <> p.rule), 0)
 GROUP BY 1
"""


async def in_force_since(conn: Conn, job_ids: Sequence[int]) -> dict[int, datetime]:
    """Since when each of these jobs has had its present schedule, without a break."""
    rows = await (await conn.execute(IN_FORCE_SINCE, {"job_ids": list(job_ids)})).fetchall()
    return dict(rows)
