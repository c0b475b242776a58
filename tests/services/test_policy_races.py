"""People and upkeep against the tick, and two workers at one bucket: what is decided is decided once."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cronsvc.domain.execution import Ticket
from cronsvc.domain.job import JobDefinition
from cronsvc.domain.schedule import Schedule
from cronsvc.services.scheduling import Scheduling
from cronsvc.services.upkeep import upkeep
from cronsvc.store.pool import Database
from tests.support.control import ALICE, Desk
from tests.support.job_types import Scripted
from tests.support.rows import define, fetch, one
from tests.support.running import runner

FIRST = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=30)


async def due(db: Database, **columns: Any) -> int:
    """An every-second job that has thirty instants due."""
    return await define(
        db,
        **{
            "cron_expression": "* * * * * *",
            "next_fire_time": FIRST,
            "armed_revision": 1,
            "misfire_grace_seconds": 3600,
            "task_payload": '{"type": "CALL", "config": {"url": "https://example.com/"}}',
            **columns,
        },
    )


async def accounted(db: Database, job_id: int) -> None:
    """Every second from FIRST up to the last recorded one is in the ledger once, and nothing is missing."""
    rows = await fetch(
        db,
        "SELECT scheduled_time, coalesce(skipped_until, scheduled_time) FROM job_executions"
        " WHERE job_id = %s AND trigger = 'schedule' ORDER BY 1",
        job_id,
    )
    following = FIRST
    for start, end in rows:
        assert start == following
        following = end + timedelta(seconds=1)
    assert await fetch(db, "SELECT * FROM cronsvc_v1.gaps") == []


@pytest.mark.parametrize("seed", range(4))
async def test_a_pause_and_a_tick_at_once(db: Database, seed: int) -> None:
    """Whoever comes first: what was due before the pause is recorded once, and nothing of the pause fires."""
    job_id = await due(db)
    desks = [Desk(db), Desk(db)]
    acts = [Scheduling(db, desk.dispatcher).tick() for desk in desks]
    pauses = [desk.jobs.pause(job_id, ALICE) for desk in desks]
    await asyncio.gather(*(pauses + acts if seed % 2 else acts + pauses))
    (last,) = await one(db, "SELECT last_fire_time FROM jobs WHERE id = %s", job_id)
    (paused_at,) = await one(db, "SELECT paused_at FROM jobs WHERE id = %s", job_id)
    assert last is not None and FIRST + timedelta(seconds=29) <= last <= paused_at
    recorded = await one(db, "SELECT count(*) FROM job_executions WHERE job_id = %s", job_id)
    await asyncio.gather(*(Scheduling(db, desk.dispatcher).tick() for desk in desks))
    assert await one(db, "SELECT count(*) FROM job_executions WHERE job_id = %s", job_id) == recorded
    tickets = [ticket.execution_id for desk in desks for ticket in desk.tickets]
    assert len(tickets) == len(set(tickets)) == recorded[0]
    await desks[0].jobs.resume(job_id, ALICE)
    await accounted(db, job_id)


@pytest.mark.parametrize("seed", range(4))
async def test_an_edit_and_a_tick_at_once(db: Database, seed: int) -> None:
    """What was due belongs to the old definition, whoever records it; the new one counts from the edit."""
    job_id = await due(db)
    desks = [Desk(db), Desk(db)]

    def yearly(definition: JobDefinition) -> JobDefinition:
        return replace(definition, schedule=Schedule(cron_expression="0 4 1 3 *"))

    acts = [Scheduling(db, desk.dispatcher).tick() for desk in desks]
    edits = [desk.jobs.edit(job_id, yearly, ALICE) for desk in desks]
    await asyncio.gather(*(edits + acts if seed % 2 else acts + edits))
    await asyncio.gather(*(Scheduling(db, desk.dispatcher).tick() for desk in desks))
    rows = await fetch(db, "SELECT scheduled_time, revision FROM job_executions WHERE job_id = %s ORDER BY 1", job_id)
    assert [at for at, _ in rows] == [FIRST + timedelta(seconds=n) for n in range(len(rows))] and len(rows) >= 30
    assert {revision for _, revision in rows} == {1}
    (ahead,) = await one(db, "SELECT next_fire_time > clock_timestamp() FROM jobs WHERE id = %s", job_id)
    assert ahead is True
    await accounted(db, job_id)


async def test_two_workers_share_the_rate_of_a_queue(db: Database) -> None:
    """One bucket for all workers: of what they ask for at once one begins, and the others get times of their own."""
    job_id = await due(db, queue="slow")
    async with db.transaction() as conn:
        await conn.execute("UPDATE queues SET rate_per_minute = 6 WHERE name = 'slow'")
    await Scheduling(db, Desk(db).dispatcher).tick(now=FIRST + timedelta(seconds=7))
    rows = await fetch(
        db, "SELECT id, job_id, scheduled_time, claim_no, queue, priority FROM job_executions WHERE job_id = %s", job_id
    )
    executor = Scripted()
    workers = [await runner(db, executor, type_="CALL") for _ in range(2)]
    tickets = [Ticket(*row) for row in rows]
    await asyncio.gather(*(workers[n % 2].handle(ticket) for n, ticket in enumerate(tickets)))
    for worker in workers:
        assert await worker.flush(20)
    assert len(tickets) == 8 and len(executor.calls) == 1
    waiting = await fetch(db, "SELECT dispatch_at > clock_timestamp() FROM job_executions WHERE status = 'QUEUED'")
    assert waiting == [(True,)] * 7


async def test_keeping_the_last_few_and_a_tick_at_once(db: Database) -> None:
    """Upkeep deletes behind the cursor while ticks record ahead of it: neither touches what is the other's."""
    job_id = await due(db, retention='{"keepCompleted": 3, "keepFailed": null, "days": 90}')
    desks = [Desk(db), Desk(db)]
    for second in (5, 10, 15, 20, 25):
        async with db.transaction() as conn:
            await conn.execute(
                "UPDATE job_executions SET status = 'SUCCESS', dispatch_at = NULL, end_time = clock_timestamp()"
                " WHERE status = 'QUEUED'"
            )
        await asyncio.gather(
            *(Scheduling(db, desk.dispatcher).tick(now=FIRST + timedelta(seconds=second)) for desk in desks),
            *(upkeep(db, retention_days=90) for _ in range(2)),
        )
    kept = await fetch(db, "SELECT scheduled_time, status FROM job_executions WHERE job_id = %s ORDER BY 1", job_id)
    assert [at for at, status in kept if status == "QUEUED"] == [FIRST + timedelta(seconds=n) for n in range(21, 26)]
    (gone,) = await one(db, "SELECT sum(success) FROM job_statistics WHERE job_id = %s", job_id)
    assert gone + len(kept) == 26
    tickets = sorted(ticket.scheduled_time for desk in desks for ticket in desk.tickets)
    assert tickets == [FIRST + timedelta(seconds=n) for n in range(26)]
    assert await fetch(db, "SELECT * FROM cronsvc_v1.gaps") == []
