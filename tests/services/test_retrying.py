"""Running again what has ended: the same row, a new budget, once however many ask, and fenced from its past."""

import asyncio
from datetime import timedelta

import pytest

from cronsvc.domain.execution import Execution, Outcome, Status, Ticket
from cronsvc.errors import Conflict, NotFound
from cronsvc.services.running import rescue
from cronsvc.store import partitions
from cronsvc.store.pool import Database
from tests.support.control import ALICE, Desk
from tests.support.ending import acts, failed, waits_for_a_lock, work
from tests.support.job_types import Held, Scripted
from tests.support.rows import fetch, one
from tests.support.running import NOW, attempt, outcomes, runner, state, waiting
from tests.support.waiting import until


async def test_a_retry_is_the_same_execution_with_a_new_budget(db: Database) -> None:
    desk, ticket = Desk(db), await failed(db, max_attempts=2)
    again = await desk.endings.retry(ticket.execution_id, ALICE)
    assert (again.id, again.scheduled_time, again.status) == (ticket.execution_id, NOW, Status.QUEUED)
    assert (again.attempt, again.max_attempts, again.error, again.end_time) == (1, 3, None, None)
    (pushed,) = desk.tickets
    assert pushed == Ticket(ticket.execution_id, ticket.job_id, NOW, 1, "default", 10)
    assert await acts(db, ticket) == [("retry", "key:alice", "FAILED", "QUEUED")]
    executor = Scripted()
    await attempt(await runner(db, executor), pushed)
    assert await state(db, ticket) == ("SUCCESS", None, 2, 2)
    assert await outcomes(db, ticket) == [(1, "error"), (2, "success")]
    assert executor.calls[0].attempt == 2


async def test_a_success_and_a_cancelled_one_may_be_retried(db: Database) -> None:
    desk = Desk(db)
    done, called_off = await waiting(db), await waiting(db, max_attempts=1)
    await attempt(await runner(db, Scripted()), done)
    await desk.endings.cancel(called_off.execution_id, ALICE, note="by mistake")
    again = await desk.endings.retry(done.execution_id, ALICE)
    assert (again.attempt, again.max_attempts, again.result) == (1, 4, None)
    again = await desk.endings.retry(called_off.execution_id, ALICE)
    assert (again.attempt, again.max_attempts) == (0, 1)  # at most once is still at most once
    assert (again.cancel_requested_at, again.cancel_note) == (None, None)
    (before,) = await one(
        db,
        "SELECT before ->> 'cancel_note' FROM audit_log WHERE action = 'retry' AND entity_id = %s",
        str(called_off.execution_id),
    )
    assert before == "by mistake"


async def test_at_most_once_is_told_lost_in_its_second_round_too(db: Database) -> None:
    def explode(_context: object) -> Outcome:
        raise RuntimeError

    desk, ticket = Desk(db), await failed(db, max_attempts=1)
    await desk.endings.retry(ticket.execution_id, ALICE)
    await attempt(await runner(db, Scripted(explode)), desk.tickets[0])
    assert await state(db, ticket) == ("FAILED", "lost", 2, 2)


async def test_a_retry_runs_the_job_as_it_is_defined_now(db: Database) -> None:
    desk, ticket = Desk(db), await failed(db)
    await fetch(
        db,
        "UPDATE jobs SET queue = 'mended', priority = 1, max_attempts = 5,"
        """ task_payload = '{"type": "API_CALL", "config": {"url": "https://mended.example/"}}' RETURNING 1""",
    )
    again = await desk.endings.retry(ticket.execution_id, ALICE)
    assert (again.revision, again.queue, again.priority, again.max_attempts) == (2, "mended", 1, 6)
    executor = Scripted()
    await attempt(await runner(db, executor), desk.tickets[0])
    assert executor.configs == [{"url": "https://mended.example/"}]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("QUEUED", "waits to run already"),
        ("RUNNING", "cancel it first"),
        ("SKIPPED", "never ran: backfill its instant"),
    ],
)
async def test_what_cannot_be_retried_says_why(db: Database, status: str, words: str) -> None:
    desk, ticket = Desk(db), await waiting(db)
    await fetch(db, "UPDATE job_executions SET status = %s, status_reason = 'overlap' RETURNING 1", status)
    with pytest.raises(Conflict, match=words):
        await desk.endings.retry(ticket.execution_id, ALICE)
    assert desk.tickets == [] and await acts(db, ticket) == []


async def test_nothing_of_a_deleted_job_is_retried(db: Database) -> None:
    desk, ticket = Desk(db), await failed(db)
    await desk.jobs.delete(ticket.job_id, ALICE)
    with pytest.raises(Conflict, match="its job was deleted"):
        await desk.endings.retry(ticket.execution_id, ALICE)
    assert (await state(db, ticket))[0] == "FAILED"


async def test_a_retry_that_waits_for_a_deletion_does_nothing(db: Database) -> None:
    desk, ticket = Desk(db), await failed(db)
    async with db.transaction() as conn:
        await conn.execute("SELECT FROM jobs FOR UPDATE")  # as every edit begins
        await conn.execute("UPDATE jobs SET deleted_at = clock_timestamp() WHERE id = %s", (ticket.job_id,))
        retrying = asyncio.create_task(desk.endings.retry(ticket.execution_id, ALICE))
        await until(lambda: waits_for_a_lock(db))
    with pytest.raises(Conflict, match="deleted"):
        await retrying


async def test_two_retries_at_once_are_one(db: Database) -> None:
    desk, ticket = Desk(db), await failed(db)
    answers = await asyncio.gather(
        *(desk.endings.retry(ticket.execution_id, ALICE) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(each, Execution) for each in answers) == 1
    assert sum(isinstance(each, Conflict) for each in answers) == 4
    assert len(desk.tickets) == 1 and len(await acts(db, ticket)) == 1


async def test_a_row_that_retention_took_is_not_found(db: Database) -> None:
    desk, ticket = Desk(db), await failed(db)
    async with db.transaction() as conn:
        await conn.execute(f"DROP TABLE job_executions_{partitions.week_of(NOW):%Y%m%d}".encode())
    with pytest.raises(NotFound):
        await desk.endings.retry(ticket.execution_id, ALICE)


async def test_a_late_result_of_the_first_round_cannot_end_the_second(db: Database) -> None:
    """Left behind, retried, running again elsewhere: the old attempt has no say any more."""
    desk, ticket, executor = Desk(db), await waiting(db), Held()
    frozen = await work(db, executor, ticket)
    frozen.freeze()
    await desk.endings.cancel(ticket.execution_id, ALICE)
    await fetch(db, "UPDATE workers SET lease_until = clock_timestamp() - interval '1 second' RETURNING 1")
    assert await rescue(db, grace=timedelta(0)) == 1
    await desk.endings.retry(ticket.execution_id, ALICE)
    second = Held()
    fresh = await work(db, second, desk.tickets[0])
    executor.release.set()
    await frozen.ended()
    assert await state(db, ticket) == ("RUNNING", None, 2, 2)
    second.release.set()
    await fresh.ended()
    assert await state(db, ticket) == ("SUCCESS", None, 2, 2)
