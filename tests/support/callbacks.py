"""Executions that a target has taken over, without a target: a worker's attempt that answers as if 202 had come."""

from collections.abc import Callable
from datetime import datetime

from cronsvc.domain.callback_token import CallbackGrant
from cronsvc.domain.execution import Awaiting, ErrorDetail, Finish, Outcome, Status, Ticket
from cronsvc.executors.base import RunContext
from cronsvc.services.callbacks import Ending
from cronsvc.services.running import Runner
from cronsvc.store.pool import Database
from tests.support.job_types import Scripted
from tests.support.rows import one
from tests.support.running import NOW, attempt, runner, waiting

SUCCESS = Ending(True, result={"rows": 12})
FAILURE = Ending(False, error=ErrorDetail("disk_full", "no room left"))
ACCEPTED = Outcome(awaiting=Awaiting(heartbeat_seconds=60, timeout_seconds=600), http_status=202)


def accepting(outcome: Outcome = ACCEPTED) -> Scripted:
    """A job type whose targets answer 202."""
    answer: Callable[[RunContext], Outcome] = lambda _context: outcome  # noqa: E731
    return Scripted(answer)


async def taken_over(db: Database, *, max_attempts: int = 3, **columns: object) -> tuple[Ticket, Runner]:
    """An execution that waits for its target's call, and the worker that sent the request."""
    ticket = await waiting(db, max_attempts=max_attempts, **columns)
    sender = await runner(db, accepting())
    await attempt(sender, ticket)
    assert await waits(db, ticket)
    return ticket, sender


async def waits(db: Database, ticket: Ticket) -> bool:
    (found,) = await one(
        db,
        "SELECT status = 'RUNNING' AND worker_id IS NULL AND callback_due IS NOT NULL"
        " FROM job_executions WHERE id = %s",
        ticket.execution_id,
    )
    return bool(found)


def grant_of(ticket: Ticket, claim_no: int = 1) -> CallbackGrant:
    """What the token of this claim grants."""
    return CallbackGrant(1, ticket.execution_id, ticket.job_id, ticket.scheduled_time, claim_no, 2**40)


async def silence(db: Database, ticket: Ticket, *, over: bool = False) -> None:
    """Let the time pass by which the target should have called, or with `over` have ended."""
    async with db.transaction() as conn:
        await conn.execute(
            "UPDATE job_executions SET callback_due = clock_timestamp() - interval '1 second',"
            " callback_until = CASE WHEN %s THEN clock_timestamp() - interval '1 second' ELSE callback_until END"
            " WHERE id = %s",
            (over, ticket.execution_id),
        )


async def due(db: Database, ticket: Ticket) -> datetime:
    (found,) = await one(db, "SELECT callback_due FROM job_executions WHERE id = %s", ticket.execution_id)
    assert isinstance(found, datetime)
    return found


async def lose_workers(db: Database) -> None:
    async with db.transaction() as conn:
        await conn.execute("UPDATE workers SET lease_until = clock_timestamp() - interval '1 second'")


async def again(db: Database, ticket: Ticket, claim_no: int) -> None:
    """The next claim, which its target takes over as well."""
    async with db.transaction() as conn:
        await conn.execute("UPDATE job_executions SET ready_at = clock_timestamp() WHERE status = 'QUEUED'")
    next_ticket = Ticket(ticket.execution_id, ticket.job_id, NOW, claim_no, "default", 10)
    await attempt(await runner(db, accepting()), next_ticket)
    assert await waits(db, ticket)


def waiting_note(ticket: Ticket) -> Finish:
    """The note of a 202 to the first claim."""
    return Finish(
        execution_id=ticket.execution_id,
        job_id=ticket.job_id,
        scheduled_time=ticket.scheduled_time,
        claim_no=1,
        ready_at=NOW,
        status=Status.RUNNING,
        status_reason=None,
        outcome="awaiting",
        awaiting=ACCEPTED.awaiting,
    )
