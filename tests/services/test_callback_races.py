"""Attempts that left their worker, or are about to: whoever speaks first wins, and one end is written."""

import asyncio
import logging
from datetime import timedelta

import pytest

from cronsvc.domain.execution import Outcome, Status
from cronsvc.errors import Gone
from cronsvc.services.callback_waits import begin_to_wait, end_silent
from cronsvc.services.callbacks import Callbacks, News
from cronsvc.services.running import rescue
from cronsvc.store import admission, children, presence
from cronsvc.store.pool import Database
from tests.support.callbacks import (
    ACCEPTED,
    FAILURE,
    SUCCESS,
    again,
    grant_of,
    lose_workers,
    silence,
    taken_over,
    waiting_note,
    waits,
)
from tests.support.control import ALICE, Desk
from tests.support.job_types import Held, Scripted
from tests.support.rows import fetch, one
from tests.support.running import attempt, outcomes, runner, state, waiting


async def test_of_two_ends_one_is_written(db: Database) -> None:
    for _ in range(8):
        ticket, _ = await taken_over(db, max_attempts=1)
        await silence(db, ticket)
        barrier = asyncio.Barrier(4)

        async def at_once(act: object, barrier: asyncio.Barrier = barrier) -> object:
            await barrier.wait()
            return await act  # type: ignore[misc]

        calls, desk = [Callbacks(db), Callbacks(db)], Desk(db)
        await asyncio.gather(
            at_once(calls[0].complete(grant_of(ticket), SUCCESS)),
            at_once(calls[1].complete(grant_of(ticket), FAILURE)),
            at_once(end_silent(db)),
            at_once(desk.endings.cancel(ticket.execution_id, ALICE)),
            return_exceptions=True,
        )
        ((_, outcome),) = await outcomes(db, ticket)
        (status, *_) = await state(db, ticket)
        expected = {"success": "SUCCESS", "error": "FAILED", "lost": "FAILED", "cancelled": "CANCELLED"}
        assert status == expected[str(outcome)]


async def test_the_target_may_be_quicker_than_the_worker_that_notes_its_202(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    ticket, held = await waiting(db), Held()
    sender = await runner(db, held)
    sending = asyncio.create_task(attempt(sender, ticket))
    await held.started.wait()
    calls = Callbacks(db)
    told = await calls.progress(grant_of(ticket), News(progress=10))
    assert (told.status, told.heartbeat_due) == (Status.RUNNING, None)
    assert (await calls.complete(grant_of(ticket), SUCCESS)).status is Status.SUCCESS
    with caplog.at_level(logging.WARNING):
        held.release.set()
        await sending
    assert await state(db, ticket) == ("SUCCESS", None, 1, 1)
    assert (await one(db, "SELECT result, progress FROM job_executions")) == ({"rows": 12}, 10)
    assert await outcomes(db, ticket) == [(1, "success")]


async def test_a_202_that_comes_after_the_end_writes_nothing_and_warns_nobody(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    ticket = await waiting(db)
    calls = Callbacks(db)

    class CalledBack(Scripted):
        async def run(self, config: object, context: object) -> Outcome:
            await calls.complete(grant_of(ticket), SUCCESS)
            return ACCEPTED

    with caplog.at_level(logging.WARNING):
        await attempt(await runner(db, CalledBack()), ticket)
    assert await state(db, ticket) == ("SUCCESS", None, 1, 1)
    assert "stale" not in caplog.text
    assert await one(db, "SELECT callback_due FROM job_executions") == (None,)


async def test_noting_the_202_twice_is_noting_it_once(db: Database) -> None:
    """The answer to the first statement may get lost: it must not look like a request to cancel."""
    ticket, sender = await taken_over(db)
    finish = waiting_note(ticket)
    assert await begin_to_wait(db, [finish]) == {ticket.execution_id}
    assert await waits(db, ticket)
    assert await one(db, "SELECT callback_worker FROM job_executions") == (sender.worker_id,)


async def test_a_worker_that_dies_between_202_and_its_note_loses_the_attempt(db: Database) -> None:
    ticket, held = await waiting(db), Held()
    sending = asyncio.create_task(attempt(await runner(db, held), ticket))
    await held.started.wait()
    await lose_workers(db)
    assert await rescue(db, grace=timedelta(0)) == 1
    assert await state(db, ticket) == ("QUEUED", None, 1, 1)
    assert await begin_to_wait(db, [waiting_note(ticket)]) == set()  # it was only frozen, and is too late
    assert await state(db, ticket) == ("QUEUED", None, 1, 1)
    with pytest.raises(Gone):
        await Callbacks(db).complete(grant_of(ticket), SUCCESS)
    await again(db, ticket, 1)
    assert await begin_to_wait(db, [waiting_note(ticket)]) == set()
    assert (await Callbacks(db).complete(grant_of(ticket, 2), SUCCESS)).status is Status.SUCCESS
    held.release.set()
    await sending
    assert await outcomes(db, ticket) == [(1, "lost"), (2, "success")]


async def test_a_drain_writes_down_what_waits(db: Database) -> None:
    """The process ends just after the 202: what it knew is written before it goes, even if it has to wait for that."""
    ticket, held = await waiting(db), Held(ACCEPTED)
    sender = await runner(db, held)
    handling = asyncio.create_task(sender.handle(ticket))
    await held.started.wait()
    async with db.transaction() as conn:
        await conn.execute("SELECT FROM job_executions FOR UPDATE")
        held.release.set()
        await handling  # the slot is free, the note is not written
        flushing = asyncio.create_task(sender.flush(20))
        assert not await waits(db, ticket)
    assert await flushing
    async with db.statements() as conn:
        await presence.stop_worker(conn, process_id=sender.worker_id)
    assert await rescue(db, grace=timedelta(0)) == 0
    assert await waits(db, ticket)


async def test_a_waiting_execution_is_cancelled_at_once(db: Database) -> None:
    ticket, sender = await taken_over(db)
    cancelled = await Desk(db).endings.cancel(ticket.execution_id, ALICE, note="wrong file")
    assert (cancelled.status, cancelled.status_reason, cancelled.cancel_note) == (
        Status.CANCELLED,
        "user",
        "wrong file",
    )
    assert await one(db, "SELECT outcome, worker_id FROM job_attempts") == ("cancelled", sender.worker_id)
    assert await one(db, "SELECT action, actor FROM audit_log WHERE entity = 'execution'") == ("cancel", ALICE.actor)
    calls = Callbacks(db)
    for call in (calls.progress(grant_of(ticket), News()), calls.complete(grant_of(ticket), SUCCESS)):
        with pytest.raises(Gone, match=f"cancelled by {ALICE.actor}"):
            await call


async def test_a_cancel_that_comes_while_the_202_is_on_its_way_holds(db: Database) -> None:
    ticket = await waiting(db)
    desk, calls = Desk(db), Callbacks(db)

    class CancelledMeanwhile(Scripted):
        async def run(self, config: object, context: object) -> Outcome:
            await desk.endings.cancel(ticket.execution_id, ALICE)
            told = await calls.progress(grant_of(ticket), News())
            assert told.cancel_requested
            return ACCEPTED

    await attempt(await runner(db, CancelledMeanwhile()), ticket)
    assert (await state(db, ticket))[:2] == ("CANCELLED", "user")
    assert await outcomes(db, ticket) == [(1, "cancelled")]


async def test_what_overlap_replaces_waits_no_longer(db: Database) -> None:
    asked, sender = await taken_over(db)
    terminated, other_sender = await taken_over(db)
    async with db.transaction() as conn:
        await admission.ask_to_stop(conn, [asked.job_id])
        await admission.terminate(conn, [terminated.job_id])
    assert await end_silent(db) == 1
    assert (await state(db, asked))[:2] == ("CANCELLED", "replaced")
    assert (await state(db, terminated))[:2] == ("CANCELLED", "replaced")
    rows = await fetch(db, "SELECT execution_id, outcome, worker_id FROM job_attempts ORDER BY execution_id")
    assert rows == [
        (asked.execution_id, "cancelled", sender.worker_id),
        (terminated.execution_id, "cancelled", other_sender.worker_id),
    ]
    assert await one(db, "SELECT count(*) FROM job_executions WHERE callback_due IS NOT NULL") == (0,)


async def test_a_child_whose_parent_is_called_off_waits_no_longer(db: Database) -> None:
    ticket, sender = await taken_over(db)
    await fetch(db, "UPDATE job_executions SET parent_id = 7 WHERE id = %s RETURNING 1", ticket.execution_id)
    async with db.transaction() as conn:
        assert await children.cancel_children(conn, [7]) == 1
    assert await end_silent(db) == 1
    assert (await state(db, ticket))[:2] == ("CANCELLED", "parent")
    assert await fetch(db, "SELECT outcome, worker_id FROM job_attempts") == [("cancelled", sender.worker_id)]
