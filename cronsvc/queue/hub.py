"""Many lanes seen as one saq.Queue: a single fetch loop feeds the idle slots of one saq.Worker.

Only the loop talks to Redis. It asks for exactly as many tickets as slots are idle, it is never cancelled in the middle
of a command while the worker runs, and while Redis is down it tries again after 0.1 s, doubling to 1 s, and says so
once. Everything else a saq.Queue can do (results, retries, aborts, statistics) is Postgres' business and absent.
"""

import asyncio
import contextlib
import logging
import random
import uuid
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import Any, NoReturn

from saq.job import Job, Status
from saq.queue.base import Queue
from saq.types import CountKind, QueueInfo, WorkerInfo

from cronsvc.domain.execution import Ticket
from cronsvc.errors import Unavailable
from cronsvc.queue.broker import Broker
from cronsvc.queue.lane import LEVELS, Lane, PoisonError, TicketJob
from cronsvc.tasks import Reminder

logger = logging.getLogger("cronsvc.queue")

FAIR_SHARE = 16  # one fetch in so many starts from another lane
FIRST_DELAY = 0.1
LONGEST_DELAY = 1.0
LEAVE_SECONDS = 0.5  # beyond one block: how long a stopping worker waits for a Redis that does not answer


class Hub(Queue):
    """What `saq.Worker` takes its jobs from. `run` is the fetch loop; `leave` ends it; `release` lets the slots go."""

    def __init__(self, broker: Broker, queues: Sequence[str]) -> None:
        super().__init__("cronsvc", None, None)
        self._broker = broker
        self._queues = tuple(dict.fromkeys(queues))
        self._paused: frozenset[str] = frozenset()
        self._own_bell = broker.own_bell(uuid.uuid4().hex)
        self._idle: list[asyncio.Future[TicketJob | None]] = []
        self._busy = 0
        self._fetches = 0
        self._down = Reminder()
        self._delay = FIRST_DELAY
        self._listening = False
        self._released = False
        self._leaving = asyncio.Event()
        self._changed = asyncio.Event()  # a slot became idle, or the lanes changed
        self._quiet = asyncio.Event()  # no fetched ticket is in a slot
        self._quiet.set()
        self._loop_task: asyncio.Task[None] | None = None

    # ---- for TicketWorker

    async def run(self) -> None:
        """Fetch until `leave`."""
        self._loop_task = asyncio.current_task()
        drained = False
        while not self._leaving.is_set():
            try:
                drained = await self._step(drained)
            except Exception as error:  # noqa: BLE001 a worker must outlive Redis, and a surprise must not end the service
                drained = False
                await self._back_off(error)

    @property
    def stopping(self) -> bool:
        """Whether the loop was told to end."""
        return self._leaving.is_set()

    def stop_fetching(self) -> None:
        """Take no more tickets; those in slots go on."""
        self._leaving.set()
        self._changed.set()

    async def leave(self) -> None:
        """Stop fetching and wait for the loop: milliseconds, or a bounded while when Redis does not answer."""
        self.stop_fetching()
        loop_task = self._loop_task
        if loop_task is None or loop_task.done():
            return
        if self._listening:
            with contextlib.suppress(Unavailable, TimeoutError):
                await asyncio.wait_for(self._broker.nudge(self._own_bell), LEAVE_SECONDS)
        _, unfinished = await asyncio.wait({loop_task}, timeout=self._broker.block_seconds + LEAVE_SECONDS)
        if unfinished:
            loop_task.cancel()  # Redis hangs; what the command would have taken is pushed again later
            await asyncio.wait({loop_task}, timeout=LEAVE_SECONDS)

    async def quiet_at_last(self) -> None:
        """Wait until no slot holds a ticket."""
        await self._quiet.wait()

    def release(self) -> None:
        """Let idle slots return empty-handed, for ever."""
        self._released = True
        for slot in self._idle:
            if not slot.done():
                slot.set_result(None)
        self._idle.clear()

    def set_queues(self, queues: Sequence[str]) -> None:
        """Serve exactly these queues, from the next fetch on."""
        served = tuple(dict.fromkeys(queues))
        if served != self._queues:
            self._queues = served
            self._changed.set()

    def set_paused(self, queues: Collection[str]) -> None:
        """Leave the lanes of exactly these queues alone, from the next fetch on."""
        self._paused = frozenset(queues)
        self._changed.set()

    # ---- the loop

    async def _step(self, drained: bool) -> bool:
        """One wait or one fetch; `drained` says that the last fetch left nothing, so only a bell can bring more."""
        self._changed.clear()
        lanes = self._order()
        self._idle = [slot for slot in self._idle if not slot.done()]
        if not self._idle or not lanes:
            await self._changed.wait()
            await asyncio.sleep(0)  # let the other slots that end in this turn of the loop become idle as well
            return drained
        if drained:
            self._listening = True
            try:
                await self._broker.wait_for_bell(lanes, self._own_bell)
            finally:
                self._listening = False
            self._reached()
            return False
        fetched = await self._broker.fetch(lanes, len(self._idle))
        self._reached()
        if fetched.bodies:
            self._fetches += 1
            await self._give(fetched.bodies)
        return fetched.drained

    def _order(self) -> list[Lane]:
        """Most urgent first, queues of one priority in turns; every 16th successful fetch starts elsewhere."""
        queues = [queue for queue in self._queues if queue not in self._paused]
        if not queues:
            return []
        turn = self._fetches % len(queues)
        queues = queues[turn:] + queues[:turn]
        lanes = [self._broker.lane(queue, priority) for priority in LEVELS for queue in queues]
        round_no, place = divmod(self._fetches, FAIR_SHARE)
        if place == FAIR_SHARE - 1:
            start = 1 + round_no % (len(lanes) - 1)
            lanes = lanes[start:] + lanes[:start]
        return lanes

    async def _give(self, bodies: Sequence[tuple[Lane, bytes]]) -> None:
        unused: list[Ticket] = []
        for lane, body in bodies:
            try:
                job = lane.read(body)
            except PoisonError as error:
                # dropped for good: Postgres still has the execution, if there ever was one, and pushes it again
                logger.error("dropped an unreadable ticket of lane %s: %s (%d bytes)", lane.name, error, len(body))
                continue
            if self._leaving.is_set() or not self._fill_slot(job):
                unused.append(job.ticket)
        if unused:
            with contextlib.suppress(Unavailable):  # lost then, like any other ticket
                await self._broker.hand_back(unused)

    def _fill_slot(self, job: TicketJob) -> bool:
        while self._idle:
            slot = self._idle.pop(0)
            if not slot.done():
                job.queue = self
                self._busy += 1
                self._quiet.clear()
                slot.set_result(job)
                return True
        return False

    def _reached(self) -> None:
        self._delay = FIRST_DELAY
        if self._down.over():
            logger.warning("Redis is back: fetching tickets again")

    async def _back_off(self, error: Exception) -> None:
        if self._down.due():
            surprise = None if isinstance(error, Unavailable) else error
            logger.warning("cannot fetch tickets, trying again until it works: %s", error, exc_info=surprise)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._leaving.wait(), self._delay * random.uniform(0.75, 1.25))  # noqa: S311 only jitter
        self._delay = min(self._delay * 2, LONGEST_DELAY)

    # ---- for saq.Worker

    async def dequeue(self, timeout: float = 0.0, poll_interval: float = 0.0) -> Job | None:
        """The next ticket for a slot; None once released. Waits as long as it takes."""
        if self._released:
            return None
        slot: asyncio.Future[TicketJob | None] = asyncio.get_running_loop().create_future()
        self._idle.append(slot)
        self._changed.set()
        return await slot

    async def update(self, job: Job, **kwargs: Any) -> None:
        """Nothing: an attempt's state is in Postgres."""

    async def finish(
        self, job: Job, status: Status, *, result: Any = None, error: str | None = None, **kwargs: Any
    ) -> None:
        """The slot is done with this ticket; there is nothing to write, it left Redis when it was fetched."""
        self._done()

    async def retry(self, job: Job, error: str | None) -> None:
        """The same: SAQ calls this when a handler was cancelled; who runs it again is decided in Postgres."""
        self._done()

    def _done(self) -> None:
        self._busy -= 1
        if not self._busy:
            self._quiet.set()

    # ---- the rest of saq.Queue, which nothing calls: the worker's upkeep is off

    async def disconnect(self) -> None:
        """Nothing: the connection belongs to the Broker."""

    async def sweep(self, lock: int = 60, abort: float = 5.0) -> list[str]:
        """Nothing: SAQ's sweeper also sweeps healthy jobs."""
        return []

    async def write_worker_info(self, worker_id: str, info: WorkerInfo, ttl: int) -> None:
        """Nothing: presence is a row in Postgres."""

    async def jobs(self, job_keys: Iterable[str]) -> list[Job | None]:
        _refuse()

    async def job(self, job_key: str) -> Job | None:
        _refuse()

    async def info(self, jobs: bool = False, offset: int = 0, limit: int = 10) -> QueueInfo:
        _refuse()

    async def count(self, kind: CountKind) -> int:
        _refuse()

    def iter_jobs(self, statuses: list[Status] | None = None, batch_size: int = 100) -> AsyncIterator[Job]:
        _refuse()

    async def abort(self, job: Job, error: str, ttl: float = 5) -> None:
        _refuse()

    async def _update(self, job: Job, status: Status | None = None, **kwargs: Any) -> None:
        _refuse()

    async def _retry(self, job: Job, error: str | None) -> None:
        _refuse()

    async def _finish(self, job: Job, status: Status, *, result: Any = None, error: str | None = None) -> None:
        _refuse()

    async def _enqueue(self, job: Job) -> Job | None:
        _refuse()


def _refuse() -> NoReturn:
    raise NotImplementedError("ask Postgres: Redis only carries tickets")
