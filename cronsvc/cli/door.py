"""The service as a command has it: at a URL that is known, or else this process itself over the database.

Commands speak to the one client in both cases, so they do the same and print the same. Over the database the same
application answers, in this process and without a socket, and whoever holds DATABASE_URL may do anything; the audit
log names the account.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import typer

from cronsvc.cli.environment import Environment
from cronsvc.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    from cronsvc.client import AsyncClient
    from cronsvc.config import Settings
    from cronsvc.processes.serving import Application
    from cronsvc.web.services import Services

T = TypeVar("T")

PATIENCE_SECONDS = 600.0


def ask(context: typer.Context, act: "Callable[[AsyncClient], Awaitable[T]]") -> T:
    """What `act` answers, done with the service that this environment names."""
    environment: Environment = context.obj
    return asyncio.run(_asked(environment, act))


async def _asked(environment: Environment, act: "Callable[[AsyncClient], Awaitable[T]]") -> T:
    if environment.names_two_places and environment.url is None:
        raise typer.BadParameter(
            "CRONSVC_URL names a service and the file names a database: give --url, or unset CRONSVC_URL",
            param_hint="--env-file",
        )
    settings = environment.logging_settings(url=environment.url)
    if settings.url is None and settings.database_url is None:
        raise ConfigError(
            "DATABASE_URL is not set, and neither is CRONSVC_URL: name a service (CRONSVC_URL or --url, with"
            " CRONSVC_API_KEY), or the Postgres server; `cronsvc up` starts one"
        )
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it would tell of every request
    async with _remote(settings, environment) if settings.url is not None else _here(settings) as client:
        return await act(client)


@asynccontextmanager
async def _remote(settings: "Settings", environment: Environment) -> "AsyncIterator[AsyncClient]":
    from cronsvc.client import AsyncClient, Unauthenticated

    key = None if settings.api_key is None else settings.api_key.get_secret_value()
    async with AsyncClient(settings.url or "", key, allow_http=environment.allow_http) as client:
        try:
            yield client
        except Unauthenticated as error:
            if key is not None:
                raise
            raise ConfigError("this needs an API key: set CRONSVC_API_KEY or CRONSVC_API_KEY_FILE") from error


@asynccontextmanager
async def _here(settings: "Settings") -> "AsyncIterator[AsyncClient]":
    from httpx2 import ASGITransport

    from cronsvc.client import AsyncClient, Retries, Timeouts
    from cronsvc.processes.wiring import wired
    from cronsvc.store.migrations import inspect

    once, patient = Retries(tries=1), Timeouts(per_try=PATIENCE_SECONDS, total=PATIENCE_SECONDS)
    async with wired(settings, application_name="cronsvc-cli", max_size=2) as services:
        try:
            await services.calendars.now()
        except Unavailable:  # a pool gives up without saying why, and an answer of the application says less still
            await asyncio.to_thread(inspect, settings.require_database_url())
            raise
        transport = ASGITransport(_application(services, settings))
        made = AsyncClient("http://localhost", "shell", retries=once, timeouts=patient, transport=transport)
        async with made as client:
            yield client


def _application(services: "Services", settings: "Settings") -> "Application":
    """The application, for nobody but the holder of this shell."""
    from dataclasses import replace

    from cronsvc.cli.callers import operator
    from cronsvc.services.access import Access, Caller
    from cronsvc.web.app import create_app
    from cronsvc.web.packs import load_routes
    from cronsvc.web.services import WebSettings

    class HolderOfTheShell(Access):
        """Whoever asks in this process; keys and sessions are not dealt with here."""

        def __init__(self) -> None:
            self._caller = operator()

        async def authenticate(self, bearer: str, source: str | None) -> Caller:
            return self._caller

    web = WebSettings(max_body_bytes=settings.max_body_bytes)
    return create_app(replace(services, access=HolderOfTheShell(), rate_limits=None), settings=web, more=load_routes())
