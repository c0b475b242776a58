"""The bounds around uvicorn's connections: heads too large or too late end them, honest clients never notice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from cronsvc.processes import http_protocol, serving
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
    """Answer with how much came; /deaf answers without reading, /slow when there has been time for more to come."""
    assert callable(receive)
    assert callable(send)
    size, more = 0, scope["path"] != "/deaf"
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    if scope["path"] == "/slow":
        await asyncio.sleep(SHORT)
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


@pytest.fixture
def soon_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "KEEP_ALIVE_SECONDS", 1)


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


@pytest.mark.usefixtures("short", "soon_idle")
async def test_between_requests_there_is_time_and_within_a_head_there_is_not(talk: Talk) -> None:
    await talk.say(GET)
    await talk.answer()
    await asyncio.sleep(2 * SHORT)  # idle, which the deadline of a head has nothing to do with
    await talk.say(GET)
    assert (await talk.answer()).startswith(b"http/1.1 200")
    await talk.say(b"\r\n")  # takes uvicorn's own limit away, so ours must be there
    assert await talk.end() == b""


LARGE = GET[:-2] + b"".join(b"x-%d: %s\r\n" % (number, b"y" * 6000) for number in range(12)) + b"\r\n"
SLOW = GET.replace(b"/a", b"/slow")


async def test_nothing_behind_a_refused_head_is_answered_in_its_place(talk: Talk) -> None:
    await talk.say(LARGE + GET)
    said = await talk.end()
    assert (said[:13], said.count(b"HTTP/1.1")) == (b"HTTP/1.1 431 ", 1)


@pytest.mark.parametrize(
    ("second", "status"),
    [(LARGE, b"431"), (GET[:-2] + b"x: " + b"y" * 300_000, b"431"), (b"no request\r\n\r\n", b"400")],
)
async def test_what_is_refused_waits_for_the_answer_under_way(talk: Talk, second: bytes, status: bytes) -> None:
    await talk.say(SLOW + second)
    assert await talk.answer() == b"http/1.1 200 ok 0"
    assert (await talk.end()).startswith(b"HTTP/1.1 %s " % status)


async def test_a_malformed_body_is_not_told_as_the_answer_of_another(talk: Talk) -> None:
    chunked = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await talk.say(SLOW + chunked + b"zz\r\n")
    assert await talk.end() == b""


async def test_a_malformed_body_is_told(talk: Talk) -> None:
    await talk.say(b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert (await talk.end()).startswith(b"HTTP/1.1 400 ")


@pytest.mark.usefixtures("short")
async def test_a_head_that_began_before_the_answer_is_late_after_it(talk: Talk) -> None:
    await talk.say(SLOW + GET[:-2])
    assert await talk.answer() == b"http/1.1 200 ok 0"
    assert (await talk.end()).startswith(b"HTTP/1.1 408 ")


@pytest.mark.usefixtures("short")
async def test_the_rest_of_a_body_after_the_answer_is_the_start_of_no_head(talk: Talk) -> None:
    await talk.say(b"POST /deaf HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
    assert await talk.answer() == b"http/1.1 200 ok 0"
    await talk.say(b"cde")
    await asyncio.sleep(3 * SHORT)  # idle, which the deadline of a head has nothing to do with
    await talk.say(GET)
    assert (await talk.answer()).startswith(b"http/1.1 200")


CHUNKED = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"


async def test_trailers_are_no_head(talk: Talk) -> None:
    await talk.say(CHUNKED + b"x-long: " + b"y" * 60_000 + b"\r\n\r\n5\r\nhello\r\n0\r\n")
    await talk.say(b"x-a: " + b"y" * 7000 + b"\r\n\r\n")
    assert await talk.answer() == b"http/1.1 200 ok 5"
    await talk.say(GET)
    assert await talk.answer() == b"http/1.1 200 ok 0"


@pytest.mark.parametrize("begin", [b"0\r\nx-a: ", b"5;"], ids=["trailer", "chunk extension"])
async def test_what_is_neither_head_nor_body_is_bounded(talk: Talk, begin: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        await talk.say(CHUNKED + b"\r\n" + begin, *[b"y" * 4000] * 500)
    assert (await talk.end())[:13] in (b"HTTP/1.1 400 ", b"")
