"""A little HTTP proxy that spoils answers: it hands a request on, and then does what the test has in mind.

One connection a request, so each is one entry of the script; after its end everything passes.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PASS = "pass"
DROP_BEFORE = "drop before"  # the service never sees it
DROP_AFTER = "drop after"  # the service has done it, and nobody hears of it
STALL = "stall"  # the same, and the connection stays open
CUT = "cut"  # half of the answer


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer of a proxy on the way; the service never sees the request."""

    status: int
    headers: tuple[str, ...] = ()
    body: bytes = b""


Act = str | Answered


@dataclass
class FlakyProxy:
    """Where it listens, what it still has to do, and what passed through it."""

    url: str = ""
    script: list[Act] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)

    def headers_named(self, name: str) -> list[str]:
        """The values of this header in the requests so far."""
        pattern = re.compile(rb"(?im)^" + name.encode() + rb": (.*?)\r$")
        return [match[1].decode() for request in self.requests for match in pattern.finditer(request)]


@asynccontextmanager
async def flaky_proxy(upstream: str, script: Sequence[Act] = ()) -> AsyncIterator[FlakyProxy]:
    """A proxy before the service at this URL."""
    proxy = FlakyProxy(script=list(script))
    over = asyncio.Event()
    to = urlsplit(upstream)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _read_request(reader)
            proxy.requests.append(request)
            act = proxy.script.pop(0) if proxy.script else PASS
            if isinstance(act, Answered):
                head = [f"HTTP/1.1 {act.status} Spoilt", *act.headers, f"Content-Length: {len(act.body)}"]
                writer.write("\r\n".join([*head, "Connection: close", "", ""]).encode() + act.body)
            elif act != DROP_BEFORE:
                answer = await _ask(to.hostname or "", to.port or 80, request)
                if act == STALL:
                    await over.wait()
                elif act == CUT:
                    writer.write(answer[: len(answer) - 20])
                elif act == PASS:
                    writer.write(answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        over.set()
        server.close()
        await server.wait_closed()


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?im)^content-length: (\d+)", head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


async def _ask(host: str, port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(
            re.sub(rb"(?im)^connection: .*\r\n", b"", request).replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        )
        return await reader.read()
    finally:
        writer.close()
