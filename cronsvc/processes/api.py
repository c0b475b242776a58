"""The API process: it listens, answers until it is told to stop, and finishes what it is answering."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from cronsvc import events
from cronsvc.config import Settings
from cronsvc.errors import ConfigError, Unavailable
from cronsvc.processes.serving import address_of, listen, serve
from cronsvc.processes.wiring import wired
from cronsvc.web.app import create_app
from cronsvc.web.packs import load_routes
from cronsvc.web.services import WebSettings
from cronsvc.web.sign_in import SignIn

_log = structlog.get_logger("cronsvc.api")

EVERY_INTERFACE = "0.0.0.0"  # noqa: S104 a server behind a router; `up` passes 127.0.0.1


async def run_api(
    settings: Settings, stop: asyncio.Event, *, ready: Callable[[str], None] | None = None, is_alone: bool = False
) -> None:
    """Serve until `stop`; `ready` is called with the URL once it answers. `is_alone`: targets reach it there, too.

    It starts and answers `/ready` with 503 while Postgres or Redis is away. ConfigError: it cannot start like this.
    """
    listener = listen(settings.host or EVERY_INTERFACE, settings.port)
    try:
        url = address_of(listener)
        if is_alone and settings.public_url is None:
            settings = settings.model_copy(update={"public_url": url})

        def is_listening() -> None:
            _log.info(events.READY, process="api", url=url)
            if ready is not None:
                ready(url)

        async with wired(settings, application_name="cronsvc-api") as services:
            if settings.installation is not None:
                with suppress(Unavailable):
                    await services.restore.check_installation()
            web = WebSettings(
                max_body_bytes=settings.max_body_bytes,
                allowed_hosts=settings.allowed_hosts,
                sign_in=_sign_in(settings),
            )
            app = create_app(services, settings=web, more=load_routes())
            checking = asyncio.create_task(services.self_check.keep(stop), name="self check")
            try:
                await serve(app, listener, stop, trusted_proxies=settings.trusted_proxies, ready=is_listening)
            finally:
                checking.cancel()
                await asyncio.gather(checking, return_exceptions=True)
    finally:
        listener.close()
    _log.info(events.STOPPED, process="api")


def _sign_in(settings: Settings) -> SignIn | None:
    """The identity provider, if there is one. ConfigError: the extra that speaks to it is not installed."""
    provider = settings.identity_provider()
    if provider is None:
        return None
    try:
        from cronsvc.web.oidc import Oidc  # noqa: PLC0415 an extra, needed only where it is configured
    except ImportError as error:
        raise ConfigError(f"CRONSVC_OIDC needs the extra oidc: pip install 'cronsvc[oidc]' ({error.name})") from error
    return Oidc(provider)
