"""Statements on many jobs at once, a batch a transaction, in order of id so that two of them never wait in a circle."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from cronsvc.store.pool import Conn


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which live jobs: those that match everything that is given; all of the tags, any of the ids."""

    namespaces: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    group: str | None = None
    queue: str | None = None
    name_prefix: str | None = None
    job_ids: tuple[int, ...] | None = None


BATCH = sql.SQL("""
SELECT j.id, j.paused_at IS NOT NULL AS is_paused
  FROM jobs AS j
 WHERE {filters}
 ORDER BY j.id LIMIT %(limit)s::integer
""")

_FILTERS = {
    "namespaces": sql.SQL("j.namespace = ANY (%(namespaces)s::text[])"),
    "tags": sql.SQL("j.tags @> %(tags)s::text[]"),
    "group": sql.SQL("j.job_group = %(group)s::text"),
    "queue": sql.SQL("j.queue = %(queue)s::text"),
    "name_prefix": sql.SQL("starts_with(j.name::text, %(name_prefix)s::text)"),
    "job_ids": sql.SQL("j.id = ANY (%(job_ids)s::bigint[])"),
}


async def batch(conn: Conn, chosen: Chosen, *, after_id: int, limit: int) -> list[tuple[int, bool]]:
    """(id, paused?) of the next chosen jobs in order of id, beyond `after_id`."""
    values = {
        "namespaces": None if chosen.namespaces is None else list(chosen.namespaces),
        "tags": None if chosen.tags is None else list(chosen.tags),
        "group": chosen.group,
        "queue": chosen.queue,
        "name_prefix": chosen.name_prefix,
        "job_ids": None if chosen.job_ids is None else list(chosen.job_ids),
    }
    given = {name: value for name, value in values.items() if value is not None}
    filters = [sql.SQL("j.deleted_at IS NULL AND j.id > %(after_id)s::bigint"), *(_FILTERS[name] for name in given)]
    statement = BATCH.format(filters=sql.SQL(" AND ").join(filters))
    rows = await (await conn.execute(statement, given | {"after_id": after_id, "limit": limit})).fetchall()
    return [(job_id, is_paused) for job_id, is_paused in rows]


LOCK_UNPAUSED = """
SELECT j.id, coalesce(j.next_fire_time <= clock_timestamp(), false) FROM jobs AS j
 WHERE j.id = ANY (%(job_ids)s::bigint[]) AND j.deleted_at IS NULL AND j.paused_at IS NULL
 ORDER BY j.id FOR NO KEY UPDATE OF j
"""


async def lock_unpaused(conn: Conn, job_ids: Sequence[int]) -> dict[int, bool]:
    """Lock those of these jobs that are not paused, for the transaction; says which of them may have an instant due."""
    rows = await (await conn.execute(LOCK_UNPAUSED, {"job_ids": list(job_ids)})).fetchall()
    return dict(rows)


PAUSE = """
UPDATE jobs AS j
   SET paused_at = clock_timestamp(), paused_by = %(by)s::text, pause_note = %(note)s::text,
       paused_until = %(until)s::timestamptz
 WHERE j.id = ANY (%(job_ids)s::bigint[]) AND j.deleted_at IS NULL AND j.paused_at IS NULL
"""


async def pause(conn: Conn, job_ids: Sequence[int], *, by: str, note: str | None, until: datetime | None) -> int:
    """Pause those of these jobs that are not paused; returns how many. Who paused one before keeps note and end."""
    parameters = {"job_ids": list(job_ids), "by": by, "note": note, "until": until}
    return (await conn.execute(PAUSE, parameters)).rowcount
