"""Failures that pause a job and retries on chosen failures, with workers that race."""

import asyncio
from datetime import timedelta

from cronsvc.domain.execution import ErrorDetail, Outcome, Ticket
from cronsvc.executors.base import RunContext
from cronsvc.services.failing import ACTOR
from cronsvc.services.running import rescue
from cronsvc.store.pool import Database
from tests.support.control import ALICE, Desk, definition
from tests.support.failing import NOW, attempt, begun, runner, scripted, waiting
from tests.support.job_types import Held, Scripted, failing
from tests.support.rows import define, fetch, one
from tests.support.waiting import until


async def job_state(db: Database, job_id: int) -> tuple[object, ...]:
    return await one(db, "SELECT paused_by, consecutive_failures FROM jobs WHERE id = %s", job_id)


async def audited(db: Database, action: str = "pause") -> list[tuple[object, ...]]:
    return await fetch(
        db, "SELECT actor, entity_id, after->>'pause_note' FROM audit_log WHERE action = %s ORDER BY id", action
    )


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
