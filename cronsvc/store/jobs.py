"""Statements on `jobs` and `job_revisions` for people who define and steer jobs.

Revision, audit row and wake-up are written by the table's triggers in the same transaction, whoever changes a row. What
these statements add is the cursor: a definition written here is armed, so it never waits for a tick to count its time.
Everything here sees live jobs only, unless it says otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.errors import UniqueViolation
from psycopg.rows import dict_row

from cronsvc.domain.job import Job, JobDefinition
from cronsvc.errors import Conflict
from cronsvc.store.edges import Edge
from cronsvc.store.pool import Conn
from cronsvc.store.rows import (
    JOB_COLUMNS,
    definition_for_readers,
    definition_to_columns,
    job_for_readers,
    job_from_row,
)

COLUMNS = sql.SQL(JOB_COLUMNS)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a job's schedule continues: the first instant without a row (None: no more), and the zone data it used."""

    next_fire_time: datetime | None
    tzdata_version: str


@dataclass(frozen=True, slots=True)
class JobState:
    """A job with what an edit must know of its row.

    Not `armed`: its cursor is the instant from which its schedule counts. Not `readable`: some of its columns mean
    nothing to us, `job` has defaults there.
    """

    job: Job
    armed: bool
    readable: bool


@dataclass(frozen=True, slots=True)
class Revision:
    """One definition in a job's history: who wrote it and when."""

    revision: int
    definition: JobDefinition
    actor: str
    created_at: datetime


ENSURE_QUEUE = "INSERT INTO queues (name) VALUES (%(name)s) ON CONFLICT (name) DO NOTHING"


async def ensure_queue(conn: Conn, name: str) -> None:
    """Make the queue's row if the name is new."""
    await conn.execute(ENSURE_QUEUE, {"name": name})


INSERT = sql.SQL("""
INSERT INTO jobs AS j (
       namespace, name, description, tags, cron_expression, every_seconds, run_at, timezone, anchor, start_at, end_at,
       max_runs, jitter_seconds, misfire_policy, misfire_grace_seconds, misfire_cap, overlap_policy, queue, priority,
       max_concurrency, concurrency_key, max_attempts, backoff, retry_on, timeout_seconds, deadline_seconds,
       pause_after_failures, depends_on, calendar, calendar_rule, retention, task_payload, is_active, job_group,
       next_fire_time, armed_revision, tzdata_version)
VALUES (%(namespace)s, %(name)s, %(description)s, %(tags)s::text[], %(cron_expression)s, %(every_seconds)s, %(run_at)s,
        %(timezone)s, %(anchor)s, %(start_at)s, %(end_at)s, %(max_runs)s, %(jitter_seconds)s, %(misfire_policy)s,
        %(misfire_grace_seconds)s, %(misfire_cap)s, %(overlap_policy)s, %(queue)s, %(priority)s,
        %(max_concurrency)s, %(concurrency_key)s, %(max_attempts)s,
        %(backoff)s, %(retry_on)s::text[], %(timeout_seconds)s, %(deadline_seconds)s, %(pause_after_failures)s,
        %(depends_on)s,
        %(calendar)s, %(calendar_rule)s, %(retention)s, %(task_payload)s, %(is_active)s, %(job_group)s,
        %(next_fire_time)s, 1, %(tzdata_version)s)
    ON CONFLICT (namespace, name) WHERE deleted_at IS NULL DO NOTHING
RETURNING {columns}
""").format(columns=COLUMNS)


async def insert(conn: Conn, definition: JobDefinition, *, cursor: Cursor) -> Job | None:
    """Write a new job, armed at revision 1; None if a live job has that name in its namespace."""
    return await _one(conn, INSERT, definition_to_columns(definition) | _cursor_columns(cursor))


ID_OF = """
SELECT id FROM jobs WHERE namespace = %(namespace)s::text AND name = %(name)s::text AND deleted_at IS NULL
"""


async def id_of(conn: Conn, *, namespace: str, name: str) -> int | None:
    """The id of the live job of that name."""
    row = await (await conn.execute(ID_OF, {"namespace": namespace, "name": name})).fetchone()
    return None if row is None else int(row[0])


FIND = sql.SQL("SELECT {columns} FROM jobs AS j WHERE j.id = %(job_id)s::bigint AND j.deleted_at IS NULL").format(
    columns=COLUMNS
)


async def find(conn: Conn, job_id: int) -> Job | None:
    """One job."""
    return await _one(conn, FIND, {"job_id": job_id})


HOLD = sql.SQL("""
SELECT {columns} FROM jobs AS j WHERE j.id = %(job_id)s::bigint AND j.deleted_at IS NULL FOR KEY SHARE OF j
""").format(columns=COLUMNS)


async def hold(conn: Conn, job_id: int) -> Job | None:
    """One job, kept from being edited or deleted until the transaction ends; ticks and other holders go on."""
    return await _one(conn, HOLD, {"job_id": job_id})


LOCK = sql.SQL("""
SELECT {columns} FROM jobs AS j WHERE j.id = %(job_id)s::bigint AND j.deleted_at IS NULL FOR UPDATE OF j
""").format(columns=COLUMNS)


async def lock(conn: Conn, job_id: int) -> JobState | None:
    """One job, locked until the transaction ends."""
    return await _state(conn, LOCK, job_id)


async def state(conn: Conn, job_id: int) -> JobState | None:
    """One job as `lock` would show it, unlocked."""
    return await _state(conn, FIND, job_id)


NAMED = """
SELECT j.id, j.namespace::text FROM jobs AS j
 WHERE j.name = %(name)s::text AND j.deleted_at IS NULL
   AND (%(namespaces)s::text[] IS NULL OR j.namespace = ANY (%(namespaces)s::text[]))
 ORDER BY j.namespace LIMIT 20
"""


async def named(conn: Conn, name: str, *, namespaces: Sequence[str] | None) -> dict[str, int]:
    """The ids of the jobs of that name by namespace, among these namespaces (None: all); at most twenty."""
    wanted = None if namespaces is None else list(namespaces)
    rows = await (await conn.execute(NAMED, {"name": name, "namespaces": wanted})).fetchall()
    return {namespace: job_id for job_id, namespace in rows}


UPDATE = sql.SQL("""
UPDATE jobs AS j
   SET namespace = %(namespace)s, name = %(name)s, description = %(description)s, tags = %(tags)s::text[],
       cron_expression = %(cron_expression)s, every_seconds = %(every_seconds)s, run_at = %(run_at)s,
       timezone = %(timezone)s, anchor = %(anchor)s, start_at = %(start_at)s, end_at = %(end_at)s,
       max_runs = %(max_runs)s, jitter_seconds = %(jitter_seconds)s, misfire_policy = %(misfire_policy)s,
       misfire_grace_seconds = %(misfire_grace_seconds)s, misfire_cap = %(misfire_cap)s,
       overlap_policy = %(overlap_policy)s, queue = %(queue)s, priority = %(priority)s,
       max_concurrency = %(max_concurrency)s, concurrency_key = %(concurrency_key)s,
       max_attempts = %(max_attempts)s, backoff = %(backoff)s, retry_on = %(retry_on)s::text[],
       timeout_seconds = %(timeout_seconds)s, deadline_seconds = %(deadline_seconds)s,
       pause_after_failures = %(pause_after_failures)s, depends_on = %(depends_on)s,
       calendar = %(calendar)s, calendar_rule = %(calendar_rule)s,
       retention = %(retention)s, task_payload = %(task_payload)s, is_active = %(is_active)s, job_group = %(job_group)s,
       next_fire_time = CASE WHEN %(rearm)s::boolean THEN %(next_fire_time)s::timestamptz ELSE j.next_fire_time END,
       armed_revision = CASE WHEN %(rearm)s::boolean THEN j.revision + 1 ELSE j.armed_revision END,
       tzdata_version = CASE WHEN %(rearm)s::boolean THEN %(tzdata_version)s::text ELSE j.tzdata_version END,
       quarantine_reason = NULL
 WHERE j.id = %(job_id)s::bigint AND j.revision = %(revision)s::integer AND j.deleted_at IS NULL
RETURNING {columns}
""").format(columns=COLUMNS)


async def update(
    conn: Conn, job_id: int, definition: JobDefinition, *, revision: int, cursor: Cursor | None
) -> Job | None:
    """Replace the definition of the row locked at `revision`; the trigger counts the new one.

    `cursor` belongs to a changed schedule; None leaves the cursor where it is. None comes back if the row has another
    revision; Conflict if somebody else has just taken the name, after which the transaction is lost.
    """
    parameters: dict[str, Any] = {"job_id": job_id, "revision": revision, "rearm": cursor is not None}
    parameters |= definition_to_columns(definition) | _cursor_columns(cursor or Cursor(None, ""))
    try:
        return await _one(conn, UPDATE, parameters)
    except UniqueViolation as error:
        raise Conflict(name_taken(definition)) from error


def name_taken(definition: JobDefinition, job_id: int | None = None) -> str:
    """The sentence for a name that a live job has already."""
    owner = "another job" if job_id is None else f"job {job_id}"
    return f"the name {definition.name!r} is taken in namespace {definition.namespace!r} by {owner}"


DELETE = """
UPDATE jobs SET deleted_at = clock_timestamp(), is_active = false, next_fire_time = NULL
 WHERE id = %(job_id)s::bigint AND deleted_at IS NULL
"""


async def delete(conn: Conn, job_id: int) -> bool:
    """Mark a job as deleted; its executions and revisions stay. False if there is no live one."""
    return (await conn.execute(DELETE, {"job_id": job_id})).rowcount == 1


PAUSE = sql.SQL("""
UPDATE jobs AS j
   SET paused_at = coalesce(j.paused_at, clock_timestamp()),
       paused_by = CASE WHEN j.paused_at IS NULL THEN %(by)s::text ELSE j.paused_by END,
       pause_note = %(note)s::text, paused_until = %(until)s::timestamptz
 WHERE j.id = %(job_id)s::bigint AND j.deleted_at IS NULL
RETURNING {columns}
""").format(columns=COLUMNS)


async def pause(conn: Conn, job_id: int, *, by: str, note: str | None, until: datetime | None) -> Job | None:
    """Hold a job back, its cursor where it is. A paused job keeps who paused it and when; note and end are replaced."""
    return await _one(conn, PAUSE, {"job_id": job_id, "by": by, "note": note, "until": until})


RESUME = sql.SQL("""
UPDATE jobs AS j SET paused_at = NULL, paused_by = NULL, pause_note = NULL, paused_until = NULL
 WHERE j.id = %(job_id)s::bigint AND j.paused_at IS NOT NULL AND j.deleted_at IS NULL
RETURNING {columns}
""").format(columns=COLUMNS)


async def resume(conn: Conn, job_id: int) -> Job | None:
    """End a pause, the cursor where it is; None if there is none to end."""
    return await _one(conn, RESUME, {"job_id": job_id})


ADVANCE = """
UPDATE jobs
   SET next_fire_time = %(next_fire_time)s::timestamptz, armed_revision = revision,
       last_fire_time = greatest(last_fire_time, %(last_fire_time)s::timestamptz),
       tzdata_version = %(tzdata_version)s::text
 WHERE id = %(job_id)s::bigint AND revision = %(revision)s::integer
"""


async def advance(conn: Conn, job_id: int, *, revision: int, cursor: Cursor, last_fire_time: datetime) -> None:
    """Move a locked job's cursor past what was recorded; `last_fire_time` never goes back."""
    parameters = {"job_id": job_id, "revision": revision, "last_fire_time": last_fire_time}
    await conn.execute(ADVANCE, parameters | _cursor_columns(cursor))


NAMESPACE_OF = "SELECT namespace FROM jobs WHERE id = %(job_id)s::bigint"


async def namespace_of(conn: Conn, job_id: int) -> str | None:
    """The namespace of a job, live or deleted."""
    row = await (await conn.execute(NAMESPACE_OF, {"job_id": job_id})).fetchone()
    return None if row is None else str(row[0])


REVISIONS = sql.SQL("""
SELECT revision, definition, actor, created_at FROM job_revisions
 WHERE job_id = %(job_id)s::bigint AND {beyond} ORDER BY revision {turn} LIMIT %(limit)s::integer
""")


async def revisions(conn: Conn, job_id: int, *, edge: Edge, limit: int) -> list[Revision]:
    """Definitions of a job, live or deleted, by revision, from `edge` on."""
    parameters = {"job_id": job_id, "edge": edge.beyond, "limit": limit}
    rows = await (await conn.execute(REVISIONS.format(**edge.parts("revision")), parameters)).fetchall()
    return [
        Revision(revision, definition_for_readers(definition), actor, created_at)
        for revision, definition, actor, created_at in rows
    ]


def _cursor_columns(cursor: Cursor) -> dict[str, object]:
    return {"next_fire_time": cursor.next_fire_time, "tzdata_version": cursor.tzdata_version}


async def _one(conn: Conn, statement: sql.Composed, parameters: Mapping[str, Any]) -> Job | None:
    async with conn.cursor(row_factory=dict_row) as found:
        row = await (await found.execute(statement, parameters)).fetchone()
    return None if row is None else job_for_readers(row)


async def _state(conn: Conn, statement: sql.Composed, job_id: int) -> JobState | None:
    async with conn.cursor(row_factory=dict_row) as found:
        row = await (await found.execute(statement, {"job_id": job_id})).fetchone()
    if row is None:
        return None
    armed = row["armed_revision"] == row["revision"]
    try:
        return JobState(job_from_row(row), armed, readable=True)
    except ValueError:  # somebody's SQL wrote it; an edit is how it gets mended
        return JobState(job_for_readers(row), armed, readable=False)
