"""Statements for people who end an execution, or begin it again: cancel, retry, resolve.

Each begins with `lock`, which shows the rows as they are and keeps them so until the transaction ends; the statements
after it still name the status they expect. Rows are locked in the order of their key, as claims and finishes do.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from cronsvc.domain.execution import Execution, Reason, Ticket
from cronsvc.store.pool import Conn
from cronsvc.store.rows import EXECUTION_COLUMNS, execution_from_row

COLUMNS = sql.SQL(EXECUTION_COLUMNS)

JOBS_OF = """
SELECT DISTINCT e.job_id FROM job_executions AS e WHERE e.id = ANY (%(ids)s::bigint[]) ORDER BY e.job_id
"""

HOLD_JOBS = """
SELECT j.id, coalesce(j.task_payload ->> 'type', '') FROM jobs AS j
 WHERE j.id = ANY (%(job_ids)s::bigint[]) AND j.deleted_at IS NULL
 ORDER BY j.id FOR KEY SHARE OF j
"""


async def hold_jobs(conn: Conn, execution_ids: Sequence[int]) -> dict[int, str]:
    """Keep the jobs of these executions from being edited or deleted until the transaction ends; types of live ones.

    Before `lock`, because a deletion locks the job and then what waits of it.
    """
    rows = await (await conn.execute(JOBS_OF, {"ids": list(execution_ids)})).fetchall()
    held = await (await conn.execute(HOLD_JOBS, {"job_ids": [job_id for (job_id,) in rows]})).fetchall()
    return dict(held)


LOCK = sql.SQL("""
SELECT {columns} FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
 WHERE e.id = ANY (%(ids)s::bigint[])
 ORDER BY e.job_id, e.scheduled_time
   FOR UPDATE OF e
""").format(columns=COLUMNS)


async def lock(conn: Conn, execution_ids: Sequence[int]) -> dict[int, Execution]:
    """These executions by id, locked until the transaction ends; those that do not exist (any more) are missing."""
    return {each.id: each for each in await _many(conn, LOCK, {"ids": list(execution_ids)})}


CANCEL = sql.SQL("""
WITH e AS (
    UPDATE job_executions AS e
       SET status = CASE WHEN e.status = 'QUEUED' OR e.held = 'children' THEN 'CANCELLED' ELSE e.status END,
           status_reason = CASE WHEN e.status = 'QUEUED' OR e.held = 'children' THEN %(reason)s::text
                                ELSE e.status_reason END,
           end_time = CASE WHEN e.status = 'QUEUED' OR e.held = 'children' THEN clock_timestamp()
                           ELSE e.end_time END,
           dispatch_at = NULL, held = NULL,
           cancel_requested_at = clock_timestamp(), cancel_requested_by = %(by)s::text,
           cancel_reason = %(reason)s::text, cancel_note = %(note)s::text
     WHERE e.job_id = %(job_id)s::bigint AND e.scheduled_time = %(scheduled_time)s::timestamptz
       AND (e.status = 'QUEUED' OR (e.status = 'RUNNING' AND e.cancel_requested_at IS NULL))
    RETURNING *
)
SELECT {columns} FROM e JOIN jobs AS j ON j.id = e.job_id
""").format(columns=COLUMNS)


async def cancel(
    conn: Conn, execution: Execution, *, by: str, note: str | None, reason: Reason = Reason.USER
) -> Execution | None:
    """Cancel an execution that waits, or ask the worker that runs it to; None when it has ended or was asked before."""
    parameters = {
        "job_id": execution.job_id,
        "scheduled_time": execution.scheduled_time,
        "by": by,
        "note": note,
        "reason": reason.value,
    }
    found = await _many(conn, CANCEL, parameters)
    return found[0] if found else None


# The definition and with it queue, priority and budget are the job's of now: who mended the job wants that to run.
REQUEUE = sql.SQL("""
WITH e AS (
    UPDATE job_executions AS e
       SET status = 'QUEUED', status_reason = NULL, revision = j.revision, queue = j.queue, priority = j.priority,
           max_attempts = e.attempt + j.max_attempts, ready_at = clock_timestamp(),
           dispatch_at = clock_timestamp() + %(redispatch)s::interval, dispatches = 1, held = NULL, end_time = NULL,
           deadline_at = clock_timestamp() + make_interval(secs => j.deadline_seconds),
           progress = NULL, result = NULL, error = NULL, log_details = NULL, callback_since = NULL,
           callback_due = NULL, callback_until = NULL, callback_heartbeat = NULL, callback_worker = NULL,
           cancel_requested_at = NULL, cancel_requested_by = NULL, cancel_reason = NULL, cancel_note = NULL,
           resolved_at = NULL, resolved_by = NULL, resolve_note = NULL, children_tolerated = NULL,
           run_again_at = clock_timestamp()
      FROM jobs AS j
     WHERE j.id = e.job_id AND j.deleted_at IS NULL
       AND e.id = ANY (%(ids)s::bigint[]) AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s
       AND e.status IN ('SUCCESS', 'FAILED', 'CANCELLED')
    RETURNING e.*
)
SELECT {columns}, e.claim_no FROM e JOIN jobs AS j ON j.id = e.job_id
""").format(columns=COLUMNS)


async def requeue(
    conn: Conn, executions: Sequence[Execution], *, redispatch: timedelta
) -> list[tuple[Execution, Ticket]]:
    """Let these locked executions of held jobs run again, each with a ticket that shall be pushed after the commit."""
    if not executions:
        return []
    async with conn.cursor(row_factory=dict_row) as found:
        await found.execute(REQUEUE, {**_keys(executions), "redispatch": redispatch})
        rows = await found.fetchall()
    return [(again := execution_from_row(row), _ticket(again, row["claim_no"])) for row in rows]


RESOLVE = sql.SQL("""
WITH e AS (
    UPDATE job_executions AS e
       SET resolved_at = clock_timestamp(), resolved_by = %(by)s::text, resolve_note = %(note)s::text
     WHERE e.id = ANY (%(ids)s::bigint[]) AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s
       AND e.status = 'FAILED' AND e.resolved_at IS NULL
    RETURNING *
)
SELECT {columns} FROM e JOIN jobs AS j ON j.id = e.job_id
""").format(columns=COLUMNS)


async def resolve(conn: Conn, executions: Sequence[Execution], *, by: str, note: str) -> list[Execution]:
    """Take these locked dead letters off the list."""
    return await _many(conn, RESOLVE, {**_keys(executions), "by": by, "note": note}) if executions else []


def _keys(executions: Sequence[Execution]) -> dict[str, Any]:
    times = [each.scheduled_time for each in executions]
    return {"ids": [each.id for each in executions], "least": min(times), "greatest": max(times)}


def _ticket(execution: Execution, claim_no: int) -> Ticket:
    return Ticket(
        execution_id=execution.id,
        job_id=execution.job_id,
        scheduled_time=execution.scheduled_time,
        claim_no=claim_no,
        queue=execution.queue,
        priority=execution.priority,
    )


async def _many(conn: Conn, statement: sql.Composed, parameters: Mapping[str, Any]) -> list[Execution]:
    async with conn.cursor(row_factory=dict_row) as found:
        await found.execute(statement, parameters)
        return [execution_from_row(row) for row in await found.fetchall()]
