"""Queues as people steer them: look, limit, pause, resume.

Promises: a change is one transaction, audited with its caller. From the commit of a pause on no claim takes anything of
that queue; what runs goes on, what waits keeps its place. When the pause ends, by a person or by its `until`, what it
held back is dispatched at once; a process that dies in the middle leaves the rest to the schedulers. Queues belong to
everybody, so only callers that reach every namespace change them; counts are of what the caller may see.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cronsvc.domain.job import Pause
from cronsvc.errors import FieldError, Forbidden, InvalidInput, NotFound
from cronsvc.services.access import Caller
from cronsvc.services.job_validation import check_note
from cronsvc.services.paging import NameSort, Page, check_limit, page_of
from cronsvc.services.pausing import ACTOR, check_until
from cronsvc.store import clock, jobs, queues
from cronsvc.store.pool import Conn, Database
from cronsvc.store.queues import Queue, QueueLoad
from cronsvc.store.running import wake_schedulers

_log = logging.getLogger("cronsvc.queues")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
LIMITS: Mapping[str, tuple[str, int]] = {
    "concurrency": ("concurrency", 100_000),
    "rate_per_minute": ("ratePerMinute", 10_000_000),
}
"""The limits a queue may have: their API name and the greatest value."""

CALL_IN_BATCH = 1000


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue and what it has to do."""

    queue: Queue
    load: QueueLoad

    @property
    def name(self) -> str:
        """The queue's name."""
        return self.queue.name

    @property
    def pause(self) -> Pause | None:
        """The pause in force."""
        return self.queue.pause


class Queues:
    """The queues of one database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def list(
        self,
        caller: Caller,
        *,
        is_paused: bool | None = None,
        sort: NameSort = NameSort.NAME,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[QueueState]:
        """Queues in the order of `sort`; paused ones or others, where `is_paused` says so."""
        edge = sort.edge("queues", cursor)
        async with self._db.statements() as conn:
            found = await queues.page(conn, is_paused=is_paused, edge=edge, limit=check_limit(limit) + 1)
            loads = await queues.loads(conn, [each.name for each in found], namespaces=caller.namespaces)
        states = [QueueState(each, loads[each.name]) for each in found]
        return page_of(states, limit, lambda each: sort.cursor("queues", each.name))

    async def get(self, name: str, caller: Caller) -> QueueState:
        """One queue."""
        async with self._db.statements() as conn:
            return await self._state(conn, await queues.find(conn, _known(name)), name, caller)

    async def set_limits(
        self, name: str, limits: Mapping[str, int | None], caller: Caller, *, create: bool = False
    ) -> QueueState:
        """Set the limits named in `limits` (keys of LIMITS, None: no limit) and leave the others.

        `create`: a queue that no job has named yet is made. InvalidInput lists every limit that cannot be.
        """
        _allow(caller)
        bad = [
            FieldError(LIMITS[key][0], f"is 1 to {LIMITS[key][1]}, or null for no limit")
            for key, value in limits.items()
            if value is not None and not 1 <= value <= LIMITS[key][1]
        ]
        if create and not NAME.fullmatch(name):
            bad.append(FieldError("name", "is 1 to 63 letters, digits or _.- and starts with a letter or digit"))
        if bad:
            raise InvalidInput(bad)
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            if create:
                await jobs.ensure_queue(conn, name)
            changed = await queues.set_limits(conn, _known(name), dict(limits))
            return await self._state(conn, changed, name, caller)

    async def pause(
        self, name: str, caller: Caller, *, note: str | None = None, until: datetime | None = None
    ) -> QueueState:
        """Begin nothing of this queue, for good or `until` an instant ahead. A paused one gets the new note and end."""
        _allow(caller)
        check_note(note)
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            check_until(until, await clock.now(conn))
            paused = await queues.pause(conn, _known(name), by=caller.actor, note=note, until=until)
            return await self._state(conn, paused, name, caller)

    async def resume(self, name: str, caller: Caller) -> QueueState:
        """End a queue's pause; what it held back is dispatched at once. Not paused: no change."""
        _allow(caller)
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            resumed = await queues.resume(conn, _known(name))
            state = await self._state(conn, resumed or await queues.find(conn, name), name, caller)
        if resumed is not None:
            async with self._db.transaction() as conn:
                # The first of them here, the rest by the schedulers: a request does not wait for a million rows.
                await queues.call_in(conn, name, batch=CALL_IN_BATCH)
                await wake_schedulers(conn)
        return state

    async def _state(self, conn: Conn, queue: Queue | None, name: str, caller: Caller) -> QueueState:
        if queue is None:
            raise _unknown(name)
        loads = await queues.loads(conn, [queue.name], namespaces=caller.namespaces)
        return QueueState(queue, loads[queue.name])


async def tend_queues(db: Database, *, batch: int = CALL_IN_BATCH) -> int:
    """End pauses that have reached their end, and call in what ended pauses held back; returns how many rows.

    Any number of replicas may do this at once. An end is audited under ACTOR.
    """
    async with db.statements() as conn:
        found = await queues.attention(conn)
    called_in = 0
    for name, calling_in in found.items():
        if not calling_in:
            async with db.transaction(actor=ACTOR) as conn:
                if await queues.resume(conn, name, only_ended=True) is None:
                    continue
            _log.info("the pause of queue %s has ended", name)
        while True:
            async with db.transaction() as conn:
                rows = await queues.call_in(conn, name, batch=batch)
                called_in += rows
                if rows == 0:
                    await queues.called_in(conn, name)
                    break
                await wake_schedulers(conn)
    return called_in


def _allow(caller: Caller) -> None:
    if caller.namespaces is not None:
        raise Forbidden("queues serve every namespace: only a key that is bound to none may change them")


def _known(name: str) -> str:
    """The name, if a queue can have it; raises NotFound."""
    if not NAME.fullmatch(name):
        raise _unknown(name)
    return name


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no queue {name[:63]!r}")
