"""The bounds around uvicorn's connections: heads too large or too late end them, honest clients never notice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from cronsvc.processes import http_protocol
from cronsvc.processes.http_protocol import MOST_HEAD_BYTES
from cronsvc.processes.serving import listen, serve
from tests.processes.test_api import closed

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
SHORT = 0.15  # seconds


@dataclass(slots=True)
class Talk:
    """One connection to a server that answers with the length of what it read."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def answer(self) -> bytes:
        """The status line and the body of the next answer."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return head.partition(b"\r\n")[0] + b" " + await self.reader.readexactly(length)

    async def end(self) -> bytes:
        """What comes until the other side hangs up, which it must."""
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(self.reader.read(), 10)
        return b""


async def measure(scope: dict[str, str], receive: object, send: object) -> None:
    """Answer with how much came; /deaf answers without reading."""
    assert callable(receive)
    assert callable(send)
    size, more = 0, scope["path"] != "/deaf"
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def talk() -> AsyncIterator[Talk]:
    stop, ready = asyncio.Event(), asyncio.Event()
    listener = listen("127.0.0.1", 0)
    serving = asyncio.create_task(serve(measure, listener, stop, trusted_proxies=(), ready=ready.set))
    await ready.wait()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
    yield Talk(reader, writer)
    await closed(writer)
    stop.set()
    await asyncio.wait_for(serving, 10)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", SHORT)
    monkeypatch.setattr(http_protocol, "LINGER_SECONDS", SHORT)


async def test_honest_requests_share_a_connection(talk: Talk) -> None:
    body = b"b" * (3 * MOST_HEAD_BYTES)
    post = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    for _ in range(3):  # large bodies are no heads, however the reads fall
        await talk.say(post + body)
        assert await talk.answer() == b"http/1.1 200 ok %d" % len(body)
    await talk.say(post, body[:1000], body[1000:] + GET + GET, GET[:10], GET[10:])
    said = [await talk.answer() for _ in range(4)]
    assert said == [b"http/1.1 200 ok %d" % size for size in (len(body), 0, 0, 0)]


async def test_a_head_may_be_large_and_not_larger(talk: Talk) -> None:
    filler = b"x-filler: " + b"y" * (MOST_HEAD_BYTES - 200) + b"\r\n"
    await talk.say(GET[:-2] + filler + b"\r\n")
    assert (await talk.answer()).startswith(b"http/1.1 200")
    await talk.say(GET[:-2] + filler + filler[:400] + b"\r\n\r\n")
    assert (await talk.end()).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("part", [b"x-a: y\r\n" * 500, b"y" * 4000, b"y" * 60_000], ids=["lines", "one line", "reads"])
async def test_a_head_without_an_end_is_cut(talk: Talk, part: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        await talk.say(GET[:-2] + b"x-long: ", *[part] * 100)
    assert (await talk.end())[:13] in (b"HTTP/1.1 431 ", b"")


async def test_a_head_with_a_body_behind_it_never_reaches_the_application(talk: Talk) -> None:
    head = b"POST /a HTTP/1.1\r\nContent-Length: 5\r\nx-long: " + b"y" * (MOST_HEAD_BYTES + 1) + b"\r\n\r\nhello"
    await talk.say(head)
    assert (await talk.end()).startswith(b"HTTP/1.1 431 ")


@pytest.mark.usefixtures("short")
async def test_a_head_that_is_late_is_told_so(talk: Talk) -> None:
    await talk.say(GET[:-2])
    assert (await talk.end()).startswith(b"HTTP/1.1 408 ")


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("said", [b"", b"\r\n\r\n"])
async def test_a_connection_on_which_nothing_begins_is_ended(talk: Talk, said: bytes) -> None:
    await talk.say(said)
    assert await talk.end() == b""


@pytest.mark.usefixtures("short")
async def test_between_requests_there_is_time_and_within_a_head_there_is_not(talk: Talk) -> None:
    await talk.say(GET)
    await talk.answer()
    await asyncio.sleep(2 * SHORT)  # idle, which the deadline of a head has nothing to do with
    await talk.say(GET)
    assert (await talk.answer()).startswith(b"http/1.1 200")
    await talk.say(b"\r\n")  # takes uvicorn's own limit away, so ours must be there
    assert await talk.end() == b""


@pytest.mark.usefixtures("short")
async def test_a_body_nobody_reads_is_not_awaited_for_long(talk: Talk) -> None:
    await talk.say(b"POST /deaf HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert await talk.answer() == b"http/1.1 200 ok 0"
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            await talk.say(b"5\r\nhello\r\n")
            if talk.reader.at_eof():
                break
            await asyncio.sleep(SHORT / 10)
    assert await talk.end() == b""
