"""Statements that delete rows of executions: which ones may go, and how they go.

A row that goes is added to `job_statistics` by the statement that deletes it, so that it is counted exactly once
whatever crashes; its attempts go with it. Only ended rows go, and never the one at the job's `last_fire_time`, which
the next one will name as the one before it. Rows that stay are chained past those that went, or cronsvc_v1.gaps would
miss them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from psycopg import sql

from cronsvc.domain.job import DEFAULT_DAYS
from cronsvc.store.pool import Conn
from cronsvc.store.spans import by_key

Key = tuple[int, datetime]

LOCK = "SELECT pg_advisory_xact_lock(hashtext('cronsvc'), hashtext('history'))"


async def lock(conn: Conn) -> None:
    """One transaction at a time deletes rows or partitions; the others wait, at most the session's lock_timeout."""
    await conn.execute(LOCK)


# Written so that the index jobs_history_bounded has exactly these jobs.
BOUNDED = sql.SQL(
    "((j.retention ->> 'keepCompleted') IS NOT NULL OR (j.retention ->> 'keepFailed') IS NOT NULL"
    " OR (j.retention ->> 'days') IS DISTINCT FROM {days})"
).format(days=sql.Literal(str(DEFAULT_DAYS)))

# `x` is the execution, `b` has the job's last_fire_time. The children of an unfinished parent tell it what is done.
MAY_GO = sql.SQL(
    "x.status IN ('SUCCESS', 'FAILED', 'SKIPPED', 'CANCELLED')"
    " AND (coalesce(x.skipped_until, x.scheduled_time) < b.last_fire_time"
    " OR (x.trigger <> 'schedule' AND x.scheduled_time IS DISTINCT FROM b.last_fire_time))"
    " AND (x.parent_id IS NULL OR NOT EXISTS (SELECT FROM job_executions AS p"
    " WHERE p.job_id = x.parent_job_id AND p.scheduled_time = x.parent_time AND p.status IN ('QUEUED', 'RUNNING')))"
)


@dataclass(frozen=True, slots=True)
class Surplus:
    """Rows that a few jobs no longer keep. `last_id` is the last of these jobs, None when there was none."""

    keys: list[Key]
    last_id: int | None


# A retention written by SQL may hold anything: what is no number is no limit.
SURPLUS = sql.SQL("""
WITH b AS MATERIALIZED (
    SELECT j.id, j.last_fire_time,
           CASE jsonb_typeof(j.retention -> 'keepCompleted') WHEN 'number'
                THEN least(greatest((j.retention ->> 'keepCompleted')::numeric, 0), 2147483647)::bigint
           END AS completed,
           CASE jsonb_typeof(j.retention -> 'keepFailed') WHEN 'number'
                THEN least(greatest((j.retention ->> 'keepFailed')::numeric, 0), 2147483647)::bigint
           END AS failed,
           CASE WHEN jsonb_typeof(j.retention -> 'days') = 'number' AND j.retention ->> 'days' <> {default_days}
                THEN coalesce(%(now)s::timestamptz, clock_timestamp())
                   - make_interval(days => least(greatest((j.retention ->> 'days')::numeric, 1), 36600)::int)
           END AS since
      FROM jobs AS j
     WHERE {bounded} AND j.id > %(after_id)s::bigint
     ORDER BY j.id LIMIT %(jobs)s::integer
), edges AS MATERIALIZED (
    SELECT b.*,
           (SELECT e.scheduled_time FROM job_executions AS e
             WHERE b.completed IS NOT NULL AND e.job_id = b.id AND e.status = 'SUCCESS'
             ORDER BY e.scheduled_time DESC OFFSET b.completed LIMIT 1) AS completed_edge,
           (SELECT e.scheduled_time FROM job_executions AS e
             WHERE b.failed IS NOT NULL AND e.job_id = b.id AND e.status = 'FAILED'
             ORDER BY e.scheduled_time DESC OFFSET b.failed LIMIT 1) AS failed_edge
      FROM b
), surplus AS (
    SELECT x.job_id, x.scheduled_time
      FROM edges AS b
     CROSS JOIN LATERAL (
           SELECT x.job_id, x.scheduled_time FROM job_executions AS x
            WHERE x.job_id = b.id AND x.scheduled_time <= greatest(b.completed_edge, b.failed_edge, b.since)
              AND {may_go}
              AND ((x.status = 'SUCCESS' AND x.scheduled_time <= b.completed_edge)
                   OR (x.status = 'FAILED' AND x.scheduled_time <= b.failed_edge)
                   OR (x.scheduled_time < b.since AND coalesce(x.end_time, x.created_at) < b.since))
            ORDER BY x.scheduled_time LIMIT %(rows)s::integer) AS x
     LIMIT %(rows)s::integer
)
SELECT (SELECT max(id) FROM b), coalesce(array_agg(s.job_id), '{{}}'), coalesce(array_agg(s.scheduled_time), '{{}}')
  FROM surplus AS s
""").format(bounded=BOUNDED, may_go=MAY_GO, default_days=sql.Literal(str(DEFAULT_DAYS)))


async def surplus(conn: Conn, *, after_id: int, jobs: int, rows: int, now: datetime | None = None) -> Surplus:
    """Up to `rows` executions beyond what the next `jobs` jobs above `after_id` keep, deleted jobs too.

    Their own number of days, if it is not everybody's, and the newest so many successes and failures.
    """
    parameters = {"after_id": after_id, "jobs": jobs, "rows": rows, "now": now}
    found = await (await conn.execute(SURPLUS, parameters)).fetchone()
    assert found is not None
    last_id, job_ids, times = found
    return Surplus(list(zip(job_ids, times, strict=True)), last_id)


# No order: the partitions are read oldest first, and any of their rows will do.
ENDED_BEFORE = sql.SQL("""
SELECT x.job_id, x.scheduled_time
  FROM job_executions AS x JOIN jobs AS b ON b.id = x.job_id
 WHERE x.scheduled_time < %(before)s::timestamptz AND coalesce(x.end_time, x.created_at) < %(before)s::timestamptz
   AND {may_go} AND {namespaces}
 LIMIT %(rows)s::integer
""")


async def ended_before(conn: Conn, before: datetime, *, namespaces: Sequence[str] | None, rows: int) -> list[Key]:
    """Up to `rows` executions of these namespaces (None: all) that were due and had ended before an instant."""
    narrowed = sql.SQL("true" if namespaces is None else "b.namespace = ANY (%(namespaces)s::text[])")
    statement = ENDED_BEFORE.format(may_go=MAY_GO, namespaces=narrowed)
    parameters = {"before": before, "rows": rows, "namespaces": None if namespaces is None else list(namespaces)}
    return [(job_id, time) for job_id, time in await (await conn.execute(statement, parameters)).fetchall()]


# One row of statistics for each job, day and trigger among the executions `x`.
TALLY = sql.SQL("""
SELECT x.job_id, (x.scheduled_time AT TIME ZONE 'UTC')::date AS day, x.trigger,
       count(*) FILTER (WHERE x.status = 'SUCCESS') AS success, count(*) FILTER (WHERE x.status = 'FAILED') AS failed,
       count(*) FILTER (WHERE x.status = 'SKIPPED') AS skipped,
       count(*) FILTER (WHERE x.status = 'CANCELLED') AS cancelled,
       sum(x.attempt) AS attempts, coalesce(sum(d.ms), 0) AS duration_ms_sum, min(d.ms) AS duration_ms_min,
       max(d.ms) AS duration_ms_max, min(x.scheduled_time) AS first_time,
       max(coalesce(x.skipped_until, x.scheduled_time)) AS last_time
  FROM {executions} AS x
 CROSS JOIN LATERAL (SELECT CASE WHEN x.status = 'SUCCESS'
                                 THEN (extract(epoch FROM x.end_time - x.start_time) * 1000)::bigint END AS ms) AS d
 GROUP BY x.job_id, day, x.trigger
""")

# In the order of the key, so that nobody who adds to the same rows waits in a circle.
KEEP = sql.SQL("""
INSERT INTO job_statistics AS s (job_id, day, trigger, success, failed, skipped, cancelled, attempts, duration_ms_sum,
                                 duration_ms_min, duration_ms_max, first_time, last_time)
SELECT * FROM ({tally}) AS t ORDER BY t.job_id, t.day, t.trigger
    ON CONFLICT (job_id, day, trigger) DO UPDATE
   SET success = s.success + excluded.success, failed = s.failed + excluded.failed,
       skipped = s.skipped + excluded.skipped, cancelled = s.cancelled + excluded.cancelled,
       attempts = s.attempts + excluded.attempts, duration_ms_sum = s.duration_ms_sum + excluded.duration_ms_sum,
       duration_ms_min = least(s.duration_ms_min, excluded.duration_ms_min),
       duration_ms_max = greatest(s.duration_ms_max, excluded.duration_ms_max),
       first_time = least(s.first_time, excluded.first_time), last_time = greatest(s.last_time, excluded.last_time)
""")

FORGET = sql.SQL("""
WITH t AS (
    SELECT * FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
), locked AS (
    SELECT x.job_id, x.scheduled_time
      FROM t JOIN job_executions AS x ON x.job_id = t.job_id AND x.scheduled_time = t.scheduled_time
      JOIN jobs AS b ON b.id = x.job_id
     WHERE x.scheduled_time BETWEEN %(least)s AND %(greatest)s AND {may_go}
     ORDER BY x.job_id, x.scheduled_time FOR UPDATE OF x SKIP LOCKED
), gone AS (
    DELETE FROM job_executions AS e USING locked AS l
     WHERE e.job_id = l.job_id AND e.scheduled_time = l.scheduled_time
       AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s
       AND e.status IN ('SUCCESS', 'FAILED', 'SKIPPED', 'CANCELLED')
    RETURNING e.*
), attempts AS (
    DELETE FROM job_attempts AS a USING gone AS g
     WHERE a.job_id = g.job_id AND a.scheduled_time = g.scheduled_time
       AND a.scheduled_time BETWEEN %(least)s AND %(greatest)s
), kept AS ({keep})
SELECT job_id, coalesce(skipped_until, scheduled_time), previous_time FROM gone
""").format(may_go=MAY_GO, keep=KEEP.format(tally=TALLY.format(executions=sql.SQL("gone"))))


async def forget(conn: Conn, keys: Sequence[Key]) -> int:
    """Delete those of these executions that may go, and count them in the statistics; returns how many went.

    The caller holds `lock` and commits: what is deleted, counted and chained anew is one change.
    """
    if not keys:
        return 0
    gone = await (await conn.execute(FORGET, by_key(sorted(keys)))).fetchall()
    await _chain(conn, {(job_id, end): previous for job_id, end, previous in gone})
    return len(gone)


CHAIN = """
UPDATE job_executions AS e SET previous_time = t.previous
  FROM unnest(%(job_ids)s::bigint[], %(ends)s::timestamptz[], %(previous)s::timestamptz[]) AS t(job_id, gone, previous)
 WHERE e.job_id = t.job_id AND e.previous_time = t.gone
   AND e.scheduled_time = (SELECT n.scheduled_time FROM job_executions AS n
                            WHERE n.job_id = t.job_id AND n.scheduled_time > t.gone AND n.previous_time IS NOT NULL
                            ORDER BY n.scheduled_time LIMIT 1)
"""


async def _chain(conn: Conn, gone: Mapping[Key, datetime | None]) -> None:
    """Let the row after each run of deleted ones name the row before that run.

    Only along the chain itself: a row that was lost, and not deleted here, stays missing in cronsvc_v1.gaps.
    """
    inner = {(job_id, previous) for (job_id, _), previous in gone.items()}
    links: list[tuple[int, datetime, datetime | None]] = []
    for job_id, end in sorted(gone.keys() - inner):
        previous = gone[job_id, end]
        while previous is not None and (job_id, previous) in gone:
            previous = gone[job_id, previous]
        links.append((job_id, end, previous))
    if links:
        job_ids, ends, previous_times = (list(column) for column in zip(*links, strict=True))
        await conn.execute(CHAIN, {"job_ids": job_ids, "ends": ends, "previous": previous_times})


KEEP_WEEK = KEEP.format(
    tally=TALLY.format(
        executions=sql.SQL(
            "(SELECT * FROM job_executions AS e"
            " WHERE e.scheduled_time >= %(start)s::timestamptz AND e.scheduled_time < %(end)s::timestamptz)"
        )
    )
)


async def keep_week(conn: Conn, start: datetime, end: datetime) -> None:
    """Add every execution from `start` to before `end` to the statistics, in the transaction that drops them."""
    await conn.execute(KEEP_WEEK, {"start": start, "end": end})


UNFINISHED_JOBS = """
SELECT DISTINCT e.job_id FROM job_executions AS e
 WHERE (e.status = 'QUEUED' OR e.status = 'RUNNING')
   AND e.scheduled_time >= %(start)s::timestamptz AND e.scheduled_time < %(end)s::timestamptz
 ORDER BY e.job_id LIMIT 100
"""


async def unfinished_jobs(conn: Conn, week: date) -> list[int]:
    """The jobs, a hundred at most, that have something unfinished in the week that begins on this Monday."""
    start = datetime.combine(week, time(), UTC)
    rows = await (await conn.execute(UNFINISHED_JOBS, {"start": start, "end": start + timedelta(weeks=1)})).fetchall()
    return [job_id for (job_id,) in rows]


# The whole of an older week stays with what is unfinished in it, so most jobs have rows there: one look-up for each.
# A row that was backfilled keeps its place in the ledger, which is its `previous_time`.
BRIDGE = """
WITH older AS (
    SELECT DISTINCT o.job_id FROM job_executions AS o
     WHERE o.trigger = 'schedule' AND o.scheduled_time < %(start)s::timestamptz
), across AS (
    SELECT o.job_id, f.previous_time,
           (SELECT min(n.scheduled_time) FROM job_executions AS n
             WHERE n.job_id = o.job_id AND n.previous_time IS NOT NULL AND n.scheduled_time >= %(end)s::timestamptz)
               AS next_time
      FROM older AS o CROSS JOIN LATERAL (
           SELECT e.previous_time FROM job_executions AS e
            WHERE e.job_id = o.job_id AND e.previous_time IS NOT NULL
              AND e.scheduled_time >= %(start)s::timestamptz AND e.scheduled_time < %(end)s::timestamptz
            ORDER BY e.scheduled_time LIMIT 1) AS f
), linked AS (
    UPDATE job_executions AS n SET previous_time = a.previous_time FROM across AS a
     WHERE n.job_id = a.job_id AND n.scheduled_time = a.next_time
)
SELECT count(*) = 0 FROM across WHERE next_time IS NULL
"""


async def bridge(conn: Conn, start: datetime, end: datetime) -> bool:
    """Let the ledger lead over what goes between `start` and `end` to older rows that stay; False where it cannot yet,
    because a job has no later row.
    """
    row = await (await conn.execute(BRIDGE, {"start": start, "end": end})).fetchone()
    assert row is not None
    return bool(row[0])
