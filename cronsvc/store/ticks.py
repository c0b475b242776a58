"""T1 and T2 of a firing: what is due, the rows it becomes, the cursor after it, and tickets to hand out again."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row, dict_row

from cronsvc.domain.execution import Ticket
from cronsvc.domain.job import MisfirePolicy, OverlapPolicy
from cronsvc.domain.plan import DueJob, Plan, Skip
from cronsvc.domain.schedule import Schedule
from cronsvc.store.pool import Conn

# The first key of every advisory lock of ours; the second is a shard, or one of the singletons below.
LOCK_CLASS = 0x63726F6E  # "cron"
SHARDS = 64
REDISPATCH_LOCK = SHARDS
UPKEEP_LOCK = SHARDS + 1

ACTIVE = "is_active AND deleted_at IS NULL AND paused_at IS NULL AND quarantine_reason IS NULL"


@dataclass(frozen=True, slots=True)
class NextInstants:
    """Seconds from the database's now until something is to be done; None when nothing is planned, ≤ 0 when it is due."""

    fire: float | None
    dispatch: float | None
    resume: float | None


NEXT_INSTANTS = f"""
SELECT extract(epoch FROM (SELECT min(next_fire_time) FROM jobs WHERE {ACTIVE}) - clock_timestamp())::float8 AS fire,
       extract(epoch FROM (SELECT min(dispatch_at) FROM job_executions WHERE status = 'QUEUED') - clock_timestamp())::float8 AS dispatch,
       extract(epoch FROM (SELECT min(paused_until) FROM jobs WHERE paused_until IS NOT NULL) - clock_timestamp())::float8 AS resume
"""


async def next_instants(conn: Conn) -> NextInstants:
    """How long the scheduler may sleep; three index look-ups."""
    async with conn.cursor(row_factory=class_row(NextInstants)) as cursor:
        found = await (await cursor.execute(NEXT_INSTANTS)).fetchone()
    assert found is not None
    return found


DUE_SHARDS = f"""
SELECT shard, count(*)::int
  FROM (SELECT shard FROM jobs
         WHERE next_fire_time <= coalesce(%(now)s::timestamptz, clock_timestamp()) AND {ACTIVE}
         ORDER BY next_fire_time LIMIT %(sample)s) AS due
 GROUP BY shard
"""


async def due_shards(conn: Conn, *, sample: int, now: datetime | None = None) -> dict[int, int]:
    """Which shards have due jobs, and how many among the `sample` that are due longest."""
    rows = await (await conn.execute(DUE_SHARDS, {"now": now, "sample": sample})).fetchall()
    return dict(rows)


LOCK_SHARDS = """
SELECT shard FROM unnest(%(shards)s::int[]) AS wanted(shard) WHERE pg_try_advisory_xact_lock(%(class)s::int, shard)
"""


async def lock_shards(conn: Conn, shards: Sequence[int]) -> list[int]:
    """Take these shards for the transaction; the ones another replica holds are left out."""
    rows = await (await conn.execute(LOCK_SHARDS, {"class": LOCK_CLASS, "shards": list(shards)})).fetchall()
    return [shard for (shard,) in rows]


TRY_LOCK = "SELECT pg_try_advisory_xact_lock(%(class)s::int, %(key)s::int)"


async def try_lock(conn: Conn, key: int) -> bool:
    """Take one of the singleton locks for the transaction; False if another replica is at it."""
    row = await (await conn.execute(TRY_LOCK, {"class": LOCK_CLASS, "key": key})).fetchone()
    return row is not None and bool(row[0])


DUE_COLUMNS = """
       id, revision, cron_expression, every_seconds, run_at, timezone, anchor, start_at, end_at, next_fire_time AS cursor,
       armed_revision = revision AS armed, last_fire_time, fire_count, max_runs, jitter_seconds, misfire_policy,
       misfire_grace_seconds, misfire_cap, overlap_policy, queue, priority, max_attempts
"""

DUE_JOBS = f"""
SELECT {DUE_COLUMNS}, coalesce(%(now)s::timestamptz, clock_timestamp()) AS now
  FROM jobs
 WHERE next_fire_time <= coalesce(%(now)s::timestamptz, clock_timestamp()) AND {ACTIVE}
   AND shard = ANY (%(shards)s::smallint[])
 ORDER BY next_fire_time
 LIMIT %(batch)s
   FOR NO KEY UPDATE SKIP LOCKED
"""


async def due_jobs(
    conn: Conn, *, shards: Sequence[int], batch: int, now: datetime | None = None
) -> tuple[list[DueJob], datetime | None]:
    """Lock the jobs of these shards that are due, longest due first, with the database's now they were judged by."""
    async with conn.cursor(row_factory=dict_row, binary=True) as cursor:
        await cursor.execute(DUE_JOBS, {"now": now, "shards": list(shards), "batch": batch})
        rows = await cursor.fetchall()
    return [_due_job(row) for row in rows], rows[-1]["now"] if rows else None


LOCK_JOB = f"""
SELECT {DUE_COLUMNS}, coalesce(%(now)s::timestamptz, clock_timestamp()) AS now
  FROM jobs WHERE id = %(job_id)s AND next_fire_time IS NOT NULL AND {ACTIVE} FOR NO KEY UPDATE
"""


async def lock_job(conn: Conn, job_id: int, *, now: datetime | None = None) -> tuple[DueJob, datetime] | None:
    """Lock one job for planning; None when it is held, gone or has no instant ahead."""
    async with conn.cursor(row_factory=dict_row, binary=True) as cursor:
        row = await (await cursor.execute(LOCK_JOB, {"job_id": job_id, "now": now})).fetchone()
    return None if row is None else (_due_job(row), row["now"])


def _due_job(row: dict[str, object]) -> DueJob:
    schedule = Schedule(
        cron_expression=row["cron_expression"],  # type: ignore[arg-type]  # rows are typed by the table, not by Python
        every_seconds=row["every_seconds"],  # type: ignore[arg-type]
        run_at=row["run_at"],  # type: ignore[arg-type]
        timezone=row["timezone"],  # type: ignore[arg-type]
        anchor=row["anchor"],  # type: ignore[arg-type]
        start_at=row["start_at"],  # type: ignore[arg-type]
        end_at=row["end_at"],  # type: ignore[arg-type]
    )
    fields = ("id", "revision", "cursor", "armed", "last_fire_time", "fire_count", "max_runs", "jitter_seconds")
    more = ("misfire_grace_seconds", "misfire_cap", "queue", "priority", "max_attempts")
    return DueJob(
        schedule=schedule,
        misfire_policy=MisfirePolicy(row["misfire_policy"]),
        overlap_policy=_overlap(row["overlap_policy"]),
        **{name: row[name] for name in fields + more},  # type: ignore[arg-type]
    )


def _overlap(word: object) -> OverlapPolicy:
    # The table knows policies that this release does not run yet; a row written by a later release must not stop a tick.
    return OverlapPolicy.SKIP if word == OverlapPolicy.SKIP else OverlapPolicy.ALLOW


UNFINISHED = """
SELECT DISTINCT job_id FROM job_executions WHERE status IN ('QUEUED', 'RUNNING') AND job_id = ANY (%(job_ids)s::bigint[])
"""


async def unfinished_jobs(conn: Conn, job_ids: Collection[int]) -> set[int]:
    """Which of these jobs have an execution that is QUEUED or RUNNING."""
    if not job_ids:
        return set()
    rows = await (await conn.execute(UNFINISHED, {"job_ids": list(job_ids)})).fetchall()
    return {job_id for (job_id,) in rows}


RECORD = """
INSERT INTO job_executions (job_id, scheduled_time, trigger, status, status_reason, revision, queue, priority, max_attempts,
       ready_at, dispatch_at, dispatches, previous_time, skipped_until, skipped_count, end_time)
SELECT j.id, t.scheduled_time, 'schedule', CASE WHEN t.reason IS NULL THEN 'QUEUED' ELSE 'SKIPPED' END, t.reason,
       j.revision, j.queue, j.priority, j.max_attempts,
       CASE WHEN t.delay > 0 THEN t.scheduled_time + make_interval(secs => t.delay) ELSE clock_timestamp() END,
       CASE WHEN t.reason IS NOT NULL THEN NULL
            WHEN t.delay > 0 THEN t.scheduled_time + make_interval(secs => t.delay)
            ELSE clock_timestamp() + %(redispatch)s::interval END,
       CASE WHEN t.reason IS NULL AND t.delay = 0 THEN 1 ELSE 0 END,
       t.previous_time, t.skipped_until, t.skipped_count,
       CASE WHEN t.reason IS NOT NULL THEN clock_timestamp() END
  FROM unnest(%(job_id)s::bigint[], %(scheduled_time)s::timestamptz[], %(reason)s::text[], %(delay)s::float8[],
              %(previous_time)s::timestamptz[], %(skipped_until)s::timestamptz[], %(skipped_count)s::bigint[])
    AS t(job_id, scheduled_time, reason, delay, previous_time, skipped_until, skipped_count)
  JOIN jobs j ON j.id = t.job_id
    ON CONFLICT (job_id, scheduled_time) DO NOTHING
RETURNING id, job_id, scheduled_time, queue, priority, dispatches
"""


async def record(conn: Conn, planned: Sequence[tuple[DueJob, Plan]], *, redispatch: timedelta) -> list[Ticket]:
    """Write a row for each planned instant; returns the tickets to push now.

    An instant that already has a row is left alone: the unique key is the truth. Firings that jitter holds back are
    written but not returned; their `dispatch_at` brings them.
    """
    rows = [(job.id, row) for job, plan in planned for row in plan.rows]
    if not rows:
        return []
    parameters = {
        "redispatch": redispatch,
        "job_id": [job_id for job_id, _ in rows],
        "scheduled_time": [row.scheduled_time for _, row in rows],
        "reason": [row.reason.value if isinstance(row, Skip) else None for _, row in rows],
        "delay": [0.0 if isinstance(row, Skip) else row.delay.total_seconds() for _, row in rows],
        "previous_time": [row.previous for _, row in rows],
        "skipped_until": [row.until if isinstance(row, Skip) else None for _, row in rows],
        "skipped_count": [row.count if isinstance(row, Skip) else None for _, row in rows],
    }
    inserted = await (await conn.execute(RECORD, parameters)).fetchall()
    return [
        Ticket(id_, job_id, scheduled_time, 0, queue, priority)
        for id_, job_id, scheduled_time, queue, priority, dispatches in inserted
        if dispatches
    ]


ADVANCE = """
UPDATE jobs AS j
   SET next_fire_time = t.next_fire_time,
       last_fire_time = greatest(j.last_fire_time, t.last_fire_time),
       fire_count = j.fire_count + t.fires,
       armed_revision = j.revision,
       tzdata_version = %(tzdata_version)s
  FROM unnest(%(job_id)s::bigint[], %(revision)s::int[], %(next_fire_time)s::timestamptz[], %(last_fire_time)s::timestamptz[], %(fires)s::int[])
    AS t(job_id, revision, next_fire_time, last_fire_time, fires)
 WHERE j.id = t.job_id AND j.revision = t.revision
"""


async def advance(conn: Conn, planned: Sequence[tuple[DueJob, Plan]], *, tzdata_version: str) -> None:
    """Move the cursors past what was recorded, in the same transaction; `last_fire_time` never goes back."""
    await conn.execute(
        ADVANCE,
        {
            "tzdata_version": tzdata_version,
            "job_id": [job.id for job, _ in planned],
            "revision": [job.revision for job, _ in planned],
            "next_fire_time": [plan.next_fire_time for _, plan in planned],
            "last_fire_time": [plan.last_fire_time for _, plan in planned],
            "fires": [plan.fires for _, plan in planned],
        },
    )


QUARANTINE = """
UPDATE jobs SET quarantine_reason = %(reason)s WHERE id = %(job_id)s AND quarantine_reason IS NULL
"""


async def quarantine(conn: Conn, job_id: int, reason: str) -> None:
    """Set a job aside that cannot be planned; an edit of its schedule brings it back."""
    await conn.execute(QUARANTINE, {"job_id": job_id, "reason": reason})


WAITING = """
SELECT job_id, scheduled_time FROM job_executions
 WHERE status = 'QUEUED' AND dispatch_at <= coalesce(%(now)s::timestamptz, clock_timestamp())
 ORDER BY dispatch_at LIMIT %(batch)s
"""

REDISPATCH = """
UPDATE job_executions AS e
   SET dispatches = least(e.dispatches + 1, 1000)::smallint,
       dispatch_at = clock_timestamp() + least(%(redispatch)s::interval * power(2, least(e.dispatches, 8)), interval '60 seconds')
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s
   AND e.status = 'QUEUED' AND e.dispatch_at <= coalesce(%(now)s::timestamptz, clock_timestamp())
RETURNING e.id, e.job_id, e.scheduled_time, e.claim_no, e.queue, e.priority
"""


async def redispatch(conn: Conn, *, batch: int, redispatch: timedelta, now: datetime | None = None) -> list[Ticket]:
    """Take up to `batch` waiting executions whose dispatch is due and say when to look at them again.

    The pause between two dispatches of one row doubles up to a minute, so that a long backlog is not pushed over and
    over; Redis refuses the ticket that still waits there.
    """
    waiting = await (await conn.execute(WAITING, {"batch": batch, "now": now})).fetchall()
    if not waiting:
        return []
    waiting.sort()
    times = [scheduled_time for _, scheduled_time in waiting]
    rows = await (
        await conn.execute(
            REDISPATCH,
            {
                "job_ids": [job_id for job_id, _ in waiting],
                "times": times,
                "least": min(times),
                "greatest": max(times),
                "redispatch": redispatch,
                "now": now,
            },
        )
    ).fetchall()
    return [Ticket(*row) for row in rows]


CALL_IN = """
UPDATE job_executions AS e SET dispatch_at = clock_timestamp(), dispatches = 0
 WHERE (e.job_id, e.scheduled_time) IN (
       SELECT job_id, scheduled_time FROM job_executions
        WHERE status = 'QUEUED' AND dispatches > 0 AND dispatch_at > clock_timestamp() LIMIT %(batch)s)
   AND e.status = 'QUEUED'
"""


async def call_in(conn: Conn, *, batch: int) -> int:
    """Redis lost its tickets: make up to `batch` pushed rows due for dispatch now. Backoff and jitter stay as they are."""
    return (await conn.execute(CALL_IN, {"batch": batch})).rowcount


RESUMABLE = """
SELECT id FROM jobs WHERE paused_until <= coalesce(%(now)s::timestamptz, clock_timestamp()) ORDER BY paused_until LIMIT %(batch)s
"""


async def resumable(conn: Conn, *, batch: int, now: datetime | None = None) -> list[int]:
    """Jobs whose pause has ended by itself."""
    rows = await (await conn.execute(RESUMABLE, {"batch": batch, "now": now})).fetchall()
    return [job_id for (job_id,) in rows]


STALE_ZONES = f"""
SELECT {DUE_COLUMNS}, clock_timestamp() AS now
  FROM jobs
 WHERE cron_expression IS NOT NULL AND deleted_at IS NULL AND armed_revision = revision AND id > %(after_id)s
   AND next_fire_time > clock_timestamp() AND tzdata_version IS DISTINCT FROM %(tzdata_version)s
 ORDER BY id LIMIT %(batch)s FOR NO KEY UPDATE
"""


async def stale_zones(
    conn: Conn, *, tzdata_version: str, after_id: int, batch: int
) -> tuple[list[DueJob], datetime | None]:
    """Jobs whose cursor was computed with other time zone data, by id."""
    async with conn.cursor(row_factory=dict_row, binary=True) as cursor:
        await cursor.execute(STALE_ZONES, {"tzdata_version": tzdata_version, "after_id": after_id, "batch": batch})
        rows = await cursor.fetchall()
    return [_due_job(row) for row in rows], rows[-1]["now"] if rows else None
