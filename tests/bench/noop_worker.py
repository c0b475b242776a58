"""One real worker process whose only job type does nothing."""

import asyncio
import os

import uvloop

from cronsvc.config import load_settings
from cronsvc.processes.worker import run_worker
from tests.support.job_types import Scripted


async def main() -> None:
    await run_worker(load_settings(os.environ), asyncio.Event(), executors={"NOOP": Scripted()})


if __name__ == "__main__":
    uvloop.run(main())
