"""Overlap and limits against real Postgres, with several workers and schedulers where a race is possible."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from cronsvc.domain.execution import Ticket
from cronsvc.queue import Broker
from cronsvc.services.admission import release_held
from cronsvc.services.dispatch import Dispatcher
from cronsvc.services.running import Runner
from cronsvc.services.scheduling import Scheduling
from cronsvc.store import presence
from cronsvc.store import running as store
from cronsvc.store.pool import Database
from tests.support.ending import waits_for_a_lock
from tests.support.job_types import Held, Scripted
from tests.support.rows import define, fetch, one
from tests.support.waiting import until

NOW = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=5)


@pytest.fixture
async def dispatcher(db: Database, redis_url: str) -> AsyncIterator[Dispatcher]:
    broker = Broker.open(redis_url)
    yield Dispatcher(db, broker)
    await broker.close()


async def runner(db: Database, executor: Scripted) -> Runner:
    worker_id = uuid4()
    async with db.statements() as conn:
        await presence.register_worker(
            conn,
            process_id=worker_id,
            name="test",
            version="0",
            queues=["default"],
            concurrency=5,
            lease=timedelta(minutes=5),
        )
    return Runner(db, {"API_CALL": executor}, worker_id=worker_id)


async def heartbeat(db: Database, worker: Runner) -> None:
    """What each beat brings: the attempts that shall stop."""
    async with db.statements() as conn:
        worker.cancel(await store.to_stop(conn, worker.claims()))


async def every_second(db: Database, **columns: Any) -> int:
    defaults = {"cron_expression": "* * * * * *", "next_fire_time": NOW, "armed_revision": 1}
    return await define(db, **(defaults | {"misfire_grace_seconds": 86_400} | columns))


async def tick(db: Database, dispatcher: Dispatcher, second: int) -> None:
    await Scheduling(db, dispatcher).tick(now=NOW + timedelta(seconds=second))


async def tickets(db: Database) -> list[Ticket]:
    """A ticket for everything that may be dispatched, in order."""
    rows = await fetch(
        db,
        "SELECT id, job_id, scheduled_time, claim_no, queue, priority FROM job_executions"
        " WHERE status = 'QUEUED' AND held IS NULL ORDER BY priority, scheduled_time, job_id",
    )
    return [Ticket(*row) for row in rows]


async def states(db: Database) -> list[tuple[Any, ...]]:
    return await fetch(db, "SELECT status, status_reason, held FROM job_executions ORDER BY scheduled_time, job_id")


class Gauge(Held):
    """Counts how many attempts are in `run` at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.most = 0

    async def run(self, config: Any, context: Any) -> Any:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await super().run(config, context)
        finally:
            self.now -= 1


async def running(db: Database) -> int:
    (count,) = await one(db, "SELECT count(*) FROM job_executions WHERE status = 'RUNNING'")
    return int(count)


async def test_buffer_all_runs_one_after_the_other_in_order(db: Database, dispatcher: Dispatcher) -> None:
    await every_second(db, overlap_policy="buffer_all")
    executor = Scripted()
    worker = await runner(db, executor)
    await tick(db, dispatcher, 3)
    assert [state[2] for state in await states(db)] == [None, "overlap", "overlap", "overlap"]
    assert await release_held(db, dispatcher) == 0  # the first has not ended
    for _ in range(4):
        (ticket,) = await tickets(db)
        await worker.handle(ticket)
        assert await worker.flush(20)
        await release_held(db, dispatcher)
    times = [context.scheduled_time for context in executor.calls]
    assert times == [NOW + timedelta(seconds=n) for n in range(4)]
    assert await states(db) == [("SUCCESS", None, None)] * 4


async def test_buffer_one_keeps_one_and_skips_the_rest(db: Database, dispatcher: Dispatcher) -> None:
    await every_second(db, overlap_policy="buffer_one")
    for second in range(4):
        await tick(db, dispatcher, second)
    skipped = ("SKIPPED", "overlap", None)
    assert await states(db) == [("QUEUED", None, None), ("QUEUED", None, "overlap"), skipped, skipped]


async def test_a_held_row_cannot_be_claimed_by_any_ticket(db: Database, dispatcher: Dispatcher) -> None:
    await every_second(db, overlap_policy="buffer_all")
    await tick(db, dispatcher, 1)
    (row,) = await fetch(
        db, "SELECT id, job_id, scheduled_time, claim_no, queue, priority FROM job_executions WHERE held IS NOT NULL"
    )
    executor = Scripted()
    await (await runner(db, executor)).handle(Ticket(*row))
    assert executor.calls == []


async def test_cancel_other_waits_until_the_other_has_stopped(db: Database, dispatcher: Dispatcher) -> None:
    await every_second(db, overlap_policy="cancel_other")
    executor = Held()
    worker = await runner(db, executor)
    await tick(db, dispatcher, 0)
    (first,) = await tickets(db)
    running_first = asyncio.create_task(worker.handle(first))
    await executor.started.wait()
    await tick(db, dispatcher, 1)
    assert await states(db) == [("RUNNING", None, None), ("QUEUED", None, "overlap")]
    asked = await one(db, "SELECT cancel_reason FROM job_executions WHERE status = 'RUNNING'")
    assert asked == ("replaced",)
    assert await release_held(db, dispatcher) == 0
    await heartbeat(db, worker)
    await running_first
    assert await worker.flush(20)
    assert await release_held(db, dispatcher) == 1
    assert await states(db) == [("CANCELLED", "replaced", None), ("QUEUED", None, None)]


async def test_cancel_other_replaces_what_only_waits(db: Database, dispatcher: Dispatcher) -> None:
    await every_second(db, overlap_policy="cancel_other")
    for second in range(3):
        await tick(db, dispatcher, second)
    replaced = ("CANCELLED", "replaced", None)
    assert await states(db) == [replaced, replaced, ("QUEUED", None, None)]


async def test_terminate_other_runs_at_once_and_the_late_result_is_refused(
    db: Database, dispatcher: Dispatcher
) -> None:
    await every_second(db, overlap_policy="terminate_other")
    executor = Held()
    worker = await runner(db, executor)
    await tick(db, dispatcher, 0)
    (first,) = await tickets(db)
    running_first = asyncio.create_task(worker.handle(first))
    await executor.started.wait()
    await tick(db, dispatcher, 1)
    assert await states(db) == [("CANCELLED", "replaced", None), ("QUEUED", None, None)]
    await heartbeat(db, worker)
    await running_first
    assert executor.cancelled == 1
    assert await worker.flush(20)
    assert (await states(db))[0] == ("CANCELLED", "replaced", None)
    assert await fetch(db, "SELECT outcome FROM job_attempts") == [("cancelled",)]


async def test_release_and_tick_race_and_nothing_stays_held(db: Database, dispatcher: Dispatcher) -> None:
    """The end of the one and the tick of the next, again and again at the same moment."""
    await every_second(db, overlap_policy="buffer_all")
    executor = Scripted()
    worker = await runner(db, executor)
    for second in range(12):
        ready = await tickets(db)
        await asyncio.gather(
            *(worker.handle(ticket) for ticket in ready),
            tick(db, dispatcher, second),
            release_held(db, dispatcher),
        )
        assert await worker.flush(20)
        await asyncio.gather(release_held(db, dispatcher), release_held(db, dispatcher))
        assert len(await tickets(db)) <= 1
    while ready := await tickets(db):
        for ticket in ready:
            await worker.handle(ticket)
        assert await worker.flush(20)
        await release_held(db, dispatcher)
    assert {state[0] for state in await states(db)} == {"SUCCESS"}
    times = [context.scheduled_time for context in executor.calls]
    assert times == sorted(times) and len(times) == len(set(times)) == 12


@pytest.mark.parametrize(
    ("columns", "limit"),
    [
        ([{"max_concurrency": 2}], 2),
        ([{"max_concurrency": 3, "concurrency_key": "tenant"}] * 3, 3),
    ],
    ids=["per-job", "per-key"],
)
async def test_many_workers_never_run_more_than_the_limit(
    db: Database, dispatcher: Dispatcher, columns: list[dict[str, Any]], limit: int
) -> None:
    for each in columns:
        await every_second(db, **each)
    executor = Gauge()
    workers = [await runner(db, executor) for _ in range(4)]
    await tick(db, dispatcher, 9)
    await _work_off(db, dispatcher, workers, executor, limit, total=10 * len(columns))


async def test_a_queue_has_a_limit_of_its_own(db: Database, dispatcher: Dispatcher) -> None:
    for _ in range(3):
        await every_second(db, queue="narrow")
    async with db.transaction() as conn:
        await conn.execute("UPDATE queues SET concurrency = 4 WHERE name = 'narrow'")
    executor = Gauge()
    workers = [await runner(db, executor) for _ in range(3)]
    await tick(db, dispatcher, 4)
    await _work_off(db, dispatcher, workers, executor, 4, total=15)


async def _work_off(
    db: Database, dispatcher: Dispatcher, workers: list[Runner], executor: Gauge, limit: int, *, total: int
) -> None:
    handling: set[asyncio.Task[None]] = set()
    done = 0
    while done < total:
        for index, ticket in enumerate(await tickets(db)):
            for worker in (workers[index % len(workers)], workers[(index + 1) % len(workers)]):  # each delivered twice
                handling.add(asyncio.create_task(worker.handle(ticket)))
        await until(lambda: _settled(db, limit), what="as many as the limit to run")
        assert await running(db) <= limit
        executor.release.set()
        await asyncio.gather(*handling)
        handling.clear()
        executor.release.clear()
        for worker in workers:
            assert await worker.flush(20)
        await release_held(db, dispatcher)
        (done,) = await one(db, "SELECT count(*) FROM job_executions WHERE status = 'SUCCESS'")
    assert executor.most == limit


async def _settled(db: Database, limit: int) -> bool:
    """Every ticket was claimed or held."""
    return not await tickets(db)


async def test_a_rate_spreads_the_rest_over_time(db: Database, dispatcher: Dispatcher) -> None:
    await every_second(db, queue="slow")
    async with db.transaction() as conn:
        await conn.execute("UPDATE queues SET rate_per_minute = 30 WHERE name = 'slow'")
    executor = Scripted()
    worker = await runner(db, executor)
    await tick(db, dispatcher, 4)
    await asyncio.gather(*(worker.handle(ticket) for ticket in await tickets(db)))
    assert await worker.flush(20)
    assert len(executor.calls) == 1
    waits = await fetch(
        db,
        "SELECT round(extract(epoch FROM dispatch_at - clock_timestamp()))::int, held FROM job_executions"
        " WHERE status = 'QUEUED' ORDER BY dispatch_at",
    )
    assert waits == [(2, None), (4, None), (6, None), (8, None)]


async def test_a_paused_queue_spends_no_token(db: Database, dispatcher: Dispatcher) -> None:
    worker, (ticket, *_) = await rated_and_waiting(db, dispatcher)
    async with db.transaction() as conn:
        await conn.execute("UPDATE queues SET paused_at = clock_timestamp() WHERE name = 'slow'")
    await worker.handle(ticket)
    assert await one(db, "SELECT tokens, tokens_at FROM queues WHERE name = 'slow'") == (None, None)
    assert {state[0] for state in await states(db)} == {"QUEUED"}


async def test_a_pause_that_comes_between_the_count_and_the_claim_spends_no_token(
    db: Database, dispatcher: Dispatcher
) -> None:
    """The worker has seen an open queue and waits for its counter; the pause commits; then the worker may go on."""
    worker, (ticket, *_) = await rated_and_waiting(db, dispatcher)
    async with db.transaction() as conn:
        await conn.execute("INSERT INTO limit_scopes (scope) VALUES ('queue:slow')")
    async with db.transaction() as held:
        await held.execute("SELECT FROM limit_scopes WHERE scope = 'queue:slow' FOR UPDATE")
        handling = asyncio.create_task(worker.handle(ticket))
        await until(lambda: waits_for_a_lock(db), what="the worker to wait for the counter")
        async with db.transaction() as conn:
            await conn.execute("UPDATE queues SET paused_at = clock_timestamp() WHERE name = 'slow'")
    await handling
    assert {state[0] for state in await states(db)} == {"QUEUED"}
    async with db.transaction() as conn:
        await conn.execute("UPDATE queues SET paused_at = NULL WHERE name = 'slow'")
    await worker.handle(ticket)
    assert await worker.flush(20)
    assert [state[0] for state in await states(db)].count("SUCCESS") == 1


async def rated_and_waiting(db: Database, dispatcher: Dispatcher) -> tuple[Runner, list[Ticket]]:
    """Two executions of a queue that begins one in two seconds, and a worker for them."""
    await every_second(db, queue="slow")
    async with db.transaction() as conn:
        await conn.execute("UPDATE queues SET rate_per_minute = 30 WHERE name = 'slow'")
    worker = await runner(db, Scripted())
    await tick(db, dispatcher, 1)
    return worker, await tickets(db)
