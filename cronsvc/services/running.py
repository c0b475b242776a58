"""T3, T4 and T5 of a firing, in one worker process: claim, run, finish, and rescue what a dead worker held.

`handle(ticket)` is the pipe: claim → definition → executor under its timeout → decide → finish. Claims and finishes are
micro-batched over everything the process runs. The lease belongs to the process: `lease.Lease` renews it, and when it
cannot, what runs here is stopped before anybody else may start it.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from cronsvc.domain.execution import Claimed, ErrorDetail, Finish, Outcome, Status, Ticket
from cronsvc.domain.finish import after_loss, after_outcome, after_release, hand_back
from cronsvc.domain.job import JobDefinition, merge_params
from cronsvc.domain.retry import Backoff
from cronsvc.errors import InvalidInput, Unavailable
from cronsvc.executors.base import Executor, RunContext
from cronsvc.executors.outcomes import refused
from cronsvc.services.batching import MicroBatch
from cronsvc.store import presence, running
from cronsvc.store.pool import Database
from cronsvc.store.rows import definition_from_json
from cronsvc.tasks import cancelled

_log = logging.getLogger("cronsvc.running")

# A job type this worker lacks: how long the ticket rests before it is offered again, to whoever takes it.
_UNKNOWN_TYPE_SECONDS = 5.0

# Ends of attempts that wait to be written: beyond this, slots wait with them.
MOST_UNWRITTEN = 500

# No backoff or Retry-After is longer, whatever was reported.
LONGEST_RETRY_SECONDS = 7 * 86_400.0

# A retry nearer than this is announced to the schedulers, whose poll might come later.
_NEAR_SECONDS = 5.0


Key = tuple[int, int]
"""An attempt: execution id and claim_no."""


class Definitions:
    """Revisions never change, so a worker keeps the ones it used last."""

    def __init__(self, db: Database, *, most: int = 5000) -> None:
        self._db = db
        self._most = most
        self._kept: OrderedDict[tuple[int, int], JobDefinition | ErrorDetail] = OrderedDict()
        self._batch: MicroBatch[tuple[int, int], JobDefinition | ErrorDetail] = MicroBatch(self._fetch)

    async def get(self, job_id: int, revision: int) -> JobDefinition | ErrorDetail:
        """The definition an execution pinned, or why there is none that can be run."""
        key = (job_id, revision)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = await self._batch.submit(key)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return kept

    async def _fetch(self, keys: Sequence[tuple[int, int]]) -> Sequence[JobDefinition | ErrorDetail]:
        async with self._db.statements() as conn:
            found = await running.definitions(conn, sorted(set(keys)))
        return [_readable(found.get(key)) for key in keys]


def _readable(row: Mapping[str, Any] | None) -> JobDefinition | ErrorDetail:
    if row is None:
        return ErrorDetail("invalid_config", "the revision this execution pinned is gone")
    try:
        return definition_from_json(row)
    except ValueError as error:
        return ErrorDetail("invalid_config", f"the job's definition cannot be read: {error}")


@dataclass(frozen=True, slots=True)
class _Run:
    """One attempt in progress in this process."""

    claimed: Claimed
    task: "asyncio.Task[Outcome]"


class Runner:
    """Runs tickets for one worker process, under the lease of `worker_id`."""

    def __init__(self, db: Database, executors: Mapping[str, Executor], *, worker_id: UUID) -> None:
        self._db = db
        self._executors = executors
        self.worker_id = worker_id
        self._definitions = Definitions(db)
        self._claims: MicroBatch[Ticket, Claimed | None] = MicroBatch(self._claim)
        # Two lanes: while one statement waits for its commit, the next batch is on its way.
        self._finishes: MicroBatch[Finish, bool | None] = MicroBatch(self._finish, lanes=2)
        self._writes: set[asyncio.Task[None]] = set()
        # By (execution id, claim_no): an old attempt that is slow to stop is not the newer one of the same execution.
        self._runs: dict[Key, _Run] = {}
        self._lapsed: set[Key] = set()
        self._in_hand: set[Key] = set()  # from the claim until this process lets go of it
        self._begun: set[Key] = set()  # from the executor's start until the end is written or refused

    @property
    def running(self) -> int:
        """How many attempts are in progress."""
        return len(self._runs)

    async def handle(self, ticket: Ticket) -> None:
        """Make one attempt for a ticket, or drop it if it is stale. Returns when the attempt has ended.

        Its end is written behind the slot's back, so that a slot waits for one commit and not for two; at most
        MOST_UNWRITTEN ends wait at a time, and `flush` waits for them all.
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
                self._in_hand.discard(_key(claimed))
            else:
                self._write_later(finish)
        while len(self._writes) > MOST_UNWRITTEN:
            await asyncio.wait(self._writes, return_when=asyncio.FIRST_COMPLETED)

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
        write = asyncio.get_running_loop().create_task(self._write(finish))
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)
        write.add_done_callback(lambda _: self._in_hand.discard(key))

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
            _log.warning("execution %s is RUNNING here by its row only: %s", *_stray_words(claimed, begun=begun))
            await self._finishes.submit(after_loss(claimed) if begun else hand_back(claimed, seconds=0.0))
            self._begun.discard(_key(claimed))
        return len(strays)

    async def flush(self, seconds: float) -> bool:
        """Wait until every end is written; False when Postgres did not take them all in that time."""
        if self._writes:
            await asyncio.wait(self._writes, timeout=seconds)
        for write in self._writes:
            write.cancel()
        return not self._writes

    async def _attempt(self, claimed: Claimed) -> Finish | None:
        """Run the claimed execution; None when its lease lapsed and the row is no longer ours to write."""
        try:
            definition = await self._definitions.get(claimed.job_id, claimed.revision)
        except (Unavailable, asyncio.CancelledError):
            return hand_back(claimed, seconds=1.0)
        if isinstance(definition, ErrorDetail):
            return after_outcome(claimed, Outcome(error=definition, retryable=False), Backoff())
        executor = self._executors.get(definition.task_payload.type)
        if executor is None:
            _log.warning("no executor for job type %r here; handed back", definition.task_payload.type)
            return hand_back(claimed, seconds=_UNKNOWN_TYPE_SECONDS)
        key = _key(claimed)
        self._begun.add(key)
        task = asyncio.get_running_loop().create_task(_execute(executor, claimed, definition))
        self._runs[key] = _Run(claimed, task)
        try:
            outcome = await asyncio.shield(task)
        except asyncio.CancelledError:
            if key in self._lapsed:
                return None
            return await _stop(task, claimed, definition.backoff)
        finally:
            self._runs.pop(key, None)
            self._lapsed.discard(key)
        return after_outcome(claimed, outcome, definition.backoff)

    async def _write(self, finish: Finish) -> None:
        """Write the end until Postgres takes it or the fence refuses it; a drain that ends first leaves it to T5."""
        delay = 0.1
        while not cancelled():
            try:
                written = await self._finishes.submit(finish)
            except Unavailable as error:
                _log.warning("cannot write the end of execution %s yet: %s", finish.execution_id, error)
                written = None
            if written is None:
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)
                continue
            self._begun.discard((finish.execution_id, finish.claim_no))
            if not written:
                _log.warning(
                    "stale result of execution %s (claim %s) discarded: the row belongs to another claim now",
                    finish.execution_id,
                    finish.claim_no,
                )
            return

    def lapse(self) -> int:
        """The lease is gone: stop everything that runs, write nothing of it. Returns how many attempts were stopped."""
        runs = dict(self._runs)
        for key, run in runs.items():
            self._lapsed.add(key)
            run.task.cancel()
        return len(runs)

    async def _claim(self, tickets: Sequence[Ticket]) -> Sequence[Claimed | None]:
        async with self._db.statements() as conn:
            claimed = await running.claim(conn, tickets, worker_id=self.worker_id)
        self._in_hand |= {_key(each) for each in claimed.values()}
        # A ticket that was delivered twice must reach one caller only.
        return [claimed.pop(ticket.execution_id, None) for ticket in tickets]

    async def _finish(self, finishes: Sequence[Finish]) -> Sequence[bool | None]:
        """Write a batch: True is written, False fenced, None to be tried again. What one brings spoils no other."""
        try:
            return await self._finish_all(finishes)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 — a value that JSON or Postgres refuses; the rows must end all the same
            if len(finishes) > 1:
                return [await self._finish_alone(finish) for finish in finishes]
            _log.error("the end of execution %s cannot be stored as it is: %s", finishes[0].execution_id, error)
            return await self._finish_all([_bare(finishes[0])])

    async def _finish_alone(self, finish: Finish) -> bool | None:
        try:
            return (await self._finish([finish]))[0]
        except Unavailable:
            return None

    async def _finish_all(self, finishes: Sequence[Finish]) -> Sequence[bool]:
        near = any(f.retry_seconds is not None and f.retry_seconds < _NEAR_SECONDS for f in finishes)
        async with self._db.statements() as conn:
            written = await running.finish(conn, finishes)
            if near:
                await running.wake_schedulers(conn)
        return [finish.execution_id in written for finish in finishes]


def _bare(finish: Finish) -> Finish:
    """The same end in our words alone; a success stays one and says what became of its result."""
    note = None if finish.result is None else {"unstorable": "the result holds what cannot be stored"}
    error = None if finish.error is None else ErrorDetail("unstorable", "what the attempt reported cannot be stored")
    seconds = finish.retry_seconds
    if seconds is not None and not seconds <= LONGEST_RETRY_SECONDS:  # a NaN fails this too
        seconds = LONGEST_RETRY_SECONDS
    return replace(finish, result=note, error=error, retry_seconds=seconds, http_status=None, excerpt=None)


def _key(claimed: Claimed) -> Key:
    return claimed.execution_id, claimed.claim_no


def _stray_words(claimed: Claimed, *, begun: bool) -> tuple[int, str]:
    what = "its end could not be written, it counts as lost" if begun else "it was never begun and is handed back"
    return claimed.execution_id, what


async def _execute(executor: Executor, claimed: Claimed, definition: JobDefinition) -> Outcome:
    """Parse and run under the job's timeout; whatever goes wrong comes back as an Outcome, but for a cancellation."""
    context = RunContext(
        execution_id=claimed.execution_id,
        job_id=claimed.job_id,
        job_name=definition.name,
        scheduled_time=claimed.scheduled_time,
        attempt=claimed.attempt,
        max_attempts=claimed.max_attempts,
        claim_no=claimed.claim_no,
        timeout_seconds=float(definition.timeout_seconds),
    )
    try:
        config = executor.parse(merge_params(definition.task_payload.config, claimed.params))
        async with asyncio.timeout(context.timeout_seconds + 1.0):  # the executor's own deadline comes first
            outcome = await executor.run(config, context)
            if not isinstance(outcome, Outcome):
                raise TypeError(f"run returned {type(outcome).__name__}, not an Outcome")
            return outcome
    except InvalidInput as error:
        return refused(error)
    except TimeoutError:
        return Outcome(error=ErrorDetail("timeout", f"no end within {definition.timeout_seconds} s"))
    except Exception as error:  # noqa: BLE001 — a job type's bug must not end the worker
        _log.exception("executor %s failed on execution %s", definition.task_payload.type, claimed.execution_id)
        # Nobody knows how far it came: a job that must run at most once is told so.
        word = "lost" if claimed.max_attempts == 1 else "executor_error"
        return Outcome(error=ErrorDetail(word, f"the executor raised {type(error).__name__}"))


async def _stop(task: "asyncio.Task[Outcome]", claimed: Claimed, backoff: Backoff) -> Finish:
    """End a running attempt for the drain; if it ends with a result after all, that result counts."""
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=1.0)
    if done and not task.cancelled():
        return after_outcome(claimed, task.result(), backoff)
    return after_release(claimed)


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
            written = await running.finish(conn, finishes)
        retried = sum(f.status is Status.QUEUED for f in finishes if f.execution_id in written)
        _log.warning("rescued %s executions of lost workers, %s of them will run again", len(written), retried)
        rescued += len(written)
        if not written:
            return rescued
