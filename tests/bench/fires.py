"""Fires a second: a due job becomes a unique row, a moved cursor and a ticket in Redis."""

import time
from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis
from saq.queue.redis import RedisQueue

from cronsvc.queue import Broker
from cronsvc.services.dispatch import Dispatcher
from cronsvc.services.scheduling import Scheduling
from tests.bench import plain
from tests.bench.ground import Ground, define_jobs, opened

JOBS = 10_000
PLAIN_JOBS = 2_000


async def ours(ground: Ground) -> float:
    """One scheduler on ten thousand jobs that are due at one instant."""
    instant = datetime.now(UTC).replace(microsecond=0)
    url = await ground.fresh_database()
    async with opened(url) as db:
        await define_jobs(db, JOBS, at=instant)
        broker = Broker.open(ground.redis_url, prefix="bench-ours")
        scheduling = Scheduling(db, Dispatcher(db, broker))
        begun = time.perf_counter()
        fired = 0
        while (tick := await scheduling.tick(now=instant)).jobs:
            fired += tick.fired
        seconds = time.perf_counter() - begun
        await broker.close()
    await wiped(ground)
    assert fired == JOBS
    return fired / seconds


async def reference(ground: Ground) -> float:
    instant = datetime.now(UTC).replace(microsecond=0)
    url = await ground.fresh_database()
    async with opened(url) as db:
        await define_jobs(db, PLAIN_JOBS, at=instant)
    queue = RedisQueue.from_url(ground.redis_url, name="bench-plain")
    begun = time.perf_counter()
    fired = await plain.fire_all(url, queue, now=instant + timedelta(milliseconds=1))
    seconds = time.perf_counter() - begun
    await queue.disconnect()
    await wiped(ground)
    assert fired == PLAIN_JOBS
    return fired / seconds


async def wiped(ground: Ground) -> None:
    async with Redis.from_url(ground.redis_url) as client:
        await client.flushall()
