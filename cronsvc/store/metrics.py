"""What monitoring asks beside the overview: how late executions have begun lately, or are while they wait."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row

from cronsvc.store.pool import Conn
from cronsvc.store.status import VISIBLE

NEWEST = 2000
LOOKED_AT = 10_000


@dataclass(frozen=True, slots=True)
class Lateness:
    """Seconds from the instant to the start, of first attempts that schedules asked for; None: there are none.

    What waits for its first attempt and may begin counts, too: as late as it is by now. What is held back on purpose (a
    paused queue, a window, a limit, jitter, another run of its job) does not.
    """

    median: float | None
    p95: float | None
    greatest: float | None


# The ids are bounded as well as the rows: where policies hide rows from us, a LIMIT alone would be reached after a walk
# over everything.
LATENESS = sql.SQL("""
WITH started AS MATERIALIZED (
    SELECT e.job_id, e.start_time - e.scheduled_time AS late
      FROM job_executions AS e
     WHERE e.id > (SELECT pg_sequence_last_value('public.job_executions_id_seq')) - {looked_at}
       AND e.trigger = 'schedule' AND e.attempt = 1 AND e.start_time > clock_timestamp() - interval '15 minutes'
     ORDER BY e.id DESC LIMIT {newest}
), waits AS MATERIALIZED (
    SELECT e.job_id, clock_timestamp() - e.scheduled_time AS late
      FROM job_executions AS e
     WHERE e.status = 'QUEUED' AND e.dispatch_at IS NOT NULL
       AND e.trigger = 'schedule' AND e.attempt = 0 AND e.held IS NULL AND e.ready_at <= clock_timestamp()
     ORDER BY e.dispatch_at LIMIT {newest}
), late AS (
    SELECT greatest(extract(epoch FROM n.late), 0)::float8 AS seconds
      FROM (TABLE started UNION ALL TABLE waits) AS n JOIN jobs AS j ON j.id = n.job_id
     WHERE {visible}
)
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS median,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95, max(seconds) AS greatest
  FROM late
""").format(newest=sql.Literal(NEWEST), looked_at=sql.Literal(LOOKED_AT), visible=VISIBLE)


async def lateness(conn: Conn, *, namespaces: Sequence[str] | None) -> Lateness:
    """Of the last fifteen minutes and the newest 10,000 executions, 2,000 of them at most; and 2,000 of what waits."""
    wanted = None if namespaces is None else list(namespaces)
    async with conn.cursor(row_factory=class_row(Lateness)) as cursor:
        row = await (await cursor.execute(LATENESS, {"namespaces": wanted})).fetchone()
    assert row is not None
    return row
