"""Weekly partitions of executions and attempts: made ahead of the cursor, dropped behind the retention.

A partition is built as a table of its own and then attached, because ATTACH lets readers and writers of the parent go
on while CREATE … PARTITION OF does not. Names carry the Monday they start with: `job_executions_20261116`.
"""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

from psycopg import sql

from cronsvc.store.pool import Conn

WEEK = timedelta(days=7)
PARENTS = ("job_executions", "job_attempts")

# A queue's partitions are updated twice a row: vacuum them long before the default of a fifth.
STORAGE = sql.SQL("autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.1")


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


async def _make(conn: Conn, parent: str, week: date) -> None:
    names = {
        "partition": sql.Identifier(f"{parent}_{week:%Y%m%d}"),
        "parent": sql.Identifier(parent),
        "storage": STORAGE,
        "start": sql.Literal(_start(week)),
        "end": sql.Literal(_start(week) + WEEK),
    }
    exists = await (
        await conn.execute(
            "SELECT relispartition FROM pg_class WHERE oid = to_regclass(%s)", (f"{parent}_{week:%Y%m%d}",)
        )
    ).fetchone()
    if exists is not None and exists[0]:
        return
    if exists is None:
        await conn.execute(
            sql.SQL("CREATE TABLE {partition} (LIKE {parent} INCLUDING ALL) WITH ({storage})").format(**names)
        )
    await conn.execute(
        sql.SQL("ALTER TABLE {parent} ATTACH PARTITION {partition} FOR VALUES FROM ({start}) TO ({end})").format(
            **names
        )
    )


LONGEST_RETENTION = """
SELECT greatest(%(days)s::int, coalesce(max((retention ->> 'days')::int), 0)), clock_timestamp()
  FROM jobs WHERE deleted_at IS NULL AND jsonb_typeof(retention -> 'days') = 'number'
"""


async def longest_retention(conn: Conn, *, days: int) -> tuple[int, datetime]:
    """Days that some job still wants its rows kept, at least `days`; and the database's now."""
    row = await (await conn.execute(LONGEST_RETENTION, {"days": days})).fetchone()
    assert row is not None
    return row[0], row[1]


UNFINISHED_BEFORE = """
SELECT count(*) FROM job_executions WHERE scheduled_time < %(before)s AND (status = 'QUEUED' OR status = 'RUNNING')
"""


async def drop_before(conn: Conn, before: datetime) -> list[str]:
    """Drop every partition that ends at or before `before`; returns the names.

    A week with unfinished rows stays: forgetting a row that may still run would break the promise of a terminal state.
    """
    dropped: list[str] = []
    for week in sorted(await present(conn)):
        end = _start(week) + WEEK
        if end > before:
            continue
        unfinished = await (await conn.execute(UNFINISHED_BEFORE, {"before": end})).fetchone()
        if unfinished is not None and unfinished[0]:
            break
        for parent in PARENTS:
            name = f"{parent}_{week:%Y%m%d}"
            await conn.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
            dropped.append(name)
    return dropped
