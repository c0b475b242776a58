"""Statements of the claims that call hosts with settings: what a host bears, who is let through, how calls ended.

Whoever decides about a host has locked its row, so no two workers take the last place of a budget. Rows of executions
are locked after it. A call runs for as long as its execution is RUNNING under the claim that began it: what a dead
worker held is free as soon as the rescue has decided about it, whatever is written here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from cronsvc.domain.execution import Claimed
from cronsvc.domain.target_host import BreakerState, HoldReason, HostRule, HostUse
from cronsvc.store.locking import lock_rows
from cronsvc.store.pool import Conn
from cronsvc.store.spans import by_key

RULE = """host, calls_per_second, calls_per_minute, max_concurrent, breaker_failures, breaker_open_seconds, state,
       failures"""

RULES = "SELECT {rule} FROM target_hosts".replace("{rule}", RULE)


async def rules(conn: Conn) -> dict[str, HostRule]:
    """Every host that has settings."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        rows = await (await cursor.execute(RULES)).fetchall()
    return {row["host"]: rule_from_row(row) for row in rows}


@dataclass(frozen=True, slots=True)
class LockedHost:
    """A host whose row is locked. `age`: seconds since its breaker changed; `probe`: the attempt that tries it."""

    rule: HostRule
    age: float
    probe: tuple[int, datetime, int] | None


LOCK = """
SELECT {rule}, extract(epoch FROM clock_timestamp() - changed_at)::float8 AS age,
       probe_job_id, probe_time, probe_claim
  FROM target_hosts WHERE host = ANY (%(hosts)s::text[]) ORDER BY host FOR NO KEY UPDATE
""".replace("{rule}", RULE)


async def lock(conn: Conn, hosts: Iterable[str]) -> dict[str, LockedHost]:
    """Keep everybody else from deciding about these hosts until the transaction ends; without a row there is none."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        rows = await (await cursor.execute(LOCK, {"hosts": sorted(set(hosts))})).fetchall()
    return {row["host"]: _locked(row) for row in rows}


def _locked(row: Mapping[str, Any]) -> LockedHost:
    probe = None if row["probe_claim"] is None else (row["probe_job_id"], row["probe_time"], row["probe_claim"])
    return LockedHost(rule_from_row(row), row["age"], probe)


# Of a span's calls the newest are counted, as many as may be, and none without a limit: every worker waits for the lock
# that this is read under. When the oldest of them is a second or a minute old there is room for another. A probe that
# takes longer than its breaker was open lets another call try.
USE = """
SELECT h.host,
       (SELECT count(*)::int FROM host_calls AS c
          JOIN job_executions AS e ON e.job_id = c.job_id AND e.scheduled_time = c.scheduled_time
         WHERE c.host = h.host AND c.ended_at IS NULL AND e.status = 'RUNNING' AND e.claim_no = c.claim_no
           AND e.callback_since IS NULL) AS running,
       second.calls AS in_second, minute.calls AS in_minute,
       (1 - coalesce(extract(epoch FROM now.is - second.oldest), 0))::float8 AS second_left,
       (60 - coalesce(extract(epoch FROM now.is - minute.oldest), 0))::float8 AS minute_left,
       (SELECT count(*)::int FROM host_holds AS w WHERE w.host = h.host AND w.held_until > now.is) AS waiting,
       CASE WHEN h.state <> 'open' THEN 0
            WHEN h.open_until IS NOT NULL THEN greatest(0, extract(epoch FROM h.open_until - now.is))::float8
       END AS open_left,
       h.state = 'half_open' AND EXISTS (
           SELECT FROM job_executions AS e
            WHERE e.job_id = h.probe_job_id AND e.scheduled_time = h.probe_time AND e.claim_no = h.probe_claim
              AND e.status = 'RUNNING' AND e.callback_since IS NULL)
          AND h.changed_at > now.is - make_interval(secs => h.breaker_open_seconds) AS probe_runs
  FROM target_hosts AS h CROSS JOIN (SELECT clock_timestamp() AS is) AS now
 CROSS JOIN LATERAL (
     SELECT count(*)::int AS calls, min(n.began_at) AS oldest
       FROM (SELECT c.began_at FROM host_calls AS c
              WHERE c.host = h.host AND c.began_at > now.is - interval '1 second'
              ORDER BY c.began_at DESC LIMIT coalesce(h.calls_per_second, 0)) AS n) AS second
 CROSS JOIN LATERAL (
     SELECT count(*)::int AS calls, min(n.began_at) AS oldest
       FROM (SELECT c.began_at FROM host_calls AS c
              WHERE c.host = h.host AND c.began_at > now.is - interval '1 minute'
              ORDER BY c.began_at DESC LIMIT coalesce(h.calls_per_minute, 0)) AS n) AS minute
 WHERE h.host = ANY (%(hosts)s::text[])
"""


async def use(conn: Conn, hosts: Iterable[str]) -> dict[str, HostUse]:
    """What these locked hosts have to bear."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        rows = await (await cursor.execute(USE, {"hosts": sorted(set(hosts))})).fetchall()
    return {row.pop("host"): HostUse(**row) for row in rows}


STILL_RUNNING = """
SELECT e.id, e.claim_no
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[], %(claim_nos)s::int[])
    AS t(job_id, scheduled_time, claim_no)
  JOIN job_executions AS e ON e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time AND e.claim_no = t.claim_no
 WHERE e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'RUNNING'
"""


async def still_running(conn: Conn, claims: Sequence[Claimed]) -> set[tuple[int, int]]:
    """Those of these that still run under their claim: execution id and claim_no."""
    parameters = {
        **by_key((each.job_id, each.scheduled_time) for each in claims),
        "claim_nos": [each.claim_no for each in claims],
    }
    return set(await (await conn.execute(STILL_RUNNING, parameters)).fetchall())


BEGIN = """
INSERT INTO host_calls (host, job_id, scheduled_time, claim_no)
SELECT t.host, t.job_id, t.scheduled_time, t.claim_no
  FROM unnest(%(hosts)s::text[], %(job_ids)s::bigint[], %(times)s::timestamptz[], %(claim_nos)s::int[])
    AS t(host, job_id, scheduled_time, claim_no)
ON CONFLICT (job_id, scheduled_time, claim_no) DO NOTHING
"""


async def begin(conn: Conn, calls: Sequence[tuple[str, Claimed]]) -> None:
    """These calls to locked hosts begin."""
    await conn.execute(BEGIN, {"hosts": [host for host, _ in calls], **_keys([claimed for _, claimed in calls])})


PROBE = """
UPDATE target_hosts
   SET changed_at = clock_timestamp(), state = 'half_open',
       probe_job_id = %(job_id)s::bigint, probe_time = %(scheduled_time)s::timestamptz, probe_claim = %(claim_no)s::int
 WHERE host = %(host)s::text AND state IN ('open', 'half_open')
"""


async def send_probe(conn: Conn, host: str, claimed: Claimed) -> None:
    """This attempt tries a locked host whose breaker was open for long enough."""
    await conn.execute(
        PROBE,
        {
            "host": host,
            "job_id": claimed.job_id,
            "scheduled_time": claimed.scheduled_time,
            "claim_no": claimed.claim_no,
        },
    )


END = """
UPDATE host_calls AS c SET ended_at = clock_timestamp()
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[], %(claim_nos)s::int[])
    AS t(job_id, scheduled_time, claim_no)
 WHERE c.job_id = t.job_id AND c.scheduled_time = t.scheduled_time AND c.claim_no = t.claim_no AND c.ended_at IS NULL
RETURNING c.host
"""


async def end(conn: Conn, calls: Sequence[Claimed]) -> list[str]:
    """These calls have ended; the hosts where a place has become free, one for each."""
    return [host for (host,) in await (await conn.execute(END, _keys(calls))).fetchall()]


SET_STATE = """
UPDATE target_hosts AS h
   SET failures = %(failures)s::int, state = %(state)s::text,
       changed_at = CASE WHEN h.state = %(state)s::text THEN h.changed_at ELSE clock_timestamp() END,
       open_until = CASE WHEN h.state = %(state)s::text THEN h.open_until
                         WHEN %(state)s::text = 'open'
                         THEN clock_timestamp() + make_interval(secs => h.breaker_open_seconds) END,
       tripped_by = CASE WHEN h.state = %(state)s::text THEN h.tripped_by END,
       note = CASE WHEN h.state = %(state)s::text THEN h.note END,
       probe_job_id = NULL, probe_time = NULL, probe_claim = NULL
 WHERE h.host = %(host)s::text
"""


async def set_state(conn: Conn, rule: HostRule) -> None:
    """Write down a breaker, open or closed, after the end of calls; the host is locked."""
    assert rule.state is not BreakerState.HALF_OPEN
    await conn.execute(SET_STATE, {"host": rule.host, "failures": rule.failures, "state": rule.state.value})


@dataclass(frozen=True, slots=True)
class HeldCall:
    """An execution that was claimed and given back because of its host, and for how long."""

    claimed: Claimed
    namespace: str
    host: str
    reason: HoldReason
    seconds: float


HOLD = """
INSERT INTO host_holds AS h (job_id, scheduled_time, host, reason, execution_id, namespace, claim_no, held_until)
SELECT t.job_id, t.scheduled_time, t.host, t.reason, t.execution_id, t.namespace, t.claim_no,
       clock_timestamp() + make_interval(secs => t.seconds)
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[], %(claim_nos)s::int[], %(hosts)s::text[],
              %(reasons)s::text[], %(execution_ids)s::bigint[], %(namespaces)s::text[], %(seconds)s::float8[])
    AS t(job_id, scheduled_time, claim_no, host, reason, execution_id, namespace, seconds)
ON CONFLICT (job_id, scheduled_time, host, reason) DO UPDATE
   SET times = h.times + 1, claim_no = excluded.claim_no, held_until = excluded.held_until
"""


async def hold(conn: Conn, held: Sequence[HeldCall]) -> None:
    """Write down what is held, in the transaction that gives it back."""
    await conn.execute(
        HOLD,
        {
            **_keys([each.claimed for each in held]),
            "hosts": [each.host for each in held],
            "reasons": [each.reason.value for each in held],
            "execution_ids": [each.claimed.execution_id for each in held],
            "namespaces": [each.namespace for each in held],
            "seconds": [each.seconds for each in held],
        },
    )


HELD = """
SELECT e.job_id, e.scheduled_time
  FROM host_holds AS h
  JOIN job_executions AS e ON e.job_id = h.job_id AND e.scheduled_time = h.scheduled_time AND e.claim_no = h.claim_no
 WHERE h.host = %(host)s::text AND h.held_until > clock_timestamp() AND h.reason = ANY (%(reasons)s::text[])
   AND e.status = 'QUEUED' AND e.held IS NULL
 ORDER BY e.priority, h.held_from LIMIT %(most)s::integer
   FOR NO KEY UPDATE OF e SKIP LOCKED
"""

RELEASE = """
UPDATE job_executions AS e SET ready_at = clock_timestamp(), dispatch_at = clock_timestamp()
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'QUEUED' AND e.held IS NULL
"""

RELEASED = """
UPDATE host_holds AS h SET held_until = clock_timestamp()
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
 WHERE h.job_id = t.job_id AND h.scheduled_time = t.scheduled_time AND h.host = %(host)s::text
   AND h.held_until > clock_timestamp()
"""


async def release(conn: Conn, host: str, reasons: Iterable[HoldReason], *, most: int) -> int:
    """Let go at once what a locked host holds for these reasons, most urgent first; returns how many rows."""
    named = [each.value for each in reasons]
    keys = await lock_rows(conn, HELD, {"host": host, "reasons": named, "most": most})
    if keys is None:
        return 0
    released = (await conn.execute(RELEASE, keys)).rowcount
    await conn.execute(RELEASED, {**keys, "host": host})
    return released


# Host by host, from the oldest on, as host_calls_began has them: what is kept is not looked at.
FORGET_CALLS = """
WITH RECURSIVE hosts AS (
    SELECT min(host) AS host FROM host_calls
     UNION ALL
    SELECT (SELECT min(c.host) FROM host_calls AS c WHERE c.host > h.host) FROM hosts AS h WHERE h.host IS NOT NULL
)
DELETE FROM host_calls AS c
 WHERE (c.job_id, c.scheduled_time, c.claim_no) IN (
     SELECT old.job_id, old.scheduled_time, old.claim_no
       FROM hosts AS h CROSS JOIN LATERAL (
           SELECT o.job_id, o.scheduled_time, o.claim_no FROM host_calls AS o
            WHERE o.host = h.host AND o.began_at < (SELECT clock_timestamp()) - interval '2 minutes'
              AND (o.ended_at IS NOT NULL
                   OR NOT EXISTS (SELECT FROM job_executions AS e
                                   WHERE e.job_id = o.job_id AND e.scheduled_time = o.scheduled_time
                                     AND e.status = 'RUNNING' AND e.claim_no = o.claim_no))
            ORDER BY o.began_at LIMIT %(batch)s::integer) AS old
      LIMIT %(batch)s::integer)
"""


async def forget_calls(conn: Conn, *, batch: int) -> int:
    """Forget up to `batch` calls that no budget counts any more; returns how many."""
    return (await conn.execute(FORGET_CALLS, {"batch": batch})).rowcount


FORGET_HOLDS = """
DELETE FROM host_holds AS h
 WHERE (h.job_id, h.scheduled_time, h.host, h.reason) IN (
     SELECT o.job_id, o.scheduled_time, o.host, o.reason FROM host_holds AS o
      WHERE o.held_until < clock_timestamp() - make_interval(days => %(days)s::integer)
        AND o.held_from < clock_timestamp() - make_interval(days => %(days)s::integer)
      ORDER BY o.held_from LIMIT %(batch)s::integer)
"""


async def forget_holds(conn: Conn, *, days: int, batch: int) -> int:
    """Forget up to `batch` holds that ended so long ago; returns how many."""
    return (await conn.execute(FORGET_HOLDS, {"days": days, "batch": batch})).rowcount


def rule_from_row(row: Mapping[str, Any]) -> HostRule:
    """The settings and the breaker in a row of `target_hosts`."""
    return HostRule(
        host=row["host"],
        calls_per_second=row["calls_per_second"],
        calls_per_minute=row["calls_per_minute"],
        max_concurrent=row["max_concurrent"],
        breaker_failures=row["breaker_failures"],
        breaker_open_seconds=row["breaker_open_seconds"],
        state=BreakerState(row["state"]),
        failures=row["failures"],
    )


def _keys(calls: Sequence[Claimed]) -> dict[str, Any]:
    return {
        "job_ids": [each.job_id for each in calls],
        "times": [each.scheduled_time for each in calls],
        "claim_nos": [each.claim_no for each in calls],
    }
