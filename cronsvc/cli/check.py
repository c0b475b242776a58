"""`check`: would the processes start here? It looks at everything, changes nothing and starts nothing."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import typer

from cronsvc.cli.environment import Environment
from cronsvc.errors import CronsvcError

if TYPE_CHECKING:
    from cronsvc.config import Settings
    from cronsvc.store.migrations import Found

OLDEST_POSTGRES = 14

T = TypeVar("T")


def add_check(app: typer.Typer) -> None:
    """Put this command on the command line."""
    app.command()(check)


def check(context: typer.Context) -> None:
    """Validate settings, servers, schema and job types; a line each, exit code 1 if anything is wrong."""
    environment: Environment = context.obj
    report = _Report()
    settings = report.of("settings", lambda: ("valid", environment.settings()))
    if settings is not None:
        found = report.of("postgres", lambda: _postgres(settings))
        if found is not None:
            report.of("schema", lambda: (_schema(found), None))
        report.of("redis", lambda: (asyncio.run(_redis(settings)), None))
        report.of("job types", lambda: (asyncio.run(_job_types(settings)), None))
        report.of("issuers", lambda: (_issuers(settings), None))
    if report.is_bad:
        raise typer.Exit(1)


class _Report:
    def __init__(self) -> None:
        self.is_bad = False

    def of(self, subject: str, look: Callable[[], tuple[str, T]]) -> T | None:
        """Print what `look` found, or what is wrong; what it returned besides, or None."""
        try:
            sentence, value = look()
        except CronsvcError as error:
            self.is_bad = True
            print(f"{subject:<10} WRONG  {error}")
            return None
        print(f"{subject:<10} ok     {sentence}")
        return value


def _postgres(settings: "Settings") -> "tuple[str, Found]":
    from cronsvc.store.migrations import inspect

    found = inspect(settings.require_database_url())
    if found.major < OLDEST_POSTGRES:
        raise CronsvcError(f"Postgres {found.version} is too old: cronsvc needs {OLDEST_POSTGRES} or newer")
    return f"Postgres {found.version}", found


def _schema(found: "Found") -> str:
    from cronsvc.store.migrations import HEAD, is_ahead

    if found.revision is None:
        raise CronsvcError("the database is empty: run `cronsvc migrate`")
    if is_ahead(found.revision):
        return f"revision {found.revision}, of a newer release than this one ({HEAD})"
    if found.revision != HEAD:
        raise CronsvcError(f"the schema is at revision {found.revision}, not {HEAD}: run `cronsvc migrate`")
    return f"revision {found.revision}"


async def _redis(settings: "Settings") -> str:
    from cronsvc.queue import Broker

    broker = Broker.open(settings.require_redis_url(), prefix=settings.redis_prefix)
    try:
        notes = await broker.check()
    finally:
        await broker.close()
    if notes:
        raise CronsvcError(" ".join(notes))
    return "reachable, noeviction"


async def _job_types(settings: "Settings") -> str:
    from cronsvc.executors.base import ExecutorSettings
    from cronsvc.executors.registry import load_executors

    executors = load_executors(ExecutorSettings.of(settings))
    for executor in executors.values():
        await executor.close()
    return ", ".join(sorted(executors))


def _issuers(settings: "Settings") -> str:
    """Who besides API keys is believed; a key that cannot be read is found here and not at the first request."""
    from cronsvc.processes.wiring import tokens_of

    tokens_of(settings)
    named = [each.issuer for each in settings.token_issuers()]
    provider = settings.identity_provider()
    if provider is not None:
        named.append(f"{provider.issuer} (sign-in)")
    return ", ".join(named) or "none, API keys only"
