"""Cancelling what waits and what runs: on real rows, raced, with executors that will not stop and frozen workers."""

import asyncio
import logging
from datetime import timedelta

import pytest

from cronsvc.domain.execution import ErrorDetail, Outcome, Status
from cronsvc.errors import Conflict, InvalidInput, NotFound
from cronsvc.services.lease import Lease
from cronsvc.services.running import Runner
from cronsvc.store import running
from cronsvc.store.pool import Database
from tests.services.test_cancel_races import _claim
from tests.support.control import ALICE, RED, Desk
from tests.support.ending import Apologetic, Stubborn, acts, work
from tests.support.job_types import Held, Scripted
from tests.support.rows import fetch, one
from tests.support.running import LEASE, NOW, attempt, outcomes, runner, state, waiting, worker
from tests.support.waiting import until

# --- cancel: what waits


async def test_what_waits_is_cancelled_at_once_and_never_starts(db: Database) -> None:
    desk, ticket, executor = Desk(db), await waiting(db), Scripted()
    cancelled = await desk.endings.cancel(ticket.execution_id, ALICE, note="not today")
    assert (cancelled.status, cancelled.status_reason) == (Status.CANCELLED, "user")
    assert (cancelled.cancel_requested_by, cancelled.cancel_note) == ("key:alice", "not today")
    assert cancelled.end_time is not None and cancelled.cancel_requested_at is not None
    await attempt(await runner(db, executor), ticket)
    assert executor.calls == [] and await state(db, ticket) == ("CANCELLED", "user", 0, 0)
    assert await one(db, "SELECT dispatch_at, held FROM job_executions") == (None, None)
    assert await acts(db, ticket) == [("cancel", "key:alice", "QUEUED", "CANCELLED")]
    assert await one(db, "SELECT source, namespace FROM audit_log WHERE entity = 'execution'") == (
        "10.1.2.3",
        "default",
    )


@pytest.mark.parametrize(
    "waits",
    [
        "dispatch_at = NULL, held = 'overlap'",
        "ready_at = clock_timestamp() + interval '1 hour', dispatch_at = clock_timestamp() + interval '1 hour',"
        " attempt = 1, claim_no = 1",
    ],
    ids=["held", "backoff"],
)
async def test_what_waits_for_something_else_is_cancelled_too(db: Database, waits: str) -> None:
    desk, ticket = Desk(db), await waiting(db)
    await fetch(db, f"UPDATE job_executions SET {waits} RETURNING 1")
    assert (await desk.endings.cancel(ticket.execution_id, ALICE)).status is Status.CANCELLED
    assert await one(db, "SELECT dispatch_at, held FROM job_executions") == (None, None)


async def test_what_has_ended_cannot_be_cancelled(db: Database) -> None:
    desk = Desk(db)
    for status in ("SUCCESS", "FAILED", "SKIPPED", "CANCELLED"):
        ticket = await waiting(db)
        await fetch(db, "UPDATE job_executions SET status = %s WHERE id = %s RETURNING 1", status, ticket.execution_id)
        with pytest.raises(Conflict, match=f"it is {status}"):
            await desk.endings.cancel(ticket.execution_id, ALICE)
    assert await fetch(db, "SELECT id FROM audit_log WHERE entity = 'execution'") == []


async def test_foreign_and_unknown_executions_cannot_be_touched(db: Database) -> None:
    desk, ticket = Desk(db), await waiting(db)
    for act in (desk.endings.cancel, desk.endings.retry, desk.dead_letters.redrive):
        for execution_id, caller in ((ticket.execution_id, RED), (424242, ALICE), (0, ALICE), (2**70, ALICE)):
            with pytest.raises(NotFound):
                await act(execution_id, caller)
    assert await state(db, ticket) == ("QUEUED", None, 0, 0)


async def test_a_note_that_cannot_be_kept_is_refused(db: Database) -> None:
    desk, ticket = Desk(db), await waiting(db)
    for note in ("x" * 1001, "a\0b"):
        with pytest.raises(InvalidInput, match="note"):
            await desk.endings.cancel(ticket.execution_id, ALICE, note=note)


# --- cancel: what runs


async def test_what_runs_is_stopped_by_its_worker(db: Database) -> None:
    desk, ticket, executor = Desk(db), await waiting(db), Held()
    working = await work(db, executor, ticket)
    asked = await desk.endings.cancel(ticket.execution_id, ALICE, note="wrong day")
    assert (asked.status, asked.cancel_requested_by) == (Status.RUNNING, "key:alice")
    await working.ended()
    assert executor.cancelled == 1 and working.runner.running == 0
    assert await state(db, ticket) == ("CANCELLED", "user", 1, 1)
    assert await outcomes(db, ticket) == [(1, "cancelled")]
    assert await one(db, "SELECT cancel_note, error, end_time IS NOT NULL FROM job_executions") == (
        "wrong day",
        None,
        True,
    )


async def test_asking_again_changes_nothing(db: Database) -> None:
    desk, ticket, executor = Desk(db), await waiting(db), Held()
    working = await work(db, executor, ticket)
    working.freeze()
    first = await desk.endings.cancel(ticket.execution_id, ALICE, note="first")
    again = await desk.endings.cancel(ticket.execution_id, ALICE, note="second")
    assert (again.cancel_note, again.cancel_requested_at) == ("first", first.cancel_requested_at)
    assert len(await acts(db, ticket)) == 1
    executor.release.set()
    await working.ended()


async def test_only_what_was_meant_is_stopped(db: Database) -> None:
    desk, tickets, executor = Desk(db), [await waiting(db) for _ in range(2)], Held()
    one_runner = await runner(db, executor)
    attempts = [asyncio.create_task(attempt(one_runner, ticket)) for ticket in tickets]
    await until(lambda: _runs(one_runner, 2))
    await desk.endings.cancel(tickets[0].execution_id, ALICE)
    beating = asyncio.create_task(Lease(db, one_runner, lease=LEASE, beat=timedelta(milliseconds=10)).keep())
    await until(lambda: _runs(one_runner, 1))
    executor.release.set()
    await asyncio.gather(*attempts)
    beating.cancel()
    assert [(await state(db, ticket))[0] for ticket in tickets] == ["CANCELLED", "SUCCESS"]


async def _runs(one_runner: Runner, number: int) -> bool:
    return one_runner.running == number


async def test_an_executor_that_swallows_it_is_left_behind_and_its_result_discarded(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    desk, ticket, executor = Desk(db), await waiting(db), Stubborn()
    working = await work(db, executor, ticket, grace=0.05)
    with caplog.at_level(logging.INFO, "cronsvc.running"):
        await desk.endings.cancel(ticket.execution_id, ALICE)
        await working.ended()  # the slot is free although the executor goes on
        assert executor.cancelled >= 1 and await state(db, ticket) == ("CANCELLED", "user", 1, 1)
        (error,) = await one(db, "SELECT error FROM job_executions")
        assert error["type"] == "cancelled" and "may still run" in error["message"]
        executor.release.set()
        await until(lambda: _said(caplog, "late end of execution"))
    assert [record.message for record in caplog.records if "left behind" in record.message] == [
        f"execution {ticket.execution_id} (claim 1) did not stop within 0.05 s and is left behind"
    ]
    assert caplog.text.count("late end of execution") == 1
    assert await state(db, ticket) == ("CANCELLED", "user", 1, 1)
    assert await one(db, "SELECT result FROM job_executions") == (None,)


async def _said(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    return words in caplog.text


@pytest.mark.parametrize(
    ("outcome", "status", "word"),
    [
        (Outcome(result={"made": "it"}), "SUCCESS", "success"),
        (Outcome(error=ErrorDetail("timeout", "interrupted"), retryable=False), "CANCELLED", "cancelled"),
        (Outcome(error=ErrorDetail("protocol", "interrupted")), "CANCELLED", "cancelled"),
    ],
    ids=["success", "failure", "retryable"],
)
async def test_what_an_executor_says_while_it_is_cancelled(
    db: Database, outcome: Outcome, status: str, word: str
) -> None:
    desk, ticket, executor = Desk(db), await waiting(db), Apologetic(outcome)
    working = await work(db, executor, ticket)
    await desk.endings.cancel(ticket.execution_id, ALICE)
    await working.ended()
    assert (await state(db, ticket))[0] == status
    assert await outcomes(db, ticket) == [(1, word)]


async def test_the_heartbeat_asks_by_the_key_of_what_runs(db: Database) -> None:
    ticket, worker_id = await waiting(db), await worker(db)
    await fetch(
        db,
        "WITH made AS (INSERT INTO job_executions (job_id, scheduled_time, status, worker_id)"
        " SELECT 900000, %s + n * interval '1 second', 'SUCCESS', %s FROM generate_series(1, 5000) AS n RETURNING 1)"
        " SELECT count(*) FROM made",
        NOW,
        worker_id,
    )
    await _claim(db, ticket, worker_id)
    async with db.transaction() as conn:
        await conn.execute("ANALYZE job_executions")
        parameters = {"job_ids": [1], "times": [NOW], "claim_nos": [1], "least": NOW, "greatest": NOW}
        rows = await conn.execute(f"EXPLAIN {running.TO_STOP}".encode(), parameters)
        plan = "\n".join([line for (line,) in await rows.fetchall()])
    assert "Index Scan" in plan and "Seq Scan on job" not in plan, plan
