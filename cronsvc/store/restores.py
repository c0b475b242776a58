"""What a restored database would do if it were let: counts and the longest overdue jobs. Each statement is bounded."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql
from psycopg.rows import class_row, dict_row

from cronsvc.domain.plan import DueJob
from cronsvc.store.pool import Conn
from cronsvc.store.ticks import ACTIVE, DUE_COLUMNS, due_job

MOST_COUNTED = 100_000
MOST_BACKFILLS = 1000

VISIBLE = sql.SQL("(%(namespaces)s::text[] IS NULL OR j.namespace = ANY (%(namespaces)s::text[]))")


@dataclass(frozen=True, slots=True)
class Owed:
    """Jobs with overdue instants; executions that wait and that run by their rows; backfills that are not finished."""

    jobs: int
    queued: int
    running: int
    backfills: int


OWED = sql.SQL("""
SELECT (SELECT count(*)::int FROM (
            SELECT FROM jobs AS j
             WHERE j.next_fire_time <= %(now)s AND {active} AND {visible} LIMIT {most}) AS o) AS jobs,
       (SELECT count(*)::int FROM (
            SELECT FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
             WHERE e.status = 'QUEUED' AND {visible} LIMIT {most}) AS q) AS queued,
       (SELECT count(*)::int FROM (
            SELECT FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
             WHERE e.status = 'RUNNING' AND {visible} LIMIT {most}) AS r) AS running,
       (SELECT count(*)::int FROM backfills AS b JOIN jobs AS j ON j.id = b.job_id
         WHERE b.status = 'running' AND {visible}) AS backfills
""").format(
    active=sql.SQL("j.is_active AND j.deleted_at IS NULL AND j.paused_at IS NULL AND j.quarantine_reason IS NULL"),
    visible=VISIBLE,
    most=sql.Literal(MOST_COUNTED),
)


async def owed(conn: Conn, *, now: datetime, namespaces: Sequence[str] | None) -> Owed:
    """Count it."""
    async with conn.cursor(row_factory=class_row(Owed)) as cursor:
        row = await (await cursor.execute(OWED, {"now": now, "namespaces": _list(namespaces)})).fetchone()
    assert row is not None
    return row


OVERDUE = sql.SQL("""
SELECT {columns}, j.name
  FROM jobs AS j
 WHERE next_fire_time <= %(now)s AND {active} AND {visible}
 ORDER BY next_fire_time LIMIT %(limit)s
""").format(columns=DUE_COLUMNS, active=ACTIVE, visible=VISIBLE)


async def overdue(
    conn: Conn, *, now: datetime, namespaces: Sequence[str] | None, limit: int
) -> list[tuple[DueJob, str]]:
    """The longest overdue jobs with their names."""
    async with conn.cursor(row_factory=dict_row, binary=True) as cursor:
        await cursor.execute(OVERDUE, {"now": now, "namespaces": _list(namespaces), "limit": limit})
        rows = await cursor.fetchall()
    return [(due_job(row), str(row["name"])) for row in rows]


RUNNING_BACKFILLS = "SELECT id FROM backfills WHERE status = 'running' ORDER BY id LIMIT %(most)s"


async def running_backfills(conn: Conn) -> list[int]:
    """Backfills that would go on."""
    rows = await (await conn.execute(RUNNING_BACKFILLS, {"most": MOST_BACKFILLS})).fetchall()
    return [id_ for (id_,) in rows]


def _list(namespaces: Sequence[str] | None) -> list[str] | None:
    return None if namespaces is None else list(namespaces)
