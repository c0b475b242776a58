"""Pausing and resuming many jobs: in batches, again without harm, each accounted for like a single one."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cronsvc.errors import InvalidInput, Unavailable
from cronsvc.services import bulk_pausing
from cronsvc.services.bulk_pausing import EVERYTHING, BulkChange, JobSelector
from cronsvc.store import job_batches
from cronsvc.store.pool import Database
from tests.support.control import ALICE, BOB, RED, Desk
from tests.support.rows import define, fetch, one


async def jobs_named(db: Database, *names: str, **columns: Any) -> list[int]:
    """Armed jobs that fire in a year."""
    ahead = {
        "every_seconds": 31_536_000,
        "armed_revision": 1,
        "next_fire_time": datetime.now(UTC) + timedelta(days=365),
    }
    return [await define(db, name=name, **(ahead | columns)) for name in names]


async def paused(db: Database) -> list[str]:
    return [name for (name,) in await fetch(db, "SELECT name FROM jobs WHERE paused_at IS NOT NULL ORDER BY name")]


async def test_everything_is_paused_and_resumed_and_asking_again_changes_nothing(db: Database) -> None:
    desk = Desk(db)
    await jobs_named(db, "a", "b", "c")
    until = datetime.now(UTC) + timedelta(hours=1)
    assert await desk.bulk_pausing.pause(EVERYTHING, ALICE, note="storm", until=until) == BulkChange(3, 3)
    rows = await fetch(db, "SELECT DISTINCT paused_by, pause_note, paused_until, next_fire_time > now() FROM jobs")
    assert rows == [("key:alice", "storm", until, True)]
    assert await desk.bulk_pausing.pause(EVERYTHING, BOB) == BulkChange(3, 0)
    assert await desk.bulk_pausing.resume(EVERYTHING, BOB) == BulkChange(3, 3)
    assert await desk.bulk_pausing.resume(EVERYTHING, BOB) == BulkChange(3, 0)
    assert await paused(db) == []
    audit = await fetch(
        db, "SELECT actor, action, count(*) FROM audit_log WHERE action <> 'create' GROUP BY 1, 2 ORDER BY 1"
    )
    assert audit == [("key:alice", "pause", 3), ("key:bob", "resume", 3)]


async def test_each_part_of_the_selector_narrows(db: Database) -> None:
    desk = Desk(db)
    ids = await jobs_named(db, "mail-1", "mail-2", tags=["mail", "slow"])
    ids += await jobs_named(db, "sync-1", tags=["sync"], queue="bulk")
    ids += await jobs_named(db, "mail-%", namespace="red")
    choices: list[tuple[JobSelector, list[str]]] = [
        (JobSelector(tags=("mail", "slow")), ["mail-1", "mail-2"]),
        (JobSelector(tags=("sync", "slow")), []),
        (JobSelector(queue="bulk"), ["sync-1"]),
        (JobSelector(namespace="red"), ["mail-%"]),
        (JobSelector(name_prefix="mail-"), ["mail-%", "mail-1", "mail-2"]),
        (JobSelector(name_prefix="mail-%"), ["mail-%"]),
        (JobSelector(name_prefix="ma__-"), []),
        (JobSelector(job_ids=(ids[0], ids[2], 424242)), ["mail-1", "sync-1"]),
        (JobSelector(name_prefix="mail", queue="bulk"), []),
        (JobSelector(tags=("mail",), job_ids=(ids[1], ids[2])), ["mail-2"]),
    ]
    for selector, names in choices:
        assert await desk.bulk_pausing.pause(selector, ALICE) == BulkChange(len(names), len(names)), selector
        assert await paused(db) == names, selector
        assert await desk.bulk_pausing.resume(selector, ALICE) == BulkChange(len(names), len(names))


async def test_only_the_callers_namespaces_are_touched(db: Database) -> None:
    desk = Desk(db)
    await jobs_named(db, "mine", namespace="red")
    (foreign,) = await jobs_named(db, "foreign")
    assert await desk.bulk_pausing.pause(EVERYTHING, RED) == BulkChange(1, 1)
    assert await desk.bulk_pausing.pause(JobSelector(namespace="default"), RED) == BulkChange(0, 0)
    assert await desk.bulk_pausing.pause(JobSelector(job_ids=(foreign,)), RED) == BulkChange(0, 0)
    assert await paused(db) == ["mine"]


async def test_a_job_that_somebody_paused_keeps_that_pause_and_a_resume_ends_it_too(db: Database) -> None:
    desk = Desk(db)
    own, _ = await jobs_named(db, "own", "other")
    before = (await desk.jobs.pause(own, BOB, note="mine")).pause
    assert await desk.bulk_pausing.pause(EVERYTHING, ALICE, note="all") == BulkChange(2, 1)
    assert (await desk.jobs.get(own, ALICE)).pause == before
    assert await desk.bulk_pausing.resume(EVERYTHING, ALICE) == BulkChange(2, 2)


async def test_deleted_jobs_do_not_count(db: Database) -> None:
    desk = Desk(db)
    gone, _ = await jobs_named(db, "gone", "here")
    await desk.jobs.delete(gone, ALICE)
    assert await desk.bulk_pausing.pause(EVERYTHING, ALICE) == BulkChange(1, 1)


async def test_what_was_due_before_the_pause_is_recorded_and_pushed(db: Database) -> None:
    desk = Desk(db)
    due = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)
    (job_id,) = await jobs_named(db, "due", every_seconds=3600, anchor=due, next_fire_time=due)
    await jobs_named(db, "not due")
    assert await desk.bulk_pausing.pause(EVERYTHING, ALICE) == BulkChange(2, 2)
    rows = await fetch(db, "SELECT job_id, scheduled_time, status FROM job_executions")
    assert rows == [(job_id, due, "QUEUED")]
    assert [ticket.job_id for ticket in desk.tickets] == [job_id]


async def test_what_the_pause_held_back_is_one_skipped_row_a_job(db: Database) -> None:
    desk = Desk(db)
    ids = await jobs_named(db, "a", "b", every_seconds=60, anchor=datetime(2026, 1, 1, tzinfo=UTC))
    await desk.bulk_pausing.pause(EVERYTHING, ALICE)
    first = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=10)
    await fetch(db, "UPDATE jobs SET next_fire_time = %s RETURNING 1", first)
    assert await desk.bulk_pausing.resume(EVERYTHING, ALICE) == BulkChange(2, 2)
    rows = await fetch(
        db, "SELECT job_id, status, status_reason, scheduled_time, skipped_count >= 10 FROM job_executions ORDER BY 1"
    )
    assert rows == [(job_id, "SKIPPED", "paused", first, True) for job_id in ids]
    assert await one(db, "SELECT bool_and(next_fire_time > now()) FROM jobs") == (True,)


async def test_it_goes_in_batches_and_goes_on_after_an_interruption(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(db)
    await jobs_named(db, *(f"job-{n:02}" for n in range(23)))
    monkeypatch.setattr(bulk_pausing, "PAUSE_BATCH", 5)
    monkeypatch.setattr(bulk_pausing, "RESUME_BATCH", 4)
    pause, batches = job_batches.pause, 0

    async def failing(*arguments: Any, **options: Any) -> int:
        nonlocal batches
        batches += 1
        if batches == 3:
            raise Unavailable("Postgres: gone")
        return await pause(*arguments, **options)

    monkeypatch.setattr(job_batches, "pause", failing)
    with pytest.raises(Unavailable):
        await desk.bulk_pausing.pause(EVERYTHING, ALICE)
    assert len(await paused(db)) == 10  # two batches; nothing of the third
    assert await desk.bulk_pausing.pause(EVERYTHING, ALICE) == BulkChange(23, 13)
    transactions = await one(db, "SELECT count(DISTINCT xmin::text) FROM audit_log WHERE action = 'pause'")
    assert transactions == (5,)
    assert await desk.bulk_pausing.resume(EVERYTHING, ALICE) == BulkChange(23, 23)
    assert await one(db, "SELECT count(DISTINCT xmin::text) FROM audit_log WHERE action = 'resume'") == (6,)


async def test_two_at_once_share_the_work_and_each_job_changes_once(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(db)
    await jobs_named(db, *(f"job-{n:02}" for n in range(40)))
    monkeypatch.setattr(bulk_pausing, "PAUSE_BATCH", 7)
    changes = await asyncio.gather(*(desk.bulk_pausing.pause(EVERYTHING, who) for who in (ALICE, BOB, ALICE)))
    assert sum(change.changed for change in changes) == 40
    assert await one(db, "SELECT count(*) FROM audit_log WHERE action = 'pause'") == (40,)
    changes = await asyncio.gather(*(desk.bulk_pausing.resume(EVERYTHING, who) for who in (ALICE, BOB, ALICE)))
    assert sum(change.changed for change in changes) == 40
    assert await one(db, "SELECT count(*) FROM audit_log WHERE action = 'resume'") == (40,)


async def test_an_empty_choice_is_refused_and_means_neither_none_nor_all(db: Database) -> None:
    desk = Desk(db)
    await jobs_named(db, "a")
    for selector, field in (
        (JobSelector(tags=()), "tags"),
        (JobSelector(job_ids=()), "jobIds"),
        (JobSelector(name_prefix=""), "namePrefix"),
        (JobSelector(job_ids=tuple(range(1, 10_002))), "jobIds"),
        (JobSelector(tags=("a\0b",)), "tags"),
        (JobSelector(queue="a\0b"), "queue"),
    ):
        for act in (desk.bulk_pausing.pause, desk.bulk_pausing.resume):
            with pytest.raises(InvalidInput) as refused:
                await act(selector, ALICE)
            assert [error.field for error in refused.value.errors] == [field]
    with pytest.raises(InvalidInput, match="until"):
        await desk.bulk_pausing.pause(EVERYTHING, ALICE, until=datetime(2020, 1, 1, tzinfo=UTC))
    assert await paused(db) == []
