"""The services of one process, put together from its settings."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from cronsvc.config import Settings
from cronsvc.executors.base import ExecutorSettings
from cronsvc.executors.fetching import Fetcher
from cronsvc.executors.registry import load_executors
from cronsvc.processes.preparation import opened_database
from cronsvc.queue import Broker
from cronsvc.queue.rate_limits import RateLimiter
from cronsvc.services.access import Access
from cronsvc.services.auditing import Auditing
from cronsvc.services.backfills import Backfills
from cronsvc.services.bulk import Bulk
from cronsvc.services.bulk_pausing import BulkPausing
from cronsvc.services.calendars import Calendars
from cronsvc.services.callbacks import Callbacks
from cronsvc.services.dead_letters import DeadLetters
from cronsvc.services.dependencies import Dependencies
from cronsvc.services.dispatch import Dispatcher
from cronsvc.services.egress_lists import EgressLists
from cronsvc.services.ending import Endings
from cronsvc.services.executions import Executions
from cronsvc.services.explaining import Explaining
from cronsvc.services.groups import Groups
from cronsvc.services.history import History
from cronsvc.services.job_limits import JobLimits
from cronsvc.services.jobs import Jobs
from cronsvc.services.monitoring import Monitoring
from cronsvc.services.queues import Queues
from cronsvc.services.recoveries import Recoveries
from cronsvc.services.rehearsing import Rehearsals
from cronsvc.services.replaying import Replays
from cronsvc.services.restore import Restore
from cronsvc.services.sealing import Keyring
from cronsvc.services.secrets import Secrets
from cronsvc.services.self_check import SelfCheck
from cronsvc.services.status import StatusReader
from cronsvc.services.target_hosts import TargetHosts
from cronsvc.services.templates import Templates
from cronsvc.services.tokens import Tokens
from cronsvc.services.windows import Windows
from cronsvc.web.rate_limits import RateLimits
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
        counts = RateLimiter.open(settings.require_redis_url(), prefix=settings.redis_prefix)
        stack.push_async_callback(counts.close)
        executors = load_executors(ExecutorSettings.of(settings))
        for executor in executors.values():
            stack.push_async_callback(executor.close)
        dispatcher = Dispatcher(database, broker, redispatch=timedelta(seconds=settings.redispatch_seconds))
        keyring = Keyring.of(settings.secret_key_list())
        backfills = Backfills(database, executors, retention_days=settings.retention_days)
        limits = JobLimits(settings.min_interval_seconds, settings.max_jobs_per_namespace)
        jobs = Jobs(database, executors, dispatcher, settings.default_queue, limits)
        yield Services(
            jobs=jobs,
            rehearsals=Rehearsals(jobs),
            executions=Executions(database),
            explaining=Explaining(database),
            history=History(database),
            access=Access(database, tokens=tokens_of(settings)),
            status=StatusReader(database, broker),
            endings=Endings(database, executors, dispatcher),
            dead_letters=DeadLetters(database, executors, dispatcher),
            queues=Queues(database),
            bulk_pausing=BulkPausing(database, dispatcher),
            bulk=Bulk(database),
            monitoring=Monitoring(database),
            backfills=backfills,
            recoveries=Recoveries(database, backfills),
            restore=Restore(database, backfills, installation=settings.installation),
            self_check=SelfCheck(database),
            calendars=Calendars(database),
            windows=Windows(database),
            dependencies=Dependencies(database),
            callbacks=Callbacks(database, executors, keyring),
            secrets=Secrets(database, keyring),
            auditing=Auditing(database),
            rate_limits=RateLimits(counts, settings.rates()) if settings.rates() else None,
            replays=Replays(database),
            target_hosts=TargetHosts(database),
            egress_lists=EgressLists(database),
            templates=Templates(database, executors),
            groups=Groups(database),
        )


def tokens_of(settings: Settings) -> Tokens | None:
    """Other issuers' tokens, if any are to be believed. ConfigError: a key cannot be read."""
    issuers = settings.token_issuers()
    return Tokens(issuers, Fetcher(settings.egress_allow).fetch) if issuers else None
