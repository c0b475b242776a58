"""Lists of live jobs, a page at a time, in one of a few orders."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql
from psycopg.rows import dict_row

from cronsvc.domain.job import Job
from cronsvc.store.pool import Conn
from cronsvc.store.rows import JOB_COLUMNS, job_for_readers

COLUMNS = sql.SQL(JOB_COLUMNS)
PAGE = sql.SQL("SELECT {columns} FROM jobs AS j WHERE {filters} ORDER BY {order} LIMIT %(limit)s::integer")

# By the API's names. Each ends with the id, so that no two jobs share a place.
_KEYS = {"id": "j.id", "name": "j.name, j.id", "updatedAt": "j.updated_at, j.id"}
_PLACES = {
    "id": "%(last_id)s::bigint",
    "name": "%(last_key)s::text, %(last_id)s::bigint",
    "updatedAt": "%(last_key)s::timestamptz, %(last_id)s::bigint",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page continues: behind the job of this id, whose name or time of change was `key`."""

    last_id: int
    key: str | datetime | None = None


async def page(
    conn: Conn,
    *,
    namespaces: Sequence[str] | None,
    name: str | None = None,
    tag: str | None = None,
    group: str | None = None,
    template_id: int | None = None,
    queue: str | None = None,
    is_active: bool | None = None,
    order: str = "id",
    descending: bool = True,
    after: Place | None = None,
    limit: int,
) -> list[Job]:
    """Jobs in the order of `order` (id, name or updatedAt), behind `after`; a filter that is None does not filter."""
    wanted: dict[str, tuple[sql.SQL, object]] = {
        "namespaces": (
            sql.SQL("j.namespace = ANY (%(namespaces)s::text[])"),
            None if namespaces is None else list(namespaces),
        ),
        "name": (sql.SQL("j.name = %(name)s::text"), name),
        "tag": (sql.SQL("%(tag)s::text = ANY (j.tags)"), tag),
        "job_group": (sql.SQL("j.job_group = %(job_group)s::text"), group),
        "template_id": (sql.SQL("j.template_id = %(template_id)s::bigint"), template_id),
        "queue": (sql.SQL("j.queue = %(queue)s::text"), queue),
        "is_active": (sql.SQL("j.is_active = %(is_active)s::boolean"), is_active),
    }
    given = {key: value for key, value in wanted.items() if value[1] is not None}
    values = {key: value for key, (_, value) in given.items()}
    # Only the filters that are given reach the planner: `x IS NULL OR …` would cost the index on names.
    filters = [sql.SQL("j.deleted_at IS NULL"), *(each for each, _ in given.values())]
    keys = _KEYS[order]
    if after is not None:
        filters.append(sql.SQL(f"({keys}) {'<' if descending else '>'} ({_PLACES[order]})"))
        values |= {"last_id": after.last_id, "last_key": after.key}
    by = ", ".join(f"{key} DESC" if descending else key for key in keys.split(", "))
    statement = PAGE.format(columns=COLUMNS, filters=sql.SQL(" AND ").join(filters), order=sql.SQL(by))
    async with conn.cursor(row_factory=dict_row) as found:
        await found.execute(statement, values | {"limit": limit})
        return [job_for_readers(row) for row in await found.fetchall()]
