"""T3, T4 and T5 of a firing: claim before any side effect, finish behind the fence, find what a dead worker held."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from cronsvc.domain.execution import Claimed, Finish, Ticket, Trigger
from cronsvc.store.pool import Conn

CLAIM = """
UPDATE job_executions AS e
   SET status = 'RUNNING', status_reason = NULL, attempt = e.attempt + 1, claim_no = e.claim_no + 1,
       worker_id = %(worker_id)s, start_time = clock_timestamp(), dispatch_at = NULL, progress = NULL
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[], %(claim_nos)s::int[])
    AS t(job_id, scheduled_time, claim_no)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time AND e.claim_no = t.claim_no
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s
   AND e.status = 'QUEUED' AND e.attempt < e.max_attempts AND e.ready_at <= clock_timestamp()
   AND EXISTS (SELECT FROM workers w WHERE w.id = %(worker_id)s
                  AND w.state IN ('active', 'draining') AND w.lease_until > clock_timestamp())
RETURNING e.id, e.job_id, e.scheduled_time, e.trigger, e.revision, e.attempt, e.max_attempts, e.claim_no, e.ready_at,
       e.start_time, e.params
"""


async def claim(conn: Conn, tickets: Sequence[Ticket], *, worker_id: UUID) -> dict[int, Claimed]:
    """Take these executions for one attempt each, by execution id.

    A ticket that is missing from the answer is stale (claimed before, not ready, finished) or this worker's own lease
    has lapsed: drop it quietly.
    """
    ordered = sorted({(ticket.job_id, ticket.scheduled_time, ticket.claim_no) for ticket in tickets})
    times = [scheduled_time for _, scheduled_time, _ in ordered]
    rows = await (
        await conn.execute(
            CLAIM,
            {
                "worker_id": worker_id,
                "job_ids": [job_id for job_id, _, _ in ordered],
                "times": times,
                "claim_nos": [claim_no for _, _, claim_no in ordered],
                "least": min(times),
                "greatest": max(times),
            },
        )
    ).fetchall()
    return {row[0]: _claimed(row) for row in rows}


def _claimed(row: Sequence[Any]) -> Claimed:
    id_, job_id, scheduled_time, trigger, revision, attempt, max_attempts, claim_no, ready_at, start_time, params = row
    return Claimed(
        execution_id=id_,
        job_id=job_id,
        scheduled_time=scheduled_time,
        trigger=Trigger(trigger),
        revision=revision,
        attempt=attempt,
        max_attempts=max_attempts,
        claim_no=claim_no,
        ready_at=ready_at,
        start_time=start_time,
        params=params,
    )


FINISH = """
WITH t AS (
    SELECT * FROM unnest(%(job_id)s::bigint[], %(scheduled_time)s::timestamptz[], %(claim_no)s::int[],
                         %(ready_at)s::timestamptz[], %(status)s::text[], %(status_reason)s::text[],
                         %(outcome)s::text[], %(retry_seconds)s::float8[], %(refund)s::bool[], %(result)s::text[],
                         %(error)s::text[], %(http_status)s::int[], %(excerpt)s::text[])
        AS t(job_id, scheduled_time, claim_no, ready_at, status, status_reason, outcome, retry_seconds, refund, result,
             error, http_status, excerpt)
), done AS (
    UPDATE job_executions AS e
       SET status = t.status, status_reason = t.status_reason, attempt = e.attempt - t.refund::int,
           ready_at = coalesce(clock_timestamp() + make_interval(secs => t.retry_seconds), e.ready_at),
           dispatch_at = clock_timestamp() + make_interval(secs => t.retry_seconds),
           dispatches = 0,
           end_time = CASE WHEN t.status <> 'QUEUED' THEN clock_timestamp() END,
           result = t.result::jsonb, error = t.error::jsonb
      FROM t
     WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time AND e.claim_no = t.claim_no
       AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'RUNNING'
    RETURNING e.id, e.job_id, e.scheduled_time, e.claim_no, e.attempt, e.worker_id, e.start_time
), attempts AS (
    INSERT INTO job_attempts (job_id, scheduled_time, claim_no, execution_id, attempt, outcome, worker_id, ready_at,
                              start_time, error, http_status, response_excerpt)
    SELECT d.job_id, d.scheduled_time, d.claim_no, d.id, d.attempt, t.outcome, d.worker_id, t.ready_at, d.start_time,
           t.error::jsonb, t.http_status, t.excerpt
      FROM done d JOIN t USING (job_id, scheduled_time, claim_no)
     WHERE NOT t.refund
)
SELECT id FROM done
"""


async def finish(conn: Conn, finishes: Sequence[Finish]) -> set[int]:
    """Write these ends behind their fences, each with its attempt row; returns the execution ids written.

    An id that is missing was fenced: another claim holds the row now, or somebody ended it. Nothing of it was written.
    """
    ordered = sorted(finishes, key=lambda each: (each.job_id, each.scheduled_time))
    times = [each.scheduled_time for each in ordered]
    parameters: Mapping[str, Any] = {
        "job_id": [each.job_id for each in ordered],
        "scheduled_time": times,
        "claim_no": [each.claim_no for each in ordered],
        "ready_at": [each.ready_at for each in ordered],
        "status": [each.status.value for each in ordered],
        "status_reason": [each.status_reason for each in ordered],
        "outcome": [each.outcome for each in ordered],
        "retry_seconds": [each.retry_seconds for each in ordered],
        "refund": [each.refund_attempt for each in ordered],
        "result": [None if each.result is None else json.dumps(each.result) for each in ordered],
        "error": [_error(each) for each in ordered],
        "http_status": [each.http_status for each in ordered],
        "excerpt": [each.excerpt for each in ordered],
        "least": min(times),
        "greatest": max(times),
    }
    rows = await (await conn.execute(FINISH, parameters)).fetchall()
    return {execution_id for (execution_id,) in rows}


def _error(finish: Finish) -> str | None:
    return None if finish.error is None else json.dumps({"type": finish.error.type, "message": finish.error.message})


WAKE = "SELECT pg_notify('cronsvc_wake', '')"


async def wake_schedulers(conn: Conn) -> None:
    """Tell sleeping schedulers to look again; a hint, losing it costs one poll."""
    await conn.execute(WAKE)


RUNNING_SINCE = """
SELECT e.id, e.job_id, e.scheduled_time, e.trigger, e.revision, e.attempt, e.max_attempts, e.claim_no, e.ready_at,
       e.start_time, e.params
  FROM job_executions e
 WHERE e.worker_id = %(worker_id)s AND e.status = 'RUNNING' AND e.start_time < clock_timestamp() - %(age)s::interval
 ORDER BY e.job_id, e.scheduled_time LIMIT %(batch)s
"""


async def running_since(conn: Conn, *, worker_id: UUID, age: timedelta, batch: int) -> list[Claimed]:
    """What the rows say this worker runs, of that age and older."""
    rows = await (await conn.execute(RUNNING_SINCE, {"worker_id": worker_id, "age": age, "batch": batch})).fetchall()
    return [_claimed(row) for row in rows]


ABANDONED = """
SELECT e.id, e.job_id, e.scheduled_time, e.trigger, e.revision, e.attempt, e.max_attempts, e.claim_no, e.ready_at,
       e.start_time, e.params
  FROM workers w JOIN job_executions e ON e.worker_id = w.id
 WHERE w.state IN ('lost', 'stopped') AND e.status = 'RUNNING'
 ORDER BY e.job_id, e.scheduled_time LIMIT %(batch)s
"""


async def abandoned(conn: Conn, *, batch: int) -> list[Claimed]:
    """What workers held that are lost or stopped. The fence decides again when each is finished."""
    rows = await (await conn.execute(ABANDONED, {"batch": batch})).fetchall()
    return [_claimed(row) for row in rows]


DEFINITIONS = """
SELECT r.job_id, r.revision, r.definition
  FROM unnest(%(job_ids)s::bigint[], %(revisions)s::int[]) AS t(job_id, revision)
  JOIN job_revisions r USING (job_id, revision)
"""


async def definitions(conn: Conn, keys: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Mapping[str, Any]]:
    """The definitions of these (job id, revision) pairs, as columns of `jobs`; they never change."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            DEFINITIONS, {"job_ids": [job_id for job_id, _ in keys], "revisions": [revision for _, revision in keys]}
        )
        rows = await cursor.fetchall()
    return {(row["job_id"], row["revision"]): row["definition"] for row in rows}
