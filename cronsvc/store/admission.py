"""Who may run beside whom: what overlap replaces and holds, and the limits that are counted at the claim.

A row that is held is QUEUED, has `held` set and no `dispatch_at`. Overlap holds it when its job is planned; a limit
holds it when a worker wants to claim it and all places are taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row

from cronsvc.domain.execution import Claimed, Ticket
from cronsvc.store.locking import lock_rows
from cronsvc.store.pool import Conn
from cronsvc.store.spans import by_key

# Who asks for the end of an execution that a newer one replaces.
ACTOR = "cronsvc:overlap"

# What is to be replaced: locked in the order of the keys, as claims and finishes do.
UNFINISHED = """
SELECT job_id, scheduled_time FROM job_executions
 WHERE job_id = ANY (%(job_ids)s::bigint[]) AND (status = 'QUEUED' OR status = 'RUNNING')
 ORDER BY job_id, scheduled_time FOR UPDATE
"""

REPLACE_WAITING = """
UPDATE job_executions AS e
   SET status = 'CANCELLED', status_reason = 'replaced', end_time = clock_timestamp(), dispatch_at = NULL, held = NULL
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s
   AND (e.status = 'QUEUED' OR (e.status = 'RUNNING' AND e.held = 'children'))
"""


async def replace_waiting(conn: Conn, job_ids: Sequence[int]) -> int:
    """Cancel what these jobs have waiting, for a worker or for their children; returns how many."""
    keys = await lock_rows(conn, UNFINISHED, {"job_ids": list(job_ids)})
    return 0 if keys is None else (await conn.execute(REPLACE_WAITING, keys)).rowcount


ASK_TO_STOP = """
UPDATE job_executions AS e
   SET cancel_requested_at = clock_timestamp(), cancel_requested_by = %(by)s, cancel_reason = 'replaced',
       callback_due = CASE WHEN e.callback_due IS NOT NULL THEN clock_timestamp() END
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s
   AND e.status = 'RUNNING' AND e.cancel_requested_at IS NULL
"""


async def ask_to_stop(conn: Conn, job_ids: Sequence[int]) -> int:
    """Ask the workers that run these jobs to stop; returns how many executions were asked now.

    What waits for its target's call has no worker to ask: it is due at once, and a scheduler ends it.
    """
    keys = await lock_rows(conn, UNFINISHED, {"job_ids": list(job_ids)})
    return 0 if keys is None else (await conn.execute(ASK_TO_STOP, keys | {"by": ACTOR})).rowcount


TERMINATE = """
WITH ended AS (
    UPDATE job_executions AS e
       SET status = 'CANCELLED', status_reason = 'replaced', end_time = clock_timestamp(),
           cancel_requested_at = coalesce(e.cancel_requested_at, clock_timestamp()),
           cancel_requested_by = coalesce(e.cancel_requested_by, %(by)s), cancel_reason = 'replaced',
           worker_id = coalesce(e.worker_id, e.callback_worker), callback_since = NULL, callback_due = NULL,
           callback_until = NULL, callback_heartbeat = NULL, callback_worker = NULL
      FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
     WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
       AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s
       AND e.status = 'RUNNING'
    RETURNING e.*
)
INSERT INTO job_attempts (job_id, scheduled_time, claim_no, execution_id, attempt, outcome, worker_id, ready_at,
                          start_time, error)
SELECT job_id, scheduled_time, claim_no, id, attempt, 'cancelled', worker_id, ready_at, start_time,
       '{"type": "replaced", "message": "a newer execution of the job took its place"}'
  FROM ended
"""


async def terminate(conn: Conn, job_ids: Sequence[int]) -> int:
    """End what these jobs run, here and now; their workers find their results refused and are told to stop."""
    keys = await lock_rows(conn, UNFINISHED, {"job_ids": list(job_ids)})
    return 0 if keys is None else (await conn.execute(TERMINATE, keys | {"by": ACTOR})).rowcount


OVERLAP_FREE = """
SELECT DISTINCT h.job_id FROM job_executions h
 WHERE h.held = 'overlap' AND h.status = 'QUEUED'
   AND NOT EXISTS (SELECT FROM job_executions u
                    WHERE u.job_id = h.job_id AND (u.status = 'QUEUED' OR u.status = 'RUNNING')
                      AND u.held IS DISTINCT FROM 'overlap')
 ORDER BY h.job_id LIMIT %(batch)s
"""


async def overlap_free(conn: Conn, *, batch: int) -> list[int]:
    """Jobs that hold something back and have nothing else unfinished."""
    rows = await (await conn.execute(OVERLAP_FREE, {"batch": batch})).fetchall()
    return [job_id for (job_id,) in rows]


LOCK_JOBS = "SELECT id FROM jobs WHERE id = ANY (%(job_ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED"


async def lock_jobs(conn: Conn, job_ids: Sequence[int]) -> list[int]:
    """Lock these jobs as a tick does; those that somebody else has are left out."""
    rows = await (await conn.execute(LOCK_JOBS, {"job_ids": list(job_ids)})).fetchall()
    return [job_id for (job_id,) in rows]


# Looked at again under the lock: the tick that held a row may have seen what has ended since, and the other way round.
FIRST_HELD = """
WITH first AS (
    SELECT DISTINCT ON (h.job_id) h.job_id, h.scheduled_time FROM job_executions h
     WHERE h.job_id = ANY (%(job_ids)s::bigint[]) AND h.held = 'overlap' AND h.status = 'QUEUED'
       AND NOT EXISTS (SELECT FROM job_executions u
                        WHERE u.job_id = h.job_id AND (u.status = 'QUEUED' OR u.status = 'RUNNING')
                          AND u.held IS DISTINCT FROM 'overlap')
     ORDER BY h.job_id, h.scheduled_time
)
SELECT e.job_id, e.scheduled_time
  FROM first AS f JOIN job_executions AS e ON e.job_id = f.job_id AND e.scheduled_time = f.scheduled_time
 WHERE e.held = 'overlap' AND e.status = 'QUEUED'
 ORDER BY e.job_id, e.scheduled_time FOR UPDATE OF e
"""

RELEASE_OVERLAP = """
UPDATE job_executions AS e
   SET held = NULL, ready_at = clock_timestamp(), dispatch_at = clock_timestamp() + %(redispatch)s::interval,
       dispatches = 1,
       deadline_at = clock_timestamp()
                     + make_interval(secs => (SELECT j.deadline_seconds FROM jobs AS j WHERE j.id = e.job_id))
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s
   AND e.held = 'overlap' AND e.status = 'QUEUED'
RETURNING e.id, e.job_id, e.scheduled_time, e.claim_no, e.queue, e.priority
"""


async def release_overlap(conn: Conn, job_ids: Sequence[int], *, redispatch: timedelta) -> list[Ticket]:
    """Let the earliest held execution of each of these locked jobs go, where nothing else is unfinished any more."""
    keys = await lock_rows(conn, FIRST_HELD, {"job_ids": list(job_ids)})
    if keys is None:
        return []
    rows = await (await conn.execute(RELEASE_OVERLAP, keys | {"redispatch": redispatch})).fetchall()
    return [Ticket(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A waiting execution that a limit may refuse; a `None` means that there is no such limit."""

    job_id: int
    scheduled_time: datetime
    claim_no: int
    priority: int
    queue: str
    scope: str | None
    scope_limit: int | None
    queue_limit: int | None
    queue_rate: int | None


CANDIDATES = """
SELECT e.job_id, e.scheduled_time, e.claim_no, e.priority, e.queue, cronsvc_scope(j) AS scope,
       j.max_concurrency AS scope_limit, q.concurrency AS queue_limit, q.rate_per_minute AS queue_rate
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[], %(claim_nos)s::int[])
    AS t(job_id, scheduled_time, claim_no)
  JOIN job_executions e ON e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time AND e.claim_no = t.claim_no
  JOIN jobs j ON j.id = e.job_id
  LEFT JOIN queues q ON q.name = e.queue
 WHERE e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'QUEUED' AND e.ready_at <= clock_timestamp()
   AND (j.max_concurrency IS NOT NULL OR q.concurrency IS NOT NULL OR q.rate_per_minute IS NOT NULL)
   AND (q.paused_at IS NULL OR NOT cronsvc_queue_paused(e.queue))
 ORDER BY e.priority, e.scheduled_time, e.job_id
"""


async def candidates(conn: Conn, tickets: Sequence[Ticket]) -> list[Candidate]:
    """Those of these tickets that a limit concerns, that still wait and that no pause holds, most urgent first."""
    async with conn.cursor(row_factory=class_row(Candidate)) as cursor:
        await cursor.execute(
            CANDIDATES,
            {
                **by_key((ticket.job_id, ticket.scheduled_time) for ticket in tickets),
                "claim_nos": [ticket.claim_no for ticket in tickets],
            },
        )
        return await cursor.fetchall()


MAKE_SCOPES = "INSERT INTO limit_scopes (scope) SELECT unnest(%(scopes)s::text[]) ON CONFLICT (scope) DO NOTHING"

LOCK_SCOPES = "SELECT scope FROM limit_scopes WHERE scope = ANY (%(scopes)s::text[]) ORDER BY scope FOR UPDATE"


async def lock_scopes(conn: Conn, scopes: Sequence[str]) -> None:
    """Keep everybody else from counting and claiming under these names until the transaction ends."""
    await conn.execute(MAKE_SCOPES, {"scopes": sorted(scopes)})
    await conn.execute(LOCK_SCOPES, {"scopes": sorted(scopes)})


COUNT_RUNNING = """
SELECT cronsvc_scope(j), count(*)::int
  FROM job_executions e JOIN jobs j ON j.id = e.job_id
 WHERE e.status = 'RUNNING' AND e.held IS NULL AND cronsvc_scope(j) = ANY (%(scopes)s::text[])
 GROUP BY 1
 UNION ALL
SELECT 'queue:' || e.queue, count(*)::int FROM job_executions e
 WHERE e.status = 'RUNNING' AND e.held IS NULL AND 'queue:' || e.queue = ANY (%(scopes)s::text[])
 GROUP BY 1
"""


async def count_running(conn: Conn, scopes: Sequence[str]) -> dict[str, int]:
    """How many executions run under each of these names; `queue:<name>` is a queue."""
    rows = await (await conn.execute(COUNT_RUNNING, {"scopes": list(scopes)})).fetchall()
    return dict.fromkeys(scopes, 0) | dict(rows)


FILL = """
UPDATE queues AS q
   SET tokens = least(greatest(rate_per_minute / 60.0, 1),
                      coalesce(tokens + extract(epoch FROM clock_timestamp() - tokens_at) * rate_per_minute / 60.0, 1)),
       tokens_at = clock_timestamp()
 WHERE name = ANY (%(queues)s::text[]) AND rate_per_minute IS NOT NULL
RETURNING name, floor(tokens)::int
"""


async def fill(conn: Conn, queues: Sequence[str]) -> dict[str, int]:
    """How many executions of each of these queues may begin now by its rate; whoever asks has locked their scopes.

    The bucket holds a second's worth, at least one, so that a quiet minute does not allow a burst of sixty.
    """
    rows = await (await conn.execute(FILL, {"queues": sorted(queues)})).fetchall()
    return dict(rows)


TAKE = """
UPDATE queues AS q SET tokens = q.tokens - t.taken
  FROM unnest(%(queues)s::text[], %(taken)s::int[]) AS t(queue, taken)
 WHERE q.name = t.queue AND q.rate_per_minute IS NOT NULL
"""


async def take(conn: Conn, taken: Mapping[str, int]) -> None:
    """So many executions of these queues begin; less than none: so many did not begin after all."""
    await conn.execute(TAKE, {"queues": list(taken), "taken": list(taken.values())})


RATED = """
SELECT e.id, e.queue
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
  JOIN job_executions AS e ON e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
  JOIN queues AS q ON q.name = e.queue
 WHERE e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND q.rate_per_minute IS NOT NULL
"""


async def rated_queues(conn: Conn, claims: Sequence[Claimed]) -> dict[int, str]:
    """The queues of those of these executions whose queue has a rate, by execution id."""
    parameters = by_key((each.job_id, each.scheduled_time) for each in claims)
    return dict(await (await conn.execute(RATED, parameters)).fetchall())


HOLD = """
UPDATE job_executions AS e
   SET held = CASE WHEN t.seconds IS NULL THEN 'limit' END,
       dispatch_at = clock_timestamp() + make_interval(secs => t.seconds)
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[], %(claim_nos)s::int[], %(seconds)s::float8[])
    AS t(job_id, scheduled_time, claim_no, seconds)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time AND e.claim_no = t.claim_no
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'QUEUED'
"""


async def hold(conn: Conn, refused: Sequence[tuple[Candidate, float | None]]) -> None:
    """These have to wait: so many seconds for a queue's rate, None until a place becomes free."""
    await conn.execute(
        HOLD,
        {
            **by_key((each.job_id, each.scheduled_time) for each, _ in refused),
            "claim_nos": [each.claim_no for each, _ in refused],
            "seconds": [seconds for _, seconds in refused],
        },
    )


# Ranked within each counter they need: as many go as there are places in both. One too many is harmless, the claim
# counts again and holds it again.
FREE_PLACES = """
WITH waiting AS (
    SELECT e.job_id, e.scheduled_time, cronsvc_scope(j) AS scope, j.max_concurrency AS scope_limit,
           e.queue, q.concurrency AS queue_limit,
           row_number() OVER (PARTITION BY cronsvc_scope(j) ORDER BY e.priority, e.scheduled_time) AS scope_rank,
           row_number() OVER (PARTITION BY e.queue ORDER BY e.priority, e.scheduled_time) AS queue_rank
      FROM job_executions e JOIN jobs j ON j.id = e.job_id LEFT JOIN queues q ON q.name = e.queue
     WHERE e.held = 'limit' AND e.status = 'QUEUED'
), running AS (
    SELECT cronsvc_scope(j) AS scope, e.queue, count(*) AS places FROM job_executions e JOIN jobs j ON j.id = e.job_id
     WHERE e.status = 'RUNNING' AND e.held IS NULL GROUP BY 1, 2
), free AS (
    SELECT w.job_id, w.scheduled_time FROM waiting w
     WHERE (w.scope IS NULL
            OR w.scope_rank <= w.scope_limit
                             - (SELECT coalesce(sum(places), 0) FROM running r WHERE r.scope = w.scope))
       AND (w.queue_limit IS NULL
            OR w.queue_rank <= w.queue_limit
                             - (SELECT coalesce(sum(places), 0) FROM running r WHERE r.queue = w.queue))
     LIMIT %(batch)s
)
SELECT e.job_id, e.scheduled_time
  FROM free AS f JOIN job_executions AS e ON e.job_id = f.job_id AND e.scheduled_time = f.scheduled_time
 WHERE e.held = 'limit' AND e.status = 'QUEUED'
 ORDER BY e.job_id, e.scheduled_time FOR UPDATE OF e
"""

RELEASE_LIMIT = """
UPDATE job_executions AS e
   SET held = NULL, dispatch_at = clock_timestamp() + %(redispatch)s::interval, dispatches = 1
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s
   AND e.held = 'limit' AND e.status = 'QUEUED'
RETURNING e.id, e.job_id, e.scheduled_time, e.claim_no, e.queue, e.priority
"""


async def release_limit(conn: Conn, *, batch: int, redispatch: timedelta) -> list[Ticket]:
    """Let as many executions go as have become free places, most urgent first."""
    keys = await lock_rows(conn, FREE_PLACES, {"batch": batch})
    if keys is None:
        return []
    rows = await (await conn.execute(RELEASE_LIMIT, keys | {"redispatch": redispatch})).fetchall()
    return sorted((Ticket(*row) for row in rows), key=lambda ticket: (ticket.priority, ticket.scheduled_time))
