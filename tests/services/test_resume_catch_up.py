"""A resume that catches up plans what the pause held back; a plain one lets it go."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cronsvc.domain.job import Job, MisfirePolicy
from cronsvc.domain.schedule import Schedule
from cronsvc.services.scheduling import Scheduling
from cronsvc.store.pool import Database
from tests.support.control import ALICE, Desk, definition
from tests.support.rows import fetch


async def paused_for_five_minutes(db: Database, desk: Desk, **fields: Any) -> Job:
    job = await desk.jobs.create(definition(schedule=Schedule(cron_expression="* * * * *"), **fields), ALICE)
    await desk.jobs.pause(job.id, ALICE)
    first = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=5)
    last = first - timedelta(minutes=1)
    await fetch(db, "UPDATE jobs SET next_fire_time = %s, last_fire_time = %s RETURNING 1", first, last)
    return job


@pytest.mark.parametrize(("policy", "fired"), [("fire_once", 1), ("skip", 0), ("fire_all", 5)])
async def test_catching_up_plans_what_was_held_back_by_the_misfire_policy(
    db: Database, policy: str, fired: int
) -> None:
    desk = Desk(db)
    job = await paused_for_five_minutes(db, desk, misfire_policy=MisfirePolicy(policy), misfire_grace_seconds=0)
    now = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(seconds=1)
    resumed = await desk.jobs.resume(job.id, ALICE, catch_up=True)
    assert resumed.pause is None and await fetch(db, "SELECT 1 FROM job_executions") == []
    ticks = await asyncio.gather(*(Scheduling(db, desk.dispatcher).tick(now=now) for _ in range(2)))
    assert sum(tick.fired for tick in ticks) == fired
    rows = await fetch(db, "SELECT status, status_reason FROM job_executions ORDER BY scheduled_time")
    assert rows == [("SKIPPED", "misfire")] * (5 - fired) + [("QUEUED", None)] * fired
    assert await fetch(db, "SELECT * FROM cronsvc_v1.gaps") == []


async def test_a_plain_resume_lets_it_go(db: Database) -> None:
    desk = Desk(db)
    job = await paused_for_five_minutes(db, desk)
    await desk.jobs.resume(job.id, ALICE)
    assert await fetch(db, "SELECT status_reason FROM job_executions") == [("paused",)]
