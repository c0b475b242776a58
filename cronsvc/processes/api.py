"""The API process: it listens, answers until it is told to stop, and finishes what it is answering."""

import asyncio
from collections.abc import Callable

import structlog

from cronsvc import events
from cronsvc.config import Settings
from cronsvc.processes.serving import address_of, listen, serve
from cronsvc.processes.wiring import wired
from cronsvc.web.app import create_app
from cronsvc.web.services import WebSettings

_log = structlog.get_logger("cronsvc.api")

EVERY_INTERFACE = "0.0.0.0"  # noqa: S104 a server behind a router; `up` passes 127.0.0.1


async def run_api(settings: Settings, stop: asyncio.Event, *, ready: Callable[[str], None] | None = None) -> None:
    """Serve until `stop`; `ready` is called with the URL once it answers.

    It starts and answers `/ready` with 503 while Postgres or Redis is away. ConfigError: it cannot start like this.
    """
    listener = listen(settings.host or EVERY_INTERFACE, settings.port)
    try:
        url = address_of(listener)

        def is_listening() -> None:
            _log.info(events.READY, process="api", url=url)
            if ready is not None:
                ready(url)

        async with wired(settings, application_name="cronsvc-api") as services:
            app = create_app(services, settings=WebSettings(max_body_bytes=settings.max_body_bytes))
            await serve(app, listener, stop, trusted_proxies=settings.trusted_proxies, ready=is_listening)
    finally:
        listener.close()
    _log.info(events.STOPPED, process="api")
