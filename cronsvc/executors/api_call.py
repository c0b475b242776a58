"""API_CALL: one attempt is one HTTP request, and after it the redirects that a job asks to have followed.

One deadline covers secrets, a token, waiting for a connection, the name, the handshake, the request and the answer.
Cookies and proxy variables are ignored, nothing is sent twice: the client's own retry of "idempotent" methods is
switched off. Addresses are checked where sockets are made (`egress.py`), also for tokens and every hop.

Connections are kept only for calls that have another attempt left, and only briefly. A target may close an idle
connection just as it is used again; that costs such a call one attempt. The last attempt, and so the only attempt of
an at-most-once job, always opens its own connection: a reset is then the target's doing, and `lost` means what it says.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from cronsvc.domain.egress_list import host_key
from cronsvc.domain.execution import ErrorDetail, Outcome
from cronsvc.errors import InvalidInput
from cronsvc.executors.api_call_answer import EXCERPT_BYTES, Exchange
from cronsvc.executors.api_call_completion import (
    FIELD,
    CallbackFault,
    callback_headers,
    not_offered,
    taken_over,
    with_completion,
)
from cronsvc.executors.api_call_config import ROUTING_MEMBERS, SECRET_MEMBERS, PreparedCall, prepare, with_secrets
from cronsvc.executors.api_call_expect import MATCHES, pattern_fault
from cronsvc.executors.api_call_oauth import Answer, Credentials, TokenRefused, Tokens
from cronsvc.executors.api_call_redirects import REDIRECTS, Hop, NotFollowed, next_hop
from cronsvc.executors.api_call_sessions import CONNECT_SECONDS, Sessions
from cronsvc.executors.api_call_signing import signature_headers
from cronsvc.executors.api_call_tls import Tls, UnusableTls
from cronsvc.executors.api_call_troubles import KNOWN, reason_of, trouble_of
from cronsvc.executors.api_call_url import wire_spellings
from cronsvc.executors.base import ExecutorSettings, RunContext
from cronsvc.executors.config_faults import PATH
from cronsvc.executors.egress import Egress, address_rule, connecting
from cronsvc.executors.outcomes import Trouble, http_date, judge, refused, retry_after_seconds

EXAMINED_AT_ONCE = 2


class ApiCall:
    """Calls a URL. `resolver` replaces the system's name lookup and stays the caller's to close."""

    secret_members = SECRET_MEMBERS
    routing = ROUTING_MEMBERS

    def __init__(self, settings: ExecutorSettings, *, resolver: AbstractResolver | None = None) -> None:
        self._egress = Egress(settings.egress_allow)
        self._public_url = settings.public_url
        self._insecure_tls = settings.allow_insecure_tls
        self._sessions = Sessions(self._egress, max_connections=settings.max_connections, resolver=resolver)
        self._tokens = Tokens()
        self._examining = asyncio.Semaphore(EXAMINED_AT_ONCE)

    def parse(self, config: Mapping[str, Any]) -> PreparedCall:
        """Turn a `taskPayload.config` into a request; raises InvalidInput with fields below `taskPayload.config`."""
        return with_completion(
            config, self._public_url, lambda rest: prepare(rest, self._egress, insecure_tls=self._insecure_tls)
        )

    async def examine(self, config: Mapping[str, Any]) -> None:
        """See `options`: whether a regular expression is one. Few at a time, for each is a process."""
        async with self._examining:
            fault = await pattern_fault(config.get("expect"))
        if fault is not None:
            raise InvalidInput.of(f"{PATH}.{MATCHES}", fault)

    def derived(self, config: Mapping[str, Any], values: Mapping[str, str]) -> frozenset[str]:
        """See `options`."""
        request = self.parse({name: value for name, value in config.items() if name != FIELD})
        filled = with_secrets(request, values, self._egress, insecure_tls=self._insecure_tls)
        return frozenset(filled.auth.derived).union(*map(wire_spellings, values.values()))

    async def run(self, config: PreparedCall, context: RunContext) -> Outcome:
        """Make one request and say what came of it. Raises SecretFault, what it does not know, and CancelledError."""
        exchange = Exchange()
        bearer = _Bearer()
        try:
            async with asyncio.timeout(context.timeout_seconds):
                if config.secrets:
                    config = await self._with_secrets(config, context)
                bearer = await self._bearer(config, context)
                await self._call(config, context, exchange, bearer)
                # What has been taken over is not ended by what its acknowledgement says.
                lacking = None if taken_over(config, exchange) else await _lacking(config, exchange)
        except InvalidInput as error:
            return refused(error)
        except CallbackFault as fault:
            return not_offered(fault)
        except KNOWN as error:
            taken = taken_over(config, exchange)
            trouble, reason = trouble_of(error, exchange), reason_of(error, config, exchange)
            return taken or _outcome(config, exchange, context, trouble, reason)
        if exchange.status == HTTPStatus.UNAUTHORIZED and bearer.token is not None and config.auth.token is not None:
            self._tokens.forget(config.auth.token, bearer.token)
        if lacking is not None:
            return _outcome(config, exchange, context, Trouble.UNEXPECTED_BODY, lacking)
        return taken_over(config, exchange) or _outcome(config, exchange, context, None, "", kept=bearer.was_kept)

    def host(self, config: PreparedCall) -> str:
        """See `options`: redirects and token servers are not counted."""
        return host_key(config.url.raw_host or "")

    def hosts(self, config: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
        """See `options`."""
        try:
            call = self.parse(config)
        except InvalidInput:
            return ()
        token = () if call.auth.token is None else (("auth.tokenUrl", URL(call.auth.token.url)),)
        return [(f"{PATH}.{field}", host_key(url.raw_host or "")) for field, url in (("url", call.url), *token)]

    async def close(self) -> None:
        """Close all connections; later runs would open new ones."""
        await self._sessions.close()

    async def _with_secrets(self, config: PreparedCall, context: RunContext) -> PreparedCall:
        """The request with its secrets in it; InvalidInput: with these values it is none."""
        values = await context.secrets.values(config.secrets)
        for text in sorted(each for value in values.values() for each in wire_spellings(value)):
            context.secrets.hide(text)
        filled = with_secrets(config, values, self._egress, insecure_tls=self._insecure_tls)
        for text in filled.auth.derived:
            context.secrets.hide(text)
        return filled

    async def _bearer(self, config: PreparedCall, context: RunContext) -> "_Bearer":
        """A token for the call, when it needs one; TokenRefused when there is none to be had."""
        wanted = config.auth.token
        if wanted is None:
            return _Bearer()
        url, tls = URL(wanted.url), None if config.tls is None else config.tls.elsewhere()
        rule = address_rule(context.egress, url.raw_host or "", "token request")

        async def fetch(credentials: Credentials) -> Answer:
            for text in credentials.derived:
                context.secrets.hide(text)
            try:
                with connecting(rule):
                    return await self._fetch(url, credentials, tls)
            except UnusableTls:
                raise
            except (aiohttp.ClientError, OSError, ValueError) as error:
                if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
                    raise
                denied = trouble_of(error, Exchange()) is Trouble.EGRESS_DENIED
                trouble = Trouble.EGRESS_DENIED if denied else Trouble.AUTH_LATER
                words = "is at an address that is not permitted" if denied else "did not answer in valid HTTP"
                raise TokenRefused(trouble, f"the token server {url.raw_host} {words}") from None

        token, was_kept = await self._tokens.get(wanted, fetch)
        context.secrets.hide(token)
        return _Bearer(token, was_kept)

    async def _fetch(self, url: URL, credentials: Credentials, tls: Tls | None) -> Answer:
        session = self._sessions.session(self._egress.lists_host(url.raw_host or ""), keeps=False)
        async with session.post(
            url,
            headers=[*credentials.headers, ("Accept-Encoding", "identity")],
            data=credentials.body,
            allow_redirects=False,
            trace_request_ctx=Exchange(),
            **await self._sessions.tls_options(tls),
        ) as response:
            body = bytearray()
            while len(body) < EXCERPT_BYTES and (chunk := await response.content.read(EXCERPT_BYTES - len(body))):
                body += chunk
            return Answer(response.status, bytes(body))

    async def _call(self, config: PreparedCall, context: RunContext, exchange: Exchange, bearer: "_Bearer") -> None:
        """Send the request, follow what it may follow, and read the answer into `exchange`, as far as it is kept."""
        callback = await callback_headers(config, context, self._public_url)
        hop = Hop(config.url, config.method, (*config.headers, *bearer.headers), config.body, config.listed_host)
        while True:
            response = await self._send(hop, config, context, exchange, callback if hop.at_home else [])
            try:
                exchange.status = response.status
                exchange.headers = response.headers
                following = self._following(hop, config, exchange)
                if following is None:
                    await _read(response, exchange)
                    return
            finally:
                # A connection whose answer was read to its end has gone back to the pool; any other is closed here.
                response.close()
            hop, exchange.hops, exchange.status = following, exchange.hops + 1, None

    async def _send(
        self,
        hop: Hop,
        config: PreparedCall,
        context: RunContext,
        exchange: Exchange,
        more: list[tuple[str, str]],
    ) -> aiohttp.ClientResponse:
        tls = config.tls if hop.at_home or config.tls is None else config.tls.elsewhere()
        exchange.url, host = hop.url, hop.url.raw_host or ""
        rule = address_rule(context.egress, host, "redirect" if exchange.hops else "job")
        exchange.ruled_by = None if rule is None else context.egress.namespace
        # A connection that is kept was made for whoever came first: where the address decides, each call makes its own.
        keeps = context.attempt == 1 and not context.at_most_once and tls is None and rule is None
        signed: list[tuple[str, str]] = []
        if config.signing and hop.at_home and (hop.body is not None or config.body is None):
            at = int(time.time())  # receivers compare it with their own clocks, so it has to be a wall clock's
            signed = signature_headers(
                config.signing, idempotency_key=context.idempotency_key, at=at, body=hop.body or b""
            )
        options = await self._sessions.tls_options(tls)
        with connecting(rule):
            return await self._sessions.session(hop.listed_host, keeps=keeps).request(
                hop.method,
                hop.url,
                headers=[*hop.headers, *_own_headers(context), *signed, *more],
                data=hop.body,
                allow_redirects=False,
                skip_auto_headers=("Content-Type",),
                trace_request_ctx=exchange,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    sock_connect=config.timeouts.connect or CONNECT_SECONDS,
                    sock_read=config.timeouts.idle,
                ),
                **options,
            )

    def _following(self, hop: Hop, config: PreparedCall, exchange: Exchange) -> Hop | None:
        """The next request when the answer is a redirect to be followed; EgressDenied: it leads where none may."""
        status = exchange.status or 0
        if status not in REDIRECTS or not config.most_hops or config.expectation.accepts(status):
            return None
        if exchange.hops == config.most_hops:
            exchange.not_followed = f"{config.most_hops} of them were followed before it"
            return None
        try:
            return next_hop(hop, status, exchange.headers, self._egress)
        except NotFollowed as fault:
            exchange.not_followed = str(fault)
            return None


@dataclass(frozen=True, slots=True)
class _Bearer:
    """A token for one call, if it needs one."""

    token: str | None = None
    was_kept: bool = False

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return () if self.token is None else (("Authorization", f"Bearer {self.token}"),)


async def _read(response: aiohttp.ClientResponse, exchange: Exchange) -> None:
    while len(exchange.body) < EXCERPT_BYTES:
        chunk = await response.content.read(EXCERPT_BYTES - len(exchange.body))
        if not chunk:
            break
        exchange.body += chunk
    exchange.complete = response.content.at_eof()


async def _lacking(config: PreparedCall, exchange: Exchange) -> str | None:
    """What an answer of a wanted status lacks."""
    if exchange.status is None or not config.expectation.accepts(exchange.status):
        return None
    return await config.expectation.unmet(exchange)


def _own_headers(context: RunContext) -> list[tuple[str, str]]:
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


def _outcome(
    config: PreparedCall,
    exchange: Exchange,
    context: RunContext,
    trouble: Trouble | None,
    reason: str,
    *,
    kept: bool = False,
) -> Outcome:
    """What the exchange means, with what is kept of the answer. `kept`: it bore a token from an earlier call."""
    status = exchange.status
    accepts = config.expectation.accepts
    at_most_once = context.at_most_once
    # A status that is not success is an answer, even when the body behind it broke off.
    happened: int | Trouble = trouble or Trouble.PROTOCOL
    if status is not None and (trouble is None or (not accepts(status) and trouble is not Trouble.EGRESS_DENIED)):
        happened = status
    verdict = judge(happened, at_most_once=at_most_once, accepts=accepts, token_was_kept=kept)
    excerpt = exchange.excerpt()
    if verdict.error_type is None:
        return Outcome(result=config.capture.result(exchange), http_status=status, excerpt=excerpt)
    if not isinstance(happened, Trouble):
        reason = _status_reason(happened, exchange)
    elif verdict.error_type == "lost":
        reason = f"{reason}; the request had been sent and this job runs at most once, so its effect is unknown"
    return Outcome(
        error=ErrorDetail(verdict.error_type, reason),
        retryable=verdict.retryable,
        retry_after=_retry_after(exchange) if verdict.retryable else None,
        http_status=status,
        excerpt=excerpt,
        elsewhere=exchange.url is not None and exchange.url.raw_host != config.url.raw_host,
        unsent=exchange.url is None or happened is Trouble.UNSENT,
    )


def _status_reason(status: int, exchange: Exchange) -> str:
    try:
        words = f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        words = f"HTTP {status}"
    if 200 <= status <= 299:
        return f"{words}: not a status that expect.status wants"
    if exchange.not_followed is not None:
        return f"{words}: this redirect was not followed: {exchange.not_followed}"
    return f"{words}: redirects are not followed, use the final URL" if 300 <= status <= 399 else words


def _retry_after(exchange: Exchange) -> float | None:
    # Its date is measured against the target's own clock where it tells the time, so that no host's clock matters.
    now = http_date(exchange.headers.get("Date")) or datetime.now(UTC)
    return retry_after_seconds(exchange.headers.get("Retry-After"), now=now)
