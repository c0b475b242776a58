"""T3, T4 and T5 of a firing, in one worker process: claim, run, finish, and rescue what a dead worker held.

`handle(ticket)` is the pipe: claim → definition → executor under its timeout → decide → finish. Claims and finishes are
micro-batched over everything the process runs. The lease belongs to the process: `lease.Lease` renews it, and when it
cannot, what runs here is stopped before anybody else may start it, and what was claimed and has not begun never does.
Its heartbeat also brings the requests to cancel.
"""

import asyncio
import logging
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from cronsvc.domain.egress_list import NamespaceEgress
from cronsvc.domain.execution import Claimed, ErrorDetail, Finish, Outcome, Status, Ticket, Trigger
from cronsvc.domain.finish import after_loss, after_outcome, hand_back
from cronsvc.domain.job import JobDefinition
from cronsvc.domain.retry import Backoff
from cronsvc.errors import InvalidInput, Unavailable
from cronsvc.executors.base import Executor, NotInstalled, RunContext, SecretFault
from cronsvc.executors.options import host_called, merged
from cronsvc.executors.outcomes import refused
from cronsvc.services.admission import claim_limited
from cronsvc.services.batching import MicroBatch
from cronsvc.services.callback_waits import Tokens
from cronsvc.services.definitions import Definitions
from cronsvc.services.failing import finish_steering
from cronsvc.services.family import Family
from cronsvc.services.finishing import Ends
from cronsvc.services.handed_on import fault_of_handed_on
from cronsvc.services.outbound import Outbound
from cronsvc.services.reporting import Report, Reports
from cronsvc.services.secret_reading import AttemptSecrets, SecretReader
from cronsvc.services.stopping import Run
from cronsvc.store import presence, running
from cronsvc.store.pool import Database

_log = logging.getLogger("cronsvc.running")

# A job type, handler, database or command that this worker lacks: how long the ticket rests before it is offered
# again, to whoever takes it.
_UNKNOWN_TYPE_SECONDS = 5.0

Key = tuple[int, int]
"""An attempt: execution id and claim_no."""


class Runner:
    """Runs tickets for one worker process, under the lease of `worker_id`."""

    def __init__(
        self,
        db: Database,
        executors: Mapping[str, Executor],
        *,
        worker_id: UUID,
        cancel_grace: timedelta = timedelta(seconds=10),
        secrets: SecretReader | None = None,
    ) -> None:
        self._db = db
        self._executors = executors
        self.worker_id = worker_id
        self._cancel_grace = cancel_grace
        self._secrets = secrets or SecretReader(db, None)
        self._definitions = Definitions(db)
        self._claims: MicroBatch[Ticket, Claimed | None] = MicroBatch(self._claim)
        self._ends = Ends(db)
        self._reports = Reports(db)
        self._outbound = Outbound(db)
        self._runs: dict[Key, Run] = {}
        self._in_hand: dict[Key, UUID] = {}  # from the claim until this process lets go of it: who claimed
        self._begun: set[Key] = set()  # from the executor's start until the end is written or refused
        self._lapsed: UUID | None = None  # the identity whose lease is gone, until there is a new one

    @property
    def running(self) -> int:
        """How many attempts are in progress."""
        return len(self._runs)

    async def handle(self, ticket: Ticket) -> None:
        """Make one attempt for a ticket, or drop it if it is stale. Returns when the attempt has ended.

        Its end is written behind the slot's back, and `flush` waits for it.
        While Postgres is away the claim fails and the ticket is dropped: the row still waits and is dispatched again.
        A cancellation is the drain: what had begun is released, what had not is handed back without cost.
        """
        try:
            claimed = await self._claimed(ticket)
        except Unavailable as error:
            _log.warning("cannot claim, the ticket is dropped and will come again: %s", error)
            return
        if claimed is None:
            return
        finish: Finish | None = None
        try:
            finish = await self._attempt(claimed)
        finally:
            if finish is None:
                self._in_hand.pop(_key(claimed), None)
            else:
                self._write_later(finish)
        await self._ends.room()

    async def _claimed(self, ticket: Ticket) -> Claimed | None:
        claiming = self._claims.submit(ticket)
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            # The drain: the claim is on its way and cannot be called back, so what it brings is handed back.
            if (claimed := await claiming) is not None:
                self._write_later(hand_back(claimed, seconds=0.0))
            return None

    def _write_later(self, finish: Finish) -> None:
        key = (finish.execution_id, finish.claim_no)

        def decided(spoken: bool) -> None:
            self._in_hand.pop(key, None)
            if spoken:
                self._begun.discard(key)

        self._ends.write_later(finish, decided)

    async def return_strays(self, *, age: timedelta, batch: int = 500) -> int:
        """Decide what the rows say runs here and this process has let go of; returns how many.

        A claim that was committed and whose answer was lost was never begun and is handed back without cost; `age` must
        be longer than a claim can take. What had begun and whose end could not be written counts as lost.
        """
        async with self._db.statements() as conn:
            held = await running.running_since(conn, worker_id=self.worker_id, age=age, batch=batch)
        strays = [claimed for claimed in held if _key(claimed) not in self._in_hand]
        for claimed in strays:
            begun = _key(claimed) in self._begun
            words = "its end could not be written, it counts as lost" if begun else "never begun, it is handed back"
            _log.warning("execution %s is RUNNING here by its row only: %s", claimed.execution_id, words)
            self._write_later(after_loss(claimed) if begun else hand_back(claimed, seconds=0.0))
        return len(strays)

    async def flush(self, seconds: float) -> bool:
        """Wait until every end is written; False when Postgres did not take them all in that time."""
        written, _ = await asyncio.gather(self._ends.flush(seconds), self._outbound.flush(seconds))
        return written

    async def _attempt(self, claimed: Claimed) -> Finish | None:
        """Run the claimed execution; None when its lease lapsed and the row is no longer ours to write."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        try:
            definition = await self._definitions.get(claimed.job_id, claimed.revision)
        except (Unavailable, asyncio.CancelledError):
            return hand_back(claimed, seconds=1.0)
        if isinstance(definition, ErrorDetail):
            return after_outcome(claimed, Outcome(error=definition, retryable=False), Backoff())
        claimed = _with_policy(claimed, definition, spent=clock() - begun)
        executor = self._executors.get(definition.task_payload.type)
        if executor is None:
            _log.warning("no executor for job type %r here; handed back", definition.task_payload.type)
            return hand_back(claimed, seconds=_UNKNOWN_TYPE_SECONDS)
        if claimed.trigger is Trigger.DEPENDENCY and (
            fault := fault_of_handed_on(executor, definition, claimed.params)
        ):
            return after_outcome(claimed, Outcome(error=fault, retryable=False), definition.backoff)
        try:
            config = executor.parse(merged(executor, definition.task_payload.config, claimed.params))
        except NotInstalled as error:
            _log.warning("execution %s cannot run here and was handed back: %s", claimed.execution_id, error)
            return hand_back(claimed, seconds=_UNKNOWN_TYPE_SECONDS)
        except InvalidInput as error:
            return after_outcome(claimed, refused(error), definition.backoff)
        except Exception as error:  # noqa: BLE001 — a job type's bug must not leave the row RUNNING for ever
            _log.exception("job type %s cannot read execution %s", definition.task_payload.type, claimed.execution_id)
            fault = ErrorDetail("executor_error", f"the executor raised {type(error).__name__} in parse")
            return after_outcome(claimed, Outcome(error=fault, retryable=False), definition.backoff)
        asked = clock()
        try:
            passage = await self._outbound.passage(claimed, definition.namespace, host_called(executor, config))
        except (Unavailable, asyncio.CancelledError):
            return hand_back(claimed, seconds=1.0)
        if passage is None:
            return None  # its host is not to be called now: it was given back with the reason
        if not self._holds(claimed):
            return hand_back(claimed, seconds=0.0)  # behind the fence: somebody else may have it by now
        claimed = _spent(claimed, clock() - asked)  # from here to its start nothing may wait
        report = self._reports.open(claimed)
        secrets = self._secrets.attempt(definition.namespace)
        attempt = _execute(executor, config, claimed, definition, report, self._db, secrets, passage.egress)
        finish = await self._run(claimed, definition, passage.watched(attempt))
        return None if finish is None else replace(finish, **report.close())

    def _holds(self, claimed: Claimed) -> bool:
        """Whether the lease that this was claimed under is still this process's."""
        return self._in_hand.get(_key(claimed)) == self.worker_id != self._lapsed

    async def _run(
        self, claimed: Claimed, definition: JobDefinition, attempt: Coroutine[Any, Any, Outcome]
    ) -> Finish | None:
        """Make the attempt and decide its end; None as above."""
        key, loop = _key(claimed), asyncio.get_running_loop()
        begun = loop.time()
        self._begun.add(key)

        def decide(outcome: Outcome) -> Finish:
            return after_outcome(claimed, outcome, definition.backoff, spent=loop.time() - begun)

        run = Run(claimed, loop.create_task(attempt), decide)
        self._runs[key] = run
        try:
            return await run.end()
        finally:
            del self._runs[key]

    def lapse(self) -> int:
        """The lease is gone: stop everything that runs, write nothing of it. Returns how many attempts were stopped.

        Nothing begins any more before `worker_id` is another one.
        """
        self._lapsed = self.worker_id
        runs = list(self._runs.values())
        for run in runs:
            run.lapse()
        return len(runs)

    def claims(self) -> list[Claimed]:
        """What runs here."""
        return [run.claimed for run in self._runs.values()]

    def cancel(self, asked: Collection[tuple[int, int]]) -> None:
        """Stop these attempts, by execution id and claim_no; one that is not here any more is left alone."""
        for key in asked:
            if (run := self._runs.get(key)) is not None:
                run.cancel(self._cancel_grace)

    async def _claim(self, tickets: Sequence[Ticket]) -> Sequence[Claimed | None]:
        worker_id = self.worker_id  # it may be another one when the answer comes
        async with self._db.statements() as conn:
            claimed = await running.claim(conn, tickets, worker_id=worker_id)
        if left := [ticket for ticket in tickets if ticket.execution_id not in claimed]:
            claimed |= await claim_limited(self._db, left, worker_id=worker_id)
        self._in_hand |= {_key(each): worker_id for each in claimed.values()}
        # A ticket that was delivered twice must reach one caller only.
        return [claimed.pop(ticket.execution_id, None) for ticket in tickets]


def _key(claimed: Claimed) -> Key:
    return claimed.execution_id, claimed.claim_no


def _with_policy(claimed: Claimed, definition: JobDefinition, *, spent: float) -> Claimed:
    """The claim with what its definition says of retries; `spent` seconds of its deadline have gone by."""
    counted = definition.pause_after_failures is not None
    return replace(_spent(claimed, spent), retry_on=definition.retry_on, counted=counted)


def _spent(claimed: Claimed, seconds: float) -> Claimed:
    """The claim when so many seconds of its deadline have gone by."""
    left = None if claimed.deadline_left is None else claimed.deadline_left - seconds
    return replace(claimed, deadline_left=left)


def _budget(claimed: Claimed, definition: JobDefinition) -> float:
    """Seconds for this attempt: the job's timeout, or what is left until the deadline."""
    timeout = float(definition.timeout_seconds)
    return timeout if claimed.deadline_left is None else max(0.05, min(timeout, claimed.deadline_left))


async def _execute(
    executor: Executor,
    config: Any,
    claimed: Claimed,
    definition: JobDefinition,
    report: Report,
    db: Database,
    secrets: AttemptSecrets,
    egress: NamespaceEgress,
) -> Outcome:
    """Run under the job's timeout; whatever goes wrong comes back as an Outcome, but for a cancellation.

    No secret that the attempt was given leaves here.
    """
    context = RunContext(
        execution_id=claimed.execution_id,
        job_id=claimed.job_id,
        job_name=definition.name,
        scheduled_time=claimed.scheduled_time,
        attempt=claimed.attempt,
        max_attempts=claimed.max_attempts,
        claim_no=claimed.claim_no,
        timeout_seconds=_budget(claimed, definition),
        params=claimed.params or {},
        budget=min(definition.max_attempts, claimed.max_attempts),
        reporter=secrets.reporting(report),
        secrets=secrets,
        callback_tokens=Tokens(db, claimed),
        fan_out=Family(db, claimed),
        egress=egress,
    )
    try:
        async with asyncio.timeout(context.timeout_seconds + 1.0):  # the executor's own deadline comes first
            outcome = await executor.run(config, context)
            if not isinstance(outcome, Outcome):
                raise TypeError(f"run returned {type(outcome).__name__}, not an Outcome")
            return secrets.masked(outcome)
    except SecretFault as fault:  # before anything was begun
        return Outcome(error=ErrorDetail(fault.type, str(fault)), retryable=fault.retryable)
    except TimeoutError:
        return Outcome(error=ErrorDetail("timeout", f"no end within {context.timeout_seconds:g} s"))
    except Exception as error:  # noqa: BLE001 — a job type's bug must not end the worker
        how, kind = secrets.traceback(error), definition.task_payload.type
        _log.error("executor %s failed on execution %s\n%s", kind, claimed.execution_id, how)
        # Nobody knows how far it came: a job that must run at most once is told so.
        word = "lost" if context.at_most_once else "executor_error"
        return Outcome(error=ErrorDetail(word, f"the executor raised {type(error).__name__}"))


async def rescue(db: Database, *, grace: timedelta, batch: int = 500) -> int:
    """T5: declare dead workers lost and decide what becomes of what they held; returns how many rows were decided."""
    async with db.statements() as conn:
        lost = await presence.lose_workers(conn, grace=grace)
    for worker_id in lost:
        _log.warning("worker %s is lost: its lease ran out", worker_id)
    rescued = 0
    while True:
        async with db.statements() as conn:
            held = await running.abandoned(conn, batch=batch)
            if not held:
                return rescued
        finishes = [after_loss(claimed) for claimed in held]
        written: set[int] = set()
        if plain := [each for each in finishes if not each.steers_job]:
            async with db.statements() as conn:
                written |= await running.finish(conn, plain)
        if steering := [each for each in finishes if each.steers_job]:
            written |= await finish_steering(db, steering)
        retried = sum(f.status is Status.QUEUED for f in finishes if f.execution_id in written)
        _log.warning("rescued %s executions of lost workers, %s of them will run again", len(written), retried)
        rescued += len(written)
        if not written:
            return rescued
