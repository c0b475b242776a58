"""The reference: the same work as the seed describes it, one statement a row and one stock SAQ call a ticket.

Correct in the calm case, and what many services run. It reads our tables so that both sides write the same rows.
"""

from datetime import datetime, timedelta
from typing import Any

import psycopg
from saq import Job, Worker
from saq.queue.redis import RedisQueue

INSERT = """
INSERT INTO job_executions (job_id, scheduled_time) VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING id
"""
ADVANCE = "UPDATE jobs SET next_fire_time = %s, last_fire_time = %s WHERE id = %s"
CLAIM = """
UPDATE job_executions SET status = 'RUNNING', attempt = attempt + 1, start_time = clock_timestamp()
 WHERE job_id = %s AND scheduled_time = %s AND status = 'QUEUED' RETURNING id
"""
FINISH = """
UPDATE job_executions SET status = 'SUCCESS', end_time = clock_timestamp()
 WHERE job_id = %s AND scheduled_time = %s AND status = 'RUNNING'
"""


async def fire_all(database_url: str, queue: RedisQueue, *, now: datetime) -> int:
    """One pass over the due jobs; returns how many fired."""
    fired = 0
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
        due = await (
            await conn.execute("SELECT id, next_fire_time FROM jobs WHERE next_fire_time <= %s", (now,))
        ).fetchall()
        for job_id, scheduled_time in due:
            async with conn.transaction():
                row = await (await conn.execute(INSERT, (job_id, scheduled_time))).fetchone()
                await conn.execute(ADVANCE, (scheduled_time + timedelta(seconds=1), scheduled_time, job_id))
            if row is not None:
                await queue.enqueue(ticket(row[0], job_id, scheduled_time))
                fired += 1
    return fired


def ticket(execution_id: int, job_id: int, scheduled_time: datetime) -> Job:
    identity = {"execution_id": execution_id, "job_id": job_id, "at": scheduled_time.timestamp()}
    return Job("run", kwargs=identity, key=str(execution_id), timeout=0, retries=1, ttl=-1)


def stock_worker(queue: RedisQueue, pool: Any, *, concurrency: int, instant: datetime) -> "Worker[Any]":
    """A stock SAQ worker whose no-op job claims and finishes its row by itself."""

    async def run(_context: Any, *, execution_id: int, job_id: int, at: float) -> None:
        async with pool.statements() as conn:
            if (await conn.execute(CLAIM, (job_id, instant))).rowcount:
                await conn.execute(FINISH, (job_id, instant))

    return Worker(queue, [("run", run)], concurrency=concurrency)
