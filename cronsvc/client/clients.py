"""The two clients. They differ in how they wait; what they say and when is `talking`'s, the same for both.

The API key goes to the URL that was given and nowhere else: redirects are not followed, plain http is for this machine
unless `allow_http`, and no proxy of the environment sees a request that is not encrypted. A client may be shared
between threads, or tasks, and keeps connections open until it is closed.
"""

import asyncio
import ipaddress
import logging
import re
import ssl
import time
from collections.abc import Generator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx2

from cronsvc import __version__
from cronsvc.client.calls import Call
from cronsvc.client.errors import BadCall, Misconfigured, UnexpectedAnswer
from cronsvc.client.generated.index import AsyncGroups, SyncGroups
from cronsvc.client.talking import Failure, Reply, Retries, Send, Timeouts, Told, Wait, conversation

T = TypeVar("T")

LARGEST_ANSWER = 64 * 1024 * 1024
_KEY = re.compile(r"[\x21-\x7e]{1,8192}")
# Before these, nothing of the request had left.
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
# What comes instead of a request: a URL too long, a host that is no name, a client that was closed.
_NO_REQUEST = (httpx2.InvalidURL, UnicodeError, RuntimeError)
_TOKEN = re.compile(r"(/callbacks/)[^/?#]+")


@dataclass(frozen=True, slots=True)
class _Where:
    """A checked URL."""

    url: str
    is_encrypted: bool


class Client(SyncGroups):
    """cronsvc at a URL, for code that waits.

    `api_key` None: only what is open to anybody. `tls` replaces the system's certificates. `transport` is for tests.
    Misconfigured: the URL or the key cannot be one.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        retries: Retries | None = None,
        timeouts: Timeouts | None = None,
        tls: ssl.SSLContext | None = None,
        allow_http: bool = False,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        super().__init__(self)
        where = _where(url, allow_http=allow_http)
        self._url = where.url
        self._retries = retries or Retries()
        self._timeouts = timeouts or Timeouts()
        self._http = httpx2.Client(**_options(where, api_key, tls), transport=transport)

    def __repr__(self) -> str:
        return f"Client({self._url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """Carry out a call. Raises a ClientError."""
        talk = conversation(call, self._retries, self._timeouts, clock=time.monotonic)
        told: Told = None
        while True:
            try:
                step = talk.send(told)
            except StopIteration as done:
                answer: T = done.value
                return answer
            if isinstance(step, Wait):
                time.sleep(step.seconds)
                told = None
            else:
                told = self._exchange(call, step)

    def _exchange(self, call: Call[Any], step: Send) -> Told:
        deadline = time.monotonic() + step.seconds
        content = bytearray()
        try:
            with self._http.stream(**_request(self._url, call, step)) as response:
                for chunk in response.iter_bytes():
                    _take(content, chunk, call)
                    if time.monotonic() > deadline:
                        return _too_slow(step, self._url)
                return Reply(response.status_code, _headers(response), bytes(content))
        except httpx2.HTTPError as error:
            return _failure(error, step, self._url)
        except _NO_REQUEST as error:
            raise _refused(error, call, is_closed=self._http.is_closed) from None


class AsyncClient(AsyncGroups):
    """cronsvc at a URL, for code under asyncio; as `Client` in everything else."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        retries: Retries | None = None,
        timeouts: Timeouts | None = None,
        tls: ssl.SSLContext | None = None,
        allow_http: bool = False,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(self)
        where = _where(url, allow_http=allow_http)
        self._url = where.url
        self._retries = retries or Retries()
        self._timeouts = timeouts or Timeouts()
        self._http = httpx2.AsyncClient(**_options(where, api_key, tls), transport=transport)

    def __repr__(self) -> str:
        return f"AsyncClient({self._url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Carry out a call. Raises a ClientError."""
        talk: Generator[Send | Wait, Told, T] = conversation(call, self._retries, self._timeouts, clock=time.monotonic)
        told: Told = None
        while True:
            try:
                step = talk.send(told)
            except StopIteration as done:
                answer: T = done.value
                return answer
            if isinstance(step, Wait):
                await asyncio.sleep(step.seconds)
                told = None
            else:
                told = await self._exchange(call, step)

    async def _exchange(self, call: Call[Any], step: Send) -> Told:
        content = bytearray()
        try:
            async with (
                asyncio.timeout(step.seconds),
                self._http.stream(**_request(self._url, call, step)) as response,
            ):
                async for chunk in response.aiter_bytes():
                    _take(content, chunk, call)
                return Reply(response.status_code, _headers(response), bytes(content))
        except httpx2.HTTPError as error:
            return _failure(error, step, self._url)
        except TimeoutError:
            return _too_slow(step, self._url)
        except _NO_REQUEST as error:
            raise _refused(error, call, is_closed=self._http.is_closed) from None


def _without_token(record: logging.LogRecord) -> bool:
    """Take callback tokens, which end executions, out of the URLs that httpx2 tells of."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            _TOKEN.sub(r"\1…", str(each)) if isinstance(each, str | httpx2.URL) else each for each in record.args
        )
    return True


def _where(url: str, *, allow_http: bool) -> _Where:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        httpx2.URL(url)
    except (ValueError, httpx2.InvalidURL):
        raise Misconfigured("the URL cannot be read") from None
    is_plain = url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not host or not is_plain:
        raise Misconfigured("the URL should be such as https://cron.example.com")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise Misconfigured("the URL should hold nothing but the host, a port, and perhaps the path that leads there")
    if re.search(r"/api(/v\d+)?/*$", parts.path):
        raise Misconfigured(f"the URL should end before {parts.path}: the paths of the API begin with /api/v1")
    if parts.scheme == "http" and not allow_http and not _is_here(host):
        raise Misconfigured(
            f"http://{host} would show the API key to everybody on the way: use https, or allow it (allow_http=True,"
            " --allow-http) where the network is yours"
        )
    return _Where(url.rstrip("/"), parts.scheme == "https")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _options(where: _Where, api_key: str | None, tls: ssl.SSLContext | None) -> dict[str, Any]:
    logging.getLogger("httpx2").addFilter(_without_token)  # once, however often
    headers = {"User-Agent": f"cronsvc-client/{__version__}", "Accept-Encoding": "identity"}
    if api_key is not None:
        if not _KEY.fullmatch(api_key):
            raise Misconfigured("the API key has a space, a line break or another character that no key has")
        headers["Authorization"] = f"Bearer {api_key}"
    return {
        "headers": headers,
        "verify": tls if tls is not None else True,
        "follow_redirects": False,
        # A proxy is handed https as a closed envelope, and http wide open.
        "trust_env": where.is_encrypted,
    }


def _request(url: str, call: Call[Any], step: Send) -> dict[str, Any]:
    return {
        "method": call.method,
        "url": url + call.path,
        "params": list(call.query) or None,
        "headers": dict(call.headers),
        "content": call.body,
        # Connecting gives up first: the bound on the whole would not know that nothing had been sent.
        "timeout": httpx2.Timeout(step.seconds, connect=step.seconds * 0.9, pool=step.seconds * 0.9),
    }


def _headers(response: httpx2.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _take(content: bytearray, chunk: bytes, call: Call[Any]) -> None:
    if len(content) + len(chunk) > LARGEST_ANSWER:
        raise UnexpectedAnswer(f"{call.operation}: the answer is longer than {LARGEST_ANSWER} bytes")
    content += chunk


def _too_slow(step: Send, url: str) -> Failure:
    return Failure(f"{url}: there was no answer within {step.seconds:.3g} s", sent=True)


def _refused(error: Exception, call: Call[Any], *, is_closed: bool) -> BadCall:
    """Why no request could be made of a call."""
    if is_closed:
        return BadCall(f"{call.operation}: the client is closed")
    if isinstance(error, RuntimeError):
        raise error
    return BadCall(f"{call.operation}: no request can be made of it: {error}")


def _failure(error: httpx2.HTTPError, step: Send, url: str) -> Failure:
    """What happened and where, without the request that the error carries."""
    if isinstance(error, httpx2.TimeoutException):
        is_connected = not isinstance(error, _NOT_SENT)
        what = "there was no answer" if is_connected else "no connection was made"
        return Failure(f"{url}: {what} within {step.seconds:.3g} s", sent=is_connected)
    reason = f"{url}: {str(error) or type(error).__name__}"
    return Failure(reason, sent=not isinstance(error, _NOT_SENT), is_lasting=_is_about_trust(error))


def _is_about_trust(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return isinstance(error, httpx2.UnsupportedProtocol)
