"""What keeps the house in order: partitions made ahead and dropped behind, rows pruned that a job no longer keeps, old
presence and sessions forgotten.

One replica at a time does it; a run that finds nothing to do is four small statements.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from cronsvc.services.replaying import forget_request_keys
from cronsvc.services.sessions import SESSION_IDLE
from cronsvc.services.target_hosts import forget_outbound
from cronsvc.store import advisory, clock, partitions, presence, pruning, sessions, trigger_keys
from cronsvc.store.pool import Conn, Database

_log = logging.getLogger("cronsvc.upkeep")

WEEKS_AHEAD = 4

# Jobs that a log line names.
_JOBS_NAMED = 10

# Jobs whose surplus one statement looks for.
_JOBS_AT_A_TIME = 100


async def make_partitions(db: Database, *, now: datetime | None = None) -> list[str]:
    """Make the partitions from last week to four weeks ahead that are missing; returns the weeks made, as ISO dates."""
    async with db.transaction() as conn:
        instant = now or await clock.now(conn)
        weeks = {partitions.week_of(instant + timedelta(weeks=n)) for n in range(-1, WEEKS_AHEAD + 1)}
        made = await partitions.ensure(conn, weeks)
    return [week.isoformat() for week in sorted(made)]


async def drop_partitions(db: Database, *, retention_days: int, now: datetime | None = None) -> list[str]:
    """Drop the partitions that every job's retention has left behind, oldest first; returns their names.

    Each in a transaction that adds its rows to the statistics: counted and gone, or neither. A week that has unfinished
    rows stays, and the log says which: it waits for a worker that knows their job type, or for somebody to cancel them.
    """
    async with db.statements() as conn:
        days, clock = await partitions.longest_retention(conn, days=retention_days)
        weeks = await partitions.ended_before(conn, (now or clock) - timedelta(days=days))
    dropped: list[str] = []
    keep = pruning.keep_week
    for week in weeks:
        try:
            async with db.transaction() as conn:
                await pruning.lock(conn)
                if week not in await partitions.present(conn):
                    continue  # another replica was faster
                names = await partitions.drop(conn, week, keep=keep)
                held_by = () if names else await pruning.unfinished_jobs(conn, week)
        except _StaysToo:
            continue
        if not names:
            _log.warning("the week of %s stays: executions of jobs %s have not ended", week, _listed(held_by))
            keep = _keep_and_bridge
        dropped += names
    return dropped


class _StaysToo(Exception):
    """A week without which the ledger of some job would end before it."""


async def _keep_and_bridge(conn: Conn, start: datetime, end: datetime) -> None:
    """What is kept of a week that goes while an older one stays: its statistics, and a way across it in the ledger."""
    if not await pruning.bridge(conn, start, end):
        raise _StaysToo
    await pruning.keep_week(conn, start, end)


def _listed(job_ids: Sequence[int]) -> str:
    shown = ", ".join(map(str, job_ids[:_JOBS_NAMED]))
    return f"{shown} and others" if len(job_ids) > _JOBS_NAMED else shown


async def prune(db: Database, *, batch: int = 1000, seconds: float = 300.0, now: datetime | None = None) -> int:
    """Delete what jobs keep less of than everybody: beyond their counts, older than their own days. Returns how many.

    In small transactions; what is not done after `seconds` is the next round's. Any number of replicas may do it.
    """
    loop = asyncio.get_running_loop()
    end, after_id, pruned = loop.time() + seconds, 0, 0
    while loop.time() < end:
        async with db.transaction() as conn:
            await pruning.lock(conn)
            surplus = await pruning.surplus(conn, after_id=after_id, jobs=_JOBS_AT_A_TIME, rows=batch, now=now)
            gone = await pruning.forget(conn, surplus.keys)
        pruned += gone
        if surplus.last_id is None:
            break
        if len(surplus.keys) < batch or not gone:
            after_id = surplus.last_id
    return pruned


async def forget_trigger_keys(db: Database, *, batch: int = 5000, now: datetime | None = None) -> int:
    """Forget the idempotency keys of triggers whose day is over; returns how many."""
    forgotten = 0
    while True:
        async with db.statements() as conn:
            rows = await trigger_keys.prune(conn, batch=batch, now=now)
        forgotten += rows
        if rows < batch:
            return forgotten


async def upkeep(db: Database, *, retention_days: int) -> None:
    """One round of everything; does nothing when another replica is at it."""
    async with db.transaction() as conn:
        if not await advisory.try_lock(conn, advisory.UPKEEP_LOCK):
            return
        await presence.prune(conn)
        await sessions.prune(conn, idle=SESSION_IDLE)
        await sessions.prune_sign_ins(conn)
    await forget_trigger_keys(db)
    await forget_request_keys(db)
    await forget_outbound(db)
    made = await make_partitions(db)
    dropped = await drop_partitions(db, retention_days=retention_days)
    if made or dropped:
        _log.info("partitions made for the weeks of %s; dropped: %s", made or "none", dropped or "none")
    if pruned := await prune(db):
        _log.info("%s executions pruned that their jobs no longer keep", pruned)
