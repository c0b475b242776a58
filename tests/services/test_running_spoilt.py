"""What raises, cannot be read or is refused by Postgres spoils its own attempt and nothing else."""

import asyncio
from datetime import timedelta

import pytest

from cronsvc.domain.execution import ErrorDetail, Outcome, Status, Ticket
from cronsvc.domain.finish import after_outcome
from cronsvc.domain.retry import Backoff
from cronsvc.executors.base import RunContext
from cronsvc.store import running
from cronsvc.store.pool import Database
from tests.support.job_types import Scripted
from tests.support.rows import fetch, one
from tests.support.running import attempt, runner, state, waiting, worker


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
