"""What monitoring asks beside the overview: how late executions have begun lately."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row

from cronsvc.store.pool import Conn
from cronsvc.store.status import VISIBLE

NEWEST = 2000


@dataclass(frozen=True, slots=True)
class Lateness:
    """Seconds from the instant to the start, of first attempts of the newest executions of schedules; None: of none."""

    median: float | None
    p95: float | None
    greatest: float | None


LATENESS = sql.SQL("""
WITH newest AS MATERIALIZED (
    SELECT e.job_id, e.trigger, e.attempt, e.start_time, e.scheduled_time, e.created_at
      FROM job_executions AS e ORDER BY e.id DESC LIMIT {newest}
), late AS (
    SELECT extract(epoch FROM n.start_time - n.scheduled_time)::float8 AS seconds
      FROM newest AS n JOIN jobs AS j ON j.id = n.job_id
     WHERE n.trigger = 'schedule' AND n.attempt = 1 AND n.start_time IS NOT NULL
       AND n.created_at > clock_timestamp() - interval '15 minutes' AND {visible}
)
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS median,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95, max(seconds) AS greatest
  FROM late
""").format(newest=sql.Literal(NEWEST), visible=VISIBLE)


async def lateness(conn: Conn, *, namespaces: Sequence[str] | None) -> Lateness:
    """Of the last fifteen minutes, and of the newest 2000 executions at the most."""
    wanted = None if namespaces is None else list(namespaces)
    async with conn.cursor(row_factory=class_row(Lateness)) as cursor:
        row = await (await cursor.execute(LATENESS, {"namespaces": wanted})).fetchone()
    assert row is not None
    return row
