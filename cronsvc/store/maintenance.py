"""Statements on `maintenance_windows`.

Who plans a job holds the windows that may be open by a row lock; who ends or changes one waits for them, and so finds
every row that was held by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from cronsvc.domain.maintenance import During, Selector, Window
from cronsvc.domain.schedule import Schedule
from cronsvc.store.edges import Edge
from cronsvc.store.pool import Conn


@dataclass(frozen=True, slots=True)
class WindowFields:
    """What a person defines. One that happens once has `starts_at` and `ends_at`; one that recurs cron and duration."""

    name: str
    during: During
    selector: Selector
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    cron_expression: str | None = None
    timezone: str = "UTC"
    duration_seconds: int | None = None
    spread_seconds: int = 0
    coalesce: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WindowRow:
    """A window as readers see it; `held` is how many executions it holds."""

    id: int
    fields: WindowFields
    revision: int
    held: int
    created_by: str
    created_at: datetime
    updated_at: datetime
    cancelled_at: datetime | None
    cancelled_by: str | None

    @property
    def window(self) -> Window:
        """The window as planning takes it."""
        return _window(self.id, self.fields)


COLUMNS = sql.SQL("""
       w.id, w.name, w.namespace, w.tags, w.queue, w.starts_at, w.ends_at, w.cron_expression, w.timezone,
       w.duration_seconds, w.during, w.spread_seconds, w."coalesce", w.reason, w.revision, w.created_by, w.created_at,
       w.updated_at, w.cancelled_at, w.cancelled_by
""")

# Of one that recurs, the last opening may begin at ends_at.
STANDING = sql.SQL("""
SELECT {columns}, 0 AS held FROM maintenance_windows AS w
 WHERE w.cancelled_at IS NULL
   AND (w.ends_at IS NULL
        OR w.ends_at > %(since)s::timestamptz - make_interval(secs => coalesce(w.duration_seconds, 0)))
   AND (w.starts_at IS NULL OR w.starts_at <= %(until)s::timestamptz)
 ORDER BY w.id
""").format(columns=COLUMNS)

HOLD_STANDING = sql.SQL("{} FOR SHARE OF w").format(STANDING)


async def standing(conn: Conn, *, since: datetime, until: datetime, hold: bool = False) -> list[Window]:
    """Windows that may be open between `since` and `until`; with `hold` none ends or changes before this does."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(HOLD_STANDING if hold else STANDING, {"since": since, "until": until})
        return [_row(row).window for row in await cursor.fetchall()]


HELD_COUNT = sql.SQL("""
(SELECT count(*) FROM job_executions AS e
  WHERE e.status = 'QUEUED' AND e.held = 'maintenance' AND e.window_id = w.id) AS held
""")

PAGE = sql.SQL("""
SELECT {columns}, {held} FROM maintenance_windows AS w
 WHERE (%(namespaces)s::text[] IS NULL OR w.namespace IS NULL OR w.namespace = ANY (%(namespaces)s::text[]))
   AND (%(namespace)s::text IS NULL OR w.namespace = %(namespace)s::text) AND {beyond}
   AND (NOT %(standing)s::boolean
        OR (w.cancelled_at IS NULL AND (w.ends_at IS NULL OR w.ends_at > (SELECT clock_timestamp()))))
 ORDER BY w.id {turn} LIMIT %(limit)s::integer
""")


async def page(
    conn: Conn,
    *,
    namespaces: Sequence[str] | None,
    namespace: str | None,
    standing: bool,
    edge: Edge,
    limit: int,
) -> list[WindowRow]:
    """Windows that concern these namespaces (None: any) by id, from `edge` on; with `standing` those not over.

    With a `namespace`, those for it alone.
    """
    wanted = None if namespaces is None else list(namespaces)
    parameters = {
        "namespaces": wanted,
        "namespace": namespace,
        "standing": standing,
        "edge": edge.beyond,
        "limit": limit,
    }
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(PAGE.format(columns=COLUMNS, held=HELD_COUNT, **edge.parts("w.id")), parameters)
        return [_row(row) for row in await cursor.fetchall()]


FIND = sql.SQL("SELECT {columns}, {held} FROM maintenance_windows AS w WHERE w.id = %(window_id)s::bigint").format(
    columns=COLUMNS, held=HELD_COUNT
)


async def find(conn: Conn, window_id: int) -> WindowRow | None:
    """One window."""
    return await _one(conn, FIND, {"window_id": window_id})


LOCK = "SELECT FROM maintenance_windows WHERE id = %(window_id)s::bigint FOR UPDATE"


async def lock(conn: Conn, window_id: int) -> WindowRow | None:
    """One window, locked until the transaction ends; ticks that plan by it have ended."""
    await conn.execute(LOCK, {"window_id": window_id})
    return await find(conn, window_id)


INSERT = sql.SQL("""
INSERT INTO maintenance_windows AS w (name, namespace, tags, queue, starts_at, ends_at, cron_expression, timezone,
       duration_seconds, during, spread_seconds, "coalesce", reason, created_by)
VALUES (%(name)s, %(namespace)s, %(tags)s::text[], %(queue)s, %(starts_at)s, %(ends_at)s, %(cron_expression)s,
        %(timezone)s, %(duration_seconds)s, %(during)s, %(spread_seconds)s, %(coalesce)s, %(reason)s, cronsvc_actor())
RETURNING {columns}, 0 AS held
""").format(columns=COLUMNS)


async def insert(conn: Conn, fields: WindowFields) -> WindowRow:
    """Write a new window."""
    written = await _one(conn, INSERT, columns(fields))
    assert written is not None
    return written


UPDATE = """
UPDATE maintenance_windows AS w
   SET name = %(name)s, namespace = %(namespace)s, tags = %(tags)s::text[], queue = %(queue)s,
       starts_at = %(starts_at)s, ends_at = %(ends_at)s, cron_expression = %(cron_expression)s,
       timezone = %(timezone)s, duration_seconds = %(duration_seconds)s, during = %(during)s,
       spread_seconds = %(spread_seconds)s, "coalesce" = %(coalesce)s, reason = %(reason)s,
       revision = revision + 1, updated_at = clock_timestamp()
 WHERE w.id = %(window_id)s::bigint
"""


async def update(conn: Conn, window_id: int, fields: WindowFields) -> None:
    """Replace what a locked window says."""
    await conn.execute(UPDATE, columns(fields) | {"window_id": window_id})


CANCEL = """
UPDATE maintenance_windows SET cancelled_at = clock_timestamp(), cancelled_by = cronsvc_actor(),
       revision = revision + 1, updated_at = clock_timestamp()
 WHERE id = %(window_id)s::bigint AND cancelled_at IS NULL
"""


async def cancel(conn: Conn, window_id: int) -> None:
    """End a locked window, or keep it from ever opening."""
    await conn.execute(CANCEL, {"window_id": window_id})


def columns(fields: WindowFields) -> dict[str, Any]:
    """What a person says of a window, by the names of the columns."""
    return {
        "name": fields.name,
        "namespace": fields.selector.namespace,
        "tags": list(fields.selector.tags),
        "queue": fields.selector.queue,
        "starts_at": fields.starts_at,
        "ends_at": fields.ends_at,
        "cron_expression": fields.cron_expression,
        "timezone": fields.timezone,
        "duration_seconds": fields.duration_seconds,
        "during": fields.during.value,
        "spread_seconds": fields.spread_seconds,
        "coalesce": fields.coalesce,
        "reason": fields.reason,
    }


def _window(window_id: int, fields: WindowFields) -> Window:
    recurs = fields.cron_expression is not None and fields.duration_seconds is not None
    return Window(
        id=window_id,
        name=fields.name,
        selector=fields.selector,
        during=fields.during,
        starts_at=fields.starts_at,
        ends_at=fields.ends_at,
        schedule=Schedule(
            cron_expression=fields.cron_expression,
            timezone=fields.timezone,
            start_at=fields.starts_at,
            end_at=fields.ends_at,
        )
        if recurs
        else None,
        duration=timedelta(seconds=fields.duration_seconds) if fields.duration_seconds is not None else None,
        spread_seconds=fields.spread_seconds,
        coalesce=fields.coalesce,
    )


def _row(row: Mapping[str, Any]) -> WindowRow:
    fields = WindowFields(
        name=row["name"],
        during=During(row["during"]),
        selector=Selector(row["namespace"], tuple(row["tags"]), row["queue"]),
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        cron_expression=row["cron_expression"],
        timezone=row["timezone"],
        duration_seconds=row["duration_seconds"],
        spread_seconds=row["spread_seconds"],
        coalesce=row["coalesce"],
        reason=row["reason"],
    )
    return WindowRow(
        id=row["id"],
        fields=fields,
        revision=row["revision"],
        held=row["held"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        cancelled_at=row["cancelled_at"],
        cancelled_by=row["cancelled_by"],
    )


async def _one(conn: Conn, statement: sql.Composed, parameters: Mapping[str, Any]) -> WindowRow | None:
    async with conn.cursor(row_factory=dict_row) as cursor:
        row = await (await cursor.execute(statement, parameters)).fetchone()
    return None if row is None else _row(row)
