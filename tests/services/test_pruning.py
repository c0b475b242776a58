"""Rows that go: keep-last-N, a job's own days, clean-ups and dropped weeks; counted once, and no gap left behind."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from cronsvc.domain.job import Retention
from cronsvc.domain.schedule import Schedule
from cronsvc.services.history import History
from cronsvc.services.scheduling import Scheduling
from cronsvc.services.upkeep import prune
from cronsvc.store import pruning
from cronsvc.store.pool import Database
from tests.support.control import ALICE, Desk, definition
from tests.support.pruning import GAPS, keeping, kept, left, minute, ran, record
from tests.support.rows import fetch, one


@pytest.mark.parametrize(
    ("pattern", "retention", "expected"),
    [
        ("ssssssss", keeping(3), ".....sss"),
        ("fsfsfsfs", keeping(2), "f.f.fsfs"),
        ("fsfsfsfs", keeping(None, 2), ".s.sfsfs"),
        ("fsfsfsfs", keeping(1, 1), "......fs"),
        ("sskcsqrsss", keeping(1), "..kc.qr..s"),  # never an unfinished one; what was skipped or cancelled is no count
        ("sss", keeping(0, 0), "..s"),  # the instant that the next one will name stays
        ("sss", keeping(), "sss"),
        ("sss", keeping(10), "sss"),
    ],
)
async def test_the_newest_so_many_stay(db: Database, pattern: str, retention: str, expected: str) -> None:
    job_id = await ran(db, pattern, retention=retention)
    other = await ran(db, "ssss")
    gone = expected.count(".")
    assert await prune(db, batch=3) == gone
    assert await left(db, job_id) == expected and await left(db, other) == "ssss"
    assert await fetch(db, GAPS) == []
    pruned = [(n, pattern[n]) for n, letter in enumerate(expected) if letter == "."]
    success = [n for n, letter in pruned if letter == "s"]
    counts = (len(success), len(pruned) - len(success), 0, 0, 2 * len(pruned), 1000 * sum(success))
    assert await kept(db, job_id) == counts
    orphans = (
        "SELECT count(*) FROM job_attempts AS a LEFT JOIN job_executions AS e USING (job_id, scheduled_time)"
        " WHERE e.id IS NULL"
    )
    assert await one(db, orphans) == (0,)
    assert await prune(db) == 0


async def test_what_was_lost_is_still_missing_after_pruning(db: Database) -> None:
    """Chaining past pruned rows must not hide a row that something else deleted."""
    job_id = await ran(db, "fsssssfss", retention=keeping(1))
    await fetch(
        db, "DELETE FROM job_executions WHERE job_id = %s AND scheduled_time = %s RETURNING 1", job_id, minute(3)
    )
    assert await fetch(db, GAPS) == [(minute(3),)]
    assert await prune(db) == 5
    assert await left(db, job_id) == "f.....f.s"
    assert await fetch(db, GAPS) == [(minute(3),)]


async def test_a_range_of_skipped_instants_goes_as_one_and_leaves_no_gap(db: Database) -> None:
    job_id = await ran(db, "fk", retention=keeping(days=2))
    until = minute(5)
    await fetch(
        db,
        "UPDATE job_executions SET skipped_until = %s WHERE job_id = %s AND status = 'SKIPPED' RETURNING 1",
        until,
        job_id,
    )
    await fetch(db, "UPDATE jobs SET last_fire_time = %s WHERE id = %s RETURNING 1", until, job_id)
    await record(db, job_id, "ss", start=minute(6))
    assert await left(db, job_id) == "fk....ss"
    # The failure is looked at by somebody and stays: what was skipped must go from behind it.
    await fetch(
        db, "UPDATE job_executions SET end_time = now() WHERE job_id = %s AND status = 'FAILED' RETURNING 1", job_id
    )
    assert await prune(db) == 2
    assert await left(db, job_id) == "f......s"
    assert await fetch(db, GAPS) == []
    assert await kept(db, job_id) == (1, 0, 1, 0, 2, 0)
    assert await one(db, "SELECT min(first_time), max(last_time) FROM job_statistics") == (minute(1), minute(6))


async def test_upkeeps_and_clean_ups_that_race_count_each_row_once(db: Database) -> None:
    jobs = [await ran(db, "fs" * 20, retention=keeping(3, 2)) for _ in range(3)]
    history = History(db)
    pruning = [asyncio.ensure_future(prune(db, batch=7)) for _ in range(3)]
    cleaning = [asyncio.ensure_future(history.clean_up(ALICE)) for _ in range(2)]
    gone = sum([await each for each in pruning]) + sum([(await each).deleted for each in cleaning])
    assert gone == 3 * 39
    for job_id in jobs:
        assert await left(db, job_id) == "." * 39 + "s"
        assert await kept(db, job_id) == (19, 20, 0, 0, 78, 1000 * sum(range(1, 39, 2)))
    assert await fetch(db, GAPS) == []


async def test_a_crash_before_the_commit_changes_nothing(db: Database) -> None:
    job_id = await ran(db, "ssss", retention=keeping(1))

    class Crash(Exception):
        pass

    with pytest.raises(Crash):
        async with db.transaction() as conn:
            await pruning.lock(conn)
            found = await pruning.surplus(conn, after_id=0, jobs=10, rows=10)
            assert await pruning.forget(conn, found.keys) == 3
            raise Crash
    assert await left(db, job_id) == "ssss" and await kept(db, job_id) == (0, 0, 0, 0, 0, 0)
    assert await prune(db) == 3
    assert await kept(db, job_id) == (3, 0, 0, 0, 6, 3000)


async def test_a_row_that_begins_again_meanwhile_stays(db: Database) -> None:
    job_id = await ran(db, "fff", retention=keeping(None, 0))
    async with db.transaction() as conn:
        await pruning.lock(conn)
        found = await pruning.surplus(conn, after_id=0, jobs=10, rows=10)
        await fetch(db, "UPDATE job_executions SET status = 'QUEUED' WHERE scheduled_time = %s RETURNING 1", minute(0))
        assert await pruning.forget(conn, found.keys) == 1
    assert await left(db, job_id) == "q.f"
    assert await fetch(db, GAPS) == []


async def test_nothing_pruned_fires_again(db: Database) -> None:
    """The retention trap: an instant without a row is not an instant that is due."""
    desk = Desk(db)
    job = await desk.jobs.create(
        definition(schedule=Schedule(cron_expression="* * * * *"), retention=Retention(1, 1, 90)), ALICE
    )
    await record(db, job.id, "ssssss")
    assert await prune(db) == 5
    now = minute(6)
    await fetch(
        db, "UPDATE jobs SET description = 'edited', timezone = 'Europe/Paris' WHERE id = %s RETURNING 1", job.id
    )
    await fetch(
        db, "UPDATE jobs SET next_fire_time = %s WHERE id = %s RETURNING 1", minute(0), job.id
    )  # a hand set it back
    assert (await Scheduling(db, desk.dispatcher).tick(now=now)).fired == 1
    assert await left(db, job.id) == ".....sq"
    assert await fetch(db, GAPS) == []


async def test_a_manual_run_goes_too(db: Database) -> None:
    job_id = await ran(db, "ss", retention=keeping(1))
    await fetch(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, trigger, status, end_time)"
        " VALUES (%s, %s, 'manual', 'SUCCESS', now()) RETURNING 1",
        *(job_id, minute(0) + timedelta(seconds=30.5)),
    )
    assert await prune(db) == 2
    assert await left(db, job_id) == ".s"
    rows = await fetch(db, "SELECT trigger, success FROM job_statistics ORDER BY trigger")
    assert rows == [("manual", 1), ("schedule", 1)]


async def test_a_jobs_own_days(db: Database) -> None:
    two = await ran(db, "fkcsqs", retention=keeping(days=2))
    four = await ran(db, "fkcsqs", retention=keeping(days=4))
    plain = await ran(db, "fkcsqs")
    assert await prune(db) == 4
    assert [await left(db, each) for each in (two, four, plain)] == ["....qs", "fkcsqs", "fkcsqs"]
    assert await kept(db, two) == (1, 1, 1, 1, 4, 3000)
    assert await prune(db, now=datetime.now(UTC) + timedelta(days=400)) == 4  # 90 days are the operator's to decide


async def test_a_retention_that_means_nothing_keeps_everything(db: Database) -> None:
    values = ['{"keepCompleted": "all", "days": "x"}', '{"keepCompleted": -5}', '{"keepFailed": 1e30}', "[]", '"x"']
    jobs = [await ran(db, "sss", retention=value) for value in values]
    bounded = await ran(db, "sss", retention=keeping(1))
    await prune(db, batch=2)
    assert [await left(db, each) for each in jobs] == ["sss", "..s", "sss", "sss", "sss"]
    assert await left(db, bounded) == "..s"


async def test_a_deleted_job_is_pruned_like_any_other(db: Database) -> None:
    job_id = await ran(db, "ssss", retention=keeping(2), deleted_at=datetime.now(UTC), is_active=False)
    assert await prune(db) == 2
    assert await left(db, job_id) == "..ss"
