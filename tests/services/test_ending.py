"""Cancelling what waits and what runs: on real rows, raced, with executors that will not stop and frozen workers."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from cronsvc.domain.execution import ErrorDetail, Execution, Outcome, Status, Ticket
from cronsvc.domain.finish import after_outcome
from cronsvc.domain.retry import Backoff
from cronsvc.errors import Conflict, InvalidInput, NotFound
from cronsvc.executors.base import RunContext
from cronsvc.services.lease import Lease
from cronsvc.services.running import Runner, rescue
from cronsvc.store import ending, running
from cronsvc.store.pool import Database
from tests.services.test_running import LEASE, NOW, attempt, outcomes, runner, state, waiting, worker
from tests.support.control import ALICE, RED, Desk
from tests.support.job_types import Held, Scripted, failing
from tests.support.rows import fetch, one
from tests.support.waiting import until


class Stubborn(Held):
    """Swallows every cancellation until `release` is set, and then still has a result."""

    async def run(self, config: Mapping[str, Any], context: RunContext) -> Outcome:
        self.calls.append(context)
        self.started.set()
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
        return Outcome(result={"late": True})


class Apologetic(Held):
    """Turns its cancellation into an outcome of its own."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self._outcome = outcome

    async def run(self, config: Mapping[str, Any], context: RunContext) -> Outcome:
        try:
            return await super().run(config, context)
        except asyncio.CancelledError:
            return self._outcome


class Working:
    """A worker with one attempt in progress, and a heartbeat that brings it what people ask for."""

    def __init__(self, db: Database, runner: Runner, ticket: Ticket) -> None:
        self.runner = runner
        self._attempt = asyncio.create_task(attempt(runner, ticket))
        self._beating = asyncio.create_task(Lease(db, runner, lease=LEASE, beat=timedelta(milliseconds=10)).keep())

    async def ended(self) -> None:
        await asyncio.wait_for(self._attempt, 30)
        self._beating.cancel()

    def freeze(self) -> None:
        """No heartbeat any more; what runs goes on."""
        self._beating.cancel()


async def work(db: Database, executor: Held, ticket: Ticket, *, grace: float = 30.0) -> Working:
    """Begin the attempt and wait until the executor has it."""
    one_runner = Runner(db, {"API_CALL": executor}, worker_id=await worker(db), cancel_grace=timedelta(seconds=grace))
    working = Working(db, one_runner, ticket)
    await executor.started.wait()
    return working


async def failed(db: Database, *, max_attempts: int = 1, **columns: object) -> Ticket:
    """An execution that has failed for good."""
    ticket = await waiting(db, max_attempts=max_attempts, **columns)
    await attempt(await runner(db, Scripted(failing(retryable=False))), ticket)
    assert (await state(db, ticket))[0] == "FAILED"
    return ticket


async def acts(db: Database, ticket: Ticket) -> list[tuple[str, str, str, str]]:
    """(action, actor, status before, status after) of what the audit log has of an execution."""
    return [
        (action, actor, before["status"], after["status"])
        for action, actor, before, after in await fetch(
            db,
            "SELECT action, actor, before, after FROM audit_log WHERE entity = 'execution' AND entity_id = %s"
            " ORDER BY id",
            str(ticket.execution_id),
        )
    ]


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


# --- cancel: races


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


async def waits_for_a_lock(db: Database) -> bool:
    """Whether some session of this database waits for a lock."""
    (count,) = await one(
        db,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    return bool(count)


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
