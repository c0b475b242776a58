"""Lateness: from the instant a schedule names to the attempt's start, by the database clock, at 100 fires a second."""

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime, timedelta

from tests.bench.fires import wiped
from tests.bench.ground import Ground, define_jobs, opened, percentile

JOBS = 100
RUNS = 20

LATENESS = """
SELECT extract(epoch FROM start_time - scheduled_time)::float8 * 1000 FROM job_executions
 WHERE start_time IS NOT NULL AND scheduled_time >= %s
"""


async def ours(ground: Ground) -> tuple[float, float]:
    """Milliseconds late, median and 99th percentile, with one scheduler and one worker process at concurrency 50."""
    url = await ground.fresh_database()
    environment = os.environ | {"DATABASE_URL": url, "REDIS_URL": ground.redis_url, "CRONSVC_WORKER_CONCURRENCY": "50"}
    commands = (["cronsvc", "scheduler"], ["tests.bench.noop_worker"])
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-m", *command, env=environment) for command in commands
    ]
    try:
        async with opened(url) as db:
            begin = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=6)
            await define_jobs(db, JOBS, at=begin)
            await asyncio.sleep(6 + RUNS)
            async with db.statements() as conn:
                rows = await (await conn.execute(LATENESS, (begin + timedelta(seconds=2),))).fetchall()
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            await process.wait()
    await wiped(ground)
    milliseconds = [value for (value,) in rows]
    return percentile(milliseconds, 0.5), percentile(milliseconds, 0.99)
