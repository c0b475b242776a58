"""A whole service in one event loop, for tests that drive it step by step: schedulers, workers, a bell and a target.

Everything that decides is the real code on a real Postgres whose clock the test turns. What is outside is played: the
bell loses, doubles and delays tickets as it is told to, and the target writes down each call by itself.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

from psycopg import sql

from cronsvc.domain.execution import ErrorDetail, Outcome, Ticket
from cronsvc.errors import Unavailable
from cronsvc.executors.base import RunContext
from cronsvc.queue import Broker
from cronsvc.services.admission import release_held
from cronsvc.services.backfilling import advance_backfills
from cronsvc.services.backfills import Backfills
from cronsvc.services.dead_letters import DeadLetters
from cronsvc.services.dispatch import Dispatcher
from cronsvc.services.ending import Endings
from cronsvc.services.failing import end_overdue
from cronsvc.services.jobs import Jobs
from cronsvc.services.queues import Queues, tend_queues
from cronsvc.services.running import Runner, rescue
from cronsvc.services.scheduling import Scheduling
from cronsvc.store import partitions, presence, running
from cronsvc.store.pool import Database
from tests.support.clock import Clock
from tests.support.control import ALICE, NeedsUrl

# Half a second past: no instant of a schedule is nearer, so a test knows what was due at a reading it did not see.
# Three minutes before London's clocks go forward.
START = datetime(2027, 3, 28, 0, 57, 0, 500_000, tzinfo=UTC)
LEASE = timedelta(seconds=10)
SHORT = timedelta(0)


class Bell:
    """A Redis that forgets on request, and never notices that a ticket waits already."""

    def __init__(self) -> None:
        self.tickets: list[Ticket] = []
        self.away = False
        self.life = 0

    async def push(self, tickets: Sequence[Ticket]) -> int:
        if self.away:
            raise Unavailable("Redis: away")
        self.tickets.extend(tickets)
        return len(tickets)

    async def epoch(self) -> str:
        if self.away:
            raise Unavailable("Redis: away")
        return str(self.life)

    def wipe(self) -> None:
        self.tickets.clear()
        self.life += 1


@dataclass(eq=False)
class Call:
    """What the target saw: one call, from its beginning until the test lets it answer."""

    context: RunContext
    at: datetime  # by the database's clock, read by the test
    worker: "Worker"
    answer: "asyncio.Future[Outcome]"
    handling: "asyncio.Task[None] | None" = None
    over: bool = False

    @property
    def key(self) -> tuple[int, int]:
        return self.context.execution_id, self.context.claim_no


@dataclass(eq=False)
class Worker:
    """One worker process. A frozen one sends no heartbeats and knows nothing of it."""

    name: str
    runner: Runner
    frozen: bool = False
    gone: bool = False  # replaced by another; its calls go on all the same
    called: asyncio.Event = field(default_factory=asyncio.Event)


class Target:
    """What jobs call. It keeps its own book: nothing in it comes from Postgres but the identity it was given."""

    def __init__(self, world: "World", worker: Worker | None = None) -> None:
        self._world = world
        self.worker = worker

    def parse(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        return config

    async def run(self, config: Mapping[str, Any], context: RunContext) -> Outcome:
        assert self.worker is not None
        call = Call(context, self._world.now, self.worker, asyncio.get_running_loop().create_future())
        self._world.calls.append(call)
        self.worker.called.set()
        try:
            return await call.answer
        finally:
            call.over = True

    async def close(self) -> None:
        return


class Scheduler:
    """One scheduler process: its acts, one by one."""

    def __init__(self, world: "World", seed: int, *, locks: bool) -> None:
        self._db = world.db
        self._locks = locks
        self.dispatcher = Dispatcher(world.db, cast(Broker, world.bell))
        self._scheduling = Scheduling(
            world.db, self.dispatcher, advisory_locks=locks, rotation=random.Random(seed), batch=1000
        )

    async def tick(self) -> object:
        return await self._scheduling.tick()

    async def redispatch(self) -> object:
        if self.dispatcher._down:
            return await self.dispatcher.watch_epoch()  # what a scheduler does beside its rounds
        return await self.dispatcher.redispatch()

    async def release(self) -> object:
        return await release_held(self._db, self.dispatcher)

    async def rescue(self) -> object:
        return await rescue(self._db, grace=SHORT)

    async def end_overdue(self) -> object:
        return await end_overdue(self._db)

    async def tend(self) -> object:
        return await tend_queues(self._db)

    async def backfill(self) -> object:
        return await advance_backfills(self._db, self.dispatcher, advisory_locks=self._locks)


class World:
    """Two schedulers, two workers, a desk for people, and the clock."""

    def __init__(self, db: Database, tables: Sequence[str]) -> None:
        self.db = db
        self._tables = tables
        self.clock = Clock(db)
        self.bell = Bell()
        self.now = START
        self.latest = START  # how far the clock has ever been
        self.calls: list[Call] = []
        self.workers: list[Worker] = []
        self.schedulers: list[Scheduler] = []
        self._handling: set[asyncio.Task[None]] = set()

    async def begin(self, *, locks: bool) -> None:
        """An empty service at START."""
        await empty(self.db, self._tables)
        await self.clock.set(START)
        async with self.db.transaction() as conn:
            await partitions.ensure(conn, {partitions.week_of(START + timedelta(days=n)) for n in (-7, 0, 7)})
        self.schedulers = [Scheduler(self, seed, locks=locks) for seed in (1, 2)]
        for each in self.schedulers:
            await each.dispatcher.watch_epoch()
        dispatcher = self.schedulers[0].dispatcher
        self.jobs = Jobs(self.db, {"CALL": NeedsUrl()}, dispatcher)
        self.backfills = Backfills(self.db, {"CALL": NeedsUrl()})
        self.endings = Endings(self.db, {"CALL": NeedsUrl()}, dispatcher)
        self.dead_letters = DeadLetters(self.db, {"CALL": NeedsUrl()}, dispatcher)
        self.queues = Queues(self.db)
        self.workers = [await self._worker(name) for name in ("A", "B")]

    async def end(self) -> None:
        """Stop what is still under way, writing nothing of it."""
        for call in self.calls:
            call.worker.runner.lapse()
        for task in self._handling:
            task.cancel()
        await asyncio.gather(*self._handling, return_exceptions=True)

    async def turn(self, by: timedelta) -> None:
        await self.clock.turn(by)
        self.now += by
        self.latest = max(self.latest, self.now)

    # Workers -----------------------------------------------------------------------------------------------------

    async def _worker(self, name: str) -> Worker:
        worker_id: UUID = uuid4()
        async with self.db.statements() as conn:
            await presence.register_worker(
                conn, process_id=worker_id, name=name, version="0", queues=["default"], concurrency=5, lease=LEASE
            )
        target = Target(self)
        target.worker = Worker(
            name, Runner(self.db, {"CALL": target}, worker_id=worker_id, cancel_grace=timedelta(seconds=5))
        )
        return target.worker

    async def deliver(self, worker: Worker, ticket: Ticket) -> None:
        """Hand a ticket to a worker; returns when its call has begun, or when there is nothing to begin."""
        worker.called.clear()
        seen = len(self.calls)
        task = asyncio.get_running_loop().create_task(worker.runner.handle(ticket))
        self._handling.add(task)
        task.add_done_callback(self._handling.discard)
        begun = asyncio.ensure_future(worker.called.wait())
        await asyncio.wait({task, begun}, return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        for call in self.calls[seen:]:
            if call.worker is worker and call.handling is None:
                call.handling = task
        if task.done():
            await task
            assert await worker.runner.flush(20)

    async def answer(self, call: Call, outcome: Outcome) -> None:
        """Let the target answer, and wait until the worker has written the end or was refused."""
        assert call.handling is not None
        if not call.answer.done():
            call.answer.set_result(outcome)
        await call.handling
        assert await call.worker.runner.flush(20)

    async def beat(self, worker: Worker) -> None:
        """One heartbeat: renew the lease and stop what shall stop; a worker declared lost takes a new identity."""
        async with self.db.statements() as conn:
            alive = await presence.beat(
                conn, process_id=worker.runner.worker_id, lease=LEASE, running=worker.runner.running, draining=False
            )
            stop = await running.to_stop(conn, runs) if alive and (runs := worker.runner.claims()) else set()
        ending = [call.handling for call in self.open_calls(worker) if not alive or call.key in stop]
        if alive:
            worker.runner.cancel(stop)
        else:
            worker.runner.lapse()
        await asyncio.gather(*(task for task in ending if task is not None))
        assert await worker.runner.flush(20)
        if not alive:
            await self.replace(worker)

    async def beats(self) -> None:
        for worker in list(self.workers):
            if not worker.frozen:
                await self.beat(worker)

    async def replace(self, worker: Worker) -> None:
        """A fresh process takes this one's place, which goes on unseen."""
        worker.gone = True
        self.workers[self.workers.index(worker)] = await self._worker(worker.name + "'")

    async def drain(self, worker: Worker) -> None:
        """SIGTERM: what runs is released, the process says goodbye, another one comes."""
        stopping = [call.handling for call in self.open_calls(worker) if call.handling is not None]
        for task in stopping:
            task.cancel()
        await asyncio.gather(*stopping)
        assert await worker.runner.flush(20)
        async with self.db.statements() as conn:
            await presence.stop_worker(conn, process_id=worker.runner.worker_id)
        await self.replace(worker)

    def open_calls(self, worker: Worker | None = None) -> list[Call]:
        return [each for each in self.calls if not each.over and (worker is None or each.worker is worker)]

    # What many do at the same moment ------------------------------------------------------------------------------

    async def at_once(self, *acts: Callable[[], Awaitable[object]]) -> None:
        """All of them together; every one has to come through."""
        await asyncio.gather(*(act() for act in acts))


def success(call: Call) -> Outcome:
    """An answer that says whose it is."""
    return Outcome(result={"claim": call.context.claim_no})


def failure(*, retryable: bool) -> Outcome:
    return Outcome(error=ErrorDetail("http_status", "it failed"), retryable=retryable, http_status=503)


TABLES = """
SELECT c.relname::text FROM pg_class AS c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND c.relname <> 'queues'
"""


async def tables_to_empty(db: Database) -> list[str]:
    """The tables that a fresh database has nothing in."""
    found = []
    async with db.statements() as conn:
        for (name,) in await (await conn.execute(TABLES.encode())).fetchall():
            statement = sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(name))
            if (await conn.execute(statement)).rowcount == 0:
                found.append(name)
    return found


async def empty(db: Database, tables: Sequence[str]) -> None:
    """Forget everything, the append-only tables included: this is a test's database and its owner asks."""
    async with db.transaction() as conn:
        await conn.execute("SET LOCAL session_replication_role = replica")
        for name in [*tables, "queues"]:
            await conn.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(name)))
        await conn.execute("INSERT INTO queues (name, concurrency) VALUES ('default', NULL), ('narrow', 2)")


__all__ = ["ALICE", "LEASE", "START", "Bell", "Call", "Scheduler", "World", "failure", "success"]
