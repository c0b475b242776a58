import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
from redis.asyncio import Redis

from cronsvc.domain.execution import Ticket
from cronsvc.queue import Broker, TicketWorker
from cronsvc.queue.hub import FAIR_SHARE
from cronsvc.queue.lane import Lane
from cronsvc.queue.scripts import Fetched
from tests.queue.support import Recorder, running, ticket, until, until_asleep


def worker(
    broker: Broker, handle: Callable[[Ticket], Awaitable[None]], *, concurrency: int = 1, queues: tuple[str, ...] = ()
) -> TicketWorker:
    return TicketWorker(broker, queues=queues or ("default",), concurrency=concurrency, handle=handle)


async def test_the_most_urgent_ticket_runs_first(broker: Broker) -> None:
    recorder = Recorder()
    await broker.push([ticket(n, priority=(15, 10, 5, 1)[n % 4]) for n in range(12)])
    async with running(worker(broker, recorder)):
        await until(lambda: len(recorder.ended) == 12)
    assert [ticket.priority for ticket in recorder.started] == [1] * 3 + [5] * 3 + [10] * 3 + [15] * 3
    assert recorder.started[0] == ticket(3, priority=1)


async def test_priority_goes_before_queue_and_queues_of_one_priority_take_turns(broker: Broker) -> None:
    recorder = Recorder()
    await broker.push([ticket(n, queue="a") for n in range(6)] + [ticket(n, queue="b") for n in range(6)])
    await broker.push([ticket(100, queue="b", priority=1)])
    async with running(worker(broker, recorder, queues=("a", "b"))):
        await until(lambda: len(recorder.ended) == 13)
    assert recorder.ids[0] == 100
    queues = [ticket.queue for ticket in recorder.started[1:]]
    assert sorted(queues[:6]) == ["a"] * 3 + ["b"] * 3


async def test_a_flood_of_critical_work_starves_nobody(broker: Broker) -> None:
    recorder = Recorder()
    floods = [ticket(n, priority=1) for n in range(10 * FAIR_SHARE)]
    others = [ticket(1000 + priority, priority=priority) for priority in (5, 10, 15)]
    await broker.push(floods + others)
    async with running(worker(broker, recorder)):
        await until(lambda: len(recorder.ended) == len(floods) + 3)
    places = [recorder.ids.index(other.execution_id) for other in others]
    assert max(places) < 4 * FAIR_SHARE, "each other lane had its turn"
    assert min(places) >= FAIR_SHARE - 1, "and only its turn"


async def test_a_worker_takes_no_more_than_its_idle_slots(broker: Broker) -> None:
    recorder = Recorder(open_gate=False)
    await broker.push([ticket(n) for n in range(10)])
    async with running(worker(broker, recorder, concurrency=3)):
        await until(lambda: len(recorder.started) == 3)
        for _ in range(5):
            await broker.ping()
            assert (await broker.depths(["default"]))["default", 10] == 7
        recorder.gate.set()
        await until(lambda: len(recorder.ended) == 10)
    assert recorder.ids == list(range(10))


async def test_every_fetch_asks_for_exactly_the_idle_slots(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = 0
    asked: list[tuple[int, int]] = []
    fetch = broker.fetch

    async def watched(lanes: list[Lane], wanted: int) -> Fetched:
        asked.append((wanted, busy))
        return await fetch(lanes, wanted)

    async def handle(ticket: Ticket) -> None:
        nonlocal busy
        busy += 1
        for _ in range(ticket.execution_id % 7):
            await asyncio.sleep(0)
        busy -= 1

    monkeypatch.setattr(broker, "fetch", watched)
    await broker.push([ticket(n) for n in range(300)])
    async with running(worker(broker, handle, concurrency=5)):
        await until(lambda: len(asked) > 60)
    assert all(0 < wanted <= 5 - busy for wanted, busy in asked)


async def test_a_pushed_ticket_wakes_a_sleeping_worker(redis_url: str) -> None:
    # a block longer than the test's patience: only the doorbell can wake it
    broker = Broker.open(redis_url + "&socket_timeout=120")
    broker.block_seconds = 60
    recorder = Recorder()
    async with running(worker(broker, recorder, concurrency=2)):
        for n in range(20):
            await broker.push([ticket(n)])
            await until(lambda n=n: len(recorder.ended) == n + 1)  # type: ignore[misc]
    await broker.close()


async def test_one_push_wakes_as_many_workers_as_it_needs(redis_url: str, redis: Redis) -> None:
    broker = Broker.open(redis_url + "&socket_timeout=120")
    broker.block_seconds = 60
    recorder = Recorder(open_gate=False)
    first, second, third = (worker(broker, recorder) for _ in range(3))
    async with running(first), running(second), running(third):
        await until_asleep(redis, 3)
        await broker.push([ticket(n, priority=(1, 15)[n % 2]) for n in range(4)])
        await until(lambda: len(recorder.started) == 3)
        recorder.gate.set()
        await until(lambda: len(recorder.ended) == 4)
    await broker.close()


async def test_other_queues_are_left_alone(broker: Broker) -> None:
    recorder = Recorder()
    await broker.push([ticket(1, queue="foreign"), ticket(2)])
    async with running(worker(broker, recorder)):
        await until(lambda: len(recorder.ended) == 1)
    assert recorder.ids == [2]
    assert (await broker.depths(["foreign"]))["foreign", 10] == 1


async def test_a_paused_queue_waits_until_it_is_resumed(broker: Broker) -> None:
    recorder = Recorder()
    subject = worker(broker, recorder, queues=("a", "b"))
    subject.set_paused(["a"])
    async with running(subject):
        await broker.push([ticket(1, queue="a"), ticket(2, queue="b")])
        await until(lambda: recorder.ids == [2])
        subject.set_paused(["a", "b"])
        await broker.push([ticket(3, queue="b")])
        subject.set_paused(["b"])
        await until(lambda: recorder.ids == [2, 1])
        subject.set_paused([])
        await until(lambda: recorder.ids == [2, 1, 3])


async def test_a_failing_handler_keeps_its_slot(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    handled: list[int] = []

    async def handle(ticket: Ticket) -> None:
        handled.append(ticket.execution_id)
        if ticket.execution_id == 1:
            raise ValueError("broken on purpose")
        if ticket.execution_id == 2:
            raise asyncio.CancelledError

    await broker.push([ticket(n) for n in range(4)])
    with caplog.at_level(logging.INFO):
        async with running(worker(broker, handle)):
            await until(lambda: handled == [0, 1, 2, 3])
    (record,) = caplog.records
    assert record.getMessage() == "the handler of execution 1 failed"
    assert record.exc_info is not None


@pytest.mark.parametrize("body", ['{"token": "hunter2"}', "hunter2", ""])
async def test_poison_is_dropped_and_said(
    body: str, broker: Broker, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    lane = broker.lane("default", 10)
    await redis.set("saq:job:cronsvc:default:p2:1:0", body)
    await redis.zadd("saq:cronsvc:default:p2:incomplete", {"saq:job:cronsvc:default:p2:1:0": 0})
    await cast(Awaitable[int], redis.rpush(lane.queued, "saq:job:cronsvc:default:p2:1:0"))
    await broker.push([ticket(2)])
    async with running(worker(broker, recorder, concurrency=2)):
        await until(lambda: recorder.ids == [2])
        assert await broker.push([ticket(1)]) == 1, "its key is free again"
        await until(lambda: recorder.ids == [2, 1])
    assert caplog.text.count("dropped an unreadable ticket of lane cronsvc:default:p2") == 1
    assert "hunter2" not in caplog.text


async def test_a_wipe_is_healed_by_pushing_again(broker: Broker, redis: Redis) -> None:
    recorder = Recorder(open_gate=False)
    backlog = [ticket(n) for n in range(20)]
    await broker.push(backlog)
    before = await broker.epoch()
    async with running(worker(broker, recorder, concurrency=2)):
        await until(lambda: len(recorder.started) == 2)
        await redis.flushall()
        recorder.gate.set()
        assert await broker.epoch() != before
        await broker.push(backlog[2:])
        await until(lambda: len(recorder.ended) == 20)
    assert sorted(recorder.ids) == list(range(20))
    assert await redis.keys("saq:job:*") == []


async def test_saqs_upkeep_is_off(broker: Broker) -> None:
    recorder = Recorder(open_gate=False)
    await broker.push([ticket(1)])
    async with running(worker(broker, recorder)):
        await until(lambda: len(recorder.started) == 1)
        names = {repr(task.get_coro()) for task in asyncio.all_tasks()}
        assert not [name for name in names if "upkeep.<locals>" in name]
        assert [name for name in names if "Worker.process" in name], "SAQ's own slots are what runs"
        recorder.gate.set()


async def test_saq_says_nothing_about_each_job(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    with caplog.at_level(logging.INFO):
        async with running(worker(broker, recorder)):
            await broker.push([ticket(1)])
            await until(lambda: len(recorder.ended) == 1)
    assert caplog.records == []


async def test_a_queue_that_is_added_later_is_served(broker: Broker, redis: Redis) -> None:
    recorder = Recorder()
    serving = worker(broker, recorder)
    await broker.push([ticket(1, queue="reports")])
    async with running(serving):
        await until_asleep(redis, 1)
        assert recorder.ids == []
        serving.set_queues(["default", "reports"])
        await until(lambda: recorder.ids == [1])
