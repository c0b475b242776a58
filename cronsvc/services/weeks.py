"""Which weeks of executions a process may write to without asking whether their partitions are there.

Promise: a week is believed in only while no retention can have dropped it, so that nobody writes for ever to one that
is gone. What was made in a transaction that may still be rolled back is not believed in yet.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

from cronsvc.store import partitions
from cronsvc.store.pool import Conn

# No retention is shorter (CRONSVC_RETENTION_DAYS).
SHORTEST_RETENTION = timedelta(days=1)


class KnownWeeks:
    """The weeks, as Mondays, that one process has seen with their partitions."""

    def __init__(self) -> None:
        self._seen: frozenset[date] = frozenset()

    def have(self, weeks: Iterable[date], *, now: datetime) -> bool:
        """Whether all of these are there for certain; `now` is the database's clock."""
        self._seen = frozenset(week for week in self._seen if _end(week) > now - SHORTEST_RETENTION)
        return self._seen.issuperset(weeks)

    async def ensure(self, conn: Conn, weeks: Iterable[date], *, now: datetime) -> None:
        """Make the partitions of these weeks that are missing, in the transaction of `conn`."""
        weeks = set(weeks)
        if not self.have(weeks, now=now) and not await partitions.ensure(conn, weeks):
            self._seen |= weeks


def _end(week: date) -> datetime:
    return datetime.combine(week, time(), UTC) + partitions.WEEK
