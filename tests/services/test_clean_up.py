"""Clean-ups by hand, weeks that are dropped, and the statistics that outlive both."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

import pytest

from cronsvc.domain.execution import Trigger
from cronsvc.errors import InvalidInput, NotFound
from cronsvc.services.history import History
from cronsvc.services.upkeep import drop_partitions
from cronsvc.store import partitions
from cronsvc.store.pool import Database
from tests.support.control import ALICE, RED
from tests.support.pruning import GAPS, START, keeping, kept, left, minute, ran, record
from tests.support.rows import define, fetch, one


async def weeks_ago(db: Database, weeks: int) -> datetime:
    """The start of a week in the past, with a partition made for it."""
    monday = partitions.week_of(datetime.now(UTC)) - timedelta(weeks=weeks)
    async with db.transaction() as conn:
        await partitions.ensure(conn, {monday})
    return datetime.combine(monday, time(), UTC)


async def test_a_dropped_week_is_kept_in_the_statistics_once(db: Database) -> None:
    old = await weeks_ago(db, 20)
    newer = await weeks_ago(db, 10)
    job_id = await ran(db, "fsk", start=old)
    await record(db, job_id, "ss", start=newer)
    results = await asyncio.gather(*(drop_partitions(db, retention_days=90) for _ in range(3)))
    dropped = [name for names in results for name in names]
    assert sorted(dropped) == sorted(f"{parent}_{old:%Y%m%d}" for parent in partitions.PARENTS)
    assert await left(db, job_id, start=newer) == "ss"
    assert await kept(db, job_id) == (1, 1, 1, 0, 4, 1000)
    assert await fetch(db, GAPS) == []
    assert await drop_partitions(db, retention_days=90) == []


async def test_a_week_with_unfinished_rows_stays_uncounted(db: Database) -> None:
    old = await weeks_ago(db, 20)
    job_id = await ran(db, "sq", start=old)
    assert await drop_partitions(db, retention_days=90) == []
    assert await kept(db, job_id) == (0, 0, 0, 0, 0, 0)
    await fetch(
        db, "UPDATE job_executions SET status = 'SUCCESS', end_time = now() WHERE status = 'QUEUED' RETURNING 1"
    )
    assert len(await drop_partitions(db, retention_days=90)) == 2
    assert (await kept(db, job_id))[0] == 2


async def test_a_week_that_never_ends_holds_up_no_other(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    """The oldest week has a row of a job type that nobody has; what came after it goes all the same."""
    oldest, old = await weeks_ago(db, 21), await weeks_ago(db, 20)
    job_id = await ran(db, "sq", start=oldest, task_payload='{"type": "GONE", "config": {}}')
    await record(db, job_id, "ss", start=old)
    assert await drop_partitions(db, retention_days=90) == []  # no later row could lead over what went
    await record(db, job_id, "s", start=START)
    caplog.clear()
    dropped = await drop_partitions(db, retention_days=90)
    assert dropped == [f"{parent}_{old:%Y%m%d}" for parent in partitions.PARENTS]
    assert (await left(db, job_id, start=oldest)).startswith("sq.")
    assert (await kept(db, job_id))[0] == 2
    assert await fetch(db, GAPS) == []
    (warning,) = [each.getMessage() for each in caplog.records if each.name == "cronsvc.upkeep"]
    assert f"the week of {oldest.date()} stays: executions of jobs {job_id} have not ended" in warning


@pytest.mark.parametrize("backfilled", ["first", "next"])
async def test_a_week_that_goes_leaves_no_gap_where_its_neighbours_were_backfilled(
    db: Database, backfilled: str
) -> None:
    """What a backfill made a run of keeps its place in the ledger: as the first of the week, or the next after it."""
    oldest, old = await weeks_ago(db, 21), await weeks_ago(db, 20)
    job_id = await ran(db, "sq", start=oldest)
    await record(db, job_id, "ksss", start=old)
    await record(db, job_id, "kss", start=START)
    instant = old if backfilled == "first" else START
    again = (
        "UPDATE job_executions SET trigger = 'backfill', status = 'SUCCESS', status_reason = NULL"
        " WHERE job_id = %s AND scheduled_time = %s AND status = 'SKIPPED' RETURNING previous_time IS NOT NULL"
    )
    assert await fetch(db, again, job_id, instant) == [(True,)]
    assert len(await drop_partitions(db, retention_days=90)) == 2
    chain = await fetch(
        db, "SELECT scheduled_time, previous_time FROM job_executions WHERE job_id = %s ORDER BY 1", job_id
    )
    assert all(row[1] == before[0] for before, row in pairwise(chain))
    assert await fetch(db, GAPS) == []


async def test_whose_days_decide_about_weeks(db: Database) -> None:
    old = await weeks_ago(db, 6)
    await ran(db, "s", start=old)
    assert await drop_partitions(db, retention_days=90) == []
    long = await define(db, retention=keeping(days=60))
    assert await drop_partitions(db, retention_days=30) == []  # one job asks for more than the operator
    await fetch(db, "UPDATE jobs SET retention = %s WHERE id = %s RETURNING 1", keeping(days=90), long)
    assert len(await drop_partitions(db, retention_days=30)) == 2  # the default is what the operator says
    assert (await one(db, "SELECT sum(success)::int FROM job_statistics")) == (1,)


async def test_a_clean_up_takes_what_ended_before_the_grace_period(db: Database) -> None:
    job_id = await ran(db, "sfkcqrss", retention=keeping())
    await fetch(db, "UPDATE job_executions SET end_time = now() WHERE scheduled_time = %s RETURNING 1", minute(6))
    history = History(db)
    done = await history.clean_up(ALICE, grace_period_hours=24)
    assert (done.deleted, done.more) == (4, False)
    assert await left(db, job_id) == "....qrss"
    assert await fetch(db, GAPS) == []
    rows = await fetch(
        db, "SELECT actor, source, entity, (after->>'deleted')::int FROM audit_log WHERE action = 'cleanup'"
    )
    assert rows == [("key:alice", "10.1.2.3", "executions", 4)]
    assert (await history.clean_up(ALICE, grace_period_hours=24 * 30)).deleted == 0
    assert len(await fetch(db, "SELECT 1 FROM audit_log WHERE action = 'cleanup'")) == 1


async def test_a_clean_up_stays_in_the_callers_namespaces(db: Database) -> None:
    mine, foreign = await ran(db, "sss", namespace="red"), await ran(db, "sss")
    assert (await History(db).clean_up(RED)).deleted == 2
    assert [await left(db, mine), await left(db, foreign)] == ["..s", "sss"]


async def test_a_clean_up_is_bounded_and_says_so(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cronsvc.services.history._BATCH", 2)
    job_id = await ran(db, "ssssss")
    history = History(db, most_batches=2)
    assert [(each.deleted, each.more) for each in [await history.clean_up(ALICE) for _ in range(2)]] == [
        (4, True),
        (1, False),
    ]
    assert await left(db, job_id) == ".....s"
    for hours in (-1, 10**9):
        with pytest.raises(InvalidInput):
            await history.clean_up(ALICE, grace_period_hours=hours)


def totals(days: Sequence[Any]) -> Mapping[str, int]:
    names = ("success", "failed", "skipped", "cancelled", "attempts", "duration_ms_sum")
    return {name: sum(getattr(day, name) for day in days) for name in names}


async def test_statistics_are_the_same_before_and_after_the_rows_went(db: Database) -> None:
    job_id = await ran(db, "sfkcssfq", start=datetime.combine(START.date(), time(23, 57), UTC))
    history = History(db)
    _, _, before = await history.statistics(job_id, ALICE)
    assert [(each.day, each.trigger) for each in before] == [
        (START.date(), Trigger.SCHEDULE),
        (START.date() + timedelta(days=1), Trigger.SCHEDULE),
    ]
    assert (before[0].success, before[0].failed, before[0].skipped, before[0].cancelled) == (1, 1, 1, 0)
    assert (before[1].duration_ms_min, before[1].duration_ms_max) == (4000, 5000)
    view = (
        "SELECT day, trigger, success, attempts, duration_ms_max FROM cronsvc_v1.statistics"
        " WHERE job_id = %s ORDER BY day"
    )
    seen = await fetch(db, view, job_id)
    assert seen == [(each.day, each.trigger, each.success, each.attempts, each.duration_ms_max) for each in before]
    assert (await history.clean_up(ALICE)).deleted == 7
    assert (await history.statistics(job_id, ALICE))[2] == before
    assert await fetch(db, view, job_id) == seen
    await record(db, job_id, "s", start=minute(900))
    _, _, after = await history.statistics(job_id, ALICE)
    assert totals(after)["success"] == totals(before)["success"] + 1


async def test_the_days_of_statistics_are_bounded(db: Database) -> None:
    job_id = await ran(db, "s")
    history = History(db)
    day = START.date()
    first, last, found = await history.statistics(job_id, ALICE)
    assert (last - first).days == 29 and len(found) == 1
    assert (await history.statistics(job_id, ALICE, first=day, last=day))[2] == found
    assert (await history.statistics(job_id, ALICE, last=day - timedelta(days=1)))[2] == []
    assert (await history.statistics(job_id, ALICE, first=day + timedelta(days=1)))[2] == []
    ranges = [(day, day - timedelta(days=1)), (date(2020, 1, 1), date(2021, 1, 1))]
    for first, last in ranges:
        with pytest.raises(InvalidInput):
            await history.statistics(job_id, ALICE, first=first, last=last)
    for unseen in (job_id + 1, 0, 2**70):
        with pytest.raises(NotFound):
            await history.statistics(unseen, ALICE)
    with pytest.raises(NotFound):
        await history.statistics(job_id, RED)
