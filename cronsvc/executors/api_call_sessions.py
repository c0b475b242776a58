"""The connections of API_CALL: kept or made anew, always behind the guard, and nothing on them is ever sent twice."""

import asyncio
import ssl
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver

from cronsvc import __version__
from cronsvc.executors.api_call_tls import Tls
from cronsvc.executors.egress import Egress
from cronsvc.executors.resolver import PooledResolver

CONNECT_SECONDS = 5.0  # TCP and TLS together
# Shorter than the idle time-out of every common server (2 s and up), so a kept connection is rarely a dying one, and
# long enough that jobs of every second find theirs again.
KEEP_SECONDS = 1.5
MOST_CONTEXTS = 100  # TLS contexts, each with the authorities it trusts


class Sessions:
    """The HTTP sessions of one process. `resolver` replaces the system's name lookup and stays the caller's."""

    def __init__(self, egress: Egress, *, max_connections: int, resolver: AbstractResolver | None) -> None:
        self._egress = egress
        self._max_connections = max_connections
        self._given_resolver = resolver
        self._own_resolver: PooledResolver | None = None
        # By (listed host, kept connection): both are decided when a connection is made, so no kind may serve another.
        self._sessions: dict[tuple[bool, bool], aiohttp.ClientSession] = {}
        self._contexts: OrderedDict[Tls, ssl.SSLContext] = OrderedDict()

    def session(self, listed_host: bool, *, keeps: bool) -> aiohttp.ClientSession:
        """The session for one kind of call, made on first use because it belongs to the running loop."""
        key = (listed_host, keeps)
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = self._make(listed_host, keeps=keeps)
        return session

    async def tls_options(self, tls: Tls | None) -> dict[str, Any]:
        """What a request is given for its TLS; UnusableTls when OpenSSL cannot read what it is made of."""
        if tls is None:
            return {}
        context = self._contexts.get(tls)
        if context is None:
            context = self._contexts[tls] = await asyncio.to_thread(tls.context)
            if len(self._contexts) > MOST_CONTEXTS:
                self._contexts.popitem(last=False)
        else:
            self._contexts.move_to_end(tls)
        return {"ssl": context, "server_hostname": tls.server_name}

    async def close(self) -> None:
        """Close all connections; later calls would open new ones."""
        sessions = tuple(self._sessions.values())
        self._sessions.clear()
        self._contexts.clear()
        for session in sessions:
            await session.close()
        if self._own_resolver is not None:
            await self._own_resolver.close()
            self._own_resolver = None

    def _make(self, listed_host: bool, *, keeps: bool) -> aiohttp.ClientSession:
        if self._given_resolver is None and self._own_resolver is None:
            self._own_resolver = PooledResolver()
        pooling: dict[str, Any] = {"keepalive_timeout": KEEP_SECONDS} if keeps else {"force_close": True}
        connector = aiohttp.TCPConnector(
            limit=self._max_connections,
            resolver=self._given_resolver or self._own_resolver,
            socket_factory=self._egress.open_socket_to_listed_host if listed_host else self._egress.open_socket,
            **pooling,
        )
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_note_written)
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            # The total is `run`'s own deadline: aiohttp rounds totals over five seconds up to the next whole second.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            headers={"User-Agent": f"cronsvc/{__version__}"},
            trace_configs=[trace],
            middlewares=(_send_once,),
        )


class BrokenOff(aiohttp.ClientError):
    """The connection failed under a request; said in a class that aiohttp does not answer by sending it again."""


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise BrokenOff from error


async def _note_written(_session: aiohttp.ClientSession, trace: SimpleNamespace, _sent: object) -> None:
    """Called just before the first byte leaves, so `written` may be true too early but never too late."""
    trace.trace_request_ctx.written = True
