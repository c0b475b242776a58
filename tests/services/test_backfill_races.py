"""Many schedulers, crashes, lost pushes and cancels: no instant of a backfill is lost or repeated."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from cronsvc.domain.backfill import BackfillStatus, Counts, Direction
from cronsvc.errors import Unavailable
from cronsvc.services.backfilling import advance_backfills
from cronsvc.services.backfills import Wish
from cronsvc.store.pool import Database
from tests.support.backfills import HOUR, NOON, end_all, hourly, hours, ledger, no_gaps, patchwork, to_the_end
from tests.support.control import ALICE, Desk
from tests.support.crashes import Fuse, dying_after_commit, dying_at_statement
from tests.support.rows import fetch


@pytest.fixture
def desk(db: Database) -> Desk:
    return Desk(db)


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
