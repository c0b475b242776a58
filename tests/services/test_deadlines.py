"""Deadlines: no attempt begins after one, none outlives it, and what waits past it ends once."""

import asyncio
from datetime import UTC, datetime, timedelta

from cronsvc.domain.schedule import Schedule
from cronsvc.services.failing import ACTOR, end_overdue
from cronsvc.services.scheduling import Scheduling
from cronsvc.store.pool import Database
from tests.services.test_failing import audited, job_state
from tests.support.control import ALICE, Desk, definition
from tests.support.failing import attempt, runner, waiting
from tests.support.job_types import Held, Scripted, failing
from tests.support.rows import define, fetch, one


async def test_a_tick_and_a_trigger_write_the_deadline(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(
        definition(schedule=Schedule(cron_expression="* * * * *"), deadline_seconds=90, jitter_seconds=300), ALICE
    )
    at = datetime.now(UTC).replace(second=0, microsecond=0)
    await fetch(db, "UPDATE jobs SET next_fire_time = %s RETURNING 1", at)
    assert (await Scheduling(db, desk.dispatcher).tick()).fired == 1
    await desk.jobs.trigger(job.id, ALICE)
    rows = await fetch(db, "SELECT trigger, deadline_at - ready_at FROM job_executions ORDER BY scheduled_time")
    assert [trigger for trigger, _ in rows] == ["schedule", "manual"]
    assert all(abs(budget - timedelta(seconds=90)) < timedelta(seconds=1) for _, budget in rows), rows


async def test_no_attempt_begins_after_the_deadline(db: Database) -> None:
    job_id = await define(db, deadline_seconds=60)
    ticket, executor = await waiting(db, job_id), Scripted()
    await fetch(db, "UPDATE job_executions SET deadline_at = clock_timestamp() RETURNING 1")
    await attempt(await runner(db, executor), ticket)
    assert not executor.calls
    assert await one(db, "SELECT status, attempt, claim_no FROM job_executions") == ("QUEUED", 0, 0)


async def test_schedulers_that_race_end_what_waited_too_long_once(db: Database) -> None:
    job_id = await define(db, deadline_seconds=60, pause_after_failures=3)
    plain = await define(db, deadline_seconds=60)
    for n in range(4):
        await waiting(db, job_id, minute=n)
        await waiting(db, plain, minute=n)
    await waiting(db, await define(db))
    running = await waiting(db, plain, minute=9)
    executor = Held()
    worker = await runner(db, executor)
    task = asyncio.create_task(worker.handle(running))
    await executor.started.wait()
    assert await end_overdue(db) == 0
    later = datetime.now(UTC) + timedelta(minutes=2)
    assert sum(await asyncio.gather(*(end_overdue(db, batch=3, now=later) for _ in range(3)))) == 8
    rows = await fetch(
        db,
        "SELECT status, status_reason, error->>'type', dispatch_at, end_time IS NOT NULL, count(*)"
        "  FROM job_executions WHERE status <> 'QUEUED' GROUP BY 1, 2, 3, 4, 5 ORDER BY 1",
    )
    assert rows == [("FAILED", "timeout", "deadline", None, True, 8), ("RUNNING", None, None, None, False, 1)]
    assert await job_state(db, job_id) == (ACTOR, 4)
    assert len(await audited(db)) == 1
    executor.release.set()
    await task
    assert await worker.flush(20)


async def test_a_retry_that_waits_past_the_deadline_keeps_its_last_error_in_words(db: Database) -> None:
    job_id = await define(db, deadline_seconds=600, backoff='{"type": "fixed", "delaySeconds": 60, "jitter": 0}')
    ticket = await waiting(db, job_id, max_attempts=3)
    await attempt(await runner(db, Scripted(failing())), ticket)
    assert await one(db, "SELECT status FROM job_executions") == ("QUEUED",)
    assert await end_overdue(db, now=datetime.now(UTC) + timedelta(minutes=11)) == 1
    ((error,),) = await fetch(db, "SELECT error FROM job_executions")
    assert error["type"] == "deadline" and error["message"].endswith("http_status: it failed")


async def test_a_pause_that_would_reach_the_deadline_ends_the_execution_at_once(db: Database) -> None:
    job_id = await define(db, deadline_seconds=30, backoff='{"type": "fixed", "delaySeconds": 60, "jitter": 0}')
    ticket = await waiting(db, job_id, max_attempts=3)
    await attempt(await runner(db, Scripted(failing())), ticket)
    row = await one(db, "SELECT status, status_reason, error->>'type', attempt FROM job_executions")
    assert row == ("FAILED", "timeout", "deadline", 1)
    assert await one(db, "SELECT outcome, error->>'type' FROM job_attempts") == ("error", "http_status")


async def test_a_running_attempt_is_cut_at_the_deadline(db: Database) -> None:
    job_id = await define(db, deadline_seconds=600, timeout_seconds=500)
    ticket, executor = await waiting(db, job_id, max_attempts=3), Scripted(failing("timeout"))
    await fetch(db, "UPDATE job_executions SET deadline_at = clock_timestamp() + interval '120 seconds' RETURNING 1")
    await attempt(await runner(db, executor), ticket)
    (context,) = executor.calls
    assert 100 < context.timeout_seconds <= 120


async def test_an_attempt_that_ignores_its_time_is_ended_by_the_worker(db: Database) -> None:
    job_id = await define(db, deadline_seconds=600, timeout_seconds=500)
    ticket, executor = await waiting(db, job_id, max_attempts=3), Held()
    await fetch(db, "UPDATE job_executions SET deadline_at = clock_timestamp() + interval '0.3 seconds' RETURNING 1")
    await attempt(await runner(db, executor), ticket)
    assert executor.cancelled == 1
    row = await one(db, "SELECT status, status_reason, error->>'type' FROM job_executions")
    assert row == ("FAILED", "timeout", "deadline")
    assert await one(db, "SELECT outcome, error->>'type' FROM job_attempts") == ("timeout", "timeout")
