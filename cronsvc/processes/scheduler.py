"""The scheduler: sleep until something is due, do it, look again.

Each round asks Postgres when the next fire, dispatch or end of a pause is due and does only that; an idle scheduler
costs one small query a poll. Any number of replicas run this loop; none of them leads.
"""

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import timedelta

from cronsvc import __version__
from cronsvc.config import Settings
from cronsvc.errors import ConfigError, CronsvcError, Unavailable
from cronsvc.queue import Broker
from cronsvc.services.admission import release_held
from cronsvc.services.auditing import seal_audit
from cronsvc.services.backfilling import advance_backfills
from cronsvc.services.callback_waits import end_silent
from cronsvc.services.dispatch import Dispatcher
from cronsvc.services.failing import end_overdue
from cronsvc.services.fence import Fence
from cronsvc.services.pausing import resume_ended
from cronsvc.services.queues import tend_queues
from cronsvc.services.running import rescue
from cronsvc.services.scheduling import Scheduling
from cronsvc.services.settling import MOST_ENDS, end_overdue_parents, settle_ends
from cronsvc.services.upkeep import make_partitions, upkeep
from cronsvc.services.windows import release_windows
from cronsvc.store import presence
from cronsvc.store.listen import Doorbell
from cronsvc.store.pool import Database
from cronsvc.tasks import Reminder, alone, cancelled

_log = logging.getLogger("cronsvc.scheduler")

RESCUE_SECONDS = 2.0
EPOCH_SECONDS = 2.0
QUEUES_SECONDS = 1.0
BACKFILL_SECONDS = 1.0
ENDS_SECONDS = 1.0
BEAT_SECONDS = 5.0
SEAL_SECONDS = 2.0
UPKEEP_SECONDS = 600.0

# A chore that fails so often in a row says so itself: what is wrong is then more than the main loop's connection.
FAILURES = 3

# A tick begins this long before the instant and commits when the database's clock has reached it.
LEAD_SECONDS = 0.025

# Due jobs whose shards a replica holds: it is at work, or frozen until Postgres ends its transaction.
HELD_SECONDS = 0.05

# How soon a fenced scheduler looks again whether somebody has confirmed.
FENCED_SECONDS = 1.0


async def run_scheduler(settings: Settings, stop: asyncio.Event, *, ready: asyncio.Event | None = None) -> None:
    """Tick until `stop` is set. `ready` is set once Postgres has answered; losing it later is logged and survived."""
    name = f"{socket.gethostname()}:{os.getpid()}"
    url = settings.require_database_url()
    pooler = settings.pooler == "transaction"
    async with AsyncExitStack() as stack:
        db = await Database.open(url, application_name=f"cronsvc-scheduler {name}", max_size=4, pooler=pooler)
        stack.push_async_callback(db.close)
        broker = Broker.open(settings.require_redis_url(), prefix=settings.redis_prefix)
        stack.push_async_callback(broker.close)
        redispatch = timedelta(seconds=settings.redispatch_seconds)
        dispatcher = Dispatcher(db, broker, redispatch=redispatch)
        scheduling = Scheduling(
            db,
            dispatcher,
            batch=settings.tick_batch,
            advisory_locks=settings.advisory_locks,
            lead=timedelta(seconds=LEAD_SECONDS),
        )
        doorbell = Doorbell(url, application_name=f"cronsvc-listen {name}")
        fence = Fence(db, broker, installation=settings.installation)
        loop = _Loop(scheduling, dispatcher, db, doorbell, settings, fence)
        stack.enter_context(alone(ConfigError))
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(loop.chores(name), name="chores")]
            if not pooler:
                background.append(tasks.create_task(doorbell.listen(), name="listen"))
            await loop.run(stop, ready)
            for task in background:
                task.cancel()
    _log.info("scheduler stopped")


class _Loop:
    def __init__(
        self,
        scheduling: Scheduling,
        dispatcher: Dispatcher,
        db: Database,
        doorbell: Doorbell,
        settings: Settings,
        fence: Fence,
    ) -> None:
        self._scheduling = scheduling
        self._dispatcher = dispatcher
        self._db = db
        self._doorbell = doorbell
        self._settings = settings
        self._fence = fence
        self._id = uuid.uuid4()
        self._stirred = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self, stop: asyncio.Event, ready: asyncio.Event | None) -> None:
        """Rounds until `stop`; a failure is logged now and then and waited out, so a dead dependency costs no CPU."""
        stopping = asyncio.create_task(_ring_at(stop, self._doorbell.rung))
        down = Reminder()
        try:
            await self._until_it_works(self._fence.look, stop)
            await self._until_it_works(lambda: make_partitions(self._db), stop)
            while not stop.is_set() and not cancelled():
                try:
                    pause = await self._round()
                except ConfigError:
                    raise
                except Exception as error:  # noqa: BLE001 a defect met by one round must not end what fires every job
                    if down.due():
                        _say_why_not(error)
                    pause = 0.5
                else:
                    if down.over():
                        _log.info("scheduler is ticking again")
                    if ready is not None:
                        ready.set()
                if pause > 0 and not stop.is_set() and not cancelled():
                    await self._doorbell.wait(pause)
        finally:
            stopping.cancel()
            with suppress(Unavailable):
                async with self._db.statements() as conn:
                    await presence.forget_scheduler(conn, process_id=self._id)

    async def _round(self) -> float:
        """Do what is due; returns the seconds until the next round, 0 for at once."""
        self._stirred.set()
        tick = await self._scheduling.tick()
        if tick.more:
            return 0.0
        due = await self._scheduling.seconds_until_due()
        if due.fenced:
            return 0.0 if await self._fence.look() else FENCED_SECONDS
        pauses = [self._settings.poll_seconds]
        if due.resume is not None:
            if due.resume <= 0:
                await resume_ended(self._db)
                return 0.0
            pauses.append(due.resume)
        if due.dispatch is not None:
            if due.dispatch <= 0:
                taken = await self._dispatcher.redispatch()
                pauses.append(0.5 if taken == 0 else 0.0)
            else:
                pauses.append(due.dispatch)
        if due.release is not None:
            if due.release <= 0 and await release_windows(self._db):
                return 0.0
            pauses.append(max(due.release, HELD_SECONDS))
        if due.ended:
            self._ended.set()
        if due.held and await release_held(self._db, self._dispatcher):
            return 0.0
        if due.fire is not None:
            # Due, and yet the tick found nothing: its shard is locked.
            held = tick.jobs == 0 and due.fire <= 0
            pauses.append(HELD_SECONDS if held else max(due.fire - LEAD_SECONDS, 0.0))
        return min(pauses)

    async def chores(self, name: str) -> None:
        """Rescue, deadlines, the watch over Redis, the ends of queues' pauses, presence and upkeep."""
        grace = timedelta(seconds=self._settings.lease_seconds)

        async def beat() -> None:
            async with self._db.statements() as conn:
                await presence.beat_scheduler(conn, process_id=self._id, name=name, version=__version__)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._every("rescue", RESCUE_SECONDS, lambda: self._rescue(grace)))
            tasks.create_task(self._every("deadlines", RESCUE_SECONDS, lambda: end_overdue(self._db)))
            tasks.create_task(self._every("callbacks", RESCUE_SECONDS, self._end_silent))
            tasks.create_task(self._every("watch over Redis", EPOCH_SECONDS, self._watch_redis))
            tasks.create_task(self._every("queues", QUEUES_SECONDS, self._tend_queues))
            tasks.create_task(
                self._every("deadlines of parents", RESCUE_SECONDS, lambda: end_overdue_parents(self._db))
            )
            tasks.create_task(_every("fence", EPOCH_SECONDS, self._fence.look))
            tasks.create_task(self._advance_backfills())
            tasks.create_task(self._settle_ends())
            tasks.create_task(_every("presence", BEAT_SECONDS, beat))
            tasks.create_task(_every("audit", SEAL_SECONDS, lambda: seal_audit(self._db)))
            tasks.create_task(self._every("upkeep", UPKEEP_SECONDS, self._upkeep))

    async def _every(self, name: str, seconds: float, act: Callable[[], Awaitable[object]]) -> None:
        """Do `act` again and again, but for as long as the database may be a restored one."""

        async def unless_fenced() -> None:
            if not await self._fence.holds():
                await act()

        await _every(name, seconds, unless_fenced)

    async def _rescue(self, grace: timedelta) -> None:
        if await rescue(self._db, grace=grace):
            self._doorbell.rung.set()  # what was lost runs again, and what waited for it may

    async def _end_silent(self) -> None:
        if await end_silent(self._db):
            self._doorbell.rung.set()

    async def _watch_redis(self) -> None:
        if await self._dispatcher.watch_epoch():
            self._doorbell.rung.set()

    async def _advance_backfills(self) -> None:
        """Step the backfills with each round, for what rings the doorbell may be one of their ends, and each second."""
        trouble = _Trouble("backfills")
        while not cancelled():
            try:
                if not await self._fence.holds():
                    await advance_backfills(self._db, self._dispatcher, advisory_locks=self._settings.advisory_locks)
            except Exception as error:  # noqa: BLE001 a defect of one backfill must not stop the schedulers
                trouble.met(error)
            else:
                trouble.over()
            with suppress(TimeoutError):
                async with asyncio.timeout(BACKFILL_SECONDS):
                    await self._stirred.wait()
            self._stirred.clear()

    async def _settle_ends(self) -> None:
        """Act on ends as soon as a round sees that there are some, and look each second anyway.

        After a failure the next attempt is half as large: what is too much for one transaction does not stay so.
        """
        trouble, batch = _Trouble("ends"), MOST_ENDS
        while not cancelled():
            try:
                while await self._settled(batch):
                    self._doorbell.rung.set()  # what has ended for it may have held others back
                    batch = min(batch * 2, MOST_ENDS)
            except Exception as error:  # noqa: BLE001 — a defect met by one batch must not stop the schedulers
                trouble.met(error)
                batch = max(batch // 2, 1)
            else:
                trouble.over()
            with suppress(TimeoutError):
                async with asyncio.timeout(ENDS_SECONDS):
                    await self._ended.wait()
            self._ended.clear()

    async def _settled(self, batch: int) -> int:
        if await self._fence.holds():
            return 0
        locks = self._settings.advisory_locks
        return await settle_ends(self._db, self._dispatcher, batch=batch, advisory_locks=locks)

    async def _tend_queues(self) -> None:
        if await tend_queues(self._db):
            self._doorbell.rung.set()

    async def _upkeep(self) -> None:
        await upkeep(self._db, retention_days=self._settings.retention_days)
        moved = await self._scheduling.follow_zone_data()
        if moved:
            _log.info("time zone data changed: %s cursors recomputed", moved)

    async def _until_it_works(self, act: Callable[[], Awaitable[object]], stop: asyncio.Event) -> None:
        down = Reminder()
        while not stop.is_set() and not cancelled():
            try:
                await act()
            except ConfigError:
                raise
            except CronsvcError as error:
                if down.due():
                    _log.warning("scheduler is waiting for Postgres: %s", error)
                await self._doorbell.wait(0.5)
            else:
                return


def _say_why_not(error: Exception) -> None:
    if isinstance(error, CronsvcError):
        _log.warning("scheduler is waiting for Postgres: %s", error)
    else:
        _log.error("a round of the scheduler failed and is tried again: %s", error, exc_info=error)


class _Trouble:
    """How often a chore has failed in a row, and when to say so.

    A failure or two while a dependency is away are the main loop's to announce.
    """

    def __init__(self, chore: str) -> None:
        self._chore = chore
        self._failures = 0
        self._reminder = Reminder()

    def met(self, error: Exception) -> None:
        """The chore has failed."""
        self._failures += 1
        defect = None if isinstance(error, CronsvcError) else error
        if self._failures >= FAILURES and self._reminder.due():
            _log.warning(
                "chore %r has failed %s times in a row: %s", self._chore, self._failures, error, exc_info=defect
            )
        else:
            _log.debug("chore %r: %s", self._chore, error, exc_info=defect)

    def over(self) -> None:
        """The chore has worked."""
        self._failures = 0
        if self._reminder.over():
            _log.info("chore %r works again", self._chore)


async def _every(chore: str, seconds: float, act: Callable[[], Awaitable[object]]) -> None:
    """Do `act` again and again, whether it works or not."""
    trouble = _Trouble(chore)
    while not cancelled():
        try:
            await act()
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 a defect of one chore must not stop the schedulers
            trouble.met(error)
        else:
            trouble.over()
        if not cancelled():
            await asyncio.sleep(seconds)


async def _ring_at(stop: asyncio.Event, rung: asyncio.Event) -> None:
    await stop.wait()
    rung.set()
