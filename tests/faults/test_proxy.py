"""The wires themselves: each mode does to a plain echo what it says, and counts it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.faults.proxy import Edge, Pair, Wires
from tests.support.waiting import until


@pytest.fixture
async def echo() -> AsyncIterator[tuple[int, bytearray]]:
    """A server that answers what it hears: its port, and all that it heard."""
    heard = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(1000):
                heard.extend(piece)
                writer.write(piece)
                await writer.drain()
        await closed(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], heard
    server.close()
    await server.wait_closed()


@pytest.fixture
def wires() -> Iterator[Wires]:
    with Wires(seed=1) as found:
        yield found


async def said(edge: Edge, text: bytes, *, seconds: float = 0.5) -> bytes | None:
    """What comes back for this text on a new connection; None for silence, empty for a connection that was closed."""
    writer = None
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        writer.write(text)
        async with asyncio.timeout(seconds):
            return await reader.read(1000)
    except TimeoutError:
        return None
    except OSError:
        return b""
    finally:
        if writer is not None:
            await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def test_it_passes_and_refuses(echo: tuple[int, bytearray], wires: Wires) -> None:
    edge = wires.add("a>b", ("127.0.0.1", echo[0]))
    assert await said(edge, b"hello") == b"hello"
    await asyncio.to_thread(wires.set, ["a>b"], "refuse")
    assert await said(edge, b"hello") == b""
    assert edge.resets >= 1
    await asyncio.to_thread(wires.set, ["a>b"], "pass")
    assert await said(edge, b"again") == b"again"


async def test_what_is_open_is_reset_when_it_refuses(echo: tuple[int, bytearray], wires: Wires) -> None:
    edge = wires.add("a>b", ("127.0.0.1", echo[0]))
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(b"one")
    assert await reader.read(1000) == b"one"
    await asyncio.to_thread(wires.set, ["a>b"], "refuse")
    with pytest.raises(ConnectionError):
        assert await reader.read(1000) == b"never"
    await closed(writer)


@pytest.mark.parametrize(("mode", "arrives"), [("blackhole", b""), ("one_way", b"hello")])
async def test_it_swallows(echo: tuple[int, bytearray], wires: Wires, mode: str, arrives: bytes) -> None:
    edge = wires.add("a>b", ("127.0.0.1", echo[0]))
    await asyncio.to_thread(wires.set, ["a>b"], mode)
    assert await said(edge, b"hello") is None
    assert (bytes(echo[1]), edge.dropped) == (arrives, 5)


async def test_it_delays(echo: tuple[int, bytearray], wires: Wires) -> None:
    edge = wires.add("a>b", ("127.0.0.1", echo[0]))
    await asyncio.to_thread(lambda: wires.set(["a>b"], "slow", latency=0.2))
    begun = asyncio.get_running_loop().time()
    assert await said(edge, b"hello", seconds=5.0) == b"hello"
    assert asyncio.get_running_loop().time() - begun > 0.25
    assert edge.delayed == 2


async def test_a_commit_is_heard_and_not_answered_once(echo: tuple[int, bytearray], wires: Wires) -> None:
    edge = wires.add("a>b", ("127.0.0.1", echo[0]))
    await asyncio.to_thread(wires.set, ["a>b"], "deaf_commit")
    assert await said(edge, b"SELECT 1") == b"SELECT 1"
    assert await said(edge, b"Q COMMIT") == b""

    async def heard() -> bool:
        return bytes(echo[1]).endswith(b"COMMIT")

    await until(heard, seconds=5.0, what="the commit")
    assert (edge.deafened, edge.mode) == (1, "pass")


def test_a_prepared_write_is_known_by_its_name() -> None:
    pair = Pair.__new__(Pair)
    pair.writing = set()
    parse = b"P\0\0\0\x40_pg3_5\0\nUPDATE job_executions AS e SET x = 1\0\0\0"
    assert pair.writes(parse)
    assert pair.writes(b"B\0\0\0\x10\0_pg3_5\0\0\0\0\0")
    assert not pair.writes(b"B\0\0\0\x10\0_pg3_6\0\0\0\0\0")
