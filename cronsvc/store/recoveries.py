"""Statements on `recoveries`: the parents of backfills, and the bound that these share."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cronsvc.domain.backfill import BackfillStatus, Direction, Recovery, Selector
from cronsvc.store.edges import Edge
from cronsvc.store.pool import Conn

_RECOVERY = sql.SQL("""
       r.id, r.namespaces, r.window_from, r.window_to, r.selector, r.direction, r.max_parallel, r.max_total, r.status,
       r.note, r.created_by, r.created_at, r.finished_at,
       (SELECT count(*) FROM backfills AS b WHERE b.recovery_id = r.id)::int AS jobs
""")

INSERT_RECOVERY = sql.SQL("""
WITH r AS (
    INSERT INTO recoveries (namespaces, window_from, window_to, selector, direction, max_parallel, max_total, note,
                            created_by)
    VALUES (%(namespaces)s::text[], %(window_from)s, %(window_to)s, %(selector)s, %(direction)s, %(max_parallel)s,
            %(max_total)s, %(note)s, %(created_by)s)
    RETURNING *
)
SELECT {columns} FROM r
""").format(columns=_RECOVERY)


async def insert_recovery(
    conn: Conn,
    *,
    namespaces: Sequence[str] | None,
    start: datetime,
    end: datetime,
    selector: Selector,
    direction: Direction,
    max_parallel: int,
    max_total: int,
    note: str | None,
    created_by: str,
) -> Recovery:
    """Write a new recovery, still without backfills."""
    parameters = {
        "namespaces": None if namespaces is None else list(namespaces),
        "window_from": start,
        "window_to": end,
        "selector": Jsonb(asdict(selector)),
        "direction": direction.value,
        "max_parallel": max_parallel,
        "max_total": max_total,
        "note": note,
        "created_by": created_by,
    }
    async with conn.cursor(row_factory=dict_row) as found:
        row = await (await found.execute(INSERT_RECOVERY, parameters)).fetchone()
    assert row is not None
    return _recovery(row)


FIND_RECOVERY = sql.SQL("SELECT {columns} FROM recoveries AS r WHERE r.id = %(id)s::bigint").format(columns=_RECOVERY)


async def find_recovery(conn: Conn, recovery_id: int) -> Recovery | None:
    """One recovery."""
    return await _one_recovery(conn, FIND_RECOVERY, {"id": recovery_id})


LOCK_RECOVERY = FIND_RECOVERY + sql.SQL(" FOR NO KEY UPDATE")


async def lock_recovery(conn: Conn, recovery_id: int) -> Recovery | None:
    """One recovery, locked until the transaction ends."""
    return await _one_recovery(conn, LOCK_RECOVERY, {"id": recovery_id})


TAKE_RECOVERY = FIND_RECOVERY + sql.SQL(" FOR NO KEY UPDATE SKIP LOCKED")


async def take_recovery(conn: Conn, recovery_id: int) -> Recovery | None:
    """Lock a recovery for a step of one of its backfills; None when another replica is at it."""
    return await _one_recovery(conn, TAKE_RECOVERY, {"id": recovery_id})


PAGE_OF_RECOVERIES = sql.SQL("""
SELECT {columns} FROM recoveries AS r
 WHERE (%(namespaces)s::text[] IS NULL OR r.namespaces <@ %(namespaces)s::text[])
   AND (%(status)s::text IS NULL OR r.status = %(status)s::text) AND {beyond}
 ORDER BY r.id {turn} LIMIT %(limit)s::integer
""")


async def page_of_recoveries(
    conn: Conn, *, namespaces: Sequence[str] | None, status: BackfillStatus | None, edge: Edge, limit: int
) -> list[Recovery]:
    """Recoveries that touch none but these namespaces, by id, from `edge` on."""
    wanted = None if namespaces is None else list(namespaces)
    parameters = {"namespaces": wanted, "status": status and status.value, "edge": edge.beyond, "limit": limit}
    async with conn.cursor(row_factory=dict_row) as found:
        await found.execute(PAGE_OF_RECOVERIES.format(columns=_RECOVERY, **edge.parts("r.id")), parameters)
        return [_recovery(row) for row in await found.fetchall()]


UNFINISHED_OF_RECOVERY = """
SELECT count(*) FROM job_executions AS e
 WHERE e.backfill_id IN (SELECT id FROM backfills WHERE recovery_id = %(id)s) AND e.status IN ('QUEUED', 'RUNNING')
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s
"""


async def unfinished_of_recovery(conn: Conn, recovery: Recovery) -> int:
    """How many executions of all its backfills are unfinished."""
    parameters = {"id": recovery.id, "least": recovery.window_from, "greatest": recovery.window_to}
    row = await (await conn.execute(UNFINISHED_OF_RECOVERY, parameters)).fetchone()
    assert row is not None
    return int(row[0])


END_RECOVERY = """
UPDATE recoveries AS r SET status = %(status)s::text, finished_at = clock_timestamp()
 WHERE r.id = %(id)s AND r.status = 'running'
   AND (%(status)s::text = 'cancelled' OR NOT EXISTS (
        SELECT FROM backfills AS b WHERE b.recovery_id = r.id AND b.status IN ('running', 'paused')))
"""


async def end_recovery(conn: Conn, recovery_id: int, status: BackfillStatus) -> None:
    """End a locked recovery; `finished` only if all of its backfills have ended."""
    await conn.execute(END_RECOVERY, {"id": recovery_id, "status": status.value})


async def _one_recovery(conn: Conn, statement: sql.Composed, parameters: Mapping[str, Any]) -> Recovery | None:
    async with conn.cursor(row_factory=dict_row) as found:
        row = await (await found.execute(statement, parameters)).fetchone()
    return None if row is None else _recovery(row)


def _recovery(row: Mapping[str, Any]) -> Recovery:
    namespaces = None if row["namespaces"] is None else tuple(row["namespaces"])
    enums = {"direction": Direction(row["direction"]), "status": BackfillStatus(row["status"])}
    return Recovery(**{**row, **enums, "namespaces": namespaces})
