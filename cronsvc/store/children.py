"""Statements on children: executions that another execution started, and the parent that may wait for them.

A child's row names its parent. A parent that waits has left its worker: RUNNING, held for its children. Whoever decides
about it has locked its row, and children are counted by their rows.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cronsvc.domain.execution import Execution
from cronsvc.store.dependencies import Key
from cronsvc.store.edges import Edge
from cronsvc.store.locking import lock_rows
from cronsvc.store.pool import Conn
from cronsvc.store.rows import EXECUTION_COLUMNS, execution_from_row
from cronsvc.store.spans import by_key

# Who asks for the end of children whose parent has ended before them.
ACTOR = "cronsvc:parent"


LOCK_WAITING = """
SELECT e.id FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
  JOIN job_executions AS e ON e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
 WHERE e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'RUNNING' AND e.held = 'children'
 ORDER BY e.job_id, e.scheduled_time FOR UPDATE OF e
"""

# A statement of its own after the lock: its snapshot has every end that was noted before, so of two that are decided at
# the same moment the later one sees both.
COUNT_AND_END = """
UPDATE job_executions AS e
   SET status = CASE WHEN c.open > 0 THEN 'RUNNING' WHEN c.failed > e.children_tolerated THEN 'FAILED'
                     ELSE 'SUCCESS' END,
       status_reason = CASE WHEN c.open = 0 AND c.failed > e.children_tolerated THEN 'error' END,
       held = CASE WHEN c.open > 0 THEN 'children' END,
       end_time = CASE WHEN c.open = 0 THEN clock_timestamp() END,
       progress = CASE WHEN c.open = 0 THEN 100 ELSE (e.children - c.open) * 100 / greatest(e.children, 1) END,
       error = CASE WHEN c.open = 0 AND c.failed > e.children_tolerated
                    THEN jsonb_build_object('type', 'children', 'message',
                             format('%%s of %%s children did not succeed', c.failed, e.children)) END
  FROM unnest(%(ids)s::bigint[]) AS w(id)
 CROSS JOIN LATERAL (
       SELECT count(*) FILTER (WHERE k.status IN ('QUEUED', 'RUNNING')) AS open,
              count(*) FILTER (WHERE k.status NOT IN ('QUEUED', 'RUNNING', 'SUCCESS')) AS failed
         FROM job_executions AS k WHERE k.parent_id = w.id) AS c
 WHERE e.id = w.id AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s
   AND e.status = 'RUNNING' AND e.held = 'children'
RETURNING e.job_id, e.scheduled_time, e.status
"""


async def end_parents(conn: Conn, keys: Collection[Key]) -> list[tuple[int, datetime, str]]:
    """End those of these executions that wait and whose children have all ended; (job id, instant, status) of them.

    The others that wait get their progress.
    """
    parameters = by_key(keys)
    ids = [id_ for (id_,) in await (await conn.execute(LOCK_WAITING, parameters)).fetchall()]
    if not ids:
        return []
    rows = await (await conn.execute(COUNT_AND_END, {**parameters, "ids": ids})).fetchall()
    return [(job_id, time, status) for job_id, time, status in rows if status != "RUNNING"]


OPEN = """
SELECT e.job_id, e.scheduled_time FROM job_executions AS e
 WHERE e.parent_id = ANY (%(parent_ids)s::bigint[]) AND e.status IN ('QUEUED', 'RUNNING')
 ORDER BY e.job_id, e.scheduled_time FOR UPDATE
"""

# What waits for its target's call has no worker to ask: it is due at once, and a scheduler ends it.
CANCEL_CHILDREN = """
UPDATE job_executions AS e
   SET status = CASE WHEN e.status = 'QUEUED' OR e.held = 'children' THEN 'CANCELLED' ELSE e.status END,
       status_reason = CASE WHEN e.status = 'QUEUED' OR e.held = 'children' THEN 'parent' ELSE e.status_reason END,
       end_time = CASE WHEN e.status = 'QUEUED' OR e.held = 'children' THEN clock_timestamp() ELSE e.end_time END,
       dispatch_at = NULL, held = NULL,
       cancel_requested_at = coalesce(e.cancel_requested_at, clock_timestamp()),
       cancel_requested_by = coalesce(e.cancel_requested_by, %(by)s::text),
       cancel_reason = coalesce(e.cancel_reason, 'parent'),
       callback_due = CASE WHEN e.callback_due IS NOT NULL THEN clock_timestamp() END
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status IN ('QUEUED', 'RUNNING')
"""


async def cancel_children(conn: Conn, parent_ids: Sequence[int]) -> int:
    """Cancel the unfinished children of these executions, or ask their workers to; returns how many."""
    keys = await lock_rows(conn, OPEN, {"parent_ids": list(parent_ids)})
    return 0 if keys is None else (await conn.execute(CANCEL_CHILDREN, keys | {"by": ACTOR})).rowcount


# All of them, whatever their status: one that has ended shall not be let run again before its children are called off.
LOCK_PARENTS = """
SELECT e.id, e.status IN ('QUEUED', 'RUNNING')
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
  JOIN job_executions AS e ON e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
 WHERE e.scheduled_time BETWEEN %(least)s AND %(greatest)s
 ORDER BY e.job_id, e.scheduled_time FOR UPDATE OF e
"""


async def lock_parents(conn: Conn, keys: Sequence[Key]) -> set[int]:
    """Lock these executions; the ids of those that have not ended, or run again."""
    rows = await (await conn.execute(LOCK_PARENTS, by_key(keys))).fetchall()
    return {id_ for id_, unfinished in rows if unfinished}


OVERDUE = """
SELECT e.job_id, e.scheduled_time, j.pause_after_failures IS NOT NULL
  FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
 WHERE e.status = 'RUNNING' AND e.held = 'children'
   AND e.deadline_at <= (SELECT coalesce(%(now)s::timestamptz, clock_timestamp()))
 ORDER BY e.deadline_at LIMIT %(batch)s
"""


async def overdue(conn: Conn, *, batch: int, now: datetime | None = None) -> list[tuple[int, datetime, bool]]:
    """Up to `batch` executions that wait for their children beyond their deadline, and whether their job counts it."""
    rows = await (await conn.execute(OVERDUE, {"batch": batch, "now": now})).fetchall()
    return [(job_id, scheduled_time, counted) for job_id, scheduled_time, counted in rows]


END_OVERDUE = """
WITH waiting AS (
    SELECT e.job_id, e.scheduled_time
      FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
      JOIN job_executions AS e ON e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
     WHERE e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'RUNNING' AND e.held = 'children'
       AND e.deadline_at <= (SELECT coalesce(%(now)s::timestamptz, clock_timestamp()))
     ORDER BY e.job_id, e.scheduled_time FOR UPDATE OF e SKIP LOCKED
)
UPDATE job_executions AS e
   SET status = 'FAILED', status_reason = 'timeout', held = NULL, end_time = clock_timestamp(),
       error = '{"type": "deadline", "message": "its children had not ended at the deadline"}'
  FROM waiting AS w
 WHERE e.job_id = w.job_id AND e.scheduled_time = w.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'RUNNING' AND e.held = 'children'
RETURNING e.job_id, e.scheduled_time
"""


async def end_overdue(conn: Conn, keys: Sequence[Key], *, now: datetime | None = None) -> list[Key]:
    """FAILED(timeout), error type `deadline`, for those of these that still wait; returns their keys.

    What somebody else holds at this moment is left to the next round.
    """
    parameters = by_key(keys) | {"now": now}
    return [(job_id, time) for job_id, time in await (await conn.execute(END_OVERDUE, parameters)).fetchall()]


HOLD_JOBS = """
SELECT j.id, j.name FROM jobs AS j
 WHERE j.deleted_at IS NULL AND (j.id = ANY (%(ids)s::bigint[]) OR j.name = ANY (%(names)s::text[]))
   AND j.namespace = (SELECT p.namespace FROM jobs AS p WHERE p.id = %(parent_job_id)s)
 ORDER BY j.id FOR KEY SHARE OF j
"""


async def hold_jobs(conn: Conn, parent_job_id: int, *, ids: Collection[int], names: Collection[str]) -> dict[int, str]:
    """Keep these live jobs of the parent's namespace from being deleted until the transaction ends; names by id."""
    parameters = {"parent_job_id": parent_job_id, "ids": sorted(ids), "names": sorted(names)}
    return dict(await (await conn.execute(HOLD_JOBS, parameters)).fetchall())


LOCK_PARENT = """
SELECT e.children FROM job_executions AS e
 WHERE e.job_id = %(job_id)s AND e.scheduled_time = %(scheduled_time)s AND e.claim_no = %(claim_no)s
   AND e.status = 'RUNNING' AND e.held IS NULL AND e.cancel_requested_at IS NULL FOR UPDATE
"""


async def lock_parent(conn: Conn, key: Key, claim_no: int) -> int | None:
    """How many children this attempt's execution has, its row locked; None: it is not this claim's, or shall end."""
    parameters = {"job_id": key[0], "scheduled_time": key[1], "claim_no": claim_no}
    row = await (await conn.execute(LOCK_PARENT, parameters)).fetchone()
    return None if row is None else int(row[0])


@dataclass(frozen=True, slots=True)
class NewChild:
    """A child to start: its key among the parent's children, what it runs, and after how many seconds."""

    key: str
    job_id: int
    params: Mapping[str, Any] | None
    delay_seconds: float


# One whose microsecond is taken is not written, and asked for again. Redis hears of them by way of the schedulers.
INSERT = """
INSERT INTO job_executions (job_id, scheduled_time, trigger, status, revision, queue, priority, max_attempts,
                            ready_at, dispatch_at, params, requested_by, deadline_at, parent_id, parent_job_id,
                            parent_time, child_key)
SELECT j.id, t.scheduled_time, 'dependency', 'QUEUED', j.revision, j.queue, j.priority, j.max_attempts,
       clock_timestamp() + make_interval(secs => t.delay), clock_timestamp() + make_interval(secs => t.delay),
       t.params, %(by)s, clock_timestamp() + make_interval(secs => t.delay + j.deadline_seconds), %(parent_id)s,
       %(parent_job_id)s, %(parent_time)s, t.key
  FROM unnest(%(keys)s::text[], %(job_ids)s::bigint[], %(times)s::timestamptz[], %(params)s::jsonb[],
              %(delays)s::float8[]) WITH ORDINALITY AS t(key, job_id, scheduled_time, params, delay, place)
  JOIN jobs AS j ON j.id = t.job_id
 ORDER BY t.place
    ON CONFLICT (job_id, scheduled_time) DO NOTHING
RETURNING child_key, id
"""


async def insert(
    conn: Conn, parent_id: int, parent: Key, children: Sequence[tuple[NewChild, datetime]], *, by: str
) -> dict[str, int]:
    """Start these children of the locked parent at these instants; the ids by key, a taken instant's child missing."""
    parameters = {
        "keys": [each.key for each, _ in children],
        "job_ids": [each.job_id for each, _ in children],
        "times": [instant for _, instant in children],
        "params": [None if each.params is None else Jsonb(dict(each.params)) for each, _ in children],
        "delays": [each.delay_seconds for each, _ in children],
        "parent_id": parent_id,
        "parent_job_id": parent[0],
        "parent_time": parent[1],
        "by": by,
    }
    return dict(await (await conn.execute(INSERT, parameters)).fetchall())


ADOPT = """
UPDATE job_executions
   SET children = %(children)s,
       children_tolerated = CASE WHEN %(tolerated)s::int IS NULL THEN children_tolerated
                                 ELSE greatest(children_tolerated, %(tolerated)s::int) END
 WHERE job_id = %(job_id)s AND scheduled_time = %(scheduled_time)s AND status = 'RUNNING'
"""


async def adopt(conn: Conn, key: Key, *, children: int, tolerated: int | None) -> None:
    """Say of a locked parent how many children it has, and if it shall wait for them how many may fail."""
    parameters = {"job_id": key[0], "scheduled_time": key[1], "children": children, "tolerated": tolerated}
    await conn.execute(ADOPT, parameters)


IDS = """
SELECT k.child_key, k.id FROM job_executions AS k
 WHERE k.parent_id = %(parent_id)s AND k.child_key = ANY (%(keys)s::text[])
"""


async def ids(conn: Conn, parent_id: int, keys: Sequence[str]) -> dict[str, int]:
    """The ids of these children, by key."""
    return dict(await (await conn.execute(IDS, {"parent_id": parent_id, "keys": list(keys)})).fetchall())


# Each once for every time that the parent was let run again: what fails after that stays. With the order of `requeue`.
FAILED_BEFORE = """
SELECT k.id FROM job_executions AS k
 WHERE k.parent_id = %(parent_id)s::bigint AND k.status IN ('FAILED', 'CANCELLED')
   AND k.child_key = ANY (%(keys)s::text[]) AND k.job_id = ANY (%(job_ids)s::bigint[])
   AND least(k.end_time, k.cancel_requested_at)
       < (SELECT p.run_again_at FROM job_executions AS p
           WHERE p.job_id = %(job_id)s::bigint AND p.scheduled_time = %(scheduled_time)s::timestamptz)
 ORDER BY k.job_id, k.scheduled_time
"""


async def failed_before(
    conn: Conn, parent_id: int, parent: Key, keys: Sequence[str], job_ids: Collection[int]
) -> list[int]:
    """Those of these children that had failed or been cancelled when the locked parent was last let run again.

    Only children that are executions of these jobs; none if the parent never was.
    """
    parameters = {
        "parent_id": parent_id,
        "job_id": parent[0],
        "scheduled_time": parent[1],
        "keys": list(keys),
        "job_ids": list(job_ids),
    }
    return [id_ for (id_,) in await (await conn.execute(FAILED_BEFORE, parameters)).fetchall()]


# A job that has moved took its executions along, so children may lie in other namespaces than their parent.
COUNTS = """
SELECT k.status, count(*) FROM job_executions AS k JOIN jobs AS j ON j.id = k.job_id
 WHERE k.parent_id = %(parent_id)s::bigint
   AND (%(namespaces)s::text[] IS NULL OR j.namespace = ANY (%(namespaces)s::text[]))
 GROUP BY k.status
"""


async def counts(conn: Conn, parent_id: int, *, namespaces: Sequence[str] | None) -> dict[str, int]:
    """How many children of an execution are in which status; `namespaces` None means all."""
    parameters = {"parent_id": parent_id, "namespaces": None if namespaces is None else list(namespaces)}
    return dict(await (await conn.execute(COUNTS, parameters)).fetchall())


PAGE = sql.SQL("""
SELECT {columns} FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
 WHERE e.parent_id = %(parent_id)s::bigint AND (%(status)s::text IS NULL OR e.status = %(status)s::text)
   AND {beyond}
   AND (%(namespaces)s::text[] IS NULL OR j.namespace = ANY (%(namespaces)s::text[]))
 ORDER BY e.id {turn} LIMIT %(limit)s::integer
""")


async def page(
    conn: Conn, parent_id: int, *, namespaces: Sequence[str] | None, status: str | None, edge: Edge, limit: int
) -> list[Execution]:
    """The children of an execution by id, from `edge` on; `namespaces` None means all."""
    parameters = {
        "parent_id": parent_id,
        "namespaces": None if namespaces is None else list(namespaces),
        "status": status,
        "edge": edge.beyond,
        "limit": limit,
    }
    statement = PAGE.format(columns=sql.SQL(EXECUTION_COLUMNS), **edge.parts("e.id"))
    async with conn.cursor(row_factory=dict_row) as found:
        await found.execute(statement, parameters)
        return [execution_from_row(row) for row in await found.fetchall()]
