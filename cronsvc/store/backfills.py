"""Statements on `backfills`: making, reading and ending them, and their own cursors.

What a step writes into `job_executions` is in `backfill_steps`. Whoever changes a backfill of a recovery locks the
recovery first, so that the bound they share and the end of the last one are decided by one transaction at a time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cronsvc.domain.backfill import Backfill, BackfillStatus, Direction, Mode, Window
from cronsvc.store.edges import Edge
from cronsvc.store.pool import Conn

_BACKFILL = sql.SQL("""
       b.id, b.job_id, j.name AS job_name, j.namespace, b.recovery_id, b.revision, b.window_from, b.window_to, b.mode,
       b.direction, b.max_parallel, b.params, b.note, b.status, b.reached, b.exhausted, b.planned, b.started,
       b.left_alone, b.final_counts, b.created_by, b.created_at, b.finished_at
""")

INSERT = sql.SQL("""
WITH b AS (
    INSERT INTO backfills (job_id, recovery_id, revision, window_from, window_to, mode, direction, max_parallel, params,
                           note, planned, created_by)
    VALUES (%(job_id)s, %(recovery_id)s, %(revision)s, %(window_from)s, %(window_to)s, %(mode)s, %(direction)s,
            %(max_parallel)s, %(params)s, %(note)s, %(planned)s, %(created_by)s)
    RETURNING *
)
SELECT {columns} FROM b JOIN jobs AS j ON j.id = b.job_id
""").format(columns=_BACKFILL)


async def insert(
    conn: Conn,
    *,
    job_id: int,
    revision: int,
    window: Window,
    max_parallel: int,
    params: Mapping[str, Any] | None,
    note: str | None,
    planned: int,
    created_by: str,
    recovery_id: int | None = None,
) -> Backfill:
    """Write a new backfill, running, with nothing decided yet."""
    parameters = {
        "job_id": job_id,
        "recovery_id": recovery_id,
        "revision": revision,
        "window_from": window.start,
        "window_to": window.end,
        "mode": window.mode.value,
        "direction": window.direction.value,
        "max_parallel": max_parallel,
        "params": None if params is None else Jsonb(dict(params)),
        "note": note,
        "planned": planned,
        "created_by": created_by,
    }
    async with conn.cursor(row_factory=dict_row) as found:
        row = await (await found.execute(INSERT, parameters)).fetchone()
    assert row is not None
    return _backfill(row)


FIND = sql.SQL("""
SELECT {columns} FROM backfills AS b JOIN jobs AS j ON j.id = b.job_id WHERE b.id = %(id)s::bigint
""").format(columns=_BACKFILL)


async def find(conn: Conn, backfill_id: int) -> Backfill | None:
    """One backfill, of a job live or deleted."""
    return await _one(conn, FIND, {"id": backfill_id})


LOCK = FIND + sql.SQL(" FOR NO KEY UPDATE OF b")


async def lock(conn: Conn, backfill_id: int) -> Backfill | None:
    """One backfill, locked until the transaction ends; lock its recovery first."""
    return await _one(conn, LOCK, {"id": backfill_id})


PAGE = sql.SQL("""
SELECT {columns} FROM backfills AS b JOIN jobs AS j ON j.id = b.job_id
 WHERE (%(namespaces)s::text[] IS NULL OR j.namespace = ANY (%(namespaces)s::text[]))
   AND (%(job_id)s::bigint IS NULL OR b.job_id = %(job_id)s::bigint)
   AND (%(recovery_id)s::bigint IS NULL OR b.recovery_id = %(recovery_id)s::bigint)
   AND (%(status)s::text IS NULL OR b.status = %(status)s::text)
   AND {beyond}
 ORDER BY b.id {turn} LIMIT %(limit)s::integer
""")


async def page(
    conn: Conn,
    *,
    namespaces: Sequence[str] | None,
    job_id: int | None,
    recovery_id: int | None,
    status: BackfillStatus | None,
    edge: Edge,
    limit: int,
) -> list[Backfill]:
    """Backfills by id, from `edge` on; a filter that is None does not filter."""
    parameters = {
        "namespaces": None if namespaces is None else list(namespaces),
        "job_id": job_id,
        "recovery_id": recovery_id,
        "status": status and status.value,
        "edge": edge.beyond,
        "limit": limit,
    }
    async with conn.cursor(row_factory=dict_row) as found:
        await found.execute(PAGE.format(columns=_BACKFILL, **edge.parts("b.id")), parameters)
        return [_backfill(row) for row in await found.fetchall()]


COUNTS = """
SELECT e.backfill_id, e.status, count(*)
  FROM job_executions AS e
 WHERE e.backfill_id = ANY (%(ids)s::bigint[]) AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s
 GROUP BY 1, 2
"""


async def counts(conn: Conn, backfills: Sequence[Backfill]) -> dict[int, dict[str, int]]:
    """The executions of these backfills by status, along one index; of those whose final counts are not written yet."""
    counted: dict[int, dict[str, int]] = {each.id: {} for each in backfills}
    live = [each for each in backfills if each.final_counts is None]
    if live:
        parameters = {
            "ids": [each.id for each in live],
            "least": min(each.window_from for each in live),
            "greatest": max(each.window_to for each in live),
        }
        for backfill_id, status, number in await (await conn.execute(COUNTS, parameters)).fetchall():
            counted[backfill_id][status] = number
    return counted


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backfill that may have something to do."""

    backfill_id: int
    recovery_id: int | None


CANDIDATES = """
SELECT b.id, b.recovery_id
  FROM backfills AS b
 CROSS JOIN LATERAL (
       SELECT count(*) AS unfinished FROM job_executions AS e
        WHERE e.backfill_id = b.id AND e.status IN ('QUEUED', 'RUNNING')
          AND e.scheduled_time BETWEEN b.window_from AND b.window_to) AS now
 WHERE b.final_counts IS NULL
   AND ((b.status = 'running' AND NOT b.exhausted AND now.unfinished < b.max_parallel)
        OR (b.status <> 'paused' AND (b.exhausted OR b.status = 'cancelled') AND now.unfinished = 0))
 ORDER BY b.id
"""


async def candidates(conn: Conn) -> list[Candidate]:
    """Backfills with room for another execution, or whose last one has ended; nothing to do costs one empty index."""
    rows = await (await conn.execute(CANDIDATES)).fetchall()
    return [Candidate(*row) for row in rows]


TAKE = FIND + sql.SQL(" AND b.final_counts IS NULL FOR NO KEY UPDATE OF b SKIP LOCKED")


async def take(conn: Conn, backfill_id: int) -> Backfill | None:
    """Lock a backfill for a step; None when another replica is at it, or it has ended for good."""
    return await _one(conn, TAKE, {"id": backfill_id})


ADVANCE = """
UPDATE backfills AS b
   SET reached = coalesce(%(reached)s::timestamptz, b.reached), started = b.started + %(started)s,
       left_alone = b.left_alone + %(left_alone)s, exhausted = %(exhausted)s,
       planned = CASE WHEN %(exhausted)s THEN b.started + b.left_alone + %(started)s + %(left_alone)s ELSE b.planned END
 WHERE b.id = %(id)s AND NOT b.exhausted AND b.status = 'running'
"""


async def advance(
    conn: Conn, backfill_id: int, *, reached: datetime | None, started: int, left_alone: int, exhausted: bool
) -> None:
    """Move the cursor of a taken backfill past what this transaction decided."""
    parameters = {"id": backfill_id, "reached": reached, "started": started, "left_alone": left_alone}
    await conn.execute(ADVANCE, parameters | {"exhausted": exhausted})


SET_STATUS = """
UPDATE backfills AS b
   SET status = %(status)s::text,
       finished_at = CASE WHEN %(status)s::text IN ('finished', 'cancelled') THEN clock_timestamp() END
 WHERE b.id = %(id)s::bigint AND b.status IN ('running', 'paused')
"""


async def set_status(conn: Conn, backfill_id: int, status: BackfillStatus) -> None:
    """Move a locked backfill that has not ended to another status."""
    await conn.execute(SET_STATUS, {"id": backfill_id, "status": status.value})


CLOSE = """
UPDATE backfills AS b SET final_counts = %(counts)s::jsonb WHERE b.id = %(id)s::bigint AND b.final_counts IS NULL
"""


async def close(conn: Conn, backfill_id: int, by_status: Mapping[str, int]) -> None:
    """Write down for good how the executions of a backfill ended: retention may forget them."""
    await conn.execute(CLOSE, {"id": backfill_id, "counts": Jsonb(dict(by_status))})


OF_RECOVERY = sql.SQL("""
SELECT {columns} FROM backfills AS b JOIN jobs AS j ON j.id = b.job_id
 WHERE b.recovery_id = ANY (%(ids)s::bigint[]) ORDER BY b.id
""").format(columns=_BACKFILL)


async def of_recoveries(conn: Conn, recovery_ids: Sequence[int]) -> list[Backfill]:
    """Every backfill of these recoveries."""
    async with conn.cursor(row_factory=dict_row) as found:
        await found.execute(OF_RECOVERY, {"ids": list(recovery_ids)})
        return [_backfill(row) for row in await found.fetchall()]


async def _one(conn: Conn, statement: sql.Composed, parameters: Mapping[str, Any]) -> Backfill | None:
    async with conn.cursor(row_factory=dict_row) as found:
        row = await (await found.execute(statement, parameters)).fetchone()
    return None if row is None else _backfill(row)


def _backfill(row: Mapping[str, Any]) -> Backfill:
    enums = {
        "mode": Mode(row["mode"]),
        "direction": Direction(row["direction"]),
        "status": BackfillStatus(row["status"]),
    }
    return Backfill(**{**row, **enums})
