"""The services of one process, put together from its settings."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from cronsvc.config import Settings
from cronsvc.executors.base import ExecutorSettings
from cronsvc.executors.registry import load_executors
from cronsvc.processes.preparation import opened_database
from cronsvc.queue import Broker
from cronsvc.services.access import Access
from cronsvc.services.dispatch import Dispatcher
from cronsvc.services.executions import Executions
from cronsvc.services.jobs import Jobs
from cronsvc.services.status import StatusReader
from cronsvc.web.services import Services


@asynccontextmanager
async def wired(settings: Settings, *, application_name: str, max_size: int | None = None) -> AsyncIterator[Services]:
    """Every service, for the length of the block. ConfigError: a URL is not set, or a job type cannot be loaded."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            opened_database(settings, application_name=application_name, max_size=max_size or settings.pool_size)
        )
        broker = Broker.open(settings.require_redis_url(), prefix=settings.redis_prefix)
        stack.push_async_callback(broker.close)
        executors = load_executors(ExecutorSettings(egress_allow=settings.egress_allow))
        for executor in executors.values():
            stack.push_async_callback(executor.close)
        dispatcher = Dispatcher(database, broker, redispatch=timedelta(seconds=settings.redispatch_seconds))
        yield Services(
            jobs=Jobs(database, executors, dispatcher, settings.default_queue),
            executions=Executions(database),
            access=Access(database),
            status=StatusReader(database, broker),
        )
