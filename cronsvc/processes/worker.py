"""The worker: tickets in, attempts made, ends written; all under one lease.

The lease is the process's. When Postgres declares it lost (a freeze, a partition), everything it ran is stopped and the
process goes on under a new identity. A drain stops fetching at once, lets running attempts end, then releases the rest.
"""

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from datetime import timedelta

from cronsvc import __version__
from cronsvc.config import Settings
from cronsvc.errors import ConfigError, CronsvcError, Unavailable
from cronsvc.executors.base import Executor, ExecutorSettings
from cronsvc.executors.registry import load_executors
from cronsvc.queue import Broker, TicketWorker
from cronsvc.services.fence import Fence
from cronsvc.services.lease import Lease
from cronsvc.services.running import Runner
from cronsvc.services.sealing import Keyring
from cronsvc.services.secret_reading import SecretReader
from cronsvc.store import presence, queues
from cronsvc.store.pool import Database
from cronsvc.tasks import Reminder, cancelled

_log = logging.getLogger("cronsvc.worker")

QUEUES_SECONDS = 1.0
FLUSH_SECONDS = 3.0


async def run_worker(
    settings: Settings,
    stop: asyncio.Event,
    *,
    ready: asyncio.Event | None = None,
    executors: Mapping[str, Executor] | None = None,
) -> None:
    """Work until `stop` is set, then drain within `settings.drain_seconds`. `ready` is set once it has a lease.

    `executors` replaces the installed job types; whoever passes them closes them.
    """
    name = f"{socket.gethostname()}:{os.getpid()}"
    async with AsyncExitStack() as stack:
        db = await Database.open(
            settings.require_database_url(),
            application_name=f"cronsvc-worker {name}",
            max_size=settings.pool_size,
            pooler=settings.pooler == "transaction",
        )
        stack.push_async_callback(db.close)
        if executors is None:
            executors = load_executors(ExecutorSettings.of(settings))
            for executor in executors.values():
                stack.push_async_callback(executor.close)
        broker = Broker.open(settings.require_redis_url(), prefix=settings.redis_prefix)
        stack.push_async_callback(broker.close)
        for warning in await _warnings(broker):
            _log.warning("%s", warning)
        await _Worker(settings, db, broker, executors, name).run(stop, ready)
    _log.info("worker stopped")


async def _warnings(broker: Broker) -> list[str]:
    try:
        return await broker.check()
    except Unavailable as error:
        return [f"Redis cannot be checked yet: {error}"]


class _Worker:
    def __init__(
        self,
        settings: Settings,
        db: Database,
        broker: Broker,
        executors: Mapping[str, Executor],
        name: str,
    ) -> None:
        self._settings = settings
        self._db = db
        self._name = name
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._runner = Runner(
            db,
            executors,
            worker_id=uuid.uuid4(),
            cancel_grace=timedelta(seconds=settings.cancel_grace_seconds),
            secrets=SecretReader(db, Keyring.of(settings.secret_key_list())),
        )
        self._queues: tuple[str, ...] = settings.worker_queues or (settings.default_queue,)
        self._tickets = TicketWorker(
            broker, queues=self._queues, concurrency=settings.worker_concurrency, handle=self._runner.handle
        )
        self._fence = Fence(db, broker, notes=False, installation=settings.installation)
        self._paused: frozenset[str] = frozenset()
        self._told: tuple[uuid.UUID, tuple[str, ...]] | None = None  # the row that says which queues we serve
        self._draining = False
        self._retired: uuid.UUID | None = None

    async def run(self, stop: asyncio.Event, ready: asyncio.Event | None) -> None:
        living = asyncio.create_task(self._live(stop, ready), name="lease")
        following = asyncio.create_task(self._follow_queues(), name="queues")
        try:
            await _first(living, following, stop)
            for task in (living, following):
                if task.done() and not stop.is_set():
                    task.result()  # neither ends by itself: this raises what ended it
            await self._drain()
        finally:
            # Also on the way out of an error or a cancellation: nothing of this worker may outlive its pools.
            await self._tickets.stop(0)
            await self._runner.flush(FLUSH_SECONDS)
            await _ended(following, living)
            with suppress(Unavailable):
                async with self._db.statements() as conn:
                    await presence.stop_worker(conn, process_id=self._runner.worker_id)

    async def _drain(self) -> None:
        self._draining = True
        self._tickets.stop_fetching()
        if not await self._tickets.stop(self._settings.drain_seconds):
            _log.warning("the drain ended before every attempt did; the rest was released")
        if not await self._runner.flush(FLUSH_SECONDS):
            _log.warning("Postgres did not take every result; those attempts will be found and counted as lost")

    async def _live(self, stop: asyncio.Event, ready: asyncio.Event | None) -> None:
        """Register, work and renew the lease; begin again under a new identity whenever the lease is lost for good."""
        working: asyncio.Task[None] | None = None
        try:
            while not cancelled():
                await self._register(stop)
                if ready is not None:
                    ready.set()
                if working is None:
                    working = asyncio.create_task(self._tickets.run(), name="tickets")
                lease = Lease(
                    self._db,
                    self._runner,
                    lease=self._lease,
                    beat=timedelta(seconds=self._settings.heartbeat_seconds),
                    draining=lambda: self._draining,
                )
                keeping = asyncio.create_task(lease.keep(), name="heartbeat")
                await asyncio.wait({keeping, working}, return_when=asyncio.FIRST_COMPLETED)
                if working.done() and not self._draining:
                    keeping.cancel()
                    working.result()
                    raise RuntimeError("the ticket loop ended by itself")
                await keeping
                self._retired, self._runner.worker_id = self._runner.worker_id, uuid.uuid4()
        finally:
            if working is not None:
                working.cancel()

    async def _follow_queues(self) -> None:
        """Leave paused queues alone; told no queues, serve every queue there is. Both within QUEUES_SECONDS.

        The fence as well: no claim passes it, so all there is to do is to look closer when it stands, and now and then.
        """
        while not cancelled():
            with suppress(Unavailable):
                await self._fence.follow()
                async with self._db.statements() as conn:
                    known = await queues.names(conn)
                    paused = frozenset(name for name, is_paused in known.items() if is_paused)
                    served = self._settings.worker_queues or tuple(known) or self._queues
                    telling = (self._runner.worker_id, served)
                    if telling != self._told and await presence.serve(conn, process_id=telling[0], queues=served):
                        self._told = telling
                if paused != self._paused:
                    self._paused = paused
                    self._tickets.set_paused(paused)
                if served != self._queues:
                    self._queues = served
                    self._tickets.set_queues(served)
            await asyncio.sleep(QUEUES_SECONDS)

    async def _register(self, stop: asyncio.Event) -> None:
        down = Reminder()
        while not cancelled():
            try:
                await self._fence.look()  # before anything is claimed: this may be the wrong database for us
                async with self._db.statements() as conn:
                    if self._retired is not None:  # what it held is for the rescuers to decide
                        await presence.stop_worker(conn, process_id=self._retired)
                    await presence.register_worker(
                        conn,
                        process_id=self._runner.worker_id,
                        name=self._name,
                        version=__version__,
                        queues=self._queues,
                        concurrency=self._settings.worker_concurrency,
                        lease=self._lease,
                    )
            except ConfigError:
                raise
            except CronsvcError as error:
                if down.due():
                    _log.warning("worker is waiting for Postgres: %s", error)
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await stop.wait()
                if stop.is_set():
                    raise asyncio.CancelledError from None
            else:
                return


async def _first(one: "asyncio.Task[None]", other: "asyncio.Task[None]", stop: asyncio.Event) -> None:
    """Wait until either task ends or `stop` is set."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({one, other, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()


async def _ended(*tasks: "asyncio.Task[None]") -> None:
    """Cancel these and wait until they are over; what they raised was somebody else's to see."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
