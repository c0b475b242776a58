"""Statements on `calendars` and `calendar_dates`, and what they close for the schedules that follow them.

A change ends with `changed`: the cursors of the jobs that follow the calendar are worked out anew by the next tick.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg import sql
from psycopg.errors import UniqueViolation
from psycopg.rows import dict_row

from cronsvc.domain.calendars import ClosedDays
from cronsvc.errors import Conflict
from cronsvc.store.edges import Edge
from cronsvc.store.pool import Conn


@dataclass(frozen=True, slots=True)
class CalendarFields:
    """What a person defines. `dates` maps each closed date to a label; `weekend` holds weekdays, 1 is Monday."""

    namespace: str
    name: str
    description: str
    weekend: tuple[int, ...]
    dates: Mapping[date, str]


@dataclass(frozen=True, slots=True)
class Calendar:
    """A calendar as readers see it; `jobs` is how many live jobs follow it."""

    id: int
    fields: CalendarFields
    revision: int
    jobs: int
    created_by: str
    created_at: datetime
    updated_at: datetime


SELECT = """
SELECT c.id, c.namespace, c.name, c.description, c.weekend, c.revision, c.created_by, c.created_at, c.updated_at,
       (SELECT count(*) FROM jobs AS j
         WHERE j.namespace = c.namespace AND j.calendar = c.name AND j.deleted_at IS NULL) AS jobs,
       coalesce((SELECT array_agg(d.date ORDER BY d.date) FROM calendar_dates AS d WHERE d.calendar_id = c.id), '{}')
           AS dates,
       coalesce((SELECT array_agg(d.label ORDER BY d.date) FROM calendar_dates AS d WHERE d.calendar_id = c.id), '{}')
           AS labels
  FROM calendars AS c
"""

FIND = sql.SQL(SELECT + " WHERE c.id = %(calendar_id)s::bigint AND c.deleted_at IS NULL")


async def find(conn: Conn, calendar_id: int) -> Calendar | None:
    """One calendar."""
    found = await _read(conn, FIND, {"calendar_id": calendar_id})
    return found[0] if found else None


FIND_NAMED = sql.SQL(
    SELECT + " WHERE c.namespace = %(namespace)s::text AND c.name = %(name)s::text AND c.deleted_at IS NULL"
)


async def find_named(conn: Conn, *, namespace: str, name: str) -> Calendar | None:
    """The live calendar of this name."""
    found = await _read(conn, FIND_NAMED, {"namespace": namespace, "name": name})
    return found[0] if found else None


LOCK = "SELECT id FROM calendars WHERE id = %(calendar_id)s::bigint AND deleted_at IS NULL FOR NO KEY UPDATE"


async def lock(conn: Conn, calendar_id: int) -> Calendar | None:
    """One calendar, locked until the transaction ends."""
    if await (await conn.execute(LOCK, {"calendar_id": calendar_id})).fetchone() is None:
        return None
    return await find(conn, calendar_id)


PAGE = sql.SQL("""
 WHERE c.deleted_at IS NULL AND (%(namespaces)s::text[] IS NULL OR c.namespace = ANY (%(namespaces)s::text[]))
   AND (%(name)s::text IS NULL OR c.name = %(name)s::text) AND {beyond}
 ORDER BY c.id {turn} LIMIT %(limit)s::integer
""")


async def page(
    conn: Conn, *, namespaces: Sequence[str] | None, name: str | None, edge: Edge, limit: int
) -> list[Calendar]:
    """Calendars by id, from `edge` on; a `name` has one in each namespace at most."""
    wanted = None if namespaces is None else list(namespaces)
    parameters = {"namespaces": wanted, "name": name, "edge": edge.beyond, "limit": limit}
    return await _read(conn, sql.SQL(SELECT) + PAGE.format(**edge.parts("c.id")), parameters)


INSERT = """
INSERT INTO calendars (namespace, name, description, weekend, created_by)
VALUES (%(namespace)s, %(name)s, %(description)s, %(weekend)s::smallint[], cronsvc_actor())
RETURNING id
"""


async def insert(conn: Conn, fields: CalendarFields) -> Calendar:
    """Write a new calendar; Conflict if the name is taken, after which the transaction is lost."""
    try:
        row = await (await conn.execute(INSERT, _columns(fields))).fetchone()
    except UniqueViolation as error:
        raise Conflict(name_taken(fields)) from error
    assert row is not None
    return await _filled(conn, int(row[0]), fields)


UPDATE = """
UPDATE calendars SET name = %(name)s, description = %(description)s, weekend = %(weekend)s::smallint[],
       revision = revision + 1, updated_at = clock_timestamp()
 WHERE id = %(calendar_id)s::bigint
"""


async def update(conn: Conn, calendar_id: int, fields: CalendarFields) -> Calendar:
    """Replace what a locked calendar says, its namespace excepted; Conflict as for `insert`."""
    try:
        await conn.execute(UPDATE, _columns(fields) | {"calendar_id": calendar_id})
    except UniqueViolation as error:
        raise Conflict(name_taken(fields)) from error
    return await _filled(conn, calendar_id, fields)


DELETE = "UPDATE calendars SET deleted_at = clock_timestamp() WHERE id = %(calendar_id)s::bigint"


async def delete(conn: Conn, calendar_id: int) -> None:
    """Mark a locked calendar as deleted."""
    await conn.execute(DELETE, {"calendar_id": calendar_id})


CHANGED = "SELECT cronsvc_calendar_changed(%(calendar_id)s::bigint)"


async def changed(conn: Conn, calendar_id: int) -> int:
    """Have the cursors of the jobs that follow it worked out anew; returns how many jobs."""
    row = await (await conn.execute(CHANGED, {"calendar_id": calendar_id})).fetchone()
    assert row is not None
    return int(row[0])


HOLD = """
SELECT FROM calendars AS c
 WHERE c.deleted_at IS NULL AND c.namespace = coalesce(%(namespace)s::text,
       (SELECT j.namespace FROM jobs AS j WHERE j.id = %(job_id)s::bigint))
 ORDER BY c.id FOR SHARE
"""


async def hold(conn: Conn, *, namespace: str | None = None, job_id: int | None = None) -> None:
    """Keep the calendars of a namespace, or of a job's, from changing until the transaction ends.

    Whoever works out a cursor for a job that may begin to follow one asks for this before locking the job: a change of
    a calendar locks the calendar and then the jobs that follow it.
    """
    await conn.execute(HOLD, {"namespace": namespace, "job_id": job_id})


DAYS = """
SELECT n.namespace, n.name, cronsvc_calendar_days(n.namespace, n.name)
  FROM unnest(%(namespaces)s::text[], %(names)s::text[]) AS n(namespace, name)
"""


async def days(conn: Conn, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], ClosedDays]:
    """What these calendars close, by (namespace, name); those that do not exist are missing."""
    if not wanted:
        return {}
    parameters = {"namespaces": [namespace for namespace, _ in wanted], "names": [name for _, name in wanted]}
    rows = await (await conn.execute(DAYS, parameters)).fetchall()
    return {(namespace, name): closed_days(found) for namespace, name, found in rows if found is not None}


def closed_days(value: Mapping[str, Any]) -> ClosedDays:
    """Read what `cronsvc_calendar_days` answers."""
    return ClosedDays(frozenset(map(date.fromisoformat, value["dates"])), frozenset(value["weekend"]))


def name_taken(fields: CalendarFields) -> str:
    """The sentence for a name that a live calendar has already."""
    return f"the name {fields.name!r} is taken in namespace {fields.namespace!r} by another calendar"


CLEAR = "DELETE FROM calendar_dates WHERE calendar_id = %(calendar_id)s::bigint"

FILL = """
INSERT INTO calendar_dates (calendar_id, date, label)
SELECT %(calendar_id)s::bigint, t.date, t.label FROM unnest(%(dates)s::date[], %(labels)s::text[]) AS t(date, label)
"""


async def _filled(conn: Conn, calendar_id: int, fields: CalendarFields) -> Calendar:
    await conn.execute(CLEAR, {"calendar_id": calendar_id})
    dates = {"dates": list(fields.dates), "labels": list(fields.dates.values())}
    await conn.execute(FILL, {"calendar_id": calendar_id} | dates)
    written = await find(conn, calendar_id)
    assert written is not None
    return written


def _columns(fields: CalendarFields) -> dict[str, Any]:
    return {
        "namespace": fields.namespace,
        "name": fields.name,
        "description": fields.description,
        "weekend": sorted(fields.weekend),
    }


async def _read(conn: Conn, statement: sql.SQL | sql.Composed, parameters: Mapping[str, Any]) -> list[Calendar]:
    async with conn.cursor(row_factory=dict_row) as cursor:
        rows = await (await cursor.execute(statement, parameters)).fetchall()
    return [
        Calendar(
            id=row["id"],
            fields=CalendarFields(
                namespace=row["namespace"],
                name=row["name"],
                description=row["description"],
                weekend=tuple(row["weekend"]),
                dates=dict(zip(row["dates"], row["labels"], strict=True)),
            ),
            revision=row["revision"],
            jobs=row["jobs"],
            created_by=row["created_by"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
        )
        for row in rows
    ]
