"""Statements on ends that somebody waits for: taking them, the jobs they concern, and the rows they bring about.

`execution_ends` is written by whatever ends an execution, in that statement. Here a scheduler takes a batch of them,
locks the jobs that wait, in the order that edits and ticks use too, and deletes the batch in the transaction that
writes what follows from it: an end is acted on once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import sql
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from cronsvc.domain.dependencies import Cause, Ended, Verdict
from cronsvc.domain.execution import Status, Ticket
from cronsvc.domain.plan import DueJob, Firing, Skip
from cronsvc.store.pool import Conn
from cronsvc.store.ticks import DUE_COLUMNS, due_job

Key = tuple[int, datetime]
"""An execution: job id and instant."""


@dataclass(frozen=True, slots=True)
class End:
    """A row of `execution_ends`. Status RUNNING: its handler has ended and it waits for its children."""

    id: int
    execution_id: int
    job_id: int
    scheduled_time: datetime
    status: str
    status_reason: str | None
    result: Any
    children: int
    parent_job_id: int | None
    parent_time: datetime | None
    after_job_id: int  # the dependent jobs up to this one have heard of it


TAKE = """
SELECT id, execution_id, job_id, scheduled_time, status, status_reason, result, children, parent_job_id, parent_time,
       after_job_id
  FROM execution_ends ORDER BY id LIMIT %(batch)s FOR UPDATE SKIP LOCKED
"""


async def take(conn: Conn, *, batch: int) -> list[End]:
    """Up to `batch` ends, the earliest first, locked until the transaction ends."""
    async with conn.cursor(row_factory=class_row(End)) as cursor:
        return await (await cursor.execute(TAKE, {"batch": batch})).fetchall()


COUNT_DEPENDENTS = """
SELECT t.upstream_id, t.after_job_id,
       (SELECT count(*) FROM (SELECT FROM job_dependencies AS d
                               WHERE d.upstream_id = t.upstream_id AND d.job_id > t.after_job_id
                               LIMIT %(most)s + 1) AS waiting)
  FROM unnest(%(upstreams)s::bigint[], %(after)s::bigint[]) AS t(upstream_id, after_job_id)
"""


async def count_dependents(conn: Conn, places: Collection[tuple[int, int]], *, most: int) -> dict[tuple[int, int], int]:
    """How many jobs with ids above the second number wait for the first; `most` + 1 stands for any number above."""
    parameters = {"upstreams": [job for job, _ in places], "after": [after for _, after in places], "most": most}
    rows = await (await conn.execute(COUNT_DEPENDENTS, parameters)).fetchall()
    return {(upstream_id, after): count for upstream_id, after, count in rows}


async def go_on_after(conn: Conn, end: End, job_id: int) -> None:
    """Note that the dependents of this end up to this job have heard of it."""
    parameters = {"id": end.id, "job_id": job_id}
    await conn.execute("UPDATE execution_ends SET after_job_id = %(job_id)s WHERE id = %(id)s", parameters)


async def children_have_heard(conn: Conn, ends: Sequence[End]) -> None:
    """Note that these ends mean nothing to children any more."""
    parameters = {"ids": [each.id for each in ends]}
    await conn.execute("UPDATE execution_ends SET children = 0 WHERE id = ANY (%(ids)s)", parameters)


async def forget(conn: Conn, ends: Sequence[End]) -> None:
    """Delete these ends: they have been acted on."""
    await conn.execute("DELETE FROM execution_ends WHERE id = ANY (%(ids)s)", {"ids": [each.id for each in ends]})


@dataclass(frozen=True, slots=True)
class Concerned:
    """A locked job that an end concerns, as dependent or as the job of a parent."""

    due: DueJob  # its cursor is now
    depends_on: Any  # JSON, unread; None when it has none, or must not run
    is_paused: bool
    counts_failures: bool


LOCK_JOBS = sql.SQL("""
SELECT {columns},
       CASE WHEN is_active AND deleted_at IS NULL AND quarantine_reason IS NULL THEN depends_on END AS depends_on,
       paused_at IS NOT NULL AS is_paused, pause_after_failures IS NOT NULL AS counts_failures,
       coalesce(%(now)s::timestamptz, clock_timestamp()) AS now
  FROM jobs
 WHERE id IN ((SELECT d.job_id FROM job_dependencies AS d
                WHERE d.upstream_id = ANY (%(upstreams)s::bigint[]) AND d.job_id > %(after)s::bigint
                ORDER BY d.job_id LIMIT %(most)s::bigint)
               UNION ALL SELECT unnest(%(others)s::bigint[]))
 ORDER BY id FOR NO KEY UPDATE OF jobs
""").format(columns=DUE_COLUMNS)


async def lock_jobs(
    conn: Conn,
    upstreams: Collection[int],
    others: Collection[int],
    *,
    after: int = 0,
    most: int | None = None,
    now: datetime | None = None,
) -> tuple[list[Concerned], datetime | None]:
    """Lock the jobs that wait for these upstreams, and these others, by id; and the database's now (None: no job).

    Of the jobs that wait only those with ids above `after`, the `most` lowest; None means all.
    """
    parameters = {"upstreams": sorted(upstreams), "others": sorted(others), "after": after, "most": most, "now": now}
    async with conn.cursor(row_factory=dict_row, binary=True) as cursor:
        rows = await (await cursor.execute(LOCK_JOBS, parameters)).fetchall()
    clock = max((row["now"] for row in rows), default=None)
    return [
        Concerned(
            replace(due_job(row), cursor=row["now"].astimezone(UTC)),
            row["depends_on"],
            row["is_paused"],
            row["counts_failures"],
        )
        for row in rows
    ], None if clock is None else clock.astimezone(UTC)


NAMES = "SELECT id, name FROM jobs WHERE id = ANY (%(ids)s::bigint[])"


async def names(conn: Conn, job_ids: Collection[int]) -> dict[int, str]:
    """What these jobs are called."""
    return dict(await (await conn.execute(NAMES, {"ids": sorted(job_ids)})).fetchall())


ROUNDS = """
SELECT job_id, upstream_id, end_id, cause, is_met FROM dependency_rounds WHERE job_id = ANY (%(job_ids)s::bigint[])
"""


async def rounds(conn: Conn, job_ids: Sequence[int]) -> dict[int, dict[int, Cause]]:
    """The open rounds of these locked jobs, by job and upstream."""
    found: dict[int, dict[int, Cause]] = {job_id: {} for job_id in job_ids}
    for job_id, upstream_id, end_id, cause, is_met in await (
        await conn.execute(ROUNDS, {"job_ids": list(job_ids)})
    ).fetchall():
        end = Ended(end_id, cause["executionId"], upstream_id, Status(cause["status"]))
        found[job_id][upstream_id] = Cause(end, Verdict(is_met, cause.get("why")))
    return found


CLOSE_ROUNDS = """
DELETE FROM dependency_rounds AS r
 USING unnest(%(job_ids)s::bigint[], %(upstream_ids)s::bigint[]) AS t(job_id, upstream_id)
 WHERE r.job_id = t.job_id AND r.upstream_id = t.upstream_id
"""

OPEN_ROUNDS = """
INSERT INTO dependency_rounds (job_id, upstream_id, end_id, cause, is_met, ended_at)
SELECT t.job_id, t.upstream_id, t.end_id, t.cause, t.is_met, clock_timestamp()
  FROM unnest(%(job_ids)s::bigint[], %(upstream_ids)s::bigint[], %(end_ids)s::bigint[], %(causes)s::jsonb[],
              %(is_met)s::bool[]) AS t(job_id, upstream_id, end_id, cause, is_met)
"""


async def keep_rounds(
    conn: Conn, before: Mapping[int, Mapping[int, Cause]], open_rounds: Mapping[int, Mapping[int, Cause]]
) -> None:
    """Write how far the rounds of these locked jobs are, in place of how far they were `before`."""
    closed = [
        (job_id, upstream_id)
        for job_id, waiting in open_rounds.items()
        for upstream_id, cause in before[job_id].items()
        if waiting.get(upstream_id) != cause
    ]
    if closed:
        parameters = {"job_ids": [job for job, _ in closed], "upstream_ids": [upstream for _, upstream in closed]}
        await conn.execute(CLOSE_ROUNDS, parameters)
    causes = [
        (job_id, cause)
        for job_id, waiting in open_rounds.items()
        for upstream_id, cause in waiting.items()
        if before[job_id].get(upstream_id) != cause
    ]
    if causes:
        await conn.execute(
            OPEN_ROUNDS,
            {
                "job_ids": [job_id for job_id, _ in causes],
                "upstream_ids": [cause.end.job_id for _, cause in causes],
                "end_ids": [cause.end.end_id for _, cause in causes],
                "causes": [Jsonb(cause_json(cause)) for _, cause in causes],
                "is_met": [cause.verdict.is_met for _, cause in causes],
            },
        )


def cause_json(cause: Cause, name: str | None = None) -> dict[str, Any]:
    """A cause as `job_executions.causes` has it."""
    end, verdict = cause.end, cause.verdict
    said: dict[str, Any] = {"executionId": end.execution_id, "jobId": end.job_id, "status": end.status.value}
    if name is not None:
        said["jobName"] = name
    said["isMet"] = verdict.is_met
    return said if verdict.why is None else {**said, "why": verdict.why}


# As a tick records, but for the chain of instants: no schedule names these.
RECORD = """
INSERT INTO job_executions (job_id, scheduled_time, trigger, status, status_reason, revision, queue, priority,
       max_attempts, ready_at, dispatch_at, dispatches, end_time, deadline_at, held, window_id, log_details, causes)
SELECT j.id, t.scheduled_time, 'dependency', CASE WHEN t.reason IS NULL THEN 'QUEUED' ELSE 'SKIPPED' END, t.reason,
       j.revision, j.queue, j.priority, j.max_attempts,
       coalesce(t.release_at, clock_timestamp() + make_interval(secs => coalesce(t.delay, 0))),
       CASE WHEN t.reason IS NOT NULL OR t.delay IS NULL THEN NULL
            WHEN t.delay > 0 THEN clock_timestamp() + make_interval(secs => t.delay)
            ELSE clock_timestamp() + %(redispatch)s::interval END,
       CASE WHEN t.reason IS NULL AND t.delay = 0 THEN 1 ELSE 0 END,
       CASE WHEN t.reason IS NOT NULL THEN clock_timestamp() END,
       CASE WHEN t.reason IS NULL AND t.delay IS NOT NULL
            THEN clock_timestamp() + make_interval(secs => t.delay) + make_interval(secs => j.deadline_seconds) END,
       CASE WHEN t.release_at IS NOT NULL THEN 'maintenance'
            WHEN t.reason IS NULL AND t.delay IS NULL THEN 'overlap' END,
       t.window_id, t.detail, t.causes
  FROM unnest(%(job_id)s::bigint[], %(scheduled_time)s::timestamptz[], %(reason)s::text[], %(delay)s::float8[],
              %(release_at)s::timestamptz[], %(window_id)s::bigint[], %(detail)s::jsonb[], %(causes)s::jsonb[])
    AS t(job_id, scheduled_time, reason, delay, release_at, window_id, detail, causes)
  JOIN jobs j ON j.id = t.job_id
    ON CONFLICT (job_id, scheduled_time) DO NOTHING
RETURNING id, job_id, scheduled_time, queue, priority, dispatches
"""


async def record(
    conn: Conn, rows: Sequence[tuple[int, Firing | Skip, Sequence[Mapping[str, Any]]]], *, redispatch: timedelta
) -> tuple[set[Key], list[Ticket]]:
    """Write these rows (job id, what becomes of it, its causes); the keys written, and the tickets to push now.

    A key that is missing was taken by another run of the job: the row needs another instant.
    """
    parameters = {
        "redispatch": redispatch,
        "job_id": [job_id for job_id, _, _ in rows],
        "scheduled_time": [row.scheduled_time for _, row, _ in rows],
        "reason": [row.reason.value if isinstance(row, Skip) else None for _, row, _ in rows],
        "delay": [_delay(row) for _, row, _ in rows],
        "release_at": [None if isinstance(row, Skip) else row.release_at for _, row, _ in rows],
        "window_id": [row.window for _, row, _ in rows],
        "detail": [
            Jsonb(dict(row.detail)) if isinstance(row, Skip) and row.detail is not None else None for _, row, _ in rows
        ],
        "causes": [Jsonb([dict(cause) for cause in causes]) for _, _, causes in rows],
    }
    written = await (await conn.execute(RECORD, parameters)).fetchall()
    keys = {(job_id, time.astimezone(UTC)) for _, job_id, time, _, _, _ in written}
    tickets = [Ticket(id_, job, time, 0, queue, priority) for id_, job, time, queue, priority, now in written if now]
    return keys, tickets


def _delay(row: Firing | Skip) -> float | None:
    """Seconds to hold a ticket back; None for a run that waits for something else than time."""
    if isinstance(row, Skip):
        return 0.0
    return None if row.held or row.window is not None else row.delay.total_seconds()


UPSTREAMS = """
SELECT d.upstream_id, j.name, r.ended_at, r.is_met
  FROM job_dependencies AS d JOIN jobs AS j ON j.id = d.upstream_id
  LEFT JOIN dependency_rounds AS r ON r.job_id = d.job_id AND r.upstream_id = d.upstream_id
 WHERE d.job_id = %(job_id)s::bigint ORDER BY d.upstream_id
"""

DOWNSTREAMS = """
SELECT d.job_id, j.name, j.depends_on
  FROM job_dependencies AS d JOIN jobs AS j ON j.id = d.job_id
 WHERE d.upstream_id = %(job_id)s::bigint ORDER BY d.job_id LIMIT %(most)s
"""


@dataclass(frozen=True, slots=True)
class UpstreamRow:
    """A job that another waits for. `ended_at`: since when the open round has its end, and whether it is met."""

    job_id: int
    job_name: str
    ended_at: datetime | None
    is_met: bool | None


@dataclass(frozen=True, slots=True)
class DownstreamRow:
    """A job that waits for another; `depends_on` is its JSON, unread."""

    job_id: int
    job_name: str
    depends_on: Any


async def upstreams(conn: Conn, job_id: int) -> list[UpstreamRow]:
    """The jobs that this one waits for."""
    rows = await (await conn.execute(UPSTREAMS, {"job_id": job_id})).fetchall()
    return [UpstreamRow(*row) for row in rows]


async def downstreams(conn: Conn, job_id: int, *, most: int) -> list[DownstreamRow]:
    """The jobs that wait for this one, at most so many."""
    rows = await (await conn.execute(DOWNSTREAMS, {"job_id": job_id, "most": most})).fetchall()
    return [DownstreamRow(*row) for row in rows]


NAMED = """
SELECT id, name FROM jobs
 WHERE namespace = %(namespace)s::text AND deleted_at IS NULL
   AND (name = ANY (%(names)s::text[]) OR id = ANY (%(ids)s::bigint[]))
"""


async def named(conn: Conn, namespace: str, *, names: Collection[str], ids: Collection[int]) -> dict[int, str]:
    """The live jobs of a namespace that have these names or ids, by id."""
    parameters = {"namespace": namespace, "names": list(names), "ids": list(ids)}
    return dict(await (await conn.execute(NAMED, parameters)).fetchall())
