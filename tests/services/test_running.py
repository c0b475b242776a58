"""T3, T4 and T5 against real Postgres: claims and finishes behind the fence, and what becomes of dead workers' work."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from cronsvc.domain.execution import ErrorDetail, Outcome, Status, Ticket
from cronsvc.domain.finish import after_outcome
from cronsvc.domain.retry import Backoff
from cronsvc.executors.base import Executor, RunContext
from cronsvc.services.lease import Lease
from cronsvc.services.running import Runner, rescue
from cronsvc.store import presence, running
from cronsvc.store.pool import Database
from tests.support.job_types import Held, Scripted, failing
from tests.support.rows import define, fetch, one
from tests.support.waiting import until

LEASE = timedelta(seconds=30)
NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)


async def worker(db: Database, *, lease: timedelta = LEASE) -> UUID:
    worker_id = uuid4()
    async with db.statements() as conn:
        await presence.register_worker(
            conn, process_id=worker_id, name="test", version="0", queues=["default"], concurrency=5, lease=lease
        )
    return worker_id


async def runner(db: Database, executor: Executor, *, type_: str = "API_CALL") -> Runner:
    executors: Mapping[str, Executor] = {type_: executor}
    return Runner(db, executors, worker_id=await worker(db))


async def waiting(db: Database, *, max_attempts: int = 3, **columns: object) -> Ticket:
    """One QUEUED execution and its ticket."""
    job_id = await define(db, cron_expression="* * * * *", max_attempts=max_attempts, **columns)
    (id_,) = await one(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, max_attempts) VALUES (%s, %s, %s) RETURNING id",
        job_id,
        NOW,
        max_attempts,
    )
    return Ticket(id_, job_id, NOW, 0, "default", 10)


async def attempt(runner: Runner, ticket: Ticket) -> None:
    """One attempt and its written end."""
    await runner.handle(ticket)
    assert await runner.flush(20)


async def state(db: Database, ticket: Ticket) -> tuple[object, ...]:
    return await one(
        db,
        "SELECT status, status_reason, attempt, claim_no FROM job_executions WHERE id = %s",
        ticket.execution_id,
    )


async def outcomes(db: Database, ticket: Ticket) -> list[tuple[object, ...]]:
    return await fetch(
        db, "SELECT attempt, outcome FROM job_attempts WHERE execution_id = %s ORDER BY claim_no", ticket.execution_id
    )


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


async def test_an_executor_that_raises_fails_its_attempt_only(db: Database) -> None:
    def explode(_context: object) -> Outcome:
        raise RuntimeError("Bearer secret")

    ticket = await waiting(db, max_attempts=2)
    await attempt(await runner(db, Scripted(explode)), ticket)
    assert await state(db, ticket) == ("QUEUED", None, 1, 1)
    (error,) = await one(db, "SELECT error FROM job_executions")
    assert error["type"] == "executor_error" and "secret" not in error["message"]
    once = await waiting(db, max_attempts=1)
    await attempt(await runner(db, Scripted(explode)), once)
    assert await state(db, once) == ("FAILED", "lost", 1, 1)


async def test_a_definition_that_cannot_be_read_fails_with_the_reason(db: Database) -> None:
    ticket = await waiting(db, backoff='{"type": "sideways"}')
    await attempt(await runner(db, Scripted()), ticket)
    assert await state(db, ticket) == ("FAILED", "error", 1, 1)
    (error,) = await one(db, "SELECT error FROM job_executions")
    assert error["type"] == "invalid_config" and "backoff" in error["message"]


async def test_a_batch_of_finishes_writes_what_is_its_own_and_nothing_else(db: Database) -> None:
    tickets = [await waiting(db) for _ in range(6)]
    worker_id = await worker(db)
    async with db.statements() as conn:
        claimed = await running.claim(conn, tickets, worker_id=worker_id)
        assert set(claimed) == {ticket.execution_id for ticket in tickets}
        finishes = [after_outcome(each, Outcome(), Backoff()) for each in claimed.values()]
        stolen = tickets[2].execution_id
        await conn.execute("UPDATE job_executions SET claim_no = 9 WHERE id = %s", (stolen,))
        assert await running.finish(conn, finishes) == set(claimed) - {stolen}
    assert await state(db, tickets[2]) == ("RUNNING", None, 1, 9)
    assert (await state(db, tickets[3]))[0] == Status.SUCCESS


async def test_a_result_that_postgres_refuses_spoils_neither_its_row_nor_its_neighbours(db: Database) -> None:
    """A NUL from a job type of somebody's own: the batch it shares is written, and so is its own end."""
    tickets = [await waiting(db) for _ in range(5)]
    poisoned = tickets[2].execution_id

    def answer(context: RunContext) -> Outcome:
        return Outcome(result={"text": "a\0b" if context.execution_id == poisoned else "fine"})

    sharing = await runner(db, Scripted(answer))
    await asyncio.gather(*(sharing.handle(ticket) for ticket in tickets))
    assert await sharing.flush(20)
    rows = await fetch(db, "SELECT status, result ->> 'text', result ? 'unstorable' FROM job_executions ORDER BY id")
    fine, spoilt = ("SUCCESS", "fine", False), ("SUCCESS", None, True)
    assert rows == [fine, fine, spoilt, fine, fine]


async def test_an_error_that_postgres_refuses_still_ends_its_attempt(db: Database) -> None:
    def answer(_context: RunContext) -> Outcome:
        return Outcome(error=ErrorDetail("http_status", "\ud800"), excerpt="\ud800", retryable=False)

    ticket = await waiting(db)
    await attempt(await runner(db, Scripted(answer)), ticket)
    assert await state(db, ticket) == ("FAILED", "error", 1, 1)


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


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(result={"a set": {1, 2}}),
        Outcome(result={"big": "x"}, http_status=10**12),
        Outcome(error=ErrorDetail("http_\0status", "no\0")),
        Outcome(error=ErrorDetail("http_status", "no"), retry_after=float("inf")),
        Outcome(error=ErrorDetail("http_status", "no"), retry_after=1e300),
    ],
    ids=["not-json", "status", "nul", "infinite-pause", "huge-pause"],
)
async def test_whatever_a_job_type_reports_its_row_and_its_neighbours_end(db: Database, outcome: Outcome) -> None:
    tickets = [await waiting(db) for _ in range(3)]
    bad = tickets[1].execution_id
    executor = Scripted(lambda context: outcome if context.execution_id == bad else Outcome())
    sharing = await runner(db, executor)
    await asyncio.gather(*(sharing.handle(ticket) for ticket in tickets))
    assert await sharing.flush(20)
    rows = dict(await fetch(db, "SELECT id, status FROM job_executions"))
    assert rows.pop(bad) == ("SUCCESS" if outcome.error is None else "QUEUED")
    assert set(rows.values()) == {"SUCCESS"}


async def test_what_begun_and_could_not_be_written_counts_as_lost(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refunding it would let an at-most-once job be called again."""
    ticket, executor = await waiting(db, max_attempts=1), Scripted()
    failing_writer = await runner(db, executor)
    with monkeypatch.context() as broken:
        broken.setattr(failing_writer._ends, "_finish_all", _broken)
        await failing_writer.handle(ticket)
        with pytest.raises(RuntimeError):
            await asyncio.gather(*failing_writer._ends._writes)
    assert await state(db, ticket) == ("RUNNING", None, 1, 1)
    assert await failing_writer.return_strays(age=timedelta(0)) == 1
    assert await failing_writer.flush(20)
    assert await state(db, ticket) == ("FAILED", "lost", 1, 1)
    assert len(executor.calls) == 1


async def _is(db: Database, ticket: Ticket, status: str) -> bool:
    return (await state(db, ticket))[0] == status


async def _broken(_finishes: object) -> set[int]:
    raise RuntimeError("a defect of ours")


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
