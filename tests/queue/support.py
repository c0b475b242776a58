"""What the queue tests share: tickets, a handler that remembers, and waiting without sleeping for a verdict."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from redis.asyncio import Redis

from cronsvc.domain.execution import Ticket
from cronsvc.queue import TicketWorker

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ticket(execution_id: int, *, priority: int = 10, queue: str = "default", claim_no: int = 0) -> Ticket:
    return Ticket(
        execution_id=execution_id,
        job_id=7,
        scheduled_time=NOON,
        claim_no=claim_no,
        queue=queue,
        priority=priority,
    )


async def until(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    """Wait for a condition that the test expects; fails when it stays away."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 the condition is any, and knows nothing of events
            await asyncio.sleep(0.005)


async def until_asleep(redis: Redis, workers: int) -> None:
    """Wait until so many workers block on their doorbells."""
    async with asyncio.timeout(20):
        while (await redis.info("clients"))["blocked_clients"] < workers:  # noqa: ASYNC110 only the server knows
            await asyncio.sleep(0.005)


class Recorder:
    """A handler that remembers the order, and holds every ticket while `gate` is closed."""

    def __init__(self, *, open_gate: bool = True) -> None:
        self.started: list[Ticket] = []
        self.ended: list[Ticket] = []
        self.cancelled: list[Ticket] = []
        self.gate = asyncio.Event()
        if open_gate:
            self.gate.set()

    async def __call__(self, ticket: Ticket) -> None:
        self.started.append(ticket)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(ticket)
            raise
        self.ended.append(ticket)

    @property
    def ids(self) -> list[int]:
        return [ticket.execution_id for ticket in self.started]


@asynccontextmanager
async def running(worker: TicketWorker) -> AsyncIterator[asyncio.Task[None]]:
    """Run this worker for the length of the block, and see that it ends well."""
    task = asyncio.create_task(worker.run())
    try:
        yield task
    finally:
        await worker.stop(0)
        async with asyncio.timeout(20):
            await task
