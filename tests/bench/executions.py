"""Executions a second: from waiting tickets through one worker process to finished rows. The job does nothing."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from saq.queue.redis import RedisQueue

from cronsvc.domain.execution import Ticket
from cronsvc.queue import Broker
from cronsvc.store.pool import Database
from tests.bench import plain
from tests.bench.fires import wiped
from tests.bench.ground import Ground, define_jobs, opened

QUEUED = """
INSERT INTO job_executions (job_id, scheduled_time, dispatch_at)
SELECT id, %s, 'infinity' FROM jobs RETURNING id, job_id
"""

SPAN = """
SELECT count(*) FILTER (WHERE status = 'SUCCESS')::int,
       extract(epoch FROM max(end_time) - min(start_time))::float8 FROM job_executions
"""


async def ours(ground: Ground, *, concurrency: int, count: int) -> float:
    instant = datetime.now(UTC).replace(microsecond=0)
    url = await ground.fresh_database()
    async with opened(url) as db:
        waiting = await _queued(db, count, instant)
        broker = Broker.open(ground.redis_url)
        await broker.push([Ticket(id_, job_id, instant, 0, "default", 10) for id_, job_id in waiting])
        rate = await _worked(db, count, ["tests.bench.noop_worker"], ground.redis_url, url, concurrency)
        await broker.close()
    await wiped(ground)
    return rate


async def reference(ground: Ground, *, concurrency: int, count: int) -> float:
    instant = datetime.now(UTC).replace(microsecond=0)
    url = await ground.fresh_database()
    async with opened(url) as db:
        waiting = await _queued(db, count, instant)
        queue = RedisQueue.from_url(ground.redis_url, name="bench-plain")
        for id_, job_id in waiting:
            await queue.enqueue(plain.ticket(id_, job_id, instant))
        arguments = ["tests.bench.plain_worker", instant.isoformat()]
        rate = await _worked(db, count, arguments, ground.redis_url, url, concurrency)
        await queue.disconnect()
    await wiped(ground)
    return rate


async def _queued(db: Database, count: int, instant: datetime) -> list[tuple[int, int]]:
    await define_jobs(db, count, at=datetime.max.replace(tzinfo=UTC, year=9000, microsecond=0))
    async with db.transaction() as conn:
        rows = await (await conn.execute(QUEUED, (instant,))).fetchall()
        await conn.execute("ANALYZE job_executions")
    return [(id_, job_id) for id_, job_id in rows]


async def _worked(
    db: Database, count: int, module: Sequence[str], redis_url: str, database_url: str, concurrency: int
) -> float:
    """Let one worker process empty the queue; the rate is by the rows' own times, so start-up does not count."""
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "CRONSVC_WORKER_CONCURRENCY": str(concurrency),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", *module, env=environment)
    try:
        while True:
            async with db.statements() as conn:
                row = await (await conn.execute(SPAN)).fetchone()
            assert row is not None
            done, seconds = row
            if done == count:
                return float(count / seconds)
            await asyncio.sleep(0.2)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
