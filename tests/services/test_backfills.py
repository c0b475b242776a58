"""Backfills against real Postgres: what they run, how much at a time, and that no crash loses or repeats an instant."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from cronsvc.domain.backfill import BackfillStatus, Counts, Direction, Mode
from cronsvc.errors import Conflict, InvalidInput, NotFound, Unavailable
from cronsvc.executors.base import Executor
from cronsvc.services.backfilling import advance_backfills
from cronsvc.services.backfills import Wish
from cronsvc.services.running import Runner
from cronsvc.services.scheduling import Scheduling
from cronsvc.store import dispatches, presence
from cronsvc.store.pool import Database
from tests.support.control import ALICE, RED, Desk
from tests.support.crashes import Fuse, dying_after_commit, dying_at_statement
from tests.support.job_types import Scripted, failing
from tests.support.rows import define, fetch, one

HOUR = timedelta(hours=1)
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=3)


@pytest.fixture
def desk(db: Database) -> Desk:
    return Desk(db)


async def hourly(db: Database, **columns: Any) -> int:
    """A job whose schedule has passed everything up to an hour ago, and has left no row of it."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    given = {
        "cron_expression": "0 * * * *",
        "next_fire_time": now + HOUR,
        "last_fire_time": now,
        "armed_revision": 1,
        "task_payload": '{"type": "CALL", "config": {"url": "https://example.com/"}}',
    }
    return await define(db, **(given | columns))


async def row(db: Database, job_id: int, at: datetime, status: str = "SUCCESS", **columns: Any) -> None:
    """A row that the schedule wrote."""
    given = {"job_id": job_id, "scheduled_time": at, "status": status, "dispatch_at": None} | columns
    names, places = ", ".join(given), ", ".join(["%s"] * len(given))
    async with db.transaction() as conn:
        await conn.execute(f"INSERT INTO job_executions ({names}) VALUES ({places})".encode(), list(given.values()))


async def end_all(db: Database, status: str = "SUCCESS") -> int:
    """What a worker does to everything that waits, in one statement."""
    async with db.transaction() as conn:
        return (
            await conn.execute(
                "UPDATE job_executions SET status = %s, attempt = attempt + 1, claim_no = claim_no + 1,"
                " end_time = clock_timestamp(), dispatch_at = NULL WHERE status = 'QUEUED'",
                (status,),
            )
        ).rowcount


async def unfinished(db: Database) -> int:
    (number,) = await one(db, "SELECT count(*) FROM job_executions WHERE status IN ('QUEUED', 'RUNNING')")
    return int(number)


async def to_the_end(db: Database, desk: Desk, backfill_id: int) -> list[int]:
    """Step and finish until the backfill has ended; returns how many executions were under way at each step."""
    steps: list[int] = []
    for _ in range(500):
        await advance_backfills(db, desk.dispatcher)
        if (await desk.backfills.get(backfill_id, ALICE)).backfill.status is BackfillStatus.FINISHED:
            return steps
        steps.append(await unfinished(db))
        await end_all(db)
    raise AssertionError("the backfill does not end")


def hours(*numbers: int) -> list[datetime]:
    return [NOON + number * HOUR for number in numbers]


async def worker(db: Database, executor: Executor) -> Runner:
    """A worker process that is alive."""
    worker_id = uuid4()
    async with db.statements() as conn:
        await presence.register_worker(
            conn,
            process_id=worker_id,
            name="test",
            version="0",
            queues=["default"],
            concurrency=5,
            lease=timedelta(minutes=5),
        )
    return Runner(db, {"CALL": executor}, worker_id=worker_id)


async def ran(db: Database, job_id: int) -> list[datetime]:
    """The instants that backfills of this job ran, in the order they were written."""
    rows = await fetch(
        db,
        "SELECT scheduled_time FROM job_executions WHERE job_id = %s AND backfill_id IS NOT NULL"
        " AND status = 'SUCCESS' ORDER BY ready_at, scheduled_time",
        job_id,
    )
    return [at for (at,) in rows]


async def no_gaps(db: Database) -> bool:
    return not await fetch(db, "SELECT * FROM cronsvc_v1.gaps")


async def patchwork(db: Database) -> int:
    """A day with everything in it: holes, a success, skips, a range over six hours, a failure; the chain unbroken."""
    job_id = await hourly(db)
    await row(db, job_id, NOON + 0 * HOUR, previous_time=None)
    await row(db, job_id, NOON + 1 * HOUR, "SKIPPED", status_reason="overlap", previous_time=NOON)
    await row(
        db,
        job_id,
        NOON + 2 * HOUR,
        "SKIPPED",
        status_reason="misfire",
        previous_time=NOON + 1 * HOUR,
        skipped_until=NOON + 7 * HOUR,
        skipped_count=6,
    )
    await row(db, job_id, NOON + 8 * HOUR, "FAILED", previous_time=NOON + 7 * HOUR, attempt=3, max_attempts=3)
    await row(db, job_id, NOON + 9 * HOUR, "SUCCESS", previous_time=NOON + 8 * HOUR, attempt=1)
    return job_id


WHOLE_DAY = Wish(NOON, NOON + 12 * HOUR)


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


@pytest.mark.parametrize("locks", [True, False], ids=["locks-on", "locks-off"])
async def test_many_schedulers_stepping_at_once_start_each_instant_once(db: Database, desk: Desk, locks: bool) -> None:
    """Two backfills of one job over the same day, too: together they run it once."""
    job_id = await patchwork(db)
    made = [
        await desk.backfills.start(job_id, Wish(NOON, NOON + 40 * HOUR, direction=each, max_parallel=4), ALICE)
        for each in (Direction.OLDEST, Direction.NEWEST)
    ]
    replicas = [Desk(db) for _ in range(5)]
    for _ in range(200):
        answers = await asyncio.gather(
            *(advance_backfills(db, each.dispatcher, advisory_locks=locks) for each in replicas), return_exceptions=True
        )
        # Without the advisory lock two backfills of one job may meet in a deadlock, which Postgres ends.
        assert all(isinstance(each, int) or (not locks and isinstance(each, Unavailable)) for each in answers), answers
        busy = await fetch(db, "SELECT backfill_id, count(*) FROM job_executions WHERE status = 'QUEUED' GROUP BY 1")
        assert all(number <= 4 for _, number in busy)
        await end_all(db)
        found = [await desk.backfills.get(each.backfill.id, ALICE) for each in made]
        if all(each.backfill.status is BackfillStatus.FINISHED for each in found):
            break
    else:
        raise AssertionError("the backfills do not end")
    expected = [at for at in hours(*range(41)) if at not in hours(0, 8, 9)]
    rows = await fetch(
        db, "SELECT scheduled_time, attempt FROM job_executions WHERE backfill_id IS NOT NULL ORDER BY 1"
    )
    assert rows == [(at, 1) for at in expected]
    tickets = [ticket.scheduled_time for each in replicas for ticket in each.tickets]
    assert sorted(tickets) == expected
    assert sum(each.counts.succeeded for each in found) == len(expected)
    assert all(each.counts.planned == each.counts.succeeded + each.counts.skipped == 41 for each in found)
    assert await no_gaps(db)


async def ledger(db: Database, job_id: int) -> list[tuple[Any, ...]]:
    return await fetch(
        db,
        "SELECT scheduled_time, status, status_reason, trigger, attempt, skipped_until, skipped_count, previous_time"
        "  FROM job_executions WHERE job_id = %s ORDER BY scheduled_time",
        job_id,
    )


@pytest.mark.parametrize("crash", [dying_at_statement, dying_after_commit], ids=["statement", "commit"])
async def test_a_crash_at_any_point_loses_no_instant_and_repeats_none(
    db: Database, desk: Desk, crash: Callable[[int], AbstractContextManager[Fuse]]
) -> None:
    """The ledger at the end is the same, wherever the connection died on the way, once in every place there is."""
    wish = Wish(NOON, NOON + 12 * HOUR, max_parallel=4)
    calm_job = await patchwork(db)
    calm = await desk.backfills.start(calm_job, wish, ALICE)
    await to_the_end(db, desk, calm.backfill.id)
    expected = await ledger(db, calm_job)
    final = (await desk.backfills.get(calm.backfill.id, ALICE)).counts
    places = 0
    while True:
        job_id = await patchwork(db)
        made = await desk.backfills.start(job_id, wish, ALICE)
        with crash(places) as fuse:
            for _ in range(100):
                try:
                    await advance_backfills(db, desk.dispatcher)
                except Unavailable:
                    assert fuse.blown
                if fuse.blown:
                    break
                if not await _end_one_quietly(db, fuse):
                    break
        await to_the_end(db, desk, made.backfill.id)
        assert await ledger(db, job_id) == expected, places
        ended = await desk.backfills.get(made.backfill.id, ALICE)
        assert (ended.counts, ended.backfill.started, ended.backfill.left_alone) == (final, 10, 3), places
        if not fuse.blown:
            break
        places += 1
    assert places >= (20 if crash is dying_at_statement else 4)  # each step did die somewhere
    assert await no_gaps(db)


async def _end_one_quietly(db: Database, fuse: Fuse) -> int:
    """End what waits; the fuse neither counts nor blows here."""
    at, fuse.at = fuse.at, 10**9
    seen = fuse.seen
    ended = await end_all(db)
    fuse.at, fuse.seen = at, seen
    return ended


async def test_a_lost_push_costs_delay_only(db: Database, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies between commit and push leaves rows that are dispatched again."""
    job_id = await hourly(db)
    await desk.backfills.start(job_id, Wish(NOON, NOON + HOUR, max_parallel=2), ALICE)

    async def dead(_tickets: object) -> int:
        raise Unavailable("this process is killed")

    broken = Desk(db)
    monkeypatch.setattr(broken.dispatcher, "push", dead)
    with pytest.raises(Unavailable):
        await advance_backfills(db, broken.dispatcher)
    assert await advance_backfills(db, desk.dispatcher) == 0 and desk.tickets == []
    waiting = await fetch(db, "SELECT status, dispatch_at > clock_timestamp() FROM job_executions")
    assert waiting == [("QUEUED", True)] * 2


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


async def test_cancelling_while_schedulers_step_starts_nothing_afterwards(db: Database, desk: Desk) -> None:
    for _ in range(10):
        job_id = await hourly(db)
        made = await desk.backfills.start(job_id, Wish(NOON, NOON + 20 * HOUR, max_parallel=5), ALICE)
        await asyncio.gather(
            advance_backfills(db, desk.dispatcher),
            desk.backfills.cancel(made.backfill.id, ALICE),
            advance_backfills(db, desk.dispatcher),
        )
        await advance_backfills(db, desk.dispatcher)
        assert await fetch(db, "SELECT 1 FROM job_executions WHERE job_id = %s AND status <> 'CANCELLED'", job_id) == []


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


async def test_weeks_that_nobody_made_are_made_and_no_gap_appears(db: Database, desk: Desk) -> None:
    job_id = await patchwork(db)
    far = NOON - timedelta(days=60)
    async with db.transaction() as conn:  # the row that the oldest one names was forgotten by retention
        await conn.execute("UPDATE job_executions SET previous_time = %s WHERE scheduled_time = %s", (far + HOUR, NOON))
    made = await desk.backfills.start(job_id, Wish(far, far), ALICE)
    await to_the_end(db, desk, made.backfill.id)
    assert await ran(db, job_id) == [far]
    assert await no_gaps(db)


async def test_windows_are_bounded_and_the_field_is_named(db: Database, desk: Desk) -> None:
    job_id = await hourly(db)
    every_second = await hourly(db, cron_expression="* * * * * *")
    now = datetime.now(UTC)
    for job, wish, field in (
        (job_id, Wish(NOON, now + timedelta(minutes=5)), "to"),
        (job_id, Wish(NOON + HOUR, NOON), "from"),
        (job_id, Wish(now - timedelta(days=91), NOON), "from"),
        (job_id, Wish(NOON.replace(tzinfo=None), NOON), "from"),
        (every_second, Wish(NOON, NOON + 30 * HOUR), "to"),
        (job_id, Wish(NOON, NOON, max_parallel=101), "maxParallel"),
        (job_id, Wish(NOON, NOON, params={"url": 5}), "params.url"),
        (job_id, Wish(NOON, NOON, note="\0"), "note"),
    ):
        for act in (desk.backfills.plan, desk.backfills.start):
            with pytest.raises(InvalidInput) as caught:
                await act(job, wish, ALICE)
            assert [error.field for error in caught.value.errors] == [field], wish
    assert await one(db, "SELECT count(*) FROM backfills") == (0,)
    assert len((await desk.backfills.plan(every_second, Wish(NOON, NOON + 27 * HOUR), ALICE)).instants) == 97_201


async def test_a_job_with_its_own_retention_is_not_filled_beyond_it(db: Database, desk: Desk) -> None:
    job_id = await hourly(db, retention='{"keepCompleted": null, "keepFailed": null, "days": 2}')
    with pytest.raises(InvalidInput, match="retention has ended"):
        await desk.backfills.plan(job_id, Wish(NOON, NOON), ALICE)


async def test_what_lies_ahead_of_the_schedule_is_left_to_it(db: Database, desk: Desk) -> None:
    """A row there would be in the way of the range row that the pause or the outage leaves, and make a gap."""
    behind = await hourly(db, next_fire_time=NOON + 5 * HOUR, last_fire_time=NOON + 4 * HOUR)
    plan = await desk.backfills.plan(behind, Wish(NOON, NOON + 9 * HOUR), ALICE)
    assert list(plan.instants) == hours(0, 1, 2, 3, 4)
    with pytest.raises(InvalidInput, match="wait for them"):
        await desk.backfills.plan(behind, Wish(NOON + 5 * HOUR, NOON + 9 * HOUR), ALICE)
    made = await desk.backfills.start(behind, Wish(NOON, NOON + 9 * HOUR, max_parallel=50), ALICE)
    await to_the_end(db, desk, made.backfill.id)
    await Scheduling(db, desk.dispatcher).tick(now=datetime.now(UTC))
    assert await no_gaps(db)

    paused = await hourly(db, next_fire_time=NOON + 5 * HOUR, paused_at=NOON, paused_by="x")
    with pytest.raises(InvalidInput, match="resume it first"):
        await desk.backfills.plan(paused, Wish(NOON, NOON + 9 * HOUR), ALICE)
    assert len((await desk.backfills.plan(paused, Wish(NOON, NOON + 4 * HOUR), ALICE)).instants) == 5
    await desk.jobs.resume(paused, ALICE)
    assert len((await desk.backfills.plan(paused, Wish(NOON, NOON + 9 * HOUR), ALICE)).instants) == 10


async def test_pruned_instants_had_their_rows_and_are_not_missing(db: Database, desk: Desk) -> None:
    job_id = await hourly(db)
    async with db.transaction() as conn:
        await conn.execute(
            "INSERT INTO job_statistics (job_id, day, trigger, success, failed, skipped, cancelled, attempts,"
            " duration_ms_sum, first_time, last_time) VALUES (%s, %s, 'schedule', 4, 0, 0, 0, 4, 0, %s, %s)",
            (job_id, NOON.date(), NOON + HOUR, NOON + 4 * HOUR),
        )
    assert list((await desk.backfills.plan(job_id, WHOLE_DAY, ALICE)).instants) == hours(0, *range(5, 13))
    again = Wish(NOON, NOON + 12 * HOUR, Mode.ALL)
    assert len((await desk.backfills.plan(job_id, again, ALICE)).instants) == 13


async def test_foreign_namespaces_do_not_exist(db: Database, desk: Desk) -> None:
    job_id, red_job = await hourly(db), await hourly(db, namespace="red")
    theirs = await desk.backfills.start(job_id, Wish(NOON, NOON), ALICE)
    ours = await desk.backfills.start(red_job, Wish(NOON, NOON), RED)
    with pytest.raises(NotFound):
        await desk.backfills.plan(job_id, Wish(NOON, NOON), RED)
    with pytest.raises(NotFound):
        await desk.backfills.start(job_id, Wish(NOON, NOON), RED)
    for act in (desk.backfills.get, desk.backfills.cancel, desk.backfills.pause, desk.backfills.resume):
        with pytest.raises(NotFound):
            await act(theirs.backfill.id, RED)
    assert [each.backfill.id for each in (await desk.backfills.list(RED)).items] == [ours.backfill.id]


async def test_lists_filter_and_page(db: Database, desk: Desk) -> None:
    jobs = [await hourly(db) for _ in range(2)]
    ids = [(await desk.backfills.start(jobs[number % 2], Wish(NOON, NOON), ALICE)).backfill.id for number in range(5)]
    first = await desk.backfills.list(ALICE, limit=3)
    rest = await desk.backfills.list(ALICE, limit=3, cursor=first.next_cursor)
    assert [each.backfill.id for each in (*first.items, *rest.items)] == ids[::-1] and rest.next_cursor is None
    await desk.backfills.cancel(ids[0], ALICE)
    of_one = await desk.backfills.list(ALICE, job_id=jobs[0], status=BackfillStatus.CANCELLED)
    assert [each.backfill.id for each in of_one.items] == ids[:1]


async def test_a_window_without_work_is_finished_by_the_first_step(db: Database, desk: Desk) -> None:
    job_id = await hourly(db)
    made = await desk.backfills.start(job_id, Wish(NOON + HOUR / 4, NOON + HOUR / 2), ALICE)
    assert made.counts == Counts()
    await advance_backfills(db, desk.dispatcher)
    assert (await desk.backfills.get(made.backfill.id, ALICE)).backfill.status is BackfillStatus.FINISHED


async def test_a_long_window_that_has_nearly_all_is_walked_in_several_steps(db: Database, desk: Desk) -> None:
    job_id = await hourly(db, cron_expression="* * * * * *")
    async with db.transaction() as conn:
        await conn.execute(
            "INSERT INTO job_executions (job_id, scheduled_time, status, dispatch_at)"
            " SELECT %s, t, 'SUCCESS', NULL FROM generate_series(%s, %s, interval '1 second') AS t",
            (job_id, NOON, NOON + 3 * HOUR - timedelta(seconds=2)),
        )
    for direction in Direction:
        wish = Wish(NOON, NOON + 3 * HOUR, direction=direction)
        made = await desk.backfills.start(job_id, wish, ALICE)
        await to_the_end(db, desk, made.backfill.id)
        ran_now = (await desk.backfills.get(made.backfill.id, ALICE)).counts
        assert ran_now.planned == 10_801 and ran_now.skipped + ran_now.succeeded == 10_801
    assert len(await ran(db, job_id)) == 2


async def test_one_backfill_that_cannot_be_stepped_holds_up_no_other(
    db: Database, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = await hourly(db), await hourly(db)
    broken = await desk.backfills.start(bad, Wish(NOON, NOON), ALICE)
    fine = await desk.backfills.start(good, Wish(NOON, NOON), ALICE)
    async with db.transaction() as conn:
        await conn.execute("UPDATE backfills SET revision = 99 WHERE id = %s", (broken.backfill.id,))
    await to_the_end(db, desk, fine.backfill.id)
    assert "cannot be stepped" in caplog.text
    assert (await desk.backfills.get(fine.backfill.id, ALICE)).counts == Counts(planned=1, succeeded=1)
