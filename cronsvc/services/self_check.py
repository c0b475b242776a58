"""The service looks at itself: is everything written that the definitions name, and is everything written looked after?

Promises: the comparison is made by Postgres, apart from the code that plans and dispatches. A round costs a few bounded
statements; each API process makes its own, every half minute. One bad round may be a moment of load, so it is two in a
row that turn the light red; the first good one turns it green. What is paused, held or fenced is not a fault.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cronsvc.errors import CronsvcError
from cronsvc.services.callers import everywhere
from cronsvc.store import clock, identity, self_check
from cronsvc.store.pool import Conn, Database
from cronsvc.tasks import cancelled

_log = logging.getLogger("cronsvc.self_check")

EVERY_SECONDS = 30.0
WINDOW = timedelta(minutes=15)
MOST_JOBS = 500
LATE = timedelta(seconds=30)
UNDISPATCHED = timedelta(minutes=3)
ABANDONED = timedelta(seconds=60)

WORDS = {
    "overdueCursors": "jobs are overdue: no scheduler records their instants",
    "notDispatched": "executions wait and nobody hands them out",
    "abandoned": "executions are RUNNING although their worker is gone",
    "missingRows": "instants that schedules name have no row",
    "gaps": "instants that were recorded have lost their row",
}
"""The comparisons by name, and what it means when one is not zero."""


@dataclass(frozen=True, slots=True)
class Report:
    """One round: how many differences each comparison found, and of which jobs (some). Fenced: none were looked for."""

    at: datetime
    counts: dict[str, int]
    jobs: dict[str, tuple[int, ...]]
    fenced: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not any(self.counts.values())

    @property
    def problems(self) -> tuple[str, ...]:
        """What differs, in words that name no job."""
        return tuple(f"{count} {WORDS[name]}" for name, count in self.counts.items() if count)


class SelfCheck:
    """The rounds of one process. `report` is the latest, None before the first; it is red after two bad ones."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._after = {"missingRows": 0, "gaps": 0}
        self._bad = 0
        self.report: Report | None = None

    @property
    def is_red(self) -> bool:
        """Whether what is written differs from what should be."""
        return self._bad >= 2

    @property
    def problems(self) -> tuple[str, ...]:
        """What differs while it is red, in words that name no job."""
        return self.report.problems if self.is_red and self.report is not None else ()

    async def keep(self, stop: asyncio.Event) -> None:
        """Rounds until `stop`. Without Postgres there are none; what was known stays."""
        while not stop.is_set() and not cancelled():
            try:
                await self.look()
            except CronsvcError as error:
                _log.debug("no self check: %s", error)  # readiness says that Postgres is away
            except Exception:  # noqa: BLE001 the API goes on without its self check
                _log.exception("no self check")
            try:
                async with asyncio.timeout(EVERY_SECONDS):
                    await stop.wait()
            except TimeoutError:
                continue

    async def look(self) -> Report:
        """Make one round."""
        with everywhere():
            async with self._db.transaction() as conn:
                await self_check.limit_time(conn)
                report = await self._compare(conn)
        was_red = self.is_red
        self._bad = 0 if report.ok else self._bad + 1
        if self.is_red:
            samples = {name: ids for name, ids in report.jobs.items() if ids}
            _log.error("self check: %s; jobs %s", "; ".join(report.problems), samples)
        elif was_red:
            _log.warning("self check: all is well again")
        self.report = report
        return report

    async def _compare(self, conn: Conn) -> Report:
        now = await clock.now(conn)
        if await identity.fenced(conn):
            return Report(now, dict.fromkeys(WORDS, 0), {}, fenced=True)
        found = {
            "overdueCursors": await self_check.overdue_cursors(conn, bound=LATE),
            "notDispatched": await self_check.not_dispatched(conn, bound=UNDISPATCHED),
            "abandoned": await self_check.abandoned(conn, bound=ABANDONED),
            "missingRows": await self._in_turn("missingRows", self_check.missing_rows, conn),
            "gaps": await self._in_turn("gaps", self_check.gaps, conn),
        }
        return Report(
            now, {name: each.count for name, each in found.items()}, {name: each.jobs for name, each in found.items()}
        )

    async def _in_turn(
        self, name: str, look: Callable[..., Awaitable[self_check.Found]], conn: Conn
    ) -> self_check.Found:
        """A comparison of some jobs. Where it finds something it looks again next time, else it goes on from there."""
        found = await look(conn, window=WINDOW, after_id=self._after[name], most=MOST_JOBS)
        if found.count == 0:
            self._after[name] = found.next_id or 0
        return found
