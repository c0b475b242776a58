"""Redis goes away and comes back: the worker waits without spinning, says so once, and carries on."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from cronsvc.errors import Unavailable
from cronsvc.queue import Broker, TicketWorker
from cronsvc.queue.hub import FIRST_DELAY, LONGEST_DELAY
from tests.queue.support import Recorder, running, ticket, until
from tests.support.servers import Embedded, free_port, scratch_directory, start_valkey


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch_directory() as directory:
        yield directory


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[Embedded]:
    with await asyncio.to_thread(start_valkey, folder / "valkey") as server:
        yield server


class Watched(Broker):
    """A Broker that notes when a worker asks it for something."""

    asked: list[float]

    @classmethod
    def on(cls, url: str) -> "Watched":
        broker = cls.open(url)
        assert isinstance(broker, cls)
        broker.asked = []
        return broker

    async def fetch(self, lanes, wanted):  # type: ignore[no-untyped-def]
        self.asked.append(asyncio.get_running_loop().time())
        return await super().fetch(lanes, wanted)

    async def wait_for_bell(self, lanes, own_bell):  # type: ignore[no-untyped-def]
        self.asked.append(asyncio.get_running_loop().time())
        await super().wait_for_bell(lanes, own_bell)


def messages(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if part in record.getMessage()]


async def test_a_worker_outlives_redis(server: Embedded, caplog: pytest.LogCaptureFixture) -> None:
    broker = Watched.on(server.url)
    recorder = Recorder()
    subject = TicketWorker(broker, queues=["default"], concurrency=4, handle=recorder)
    async with running(subject) as task:
        await broker.push([ticket(1)])
        await until(lambda: recorder.ids == [1])

        await asyncio.to_thread(server.stop)
        await until(lambda: bool(messages(caplog, "cannot fetch tickets")))
        broker.asked.clear()
        await until(lambda: len(broker.asked) >= 6)
        gaps = [later - earlier for earlier, later in itertools.pairwise(broker.asked)]
        # delays of 0.2, 0.4, 0.8, 1, 1 s, each up to a quarter shorter
        expected = [min(FIRST_DELAY * 2**n, LONGEST_DELAY) * 0.75 for n in range(1, 6)]
        assert all(gap > least * 0.99 for gap, least in zip(gaps, expected, strict=False)), gaps
        with pytest.raises(Unavailable):
            await broker.push([ticket(2)])
        assert not task.done()

        await asyncio.to_thread(server.start)
        await broker.push([ticket(3)])
        await until(lambda: recorder.ids == [1, 3])
        assert not task.done()
    assert len(messages(caplog, "cannot fetch tickets")) == 1
    assert len(messages(caplog, "Redis is back")) == 1
    await broker.close()


async def test_what_waited_before_a_restart_without_its_data_is_noticed(server: Embedded) -> None:
    broker = Broker.open(server.url)
    before = await broker.epoch()
    await broker.push([ticket(1)])
    async with Redis.from_url(server.url) as client:
        await client.flushall()
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    assert await broker.epoch() != before
    assert await broker.push([ticket(1)]) == 1
    await broker.close()


async def test_a_worker_may_start_before_redis(server: Embedded, caplog: pytest.LogCaptureFixture) -> None:
    await asyncio.to_thread(server.stop)
    broker = Broker.open(server.url)
    recorder = Recorder()
    async with running(TicketWorker(broker, queues=["default"], concurrency=2, handle=recorder)):
        await until(lambda: bool(messages(caplog, "cannot fetch tickets")))
        await asyncio.to_thread(server.start)
        await broker.push([ticket(1)])
        await until(lambda: recorder.ids == [1])
    await broker.close()


async def test_a_ticket_in_a_slot_does_not_need_redis(server: Embedded) -> None:
    broker = Broker.open(server.url)
    recorder = Recorder(open_gate=False)
    subject = TicketWorker(broker, queues=["default"], concurrency=1, handle=recorder)
    async with running(subject):
        await broker.push([ticket(1)])
        await until(lambda: len(recorder.started) == 1)
        await asyncio.to_thread(server.stop)
        recorder.gate.set()
        async with asyncio.timeout(20):
            assert await subject.stop(10) is True
    assert len(recorder.ended) == 1
    await broker.close()


async def test_stopping_does_not_need_redis() -> None:
    broker = Watched.on(f"redis://127.0.0.1:{free_port()}")
    subject = TicketWorker(broker, queues=["default"], concurrency=2, handle=Recorder())
    async with asyncio.timeout(20):
        async with running(subject):
            await until(lambda: len(broker.asked) >= 3)
            assert await subject.stop(60) is True
    await broker.close()


async def test_stopping_does_not_wait_for_a_redis_that_hangs() -> None:
    connected: list[asyncio.StreamWriter] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)

    hanging = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = hanging.sockets[0].getsockname()[1]
    broker = Broker.open(f"redis://127.0.0.1:{port}?socket_timeout=600&socket_connect_timeout=600")
    subject = TicketWorker(broker, queues=["default"], concurrency=2, handle=Recorder())
    async with asyncio.timeout(30), running(subject):
        await until(lambda: bool(connected))
        assert await subject.stop(60) is True
        assert "cronsvc ticket fetch" not in {task.get_name() for task in asyncio.all_tasks()}
    await broker.close()
    for writer in connected:
        writer.close()
    hanging.close()
