"""uvicorn inside a loop that is ours: no signal handlers, a bound address before the first line, a bounded shutdown."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Generator

import uvicorn

from cronsvc.errors import ConfigError
from cronsvc.processes.http_protocol import BoundedHttp

SHUTDOWN_SECONDS = 5
# Longer than the 90 s for which platforms' routers keep idle connections, so that it is never us who hang up first.
KEEP_ALIVE_SECONDS = 95
BACKLOG = 1024

Application = Callable[..., Awaitable[None]]
"""An ASGI application."""


class _Server(uvicorn.Server):
    """uvicorn takes SIGTERM for itself, and sends it to us again when it is done: neither here."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. ConfigError: the address is taken or not ours."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port or PORT") from error
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL to open; an address that means every interface is told as this machine's own."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve(
    application: Application,
    listener: socket.socket,
    stop: asyncio.Event,
    *,
    trusted_proxies: tuple[str, ...],
    ready: Callable[[], None],
) -> None:
    """Serve until `stop`, then finish what is being answered, for five seconds at most. `ready` is called once."""
    server = _Server(
        uvicorn.Config(
            application,
            http=BoundedHttp,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=list(trusted_proxies),
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            ws="none",
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="uvicorn")
    listening = asyncio.create_task(server.listening.wait())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
        if listening.done():
            ready()
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        listening.cancel()
        stopping.cancel()
        server.should_exit = True
        await serving
