"""Processes that carry another name than their database's: they stop, say why, and change nothing."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cronsvc.config import Settings
from cronsvc.errors import ConfigError
from cronsvc.processes.api import run_api
from cronsvc.processes.scheduler import run_scheduler
from cronsvc.processes.worker import run_worker
from cronsvc.store.pool import Database
from tests.processes.test_restore import scheduling
from tests.processes.test_worker_queues import settings_for
from tests.support.rows import fetch, one
from tests.support.waiting import until


async def worker(settings: Settings, stop: asyncio.Event) -> None:
    await run_worker(settings, stop, executors={})


async def api(settings: Settings, stop: asyncio.Event) -> None:
    await run_api(settings.model_copy(update={"host": "127.0.0.1", "port": 0}), stop)


@pytest.mark.parametrize("process", [run_scheduler, worker, api])
async def test_the_wrong_name_ends_the_process_and_not_the_service(
    db: Database, database_url: str, redis_url: str, process: Callable[[Settings, asyncio.Event], Awaitable[None]]
) -> None:
    production = settings_for(database_url, redis_url, CRONSVC_INSTALLATION="production")
    async with scheduling(production):
        laptop = settings_for(database_url, redis_url, CRONSVC_INSTALLATION="laptop")
        async with asyncio.timeout(30):
            with pytest.raises(ConfigError, match=r"production.*laptop"):
                await process(laptop, asyncio.Event())
        assert await one(db, "SELECT installation, cronsvc_fenced() FROM service_identity") == ("production", False)
    assert await one(db, "SELECT count(*) FROM workers") == (0,)


@pytest.mark.parametrize("process", [run_scheduler, worker])
async def test_a_new_name_stops_the_processes_of_the_old_one(
    db: Database, database_url: str, redis_url: str, process: Callable[[Settings, asyncio.Event], Awaitable[None]]
) -> None:
    """Whatever they are at: the ones with the new name may have begun."""
    settings = settings_for(database_url, redis_url, CRONSVC_INSTALLATION="production")
    running = asyncio.ensure_future(process(settings, asyncio.Event()))

    async def is_named() -> bool:
        return bool(await fetch(db, "SELECT 1 FROM service_identity WHERE installation = 'production'"))

    await until(is_named, what="the name being written down")
    await fetch(db, "UPDATE service_identity SET installation = 'prod' RETURNING 1")
    async with asyncio.timeout(30):
        with pytest.raises(ConfigError, match=r"prod.*production"):
            await running
