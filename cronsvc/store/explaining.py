"""Statements that read what accounts for one instant of one job: look-ups by key, each with bounds on `scheduled_time`.

Reading is in autocommit and in an order that matters: whoever reads the cursor first and the rows after it can find a
row too many, never one too few, because rows and cursor are committed together.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import sql
from psycopg.rows import class_row, dict_row

from cronsvc.domain.evidence import (
    PauseAct,
    Pruned,
    QueueFacts,
    Record,
    Revised,
    Schedulers,
    WorkerFacts,
)
from cronsvc.domain.execution import Execution
from cronsvc.domain.job import Job
from cronsvc.store.advisory import LOCK_CLASS
from cronsvc.store.pool import Conn
from cronsvc.store.rows import (
    EXECUTION_COLUMNS,
    JOB_COLUMNS,
    definition_for_readers,
    definition_from_json,
    execution_from_row,
    job_for_readers,
)

# Among so many rows before a skipped one those are looked for that were unfinished then.
_LOOKED_AT = 500
_MOST_OTHERS = 5


@dataclass(frozen=True, slots=True)
class Standing:
    """A job, live or deleted, and the database's now. `armed`: its cursor is its first instant without a row."""

    job: Job
    armed: bool
    deleted_at: datetime | None
    shard: int
    now: datetime


STANDING = sql.SQL("""
SELECT {columns}, j.deleted_at, j.shard, clock_timestamp() AS now FROM jobs AS j WHERE j.id = %(job_id)s::bigint
""").format(columns=sql.SQL(JOB_COLUMNS))


async def standing(conn: Conn, job_id: int) -> Standing | None:
    """The job as it is now; None if there never was one."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        row = await (await cursor.execute(STANDING, {"job_id": job_id})).fetchone()
    if row is None:
        return None
    armed = row["armed_revision"] == row["revision"]
    return Standing(job_for_readers(row), armed, row["deleted_at"], row["shard"], row["now"])


RECORD = sql.SQL("""
SELECT {columns}, e.ready_at, e.dispatch_at, e.dispatches, e.held, e.deadline_at, e.backfill_id,
       w.name AS window, w.reason AS window_reason
  FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id LEFT JOIN maintenance_windows AS w ON w.id = e.window_id
 WHERE e.job_id = %(job_id)s::bigint AND e.scheduled_time = %(at)s::timestamptz
""").format(columns=sql.SQL(EXECUTION_COLUMNS))


_OWN = (
    *("ready_at", "dispatch_at", "dispatches", "held", "deadline_at", "backfill_id"),
    *("window", "window_reason"),
)


async def record(conn: Conn, job_id: int, at: datetime) -> Record | None:
    """The row of the instant."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        row = await (await cursor.execute(RECORD, {"job_id": job_id, "at": at})).fetchone()
    if row is None:
        return None
    return Record(execution_from_row(row), **{name: row[name] for name in _OWN})


REVISIONS = """
(SELECT 'in_force', r.revision, r.definition, r.actor, r.created_at FROM job_revisions AS r
  WHERE r.job_id = %(job_id)s::bigint AND r.created_at <= %(at)s::timestamptz ORDER BY r.revision DESC LIMIT 1)
UNION ALL
(SELECT 'next', r.revision, r.definition, r.actor, r.created_at FROM job_revisions AS r
  WHERE r.job_id = %(job_id)s::bigint AND r.created_at > %(at)s::timestamptz ORDER BY r.revision LIMIT 1)
UNION ALL
(SELECT 'pinned', r.revision, r.definition, r.actor, r.created_at FROM job_revisions AS r
  WHERE r.job_id = %(job_id)s::bigint AND r.revision = %(pinned)s::integer)
"""


async def revisions(conn: Conn, job_id: int, at: datetime, *, pinned: int | None) -> Mapping[str, Revised]:
    """The revision that was `in_force` at the instant, the `next` one after it, and the one `pinned`, if there are."""
    rows = await (await conn.execute(REVISIONS, {"job_id": job_id, "at": at, "pinned": pinned})).fetchall()
    return {which: _revised(*columns) for which, *columns in rows}


def _revised(revision: int, definition: Mapping[str, Any], actor: str, created_at: datetime) -> Revised:
    fault = None
    try:
        definition_from_json(definition)
    except ValueError as error:
        fault = str(error)
    deleted = definition.get("deleted_at") is not None
    return Revised(revision, definition_for_readers(definition), actor, created_at, deleted, fault)


BEFORE = sql.SQL("""
SELECT {columns} FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
 WHERE e.job_id = %(job_id)s::bigint AND e.scheduled_time < %(at)s::timestamptz AND e.trigger = 'schedule'
 ORDER BY e.scheduled_time DESC LIMIT 1
""").format(columns=sql.SQL(EXECUTION_COLUMNS))


async def row_before(conn: Conn, job_id: int, at: datetime) -> Execution | None:
    """The last row that the schedule wrote before the instant: if a range reaches to the instant, it is this one's."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        row = await (await cursor.execute(BEFORE, {"job_id": job_id, "at": at})).fetchone()
    return None if row is None else execution_from_row(row)


NAMED_BY = """
SELECT e.scheduled_time, e.previous_time FROM job_executions AS e
 WHERE e.job_id = %(job_id)s::bigint AND e.scheduled_time > %(at)s::timestamptz AND e.previous_time IS NOT NULL
 ORDER BY e.scheduled_time LIMIT 1
"""


async def named_by(conn: Conn, job_id: int, at: datetime) -> datetime | None:
    """The next row of the schedule, if it names the instant as the one before it."""
    row = await (await conn.execute(NAMED_BY, {"job_id": job_id, "at": at})).fetchone()
    return row[0] if row is not None and row[1] == at else None


PAUSE = """
WITH begun AS (
    SELECT a.id, a.action, a.actor, a.at, a.after FROM audit_log AS a
     WHERE a.entity = 'job' AND a.entity_id = %(job_id)s::bigint::text AND a.action IN ('pause', 'resume')
       AND a.at <= %(at)s::timestamptz
     ORDER BY a.id DESC LIMIT 1
)
SELECT b.actor, coalesce((b.after ->> 'paused_at')::timestamptz, b.at), b.after ->> 'pause_note',
       (b.after ->> 'paused_until')::timestamptz, ended.at, ended.actor
  FROM begun AS b
  LEFT JOIN LATERAL (SELECT a.at, a.actor FROM audit_log AS a
                      WHERE a.entity = 'job' AND a.entity_id = %(job_id)s::bigint::text AND a.action = 'resume'
                        AND a.id > b.id
                      ORDER BY a.id LIMIT 1) AS ended ON true
 WHERE b.action = 'pause'
"""


async def pause_at(conn: Conn, job_id: int, at: datetime) -> PauseAct | None:
    """The pause that was in force at the instant, by the audit log."""
    row = await (await conn.execute(PAUSE, {"job_id": job_id, "at": at})).fetchone()
    return None if row is None else PauseAct(*row)


PRUNED = """
SELECT s.first_time, s.last_time, s.success, s.failed, s.skipped, s.cancelled FROM job_statistics AS s
 WHERE s.job_id = %(job_id)s::bigint AND s.trigger IN ('schedule', 'backfill', 'recovery')
   AND s.first_time <= %(at)s::timestamptz AND s.last_time >= %(at)s::timestamptz
 ORDER BY s.day DESC LIMIT 1
"""


async def pruned(conn: Conn, job_id: int, at: datetime) -> Pruned | None:
    """A day of deleted rows that reach from before the instant to after it."""
    async with conn.cursor(row_factory=class_row(Pruned)) as cursor:
        return await (await cursor.execute(PRUNED, {"job_id": job_id, "at": at})).fetchone()


RUNS_BEFORE = """
SELECT (SELECT count(*) FROM (
            SELECT FROM job_executions AS e
             WHERE e.job_id = %(job_id)s::bigint AND e.scheduled_time < %(at)s::timestamptz
               AND e.trigger = 'schedule' AND e.status <> 'SKIPPED'
             LIMIT %(most)s::bigint) AS counted)
       + coalesce((SELECT sum(s.success + s.failed + s.cancelled) FROM job_statistics AS s
                    WHERE s.job_id = %(job_id)s::bigint AND s.trigger = 'schedule'
                      AND s.last_time < %(at)s::timestamptz), 0)
"""


async def runs_before(conn: Conn, job_id: int, at: datetime, *, most: int) -> int:
    """How often the schedule had fired before the instant, as far as rows and statistics tell; counts `most` rows."""
    row = await (await conn.execute(RUNS_BEFORE, {"job_id": job_id, "at": at, "most": most})).fetchone()
    assert row is not None
    return int(row[0])


WORKERS = """
SELECT w.id::text AS id, w.name, w.state, w.heartbeat_at,
       w.state IN ('active', 'draining') AND w.lease_until > clock_timestamp() AS alive
  FROM workers AS w WHERE w.id = ANY (%(ids)s::uuid[])
"""


async def workers(conn: Conn, ids: Collection[str]) -> dict[str, WorkerFacts]:
    """These workers by id; rows of those that ended a day ago are gone."""
    if not ids:
        return {}
    async with conn.cursor(row_factory=class_row(WorkerFacts)) as cursor:
        rows = await (await cursor.execute(WORKERS, {"ids": sorted(ids)})).fetchall()
    return {worker.id: worker for worker in rows}


QUEUE = """
SELECT q.name, q.paused_by, q.pause_note, q.paused_until, q.concurrency, q.rate_per_minute,
       q.paused_at IS NOT NULL AND cronsvc_queue_paused(q.name) AS paused,
       (SELECT count(*)::integer FROM workers AS w
         WHERE w.state = 'active' AND w.lease_until > clock_timestamp() AND q.name = ANY (w.queues)) AS workers
  FROM queues AS q WHERE q.name = %(name)s::text
"""


async def queue(conn: Conn, name: str) -> QueueFacts | None:
    """A queue now, and who serves it."""
    async with conn.cursor(row_factory=class_row(QueueFacts)) as cursor:
        return await (await cursor.execute(QUEUE, {"name": name})).fetchone()


# The index of unfinished rows has both conditions; written so, it is used.
UNFINISHED = sql.SQL("""
SELECT {columns} FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
 WHERE e.job_id = %(job_id)s::bigint AND (e.status = 'QUEUED' OR e.status = 'RUNNING')
   AND e.scheduled_time <> %(at)s::timestamptz AND e.held IS NULL
 ORDER BY e.scheduled_time LIMIT %(most)s::integer
""").format(columns=sql.SQL(EXECUTION_COLUMNS))


async def unfinished(conn: Conn, job_id: int, *, besides: datetime) -> tuple[Execution, ...]:
    """What a job has unfinished and not held now, besides the row of one instant; a few."""
    return await _executions(conn, UNFINISHED, {"job_id": job_id, "at": besides, "most": _MOST_OTHERS})


UNFINISHED_THEN = sql.SQL("""
SELECT {columns}
  FROM (SELECT * FROM job_executions AS b
         WHERE b.job_id = %(job_id)s::bigint AND b.scheduled_time < %(at)s::timestamptz
         ORDER BY b.scheduled_time DESC LIMIT %(rows)s::integer) AS e
  JOIN jobs AS j ON j.id = e.job_id
 WHERE e.status <> 'SKIPPED' AND e.created_at <= %(then)s::timestamptz
   AND (e.end_time IS NULL OR e.end_time > %(then)s::timestamptz)
 ORDER BY e.scheduled_time DESC LIMIT %(most)s::integer
""").format(columns=sql.SQL(EXECUTION_COLUMNS))


async def unfinished_then(conn: Conn, job_id: int, *, before: datetime, then: datetime) -> tuple[Execution, ...]:
    """Of the rows of a job before an instant, those that were unfinished when it was decided; a few of the latest."""
    parameters = {"job_id": job_id, "at": before, "then": then, "rows": _LOOKED_AT, "most": _MOST_OTHERS}
    return await _executions(conn, UNFINISHED_THEN, parameters)


async def _executions(conn: Conn, statement: sql.Composed, parameters: Mapping[str, Any]) -> tuple[Execution, ...]:
    async with conn.cursor(row_factory=dict_row) as cursor:
        rows = await (await cursor.execute(statement, parameters)).fetchall()
    return tuple(execution_from_row(row) for row in rows)


SCHEDULERS = """
SELECT (SELECT count(*) FILTER (WHERE s.heartbeat_at > clock_timestamp() - %(silence)s::interval)::integer
          FROM schedulers AS s),
       (SELECT max(s.heartbeat_at) FROM schedulers AS s), holder.name, holder.seconds
  FROM (SELECT) AS always
  LEFT JOIN (SELECT coalesce(nullif(a.application_name, ''), 'process ' || l.pid) AS name,
                    extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS seconds
               FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
              WHERE l.locktype = 'advisory' AND l.classid = %(class)s::oid AND l.objid = %(shard)s::oid AND l.granted
                AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
              LIMIT 1) AS holder ON true
"""


async def schedulers(conn: Conn, *, shard: int, silence: timedelta) -> Schedulers:
    """How many schedulers were heard of within `silence`, and who holds the lock of a shard at this moment."""
    parameters = {"class": LOCK_CLASS, "shard": shard, "silence": silence}
    row = await (await conn.execute(SCHEDULERS, parameters)).fetchone()
    assert row is not None
    return Schedulers(row[0], row[1], shard, row[2], row[3])
