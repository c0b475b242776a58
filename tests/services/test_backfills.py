"""Backfills against real Postgres: what they run, in which order, and how much at a time."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from cronsvc.domain.backfill import BackfillStatus, Counts, Direction, Mode
from cronsvc.errors import Conflict
from cronsvc.services.backfilling import advance_backfills
from cronsvc.services.backfills import Wish
from cronsvc.store import dispatches
from cronsvc.store.pool import Database
from tests.support.backfills import (
    HOUR,
    NOON,
    WHOLE_DAY,
    end_all,
    hourly,
    hours,
    no_gaps,
    patchwork,
    ran,
    row,
    to_the_end,
    worker,
)
from tests.support.control import ALICE, Desk
from tests.support.job_types import Scripted, failing
from tests.support.rows import fetch, one


@pytest.fixture
def desk(db: Database) -> Desk:
    return Desk(db)


async def test_a_dry_run_tells_what_would_run_and_writes_nothing(db: Database, desk: Desk) -> None:
    job_id = await patchwork(db)
    before = await fetch(db, "SELECT * FROM job_executions ORDER BY scheduled_time")
    plan = await desk.backfills.plan(job_id, WHOLE_DAY, ALICE)
    assert list(plan.instants) == hours(1, 2, 3, 4, 5, 6, 7, 10, 11, 12)
    assert plan.left_alone == 3
    everything = await desk.backfills.plan(job_id, Wish(NOON, NOON + 12 * HOUR, Mode.ALL), ALICE)
    assert (len(everything.instants), everything.left_alone) == (13, 0)
    assert await fetch(db, "SELECT * FROM job_executions ORDER BY scheduled_time") == before
    assert await one(db, "SELECT count(*) FROM backfills") == (0,)


@pytest.mark.parametrize("direction", list(Direction))
async def test_only_what_is_missing_runs_in_order_and_a_few_at_a_time(
    db: Database, desk: Desk, direction: Direction
) -> None:
    job_id = await patchwork(db)
    cursor = await one(db, "SELECT next_fire_time, last_fire_time, fire_count FROM jobs")
    wish = Wish(NOON, NOON + 12 * HOUR, direction=direction, max_parallel=3, params={"day": 1}, note="outage")
    made = await desk.backfills.start(job_id, wish, ALICE)
    assert (made.backfill.status, made.counts) == (BackfillStatus.RUNNING, Counts(planned=13, waiting=13))
    assert await to_the_end(db, desk, made.backfill.id) == [3, 3, 3, 1]
    expected = hours(1, 2, 3, 4, 5, 6, 7, 10, 11, 12)
    written = await ran(db, job_id)
    assert sorted(written) == expected
    chunks = expected if direction is Direction.OLDEST else expected[::-1]
    assert [set(written[n : n + 3]) for n in (0, 3, 6)] == [set(chunks[n : n + 3]) for n in (0, 3, 6)]
    ended = await desk.backfills.get(made.backfill.id, ALICE)
    assert ended.counts == Counts(planned=13, succeeded=10, skipped=3)
    assert ended.backfill.finished_at is not None
    assert await one(db, "SELECT next_fire_time, last_fire_time, fire_count FROM jobs") == cursor
    assert await no_gaps(db)
    assert await fetch(
        db, "SELECT DISTINCT trigger, params, requested_by, revision FROM job_executions WHERE backfill_id IS NOT NULL"
    ) == [("backfill", {"day": 1}, "key:alice", 1)]
    assert len(desk.tickets) == 10
    assert {ticket.scheduled_time for ticket in desk.tickets} == set(expected)


async def test_a_range_moves_on_when_its_first_instant_runs(db: Database, desk: Desk) -> None:
    """Inside it instants get rows of their own; the row it sits on hands the rest to the next that has none."""
    job_id = await patchwork(db)

    async def ranges() -> list[tuple[Any, ...]]:
        return await fetch(
            db,
            "SELECT scheduled_time, skipped_until, skipped_count, status_reason, previous_time FROM job_executions"
            " WHERE trigger = 'schedule' AND status = 'SKIPPED' AND scheduled_time >= %s",
            NOON + 2 * HOUR,
        )

    for window, left in (
        ((4, 4), [(*hours(2, 7), 6, "misfire", NOON + HOUR)]),
        ((3, 3), [(*hours(2, 7), 6, "misfire", NOON + HOUR)]),
        ((2, 2), [(*hours(5, 7), 3, "misfire", NOON + 4 * HOUR)]),
        ((5, 6), [(NOON + 7 * HOUR, None, None, "misfire", NOON + 6 * HOUR)]),
        ((7, 7), []),
    ):
        start, end = hours(*window)
        made = await desk.backfills.start(job_id, Wish(start, end), ALICE)
        await to_the_end(db, desk, made.backfill.id)
        assert await ranges() == left, window
        assert await no_gaps(db)
    assert sorted(await ran(db, job_id)) == hours(2, 3, 4, 5, 6, 7)
    async with db.transaction() as conn:
        await conn.execute("DELETE FROM job_executions WHERE scheduled_time = %s", (NOON + 7 * HOUR,))
    assert len(await fetch(db, "SELECT * FROM cronsvc_v1.gaps")) == 1  # the view can still see a hole


async def test_a_range_of_an_older_schedule_moves_on_by_that_schedule(db: Database, desk: Desk) -> None:
    job_id = await patchwork(db)
    async with db.transaction() as conn:
        await conn.execute("UPDATE jobs SET cron_expression = '0,30 * * * *' WHERE id = %s", (job_id,))
        await conn.execute(
            "UPDATE jobs SET next_fire_time = clock_timestamp() + interval '1 hour', armed_revision = revision"
        )
    made = await desk.backfills.start(job_id, Wish(NOON + 2 * HOUR, NOON + 2.5 * HOUR), ALICE)
    await to_the_end(db, desk, made.backfill.id)
    assert sorted(await ran(db, job_id)) == [NOON + 2 * HOUR, NOON + 2.5 * HOUR]
    (moved,) = await fetch(
        db, "SELECT scheduled_time, skipped_count FROM job_executions WHERE skipped_until IS NOT NULL"
    )
    assert moved == (NOON + 3 * HOUR, 5)
    assert await no_gaps(db)


async def test_all_runs_again_what_has_ended_with_honest_attempts(db: Database, desk: Desk) -> None:
    job_id = await patchwork(db)
    await row(db, job_id, NOON + 10 * HOUR, "RUNNING", worker_id=uuid4(), attempt=1)
    await row(db, job_id, NOON + 11 * HOUR, "QUEUED")
    await row(db, job_id, NOON + 12 * HOUR, "CANCELLED", status_reason="user", attempt=2, claim_no=2)
    async with db.transaction() as conn:
        await conn.execute(
            "UPDATE job_executions SET resolved_at = now(), resolved_by = 'x', resolve_note = 'y'"
            " WHERE status = 'FAILED'"
        )
    wish = Wish(NOON + 8 * HOUR, NOON + 12 * HOUR, Mode.ALL, max_parallel=100)
    made = await desk.backfills.start(job_id, wish, ALICE)
    assert await advance_backfills(db, desk.dispatcher) == 3
    rows = await fetch(
        db,
        "SELECT scheduled_time, status, attempt, max_attempts, claim_no, backfill_id IS NOT NULL FROM job_executions"
        " WHERE scheduled_time >= %s ORDER BY 1",
        NOON + 8 * HOUR,
    )
    assert [each[1:] for each in rows] == [
        ("QUEUED", 3, 6, 0, True),
        ("QUEUED", 1, 4, 0, True),
        ("RUNNING", 1, 3, 0, False),
        ("QUEUED", 0, 3, 0, False),
        ("QUEUED", 2, 5, 2, True),
    ]
    assert {ticket.claim_no for ticket in desk.tickets} == {0, 2}  # a ticket must name the claim that is there
    assert (await desk.backfills.get(made.backfill.id, ALICE)).counts.skipped == 2


async def test_with_a_real_worker_failures_are_retried_and_counted(db: Database, desk: Desk) -> None:
    job_id = await hourly(db, max_attempts=2, backoff='{"type": "fixed", "delaySeconds": 0, "jitter": 0}')
    made = await desk.backfills.start(job_id, Wish(NOON, NOON + 2 * HOUR, max_parallel=2), ALICE)
    executor = Scripted(failing())
    runner = await worker(db, executor)
    for _ in range(50):
        await advance_backfills(db, desk.dispatcher)
        while desk.tickets:
            await runner.handle(desk.tickets.pop())
            assert await runner.flush(20)
        async with db.transaction() as conn:
            await conn.execute("UPDATE job_executions SET dispatch_at = clock_timestamp() WHERE status = 'QUEUED'")
            desk.tickets += await dispatches.redispatch(conn, batch=100, redispatch=timedelta(seconds=5))
        if (await desk.backfills.get(made.backfill.id, ALICE)).backfill.status is BackfillStatus.FINISHED:
            break
    assert (await desk.backfills.get(made.backfill.id, ALICE)).counts == Counts(planned=3, failed=3)
    assert len(executor.calls) == 6


async def test_the_end_of_a_backfills_execution_rings_the_schedulers_and_no_other(
    db: Database, database_url: str, desk: Desk
) -> None:
    """Otherwise each step would wait for the next poll."""
    job_id = await hourly(db)
    await row(db, job_id, NOON + 5 * HOUR, "QUEUED")
    await desk.backfills.start(job_id, Wish(NOON, NOON), ALICE)
    await advance_backfills(db, desk.dispatcher)
    runner = await worker(db, Scripted())
    (ticket,) = desk.tickets
    plain = await one(
        db, "SELECT id, job_id, scheduled_time, claim_no, queue, priority FROM job_executions WHERE backfill_id IS NULL"
    )
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as listener:
        await listener.execute("LISTEN cronsvc_wake")

        async def rung_by(act: Any) -> int:
            await runner.handle(act)
            assert await runner.flush(20)
            await listener.execute("SELECT 1")
            return len([each async for each in listener.notifies(timeout=0)])

        assert await rung_by(type(ticket)(*plain)) == 0
        assert await rung_by(ticket) == 1


async def test_cancelling_stops_what_has_not_begun_and_lets_the_rest_end(db: Database, desk: Desk) -> None:
    job_id = await hourly(db)
    made = await desk.backfills.start(job_id, Wish(NOON, NOON + 9 * HOUR, max_parallel=3), ALICE)
    await advance_backfills(db, desk.dispatcher)
    async with db.transaction() as conn:
        await conn.execute(
            "UPDATE job_executions SET status = 'RUNNING', worker_id = %s, attempt = 1 WHERE scheduled_time = %s",
            (uuid4(), NOON),
        )
    cancelled = await desk.backfills.cancel(made.backfill.id, ALICE)
    assert cancelled.backfill.status is BackfillStatus.CANCELLED
    assert cancelled.counts == Counts(planned=10, running=1, cancelled=9)
    assert await advance_backfills(db, desk.dispatcher) == 0
    assert (await desk.backfills.cancel(made.backfill.id, ALICE)).counts == cancelled.counts
    async with db.transaction() as conn:
        await conn.execute("UPDATE job_executions SET status = 'SUCCESS' WHERE status = 'RUNNING'")
    await advance_backfills(db, desk.dispatcher)
    ended = await desk.backfills.get(made.backfill.id, ALICE)
    assert ended.counts == Counts(planned=10, succeeded=1, cancelled=9)
    assert ended.backfill.final_counts == {"SUCCESS": 1, "CANCELLED": 2}
    rows = await fetch(db, "SELECT status, status_reason FROM job_executions ORDER BY scheduled_time")
    assert rows == [("SUCCESS", None), ("CANCELLED", "user"), ("CANCELLED", "user")]
    with pytest.raises(Conflict):
        await desk.backfills.resume(made.backfill.id, ALICE)


async def test_a_pause_holds_further_instants_until_it_is_resumed(db: Database, desk: Desk) -> None:
    job_id = await hourly(db)
    made = await desk.backfills.start(job_id, Wish(NOON, NOON + 3 * HOUR), ALICE)
    await advance_backfills(db, desk.dispatcher)
    paused = await desk.backfills.pause(made.backfill.id, ALICE)
    assert (paused.backfill.status, paused.counts.waiting) == (BackfillStatus.PAUSED, 4)
    assert await end_all(db) == 1
    assert await advance_backfills(db, desk.dispatcher) == 0
    await desk.backfills.resume(made.backfill.id, ALICE)
    await to_the_end(db, desk, made.backfill.id)
    assert (await desk.backfills.get(made.backfill.id, ALICE)).counts == Counts(planned=4, succeeded=4)
    actions = await fetch(db, "SELECT actor, action FROM audit_log WHERE entity = 'backfill' ORDER BY id")
    assert actions == [("key:alice", action) for action in ("start", "pause", "resume")]


async def test_a_deleted_job_ends_its_backfills(db: Database, desk: Desk) -> None:
    job_id = await hourly(db)
    made = await desk.backfills.start(job_id, Wish(NOON, NOON + 3 * HOUR, max_parallel=2), ALICE)
    await advance_backfills(db, desk.dispatcher)
    await desk.jobs.delete(job_id, ALICE)
    assert await advance_backfills(db, desk.dispatcher) == 0
    ended = await desk.backfills.get(made.backfill.id, ALICE)
    assert (ended.backfill.status, ended.counts) == (BackfillStatus.CANCELLED, Counts(planned=4, cancelled=4))


async def test_a_backfill_runs_the_definition_it_was_started_with(db: Database, desk: Desk) -> None:
    job_id = await hourly(db)
    made = await desk.backfills.start(job_id, Wish(NOON, NOON + 3 * HOUR), ALICE)
    await advance_backfills(db, desk.dispatcher)
    async with db.transaction() as conn:
        await conn.execute("UPDATE jobs SET cron_expression = '30 * * * *', max_attempts = 9, queue = 'other'")
    await to_the_end(db, desk, made.backfill.id)
    assert await fetch(db, "SELECT scheduled_time, revision, max_attempts, queue FROM job_executions ORDER BY 1") == [
        (at, 1, 3, "default") for at in hours(0, 1, 2, 3)
    ]
