"""Weekly partitions of executions and attempts: made ahead of the cursor, dropped behind the retention.

A partition is built as a table of its own and then attached, because ATTACH lets readers and writers of the parent go
on while CREATE … PARTITION OF does not. Functions of the schema do it, with the rights of the tables' owner, so that
the role of a scheduler need own nothing. Names carry the Monday they start with: `job_executions_20261116`.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta

from psycopg import sql

from cronsvc.domain.job import DEFAULT_DAYS
from cronsvc.store.pool import Conn

WEEK = timedelta(days=7)
PARENTS = ("job_executions", "job_attempts")


def week_of(instant: datetime) -> date:
    """The Monday (UTC) of the week that holds `instant`."""
    day = instant.astimezone(UTC).date()
    return day - timedelta(days=day.weekday())


def _start(week: date) -> datetime:
    return datetime.combine(week, time(), UTC)


LOCK = "SELECT pg_advisory_xact_lock(hashtext('cronsvc'), hashtext('partitions'))"

PRESENT = """
SELECT c.relname::text
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = %(parent)s::regclass
"""


async def present(conn: Conn) -> set[date]:
    """The weeks for which both parents have a partition."""
    weeks: list[set[date]] = []
    for parent in PARENTS:
        rows = await (await conn.execute(PRESENT, {"parent": parent})).fetchall()
        # Only ours: somebody may have attached a partition of another name, a default one say.
        ours = (re.fullmatch(rf"{parent}_(\d{{8}})", name) for (name,) in rows)
        weeks.append({date.fromisoformat(found[1]) for found in ours if found})
    return weeks[0] & weeks[1]


async def ensure(conn: Conn, weeks: Iterable[date]) -> set[date]:
    """Make the partitions of these weeks (Mondays) that are missing; returns the ones made. Safe to race: it locks."""
    weeks = set(weeks)
    if weeks <= await present(conn):
        return set()
    await conn.execute(LOCK)
    missing = weeks - await present(conn)
    for week in sorted(missing):
        for parent in PARENTS:
            await _make(conn, parent, week)
    return missing


MAKE = "SELECT cronsvc_make_partition(%(parent)s::text, %(week)s::date)"


async def _make(conn: Conn, parent: str, week: date) -> None:
    await conn.execute(MAKE, {"parent": parent, "week": week})


# The default number of days is the operator's to decide; the index jobs_history_bounded has the other ones.
LONGEST_RETENTION = sql.SQL("""
SELECT greatest(%(days)s::int, max(least((retention ->> 'days')::numeric, 36600)::int)), clock_timestamp()
  FROM jobs
 WHERE ((retention ->> 'keepCompleted') IS NOT NULL OR (retention ->> 'keepFailed') IS NOT NULL
        OR (retention ->> 'days') IS DISTINCT FROM {default_days})
   AND deleted_at IS NULL AND jsonb_typeof(retention -> 'days') = 'number' AND retention ->> 'days' <> {default_days}
""").format(default_days=sql.Literal(str(DEFAULT_DAYS)))


async def longest_retention(conn: Conn, *, days: int) -> tuple[int, datetime]:
    """Days that some job still wants its rows kept, at least `days` (the operator's); and the database's now."""
    row = await (await conn.execute(LONGEST_RETENTION, {"days": days})).fetchone()
    assert row is not None
    return row[0], row[1]


async def ended_before(conn: Conn, before: datetime) -> list[date]:
    """The weeks that have a partition and end at or before `before`, oldest first."""
    return [week for week in sorted(await present(conn)) if _start(week) + WEEK <= before]


HOLD = "SELECT cronsvc_hold_partition(%(week)s::date)"

DROP = "SELECT cronsvc_drop_partition(%(week)s::date)"


async def drop(conn: Conn, week: date, *, keep: Callable[[Conn, datetime, datetime], Awaitable[None]]) -> list[str]:
    """Drop a week's partitions once `keep` has taken what is to be kept of the executions; returns the names.

    A week with unfinished rows stays: forgetting a row that may still run would break the promise of a terminal state.
    Nobody can write to the week between that look and the drop; reading goes on until the drop itself.
    """
    await conn.execute("SET LOCAL statement_timeout = '5min'")  # a week may have millions of rows
    finished = await (await conn.execute(HOLD, {"week": week})).fetchone()
    if finished is None or not finished[0]:
        return []
    await keep(conn, _start(week), _start(week) + WEEK)
    await conn.execute(DROP, {"week": week})
    return [f"{parent}_{week:%Y%m%d}" for parent in PARENTS]
