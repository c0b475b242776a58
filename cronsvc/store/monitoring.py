"""Statements for people and programs that watch: what runs, what repeats, how long it takes.

Each is bounded like those in `status`, and counts only what the caller may see.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from cronsvc.store.pool import Conn
from cronsvc.store.status import MOST_COUNTED, VISIBLE


@dataclass(frozen=True, slots=True)
class Repeating:
    """A job with an instant ahead that will fire."""

    id: int
    namespace: str
    name: str
    cron_expression: str | None
    every_seconds: int | None
    timezone: str
    next_fire_time: datetime


@dataclass(frozen=True, slots=True)
class Active:
    """An execution in progress."""

    id: int
    job_id: int
    job_name: str
    params: Mapping[str, Any] | None
    progress: int | None
    start_time: datetime


@dataclass(frozen=True, slots=True)
class Pace:
    """`delayed` waits for its time, not for a worker; `average_ms` is of successes."""

    delayed: int
    average_ms: float | None


REPEATING = sql.SQL("""
SELECT j.id, j.namespace, j.name, j.cron_expression, j.every_seconds, j.timezone, j.next_fire_time FROM jobs AS j
 WHERE j.is_active AND j.deleted_at IS NULL AND j.paused_at IS NULL AND j.quarantine_reason IS NULL
   AND j.next_fire_time IS NOT NULL AND j.armed_revision = j.revision AND {visible}
   AND (%(job_id)s::bigint IS NULL OR j.id = %(job_id)s::bigint)
 ORDER BY j.next_fire_time LIMIT %(limit)s::integer
""").format(visible=VISIBLE)


async def repeating(
    conn: Conn, *, namespaces: Sequence[str] | None, job_id: int | None = None, limit: int
) -> list[Repeating]:
    """Jobs that will fire, the next one first, or only the one of `job_id`."""
    async with conn.cursor(row_factory=class_row(Repeating)) as found:
        await found.execute(REPEATING, {"namespaces": _list(namespaces), "job_id": job_id, "limit": limit})
        return await found.fetchall()


ACTIVE = sql.SQL("""
SELECT r.* FROM (
    SELECT e.id, e.job_id, j.name AS job_name, e.params, e.progress, e.start_time
      FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
     WHERE e.status = 'RUNNING' AND {visible}
       AND (%(job_id)s::bigint IS NULL OR e.job_id = %(job_id)s::bigint) LIMIT %(most)s::integer) AS r
 ORDER BY r.start_time, r.id LIMIT %(limit)s::integer
""").format(visible=VISIBLE)


async def active(
    conn: Conn,
    *,
    namespaces: Sequence[str] | None,
    job_id: int | None = None,
    limit: int,
    most: int = MOST_COUNTED,
) -> list[Active]:
    """Executions in progress, the one that began first first, or only those of `job_id`."""
    async with conn.cursor(row_factory=class_row(Active)) as found:
        wanted = {"namespaces": _list(namespaces), "job_id": job_id, "limit": limit, "most": most}
        await found.execute(ACTIVE, wanted)
        return await found.fetchall()


# The average is over the newest rows, by the index on ids: what ran a month ago says little about now.
PACE = sql.SQL("""
SELECT (SELECT count(*)::integer FROM (
            SELECT FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
             WHERE e.status = 'QUEUED' AND e.ready_at > (SELECT clock_timestamp()) AND {visible}
             LIMIT %(most)s::integer) AS d) AS delayed,
       (SELECT avg(extract(epoch FROM n.end_time - n.start_time) * 1000)::float8 FROM (
            SELECT e.job_id, e.status, e.start_time, e.end_time FROM job_executions AS e
             ORDER BY e.id DESC LIMIT %(newest)s::integer) AS n
          JOIN jobs AS j ON j.id = n.job_id WHERE n.status = 'SUCCESS' AND {visible}) AS average_ms
""").format(visible=VISIBLE)


async def pace(conn: Conn, *, namespaces: Sequence[str] | None, most: int = MOST_COUNTED, newest: int = 10_000) -> Pace:
    """Counts up to `most`, and the average duration of the successes among the `newest` rows (None: there are none)."""
    async with conn.cursor(row_factory=class_row(Pace)) as found:
        parameters = {"namespaces": _list(namespaces), "most": most, "newest": newest}
        row = await (await found.execute(PACE, parameters)).fetchone()
    assert row is not None
    return row


# Unfinished rows by their partial index, those of the last day by the key: never the whole history of the job.
JOB_COUNTS = """
WITH unfinished AS (
    SELECT e.status, e.ready_at FROM job_executions AS e
     WHERE e.job_id = %(job_id)s::bigint AND (e.status = 'QUEUED' OR e.status = 'RUNNING') LIMIT %(most)s::integer
), ended AS (
    SELECT e.status FROM job_executions AS e
     WHERE e.job_id = %(job_id)s::bigint AND e.status IN ('SUCCESS', 'FAILED')
       AND e.scheduled_time >= (SELECT clock_timestamp()) - interval '24 hours' LIMIT %(most)s::integer
)
SELECT (SELECT count(*) FROM unfinished WHERE status = 'RUNNING')::integer AS active,
       (SELECT count(*) FROM unfinished WHERE status = 'QUEUED')::integer AS waiting,
       (SELECT count(*) FROM unfinished WHERE status = 'QUEUED' AND ready_at > clock_timestamp())::integer AS delayed,
       (SELECT count(*) FROM ended WHERE status = 'SUCCESS')::integer AS completed,
       (SELECT count(*) FROM ended WHERE status = 'FAILED')::integer AS failed,
       (SELECT count(*) FROM unfinished) < %(most)s::integer AND (SELECT count(*) FROM ended) < %(most)s::integer
           AS complete
"""


@dataclass(frozen=True, slots=True)
class JobLoad:
    """Executions of one job: unfinished ones now, `completed` and `failed` of those scheduled in the last 24 hours."""

    active: int
    waiting: int
    delayed: int
    completed: int
    failed: int
    complete: bool


async def job_load(conn: Conn, job_id: int, *, most: int = MOST_COUNTED) -> JobLoad:
    """Count executions of one job, up to `most` of each kind."""
    async with conn.cursor(row_factory=class_row(JobLoad)) as found:
        row = await (await found.execute(JOB_COUNTS, {"job_id": job_id, "most": most})).fetchone()
    assert row is not None
    return row


def _list(namespaces: Sequence[str] | None) -> list[str] | None:
    return None if namespaces is None else list(namespaces)
