"""The audit log: listed, exported, chained and verified. Nobody writes it here; every change does so by itself.

The chain: schedulers give committed entries a place each and the SHA-256 of the hash before and of what the entry says
(`seal_audit`, some seconds behind). So a row that is changed, swapped, removed from the middle or put in past the
triggers breaks the chain, and `verify` names the first such row. Whoever may rewrite everything can also compute the
chain anew, or cut its end off: the head is logged and answered so that it can be kept elsewhere, and given back as an
anchor. Entries that still wait are not protected yet. A caller with namespaces sees the entries of those only.
An export goes by place and not by time: an entry has its time when it is written, and is seen only after the commit.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

import structlog

from cronsvc import events
from cronsvc.errors import Forbidden, InvalidInput
from cronsvc.services.callers import Caller, within
from cronsvc.services.job_validation import check_filter
from cronsvc.services.paging import Page, check_limit, page_of, read_time_cursor, time_cursor
from cronsvc.store import audit_chain, audit_entries
from cronsvc.store.audit_chain import Head
from cronsvc.store.audit_entries import Entry, Wanted
from cronsvc.store.pool import Database

_log = structlog.get_logger("cronsvc.audit")

MOST_EXPORTED = 100_000
EXPORT_BATCH = 500
MOST_COUNTED = 100_000
SEAL_BATCH = 1000
VERIFY_BATCH = 2000
VERIFY_SECONDS = 2.0
_CURSOR = re.compile(r"(chain|log)-([0-9]{1,18})", re.ASCII)
_ANCHOR = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})", re.ASCII)


async def seal_audit(db: Database, *, batch: int = SEAL_BATCH) -> int:
    """Chain what has been committed and waits; returns how many entries. Any number of replicas may do it."""
    sealed = 0
    while True:
        async with db.transaction() as conn:
            if not await audit_chain.waiting(conn):
                return sealed
            done = await audit_chain.seal(conn, most=batch)
        sealed += done.sealed
        if done.sealed:
            _log.info(events.AUDIT_SEALED, entries=done.sealed, place=done.head_place, hash=done.head_hash.hex())
        if done.sealed < batch:
            return sealed


@dataclass(frozen=True, slots=True)
class Break:
    """Where the log is not what was sealed: a place in the chain, an entry, or both, and what is wrong with it."""

    place: int | None
    entry_id: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`checked` places and entries were looked at now. `next_cursor` goes on where time ran out; None: this was all.

    `unused_ids` were given out after the last entry: rolled back, not committed yet, or an end that was cut off.
    """

    checked: int
    broken: Break | None
    next_cursor: str | None
    head: Head
    unused_ids: int = 0

    @property
    def intact(self) -> bool:
        """Whether what was looked at is as it was written."""
        return self.broken is None


class Auditing:
    """The audit log of one database, for those who may read it."""

    def __init__(self, db: Database, *, verify_batch: int = VERIFY_BATCH) -> None:
        self._db = db
        self._verify_batch = verify_batch

    async def list(
        self,
        caller: Caller,
        wanted: Wanted,
        *,
        namespace: str | None = None,
        oldest_first: bool = False,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Entry]:
        """Entries by time, newest first unless told. A namespace the caller may not see has none."""
        wanted = _bounded(wanted, namespace, caller)
        kind = "audit at" if oldest_first else "audit"
        edge = read_time_cursor(kind, cursor)
        async with self._db.statements() as conn:
            found = await audit_entries.page(
                conn, wanted, edge=edge, newest_first=not oldest_first, limit=check_limit(limit) + 1
            )
        return page_of(found, limit, lambda entry: time_cursor(kind, entry.at, entry.id))

    async def export(
        self,
        caller: Caller,
        wanted: Wanted,
        *,
        namespace: str | None = None,
        after_id: int | None = None,
        limit: int = MOST_EXPORTED,
    ) -> AsyncIterator[Sequence[Entry]]:
        """Sealed entries by place, those after `after_id`, in batches; the first one has been read when this returns.

        Whoever goes on after the last one they got misses none: places are given after the commit, one after the other.

        Each batch is a transaction of its own that says what the caller reaches: the door that did so for the request
        is shut by then. InvalidInput: there is no entry `after_id`, or it has no place yet.
        """
        wanted = _bounded(wanted, namespace, caller)
        if not 1 <= limit <= MOST_EXPORTED:
            raise InvalidInput.of("limit", f"is {limit}; 1 to {MOST_EXPORTED} entries are possible")
        place: int | None = 0
        if after_id is not None:
            async with self._db.statements() as conn:
                place = await audit_chain.place_of(conn, after_id, namespaces=wanted.namespaces)
            if place is None:
                raise InvalidInput.of("afterId", f"there is no entry {after_id}; give the id of the last one you have")
            if place == 0:
                raise InvalidInput.of("afterId", f"entry {after_id} is not sealed yet; an export has only such as are")
        first = await self._batch(caller, wanted, place, limit)
        return self._batches(caller, wanted, first, limit)

    async def _batches(
        self, caller: Caller, wanted: Wanted, batch: Sequence[Entry], limit: int
    ) -> AsyncIterator[Sequence[Entry]]:
        while batch:
            yield batch
            limit -= len(batch)
            if limit <= 0 or len(batch) < EXPORT_BATCH:
                return
            batch = await self._batch(caller, wanted, batch[-1].place, limit)

    async def _batch(self, caller: Caller, wanted: Wanted, place: int | None, limit: int) -> Sequence[Entry]:
        assert place is not None  # they are sealed
        with within(caller):
            async with self._db.statements() as conn:
                return await audit_entries.sealed(conn, wanted, after_place=place, limit=min(limit, EXPORT_BATCH))

    async def backlog(self) -> tuple[int, float]:
        """How many entries wait for their places (counted up to 100,000), and for how many seconds the first has."""
        async with self._db.statements() as conn:
            return await audit_chain.backlog(conn, most=MOST_COUNTED)

    async def head(self, caller: Caller) -> Head:
        """Where the chain ends."""
        _whole(caller)
        async with self._db.statements() as conn:
            return await audit_chain.head(conn)

    async def verify(
        self, caller: Caller, *, cursor: str | None = None, anchor: str | None = None, seconds: float = VERIFY_SECONDS
    ) -> Verdict:
        """Compute the chain anew, then look for entries it does not know, for at most some `seconds`.

        `anchor` is `PLACE:HASH`, a head that was kept elsewhere: the chain must still have that hash in that place.
        """
        _whole(caller)
        phase, position = _read_cursor(cursor)
        async with self._db.statements() as conn:
            head = await audit_chain.head(conn)
            unused = await audit_chain.unused_ids(conn)
        if anchor is not None and (broken := await self._against(anchor)) is not None:
            return Verdict(0, broken, None, head, unused)
        end, checked = asyncio.get_running_loop().time() + seconds, 0
        while True:
            step = self._chain_step if phase == "chain" else self._log_step
            done, position, broken, is_last = await step(position)
            checked += done
            if broken is not None or (is_last and phase == "log"):
                if broken is None and head.lost_id is not None:  # told last: it must not hide what the chain shows
                    broken = Break(None, head.lost_id, "deleted")
                return Verdict(checked, broken, None, head, unused)
            if is_last:
                phase, position = "log", 0
            if asyncio.get_running_loop().time() >= end:
                return Verdict(checked, None, f"{phase}-{position}", head, unused)

    async def _chain_step(self, after: int) -> tuple[int, int, Break | None, bool]:
        """How many places are right, the last of them, what is not, and whether these were all."""
        async with self._db.statements() as conn:
            found = await audit_chain.verify(conn, after=after, most=self._verify_batch)
        broken = Break(found.broken_place, found.broken_id, found.reason) if found.reason is not None else None
        return found.checked, found.place, broken, found.checked < self._verify_batch

    async def _log_step(self, after: int) -> tuple[int, int, Break | None, bool]:
        """The same for entries past the chain."""
        async with self._db.statements() as conn:
            found = await audit_chain.unchained(conn, after=after, most=self._verify_batch)
        broken = None if found.broken_id is None else Break(None, found.broken_id, "unchained")
        return found.checked, found.last_id or after, broken, found.checked < self._verify_batch

    async def _against(self, anchor: str) -> Break | None:
        match = _ANCHOR.fullmatch(anchor.strip().lower())
        if match is None or int(match[1]) == 0:
            raise InvalidInput.of("anchor", "is PLACE:HASH, as a head was answered before: a number and 64 hex digits")
        place = int(match[1])
        async with self._db.statements() as conn:
            found = await audit_chain.hash_at(conn, place)
        if found is None:
            return Break(place, None, "truncated")
        return None if found.hex() == match[2] else Break(place, None, "rewritten")


def _bounded(wanted: Wanted, namespace: str | None, caller: Caller) -> Wanted:
    """The filters, checked, within what the caller may see."""
    fields = {"actor": wanted.actor, "action": wanted.action, "entity": wanted.entity, "namespace": namespace}
    for field, value in {**fields, "entityId": wanted.entity_id, "requestId": wanted.request_id}.items():
        check_filter(field, value)
    if wanted.since is not None and wanted.until is not None and wanted.until <= wanted.since:
        raise InvalidInput.of("to", "must be later than from")
    namespaces = caller.namespaces
    if namespace is not None:
        namespaces = (namespace,) if caller.sees(namespace) else ()
    return replace(wanted, namespaces=namespaces)


def _whole(caller: Caller) -> None:
    if caller.namespaces is not None:
        raise Forbidden("the chain runs through every namespace: only a caller that is bound to none may verify it")


def _read_cursor(cursor: str | None) -> tuple[str, int]:
    if cursor is None:
        return "chain", 0
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise InvalidInput.of("cursor", "is not a nextCursor of this; leave it out to start from the beginning")
    return match[1], int(match[2])
