"""Statements on `job_executions` for people: reading them, asking for one, calling waiting ones off.

What workers and ticks write is in `ticks` and `running`. Lists go along an index: by id over everything, by the primary
key for one job.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cronsvc.domain.execution import Attempt, Execution, Reason, Status, Trigger
from cronsvc.domain.job import Job
from cronsvc.store.locking import lock_rows
from cronsvc.store.pool import Conn
from cronsvc.store.rows import ATTEMPT_COLUMNS, EXECUTION_COLUMNS, attempt_from_row, execution_from_row

COLUMNS = sql.SQL(EXECUTION_COLUMNS)

# One moment, taken once, and never a whole second: those belong to schedules.
INSERT_MANUAL = sql.SQL("""
WITH moment AS MATERIALIZED (
    SELECT coalesce(%(now)s::timestamptz, clock_timestamp()) AS now
), e AS (
    INSERT INTO job_executions (job_id, scheduled_time, trigger, status, revision, queue, priority, max_attempts,
                                dispatch_at, dispatches, params, requested_by, deadline_at)
    SELECT %(job_id)s::bigint,
           CASE WHEN date_trunc('second', m.now) = m.now THEN m.now + interval '1 microsecond' ELSE m.now END,
           'manual', 'QUEUED', %(revision)s::integer, %(queue)s::text, %(priority)s::smallint,
           %(max_attempts)s::integer, m.now + %(redispatch)s::interval, 1, %(params)s::jsonb, %(requested_by)s::text,
           m.now + make_interval(secs => %(deadline_seconds)s::integer)
      FROM moment AS m
        ON CONFLICT (job_id, scheduled_time) DO NOTHING
    RETURNING *
)
SELECT {columns} FROM e JOIN jobs AS j ON j.id = e.job_id
""").format(columns=COLUMNS)


async def insert_manual(
    conn: Conn,
    job: Job,
    *,
    params: Mapping[str, Any] | None,
    requested_by: str,
    redispatch: timedelta,
    now: datetime | None = None,
) -> Execution | None:
    """Record an execution that a person asked for, as already dispatched; None if that microsecond is taken."""
    parameters = {
        "now": now,
        "job_id": job.id,
        "revision": job.revision,
        "queue": job.definition.queue,
        "priority": int(job.definition.priority),
        "max_attempts": job.definition.max_attempts,
        "redispatch": redispatch,
        "deadline_seconds": job.definition.deadline_seconds,
        "params": None if params is None else Jsonb(dict(params)),
        "requested_by": requested_by,
    }
    async with conn.cursor(row_factory=dict_row) as found:
        row = await (await found.execute(INSERT_MANUAL, parameters)).fetchone()
    return None if row is None else execution_from_row(row)


INSERT_SKIPPED = """
INSERT INTO job_executions (job_id, scheduled_time, trigger, status, status_reason, revision, queue, priority,
                            max_attempts, dispatch_at, previous_time, skipped_until, skipped_count, end_time)
VALUES (%(job_id)s, %(first)s, 'schedule', 'SKIPPED', %(reason)s, %(revision)s, %(queue)s, %(priority)s,
        %(max_attempts)s, NULL, %(previous)s, %(last)s, %(count)s, clock_timestamp())
    ON CONFLICT (job_id, scheduled_time) DO NOTHING
"""


async def insert_skipped(
    conn: Conn, job: Job, *, reason: Reason, first: datetime, last: datetime, count: int | None
) -> None:
    """Record in one row that no instant from `first` to `last` runs; `count` is how many, None for a great many."""
    await conn.execute(
        INSERT_SKIPPED,
        {
            "job_id": job.id,
            "first": first,
            "last": last,
            "count": count,
            "reason": reason.value,
            "revision": job.revision,
            "queue": job.definition.queue,
            "priority": int(job.definition.priority),
            "max_attempts": job.definition.max_attempts,
            "previous": job.last_fire_time,
        },
    )


WAITING = """
SELECT job_id, scheduled_time FROM job_executions
 WHERE job_id = %(job_id)s::bigint AND status = 'QUEUED'
 ORDER BY job_id, scheduled_time FOR UPDATE
"""

CANCEL_WAITING = """
UPDATE job_executions AS e
   SET status = 'CANCELLED', status_reason = %(reason)s::text, dispatch_at = NULL, held = NULL,
       end_time = clock_timestamp()
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'QUEUED'
"""


async def cancel_waiting(conn: Conn, job_id: int, *, reason: Reason) -> int:
    """Cancel everything of a job that is QUEUED, in the key order that claims use too; returns how many."""
    keys = await lock_rows(conn, WAITING, {"job_id": job_id})
    return 0 if keys is None else (await conn.execute(CANCEL_WAITING, keys | {"reason": reason.value})).rowcount


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a list of executions is narrowed to; None does not narrow."""

    status: Status | None = None
    trigger: Trigger | None = None
    backfill_id: int | None = None
    recovery_id: int | None = None

    @property
    def filters(self) -> dict[str, object]:
        """By the names in _FILTERS."""
        return {
            "status": self.status and self.status.value,
            "trigger": self.trigger and self.trigger.value,
            "backfill_id": self.backfill_id,
            "recovery_id": self.recovery_id,
        }


PAGE = sql.SQL("""
SELECT {columns} FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
 WHERE {filters} ORDER BY e.id {direction} LIMIT %(limit)s::integer
""")


async def page(
    conn: Conn,
    *,
    namespaces: Sequence[str] | None,
    wanted: Wanted,
    beyond_id: int | None,
    ascending: bool = False,
    limit: int,
) -> list[Execution]:
    """Executions of every job beyond `beyond_id`, newest first, or the other way round."""
    place = {
        "namespaces": None if namespaces is None else list(namespaces),
        "after_id" if ascending else "before_id": beyond_id,
    }
    return await _many(conn, PAGE, wanted.filters | place, limit, ascending=ascending)


LATEST = sql.SQL("""
SELECT {columns}
  FROM unnest(%(job_ids)s::bigint[]) AS wanted(job_id)
  JOIN jobs AS j ON j.id = wanted.job_id
 CROSS JOIN LATERAL (SELECT * FROM job_executions AS last WHERE last.job_id = wanted.job_id
                      ORDER BY last.scheduled_time DESC LIMIT 1) AS e
 WHERE (%(namespaces)s::text[] IS NULL OR j.namespace = ANY (%(namespaces)s::text[]))
""").format(columns=COLUMNS)


async def latest(conn: Conn, job_ids: Sequence[int], *, namespaces: Sequence[str] | None) -> dict[int, Execution]:
    """The latest execution of each of these jobs that has one, by job id; the primary key begins with the job."""
    parameters = {"job_ids": list(job_ids), "namespaces": None if namespaces is None else list(namespaces)}
    async with conn.cursor(row_factory=dict_row) as found:
        rows = await (await found.execute(LATEST, parameters)).fetchall()
    return {row["job_id"]: execution_from_row(row) for row in rows}


PAGE_OF_JOB = sql.SQL("""
SELECT {columns} FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
 WHERE e.job_id = %(job_id)s::bigint AND {filters}
 ORDER BY e.scheduled_time {direction} LIMIT %(limit)s::integer
""")


async def page_of_job(
    conn: Conn,
    job_id: int,
    *,
    wanted: Wanted,
    beyond: datetime | None,
    ascending: bool = False,
    limit: int,
) -> list[Execution]:
    """Executions of one job, live or deleted, beyond an instant, latest first, or the other way round."""
    place = {"after" if ascending else "before": beyond}
    return await _many(conn, PAGE_OF_JOB, wanted.filters | place, limit, ascending=ascending, job_id=job_id)


FIND = sql.SQL("""
SELECT {columns} FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id WHERE e.id = %(execution_id)s::bigint
""").format(columns=COLUMNS)


async def find(conn: Conn, execution_id: int) -> Execution | None:
    """One execution, of a job live or deleted."""
    async with conn.cursor(row_factory=dict_row) as found:
        row = await (await found.execute(FIND, {"execution_id": execution_id})).fetchone()
    return None if row is None else execution_from_row(row)


ATTEMPTS = sql.SQL("""
SELECT {columns} FROM job_attempts AS a
 WHERE a.job_id = %(job_id)s::bigint AND a.scheduled_time = %(scheduled_time)s::timestamptz
 ORDER BY a.claim_no
""").format(columns=sql.SQL(ATTEMPT_COLUMNS))


async def attempts(conn: Conn, job_id: int, scheduled_time: datetime) -> tuple[Attempt, ...]:
    """The finished attempts of one execution, in the order they were made."""
    async with conn.cursor(row_factory=dict_row) as found:
        await found.execute(ATTEMPTS, {"job_id": job_id, "scheduled_time": scheduled_time})
        return tuple(attempt_from_row(row) for row in await found.fetchall())


_FILTERS: Mapping[str, sql.SQL] = {
    "namespaces": sql.SQL("j.namespace = ANY (%(namespaces)s::text[])"),
    "status": sql.SQL("e.status = %(status)s::text"),
    "trigger": sql.SQL("e.trigger = %(trigger)s::text"),
    "backfill_id": sql.SQL("e.backfill_id = %(backfill_id)s::bigint"),
    "recovery_id": sql.SQL(
        "e.backfill_id = ANY (ARRAY(SELECT b.id FROM backfills AS b WHERE b.recovery_id = %(recovery_id)s::bigint))"
    ),
    "before_id": sql.SQL("e.id < %(before_id)s::bigint"),
    "after_id": sql.SQL("e.id > %(after_id)s::bigint"),
    "before": sql.SQL("e.scheduled_time < %(before)s::timestamptz"),
    "after": sql.SQL("e.scheduled_time > %(after)s::timestamptz"),
}


async def _many(
    conn: Conn,
    statement: sql.SQL,
    filters: Mapping[str, object],
    limit: int,
    *,
    ascending: bool,
    **others: object,
) -> list[Execution]:
    """Run a list with the filters that are not None; only those reach the planner."""
    given = {name: value for name, value in filters.items() if value is not None}
    condition = sql.SQL(" AND ").join([sql.SQL("true"), *(_FILTERS[name] for name in given)])
    async with conn.cursor(row_factory=dict_row) as found:
        direction = sql.SQL("ASC" if ascending else "DESC")
        listed = statement.format(columns=COLUMNS, filters=condition, direction=direction)
        await found.execute(listed, given | others | {"limit": limit})
        return [execution_from_row(row) for row in await found.fetchall()]
