"""What became of a job's executions day by day, whether their rows are kept or gone."""

from dataclasses import dataclass
from datetime import date

from psycopg.rows import class_row

from cronsvc.domain.execution import Trigger
from cronsvc.store.pool import Conn


@dataclass(frozen=True, slots=True)
class DayStatistics:
    """Ended executions of one job, one day (UTC, of their scheduled time) and one trigger.

    `attempts` counts the first tries too. Durations, in milliseconds, are those of the successful executions; the least
    and the greatest are None when there was none.
    """

    day: date
    trigger: Trigger
    success: int
    failed: int
    skipped: int
    cancelled: int
    attempts: int
    duration_ms_sum: int
    duration_ms_min: int | None
    duration_ms_max: int | None


# One statement, one snapshot: a row that is deleted meanwhile is either still among the living or already counted.
OF_JOB = """
SELECT s.day, s.trigger, sum(s.success)::bigint AS success, sum(s.failed)::bigint AS failed,
       sum(s.skipped)::bigint AS skipped, sum(s.cancelled)::bigint AS cancelled, sum(s.attempts)::bigint AS attempts,
       sum(s.duration_ms_sum)::bigint AS duration_ms_sum, min(s.duration_ms_min) AS duration_ms_min,
       max(s.duration_ms_max) AS duration_ms_max
  FROM (SELECT k.day, k.trigger, k.success, k.failed, k.skipped, k.cancelled, k.attempts, k.duration_ms_sum,
               k.duration_ms_min, k.duration_ms_max
          FROM job_statistics AS k
         WHERE k.job_id = %(job_id)s::bigint AND k.day BETWEEN %(first)s::date AND %(last)s::date
         UNION ALL
        SELECT (e.scheduled_time AT TIME ZONE 'UTC')::date, e.trigger, (e.status = 'SUCCESS')::int,
               (e.status = 'FAILED')::int, (e.status = 'SKIPPED')::int, (e.status = 'CANCELLED')::int, e.attempt,
               coalesce(d.ms, 0), d.ms, d.ms
          FROM job_executions AS e
         CROSS JOIN LATERAL (SELECT CASE WHEN e.status = 'SUCCESS'
                             THEN (extract(epoch FROM e.end_time - e.start_time) * 1000)::bigint END AS ms) AS d
         WHERE e.job_id = %(job_id)s::bigint AND e.status IN ('SUCCESS', 'FAILED', 'SKIPPED', 'CANCELLED')
           AND e.scheduled_time >= (%(first)s::date::timestamp AT TIME ZONE 'UTC')
           AND e.scheduled_time < ((%(last)s::date + 1)::timestamp AT TIME ZONE 'UTC')) AS s
 GROUP BY s.day, s.trigger ORDER BY s.day, s.trigger
"""


async def of_job(conn: Conn, job_id: int, *, first: date, last: date) -> list[DayStatistics]:
    """The days from `first` to `last` (both included) on which a job, live or deleted, had executions that ended."""
    async with conn.cursor(row_factory=class_row(DayStatistics)) as cursor:
        found = await cursor.execute(OF_JOB, {"job_id": job_id, "first": first, "last": last})
        return await found.fetchall()
