"""The reference's worker process: stock SAQ, one statement to claim a row and one to finish it."""

import asyncio
import os
import sys
from datetime import datetime

import uvloop
from saq.queue.redis import RedisQueue

from cronsvc.store.pool import Database
from tests.bench.plain import stock_worker


async def main() -> None:
    concurrency = int(os.environ["CRONSVC_WORKER_CONCURRENCY"])
    db = await Database.open(os.environ["DATABASE_URL"], application_name="plain", max_size=min(concurrency, 20))
    queue = RedisQueue.from_url(os.environ["REDIS_URL"], name="bench-plain")
    worker = stock_worker(queue, db, concurrency=concurrency, instant=datetime.fromisoformat(sys.argv[1]))
    await asyncio.gather(worker.start())


if __name__ == "__main__":
    uvloop.run(main())
