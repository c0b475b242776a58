"""Attempts that go as scripted, for tests of what an end does to its job."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from cronsvc.domain.execution import ErrorDetail, Outcome, Ticket
from cronsvc.executors.base import RunContext
from cronsvc.services.running import Runner
from cronsvc.store import presence
from cronsvc.store.pool import Database
from tests.support.job_types import Scripted
from tests.support.rows import one

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


def scripted(outcomes: Sequence[str]) -> Scripted:
    """`s` succeeds, anything else fails for good."""
    left = list(outcomes)

    def answer(_context: RunContext) -> Outcome:
        return Outcome() if left.pop(0) == "s" else Outcome(error=ErrorDetail("timeout", "no"), retryable=False)

    return Scripted(answer)
