"""T3, T4 and T5 against real Postgres: claims and finishes behind the fence, and what becomes of dead workers' work."""

import asyncio
import logging
from datetime import timedelta

import pytest

from cronsvc.domain.execution import Outcome, Ticket
from cronsvc.services.lease import Lease
from cronsvc.services.running import rescue
from cronsvc.store import running
from cronsvc.store.pool import Database
from tests.services.test_running_spoilt import _is
from tests.support.job_types import Held, Scripted, failing
from tests.support.rows import one
from tests.support.running import LEASE, NOW, attempt, outcomes, runner, state, waiting
from tests.support.waiting import until


async def test_one_attempt_from_ticket_to_row(db: Database) -> None:
    ticket, executor = await waiting(db), Scripted()
    await attempt(await runner(db, executor), ticket)
    assert await state(db, ticket) == ("SUCCESS", None, 1, 1)
    assert await outcomes(db, ticket) == [(1, "success")]
    (context,) = executor.calls
    assert (context.execution_id, context.attempt, context.claim_no) == (ticket.execution_id, 1, 1)
    row = await one(db, "SELECT result, start_time <= end_time, dispatch_at FROM job_executions")
    assert row == ({"ok": True}, True, None)


async def test_a_ticket_delivered_often_to_many_workers_runs_once(db: Database) -> None:
    ticket, executor = await waiting(db), Scripted()
    workers = [await runner(db, executor) for _ in range(4)]
    await asyncio.gather(*(attempt(each, ticket) for each in workers for _ in range(5)))
    assert len(executor.calls) == 1
    assert await state(db, ticket) == ("SUCCESS", None, 1, 1)


async def test_an_old_ticket_cannot_start_a_retry_early(db: Database) -> None:
    ticket, executor = await waiting(db), Scripted(failing())
    one_worker = await runner(db, executor)
    await attempt(one_worker, ticket)
    assert await state(db, ticket) == ("QUEUED", None, 1, 1)
    await attempt(one_worker, ticket)  # claim 0 is over
    early = Ticket(ticket.execution_id, ticket.job_id, NOW, 1, "default", 10)
    await attempt(one_worker, early)  # the right claim, before its backoff has passed
    assert len(executor.calls) == 1
    (due,) = await one(db, "SELECT dispatch_at >= ready_at AND ready_at > clock_timestamp() FROM job_executions")
    assert due is True


async def test_attempts_are_counted_up_to_the_budget(db: Database) -> None:
    ticket, executor = await waiting(db), Scripted(failing())
    one_worker = await runner(db, executor)
    for claim_no in range(5):
        async with db.transaction() as conn:
            await conn.execute("UPDATE job_executions SET ready_at = clock_timestamp() WHERE status = 'QUEUED'")
        await attempt(one_worker, Ticket(ticket.execution_id, ticket.job_id, NOW, claim_no, "default", 10))
    assert [context.attempt for context in executor.calls] == [1, 2, 3]
    assert await state(db, ticket) == ("FAILED", "error", 3, 3)
    assert await outcomes(db, ticket) == [(1, "error"), (2, "error"), (3, "error")]


async def test_a_stale_worker_cannot_overwrite_a_newer_claim(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    ticket, executor = await waiting(db), Held()
    frozen = await runner(db, executor)
    running_stale = asyncio.create_task(attempt(frozen, ticket))
    await executor.started.wait()
    async with db.transaction() as conn:
        await conn.execute("UPDATE workers SET lease_until = clock_timestamp() - interval '1 second'")
    assert await rescue(db, grace=timedelta(0)) == 1
    assert await state(db, ticket) == ("QUEUED", None, 1, 1)
    fresh = Scripted(lambda _context: Outcome(result={"by": "fresh"}))
    await attempt(await runner(db, fresh), Ticket(ticket.execution_id, ticket.job_id, NOW, 1, "default", 10))
    with caplog.at_level(logging.WARNING):
        executor.release.set()
        await running_stale
    assert "stale result" in caplog.text
    assert await state(db, ticket) == ("SUCCESS", None, 2, 2)
    assert await one(db, "SELECT result FROM job_executions") == ({"by": "fresh"},)
    assert await outcomes(db, ticket) == [(1, "lost"), (2, "success")]


async def test_at_most_once_is_recorded_as_lost_and_never_tried_again(db: Database) -> None:
    ticket, executor = await waiting(db, max_attempts=1), Held()
    dead = await runner(db, executor)
    task = asyncio.create_task(attempt(dead, ticket))
    await executor.started.wait()
    async with db.transaction() as conn:
        await conn.execute("UPDATE workers SET lease_until = clock_timestamp() - interval '1 second'")
    assert await rescue(db, grace=timedelta(0)) == 1
    assert await state(db, ticket) == ("FAILED", "lost", 1, 1)
    assert await rescue(db, grace=timedelta(0)) == 0
    executor.release.set()
    await task
    assert await state(db, ticket) == ("FAILED", "lost", 1, 1)


async def test_a_worker_without_a_lease_claims_nothing(db: Database) -> None:
    ticket, executor = await waiting(db), Scripted()
    lapsed = await runner(db, executor)
    async with db.transaction() as conn:
        await conn.execute("UPDATE workers SET lease_until = clock_timestamp()")
    await attempt(lapsed, ticket)
    assert not executor.calls and await state(db, ticket) == ("QUEUED", None, 0, 0)


async def test_a_living_worker_is_not_rescued_nor_one_after_a_start_of_postgres(db: Database) -> None:
    ticket, executor = await waiting(db), Held()
    living = await runner(db, executor)
    task = asyncio.create_task(attempt(living, ticket))
    await executor.started.wait()
    assert await rescue(db, grace=timedelta(0)) == 0
    async with db.transaction() as conn:
        await conn.execute("UPDATE workers SET lease_until = clock_timestamp() - interval '1 second'")
    assert await rescue(db, grace=timedelta(days=1)) == 0  # nobody could renew while Postgres was starting
    executor.release.set()
    await task
    assert await state(db, ticket) == ("SUCCESS", None, 1, 1)


async def test_a_lapsed_lease_stops_what_runs_and_writes_nothing(db: Database) -> None:
    ticket, executor = await waiting(db), Held()
    lapsing = await runner(db, executor)
    task = asyncio.create_task(attempt(lapsing, ticket))
    await executor.started.wait()
    assert lapsing.lapse() == 1
    await task
    assert executor.cancelled == 1 and lapsing.running == 0
    assert await state(db, ticket) == ("RUNNING", None, 1, 1)  # the rescuer's to decide


async def test_the_heartbeat_ends_when_the_worker_was_declared_lost(db: Database) -> None:
    ticket, executor = await waiting(db), Held()
    lost = await runner(db, executor)
    task = asyncio.create_task(attempt(lost, ticket))
    await executor.started.wait()
    lease = Lease(db, lost, lease=LEASE, beat=timedelta(milliseconds=10))
    keeping = asyncio.create_task(lease.keep())
    before = await one(db, "SELECT heartbeat_at FROM workers")
    await until(lambda: _beaten(db, before))
    async with db.transaction() as conn:
        await conn.execute("UPDATE workers SET state = 'lost'")
    await asyncio.wait_for(keeping, 20)
    await task
    assert executor.cancelled == 1


async def _beaten(db: Database, before: tuple[object, ...]) -> bool:
    return await one(db, "SELECT heartbeat_at FROM workers") != before


async def test_a_drain_releases_what_runs_and_the_attempt_counts(db: Database) -> None:
    """The target may have been called: an honest row says one attempt more, not fewer."""
    ticket, executor = await waiting(db), Held()
    draining = await runner(db, executor)
    task = asyncio.create_task(draining.handle(ticket))
    await executor.started.wait()
    task.cancel()
    await task
    assert await draining.flush(20)
    assert executor.cancelled == 1
    assert await state(db, ticket) == ("QUEUED", None, 1, 1)
    assert await outcomes(db, ticket) == [(1, "released")]
    (now,) = await one(db, "SELECT dispatch_at <= clock_timestamp() FROM job_executions")
    assert now is True


async def test_an_unknown_job_type_is_handed_back_without_cost(db: Database) -> None:
    ticket = await waiting(db)
    await attempt(await runner(db, Scripted(), type_="OTHER"), ticket)
    assert await state(db, ticket) == ("QUEUED", None, 0, 1)
    assert await outcomes(db, ticket) == []


async def test_params_are_laid_over_the_pinned_revision(db: Database) -> None:
    ticket, executor = await waiting(db), Scripted()
    async with db.transaction() as conn:
        await conn.execute("""UPDATE job_executions SET params = '{"data": {"a": 1}}'""")
        await conn.execute(
            """UPDATE jobs SET task_payload = '{"type": "API_CALL", "config": {"url": "https://new"}}'"""
        )
    await attempt(await runner(db, executor), ticket)
    assert executor.configs == [{"url": "https://api.example.com/", "data": {"a": 1}}]


async def test_a_claim_whose_answer_was_lost_is_handed_back(db: Database) -> None:
    """The wire broke after the commit: the row says RUNNING, and the living worker it names knows nothing of it."""
    lost, running_here, executor = await waiting(db), await waiting(db), Held()
    living = await runner(db, executor)
    async with db.statements() as conn:
        await running.claim(conn, [lost], worker_id=living.worker_id)
    task = asyncio.create_task(attempt(living, running_here))
    await executor.started.wait()
    assert await living.return_strays(age=timedelta(hours=1)) == 0  # its answer may still be on the way
    assert await living.return_strays(age=timedelta(0)) == 1
    await until(lambda: _is(db, lost, "QUEUED"))
    assert await state(db, lost) == ("QUEUED", None, 0, 1)
    assert await state(db, running_here) == ("RUNNING", None, 1, 1)
    executor.release.set()
    await task
    assert await state(db, running_here) == ("SUCCESS", None, 1, 1)
    assert await living.return_strays(age=timedelta(0)) == 0


async def test_a_lapsed_lease_ends_the_identity_even_if_postgres_comes_back(db: Database) -> None:
    """Nobody declared the worker lost; what it stopped by itself must not stay RUNNING for ever."""
    ticket, executor = await waiting(db, max_attempts=1), Held()
    lapsing = await runner(db, executor)
    task = asyncio.create_task(attempt(lapsing, ticket))
    await executor.started.wait()
    lease = Lease(db, lapsing, lease=timedelta(0), beat=timedelta(seconds=1))
    await asyncio.wait_for(lease.keep(), 20)
    await task
    assert executor.cancelled == 1 and await lapsing.return_strays(age=timedelta(0)) == 1
    assert await lapsing.flush(20)
    assert await state(db, ticket) == ("FAILED", "lost", 1, 1)


async def test_a_drain_during_the_claim_hands_the_row_back(db: Database) -> None:
    ticket, executor = await waiting(db, max_attempts=1), Scripted()
    draining = await runner(db, executor)
    task = asyncio.create_task(draining.handle(ticket))
    await asyncio.sleep(0)  # the claim is on its way
    task.cancel()
    await task
    assert await draining.flush(20)
    assert executor.calls == [] and await state(db, ticket) == ("QUEUED", None, 0, 1)
