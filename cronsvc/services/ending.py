"""A person ends an execution, or lets a finished one run again.

Promises: what is asked is decided on the locked row, audited in the same transaction, and pushed after its commit. A
cancel that comes while the row waits, to run or for its target's call, is done when this returns; while it runs, its
worker is asked, and whoever writes first wins: a success stays one. What runs again keeps its id, its instant, its
params and its past attempts, and gets the budget of the job as it is defined now on top of the tries it has made: who
lets a run with params go again may give params to the job as it is now.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cronsvc.domain.execution import REPEATABLE, TERMINAL, Execution, Status
from cronsvc.errors import Conflict, Forbidden, NotFound
from cronsvc.executors.base import Executor
from cronsvc.services.access import Caller
from cronsvc.services.callback_waits import end_waiting
from cronsvc.services.dispatch import Dispatcher
from cronsvc.services.job_validation import check_note
from cronsvc.services.type_roles import type_role_refusal
from cronsvc.store import audit, ending, running
from cronsvc.store.pool import Database

GREATEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Item:
    """What became of one of several: the execution as it is now, or why nothing was done."""

    id: int
    execution: Execution | None = None
    refused: NotFound | Conflict | Forbidden | None = None

    def require(self) -> Execution:
        """The execution; raises what refused it."""
        if self.execution is None:
            raise self.refused or unknown(self.id)
        return self.execution


class Endings:
    """Ends and new beginnings of the executions of one database, for one process."""

    def __init__(self, db: Database, executors: Mapping[str, Executor], dispatcher: Dispatcher) -> None:
        self._db = db
        self._executors = executors
        self._dispatcher = dispatcher

    async def cancel(self, execution_id: int, caller: Caller, *, note: str | None = None) -> Execution:
        """Cancel a waiting execution, or ask its worker to stop a running one; asked before, it stays as it is.

        Conflict: it has ended.
        """
        check_note(note)
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            found = (await ending.lock(conn, known([execution_id]))).get(execution_id)
            if found is None or not caller.sees(found.namespace):
                raise unknown(execution_id)
            if found.status in TERMINAL:
                raise Conflict(f"execution {execution_id} has ended: it is {found.status}")
            cancelled = await ending.cancel(conn, found, by=caller.actor, note=note)
            if cancelled is None:
                return found
            if cancelled.awaits_callback:
                cancelled = await end_waiting(conn, cancelled)
            await audit.append_many(conn, [change(found, cancelled)], action="cancel", entity="execution")
            if cancelled.status is Status.CANCELLED:
                await running.wake_schedulers(conn)  # another may be held back for this one
            return cancelled

    async def retry(self, execution_id: int, caller: Caller) -> Execution:
        """Let a finished execution run again, now. Conflict: it has not ended, never ran, or its job was deleted.

        Forbidden: it has params, and the caller may give none to jobs of that type.
        """
        (item,) = await run_again(
            self._db,
            self._executors,
            self._dispatcher,
            caller,
            [execution_id],
            refusal=not_repeatable,
            action="retry",
        )
        return item.require()


async def run_again(
    db: Database,
    executors: Mapping[str, Executor],
    dispatcher: Dispatcher,
    caller: Caller,
    execution_ids: Sequence[int],
    *,
    refusal: Callable[[Execution], str | None],
    action: str,
) -> list[Item]:
    """Let each of these run again unless `refusal` says why not; an item for each, in the order of the ids."""
    async with db.transaction(actor=caller.actor, source=caller.source) as conn:
        live = await ending.hold_jobs(conn, known(execution_ids))
        found = await ending.lock(conn, known(execution_ids))

        def why_not(each: Execution) -> str | Forbidden | None:
            if (reason := refusal(each)) is not None:
                return reason
            if (kind := live.get(each.job_id)) is None:
                return "its job was deleted"
            # It will run the job as it is now, which may be of another type than the one the params were given to.
            act = "run again with params"
            return type_role_refusal(caller, executors, kind, each.namespace, act=act) if each.params else None

        refused = refusals(execution_ids, found, caller, why_not)
        willing = [found[id_] for id_ in found if id_ not in refused]
        again = await ending.requeue(conn, willing, redispatch=dispatcher.redispatch_after)
        changes = [change(found[each.id], each) for each, _ in again]
        await audit.append_many(conn, changes, action=action, entity="execution")
    await dispatcher.push([ticket for _, ticket in again])
    done = {each.id: each for each, _ in again}
    return [Item(id_, done.get(id_), refused.get(id_)) for id_ in execution_ids]


def refusals(
    execution_ids: Sequence[int],
    found: Mapping[int, Execution],
    caller: Caller,
    why_not: Callable[[Execution], str | Forbidden | None],
) -> dict[int, NotFound | Conflict | Forbidden]:
    """Which of these ids nothing can be done with, and why: unknown to this caller, in the wrong state, forbidden."""
    refused: dict[int, NotFound | Conflict | Forbidden] = {}
    for id_ in execution_ids:
        execution = found.get(id_)
        if execution is None or not caller.sees(execution.namespace):
            refused[id_] = unknown(id_)
        elif (reason := why_not(execution)) is not None:
            refused[id_] = reason if isinstance(reason, Forbidden) else Conflict(f"execution {id_}: {reason}")
    return refused


def not_repeatable(execution: Execution) -> str | None:
    """Why this execution cannot run again, or None."""
    if execution.status in REPEATABLE:
        return None
    if execution.status is Status.SKIPPED:
        return f"it was skipped ({execution.status_reason}) and never ran: backfill its instant, or trigger the job"
    return "it waits to run already" if execution.status is Status.QUEUED else "it is running: cancel it first"


def known(execution_ids: Sequence[int]) -> list[int]:
    """The ids that the column could hold."""
    return [id_ for id_ in execution_ids if 0 < id_ <= GREATEST_ID]


def unknown(execution_id: int) -> NotFound:
    """There is no such execution, or not for this caller, or not any more."""
    return NotFound(f"there is no execution {execution_id}")


def change(before: Execution, after: Execution) -> audit.Change:
    """What was done to an execution, as the audit log holds it."""
    return audit.Change(before.id, before.namespace, _columns(before), _columns(after))


def _columns(execution: Execution) -> dict[str, Any]:
    """What the acts of this file change, and whose execution it is."""
    columns: dict[str, Any] = {
        "job_id": execution.job_id,
        "scheduled_time": execution.scheduled_time,
        "status": execution.status.value,
        "status_reason": execution.status_reason,
        "revision": execution.revision,
        "attempt": execution.attempt,
        "max_attempts": execution.max_attempts,
        "error": None if execution.error is None else dict(execution.error),
        "cancel_requested_at": execution.cancel_requested_at,
        "cancel_requested_by": execution.cancel_requested_by,
        "cancel_note": execution.cancel_note,
        "resolved_at": execution.resolved_at,
        "resolved_by": execution.resolved_by,
        "resolve_note": execution.resolve_note,
    }
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in columns.items()}
