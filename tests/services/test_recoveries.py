"""Recovery of the fleet: what counts as missing, what each policy runs of it, and the bound that all jobs share."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from cronsvc.domain.backfill import BackfillStatus, Counts, Direction, Selector
from cronsvc.errors import Conflict, Forbidden, InvalidInput, NotFound
from cronsvc.services.backfilling import advance_backfills
from cronsvc.services.recoveries import JobRecovery, RecoveryPlan, RecoveryWish
from cronsvc.store.pool import Database
from tests.support.backfills import HOUR, NOON, end_all, hourly, hours, no_gaps, ran, row, unfinished
from tests.support.control import ALICE, RED, Desk
from tests.support.rows import fetch, one

WINDOW = RecoveryWish(NOON, NOON + 9 * HOUR)


@pytest.fixture
def desk(db: Database) -> Desk:
    return Desk(db)


async def old_hourly(db: Database, **columns: Any) -> int:
    """An hourly job whose schedule was in force long before the outage."""
    job_id = await hourly(db, **columns)
    await in_force_since(db, job_id, NOON - 100 * HOUR)
    return job_id


async def in_force_since(db: Database, job_id: int, at: Any) -> None:
    """Let the present revision be that old; the table refuses updates, so its trigger is put aside."""
    async with db.transaction() as conn:
        await conn.execute("ALTER TABLE job_revisions DISABLE TRIGGER job_revisions_append_only")
        await conn.execute(
            "UPDATE job_revisions SET created_at = %s WHERE job_id = %s"
            " AND revision = (SELECT max(revision) FROM job_revisions WHERE job_id = %s)",
            (at, job_id, job_id),
        )
        await conn.execute("ALTER TABLE job_revisions ENABLE TRIGGER job_revisions_append_only")


async def outage(db: Database, **columns: Any) -> int:
    """Ran at 0, was down from 1 to 6 (a range row of misfires), caught up with 7, missed 8 without a trace."""
    job_id = await old_hourly(db, **columns)
    await row(db, job_id, NOON, start_time=NOON, end_time=NOON + timedelta(minutes=3))
    await row(
        db,
        job_id,
        NOON + HOUR,
        "SKIPPED",
        status_reason="misfire",
        previous_time=NOON,
        skipped_until=NOON + 6 * HOUR,
        skipped_count=6,
    )
    await row(
        db,
        job_id,
        NOON + 7 * HOUR,
        previous_time=NOON + 6 * HOUR,
        start_time=NOON + 7 * HOUR,
        end_time=NOON + 7 * HOUR + timedelta(minutes=3),
    )
    await row(db, job_id, NOON + 9 * HOUR, "SKIPPED", status_reason="overlap")
    return job_id


def by_job(plan: RecoveryPlan) -> dict[int, JobRecovery]:
    return {each.job.id: each for each in plan.jobs}


async def to_the_end(db: Database, desk: Desk, recovery_id: int) -> list[int]:
    steps: list[int] = []
    for _ in range(200):
        await advance_backfills(db, desk.dispatcher)
        if (await desk.recoveries.get(recovery_id, ALICE)).recovery.status is BackfillStatus.FINISHED:
            return steps
        steps.append(await unfinished(db))
        await end_all(db)
    raise AssertionError("the recovery does not end")


async def test_each_policy_runs_its_share_of_what_was_missed(db: Database, desk: Desk) -> None:
    none = await outage(db, misfire_policy="skip")
    latest = await outage(db, misfire_policy="fire_once")
    three = await outage(db, misfire_policy="fire_all", misfire_cap=3)
    every = await outage(db, misfire_policy="fire_all")
    before = await fetch(db, "SELECT * FROM job_executions ORDER BY id")
    plan = await desk.recoveries.plan(WINDOW, ALICE)
    assert {job: each.missing for job, each in by_job(plan).items()} == dict.fromkeys((none, latest, three, every), 7)
    assert {job: list(each.runs) for job, each in by_job(plan).items()} == {
        none: [],
        latest: hours(8),
        three: hours(5, 6, 8),
        every: hours(1, 2, 3, 4, 5, 6, 8),
    }
    assert by_job(plan)[every].minutes(1) == pytest.approx(21)
    assert plan.minutes == pytest.approx(21)  # the slowest job; all eleven through ten slots would be faster
    assert await fetch(db, "SELECT * FROM job_executions ORDER BY id") == before

    made = await desk.recoveries.start(WINDOW, ALICE)
    assert (made.recovery.jobs, made.recovery.status) == (3, BackfillStatus.RUNNING)
    await to_the_end(db, desk, made.recovery.id)
    assert [sorted(await ran(db, job)) for job in (none, latest, three, every)] == [
        [],
        hours(8),
        hours(5, 6, 8),
        hours(1, 2, 3, 4, 5, 6, 8),
    ]
    ended = await desk.recoveries.get(made.recovery.id, ALICE)
    assert (ended.counts.succeeded, ended.counts.waiting, ended.counts.failed) == (11, 0, 0)
    assert await fetch(db, "SELECT DISTINCT trigger FROM job_executions WHERE backfill_id IS NOT NULL") == [
        ("recovery",)
    ]
    assert await no_gaps(db)
    again = await desk.recoveries.plan(WINDOW, ALICE)
    assert every not in by_job(again)  # nothing of it is missing any more


async def test_only_what_the_schedule_in_force_named_can_be_missing(db: Database, desk: Desk) -> None:
    new = await hourly(db)  # created a moment ago
    edited = await old_hourly(db, misfire_policy="fire_all")
    async with db.transaction() as conn:
        await conn.execute("UPDATE jobs SET cron_expression = '30 * * * *' WHERE id = %s", (edited,))
        await conn.execute("UPDATE jobs SET description = 'said more' WHERE id = %s", (edited,))
        await conn.execute(
            "UPDATE jobs SET next_fire_time = clock_timestamp() + interval '1 hour', armed_revision = revision"
            " WHERE id = %s",
            (edited,),
        )
        await conn.execute("ALTER TABLE job_revisions DISABLE TRIGGER job_revisions_append_only")
        await conn.execute(
            "UPDATE job_revisions SET created_at = %s WHERE job_id = %s AND revision = 2", (NOON + 4 * HOUR, edited)
        )
        await conn.execute("ALTER TABLE job_revisions ENABLE TRIGGER job_revisions_append_only")
    behind = await old_hourly(db, next_fire_time=NOON + 2 * HOUR, misfire_policy="fire_all")
    paused = await old_hourly(db, misfire_policy="fire_all")
    await row(db, paused, NOON, "SKIPPED", status_reason="paused", skipped_until=NOON + 8 * HOUR, skipped_count=9)
    for columns in ({"is_active": False}, {"quarantine_reason": "x"}):
        await old_hourly(db, **columns)
    plan = by_job(await desk.recoveries.plan(WINDOW, ALICE))
    assert new not in plan
    assert list(plan[edited].runs) == [NOON + (n + 0.5) * HOUR for n in range(4, 9)]
    assert list(plan[behind].runs) == hours(0, 1)
    assert list(plan[paused].runs) == hours(9)
    assert set(plan) == {edited, behind, paused}


async def test_all_jobs_share_one_bound_with_many_schedulers_stepping(db: Database, desk: Desk) -> None:
    jobs = [await outage(db, misfire_policy="fire_all") for _ in range(6)]
    wish = RecoveryWish(NOON, NOON + 9 * HOUR, max_parallel=3, max_total=5, direction=Direction.NEWEST)
    made = await desk.recoveries.start(wish, ALICE)
    for _ in range(100):
        await asyncio.gather(*(advance_backfills(db, Desk(db).dispatcher) for _ in range(5)))
        busy = await fetch(db, "SELECT count(*) FROM job_executions WHERE status = 'QUEUED' GROUP BY job_id")
        assert sum(number for (number,) in busy) <= 5 and all(number <= 3 for (number,) in busy)
        if not await end_all(db) and (await desk.recoveries.get(made.recovery.id, ALICE)).recovery.finished_at:
            break
    assert [sorted(await ran(db, job)) for job in jobs] == [hours(1, 2, 3, 4, 5, 6, 8)] * 6
    ended = await desk.recoveries.get(made.recovery.id, ALICE)
    assert ended.recovery.status is BackfillStatus.FINISHED and ended.counts.succeeded == 42
    assert await no_gaps(db)


async def test_cancelling_a_recovery_cancels_its_backfills(db: Database, desk: Desk) -> None:
    for _ in range(3):
        await outage(db, misfire_policy="fire_all")
    made = await desk.recoveries.start(WINDOW, ALICE)
    await advance_backfills(db, desk.dispatcher)
    first = (await desk.backfills.list(ALICE, recovery_id=made.recovery.id)).items[-1].backfill.id
    await desk.backfills.cancel(first, ALICE)
    cancelled = await desk.recoveries.cancel(made.recovery.id, ALICE)
    assert cancelled.recovery.status is BackfillStatus.CANCELLED
    assert cancelled.counts == Counts(planned=24, cancelled=24)
    assert await advance_backfills(db, desk.dispatcher) == 0
    assert await unfinished(db) == 0
    assert (await desk.recoveries.cancel(made.recovery.id, ALICE)).counts == cancelled.counts
    actions = await fetch(db, "SELECT action FROM audit_log WHERE entity = 'recovery' ORDER BY id")
    assert actions == [("start",), ("cancel",)]


async def test_the_last_backfill_that_is_cancelled_ends_its_recovery(db: Database, desk: Desk) -> None:
    await outage(db)
    made = await desk.recoveries.start(WINDOW, ALICE)
    (only,) = (await desk.backfills.list(ALICE, recovery_id=made.recovery.id)).items
    await desk.backfills.cancel(only.backfill.id, ALICE)
    assert (await desk.recoveries.get(made.recovery.id, ALICE)).recovery.status is BackfillStatus.FINISHED
    with pytest.raises(Conflict):
        await desk.recoveries.cancel(made.recovery.id, ALICE)


async def test_selectors_choose_jobs(db: Database, desk: Desk) -> None:
    red = await outage(db, namespace="red", tags=["a", "b"], queue="slow", name="red-one")
    other = await outage(db, tags=["a"], name="other_one")
    for selector, chosen in (
        (Selector(), {red, other}),
        (Selector(namespace="red"), {red}),
        (Selector(tags=("a",)), {red, other}),
        (Selector(tags=("a", "b")), {red}),
        (Selector(queue="slow"), {red}),
        (Selector(name_prefix="other_"), {other}),
        (Selector(name_prefix="other%"), set()),
        (Selector(job_ids=(other, 424242)), {other}),
        (Selector(job_ids=()), set()),
        (Selector(tags=("a",), queue="slow", job_ids=(other,)), set()),
    ):
        plan = await desk.recoveries.plan(RecoveryWish(NOON, NOON + 9 * HOUR, selector), ALICE)
        assert set(by_job(plan)) == chosen, selector


async def test_foreign_namespaces_are_out_of_reach(db: Database, desk: Desk) -> None:
    red, other = await outage(db, namespace="red"), await outage(db)
    assert set(by_job(await desk.recoveries.plan(WINDOW, RED))) == {red}
    ours = await desk.recoveries.start(WINDOW, RED)
    theirs = await desk.recoveries.start(WINDOW, ALICE)
    with pytest.raises(Forbidden):
        await desk.recoveries.plan(RecoveryWish(NOON, NOON, Selector(namespace="default")), RED)
    for act in (desk.recoveries.get, desk.recoveries.cancel):
        with pytest.raises(NotFound):
            await act(theirs.recovery.id, RED)
    assert [each.recovery.id for each in (await desk.recoveries.list(RED)).items] == [ours.recovery.id]
    assert [each.recovery.id for each in (await desk.recoveries.list(ALICE)).items] == [
        theirs.recovery.id,
        ours.recovery.id,
    ]
    assert await one(db, "SELECT count(*) FROM backfills WHERE job_id = %s", other) == (1,)


async def test_with_nothing_to_run_it_is_finished_at_once(db: Database, desk: Desk) -> None:
    await outage(db, misfire_policy="skip")
    made = await desk.recoveries.start(WINDOW, ALICE)
    assert (made.recovery.status, made.recovery.jobs, made.counts) == (BackfillStatus.FINISHED, 0, Counts())


async def test_windows_and_bounds_are_checked(db: Database, desk: Desk) -> None:
    for _ in range(2):
        await old_hourly(db, cron_expression="* * * * * *")
    for wish, field in (
        (RecoveryWish(NOON, NOON - HOUR), "from"),
        (RecoveryWish(NOON, NOON + 1000 * HOUR), "to"),
        (RecoveryWish(NOON - timedelta(days=100), NOON), "from"),
        (RecoveryWish(NOON, NOON + 14 * HOUR), "to"),  # 100,802 instants of two jobs
        (RecoveryWish(NOON, NOON, max_parallel=0), "maxParallel"),
        (RecoveryWish(NOON, NOON, max_total=1001), "maxTotal"),
        (RecoveryWish(NOON, NOON, Selector(tags=("\0",))), "selector.tags"),
        (RecoveryWish(NOON, NOON, note="\0"), "note"),
    ):
        with pytest.raises(InvalidInput) as caught:
            await desk.recoveries.start(wish, ALICE)
        assert [error.field for error in caught.value.errors] == [field], wish
    assert await one(db, "SELECT count(*) FROM recoveries") == (0,)
