"""T3, T4 and T5 of a firing: claim before any side effect, finish behind the fence, find what a dead worker held."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from cronsvc.domain.execution import Claimed, ErrorDetail, Finish, Ticket, Trigger
from cronsvc.store.identity import OPEN
from cronsvc.store.pool import Conn
from cronsvc.store.spans import by_key

CLAIM = """
UPDATE job_executions AS e
   SET status = 'RUNNING', status_reason = NULL, attempt = e.attempt + 1, claim_no = e.claim_no + 1,
       worker_id = %(worker_id)s, start_time = clock_timestamp(), dispatch_at = NULL, progress = NULL,
       held = NULL
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[], %(claim_nos)s::int[])
    AS t(job_id, scheduled_time, claim_no)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time AND e.claim_no = t.claim_no
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s
   AND e.status = 'QUEUED' AND e.attempt < e.max_attempts AND e.ready_at <= clock_timestamp()
   AND (e.deadline_at IS NULL OR e.deadline_at > clock_timestamp())
   AND EXISTS (SELECT FROM workers w WHERE w.id = %(worker_id)s
                  AND w.state IN ('active', 'draining') AND w.lease_until > clock_timestamp())
   AND e.queue <> ALL (ARRAY(SELECT q.name FROM queues AS q
                              WHERE q.paused_at IS NOT NULL AND cronsvc_queue_paused(q.name)))
   AND e.held IS DISTINCT FROM 'overlap' AND {open}
   AND (%(admitted)s
        OR (e.queue <> ALL (ARRAY(SELECT q.name FROM queues AS q
                                   WHERE q.concurrency IS NOT NULL OR q.rate_per_minute IS NOT NULL))
            AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = e.job_id AND j.max_concurrency IS NOT NULL)))
RETURNING e.id, e.job_id, e.scheduled_time, e.trigger, e.revision, e.attempt, e.max_attempts, e.claim_no, e.ready_at,
       e.start_time, e.params, extract(epoch FROM e.deadline_at - e.start_time)::float8
""".replace("{open}", OPEN)


async def claim(
    conn: Conn, tickets: Sequence[Ticket], *, worker_id: UUID, admitted: bool = False
) -> dict[int, Claimed]:
    """Take these executions for one attempt each, by execution id.

    A ticket that is missing from the answer is stale (claimed before, not ready, finished), this worker's own lease has
    lapsed, or a limit concerns it and it was not `admitted`: `services.admission` counts and asks again.
    """
    ordered = sorted({(ticket.job_id, ticket.scheduled_time, ticket.claim_no) for ticket in tickets})
    rows = await (
        await conn.execute(
            CLAIM,
            {
                **by_key((job_id, scheduled_time) for job_id, scheduled_time, _ in ordered),
                "claim_nos": [claim_no for _, _, claim_no in ordered],
                "worker_id": worker_id,
                "admitted": admitted,
            },
        )
    ).fetchall()
    return {row[0]: _claimed(row) for row in rows}


def _claimed(row: Sequence[Any]) -> Claimed:
    id_, job_id, scheduled_time, trigger, revision, attempt, max_attempts, claim_no, ready_at, start_time, *rest = row
    params, deadline_left = rest
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
        deadline_left=deadline_left,
    )


# A cancel request is carried out where the row would wait again, where its worker stopped or lost it, and nowhere else:
# `yields`. An attempt that came to an end of its own keeps its result. A backfill has room when one of its executions
# has ended: the schedulers are told. So they are of an end that dependent jobs, a parent or children wait for, which is
# noted in the same statement (`announced_claim` keeps the table's trigger from noting it again). One that has asked to
# wait for its children goes on as RUNNING, no worker's any more.
FINISH = """
WITH t AS (
    SELECT *, status IN ('QUEUED', 'CANCELLED') OR outcome IN ('lost', 'released') AS yields
      FROM unnest(%(job_id)s::bigint[], %(scheduled_time)s::timestamptz[], %(claim_no)s::int[],
                         %(ready_at)s::timestamptz[], %(status)s::text[], %(status_reason)s::text[],
                         %(outcome)s::text[], %(retry_seconds)s::float8[], %(refund)s::bool[], %(result)s::text[],
                         %(error)s::text[], %(http_status)s::int[], %(excerpt)s::text[], %(progress)s::int[],
                         %(log_details)s::text[], %(attempt_error)s::text[])
        AS t(job_id, scheduled_time, claim_no, ready_at, status, status_reason, outcome, retry_seconds, refund, result,
             error, http_status, excerpt, progress, log_details, attempt_error)
), done AS (
    UPDATE job_executions AS e
       SET status = CASE WHEN e.cancel_requested_at IS NOT NULL
                              AND (t.yields OR (t.status = 'SUCCESS' AND e.children_tolerated IS NOT NULL))
                         THEN 'CANCELLED'
                         WHEN t.status = 'SUCCESS' AND e.children_tolerated IS NOT NULL THEN 'RUNNING'
                         ELSE t.status END,
           status_reason = CASE WHEN e.cancel_requested_at IS NOT NULL
                                     AND (t.yields OR (t.status = 'SUCCESS' AND e.children_tolerated IS NOT NULL))
                                THEN e.cancel_reason ELSE t.status_reason END,
           held = CASE WHEN t.status = 'SUCCESS' AND e.children_tolerated IS NOT NULL
                            AND e.cancel_requested_at IS NULL THEN 'children' END,
           announced_claim = CASE WHEN t.status IN ('SUCCESS', 'FAILED', 'CANCELLED') THEN e.claim_no END,
           attempt = e.attempt - t.refund::int,
           ready_at = coalesce(clock_timestamp() + make_interval(secs => t.retry_seconds), e.ready_at),
           dispatch_at = CASE WHEN e.cancel_requested_at IS NULL
                              THEN clock_timestamp() + make_interval(secs => t.retry_seconds) END,
           dispatches = 0,
           end_time = CASE WHEN e.cancel_requested_at IS NOT NULL
                                OR NOT (t.status = 'QUEUED'
                                        OR (t.status = 'SUCCESS' AND e.children_tolerated IS NOT NULL))
                           THEN clock_timestamp() END,
           result = t.result::jsonb, error = t.error::jsonb, progress = coalesce(t.progress, e.progress),
           log_details = coalesce(t.log_details::jsonb, e.log_details),
           worker_id = CASE WHEN t.status = 'SUCCESS' AND e.children_tolerated IS NOT NULL
                                 AND e.cancel_requested_at IS NULL THEN NULL
                            ELSE coalesce(e.worker_id, e.callback_worker) END,
           callback_since = NULL, callback_due = NULL, callback_until = NULL, callback_heartbeat = NULL,
           callback_worker = NULL
      FROM t
     WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time AND e.claim_no = t.claim_no
       AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'RUNNING' AND e.held IS NULL
    RETURNING e.id, e.job_id, e.scheduled_time, e.claim_no, e.attempt, e.worker_id, e.start_time, e.status,
              e.backfill_id, e.status_reason, e.result, e.children, e.parent_job_id, e.parent_time,
              e.announced_claim IS NOT NULL AS announced,
              CASE WHEN e.held = 'children'
                   THEN (SELECT o.worker_id FROM job_executions AS o
                          WHERE o.job_id = e.job_id AND o.scheduled_time = e.scheduled_time
                            AND o.scheduled_time BETWEEN %(least)s AND %(greatest)s) END AS left_worker
), told AS (
    INSERT INTO execution_ends (execution_id, job_id, scheduled_time, status, status_reason, result, children,
                                parent_job_id, parent_time)
    SELECT d.id, d.job_id, d.scheduled_time, d.status, d.status_reason, d.result, d.children, d.parent_job_id,
           d.parent_time
      FROM done AS d
     WHERE d.announced AND (d.children > 0 OR d.parent_job_id IS NOT NULL
                            OR d.job_id IN (SELECT upstream_id FROM job_dependencies
                                             WHERE upstream_id = ANY (%(job_id)s::bigint[])))
    RETURNING execution_id
), attempts AS (
    INSERT INTO job_attempts (job_id, scheduled_time, claim_no, execution_id, attempt, outcome, worker_id, ready_at,
                              start_time, error, http_status, response_excerpt)
    SELECT d.job_id, d.scheduled_time, d.claim_no, d.id, d.attempt, t.outcome, coalesce(d.worker_id, d.left_worker),
           t.ready_at, d.start_time,
           t.attempt_error::jsonb, t.http_status, t.excerpt
      FROM done d JOIN t USING (job_id, scheduled_time, claim_no)
     WHERE NOT t.refund
)
SELECT id, CASE WHEN (backfill_id IS NOT NULL AND status <> 'QUEUED')
                  OR EXISTS (SELECT FROM job_executions WHERE held = 'overlap' OR held = 'limit')
                  OR EXISTS (SELECT FROM told)
                THEN pg_notify('cronsvc_wake', '') END
  FROM done
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
        "error": [_error(each.error) for each in ordered],
        "attempt_error": [_error(each.attempt_error or each.error) for each in ordered],
        "http_status": [each.http_status for each in ordered],
        "excerpt": [each.excerpt for each in ordered],
        "progress": [each.progress for each in ordered],
        "log_details": [each.log_details for each in ordered],
        "least": min(times),
        "greatest": max(times),
    }
    rows = await (await conn.execute(FINISH, parameters)).fetchall()
    return {execution_id for execution_id, _ in rows}


def _error(error: ErrorDetail | None) -> str | None:
    return None if error is None else json.dumps({"type": error.type, "message": error.message})


TO_STOP = """
SELECT e.id, t.claim_no
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[], %(claim_nos)s::int[])
    AS t(job_id, scheduled_time, claim_no)
  JOIN job_executions AS e ON e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
 WHERE e.scheduled_time BETWEEN %(least)s AND %(greatest)s
   AND (e.cancel_requested_at IS NOT NULL OR e.status <> 'RUNNING' OR e.claim_no <> t.claim_no)
"""


async def to_stop(conn: Conn, runs: Sequence[Claimed]) -> set[tuple[int, int]]:
    """(execution id, claim_no) of those that shall stop: somebody asked, or ended or took over the row meanwhile."""
    parameters = {
        **by_key((run.job_id, run.scheduled_time) for run in runs),
        "claim_nos": [run.claim_no for run in runs],
    }
    rows = await (await conn.execute(TO_STOP, parameters)).fetchall()
    return {(execution_id, claim_no) for execution_id, claim_no in rows}


WAKE = "SELECT pg_notify('cronsvc_wake', '')"


async def wake_schedulers(conn: Conn) -> None:
    """Tell sleeping schedulers to look again; a hint, losing it costs one poll."""
    await conn.execute(WAKE)


RUNNING_SINCE = """
SELECT e.id, e.job_id, e.scheduled_time, e.trigger, e.revision, e.attempt, e.max_attempts, e.claim_no, e.ready_at,
       e.start_time, e.params, extract(epoch FROM e.deadline_at - clock_timestamp())::float8
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
       e.start_time, e.params, extract(epoch FROM e.deadline_at - clock_timestamp())::float8,
       r.definition -> 'retry_on', r.definition ->> 'pause_after_failures' IS NOT NULL
  FROM workers w JOIN job_executions e ON e.worker_id = w.id
  LEFT JOIN job_revisions r ON r.job_id = e.job_id AND r.revision = e.revision
 WHERE w.state IN ('lost', 'stopped') AND e.status = 'RUNNING'
 ORDER BY e.job_id, e.scheduled_time LIMIT %(batch)s
"""


async def abandoned(conn: Conn, *, batch: int) -> list[Claimed]:
    """What workers held that are lost or stopped. The fence decides again when each is finished."""
    rows = await (await conn.execute(ABANDONED, {"batch": batch})).fetchall()
    return [
        replace(_claimed(columns), retry_on=None if retry_on is None else tuple(retry_on), counted=counted)
        for *columns, retry_on, counted in rows
    ]


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
