"""A worker process follows the queues: it leaves paused ones alone, and told none it serves every queue there is."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from redis.asyncio import Redis

from cronsvc.config import Settings, load_settings
from cronsvc.domain.execution import Ticket
from cronsvc.executors.base import Executor
from cronsvc.processes.scheduler import run_scheduler
from cronsvc.processes.worker import run_worker
from cronsvc.queue import Broker
from cronsvc.services.queues import Queues
from cronsvc.store.pool import Database
from tests.support.control import ALICE
from tests.support.job_types import Scripted
from tests.support.rows import define, fetch, one
from tests.support.waiting import until


def settings_for(database_url: str, redis_url: str, **more: str) -> Settings:
    return load_settings({"DATABASE_URL": database_url, "REDIS_URL": redis_url} | more)


def working(settings: Settings, executor: Executor) -> AbstractAsyncContextManager[None]:
    """A worker in this process, for the length of the block."""
    executors: Mapping[str, Executor] = {"API_CALL": executor}
    return alive(lambda stop, ready: run_worker(settings, stop, ready=ready, executors=executors))


@asynccontextmanager
async def alive(run: Callable[[asyncio.Event, asyncio.Event], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """What runs until it is told to stop and says when it is ready, for the length of the block."""
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(run(stop, ready))
    try:
        async with asyncio.timeout(30):
            await ready.wait()
        yield
    finally:
        stop.set()
        async with asyncio.timeout(30):
            await task


async def wait_in(db: Database, job_id: int) -> Ticket:
    """One QUEUED row that nobody dispatches again soon, and its ticket."""
    row = await one(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, queue, dispatches, dispatch_at)"
        " SELECT id, clock_timestamp(), queue, 1, clock_timestamp() + interval '50 seconds' FROM jobs WHERE id = %s"
        " RETURNING id, job_id, scheduled_time, claim_no, queue, priority",
        job_id,
    )
    return Ticket(*row)


async def ended(db: Database, ticket: Ticket) -> bool:
    query = "SELECT status = 'SUCCESS' FROM job_executions WHERE job_id = %s AND scheduled_time = %s"
    return bool((await one(db, query, ticket.job_id, ticket.scheduled_time))[0])


async def test_a_paused_queues_tickets_stay_in_redis_and_come_back_with_the_resume(
    db: Database, database_url: str, redis_url: str
) -> None:
    slow, quick = await define(db, queue="slow"), await define(db, queue="quick")
    broker = Broker.open(redis_url)
    async with working(settings_for(database_url, redis_url), Scripted()), Redis.from_url(redis_url) as redis:
        await Queues(db).pause("slow", ALICE)
        held: list[Ticket] = []

        async def left_alone() -> bool:
            """Whether a ticket of the paused queue is still there after a later one of another queue was run."""
            held.append(await wait_in(db, slow))
            await broker.push(held[-1:])
            later = await wait_in(db, quick)
            await broker.push([later])
            await until(lambda: ended(db, later), what="the other queue's execution")
            return bool(await redis.exists(broker.lane("slow", 10).queued))

        await until(left_alone, seconds=30, what="the worker leaving the paused queue alone")
        assert await one(db, "SELECT count(*) FROM job_executions WHERE queue = 'slow' AND attempt > 0") == (0,)
        await Queues(db).resume("slow", ALICE)
        await until(lambda: ended(db, held[-1]), seconds=30, what="the ticket that stayed in Redis")
    await broker.close()


async def test_a_worker_that_was_told_no_queues_serves_new_ones_and_says_so(
    db: Database, database_url: str, redis_url: str
) -> None:
    broker = Broker.open(redis_url)
    async with working(settings_for(database_url, redis_url), Scripted()):
        ticket = await wait_in(db, await define(db, queue="brand-new"))
        await broker.push([ticket])
        await until(lambda: ended(db, ticket), seconds=30, what="the new queue's execution")
        assert await one(db, "SELECT queues FROM workers") == (["brand-new", "default"],)
    await broker.close()


async def test_a_worker_that_was_told_its_queues_serves_no_other(
    db: Database, database_url: str, redis_url: str
) -> None:
    broker = Broker.open(redis_url)
    mine, other = await define(db, queue="mine"), await define(db, queue="other")
    async with working(settings_for(database_url, redis_url, CRONSVC_WORKER_QUEUES="mine"), Scripted()):
        foreign = await wait_in(db, other)
        await broker.push([foreign])
        for _ in range(3):
            ticket = await wait_in(db, mine)
            await broker.push([ticket])
            await until(partial(ended, db, ticket), seconds=30, what="our own execution")
        assert not await ended(db, foreign)
        assert await one(db, "SELECT queues FROM workers") == (["mine"],)
    await broker.close()


async def test_the_scheduler_ends_a_pause_and_what_was_parked_runs(
    db: Database, database_url: str, redis_url: str
) -> None:
    """The whole way: parked by one scheduler, called in at `until`, pushed, run."""
    job_id = await define(db, queue="slow")
    await Queues(db).pause("slow", ALICE, until=datetime.now(UTC) + timedelta(hours=1))
    settings = settings_for(database_url, redis_url)
    stop = asyncio.Event()
    schedulers = [asyncio.create_task(run_scheduler(settings, stop)) for _ in range(2)]
    try:
        async with working(settings, Scripted()):
            ticket = await wait_in(db, job_id)
            await fetch(db, "UPDATE job_executions SET dispatch_at = now() RETURNING 1")

            async def parked() -> bool:
                return await one(db, "SELECT held, dispatch_at FROM job_executions") == ("queue_paused", None)

            await until(parked, seconds=30, what="parking")
            await fetch(db, "UPDATE queues SET paused_until = now() WHERE name = 'slow' RETURNING 1")
            await until(lambda: ended(db, ticket), seconds=30, what="the parked execution")
        assert await one(db, "SELECT held FROM job_executions") == (None,)
    finally:
        stop.set()
        async with asyncio.timeout(30):
            await asyncio.gather(*schedulers)
