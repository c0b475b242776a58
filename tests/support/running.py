"""Workers and executions for tests of what workers do: an attempt from its ticket to what its rows say."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from cronsvc.domain.execution import Ticket
from cronsvc.executors.base import Executor
from cronsvc.services.running import Runner
from cronsvc.store import presence
from cronsvc.store.pool import Database
from tests.support.rows import define, fetch, one

LEASE = timedelta(seconds=30)
NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)


async def worker(db: Database, *, lease: timedelta = LEASE) -> UUID:
    worker_id = uuid4()
    async with db.statements() as conn:
        await presence.register_worker(
            conn, process_id=worker_id, name="test", version="0", queues=["default"], concurrency=5, lease=lease
        )
    return worker_id


async def runner(db: Database, executor: Executor, *, type_: str = "API_CALL") -> Runner:
    executors: Mapping[str, Executor] = {type_: executor}
    return Runner(db, executors, worker_id=await worker(db))


async def waiting(db: Database, *, max_attempts: int = 3, **columns: object) -> Ticket:
    """One QUEUED execution and its ticket."""
    job_id = await define(db, cron_expression="* * * * *", max_attempts=max_attempts, **columns)
    (id_,) = await one(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, max_attempts) VALUES (%s, %s, %s) RETURNING id",
        job_id,
        NOW,
        max_attempts,
    )
    return Ticket(id_, job_id, NOW, 0, "default", 10)


async def attempt(runner: Runner, ticket: Ticket) -> None:
    """One attempt and its written end."""
    await runner.handle(ticket)
    assert await runner.flush(20)


async def state(db: Database, ticket: Ticket) -> tuple[object, ...]:
    return await one(
        db,
        "SELECT status, status_reason, attempt, claim_no FROM job_executions WHERE id = %s",
        ticket.execution_id,
    )


async def outcomes(db: Database, ticket: Ticket) -> list[tuple[object, ...]]:
    return await fetch(
        db, "SELECT attempt, outcome FROM job_attempts WHERE execution_id = %s ORDER BY claim_no", ticket.execution_id
    )
