"""Attempts that leave their worker: what their targets say, and who wins when several speak at once."""

import asyncio
import json
from datetime import timedelta

import pytest

from cronsvc.domain.execution import ErrorDetail, Status, Ticket
from cronsvc.errors import Conflict, Gone
from cronsvc.services.callback_waits import end_silent
from cronsvc.services.callbacks import Callbacks, Ending, Line, News
from cronsvc.services.running import rescue
from cronsvc.store import callbacks, presence
from cronsvc.store.pool import Database
from tests.support.callbacks import (
    FAILURE,
    SUCCESS,
    accepting,
    again,
    due,
    grant_of,
    lose_workers,
    silence,
    taken_over,
    waits,
)
from tests.support.control import ALICE, Desk
from tests.support.job_types import Held, Scripted
from tests.support.rows import one
from tests.support.running import NOW, attempt, outcomes, runner, state, waiting


async def test_what_waits_holds_no_worker_and_no_rescue_takes_it(db: Database) -> None:
    ticket, sender = await taken_over(db)
    assert sender.running == 0
    assert await sender.return_strays(age=timedelta(0)) == 0
    await lose_workers(db)
    assert await rescue(db, grace=timedelta(0)) == 0
    async with db.statements() as conn:
        await conn.execute("UPDATE workers SET heartbeat_at = now() - interval '2 days'")
        assert await presence.prune(conn) == 1
    assert await state(db, ticket) == ("RUNNING", None, 1, 1)
    assert await end_silent(db) == 0
    row = await one(
        db,
        "SELECT worker_id, callback_worker, callback_due - callback_since BETWEEN '59 s' AND '61 s',"
        " callback_until - callback_since BETWEEN '599 s' AND '601 s' FROM job_executions",
    )
    assert row == (None, sender.worker_id, True, True)


async def test_its_end_is_an_end_as_every_other(db: Database) -> None:
    ticket, sender = await taken_over(db)
    told = await Callbacks(db).complete(grant_of(ticket), SUCCESS)
    assert (told.status, told.repeated, told.heartbeat_due) == (Status.SUCCESS, False, None)
    row = await one(db, "SELECT status, result, worker_id, callback_due, end_time IS NOT NULL FROM job_executions")
    assert row == ("SUCCESS", {"rows": 12}, sender.worker_id, None, True)
    row = await one(db, "SELECT outcome, worker_id, http_status FROM job_attempts")
    assert row == ("success", sender.worker_id, 202)


async def test_the_same_end_again_is_answered_and_another_is_refused(db: Database) -> None:
    ticket, _ = await taken_over(db)
    calls = Callbacks(db)
    await calls.complete(grant_of(ticket), SUCCESS)
    told = await calls.complete(grant_of(ticket), SUCCESS)
    assert (told.status, told.repeated) == (Status.SUCCESS, True)
    for other in (Ending(True, result={"rows": 13}), FAILURE):
        with pytest.raises(Conflict, match="another result"):
            await calls.complete(grant_of(ticket), other)
    with pytest.raises(Gone, match="it is SUCCESS"):
        await calls.progress(grant_of(ticket), News())
    assert len(await outcomes(db, ticket)) == 1


async def test_no_terminal_will_act_on_what_a_target_says(db: Database) -> None:
    ticket, _ = await taken_over(db)
    said = Ending(False, error=ErrorDetail("disk_full", "\x1b[31mno\x9b room\n\tat all\x7f"))
    await Callbacks(db).complete(grant_of(ticket), said)
    row = await one(db, "SELECT error->>'message' FROM job_attempts")
    assert row == ("\ufffd[31mno\ufffd room\n\tat all\ufffd",)
    assert (await Callbacks(db).complete(grant_of(ticket), said)).repeated


async def test_a_failure_is_tried_again_and_the_old_token_speaks_for_nothing(db: Database) -> None:
    ticket, _ = await taken_over(db)
    calls = Callbacks(db)
    assert (await calls.complete(grant_of(ticket), FAILURE)).status is Status.QUEUED
    assert await state(db, ticket) == ("QUEUED", None, 1, 1)
    with pytest.raises(Gone, match="waits for another attempt"):
        await calls.progress(grant_of(ticket), News())
    await again(db, ticket, 1)
    for news in (News(), News(progress=50)):
        with pytest.raises(Gone, match="another attempt has begun"):
            await calls.progress(grant_of(ticket), news)
    with pytest.raises(Gone):
        await calls.complete(grant_of(ticket), SUCCESS)
    assert (await calls.complete(grant_of(ticket), FAILURE)).repeated  # it was said, and is true
    assert await state(db, ticket) == ("RUNNING", None, 2, 2)
    assert (await calls.complete(grant_of(ticket, 2), SUCCESS)).status is Status.SUCCESS
    assert await outcomes(db, ticket) == [(1, "error"), (2, "success")]


async def test_a_failure_that_cannot_be_mended_ends_it(db: Database) -> None:
    ticket, _ = await taken_over(db)
    told = await Callbacks(db).complete(grant_of(ticket), Ending(False, retry=False))
    assert (told.status, told.status_reason) == (Status.FAILED, "error")
    (error,) = await one(db, "SELECT error FROM job_executions")
    assert error["type"] == "target_failed"


async def test_it_counts_as_running(db: Database) -> None:
    ticket, _ = await taken_over(db, max_concurrency=1)
    async with db.transaction() as conn:
        await conn.execute(
            "INSERT INTO job_executions (job_id, scheduled_time) VALUES (%s, %s)",
            (ticket.job_id, NOW + timedelta(seconds=1)),
        )
    (id_,) = await one(db, "SELECT id FROM job_executions WHERE status = 'QUEUED'")
    second = Ticket(id_, ticket.job_id, NOW + timedelta(seconds=1), 0, "default", 10)
    executor = Scripted()
    await attempt(await runner(db, executor), second)
    assert not executor.calls and (await state(db, second))[0] == "QUEUED"
    await Callbacks(db).complete(grant_of(ticket), SUCCESS)
    async with db.transaction() as conn:
        await conn.execute("UPDATE job_executions SET held = NULL WHERE id = %s", (id_,))
    await attempt(await runner(db, executor), second)
    assert (await state(db, second))[0] == "SUCCESS"


async def test_a_sign_of_life_moves_the_heartbeat_and_adds_to_the_log(db: Database) -> None:
    ticket, _ = await taken_over(db)
    await silence(db, ticket)
    before = await due(db, ticket)
    one_process, another = Callbacks(db), Callbacks(db)
    told = await one_process.progress(grant_of(ticket), News(progress=20.7, note="unpacking", lines=[Line("one")]))
    assert told.heartbeat_due == await due(db, ticket) > before
    assert (told.status, told.cancel_requested) == (Status.RUNNING, False)
    await another.progress(grant_of(ticket), News(lines=[Line("two", "error", {"file": 7})]))
    await another.progress(grant_of(ticket), News())
    progress, log = await one(db, "SELECT progress, log_details FROM job_executions")
    assert (progress, log["note"], log["attempt"], log["dropped"]) == (20, "unpacking", 1, 0)
    assert [(line["level"], line["message"]) for line in log["lines"]] == [("info", "one"), ("error", "two")]
    assert log["lines"][1]["file"] == 7
    await another.progress(grant_of(ticket), News(lines=[Line(str(number)) for number in range(300)]))
    (log,) = await one(db, "SELECT log_details FROM job_executions")
    assert (len(log["lines"]), log["dropped"], log["lines"][-1]["message"]) == (200, 102, "299")
    assert await end_silent(db) == 0


async def test_no_heartbeat_outlives_the_end_that_is_due(db: Database) -> None:
    ticket, _ = await taken_over(db)
    async with db.transaction() as conn:
        await conn.execute("UPDATE job_executions SET callback_until = clock_timestamp() + interval '5 seconds'")
    told = await Callbacks(db).progress(grant_of(ticket), News())
    assert told.heartbeat_due == told.end_due


async def test_the_deadline_of_the_execution_bounds_it_too(db: Database) -> None:
    ticket = await waiting(db, deadline_seconds=100)
    async with db.transaction() as conn:
        await conn.execute("UPDATE job_executions SET deadline_at = clock_timestamp() + interval '30 seconds'")
    await attempt(await runner(db, accepting()), ticket)
    assert await one(db, "SELECT callback_due = deadline_at, callback_until = deadline_at FROM job_executions") == (
        True,
        True,
    )
    async with db.transaction() as conn:
        await conn.execute(
            "UPDATE job_executions SET deadline_at = clock_timestamp() - interval '1 second',"
            " callback_due = clock_timestamp() - interval '1 second',"
            " callback_until = clock_timestamp() - interval '1 second'"
        )
    assert await end_silent(db) == 1
    assert (await state(db, ticket))[:2] == ("FAILED", "timeout")
    assert (await one(db, "SELECT error ->> 'type' FROM job_executions")) == ("deadline",)


@pytest.mark.parametrize(
    ("over", "max_attempts", "ends", "error", "outcome"),
    [
        (False, 3, ("QUEUED", None), "callback_silent", "lost"),
        (True, 3, ("QUEUED", None), "timeout", "timeout"),
        (False, 1, ("FAILED", "lost"), "lost", "lost"),
        (True, 1, ("FAILED", "lost"), "lost", "lost"),
    ],
)
async def test_silence_ends_the_attempt(
    db: Database, over: bool, max_attempts: int, ends: tuple[str, str | None], error: str, outcome: str
) -> None:
    ticket, sender = await taken_over(db, max_attempts=max_attempts)
    await silence(db, ticket, over=over)
    assert await end_silent(db) == 1
    assert (await state(db, ticket))[:2] == ends
    row = await one(db, "SELECT outcome, error ->> 'type', worker_id FROM job_attempts")
    assert row == (outcome, error, sender.worker_id)
    assert await end_silent(db) == 0
    with pytest.raises(Gone):
        await Callbacks(db).complete(grant_of(ticket), SUCCESS)


async def test_silence_counts_as_a_failure_of_its_job(db: Database) -> None:
    ticket, _ = await taken_over(db, max_attempts=1, pause_after_failures=1)
    await silence(db, ticket)
    assert await end_silent(db) == 1
    (note,) = await one(db, "SELECT pause_note FROM jobs")
    assert "lost" in note


async def test_many_are_ended_in_bounded_batches_once_by_any_number_of_schedulers(db: Database) -> None:
    tickets = [(await taken_over(db))[0] for _ in range(7)]
    for ticket in tickets:
        await silence(db, ticket)
    ended = await asyncio.gather(*(end_silent(db, batch=2) for _ in range(3)))
    while more := await end_silent(db, batch=2):  # what another held just then was left out
        ended.append(more)
    assert sum(ended) == 7
    assert await one(db, "SELECT count(*) FROM job_attempts") == (7,)


async def test_who_is_calling_just_now_is_not_silent(db: Database) -> None:
    ticket, _ = await taken_over(db)
    await silence(db, ticket)
    async with db.transaction() as conn:
        found = await callbacks.find(conn, grant_of(ticket), lock=True)
        assert found is not None
        await callbacks.hear(conn, found.claimed, progress=None, log_details=None)
        assert await end_silent(db) == 0  # it sees the old row, and cannot lock it
    assert await end_silent(db) == 0
    assert await waits(db, ticket)


async def test_what_runs_again_waits_for_nothing_of_before(db: Database) -> None:
    ticket, _ = await taken_over(db)
    desk = Desk(db)
    await Callbacks(db).complete(grant_of(ticket), SUCCESS)
    await desk.endings.retry(ticket.execution_id, ALICE)
    held = Held()
    running = asyncio.create_task(attempt(await runner(db, held), desk.tickets[-1]))
    await held.started.wait()
    assert not await waits(db, ticket) and await end_silent(db) == 0
    held.release.set()
    await running
    assert await state(db, ticket) == ("SUCCESS", None, 2, 2)


async def test_a_row_that_the_previous_release_claimed_again_is_not_taken_for_waiting(db: Database) -> None:
    """Its claim leaves our columns as they are; worker_id says that a worker has it."""
    ticket, sender = await taken_over(db)
    await silence(db, ticket)
    async with db.transaction() as conn:
        await conn.execute("UPDATE job_executions SET worker_id = %s", (sender.worker_id,))
    assert await end_silent(db) == 0


async def test_the_result_is_capped(db: Database) -> None:
    ticket, _ = await taken_over(db)
    await Callbacks(db).complete(grant_of(ticket), Ending(True, result={"text": "x" * 100_000}))
    (result,) = await one(db, "SELECT result FROM job_executions")
    assert result["truncated"] is True and len(json.dumps(result)) < 65_536
