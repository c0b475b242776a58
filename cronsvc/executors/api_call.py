"""API_CALL: one attempt is one HTTP request.

One deadline covers waiting for a connection, the name, the handshake, the request and the answer. Redirects are not
followed, cookies and proxy variables are ignored, nothing is sent twice: the client's own retry of "idempotent" methods
is switched off. Addresses are checked where sockets are made (`egress.py`).

Connections are kept only for calls that have another attempt left, and only briefly. A target may close an idle
connection just as it is used again; that costs such a call one attempt. The last attempt, and so the only attempt of
an at-most-once job, always opens its own connection: a reset is then the target's doing, and `lost` means what it says.
"""

import asyncio
import os
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver

from cronsvc import __version__
from cronsvc.domain.execution import ErrorDetail, Outcome
from cronsvc.executors.api_call_answer import EXCERPT_BYTES, Exchange
from cronsvc.executors.api_call_config import PreparedCall, prepare
from cronsvc.executors.base import ExecutorSettings, RunContext
from cronsvc.executors.egress import Egress, EgressDenied
from cronsvc.executors.outcomes import Trouble, http_date, judge, retry_after_seconds
from cronsvc.executors.resolver import PooledResolver

CONNECT_SECONDS = 5.0  # TCP and TLS together
# Shorter than the idle time-out of every common server (2 s and up), so a kept connection is rarely a dying one, and
# long enough that jobs of every second find theirs again.
KEEP_SECONDS = 1.5


class ApiCall:
    """The seeds' job type. `resolver` replaces the system's name lookup and stays the caller's to close."""

    def __init__(self, settings: ExecutorSettings, *, resolver: AbstractResolver | None = None) -> None:
        self._egress = Egress(settings.egress_allow)
        self._max_connections = settings.max_connections
        self._given_resolver = resolver
        self._own_resolver: PooledResolver | None = None
        # By (listed host, kept connection): both are decided when a connection is made, so no kind may serve another.
        self._sessions: dict[tuple[bool, bool], aiohttp.ClientSession] = {}

    def parse(self, config: Mapping[str, Any]) -> PreparedCall:
        """Turn a `taskPayload.config` into a request; raises InvalidInput with fields below `taskPayload.config`."""
        return prepare(config, self._egress)

    async def run(self, config: PreparedCall, context: RunContext) -> Outcome:
        """Make one request and say what came of it. Raises only what it does not know, and CancelledError."""
        exchange = Exchange()
        try:
            async with asyncio.timeout(context.timeout_seconds):
                await self._call(config, context, exchange)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return _outcome(exchange, context, _trouble(error, exchange), _reason(error, config))
        return _outcome(exchange, context, None, "")

    async def close(self) -> None:
        """Close all connections; later runs would open new ones."""
        sessions = tuple(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            await session.close()
        if self._own_resolver is not None:
            await self._own_resolver.close()
            self._own_resolver = None

    async def _call(self, config: PreparedCall, context: RunContext, exchange: Exchange) -> None:
        """Send the request and read the answer into `exchange`, as far as it is kept."""
        session = self._session(config.listed_host, keeps=context.attempt == 1 and not context.at_most_once)
        response = await session.request(
            config.method,
            config.url,
            headers=[*config.headers, *_own_headers(config, context)],
            data=config.body,
            allow_redirects=False,
            skip_auto_headers=("Content-Type",),
            trace_request_ctx=exchange,
        )
        try:
            exchange.status = response.status
            exchange.headers = response.headers
            while len(exchange.body) < EXCERPT_BYTES:
                chunk = await response.content.read(EXCERPT_BYTES - len(exchange.body))
                if not chunk:
                    break
                exchange.body += chunk
            exchange.complete = response.content.at_eof()
        finally:
            # A connection whose answer was read to its end has gone back to the pool; any other is closed here.
            response.close()

    def _session(self, listed_host: bool, *, keeps: bool) -> aiohttp.ClientSession:
        """The session for one kind of call, made on first use because it belongs to the running loop."""
        key = (listed_host, keeps)
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = self._make_session(listed_host, keeps=keeps)
        return session

    def _make_session(self, listed_host: bool, *, keeps: bool) -> aiohttp.ClientSession:
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


class _BrokenOff(aiohttp.ClientError):
    """The connection failed under a request; said in a class that aiohttp does not answer by sending it again."""


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _BrokenOff from error


async def _note_written(_session: aiohttp.ClientSession, trace: SimpleNamespace, _sent: object) -> None:
    """Called just before the first byte leaves, so `written` may be true too early but never too late."""
    trace.trace_request_ctx.written = True


def _own_headers(config: PreparedCall, context: RunContext) -> list[tuple[str, str]]:
    instant = context.scheduled_time.astimezone(UTC)
    return [
        ("Accept-Encoding", "identity"),
        ("Idempotency-Key", context.idempotency_key),
        ("X-Cronsvc-Job-Id", str(context.job_id)),
        ("X-Cronsvc-Execution-Id", str(context.execution_id)),
        ("X-Cronsvc-Scheduled-Time", instant.isoformat().replace("+00:00", "Z")),
        ("X-Cronsvc-Attempt", str(context.attempt)),
        ("X-Cronsvc-Fence", str(context.claim_no)),
    ]


def _trouble(error: Exception, exchange: Exchange) -> Trouble:
    """Which row of the table an exception belongs to."""
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, EgressDenied):
        return Trouble.EGRESS_DENIED
    if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError):
        return Trouble.TLS
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return Trouble.CONNECT
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
        return Trouble.TIMEOUT if exchange.written else Trouble.UNSENT
    if exchange.written:
        return Trouble.PROTOCOL
    # Nothing left: either the request could not be built, or the connection went away before it was used.
    return Trouble.INVALID_CONFIG if isinstance(error, ValueError) else Trouble.CONNECT


def _reason(error: Exception, config: PreparedCall) -> str:
    """What went wrong in our words: no text of the client's, which may carry headers, and no address a name led to."""
    target = f"{config.url.raw_host}:{config.url.port}"
    match error:
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as fault):
            return f"{target} has a certificate that was not accepted: {fault.verify_message}"
        case aiohttp.ClientConnectorDNSError():
            return f"no address was found for {config.url.raw_host}"
        case aiohttp.ClientConnectorError(os_error=EgressDenied()):
            return "the target's address is not public; the operator can permit it in CRONSVC_EGRESS_ALLOW"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return f"no TLS connection to {target}"
        case aiohttp.ConnectionTimeoutError():
            return f"no connection to {target} within {CONNECT_SECONDS:g} s"
        case aiohttp.ClientConnectorError(os_error=fault):
            return f"no connection to {target}: {os.strerror(fault.errno) if fault.errno else 'unreachable'}"
        case aiohttp.ClientResponseError():
            return f"{target} did not answer in valid HTTP"
        case TimeoutError():
            return "no complete answer within the job's timeout"
        case ValueError():
            return "no request could be made of this configuration"
        case _:
            return f"{target} closed the connection before its answer was complete"


def _outcome(exchange: Exchange, context: RunContext, trouble: Trouble | None, reason: str) -> Outcome:
    """What the exchange means, with what is kept of the answer."""
    status = exchange.status
    at_most_once = context.at_most_once
    # A status that is not success is an answer, even when the body behind it broke off.
    happened: int | Trouble = trouble or Trouble.PROTOCOL
    if status is not None and (trouble is None or not 200 <= status <= 299):
        happened = status
    verdict = judge(happened, at_most_once=at_most_once)
    excerpt = exchange.excerpt()
    if verdict.error_type is None:
        return Outcome(result=exchange.result(), http_status=status, excerpt=excerpt)
    if not isinstance(happened, Trouble):
        reason = _status_reason(happened)
    elif verdict.error_type == "lost":
        reason = f"{reason}; the request had been sent and this job runs at most once, so its effect is unknown"
    return Outcome(
        error=ErrorDetail(verdict.error_type, reason),
        retryable=verdict.retryable,
        retry_after=_retry_after(exchange) if verdict.retryable else None,
        http_status=status,
        excerpt=excerpt,
    )


def _status_reason(status: int) -> str:
    try:
        words = f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        words = f"HTTP {status}"
    return f"{words}: redirects are not followed, use the final URL" if 300 <= status <= 399 else words


def _retry_after(exchange: Exchange) -> float | None:
    # Its date is measured against the target's own clock where it tells the time, so that no host's clock matters.
    now = http_date(exchange.headers.get("Date")) or datetime.now(UTC)
    return retry_after_seconds(exchange.headers.get("Retry-After"), now=now)
