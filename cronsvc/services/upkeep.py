"""What keeps the house in order: partitions made ahead and dropped behind, old presence and sessions forgotten.

One replica at a time does it; a run that finds nothing to do is four small statements.
"""

import logging
from datetime import UTC, datetime, timedelta

from cronsvc.store import keys, partitions, presence, ticks
from cronsvc.store.pool import Database

_log = logging.getLogger("cronsvc.upkeep")

WEEKS_AHEAD = 4


async def make_partitions(db: Database, *, now: datetime | None = None) -> list[str]:
    """Make the partitions from last week to four weeks ahead that are missing; returns the weeks made, as ISO dates."""
    instant = now or datetime.now(UTC)  # a day's error of the host clock is nothing to a month of head start
    weeks = {partitions.week_of(instant + timedelta(weeks=n)) for n in range(-1, WEEKS_AHEAD + 1)}
    async with db.transaction() as conn:
        made = await partitions.ensure(conn, weeks)
    return [week.isoformat() for week in sorted(made)]


async def drop_partitions(db: Database, *, retention_days: int, now: datetime | None = None) -> list[str]:
    """Drop the partitions that every job's retention has left behind; returns their names."""
    async with db.transaction() as conn:
        days, clock = await partitions.longest_retention(conn, days=retention_days)
        return await partitions.drop_before(conn, (now or clock) - timedelta(days=days))


async def upkeep(db: Database, *, retention_days: int) -> None:
    """One round of everything; does nothing when another replica is at it."""
    async with db.transaction() as conn:
        if not await ticks.try_lock(conn, ticks.UPKEEP_LOCK):
            return
        await presence.prune(conn)
        await keys.prune_sessions(conn)
    made = await make_partitions(db)
    dropped = await drop_partitions(db, retention_days=retention_days)
    if made or dropped:
        _log.info("partitions made for the weeks of %s; dropped: %s", made or "none", dropped or "none")
