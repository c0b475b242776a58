"""What is due by the definitions beside what is written, asked in SQL and not of the code that plans.

Each statement finds what must not be and says how many and of which jobs. All are bounded: the first three go along
indexes of unfinished work, the last two look at `most` jobs after `after_id`, so that rounds get to every job.
"""

from dataclasses import dataclass
from datetime import timedelta

from cronsvc.store.pool import Conn

# A scheduler is late with these, or there is none.
OVERDUE_CURSORS = """
SELECT count(*)::int, (array_agg(id))[1:10]
  FROM (SELECT id FROM jobs
         WHERE next_fire_time < (SELECT clock_timestamp()) - %(bound)s::interval
           AND is_active AND deleted_at IS NULL AND paused_at IS NULL AND quarantine_reason IS NULL
         ORDER BY next_fire_time LIMIT 10000) AS found
"""

# Pushed again at least every minute: one that waits past its date is looked after by nobody. The same for one that has
# neither a date nor something that holds it.
NOT_DISPATCHED = """
SELECT count(*)::int, (array_agg(DISTINCT job_id))[1:10]
  FROM (SELECT e.job_id FROM job_executions AS e
         WHERE e.status = 'QUEUED'
           AND (e.dispatch_at < (SELECT clock_timestamp()) - %(bound)s::interval
                OR (e.dispatch_at IS NULL AND e.held IS NULL
                    AND e.created_at < (SELECT clock_timestamp()) - %(bound)s::interval))
         LIMIT 10000) AS found
"""

# Whoever held these is gone, and nobody has taken them over.
ABANDONED = """
SELECT count(*)::int, (array_agg(DISTINCT job_id))[1:10]
  FROM (SELECT e.job_id FROM job_executions AS e LEFT JOIN workers AS w ON w.id = e.worker_id
         WHERE e.status = 'RUNNING' AND e.worker_id IS NOT NULL AND e.held IS NULL
           AND (w.id IS NULL OR w.lease_until < (SELECT clock_timestamp()) - %(bound)s::interval)
         LIMIT 10000) AS found
"""

# What a schedule names is plain for intervals and for the simplest expressions, so Postgres can count it out by itself.
# From the last change of the job on (what came before belongs to another definition), and from the last instant whose
# row was pruned; never more than sixty instants of a job. Rows that stand for many instants count for all of them.
MISSING_ROWS = r"""
WITH judged AS MATERIALIZED (
    SELECT clock_timestamp() AS now
), looked_at AS MATERIALIZED (
    SELECT id, cron_expression, every_seconds, next_fire_time, start_at, created_at,
           coalesce(anchor, 'epoch'::timestamptz) AS origin
      FROM jobs
     WHERE id > %(after_id)s AND is_active AND deleted_at IS NULL AND paused_at IS NULL AND quarantine_reason IS NULL
       AND next_fire_time IS NOT NULL AND armed_revision = revision AND calendar IS NULL
       AND retention ->> 'keepCompleted' IS NULL AND retention ->> 'keepFailed' IS NULL
       AND (every_seconds IS NOT NULL OR cron_expression = '* * * * *'
            OR (timezone = 'UTC' AND cron_expression ~ '^(\*/[1-9][0-9]?|[0-9]{1,2}) \* \* \* \*$'))
     ORDER BY id LIMIT %(most)s
), spans AS MATERIALIZED (
    SELECT j.*, least(judged.now, j.next_fire_time - interval '1 microsecond') AS until,
           greatest(judged.now - least(%(window)s::interval, 60 * make_interval(secs => j.every_seconds)),
                    j.start_at - interval '1 microsecond', j.created_at,
                    (SELECT a.at FROM audit_log AS a WHERE a.entity = 'job' AND a.entity_id = j.id::text
                      ORDER BY a.id DESC LIMIT 1),
                    (SELECT max(s.last_time) FROM job_statistics AS s WHERE s.job_id = j.id)) AS since
      FROM looked_at AS j, judged
), expected AS (
    SELECT s.id, t.instant
      FROM spans AS s,
           generate_series(s.origin + (floor(extract(epoch FROM s.since - s.origin) / s.every_seconds) + 1)
                                      * make_interval(secs => s.every_seconds),
                           s.until, make_interval(secs => s.every_seconds)) AS t(instant)
     WHERE s.every_seconds IS NOT NULL
     UNION ALL
    SELECT s.id, t.instant
      FROM spans AS s,
           generate_series(date_trunc('minute', s.since) + interval '1 minute', s.until, interval '1 minute')
             AS t(instant)
     WHERE s.cron_expression IS NOT NULL
       AND CASE WHEN s.cron_expression LIKE '*/%%'
                THEN extract(minute FROM t.instant AT TIME ZONE 'UTC')::int
                     %% substring(s.cron_expression FROM '^\*/([0-9]+)')::int = 0
                WHEN s.cron_expression LIKE '* %%' THEN true
                ELSE extract(minute FROM t.instant AT TIME ZONE 'UTC')::int
                     = substring(s.cron_expression FROM '^([0-9]+)')::int END
), missing AS (
    SELECT x.id FROM expected AS x
     WHERE NOT EXISTS (SELECT FROM job_executions AS e WHERE e.job_id = x.id AND e.scheduled_time = x.instant)
       AND (SELECT p.skipped_until >= x.instant FROM job_executions AS p
             WHERE p.job_id = x.id AND p.scheduled_time < x.instant AND p.trigger = 'schedule'
             ORDER BY p.scheduled_time DESC LIMIT 1) IS NOT TRUE
)
SELECT count(*)::int, (array_agg(DISTINCT id))[1:10],
       (SELECT CASE WHEN count(*) = %(most)s THEN max(id) END FROM looked_at)
  FROM missing
"""

# Each row of a schedule names the instant before it: one that has no row was there once.
GAPS = """
WITH looked_at AS MATERIALIZED (
    SELECT id FROM jobs
     WHERE id > %(after_id)s AND is_active AND deleted_at IS NULL
       AND retention ->> 'keepCompleted' IS NULL AND retention ->> 'keepFailed' IS NULL
     ORDER BY id LIMIT %(most)s
), recent AS (
    SELECT e.job_id, e.previous_time
      FROM looked_at AS j JOIN job_executions AS e ON e.job_id = j.id
     WHERE e.scheduled_time >= (SELECT clock_timestamp()) - %(window)s::interval
       AND e.trigger = 'schedule' AND e.previous_time >= (SELECT clock_timestamp()) - %(window)s::interval
       AND e.previous_time > coalesce((SELECT max(s.last_time) FROM job_statistics AS s WHERE s.job_id = j.id),
                                      '-infinity')
), missing AS (
    SELECT r.job_id FROM recent AS r
     WHERE NOT EXISTS (SELECT FROM job_executions AS p
                        WHERE p.job_id = r.job_id AND p.scheduled_time = r.previous_time)
       AND r.previous_time IS DISTINCT FROM
           (SELECT p.skipped_until FROM job_executions AS p
             WHERE p.job_id = r.job_id AND p.scheduled_time < r.previous_time AND p.trigger = 'schedule'
             ORDER BY p.scheduled_time DESC LIMIT 1)
)
SELECT count(*)::int, (array_agg(DISTINCT job_id))[1:10],
       (SELECT CASE WHEN count(*) = %(most)s THEN max(id) END FROM looked_at)
  FROM missing
"""


@dataclass(frozen=True, slots=True)
class Found:
    """How many (at most 10,000 are counted), of which jobs (some), and where the next round goes on (None: anew)."""

    count: int
    jobs: tuple[int, ...]
    next_id: int | None = None


async def overdue_cursors(conn: Conn, *, bound: timedelta) -> Found:
    """Jobs that may fire and owe an instant for longer than `bound`."""
    return await _found(conn, OVERDUE_CURSORS, {"bound": bound})


async def not_dispatched(conn: Conn, *, bound: timedelta) -> Found:
    """Executions that wait and that nobody has handed out for longer than `bound`."""
    return await _found(conn, NOT_DISPATCHED, {"bound": bound})


async def abandoned(conn: Conn, *, bound: timedelta) -> Found:
    """Executions that run by their row, under a lease that ran out more than `bound` ago."""
    return await _found(conn, ABANDONED, {"bound": bound})


async def missing_rows(conn: Conn, *, window: timedelta, after_id: int, most: int) -> Found:
    """Instants of the last `window` that simple schedules name, that cursors have passed, and that have no row."""
    return await _found(conn, MISSING_ROWS, {"window": window, "after_id": after_id, "most": most})


async def gaps(conn: Conn, *, window: timedelta, after_id: int, most: int) -> Found:
    """Instants of the last `window` that later rows name as recorded and that have no row."""
    return await _found(conn, GAPS, {"window": window, "after_id": after_id, "most": most})


async def _found(conn: Conn, statement: str, parameters: dict[str, object]) -> Found:
    row = await (await conn.execute(statement.encode(), parameters)).fetchone()
    assert row is not None
    return Found(row[0], tuple(row[1] or ()), row[2] if len(row) > 2 else None)


LIMIT_TIME = "SELECT set_config('statement_timeout', '5s', true)"


async def limit_time(conn: Conn) -> None:
    """Let no statement of this transaction take longer than five seconds."""
    await conn.execute(LIMIT_TIME)
