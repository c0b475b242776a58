"""Statements for the overview: what there is, what waits, what runs, who is alive.

Each is bounded, so that looking at a busy service does not slow it: counting stops after a hundred thousand rows, goes
along an index, and says when it stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import sql
from psycopg.rows import class_row

from cronsvc.store.pool import Conn

MOST_COUNTED = 100_000


@dataclass(frozen=True, slots=True)
class JobCounts:
    """Jobs by what holds them back; each is counted once. `complete` is False when there are more than were counted."""

    active: int
    paused: int
    inactive: int
    quarantined: int
    complete: bool


@dataclass(frozen=True, slots=True)
class RecentCounts:
    """Executions by status, of those scheduled in the last 24 hours. Not `complete`: of the newest ones only."""

    by_status: Mapping[str, int]
    complete: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """Executions that are not finished; `oldest_seconds` is how long the first of them has been ready to run."""

    waiting: int
    running: int
    oldest_seconds: float | None


@dataclass(frozen=True, slots=True)
class WorkerPresence:
    """A worker process whose lease has not run out."""

    id: str
    name: str
    version: str
    queues: list[str]
    concurrency: int
    running: int
    state: str
    started_at: datetime
    heartbeat_at: datetime


@dataclass(frozen=True, slots=True)
class SchedulerPresence:
    """A scheduler process that was heard of lately."""

    id: str
    name: str
    version: str
    started_at: datetime
    heartbeat_at: datetime


VISIBLE = sql.SQL("(%(namespaces)s::text[] IS NULL OR j.namespace = ANY (%(namespaces)s::text[]))")

JOB_COUNTS = sql.SQL("""
SELECT count(*) FILTER (WHERE is_active AND quarantine_reason IS NULL AND paused_at IS NULL)::integer AS active,
       count(*) FILTER (WHERE is_active AND quarantine_reason IS NULL AND paused_at IS NOT NULL)::integer AS paused,
       count(*) FILTER (WHERE NOT is_active)::integer AS inactive,
       count(*) FILTER (WHERE is_active AND quarantine_reason IS NOT NULL)::integer AS quarantined,
       count(*) <= %(most)s::integer AS complete
  FROM (SELECT j.is_active, j.quarantine_reason, j.paused_at FROM jobs AS j
         WHERE j.deleted_at IS NULL AND {visible} LIMIT %(most)s::integer + 1) AS counted
""").format(visible=VISIBLE)


async def job_counts(conn: Conn, *, namespaces: Sequence[str] | None, most: int = MOST_COUNTED) -> JobCounts:
    """Count live jobs by state."""
    async with conn.cursor(row_factory=class_row(JobCounts)) as found:
        row = await (await found.execute(JOB_COUNTS, {"namespaces": _list(namespaces), "most": most})).fetchone()
    assert row is not None
    return row


# The newest rows by id: whatever was scheduled within a day was also written within it, so the count is complete once
# it reaches back to a row that was written before.
RECENT_COUNTS = sql.SQL("""
WITH newest AS MATERIALIZED (
    SELECT e.job_id, e.status, e.scheduled_time, e.created_at FROM job_executions AS e
     ORDER BY e.id DESC LIMIT %(most)s::integer + 1
), bounds AS (
    SELECT coalesce(%(now)s::timestamptz, clock_timestamp()) - interval '24 hours' AS since
), reach AS (
    SELECT count(*) <= %(most)s::integer OR min(n.created_at) < (SELECT since FROM bounds) AS complete FROM newest AS n
), counted AS (
    SELECT n.status::text AS status, count(*)::integer AS rows
      FROM newest AS n JOIN jobs AS j ON j.id = n.job_id
     WHERE n.scheduled_time >= (SELECT since FROM bounds) AND {visible}
     GROUP BY n.status
)
SELECT r.complete, c.status, c.rows FROM reach AS r LEFT JOIN counted AS c ON true
""").format(visible=VISIBLE)


async def recent_counts(
    conn: Conn, *, namespaces: Sequence[str] | None, most: int = MOST_COUNTED, now: datetime | None = None
) -> RecentCounts:
    """Count executions by status."""
    parameters = {"namespaces": _list(namespaces), "most": most, "now": now}
    rows = await (await conn.execute(RECENT_COUNTS, parameters)).fetchall()
    return RecentCounts({status: count for _, status, count in rows if status is not None}, complete=rows[0][0])


WAITING = sql.SQL("""
SELECT w.waiting, r.running, extract(epoch FROM clock_timestamp() - w.oldest)::float8 AS oldest_seconds
  FROM (SELECT count(*)::integer AS waiting, min(ready_at) FILTER (WHERE ready_at <= clock_timestamp()) AS oldest
          FROM (SELECT e.ready_at FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
                 WHERE e.status = 'QUEUED' AND {visible} LIMIT %(most)s::integer) AS queued) AS w,
       (SELECT count(*)::integer AS running
          FROM (SELECT FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
                 WHERE e.status = 'RUNNING' AND {visible} LIMIT %(most)s::integer) AS started) AS r
""").format(visible=VISIBLE)


async def waiting(conn: Conn, *, namespaces: Sequence[str] | None, most: int = MOST_COUNTED) -> Waiting:
    """Count what is QUEUED and RUNNING, up to `most` of each, along the partial indexes of unfinished rows."""
    async with conn.cursor(row_factory=class_row(Waiting)) as found:
        row = await (await found.execute(WAITING, {"namespaces": _list(namespaces), "most": most})).fetchone()
    assert row is not None
    return row


NEXT_DUE = sql.SQL("""
SELECT j.next_fire_time FROM jobs AS j
 WHERE j.is_active AND j.deleted_at IS NULL AND j.paused_at IS NULL AND j.quarantine_reason IS NULL
   AND j.next_fire_time IS NOT NULL AND j.armed_revision = j.revision AND {visible}
 ORDER BY j.next_fire_time LIMIT 1
""").format(visible=VISIBLE)


async def next_due(conn: Conn, *, namespaces: Sequence[str] | None) -> datetime | None:
    """The earliest instant that will fire."""
    row = await (await conn.execute(NEXT_DUE, {"namespaces": _list(namespaces)})).fetchone()
    return None if row is None else row[0]


WORKERS = """
SELECT w.id::text AS id, w.name, w.version, w.queues, w.concurrency, w.running, w.state, w.started_at, w.heartbeat_at
  FROM workers AS w
 WHERE w.state IN ('active', 'draining') AND w.lease_until > clock_timestamp()
 ORDER BY w.started_at LIMIT 1000
"""


async def live_workers(conn: Conn) -> tuple[WorkerPresence, ...]:
    """Workers that hold a lease, oldest first."""
    async with conn.cursor(row_factory=class_row(WorkerPresence)) as found:
        return tuple(await (await found.execute(WORKERS)).fetchall())


SCHEDULERS = """
SELECT s.id::text AS id, s.name, s.version, s.started_at, s.heartbeat_at
  FROM schedulers AS s
 WHERE s.heartbeat_at > clock_timestamp() - %(silence)s::interval
 ORDER BY s.started_at LIMIT 1000
"""


async def live_schedulers(conn: Conn, *, silence: timedelta) -> tuple[SchedulerPresence, ...]:
    """Schedulers that were heard of within `silence`, oldest first."""
    async with conn.cursor(row_factory=class_row(SchedulerPresence)) as found:
        return tuple(await (await found.execute(SCHEDULERS, {"silence": silence})).fetchall())


SCHEMA_EXISTS = "SELECT to_regclass('public.alembic_version') IS NOT NULL"
SCHEMA_REVISION = "SELECT version_num::text FROM public.alembic_version"


async def schema_revision(conn: Conn) -> str | None:
    """The migration this database is at; None when cronsvc never migrated it."""
    exists = await (await conn.execute(SCHEMA_EXISTS)).fetchone()
    if exists is None or not exists[0]:
        return None
    row = await (await conn.execute(SCHEMA_REVISION)).fetchone()
    return None if row is None else str(row[0])


def _list(namespaces: Sequence[str] | None) -> list[str] | None:
    return None if namespaces is None else list(namespaces)
