"""Statements on dead letters: FAILED executions that nobody has resolved or retried.

All go along the one partial index that holds them and nothing else, latest first and only as far as a page needs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from cronsvc.domain.execution import Execution
from cronsvc.store.pool import Conn
from cronsvc.store.rows import EXECUTION_COLUMNS, execution_from_row

MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters; None does not filter. `since` and `until` bound the scheduled time, `until` excluded."""

    namespaces: Sequence[str] | None = None
    job_id: int | None = None
    queue: str | None = None
    since: datetime | None = None
    until: datetime | None = None


# The bound on scheduled_time alone is what lets Postgres leave out partitions; it does not see through a row.
_CONDITIONS: Mapping[str, sql.SQL] = {
    "namespaces": sql.SQL("j.namespace = ANY (%(namespaces)s::text[])"),
    "job_id": sql.SQL("e.job_id = %(job_id)s::bigint"),
    "queue": sql.SQL("e.queue = %(queue)s::text"),
    "since": sql.SQL("e.scheduled_time >= %(since)s::timestamptz"),
    "until": sql.SQL("e.scheduled_time < %(until)s::timestamptz"),
    "before": sql.SQL(
        "e.scheduled_time {sign}= %(before)s::timestamptz"
        " AND (e.scheduled_time, e.id) {sign} (%(before)s::timestamptz, %(before_id)s::bigint)"
    ),
}

PAGE = sql.SQL("""
SELECT {columns} FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
 WHERE e.status = 'FAILED' AND e.resolved_at IS NULL AND {filters}
 ORDER BY e.scheduled_time {turn}, e.id {turn} LIMIT %(limit)s::integer
""")


async def page(
    conn: Conn,
    wanted: Filter,
    *,
    before: tuple[datetime, int] | None = None,
    earliest_first: bool = False,
    limit: int,
) -> list[Execution]:
    """Dead letters, the latest scheduled time first unless told, beyond the (scheduled time, id) `before`."""
    statement, parameters = select(wanted, before=before, earliest_first=earliest_first, limit=limit)
    async with conn.cursor(row_factory=dict_row) as found:
        await found.execute(statement, parameters)
        return [execution_from_row(row) for row in await found.fetchall()]


def select(
    wanted: Filter, *, before: tuple[datetime, int] | None = None, earliest_first: bool = False, limit: int
) -> tuple[sql.Composed, Mapping[str, Any]]:
    """The statement of a page, with only the filters that are asked for, and its parameters."""
    parameters: dict[str, Any] = {
        "namespaces": None if wanted.namespaces is None else list(wanted.namespaces),
        "job_id": wanted.job_id,
        "queue": wanted.queue,
        "since": wanted.since,
        "until": wanted.until,
        "before": None if before is None else before[0],
    }
    given = {name: value for name, value in parameters.items() if value is not None}
    sign, turn = (sql.SQL(each) for each in ((">", "ASC") if earliest_first else ("<", "DESC")))
    conditions = (_CONDITIONS[name].format(sign=sign) for name in given)
    filters = sql.SQL(" AND ").join([sql.SQL("true"), *conditions])
    others = {"limit": limit} if before is None else {"limit": limit, "before_id": before[1]}
    return PAGE.format(columns=sql.SQL(EXECUTION_COLUMNS), filters=filters, turn=turn), given | others


COUNT = """
SELECT count(*)::integer
  FROM (SELECT FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
         WHERE e.status = 'FAILED' AND e.resolved_at IS NULL
           AND (%(namespaces)s::text[] IS NULL OR j.namespace = ANY (%(namespaces)s::text[]))
         LIMIT %(most)s::integer + 1) AS dead
"""


async def count(conn: Conn, *, namespaces: Sequence[str] | None, most: int = MOST_COUNTED) -> int:
    """How many there are; `most` + 1 stands for any number above."""
    parameters = {"namespaces": None if namespaces is None else list(namespaces), "most": most}
    row = await (await conn.execute(COUNT, parameters)).fetchone()
    assert row is not None
    return int(row[0])
