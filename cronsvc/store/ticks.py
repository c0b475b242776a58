"""T1 of a firing: what is due, the rows it becomes, and the cursor after it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import sql
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from cronsvc.domain.execution import Ticket
from cronsvc.domain.job import MisfirePolicy, OverlapPolicy
from cronsvc.domain.plan import DueJob, Firing, Plan, Skip, Unfinished
from cronsvc.store.advisory import LOCK_CLASS, SHARDS
from cronsvc.store.pool import Conn
from cronsvc.store.rows import schedule_from_row

NO_LEAD = timedelta(0)

ACTIVE = sql.SQL("is_active AND deleted_at IS NULL AND paused_at IS NULL AND quarantine_reason IS NULL")


@dataclass(frozen=True, slots=True)
class NextInstants:
    """Seconds from the database's now until something is to be done; ≤ 0 when it is due, None when nothing is.

    `held`: some executions wait for others to end. `release`: a maintenance window lets one go. `ended`: some have
    ended that dependent jobs, parents or children wait for. `fenced`: the rest may not be acted on.
    """

    fire: float | None
    dispatch: float | None
    resume: float | None
    release: float | None
    held: bool
    ended: bool = False
    fenced: bool = False


NEXT_INSTANTS = sql.SQL("""
SELECT extract(epoch FROM fire - clock_timestamp())::float8 AS fire,
       extract(epoch FROM dispatch - clock_timestamp())::float8 AS dispatch,
       extract(epoch FROM resume - clock_timestamp())::float8 AS resume,
       extract(epoch FROM release - clock_timestamp())::float8 AS release,
       EXISTS (SELECT FROM job_executions WHERE held = 'overlap' OR held = 'limit') AS held,
       EXISTS (SELECT FROM execution_ends) AS ended, cronsvc_fenced() AS fenced
  FROM (SELECT min(next_fire_time) AS fire FROM jobs WHERE {active}) AS fires,
       (SELECT min(dispatch_at) AS dispatch FROM job_executions WHERE status = 'QUEUED') AS dispatches,
       (SELECT min(paused_until) AS resume FROM jobs WHERE paused_until IS NOT NULL) AS pauses,
       (SELECT min(ready_at) AS release FROM job_executions
         WHERE status = 'QUEUED' AND held = 'maintenance') AS windows
""").format(active=ACTIVE)


async def next_instants(conn: Conn) -> NextInstants:
    """How long the scheduler may sleep; three index look-ups."""
    async with conn.cursor(row_factory=class_row(NextInstants)) as cursor:
        found = await (await cursor.execute(NEXT_INSTANTS)).fetchone()
    assert found is not None
    return found


DUE_COLUMNS = sql.SQL("""
       id, revision, cron_expression, every_seconds, run_at, timezone, anchor, start_at, end_at,
       next_fire_time AS cursor, armed_revision = revision AS armed, last_fire_time, fire_count, max_runs,
       jitter_seconds, misfire_policy, misfire_grace_seconds, misfire_cap, overlap_policy, queue, priority,
       max_attempts, namespace, tags, calendar, calendar_rule
""")

# A clock that stands in a WHERE itself is asked for each row and no index is used; `(SELECT …)` is asked once.
TAKE_DUE = sql.SQL("""
WITH judged AS MATERIALIZED (
    SELECT coalesce(%(now)s::timestamptz, clock_timestamp() + %(lead)s::interval) AS now
), due AS (
    SELECT shard FROM jobs
     WHERE next_fire_time <= (SELECT now FROM judged) AND {active} AND NOT (SELECT cronsvc_fenced())
     ORDER BY next_fire_time LIMIT 4 * %(batch)s
), ranked AS (
    SELECT shard, sum(jobs) OVER (ORDER BY (shard + %(rotation)s) %% {shards}) - jobs AS jobs_before
      FROM (SELECT shard, count(*) AS jobs FROM due GROUP BY shard) AS counted
), taken AS MATERIALIZED (
    SELECT shard FROM ranked
     WHERE jobs_before < %(batch)s AND (NOT %(locks)s OR pg_try_advisory_xact_lock(%(class)s::int, shard::int))
)
SELECT {columns}, (SELECT now FROM judged) AS now
  FROM jobs
 WHERE next_fire_time <= (SELECT now FROM judged) AND {active}
   AND shard IN (SELECT shard FROM taken)
 ORDER BY next_fire_time
 LIMIT %(batch)s
   FOR NO KEY UPDATE OF jobs SKIP LOCKED
""").format(columns=DUE_COLUMNS, active=ACTIVE, shards=sql.Literal(SHARDS))


async def take_due(
    conn: Conn, *, batch: int, rotation: int, locks: bool, lead: timedelta = NO_LEAD, now: datetime | None = None
) -> tuple[list[DueJob], datetime | None]:
    """Lock up to `batch` jobs that are due, or will be within `lead`, and say at which instant they were judged.

    Shards are taken from `rotation` on, as many as fill the batch: in a herd the rest is left to other replicas, whose
    shards are passed over. With `locks` off only the row locks keep replicas apart; what each writes is the same. A job
    that another replica moved on between this statement's snapshot and its lock is looked at again and left out.
    """
    async with conn.cursor(row_factory=dict_row, binary=True) as cursor:
        await cursor.execute(
            TAKE_DUE,
            {"now": now, "lead": lead, "batch": batch, "rotation": rotation, "locks": locks, "class": LOCK_CLASS},
        )
        rows = await cursor.fetchall()
    return [due_job(row) for row in rows], _utc(rows[-1]["now"]) if rows else None


AWAIT_INSTANT = "SELECT pg_sleep(extract(epoch FROM %(instant)s::timestamptz - clock_timestamp()))"


async def await_instant(conn: Conn, instant: datetime) -> None:
    """Return once the database's clock has reached `instant`; at once when it has."""
    await conn.execute(AWAIT_INSTANT, {"instant": instant})


LOCK_JOB = sql.SQL("""
SELECT {columns}, coalesce(%(now)s::timestamptz, clock_timestamp()) AS now
  FROM jobs WHERE id = %(job_id)s AND next_fire_time IS NOT NULL AND {active} FOR NO KEY UPDATE
""").format(columns=DUE_COLUMNS, active=ACTIVE)


async def lock_job(conn: Conn, job_id: int, *, now: datetime | None = None) -> tuple[DueJob, datetime] | None:
    """Lock one job for planning; None when it is held, gone or has no instant ahead."""
    async with conn.cursor(row_factory=dict_row, binary=True) as cursor:
        row = await (await cursor.execute(LOCK_JOB, {"job_id": job_id, "now": now})).fetchone()
    return None if row is None else (due_job(row), _utc(row["now"]))


def _utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def due_job(row: dict[str, Any]) -> DueJob:
    """Read a row of DUE_COLUMNS; raises ValueError for a word that means nothing."""
    # Behind a pooler sessions may speak another zone, and Python does sums within one zone by the wall.
    row = {name: _utc(value) for name, value in row.items()}
    fields = ("id", "revision", "cursor", "armed", "last_fire_time", "fire_count", "max_runs", "jitter_seconds")
    more = ("misfire_grace_seconds", "misfire_cap", "queue", "priority", "max_attempts", "namespace")
    return DueJob(
        tags=tuple(row["tags"]),
        schedule=schedule_from_row(row),
        misfire_policy=MisfirePolicy(row["misfire_policy"]),
        overlap_policy=OverlapPolicy(row["overlap_policy"]),
        **{name: row[name] for name in fields + more},
    )


HOLD_UNFINISHED = """
SELECT FROM job_executions
 WHERE (status = 'QUEUED' OR status = 'RUNNING') AND job_id = ANY (%(job_ids)s::bigint[])
 ORDER BY job_id, scheduled_time FOR UPDATE
"""


async def hold_unfinished(conn: Conn, job_ids: Collection[int]) -> None:
    """Keep what these jobs have QUEUED or RUNNING as it is until the transaction ends: claims and finishes wait.

    For runs that take the place of others: who is to be replaced must not begin, or wait again, in between.
    """
    if job_ids:
        await conn.execute(HOLD_UNFINISHED, {"job_ids": list(job_ids)})


UNFINISHED = """
SELECT job_id, bool_or(status = 'RUNNING'),
       bool_or(status = 'QUEUED' AND (held IS NULL OR held NOT IN ('overlap', 'maintenance'))),
       bool_or(status = 'QUEUED' AND held IN ('overlap', 'maintenance'))
  FROM job_executions
 WHERE (status = 'QUEUED' OR status = 'RUNNING') AND job_id = ANY (%(job_ids)s::bigint[])
 GROUP BY job_id
"""


async def unfinished_jobs(conn: Conn, job_ids: Collection[int]) -> dict[int, Unfinished]:
    """What these jobs have QUEUED or RUNNING; a job that has nothing is missing."""
    if not job_ids:
        return {}
    rows = await (await conn.execute(UNFINISHED, {"job_ids": list(job_ids)})).fetchall()
    return {job_id: Unfinished(running, queued, held) for job_id, running, queued, held in rows}


RECORD = """
INSERT INTO job_executions (job_id, scheduled_time, trigger, status, status_reason, revision, queue, priority,
       max_attempts, created_at, ready_at, dispatch_at, dispatches, previous_time, skipped_until, skipped_count,
       end_time, deadline_at, held, window_id, log_details)
SELECT j.id, t.scheduled_time, 'schedule', CASE WHEN t.reason IS NULL THEN 'QUEUED' ELSE 'SKIPPED' END, t.reason,
       j.revision, j.queue, j.priority, j.max_attempts, greatest(clock_timestamp(), t.scheduled_time),
       coalesce(t.release_at,
                greatest(clock_timestamp(), t.scheduled_time + make_interval(secs => coalesce(t.delay, 0)))),
       CASE WHEN t.reason IS NOT NULL OR t.delay IS NULL THEN NULL
            WHEN t.delay > 0 THEN t.scheduled_time + make_interval(secs => t.delay)
            ELSE clock_timestamp() + %(redispatch)s::interval END,
       CASE WHEN t.reason IS NULL AND t.delay = 0 THEN 1 ELSE 0 END,
       t.previous_time, t.skipped_until, t.skipped_count,
       CASE WHEN t.reason IS NOT NULL THEN clock_timestamp() END,
       CASE WHEN t.reason IS NULL AND t.delay IS NOT NULL
            THEN greatest(clock_timestamp(), t.scheduled_time + make_interval(secs => t.delay))
                 + make_interval(secs => j.deadline_seconds) END,
       CASE WHEN t.release_at IS NOT NULL THEN 'maintenance'
            WHEN t.reason IS NULL AND t.delay IS NULL THEN 'overlap' END,
       t.window_id, t.detail
  FROM unnest(%(job_id)s::bigint[], %(scheduled_time)s::timestamptz[], %(reason)s::text[], %(delay)s::float8[],
              %(previous_time)s::timestamptz[], %(skipped_until)s::timestamptz[], %(skipped_count)s::bigint[],
              %(release_at)s::timestamptz[], %(window_id)s::bigint[], %(detail)s::jsonb[])
    AS t(job_id, scheduled_time, reason, delay, previous_time, skipped_until, skipped_count, release_at, window_id,
         detail)
  JOIN jobs j ON j.id = t.job_id
    ON CONFLICT (job_id, scheduled_time) DO NOTHING
RETURNING id, job_id, scheduled_time, queue, priority, dispatches
"""


async def record(conn: Conn, planned: Sequence[tuple[DueJob, Plan]], *, redispatch: timedelta) -> list[Ticket]:
    """Write a row for each planned instant; returns the tickets to push now.

    An instant that already has a row is left alone: the unique key is the truth. Firings that jitter holds back are
    written but not returned, their `dispatch_at` brings them; nor are those that overlap or a window holds.
    """
    rows = [(job.id, row) for job, plan in planned for row in plan.rows]
    if not rows:
        return []
    parameters = {
        "redispatch": redispatch,
        "job_id": [job_id for job_id, _ in rows],
        "scheduled_time": [row.scheduled_time for _, row in rows],
        "reason": [row.reason.value if isinstance(row, Skip) else None for _, row in rows],
        "delay": [_delay(row) for _, row in rows],
        "previous_time": [row.previous for _, row in rows],
        "skipped_until": [row.until if isinstance(row, Skip) else None for _, row in rows],
        "skipped_count": [row.count if isinstance(row, Skip) else None for _, row in rows],
        "release_at": [None if isinstance(row, Skip) else row.release_at for _, row in rows],
        "window_id": [row.window for _, row in rows],
        "detail": [_detail(row) for _, row in rows],
    }
    inserted = await (await conn.execute(RECORD, parameters)).fetchall()
    return [
        Ticket(id_, job_id, scheduled_time, 0, queue, priority)
        for id_, job_id, scheduled_time, queue, priority, dispatches in inserted
        if dispatches
    ]


def _delay(row: Firing | Skip) -> float | None:
    """Seconds to hold a ticket back; None for a run that waits for something else than time."""
    if isinstance(row, Skip):
        return 0.0
    return None if row.held or row.window is not None else row.delay.total_seconds()


def _detail(row: Firing | Skip) -> Jsonb | None:
    """What a SKIPPED row says of its calendar or window; where the calendar moved it, if it did."""
    if isinstance(row, Firing) or row.detail is None:
        return None
    moved = {} if row.moved_to is None else {"movedTo": row.moved_to.isoformat().replace("+00:00", "Z")}
    return Jsonb({**row.detail, **moved})


RECORDED = """
SELECT t.job_id, t.scheduled_time
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
 WHERE EXISTS (SELECT FROM job_executions AS e WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time)
    OR (SELECT e.skipped_until >= t.scheduled_time FROM job_executions AS e
         WHERE e.job_id = t.job_id AND e.scheduled_time < t.scheduled_time AND e.trigger = 'schedule'
         ORDER BY e.scheduled_time DESC LIMIT 1)
"""


async def recorded(conn: Conn, instants: Sequence[tuple[int, datetime]]) -> set[tuple[int, datetime]]:
    """Which of these (job, instant) the ledger accounts for."""
    parameters = {"job_ids": [job_id for job_id, _ in instants], "times": [instant for _, instant in instants]}
    rows = await (await conn.execute(RECORDED, parameters)).fetchall()
    return {(job_id, instant) for job_id, instant in rows}


ADVANCE = """
UPDATE jobs AS j
   SET next_fire_time = t.next_fire_time,
       last_fire_time = greatest(j.last_fire_time, t.last_fire_time),
       fire_count = j.fire_count + t.fires,
       armed_revision = j.revision,
       tzdata_version = %(tzdata_version)s
  FROM unnest(%(job_id)s::bigint[], %(revision)s::int[], %(next_fire_time)s::timestamptz[],
              %(last_fire_time)s::timestamptz[], %(fires)s::int[])
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


RESUMABLE = """
SELECT id FROM jobs
 WHERE paused_until <= (SELECT coalesce(%(now)s::timestamptz, clock_timestamp()))
 ORDER BY paused_until LIMIT %(batch)s
"""


async def resumable(conn: Conn, *, batch: int, now: datetime | None = None) -> list[int]:
    """Jobs whose pause has ended by itself."""
    rows = await (await conn.execute(RESUMABLE, {"batch": batch, "now": now})).fetchall()
    return [job_id for (job_id,) in rows]


# The clock is asked once: an instant between two askings would be lost.
STALE_ZONES = sql.SQL("""
SELECT {columns}, clock.now
  FROM jobs, (SELECT clock_timestamp() AS now OFFSET 0) AS clock
 WHERE (cron_expression IS NOT NULL OR calendar IS NOT NULL) AND deleted_at IS NULL AND armed_revision = revision
   AND id > %(after_id)s
   AND next_fire_time > clock.now AND tzdata_version IS DISTINCT FROM %(tzdata_version)s
 ORDER BY id LIMIT %(batch)s FOR NO KEY UPDATE OF jobs
""").format(columns=DUE_COLUMNS)


async def stale_zones(
    conn: Conn, *, tzdata_version: str, after_id: int, batch: int
) -> tuple[list[DueJob], datetime | None]:
    """Jobs whose cursor was computed with other time zone data, by id."""
    async with conn.cursor(row_factory=dict_row, binary=True) as cursor:
        await cursor.execute(STALE_ZONES, {"tzdata_version": tzdata_version, "after_id": after_id, "batch": batch})
        rows = await cursor.fetchall()
    return [due_job(row) for row in rows], _utc(rows[-1]["now"]) if rows else None
