"""From rows to tickets: pushing what a tick recorded, and pushing again what nobody picked up.

Redis is the doorbell. When it is away nothing here fails: the rows wait in Postgres with a `dispatch_at`, and the same
path that repairs a lost ticket hands them out once Redis is back.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta

from cronsvc.domain.execution import Ticket
from cronsvc.errors import Unavailable
from cronsvc.queue import Broker
from cronsvc.store import advisory, dispatches, queues
from cronsvc.store.pool import Database
from cronsvc.tasks import Reminder

_log = logging.getLogger("cronsvc.dispatch")


class Dispatcher:
    """Hands tickets to Redis for one process."""

    def __init__(
        self, db: Database, broker: Broker, *, redispatch: timedelta = timedelta(seconds=5), batch: int = 1000
    ) -> None:
        self._db = db
        self._broker = broker
        self.redispatch_after = redispatch
        self._batch = batch
        self._epoch: str | None = None
        self._down = False
        self._reminder = Reminder()

    async def push(self, tickets: Sequence[Ticket]) -> int:
        """Push these tickets; returns how many were new to Redis.

        Redis being away is logged now and then and costs delay only: until `watch_epoch` sees it again nothing is
        tried, so a server that swallows packets holds up one push and not every tick.
        """
        if not tickets or self._down:
            return 0
        try:
            pushed = await self._broker.push(tickets)
        except Unavailable as error:
            self._say_down(error)
            return 0
        return pushed

    async def redispatch(self) -> int:
        """T2: push every waiting execution whose dispatch is due; returns how many were taken up.

        One replica at a time, and never while Redis is away: a push that cannot arrive would only move the date. What
        belongs to a paused queue is parked instead, until the pause ends.
        """
        if self._down:
            return 0  # `watch_epoch` looks after it; asking here as well would hold up the ticks
        await self.watch_epoch()
        taken = 0
        while True:
            async with self._db.transaction() as conn:
                if not await advisory.try_lock(conn, advisory.REDISPATCH_LOCK):
                    return taken
                paused = await queues.hold_paused(conn)
                parked = await queues.park(conn, paused, batch=self._batch) if paused else 0
                tickets = await dispatches.redispatch(
                    conn, batch=self._batch, redispatch=self.redispatch_after, paused=paused
                )
            await self.push(tickets)
            taken += len(tickets)
            if max(len(tickets), parked) < self._batch or self._down:
                return taken

    async def watch_epoch(self) -> bool:
        """Ask Redis whether it still is what it was; when it was wiped, everything that waits is due for dispatch now.

        The same when it is back after it was away. Returns whether anything was called in.
        """
        try:
            epoch = await self._broker.epoch()
        except Unavailable as error:
            self._say_down(error)
            return False
        wiped = self._epoch is not None and epoch != self._epoch
        if self._down or wiped:
            _log.warning("Redis is %s; pushing everything that waits", "empty" if wiped else "back")
            await self._call_in()
        # Remembered only now: if calling in fails halfway, the next look does it again.
        called_in = self._down or wiped
        self._epoch, self._down = epoch, False
        self._reminder.over()
        return called_in

    async def _call_in(self) -> None:
        while True:
            async with self._db.transaction() as conn:
                if await dispatches.call_in(conn, batch=self._batch) < self._batch:
                    return

    def _say_down(self, error: Unavailable) -> None:
        if self._reminder.due():
            _log.warning("cannot push tickets, executions wait in Postgres: %s", error)
        self._down = True
