"""Partitions that a scheduler remembers: never one that has been dropped meanwhile, and by the database's clock."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest

from cronsvc.services.scheduling import Scheduling
from cronsvc.services.upkeep import drop_partitions, make_partitions
from cronsvc.services.weeks import KnownWeeks
from cronsvc.store import clock, partitions
from cronsvc.store.pool import Conn, Database
from tests.support.control import ALICE, Desk, definition
from tests.support.rows import define, fetch, one

OLD = datetime.now(UTC).replace(microsecond=0) - timedelta(weeks=20)


async def test_a_week_that_was_dropped_is_made_again_for_who_catches_up(db: Database) -> None:
    scheduling = Scheduling(db, Desk(db).dispatcher)

    async def late_by_weeks(minute: int) -> int:
        at = OLD + timedelta(minutes=minute)
        await define(db, run_at=at, next_fire_time=at, armed_revision=1)
        fired = (await scheduling.tick()).fired
        await fetch(
            db, "UPDATE job_executions SET status = 'SUCCESS', end_time = now() WHERE status = 'QUEUED' RETURNING 1"
        )
        return fired

    assert [await late_by_weeks(1), await late_by_weeks(2)] == [1, 1]  # made, then found
    assert len(await drop_partitions(db, retention_days=90)) == 2
    assert await late_by_weeks(3) == 1


@pytest.mark.parametrize(("days_after_its_end", "believed"), [(-3, True), (0, True), (2, False)])
async def test_a_week_is_believed_in_while_no_retention_can_drop_it(
    db: Database, days_after_its_end: int, believed: bool
) -> None:
    known, week = KnownWeeks(), partitions.week_of(OLD)
    seen = datetime.combine(week, datetime.min.time(), UTC)
    async with db.transaction() as conn:
        await known.ensure(conn, {week}, now=seen)
    assert not known.have({week}, now=seen)  # its transaction might have been rolled back
    async with db.transaction() as conn:
        await known.ensure(conn, {week}, now=seen)
    assert known.have({week}, now=seen)
    assert known.have({week}, now=seen + partitions.WEEK + timedelta(days=days_after_its_end)) is believed


async def test_the_databases_clock_chooses_the_weeks(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host may be years off: what is made is where the database will write."""
    ahead = datetime.now(UTC) + timedelta(weeks=30)

    async def years_off(conn: Conn) -> datetime:
        return ahead

    monkeypatch.setattr(clock, "now", years_off)
    assert date.fromisoformat((await make_partitions(db))[0]) == partitions.week_of(ahead - timedelta(weeks=1))


async def test_triggers_of_a_new_week_make_it_together(db: Database) -> None:
    desks = [Desk(db) for _ in range(3)]
    made = await desks[0].jobs.create(definition(), ALICE)
    (day,) = await one(db, "SELECT clock_timestamp()::date")
    async with db.transaction() as conn:
        for parent in partitions.PARENTS:
            week = partitions.week_of(datetime.combine(day, datetime.min.time(), UTC))
            await conn.execute(f"DROP TABLE {parent}_{week:%Y%m%d}".encode())
    runs = await asyncio.gather(*(desk.jobs.trigger(made.id, ALICE) for desk in desks for _ in range(3)))
    assert len({run.id for run in runs}) == 9
