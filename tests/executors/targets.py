"""Targets that behave, and targets that do not: an HTTP server on loopback whose every byte the test decides."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp.abc import AbstractResolver, ResolveResult

from cronsvc.executors.base import RunContext


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived. Header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Respond = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Target:
    """A listening server and what it has seen."""

    port: int
    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # set when a client's connection has ended

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


@asynccontextmanager
async def listening(
    respond: Respond, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Target]:
    """Serve `respond` until the block ends. A connection is kept until `respond` closes it."""
    target = Target(port=0)
    open_connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_connections.add(task)
        target.connections += 1
        try:
            while not writer.is_closing():
                request = await read_request(reader)
                target.requests.append(request)
                await respond(request, writer)
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass
        finally:
            open_connections.discard(task)
            target.gone.set()
            writer.close()

    server = await asyncio.start_server(serve, host, 0, ssl=tls)
    target.port = server.sockets[0].getsockname()[1]
    try:
        yield target
    finally:
        server.close()
        for task in tuple(open_connections):
            task.cancel()
        await asyncio.gather(*open_connections, return_exceptions=True)
        await server.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body)


def answer(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """A whole response. Header names are written with `_` for `-`."""
    lines = [f"HTTP/1.1 {status} Words", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def always(*chunks: bytes, close: bool = False) -> Respond:
    """Answer every request with these bytes."""

    async def respond(_: Request, writer: asyncio.StreamWriter) -> None:
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
        if close:
            writer.close()

    return respond


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST instead of FIN."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()


@asynccontextmanager
async def accepting(*hosts: str) -> AsyncIterator[Target]:
    """Count connections on one port of every host that this machine has (a machine may lack IPv6)."""
    target = Target(port=0)

    async def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target.connections += 1
        writer.close()

    servers = []
    for host in hosts:
        with suppress(OSError):
            server = await asyncio.start_server(count, host, target.port)
            target.port = server.sockets[0].getsockname()[1]
            servers.append(server)
    try:
        yield target
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()


class FixedResolver(AbstractResolver):
    """Answers from a table; a name that is missing does not exist, and one with no addresses is never answered."""

    def __init__(self, table: dict[str, list[str]]) -> None:
        self.table = table
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self.table:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        if not self.table[host]:
            await asyncio.Event().wait()
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self.table[host]
        ]

    async def close(self) -> None:
        pass


def attempt(number: int = 1, of: int = 3, *, execution_id: int = 7, timeout_seconds: float = 20.0) -> RunContext:
    """The attempt to make. The generous timeout is a net for broken tests; those about deadlines pass their own."""
    return RunContext(
        execution_id=execution_id,
        job_id=3,
        job_name="report",
        scheduled_time=datetime(2026, 3, 1, 9, 0, 0, 250_000, tzinfo=UTC),
        attempt=number,
        max_attempts=of,
        claim_no=number + 4,
        timeout_seconds=timeout_seconds,
    )
