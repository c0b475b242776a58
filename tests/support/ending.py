"""Executors that do not stop as asked, workers with one attempt in progress, and what the audit log has of it."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from cronsvc.domain.execution import Outcome, Ticket
from cronsvc.executors.base import RunContext
from cronsvc.services.lease import Lease
from cronsvc.services.running import Runner
from cronsvc.store.pool import Database
from tests.support.job_types import Held, Scripted, failing
from tests.support.rows import fetch, one
from tests.support.running import LEASE, attempt, runner, state, waiting, worker


class Stubborn(Held):
    """Swallows every cancellation until `release` is set, and then still has a result."""

    async def run(self, config: Mapping[str, Any], context: RunContext) -> Outcome:
        self.calls.append(context)
        self.started.set()
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
        return Outcome(result={"late": True})


class Apologetic(Held):
    """Turns its cancellation into an outcome of its own."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self._outcome = outcome

    async def run(self, config: Mapping[str, Any], context: RunContext) -> Outcome:
        try:
            return await super().run(config, context)
        except asyncio.CancelledError:
            return self._outcome


class Working:
    """A worker with one attempt in progress, and a heartbeat that brings it what people ask for."""

    def __init__(self, db: Database, runner: Runner, ticket: Ticket) -> None:
        self.runner = runner
        self._attempt = asyncio.create_task(attempt(runner, ticket))
        self._beating = asyncio.create_task(Lease(db, runner, lease=LEASE, beat=timedelta(milliseconds=10)).keep())

    async def ended(self) -> None:
        await asyncio.wait_for(self._attempt, 30)
        self._beating.cancel()

    def freeze(self) -> None:
        """No heartbeat any more; what runs goes on."""
        self._beating.cancel()


async def work(db: Database, executor: Held, ticket: Ticket, *, grace: float = 30.0) -> Working:
    """Begin the attempt and wait until the executor has it."""
    one_runner = Runner(db, {"API_CALL": executor}, worker_id=await worker(db), cancel_grace=timedelta(seconds=grace))
    working = Working(db, one_runner, ticket)
    await executor.started.wait()
    return working


async def failed(db: Database, *, max_attempts: int = 1, **columns: object) -> Ticket:
    """An execution that has failed for good."""
    ticket = await waiting(db, max_attempts=max_attempts, **columns)
    await attempt(await runner(db, Scripted(failing(retryable=False))), ticket)
    assert (await state(db, ticket))[0] == "FAILED"
    return ticket


async def acts(db: Database, ticket: Ticket) -> list[tuple[str, str, str, str]]:
    """(action, actor, status before, status after) of what the audit log has of an execution."""
    return [
        (action, actor, before["status"], after["status"])
        for action, actor, before, after in await fetch(
            db,
            "SELECT action, actor, before, after FROM audit_log WHERE entity = 'execution' AND entity_id = %s"
            " ORDER BY id",
            str(ticket.execution_id),
        )
    ]


async def waits_for_a_lock(db: Database) -> bool:
    """Whether some session of this database waits for a lock."""
    (count,) = await one(
        db,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    return bool(count)
