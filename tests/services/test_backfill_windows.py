"""Which windows a backfill may be asked for, and what it finds at their edges."""

from datetime import UTC, datetime, timedelta

import pytest

from cronsvc.domain.backfill import BackfillStatus, Counts, Direction, Mode
from cronsvc.errors import InvalidInput, NotFound
from cronsvc.services.backfilling import advance_backfills
from cronsvc.services.backfills import Wish
from cronsvc.services.scheduling import Scheduling
from cronsvc.store.pool import Database
from tests.support.backfills import HOUR, NOON, WHOLE_DAY, hourly, hours, no_gaps, patchwork, ran, to_the_end
from tests.support.control import ALICE, RED, Desk
from tests.support.rows import one


@pytest.fixture
def desk(db: Database) -> Desk:
    return Desk(db)


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

    cursor = {"next_fire_time": NOON + 5 * HOUR, "last_fire_time": NOON + 4 * HOUR}
    paused = await hourly(db, **cursor, paused_at=NOON, paused_by="x")
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
