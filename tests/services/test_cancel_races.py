"""A cancel against a claim, a finish, a rescue and a drain: one of them wins, and the rows agree."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from cronsvc.domain.execution import ErrorDetail, Execution, Outcome, Status, Ticket
from cronsvc.domain.finish import after_outcome
from cronsvc.domain.retry import Backoff
from cronsvc.errors import Conflict
from cronsvc.services.running import rescue
from cronsvc.store import ending, running
from cronsvc.store.pool import Database
from tests.support.control import ALICE, Desk
from tests.support.ending import waits_for_a_lock, work
from tests.support.job_types import Held, Scripted
from tests.support.rows import fetch, one
from tests.support.running import attempt, outcomes, runner, state, waiting, worker
from tests.support.waiting import until


async def test_cancel_against_claim_runs_it_or_not_but_never_both(db: Database) -> None:
    desk, executor = Desk(db), Scripted()
    one_runner = await runner(db, executor)
    ends: set[str] = set()
    for _ in range(12):
        ticket = await waiting(db)
        before = len(executor.calls)
        cancelled, _ = await asyncio.gather(
            desk.endings.cancel(ticket.execution_id, ALICE), attempt(one_runner, ticket), return_exceptions=True
        )
        status, _, tries, _ = await state(db, ticket)
        ends.add(str(status))
        if isinstance(cancelled, Execution) and cancelled.status is Status.CANCELLED:
            assert (status, tries, len(executor.calls)) == ("CANCELLED", 0, before)
        else:
            assert (status, tries, len(executor.calls)) == ("SUCCESS", 1, before + 1)
    assert ends <= {"CANCELLED", "SUCCESS"}


async def test_a_claim_that_waits_for_a_cancel_takes_nothing(db: Database) -> None:
    """The order that a race may take, forced: the cancel holds the row, the claim waits for it."""
    desk, ticket, worker_id = Desk(db), await waiting(db), await worker(db)
    found, _ = await desk.executions.get(ticket.execution_id, ALICE)
    async with db.transaction() as conn:
        assert await ending.cancel(conn, found, by="key:alice", note=None) is not None
        claiming = asyncio.create_task(_claim(db, ticket, worker_id))
        await until(lambda: waits_for_a_lock(db))
    assert await claiming == {}
    assert await state(db, ticket) == ("CANCELLED", "user", 0, 0)


async def test_a_cancel_that_waits_for_a_claim_asks_the_worker(db: Database) -> None:
    desk, ticket, worker_id = Desk(db), await waiting(db), await worker(db)
    async with db.transaction() as conn:
        assert set(await running.claim(conn, [ticket], worker_id=worker_id)) == {ticket.execution_id}
        cancelling = asyncio.create_task(desk.endings.cancel(ticket.execution_id, ALICE))
        await until(lambda: waits_for_a_lock(db))
    assert (await cancelling).status is Status.RUNNING
    assert await one(db, "SELECT status, cancel_requested_at IS NOT NULL FROM job_executions") == ("RUNNING", True)


async def test_a_cancel_that_waits_for_a_finish_comes_too_late(db: Database) -> None:
    desk, ticket, worker_id = Desk(db), await waiting(db), await worker(db)
    claimed = (await _claim(db, ticket, worker_id))[ticket.execution_id]
    async with db.transaction() as conn:
        await running.finish(conn, [after_outcome(claimed, Outcome(), Backoff())])
        cancelling = asyncio.create_task(desk.endings.cancel(ticket.execution_id, ALICE))
        await until(lambda: waits_for_a_lock(db))
    with pytest.raises(Conflict, match="it is SUCCESS"):
        await cancelling


@pytest.mark.parametrize(
    ("outcome", "max_attempts", "expected", "word"),
    [
        (Outcome(), 3, ("SUCCESS", None), "success"),
        (Outcome(error=ErrorDetail("http_status", "503")), 3, ("CANCELLED", "user"), "error"),
        (Outcome(error=ErrorDetail("http_status", "503")), 1, ("FAILED", "error"), "error"),
        (Outcome(error=ErrorDetail("http_status", "404"), retryable=False), 3, ("FAILED", "error"), "error"),
    ],
    ids=["success", "would retry", "no budget", "final"],
)
async def test_an_end_that_waits_for_a_cancel(
    db: Database, outcome: Outcome, max_attempts: int, expected: tuple[str, str | None], word: str
) -> None:
    """A result stays one; what would have run again is cancelled instead."""
    desk, ticket, worker_id = Desk(db), await waiting(db, max_attempts=max_attempts), await worker(db)
    claimed = (await _claim(db, ticket, worker_id))[ticket.execution_id]
    found, _ = await desk.executions.get(ticket.execution_id, ALICE)
    async with db.transaction() as conn:
        assert await ending.cancel(conn, found, by="key:alice", note=None) is not None
        finishing = asyncio.create_task(_finish(db, after_outcome(claimed, outcome, Backoff())))
        await until(lambda: waits_for_a_lock(db))
    assert await finishing == {ticket.execution_id}
    assert await state(db, ticket) == (*expected, 1, 1)
    assert await outcomes(db, ticket) == [(1, word)]
    assert await one(db, "SELECT dispatch_at, end_time IS NOT NULL FROM job_executions") == (None, True)


async def _claim(db: Database, ticket: Ticket, worker_id: Any) -> Any:
    async with db.statements() as conn:
        return await running.claim(conn, [ticket], worker_id=worker_id)


async def _finish(db: Database, finish: Any) -> set[int]:
    async with db.statements() as conn:
        return await running.finish(conn, [finish])


@pytest.mark.parametrize("max_attempts", [3, 1])
async def test_a_frozen_workers_execution_is_cancelled_by_the_rescue(db: Database, max_attempts: int) -> None:
    desk, ticket, executor = Desk(db), await waiting(db, max_attempts=max_attempts), Held()
    frozen = await work(db, executor, ticket)
    frozen.freeze()
    assert (await desk.endings.cancel(ticket.execution_id, ALICE)).status is Status.RUNNING
    await fetch(db, "UPDATE workers SET lease_until = clock_timestamp() - interval '1 second' RETURNING 1")
    assert await rescue(db, grace=timedelta(0)) == 1
    assert await state(db, ticket) == ("CANCELLED", "user", 1, 1)
    assert await outcomes(db, ticket) == [(1, "lost")]
    (error, dispatch_at) = await one(db, "SELECT error, dispatch_at FROM job_executions")
    assert error["type"] == "lost" and dispatch_at is None  # whether the target was called stays unknown, and said
    executor.release.set()
    await frozen.ended()
    assert await state(db, ticket) == ("CANCELLED", "user", 1, 1)  # it thawed with a success: refused by the fence


async def test_a_drain_of_a_cancelled_attempt_cancels_it(db: Database) -> None:
    desk, ticket, executor = Desk(db), await waiting(db), Held()
    draining = await runner(db, executor)
    handling = asyncio.create_task(draining.handle(ticket))
    await executor.started.wait()
    await desk.endings.cancel(ticket.execution_id, ALICE)
    handling.cancel()
    await handling
    assert await draining.flush(20)
    assert await state(db, ticket) == ("CANCELLED", "user", 1, 1)
