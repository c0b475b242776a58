"""A wire between two parts that can be cut, clogged and slowed: one TCP listener an edge, all in one thread's loop.

An edge passes everything until told otherwise. The modes:

    pass        both ways
    refuse      new connections are reset, and those that are open
    blackhole   bytes are read and thrown away, both ways; new connections are accepted and never answered
    one_way     only what the client says arrives; the answers are thrown away
    slow        each piece waits for `latency` seconds, more or less, and at most `rate` bytes a second pass
    deaf_commit the next COMMIT (or autocommitted write) takes effect and its answer never comes: the client is reset

Whatever a mode swallowed is counted, which is the proof that it bit.
"""

import asyncio
import contextlib
import random
import re
import socket
import struct
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

CHUNK = 65_536

# What a deaf edge waits for: a commit, or a statement that writes executions and is a transaction of its own. Drivers
# prepare what they repeat, so its text is seen once, with the name that later messages carry instead.
WRITES = re.compile(rb"COMMIT|(?:UPDATE|INSERT INTO|DELETE FROM) (?:job|workers)")
PREPARES = re.compile(rb"P.{4}([a-z_0-9]+)\x00([^\x00]*)\x00", re.DOTALL)
BINDS = re.compile(rb"B.{4}[^\x00]*\x00([a-z_0-9]+)\x00", re.DOTALL)


@dataclass(eq=False)
class Pair:
    """One client's connection and ours to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    writing: set[bytes] = field(default_factory=set)  # names of prepared statements that write executions

    def writes(self, piece: bytes) -> bool:
        """Whether these bytes ask the server for something that it will not forget."""
        for name, text in PREPARES.findall(piece):
            if WRITES.search(text):
                self.writing.add(name)
        return bool(WRITES.search(piece)) or any(name in self.writing for name in BINDS.findall(piece))


@dataclass(eq=False)
class Edge:
    """One wire. `mode` may be set from any thread; `hurt` counts what it did."""

    name: str
    target: tuple[str, int]
    mode: str = "pass"
    latency: float = 0.0
    rate: float = 0.0
    port: int = 0
    dropped: int = 0
    resets: int = 0
    delayed: int = 0
    passed: int = 0
    deafened: int = 0
    pairs: set[Pair] = field(default_factory=set)

    @property
    def hurt(self) -> dict[str, int]:
        """What this edge did to those who used it, so far."""
        return {
            "dropped": self.dropped,
            "resets": self.resets,
            "delayed": self.delayed,
            "passed": self.passed,
            "deafened": self.deafened,
        }


class Wires:
    """All edges of a run. Use it in a `with`; then edges may be added and set from the harness's own thread."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wires", daemon=True)
        self._servers: list[asyncio.Server] = []
        self.edges: dict[str, Edge] = {}

    def __enter__(self) -> "Wires":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def add(self, name: str, target: tuple[str, int]) -> Edge:
        """Listen on a free port of 127.0.0.1 for an edge to `target`."""
        edge = Edge(name, target)
        self.edges[name] = edge
        self._call(self._listen(edge))
        return edge

    def set(self, names: Sequence[str], mode: str, *, latency: float = 0.0, rate: float = 0.0) -> None:
        """Put these edges into a mode, at once. `refuse` resets what is open, and so does leaving a swallowing mode."""
        self._call(self._set([self.edges[name] for name in names], mode, latency, rate))

    def named(self, *parts: str) -> list[str]:
        """The edges whose name contains each of these parts."""
        return [name for name in self.edges if all(part in name for part in parts)]

    def _call(self, act: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(act, self._loop).result(20)

    async def _listen(self, edge: Edge) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.CancelledError):  # only at the end of everything
                await self._serve(edge, reader, writer)

        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=256)
        self._servers.append(server)
        edge.port = server.sockets[0].getsockname()[1]

    async def _set(self, edges: Sequence[Edge], mode: str, latency: float, rate: float) -> None:
        for edge in edges:
            swallowed = edge.mode in ("blackhole", "one_way") and mode != edge.mode
            edge.latency, edge.rate, edge.mode = latency, rate, mode
            if mode == "refuse" or swallowed:
                # A stream with a hole in it is of no use to anybody: a real network would have reset it by now.
                for pair in list(edge.pairs):
                    edge.resets += mode == "refuse"
                    _reset(pair)

    async def _close(self) -> None:
        """Nobody listens and nothing is open any more."""
        for server in self._servers:
            server.close()
        for edge in self.edges.values():
            for pair in list(edge.pairs):
                _reset(pair)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.05)  # the transports close in the next turns of the loop

    async def _serve(self, edge: Edge, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if edge.mode == "refuse":
            edge.resets += 1
            _abort(writer)
            return
        try:
            answers, server = await asyncio.open_connection(*edge.target)
        except OSError:
            _abort(writer)
            return
        for end in (writer, server):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = Pair(writer, server)
        edge.pairs.add(pair)
        asking = asyncio.create_task(self._pump(edge, pair, reader, server, asks=True))
        answering = asyncio.create_task(self._pump(edge, pair, answers, writer, asks=False))
        try:
            await asyncio.wait({asking, answering}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            edge.pairs.discard(pair)
            for task in (asking, answering):
                task.cancel()
            await asyncio.gather(asking, answering, return_exceptions=True)
            for end in (writer, server):
                with contextlib.suppress(OSError, RuntimeError):
                    end.close()

    async def _pump(
        self, edge: Edge, pair: Pair, source: asyncio.StreamReader, drain: asyncio.StreamWriter, *, asks: bool
    ) -> None:
        """Carry one direction until either end is closed or reset."""
        with contextlib.suppress(OSError):
            while piece := await source.read(CHUNK):
                if edge.mode == "slow":
                    await self._delay(edge, len(piece))
                if edge.mode == "blackhole" or (edge.mode == "one_way" and not asks):
                    edge.dropped += len(piece)
                    continue
                drain.write(piece)
                await drain.drain()
                edge.passed += len(piece)
                if asks and pair.writes(piece) and edge.mode == "deaf_commit":
                    await self._deafen(edge, pair)
                    return

    async def _delay(self, edge: Edge, size: int) -> None:
        edge.delayed += 1
        seconds = edge.latency * self._random.uniform(0.67, 1.33)
        if edge.rate:
            seconds += size / edge.rate
        await asyncio.sleep(seconds)

    async def _deafen(self, edge: Edge, pair: Pair) -> None:
        """The server has heard the commit; its client shall never learn what became of it."""
        edge.deafened += 1
        edge.mode = "pass"
        _linger_off(pair.client)
        pair.client.transport.abort()
        await asyncio.sleep(0.3)  # the server's end stays open for as long as a commit takes


def _reset(pair: Pair) -> None:
    _abort(pair.client)
    _abort(pair.server)


def _abort(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, RuntimeError):
        _linger_off(writer)
        writer.transport.abort()


def _linger_off(writer: asyncio.StreamWriter) -> None:
    """Closing sends a reset and throws away what was not sent."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
