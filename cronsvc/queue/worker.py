"""A saq.Worker on a Hub: `concurrency` slots, each running one ticket at a time.

Stock SAQ keeps the slots busy; what it does besides is off: its signal handlers (the process owns those), its upkeep,
and its log lines for every job. A handler's exception is logged and forgotten here, because the handler is expected to
have written the truth to Postgres; stopping is bounded, and takes milliseconds when nothing runs.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import saq

from cronsvc.domain.execution import Ticket
from cronsvc.queue.broker import Broker
from cronsvc.queue.hub import Hub
from cronsvc.queue.lane import FUNCTION

logger = logging.getLogger("cronsvc.queue")

CANCEL_SECONDS = 2.0  # how long a cancelled handler may take to clean up
SLOTS_SECONDS = 1  # how long SAQ may take to end its slots once they are free: it needs milliseconds


class _Slots(saq.Worker[Any]):
    SIGNALS = []  # noqa: RUF012 SAQ declares it so

    async def upkeep(self) -> list[asyncio.Task[None]]:
        return []


class TicketWorker:
    """Hands tickets of these queues to `handle`, at most `concurrency` at once. Runs once."""

    def __init__(
        self,
        broker: Broker,
        *,
        queues: Sequence[str],
        concurrency: int,
        handle: Callable[[Ticket], Awaitable[None]],
    ) -> None:
        logging.getLogger("saq").setLevel(logging.WARNING)  # three lines a job otherwise
        self._handle = handle
        self._handling: set[asyncio.Task[Any]] = set()
        self._cancelling = False
        self._ended = asyncio.Event()
        self._hurried = asyncio.Event()
        self._deadline = 0.0
        self._ending: asyncio.Task[bool] | None = None
        self._slots_task: asyncio.Task[None] | None = None
        self._hub = Hub(broker, queues)
        self._slots = _Slots(
            self._hub,
            [(FUNCTION, self._run_ticket)],
            concurrency=concurrency,
            shutdown_grace_period_s=SLOTS_SECONDS,
        )

    async def run(self) -> None:
        """Fetch and handle tickets until `stop`. Cancelling this cancels the handlers at once."""
        if self._ending is not None:
            return
        self._slots_task = asyncio.create_task(self._slots.start(), name="cronsvc ticket slots")
        fetching = asyncio.create_task(self._hub.run(), name="cronsvc ticket fetch")
        try:
            await asyncio.wait({self._slots_task, fetching}, return_when=asyncio.FIRST_COMPLETED)
            if not self._hub.stopping:  # neither ends by itself
                raise RuntimeError("the ticket worker ended unexpectedly")
            await self._ended.wait()
        except BaseException:
            await self.stop(0)
            raise

    def stop_fetching(self) -> None:
        """Take no more tickets; those in slots go on. `stop` must follow."""
        self._hub.stop_fetching()

    async def stop(self, grace_seconds: float) -> bool:
        """Give running handlers this long, then cancel them; False when one had to be cancelled.

        Returns within grace_seconds + 5 s even if a handler ignores its cancellation and Redis hangs. Calling it again
        with less grace hurries the first call; both wait for its end.
        """
        deadline = asyncio.get_running_loop().time() + grace_seconds
        if self._ending is None:
            self._deadline = deadline
            self._ending = asyncio.create_task(self._end(), name="cronsvc ticket stop")
        elif deadline < self._deadline:
            self._deadline = deadline
            self._hurried.set()
        return await asyncio.shield(self._ending)

    def set_queues(self, queues: Sequence[str]) -> None:
        """Serve exactly these queues from the next fetch on; tickets in slots go on."""
        self._hub.set_queues(queues)

    def set_paused(self, queues: Collection[str]) -> None:
        """Fetch nothing from exactly these queues until told otherwise; tickets in slots go on."""
        self._hub.set_paused(queues)

    async def _end(self) -> bool:
        await self._hub.leave()
        clean = await self._quiet_in_time()
        if not clean:
            await self._cancel_handlers()
        self._hub.release()
        # SAQ replaces this event in the first step of its start(), which came before the first step of this task
        self._slots.event.set()
        if self._slots_task is not None:
            # A handler that swallows its cancellation would keep SAQ waiting for ever: leave it behind.
            await asyncio.wait({self._slots_task}, timeout=SLOTS_SECONDS)
        self._ended.set()
        return clean

    async def _quiet_in_time(self) -> bool:
        """Wait for the running handlers until the deadline, which may come nearer meanwhile."""
        quiet = asyncio.create_task(self._hub.quiet_at_last())
        try:
            while not quiet.done():
                left = self._deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    return False
                hurried = asyncio.create_task(self._hurried.wait())
                await asyncio.wait({quiet, hurried}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                hurried.cancel()
                self._hurried.clear()
            return True
        finally:
            quiet.cancel()

    async def _cancel_handlers(self) -> None:
        self._cancelling = True
        handling = set(self._handling)
        for task in handling:
            task.cancel()
        if handling:
            _, stuck = await asyncio.wait(handling, timeout=CANCEL_SECONDS)
            if stuck:
                logger.error("%d handlers ignored their cancellation", len(stuck))

    async def _run_ticket(self, context: Any, **identity: int) -> None:
        """One ticket in one slot. SAQ runs this in a task of its own, which is the one that `stop` cancels."""
        if self._cancelling:
            return
        task = asyncio.current_task()
        assert task is not None
        ticket: Ticket = context["job"].ticket
        self._handling.add(task)
        try:
            await self._handle(ticket)
        except Exception:  # one ticket must not take the slot with it
            logger.exception("the handler of execution %d failed", ticket.execution_id)
        finally:
            self._handling.discard(task)
