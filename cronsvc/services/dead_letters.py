"""Dead letters: FAILED executions until somebody lets them run again (redrive) or says what was done (resolve).

Promises: each act is decided on the locked row, so of two people who act on the same one the second is told that it is
no dead letter any more; several at once are one transaction, in which each has an answer of its own. One that was
redriven and fails again is a dead letter again.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cronsvc.domain.execution import Execution, Status
from cronsvc.errors import InvalidInput
from cronsvc.executors.base import Executor
from cronsvc.services.access import Caller
from cronsvc.services.dispatch import Dispatcher
from cronsvc.services.ending import Item, change, known, refusals, run_again
from cronsvc.services.job_validation import check_filter, check_note
from cronsvc.services.paging import Page, check_limit, page_of, read_time_cursor, time_cursor
from cronsvc.store import audit, dead_letters, ending
from cronsvc.store.pool import Database

MOST_AT_ONCE = 500
_KIND = "dead-letters"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters are meant; None does not filter. `since` and `until` bound the scheduled time, `until` out."""

    job_id: int | None = None
    queue: str | None = None
    namespace: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing narrows it."""
        return self == Wanted()


@dataclass(frozen=True, slots=True)
class Bulk:
    """What became of each; `more` says that the filter fits others too, beyond the limit."""

    items: tuple[Item, ...]
    more: bool


class DeadLetters:
    """The dead letters of one database, for one process."""

    def __init__(self, db: Database, executors: Mapping[str, Executor], dispatcher: Dispatcher) -> None:
        self._db = db
        self._executors = executors
        self._dispatcher = dispatcher

    async def list(
        self,
        caller: Caller,
        wanted: Wanted | None = None,
        *,
        earliest_first: bool = False,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Execution]:
        """Dead letters, the latest scheduled time first unless told; those of deleted jobs too."""
        kind = f"{_KIND} scheduledTime" if earliest_first else _KIND
        before = read_time_cursor(kind, cursor)
        async with self._db.statements() as conn:
            filter_ = _filter(wanted or Wanted(), caller)
            found = await dead_letters.page(
                conn, filter_, before=before, earliest_first=earliest_first, limit=check_limit(limit) + 1
            )
        return page_of(found, limit, lambda each: time_cursor(kind, each.scheduled_time, each.id))

    async def redrive(self, execution_id: int, caller: Caller) -> Execution:
        """Let a dead letter run again, now. Conflict: it is none (any more), or its job was deleted.

        Forbidden: it has params, and the caller may give none to jobs of that type.
        """
        (item,) = await self._redrive([execution_id], caller)
        return item.require()

    async def resolve(self, execution_id: int, caller: Caller, *, note: str) -> Execution:
        """Take a dead letter off the list, with a note of what was done. Conflict: it is none (any more)."""
        (item,) = await self._resolve([execution_id], caller, _checked(note))
        return item.require()

    async def redrive_many(
        self, caller: Caller, *, ids: Sequence[int] | None = None, wanted: Wanted | None = None, limit: int = 100
    ) -> Bulk:
        """`redrive` for these ids, or for the latest `limit` that fit the filter."""
        return await self._many(caller, ids, wanted, limit, lambda chosen: self._redrive(chosen, caller))

    async def resolve_many(
        self,
        caller: Caller,
        *,
        note: str,
        ids: Sequence[int] | None = None,
        wanted: Wanted | None = None,
        limit: int = 100,
    ) -> Bulk:
        """`resolve` for these ids, or for the latest `limit` that fit the filter, all with one note."""
        checked = _checked(note)
        return await self._many(caller, ids, wanted, limit, lambda chosen: self._resolve(chosen, caller, checked))

    async def _many(
        self,
        caller: Caller,
        ids: Sequence[int] | None,
        wanted: Wanted | None,
        limit: int,
        act: Callable[[Sequence[int]], Awaitable[Sequence[Item]]],
    ) -> Bulk:
        chosen, more = await self._choose(caller, ids, wanted or Wanted(), limit)
        return Bulk(tuple(await act(chosen)) if chosen else (), more)

    async def _choose(
        self, caller: Caller, ids: Sequence[int] | None, wanted: Wanted, limit: int
    ) -> tuple[Sequence[int], bool]:
        """The ids to act on, and whether there are more; InvalidInput unless it is said which are meant."""
        if not 1 <= limit <= MOST_AT_ONCE:
            raise InvalidInput.of("limit", f"is {limit}; 1 to {MOST_AT_ONCE} at a time are possible")
        if ids is not None:
            if not wanted.is_everything:
                raise InvalidInput.of("ids", "cannot be combined with a filter")
            if not 1 <= len(ids) <= MOST_AT_ONCE:
                raise InvalidInput.of("ids", f"has {len(ids)} ids; 1 to {MOST_AT_ONCE} at a time are possible")
            return tuple(dict.fromkeys(ids)), False
        if wanted.is_everything:
            raise InvalidInput.of("ids", "say which are meant: ids, or one of jobId, queue, namespace, since, until")
        async with self._db.statements() as conn:
            found = await dead_letters.page(conn, _filter(wanted, caller), limit=limit + 1)
        return tuple(each.id for each in found[:limit]), len(found) > limit

    async def _redrive(self, ids: Sequence[int], caller: Caller) -> Sequence[Item]:
        return await run_again(
            self._db, self._executors, self._dispatcher, caller, ids, refusal=_not_dead, action="redrive"
        )

    async def _resolve(self, ids: Sequence[int], caller: Caller, note: str) -> Sequence[Item]:
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            found = await ending.lock(conn, known(ids))
            refused = refusals(ids, found, caller, _not_dead)
            open_ = [found[id_] for id_ in found if id_ not in refused]
            resolved = {each.id: each for each in await ending.resolve(conn, open_, by=caller.actor, note=note)}
            changes = [change(found[id_], each) for id_, each in resolved.items()]
            await audit.append_many(conn, changes, action="resolve", entity="execution")
        return [Item(id_, resolved.get(id_), refused.get(id_)) for id_ in ids]


def _not_dead(execution: Execution) -> str | None:
    """Why this is no dead letter, or None."""
    if execution.is_dead_letter:
        return None
    if execution.status is Status.FAILED:
        return f"it is no dead letter any more: {execution.resolved_by} resolved it"
    return f"it is no dead letter: it is {execution.status}"


def _checked(note: str) -> str:
    check_note(note)
    if not note.strip():
        raise InvalidInput.of("note", "says what was done about it; it cannot be empty")
    return note


def _filter(wanted: Wanted, caller: Caller) -> dead_letters.Filter:
    """The filter of the statement, within what the caller may see; InvalidInput for text or times that mean nothing."""
    check_filter("queue", wanted.queue)
    check_filter("namespace", wanted.namespace)
    for field, value in {"since": wanted.since, "until": wanted.until}.items():
        if value is not None and value.utcoffset() is None:
            raise InvalidInput.of(field, "has no UTC offset; write for example 2026-01-31T09:00:00Z")
    namespaces = caller.namespaces
    if wanted.namespace is not None:
        namespaces = (wanted.namespace,) if caller.sees(wanted.namespace) else ()
    return dead_letters.Filter(namespaces, wanted.job_id, wanted.queue, wanted.since, wanted.until)
