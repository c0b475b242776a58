"""Failures that pause a job, retries on chosen failures and deadlines, with workers and schedulers that race."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from cronsvc.domain.execution import ErrorDetail, Outcome, Ticket
from cronsvc.domain.job import Job, MisfirePolicy
from cronsvc.domain.schedule import Schedule
from cronsvc.executors.base import RunContext
from cronsvc.services.failing import ACTOR, end_overdue
from cronsvc.services.running import Runner, rescue
from cronsvc.services.scheduling import Scheduling
from cronsvc.store import presence
from cronsvc.store.pool import Database
from tests.support.control import ALICE, Desk, definition
from tests.support.job_types import Held, Scripted, failing
from tests.support.rows import define, fetch, one
from tests.support.waiting import until

NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)


async def runner(db: Database, executor: Scripted) -> Runner:
    worker_id = UUID(int=(await one(db, "SELECT count(*) + 1 FROM workers"))[0])
    async with db.statements() as conn:
        await presence.register_worker(
            conn,
            process_id=worker_id,
            name="test",
            version="0",
            queues=["default"],
            concurrency=5,
            lease=timedelta(minutes=5),
        )
    return Runner(db, {"API_CALL": executor}, worker_id=worker_id)


async def waiting(db: Database, job_id: int, *, minute: int = 0, max_attempts: int = 1) -> Ticket:
    """One QUEUED execution of a job and its ticket; its deadline is the job's."""
    at = NOW + timedelta(minutes=minute)
    (id_,) = await one(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, max_attempts, deadline_at)"
        " SELECT id, %s, %s, clock_timestamp() + make_interval(secs => deadline_seconds) FROM jobs WHERE id = %s"
        " RETURNING id",
        at,
        max_attempts,
        job_id,
    )
    return Ticket(id_, job_id, at, 0, "default", 10)


async def attempt(worker: Runner, *tickets: Ticket) -> None:
    for ticket in tickets:
        await worker.handle(ticket)
        assert await worker.flush(20)


async def begun(executor: Scripted, attempts: int) -> bool:
    return len(executor.calls) == attempts


async def job_state(db: Database, job_id: int) -> tuple[object, ...]:
    return await one(db, "SELECT paused_by, consecutive_failures FROM jobs WHERE id = %s", job_id)


async def audited(db: Database, action: str = "pause") -> list[tuple[object, ...]]:
    return await fetch(
        db, "SELECT actor, entity_id, after->>'pause_note' FROM audit_log WHERE action = %s ORDER BY id", action
    )


def scripted(outcomes: Sequence[str]) -> Scripted:
    """`s` succeeds, anything else fails for good."""
    left = list(outcomes)

    def answer(_context: RunContext) -> Outcome:
        return Outcome() if left.pop(0) == "s" else Outcome(error=ErrorDetail("timeout", "no"), retryable=False)

    return Scripted(answer)


async def test_failures_in_a_row_pause_the_job_with_the_last_of_them(db: Database) -> None:
    job_id = await define(db, pause_after_failures=3)
    worker = await runner(db, scripted("ffsfff"))
    expected = [(None, 1), (None, 2), (None, 0), (None, 1), (None, 2), (ACTOR, 3)]
    for minute, wanted in enumerate(expected):
        await attempt(worker, await waiting(db, job_id, minute=minute))
        assert await job_state(db, job_id) == wanted
    assert await audited(db) == [
        (ACTOR, str(job_id), "3 executions in a row have failed; the last error was timeout: no")
    ]
    assert (await one(db, "SELECT revision FROM jobs WHERE id = %s", job_id)) == (1,)


async def test_a_retry_counts_once_with_its_end(db: Database) -> None:
    job_id = await define(db, pause_after_failures=1, backoff='{"type": "fixed", "delaySeconds": 0}')
    worker = await runner(db, Scripted(failing()))
    ticket = await waiting(db, job_id, max_attempts=2)
    await attempt(worker, ticket)
    assert await job_state(db, job_id) == (None, 0)
    await attempt(worker, Ticket(ticket.execution_id, job_id, ticket.scheduled_time, 1, "default", 10))
    assert await job_state(db, job_id) == (ACTOR, 1)
    ((_, _, note),) = await audited(db)
    assert str(note).startswith("1 execution has failed")


async def test_a_job_without_the_policy_is_never_touched(db: Database) -> None:
    job_id = await define(db)
    await attempt(
        await runner(db, Scripted(failing(retryable=False))), *[await waiting(db, job_id, minute=n) for n in range(3)]
    )
    assert await job_state(db, job_id) == (None, 0)


async def test_workers_that_finish_at_once_count_every_failure_and_pause_once(db: Database) -> None:
    job_id = await define(db, pause_after_failures=6)
    other = await define(db, pause_after_failures=100)
    executor = _HeldFailing()
    workers = [await runner(db, executor) for _ in range(2)]
    tickets = [await waiting(db, each, minute=n) for n in range(8) for each in (job_id, other)]

    tasks = [asyncio.create_task(workers[n % 2].handle(ticket)) for n, ticket in enumerate(tickets)]
    await until(lambda: begun(executor, len(tickets)))
    executor.release.set()
    await asyncio.gather(*tasks)
    for worker in workers:
        assert await worker.flush(20)
    assert await job_state(db, job_id) == (ACTOR, 8)
    assert await job_state(db, other) == (None, 8)
    ((actor, entity_id, note),) = await audited(db)
    assert (actor, entity_id) == (ACTOR, str(job_id)) and "in a row have failed" in str(note)


class _HeldFailing(Held):
    """Attempts that wait for each other and then all fail."""

    async def run(self, config: object, context: RunContext) -> Outcome:
        self.calls.append(context)
        await self.release.wait()
        return Outcome(error=ErrorDetail("timeout", "no"), retryable=False)


async def test_a_resume_counts_anew_whoever_makes_it(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(pause_after_failures=2), ALICE)
    await fetch(db, "UPDATE jobs SET consecutive_failures = 2, paused_at = now(), paused_by = 'x' RETURNING 1")
    await desk.jobs.resume(job.id, ALICE)
    assert await job_state(db, job.id) == (None, 0)
    await fetch(db, "UPDATE jobs SET consecutive_failures = 2, paused_at = now(), paused_by = 'x' RETURNING 1")
    await fetch(db, "UPDATE jobs SET paused_at = NULL, paused_by = NULL RETURNING 1")
    assert await job_state(db, job.id) == (None, 0)


async def test_a_paused_job_stays_as_it_was_paused(db: Database) -> None:
    job_id = await define(db, pause_after_failures=1, paused_at=NOW, paused_by="key:alice", pause_note="mine")
    await attempt(await runner(db, scripted("f")), await waiting(db, job_id))
    row = await one(db, "SELECT paused_at, paused_by, pause_note FROM jobs WHERE id = %s", job_id)
    assert row == (NOW, "key:alice", "mine") and await audited(db) == []


async def test_a_target_that_is_gone_pauses_its_job(db: Database) -> None:
    """410: nobody asked for a pause, and nothing will answer there again."""

    def gone(_context: RunContext) -> Outcome:
        return Outcome(error=ErrorDetail("http_status", "answered 410"), retryable=False, http_status=410)

    job_id = await define(db)
    worker = await runner(db, Scripted(gone))
    await attempt(worker, await waiting(db, job_id), await waiting(db, job_id, minute=1))
    assert await job_state(db, job_id) == (ACTOR, 0)
    ((_, _, note),) = await audited(db)
    assert "410" in str(note)


async def test_lost_work_counts_as_a_failure_and_two_rescuers_count_it_once(db: Database) -> None:
    job_id = await define(db, pause_after_failures=5)
    executor = Held()
    dead = await runner(db, executor)
    task = asyncio.create_task(dead.handle(await waiting(db, job_id)))
    await executor.started.wait()
    await fetch(db, "UPDATE workers SET lease_until = clock_timestamp() - interval '1 second' RETURNING 1")
    assert sum(await asyncio.gather(*(rescue(db, grace=timedelta(0)) for _ in range(3)))) == 1
    assert await job_state(db, job_id) == (None, 1)
    executor.release.set()
    await task
    assert await dead.flush(20)
    assert await job_state(db, job_id) == (None, 1)  # the late result was refused and counts for nothing


async def test_a_rescue_runs_again_only_what_the_job_wants_run_again(db: Database) -> None:
    careful = await define(db, retry_on=["connect"], max_attempts=3)
    plain = await define(db, max_attempts=3)
    executor = Held()
    dead = await runner(db, executor)
    tickets = [await waiting(db, each, max_attempts=3) for each in (careful, plain)]
    tasks = [asyncio.create_task(dead.handle(ticket)) for ticket in tickets]
    await until(lambda: begun(executor, 2))
    await fetch(db, "UPDATE workers SET lease_until = clock_timestamp() - interval '1 second' RETURNING 1")
    assert await rescue(db, grace=timedelta(0)) == 2
    rows = await fetch(db, "SELECT job_id, status, status_reason FROM job_executions ORDER BY job_id")
    assert rows == [(careful, "FAILED", "lost"), (plain, "QUEUED", None)]
    executor.release.set()
    await asyncio.gather(*tasks)
    assert await dead.flush(20)


async def test_a_job_retries_on_what_it_names(db: Database) -> None:
    job_id = await define(db, retry_on=["connect"])
    worker = await runner(db, Scripted(failing("timeout")))
    await attempt(worker, await waiting(db, job_id, max_attempts=3))
    assert await one(db, "SELECT status, status_reason, attempt FROM job_executions") == ("FAILED", "timeout", 1)


# ---- deadlines


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


# ---- resume with what was held back


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


async def test_an_end_that_counts_locks_the_job_before_the_execution(db: Database) -> None:
    """The order of edits and deletions; the other way round the two would wait for each other."""
    job_id = await define(db, pause_after_failures=2)
    ticket, worker = await waiting(db, job_id), await runner(db, scripted("f"))
    async with db.transaction() as edit:
        await edit.execute("SELECT FROM jobs WHERE id = %s FOR UPDATE", (job_id,))
        task = asyncio.create_task(attempt(worker, ticket))

        async def waits() -> bool:
            return (await one(db, "SELECT count(*) FROM pg_locks WHERE NOT granted")) == (1,)

        await until(waits)
        await edit.execute("SELECT FROM job_executions WHERE id = %s FOR UPDATE NOWAIT", (ticket.execution_id,))
    await task
    assert await job_state(db, job_id) == (None, 1)
