"""Overlap while something moves: workers that claim and finish in the middle of a tick, and two of each at a time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cronsvc.domain.execution import Outcome, Ticket
from cronsvc.services.admission import release_held
from cronsvc.services.running import Runner
from cronsvc.services.scheduling import Scheduling
from cronsvc.store import admission, jobs, ticks
from cronsvc.store import running as store
from cronsvc.store.pool import Database
from tests.support.control import ALICE, Desk
from tests.support.ending import waits_for_a_lock
from tests.support.job_types import Held, Scripted, failing
from tests.support.rows import define, fetch
from tests.support.running import runner
from tests.support.waiting import until

FIRST = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=5)
REPLACING = ["cancel_other", "terminate_other"]
ONE_AT_A_TIME = ["skip", "buffer_one", "buffer_all", *REPLACING]


async def every_second(db: Database, policy: str) -> int:
    return await define(
        db,
        cron_expression="* * * * * *",
        next_fire_time=FIRST,
        armed_revision=1,
        misfire_grace_seconds=86_400,
        overlap_policy=policy,
    )


async def tick(db: Database, second: int) -> None:
    await Scheduling(db, Desk(db).dispatcher).tick(now=FIRST + timedelta(seconds=second))


async def waiting_tickets(db: Database) -> list[Ticket]:
    rows = await fetch(
        db,
        "SELECT id, job_id, scheduled_time, claim_no, queue, priority FROM job_executions"
        " WHERE status = 'QUEUED' AND held IS NULL ORDER BY scheduled_time",
    )
    return [Ticket(*row) for row in rows]


async def states(db: Database) -> list[tuple[Any, ...]]:
    return await fetch(
        db,
        "SELECT status, held IS NOT NULL, cancel_requested_at IS NOT NULL FROM job_executions ORDER BY scheduled_time",
    )


def meanwhile(
    db: Database, patch: pytest.MonkeyPatch, module: Any, name: str, act: Callable[[], Awaitable[object]]
) -> list["asyncio.Task[object]"]:
    """Let `act` come between this statement of a tick and the next: until it is through, or waits for the tick."""
    statement = getattr(module, name)
    begun: list[asyncio.Task[object]] = []

    async def and_then(*arguments: Any, **options: Any) -> Any:
        answer = await statement(*arguments, **options)
        if not begun:
            begun.append(asyncio.create_task(_object(act)))

            async def through_or_stuck() -> bool:
                return begun[0].done() or await waits_for_a_lock(db)

            await until(through_or_stuck, what="the other to be through or stuck")
        return answer

    patch.setattr(module, name, and_then)
    return begun


async def _object(act: Callable[[], Awaitable[object]]) -> object:
    return await act()


async def running_and_runnable(db: Database) -> Counter[str]:
    """What could be at the target: running and not asked to stop, and waiting for nothing but a worker."""
    return Counter(
        status
        for status, held, asked in await states(db)
        if (status == "RUNNING" and not asked) or (status == "QUEUED" and not held)
    )


@pytest.mark.parametrize("policy", REPLACING)
async def test_a_claim_in_the_middle_of_the_tick_that_replaces_it(
    db: Database, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    """The tick has seen a row that waits; before it acts on that a worker wants to begin it."""
    await every_second(db, policy)
    await tick(db, 0)
    (first,) = await waiting_tickets(db)
    executor = Held()
    worker = await runner(db, executor)

    async def claim() -> None:
        begun = asyncio.ensure_future(executor.started.wait())
        await asyncio.wait({asyncio.create_task(worker.handle(first)), begun}, return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()

    with monkeypatch.context() as patch:
        claims = meanwhile(db, patch, ticks, "unfinished_jobs", claim)
        await tick(db, 1)
    await claims[0]
    executor.release.set()
    assert executor.calls == []
    assert await states(db) == [("CANCELLED", False, False), ("QUEUED", False, False)]


@pytest.mark.parametrize("policy", REPLACING)
async def test_a_retry_in_the_middle_of_the_tick_that_replaces_it(
    db: Database, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    """What ran fails and would wait again, between the tick's looks at what waits and at what runs."""
    await every_second(db, policy)
    await tick(db, 0)
    (first,) = await waiting_tickets(db)
    executor = Failing()
    worker = await runner(db, executor)
    handling = asyncio.create_task(worker.handle(first))
    await executor.started.wait()

    async def fail() -> None:
        executor.release.set()
        await handling
        assert await worker.flush(20)

    with monkeypatch.context() as patch:
        ends = meanwhile(db, patch, admission, "replace_waiting", fail)
        await tick(db, 1)
    await ends[0]
    await release_held(db, Desk(db).dispatcher)
    assert await states(db) == [("CANCELLED", False, True), ("QUEUED", False, False)]


class Failing(Held):
    """Fails when it is released."""

    async def run(self, config: Any, context: Any) -> Outcome:
        await super().run(config, context)
        return failing()(context)


class Alone(Scripted):
    """Notices when two attempts that may still count are in it at once."""

    def __init__(self, db: Database) -> None:
        super().__init__()
        self._db = db
        self.together = 0

    async def run(self, config: Any, context: Any) -> Outcome:
        outcome = await super().run(config, context)
        self.together = max(self.together, (await running_and_runnable(self._db))["RUNNING"])
        return outcome


@pytest.mark.parametrize("policy", ONE_AT_A_TIME)
async def test_two_schedulers_and_two_workers_keep_to_one_at_a_time(db: Database, policy: str) -> None:
    await every_second(db, policy)
    executor = Alone(db)
    workers = [await runner(db, executor) for _ in range(2)]

    async def stop_what_shall_stop(worker: Runner) -> None:
        if runs := worker.claims():
            async with db.statements() as conn:
                worker.cancel(await store.to_stop(conn, runs))

    for second in range(15):
        ready = await waiting_tickets(db)
        await asyncio.gather(
            tick(db, second),
            tick(db, second),
            release_held(db, Desk(db).dispatcher),
            release_held(db, Desk(db).dispatcher),
            *(worker.handle(ticket) for ticket in ready for worker in workers),
            *(stop_what_shall_stop(worker) for worker in workers),
        )
        for worker in workers:
            assert await worker.flush(20)
        # What was replaced while it ran may wait to be stopped; nothing else is beside another.
        assert (await running_and_runnable(db)).total() <= 1, await states(db)
    await tick(db, 14)  # a tick passes over a job that somebody else has locked; the next one would find it
    while (ready := await waiting_tickets(db)) or await release_held(db, Desk(db).dispatcher):
        await asyncio.gather(*(worker.handle(ticket) for ticket in ready for worker in workers))
        for worker in workers:
            assert await worker.flush(20)
    assert executor.together <= 1
    calls = [context.scheduled_time for context in executor.calls]
    assert calls == sorted(set(calls))
    if policy == "buffer_all":
        assert calls == [FIRST + timedelta(seconds=second) for second in range(15)]
    assert {status for status, _, _ in await states(db)} <= {"SUCCESS", "SKIPPED", "CANCELLED"}


async def test_an_edit_and_who_holds_the_job_to_reach_its_executions_wait_for_no_circle(db: Database) -> None:
    """The edit records what is due, which replaces an execution; somebody has the job and wants that execution next."""
    job_id = await every_second(db, "cancel_other")
    await tick(db, 0)
    desk = Desk(db)
    async with db.transaction() as conn:
        await jobs.hold(conn, job_id)
        editing = asyncio.create_task(desk.jobs.pause(job_id, ALICE))

        async def stuck() -> bool:
            return await waits_for_a_lock(db)

        await until(stuck, what="the edit to wait for the job")
        await conn.execute("SELECT FROM job_executions WHERE job_id = %s FOR UPDATE NOWAIT", (job_id,))
    await editing
    assert (await states(db))[0] == ("CANCELLED", False, False)


async def test_two_schedulers_and_two_workers_run_all_at_once_where_it_is_allowed(db: Database) -> None:
    await every_second(db, "allow")
    executor = Held()
    workers = [await runner(db, executor) for _ in range(2)]
    await asyncio.gather(tick(db, 5), tick(db, 5))
    handling = [
        asyncio.create_task(worker.handle(ticket)) for ticket in await waiting_tickets(db) for worker in workers
    ]

    async def all_begun() -> bool:
        return len(executor.calls) == 6

    await until(all_begun, what="six at once")
    executor.release.set()
    await asyncio.gather(*handling)
    for worker in workers:
        assert await worker.flush(20)
    assert [status for status, _, _ in await states(db)] == ["SUCCESS"] * 6
