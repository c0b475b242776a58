"""Statements of people on `target_hosts` and `host_holds`: settings, breakers by hand, what waits and has waited."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import class_row, dict_row

from cronsvc.domain.target_host import HostRule
from cronsvc.store.edges import Edge
from cronsvc.store.host_calls import RULE, rule_from_row
from cronsvc.store.pool import Conn


@dataclass(frozen=True, slots=True)
class TargetHost:
    """A host as it is set, its breaker, and what it has to bear now."""

    rule: HostRule
    updated_at: datetime
    updated_by: str
    changed_at: datetime
    open_until: datetime | None
    tripped_by: str | None
    note: str | None
    held: int
    running: int


HOST = """
       {rule}, h.updated_at, h.updated_by, h.changed_at, h.open_until, h.tripped_by, h.note,
       (SELECT count(*)::int FROM host_holds AS w
          JOIN job_executions AS e ON e.job_id = w.job_id AND e.scheduled_time = w.scheduled_time
         WHERE w.host = h.host AND w.held_until > (SELECT clock_timestamp()) AND e.status = 'QUEUED'
           AND e.claim_no = w.claim_no) AS held,
       (SELECT count(*)::int FROM host_calls AS c
          JOIN job_executions AS e ON e.job_id = c.job_id AND e.scheduled_time = c.scheduled_time
         WHERE c.host = h.host AND c.ended_at IS NULL AND e.status = 'RUNNING' AND e.claim_no = c.claim_no
           AND e.callback_since IS NULL) AS running
""".replace("{rule}", RULE)

PAGE = sql.SQL("SELECT {host} FROM target_hosts AS h WHERE {beyond} ORDER BY h.host {turn} LIMIT %(limit)s::integer")


async def page(conn: Conn, *, edge: Edge, limit: int) -> list[TargetHost]:
    """Hosts with settings by name, from `edge` on."""
    statement = PAGE.format(host=sql.SQL(HOST), **edge.parts("h.host"))
    async with conn.cursor(row_factory=dict_row) as cursor:
        found = await cursor.execute(statement, {"edge": edge.beyond, "limit": limit})
        return [_host(row) for row in await found.fetchall()]


FIND = "SELECT {host} FROM target_hosts AS h WHERE h.host = %(host)s::text".replace("{host}", HOST)


async def find(conn: Conn, host: str) -> TargetHost | None:
    """One host with settings."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        row = await (await cursor.execute(FIND, {"host": host})).fetchone()
    return None if row is None else _host(row)


LOCK_ONE = "SELECT {rule} FROM target_hosts WHERE host = %(host)s::text FOR NO KEY UPDATE".replace("{rule}", RULE)


async def lock(conn: Conn, host: str) -> HostRule | None:
    """Keep workers and other people from deciding about a host until the transaction ends."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        row = await (await cursor.execute(LOCK_ONE, {"host": host})).fetchone()
    return None if row is None else rule_from_row(row)


COUNT = "SELECT count(*)::int FROM target_hosts"


async def count(conn: Conn) -> int:
    """How many hosts have settings."""
    row = await (await conn.execute(COUNT)).fetchone()
    return 0 if row is None else int(row[0])


PUT = """
INSERT INTO target_hosts (host, calls_per_second, calls_per_minute, max_concurrent, breaker_failures,
                          breaker_open_seconds)
VALUES (%(host)s::text, %(calls_per_second)s::int, %(calls_per_minute)s::int, %(max_concurrent)s::int,
        %(breaker_failures)s::int, %(breaker_open_seconds)s::int)
ON CONFLICT (host) DO UPDATE
   SET calls_per_second = excluded.calls_per_second, calls_per_minute = excluded.calls_per_minute,
       max_concurrent = excluded.max_concurrent, breaker_failures = excluded.breaker_failures,
       breaker_open_seconds = excluded.breaker_open_seconds, updated_at = clock_timestamp(),
       updated_by = cronsvc_actor()
"""


async def put(conn: Conn, host: str, settings: Mapping[str, int | None]) -> None:
    """Set all settings of a host; its breaker stays as it is."""
    await conn.execute(PUT, {"host": host, **settings})


DELETE = "DELETE FROM target_hosts WHERE host = %(host)s::text"


async def delete(conn: Conn, host: str) -> None:
    """Forget a host's settings, its breaker and the calls that were counted."""
    await conn.execute(DELETE, {"host": host})


TRIP = """
INSERT INTO target_hosts AS h (host, state, open_until, tripped_by, note)
VALUES (%(host)s::text, 'open', clock_timestamp() + make_interval(secs => %(seconds)s::float8), cronsvc_actor(),
        %(note)s::text)
ON CONFLICT (host) DO UPDATE
   SET state = 'open', open_until = excluded.open_until, tripped_by = excluded.tripped_by, note = excluded.note,
       changed_at = clock_timestamp(), probe_job_id = NULL, probe_time = NULL, probe_claim = NULL
"""


async def trip(conn: Conn, host: str, *, seconds: float | None, note: str | None) -> None:
    """Open a host's breaker by hand, for so many seconds or (None) until somebody resets it."""
    await conn.execute(TRIP, {"host": host, "seconds": seconds, "note": note})


RESET = """
UPDATE target_hosts
   SET state = 'closed', failures = 0, changed_at = clock_timestamp(), open_until = NULL, tripped_by = NULL,
       note = NULL, probe_job_id = NULL, probe_time = NULL, probe_claim = NULL
 WHERE host = %(host)s::text
"""


async def reset(conn: Conn, host: str) -> None:
    """Close a host's breaker by hand."""
    await conn.execute(RESET, {"host": host})


@dataclass(frozen=True, slots=True)
class HostHold:
    """That an execution waited, or waits (`is_held`), for a host."""

    execution_id: int
    job_id: int
    namespace: str
    scheduled_time: datetime
    host: str
    reason: str
    times: int
    held_from: datetime
    held_until: datetime
    is_held: bool


HOLD = """
       h.execution_id, h.job_id, h.namespace, h.scheduled_time, h.host, h.reason, h.times, h.held_from, h.held_until,
       h.held_until > clock_timestamp() AND EXISTS (
           SELECT FROM job_executions e
            WHERE e.job_id = h.job_id AND e.scheduled_time = h.scheduled_time AND e.status = 'QUEUED'
              AND e.claim_no = h.claim_no) AS is_held
"""

# The hosts and reasons of one execution never share an instant: each was claimed for itself.
HOLDS = sql.SQL("""
SELECT {hold} FROM host_holds AS h
 WHERE (%(namespaces)s::text[] IS NULL OR h.namespace = ANY (%(namespaces)s::text[]))
   AND (%(host)s::text IS NULL OR h.host = %(host)s::text)
   AND (%(execution_id)s::bigint IS NULL OR h.execution_id = %(execution_id)s::bigint)
   AND (%(at)s::timestamptz IS NULL OR (h.held_from, h.execution_id) {sign} (%(at)s::timestamptz, %(id)s::bigint))
 ORDER BY h.held_from {turn}, h.execution_id {turn} LIMIT %(limit)s::integer
""")


async def holds(
    conn: Conn,
    *,
    namespaces: Sequence[str] | None,
    host: str | None,
    execution_id: int | None,
    after: tuple[datetime, int] | None,
    ascending: bool,
    limit: int,
) -> list[HostHold]:
    """What has waited for hosts, the latest first or (`ascending`) the earliest."""
    statement = HOLDS.format(
        hold=sql.SQL(HOLD),
        sign=sql.SQL(">" if ascending else "<"),
        turn=sql.SQL("ASC" if ascending else "DESC"),
    )
    at, id_ = after or (None, None)
    parameters = {
        "namespaces": None if namespaces is None else list(namespaces),
        "host": host,
        "execution_id": execution_id,
        "at": at,
        "id": id_,
        "limit": limit,
    }
    async with conn.cursor(row_factory=class_row(HostHold)) as cursor:
        return await (await cursor.execute(statement, parameters)).fetchall()


OF_INSTANT = """
SELECT {hold} FROM host_holds AS h
 WHERE h.job_id = %(job_id)s::bigint AND h.scheduled_time = %(scheduled_time)s::timestamptz ORDER BY h.held_from
""".replace("{hold}", HOLD)


async def holds_of(conn: Conn, job_id: int, scheduled_time: datetime) -> list[HostHold]:
    """What one execution waited for, in order."""
    async with conn.cursor(row_factory=class_row(HostHold)) as cursor:
        return await (await cursor.execute(OF_INSTANT, {"job_id": job_id, "scheduled_time": scheduled_time})).fetchall()


@dataclass(frozen=True, slots=True)
class OpenHost:
    """A host whose breaker is open; `open_until` None: until somebody resets it."""

    host: str
    open_until: datetime | None


OPEN = """
SELECT host, open_until FROM target_hosts
 WHERE state = 'open' AND (open_until IS NULL OR open_until > clock_timestamp())
 ORDER BY changed_at DESC LIMIT %(most)s::integer
"""


async def open_hosts(conn: Conn, *, most: int) -> list[OpenHost]:
    """Hosts whose breaker is open, the latest first."""
    async with conn.cursor(row_factory=class_row(OpenHost)) as cursor:
        return await (await cursor.execute(OPEN, {"most": most})).fetchall()


HELD_NOW = """
SELECT h.reason, count(*)::int FROM host_holds AS h
  JOIN job_executions AS e ON e.job_id = h.job_id AND e.scheduled_time = h.scheduled_time
 WHERE h.held_until > (SELECT clock_timestamp()) AND e.status = 'QUEUED' AND e.claim_no = h.claim_no
   AND (%(namespaces)s::text[] IS NULL OR h.namespace = ANY (%(namespaces)s::text[]))
 GROUP BY h.reason
"""


async def held_now(conn: Conn, *, namespaces: Sequence[str] | None) -> dict[str, int]:
    """How many executions wait for hosts, by reason."""
    parameters = {"namespaces": None if namespaces is None else list(namespaces)}
    return dict(await (await conn.execute(HELD_NOW, parameters)).fetchall())


def _host(row: Mapping[str, Any]) -> TargetHost:
    return TargetHost(
        rule=rule_from_row(row),
        updated_at=row["updated_at"],
        updated_by=row["updated_by"],
        changed_at=row["changed_at"],
        open_until=row["open_until"],
        tripped_by=row["tripped_by"],
        note=row["note"],
        held=row["held"],
        running=row["running"],
    )
