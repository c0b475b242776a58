import asyncio
import signal

from redis.asyncio import Redis

from cronsvc.domain.execution import Ticket
from cronsvc.queue import Broker, TicketWorker
from cronsvc.queue.lane import Lane
from cronsvc.queue.scripts import Fetched
from tests.queue.support import Recorder, running, ticket, until, until_asleep


def worker(broker: Broker, recorder: Recorder, *, concurrency: int = 2) -> TicketWorker:
    return TicketWorker(broker, queues=["default"], concurrency=concurrency, handle=recorder)


async def test_an_idle_worker_does_not_wait_out_its_block(redis_url: str, redis: Redis) -> None:
    broker = Broker.open(redis_url + "&socket_timeout=120")
    broker.block_seconds = 60
    subject = worker(broker, Recorder())
    task = asyncio.create_task(subject.run())
    await until_asleep(redis, 1)
    async with asyncio.timeout(20):
        assert await subject.stop(60) is True
        await task
    await broker.close()


async def test_a_running_handler_may_finish_and_nothing_new_starts(broker: Broker) -> None:
    recorder = Recorder(open_gate=False)
    subject = worker(broker, recorder)
    await broker.push([ticket(n) for n in range(5)])
    async with running(subject):
        await until(lambda: len(recorder.started) == 2)
        subject.stop_fetching()
        stopping = asyncio.create_task(subject.stop(60))
        again = asyncio.create_task(subject.stop(3600))
        await asyncio.sleep(0)
        recorder.gate.set()
        async with asyncio.timeout(20):
            assert await stopping is True
            assert await again is True, "a second SIGTERM changes nothing"
    assert [ticket.execution_id for ticket in recorder.ended] == [0, 1]
    assert recorder.started == recorder.ended
    assert (await broker.depths(["default"]))["default", 10] == 3


async def test_a_handler_is_cancelled_when_the_grace_ends(broker: Broker) -> None:
    recorder = Recorder(open_gate=False)
    subject = worker(broker, recorder)
    await broker.push([ticket(1), ticket(2)])
    async with running(subject):
        await until(lambda: len(recorder.started) == 2)
        async with asyncio.timeout(20):
            assert await subject.stop(0.01) is False
    assert sorted(ticket.execution_id for ticket in recorder.cancelled) == [1, 2]
    assert recorder.ended == []
    assert (await broker.depths(["default"]))["default", 10] == 0, "who runs it again is Postgres' decision"


async def test_a_handler_that_ignores_its_cancellation_delays_but_does_not_prevent_the_end(broker: Broker) -> None:
    release = asyncio.Event()
    handler: asyncio.Task[None] | None = None

    async def stubborn(_: Ticket) -> None:
        nonlocal handler
        handler = asyncio.current_task()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    subject = TicketWorker(broker, queues=["default"], concurrency=3, handle=stubborn)
    await broker.push([ticket(1)])
    task = asyncio.create_task(subject.run())
    await until(lambda: handler is not None)
    async with asyncio.timeout(30):
        assert await subject.stop(0) is False
        await task
    assert handler is not None and not handler.done()
    release.set()
    await until(handler.done)


async def test_stopping_before_and_right_after_the_start(broker: Broker) -> None:
    async with asyncio.timeout(20):
        early = worker(broker, Recorder())
        assert await early.stop(5) is True
        await early.run()

        at_once = worker(broker, Recorder())
        task = asyncio.create_task(at_once.run())
        await asyncio.sleep(0)
        assert await at_once.stop(5) is True
        await task


async def test_stop_fetching_alone_keeps_running(broker: Broker) -> None:
    recorder = Recorder(open_gate=False)
    subject = worker(broker, recorder, concurrency=1)
    await broker.push([ticket(1)])
    async with running(subject) as task:
        await until(lambda: len(recorder.started) == 1)
        subject.stop_fetching()
        await asyncio.wait({task}, timeout=0.05)
        assert not task.done()
        recorder.gate.set()
        await until(lambda: len(recorder.ended) == 1)


async def test_cancelling_run_cancels_the_handlers(broker: Broker) -> None:
    recorder = Recorder(open_gate=False)
    task = asyncio.create_task(worker(broker, recorder).run())
    await broker.push([ticket(1)])
    await until(lambda: len(recorder.started) == 1)
    task.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait({task})
    assert task.cancelled()
    assert [ticket.execution_id for ticket in recorder.cancelled] == [1]


async def test_tickets_that_arrive_too_late_are_handed_back_in_order(broker: Broker) -> None:
    recorder = Recorder()
    subject = worker(broker, recorder)
    answered, go_on = asyncio.Event(), asyncio.Event()
    fetch = broker.fetch

    async def slow(lanes: list[Lane], wanted: int) -> Fetched:
        fetched = await fetch(lanes, wanted)
        answered.set()
        await go_on.wait()
        return fetched

    broker.fetch = slow  # type: ignore[method-assign, assignment]
    await broker.push([ticket(n) for n in range(4)])
    async with running(subject):
        await answered.wait()
        subject.stop_fetching()
        go_on.set()
        assert await subject.stop(5) is True
    assert recorder.started == []
    lanes = [broker.lane("default", 10)]
    fetched = await fetch(lanes, 10)
    assert [lane.read(body).ticket.execution_id for lane, body in fetched.bodies] == [0, 1, 2, 3]


async def test_the_signals_stay_the_process_own(broker: Broker) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    recorder = Recorder()
    async with running(worker(broker, recorder)):
        await broker.push([ticket(1)])
        await until(lambda: len(recorder.ended) == 1)
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_a_second_stop_with_less_grace_hurries_the_first(broker: Broker, redis: Redis) -> None:
    recorder = Recorder(open_gate=False)
    stopping = worker(broker, recorder)
    await broker.push([ticket(1)])
    running_worker = asyncio.create_task(stopping.run())
    await until(lambda: len(recorder.started) == 1)
    first = asyncio.create_task(stopping.stop(3600))
    await asyncio.sleep(0)
    assert await stopping.stop(0) is False
    assert await first is False
    await running_worker
