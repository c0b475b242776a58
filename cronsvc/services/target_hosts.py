"""Hosts as people steer them: budgets, breakers, and what waits for whom.

Promises: a change is one transaction, audited with its caller, and workers keep to it within a second. What a reset or
a removed host lets go is dispatched at once, a thousand in the same transaction and the rest in their own; of what a
changed limit lets go, the first thousand. Hosts serve every namespace, so only callers that reach all of them see or
change hosts; what waited for one is shown to those who see its job.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from cronsvc.domain.egress_list import WILDCARD, address_of, host_entry_fault, host_key
from cronsvc.domain.target_host import BreakerState, HoldReason
from cronsvc.errors import Conflict, FieldError, Forbidden, InvalidInput, NotFound
from cronsvc.services.callers import Caller
from cronsvc.services.job_validation import check_note
from cronsvc.services.paging import NameSort, Page, check_limit, page_of, read_time_cursor, time_cursor
from cronsvc.store import audit, host_calls, target_hosts
from cronsvc.store.pool import Conn, Database
from cronsvc.store.running import wake_schedulers
from cronsvc.store.target_hosts import HostHold, OpenHost, TargetHost

MOST_HOSTS = 1000  # every worker keeps them all in memory
MOST_RELEASED = 1000
MOST_RELEASES = 100  # transactions
LONGEST_TRIP_SECONDS = 30 * 86_400
KEPT_DAYS = 90

SETTINGS: Mapping[str, tuple[str, int]] = {
    "calls_per_second": ("callsPerSecond", 10_000),
    "calls_per_minute": ("callsPerMinute", 100_000),
    "max_concurrent": ("maxConcurrent", 100_000),
    "breaker_failures": ("breakerFailures", 1000),
    "breaker_open_seconds": ("breakerOpenSeconds", 86_400),
}
"""The settings of a host: their API name and the greatest value."""


class HoldSort(StrEnum):
    """Orders of a list of holds, by when they began."""

    LATEST = "-heldFrom"
    EARLIEST = "heldFrom"


class TargetHosts:
    """The hosts with settings of one database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def list(
        self, caller: Caller, *, sort: NameSort = NameSort.NAME, cursor: str | None = None, limit: int = 50
    ) -> Page[TargetHost]:
        """Hosts in the order of `sort`."""
        _allow(caller)
        edge = sort.edge("hosts", cursor)
        async with self._db.statements() as conn:
            found = await target_hosts.page(conn, edge=edge, limit=check_limit(limit) + 1)
        return page_of(found, limit, lambda each: sort.cursor("hosts", each.rule.host))

    async def get(self, host: str, caller: Caller) -> TargetHost:
        """One host."""
        _allow(caller)
        async with self._db.statements() as conn:
            return _found(await target_hosts.find(conn, host_key(host)), host)

    async def put(self, host: str, settings: Mapping[str, int | None], caller: Caller) -> TargetHost:
        """Set every setting of a host (keys of SETTINGS, None: no such limit). InvalidInput lists every bad one.

        Its breaker stays as it is. Conflict: as many hosts have settings as may.
        """
        _allow(caller)
        host = _checked_host(host)
        wanted: dict[str, int | None] = {**dict.fromkeys(SETTINGS), "breaker_open_seconds": 30, **settings}
        bad = [
            FieldError(SETTINGS[key][0], f"is 1 to {SETTINGS[key][1]}, or left out for none")
            for key, value in wanted.items()
            if value is not None and not 1 <= value <= SETTINGS[key][1]
        ]
        if wanted["breaker_open_seconds"] is None:
            bad.append(FieldError("breakerOpenSeconds", "is a number of seconds"))
        if bad:
            raise InvalidInput(bad)
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            before = await self._locked(conn, host)
            await target_hosts.put(conn, host, wanted)
            await _release(conn, host, [HoldReason.RATE, HoldReason.CONCURRENCY])  # it may have more room now
            return await self._changed(conn, "update" if before else "create", host, before)

    async def delete(self, host: str, caller: Caller) -> None:
        """Forget a host's settings and its breaker; what waits for it goes at once."""
        _allow(caller)
        key = host_key(host)
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            await target_hosts.lock(conn, key)
            before = _found(await target_hosts.find(conn, key), host)
            released = await _release(conn, key, list(HoldReason))
            await target_hosts.delete(conn, key)
            await _record(conn, "delete", key, before, None)
        await self._release_rest(key, list(HoldReason), released, caller)

    async def trip(
        self, host: str, caller: Caller, *, seconds: int | None = None, note: str | None = None
    ) -> TargetHost:
        """Let no job call a host, for so many seconds or until it is reset; one that has no settings gets a row."""
        _allow(caller)
        check_note(note)
        host = _checked_host(host)
        if seconds is not None and not 1 <= seconds <= LONGEST_TRIP_SECONDS:
            raise InvalidInput.of("seconds", f"is 1 to {LONGEST_TRIP_SECONDS}, or left out: until it is reset")
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            before = await self._locked(conn, host)
            await target_hosts.trip(conn, host, seconds=seconds, note=note)
            return await self._changed(conn, "trip", host, before)

    async def reset(self, host: str, caller: Caller) -> TargetHost:
        """Let jobs call a host again; what waited for its breaker goes at once. Closed: its failures are forgotten."""
        _allow(caller)
        key = host_key(host)
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            before = _found(await self._locked(conn, key), host)
            await target_hosts.reset(conn, key)
            was_open = before.rule.state is not BreakerState.CLOSED
            released = await _release(conn, key, [HoldReason.BREAKER]) if was_open else 0
            after = await self._changed(conn, "reset", key, before)
        if not released:
            return after
        await self._release_rest(key, [HoldReason.BREAKER], released, caller)
        async with self._db.statements() as conn:
            return _found(await target_hosts.find(conn, key), host)

    async def holds(
        self,
        caller: Caller,
        *,
        host: str | None = None,
        execution_id: int | None = None,
        sort: HoldSort = HoldSort.LATEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[HostHold]:
        """What waited or waits for hosts, of jobs the caller may see, in the order of `sort`."""
        kind = f"holds {sort}"  # a cursor goes on in its own order only
        after = read_time_cursor(kind, cursor)
        if host is not None:
            host = _checked_host(host)
        async with self._db.statements() as conn:
            found = await target_hosts.holds(
                conn,
                namespaces=caller.namespaces,
                host=host,
                execution_id=execution_id,
                after=after,
                ascending=sort is HoldSort.EARLIEST,
                limit=check_limit(limit) + 1,
            )
        return page_of(found, limit, lambda each: time_cursor(kind, each.held_from, each.execution_id))

    async def open_hosts(self, caller: Caller, *, most: int = 10) -> tuple[OpenHost, ...]:
        """Hosts that are not to be called now, the latest first; none for callers that do not reach everything."""
        if caller.namespaces is not None:
            return ()
        async with self._db.statements() as conn:
            return tuple(await target_hosts.open_hosts(conn, most=most))

    async def held_now(self, caller: Caller) -> dict[HoldReason, int]:
        """How many executions wait for hosts, by reason."""
        async with self._db.statements() as conn:
            found = await target_hosts.held_now(conn, namespaces=caller.namespaces)
        return {reason: found.get(reason.value, 0) for reason in HoldReason}

    async def _locked(self, conn: Conn, host: str) -> TargetHost | None:
        """The host as it is and stays until the transaction ends; Conflict: there is no room for a new one."""
        if await target_hosts.lock(conn, host) is None and await target_hosts.count(conn) >= MOST_HOSTS:
            raise Conflict(f"{MOST_HOSTS} hosts have settings, which is as many as may; delete one first")
        return await target_hosts.find(conn, host)

    async def _release_rest(self, host: str, reasons: Sequence[HoldReason], released: int, caller: Caller) -> None:
        """Go on with what `released` rows were the beginning of. What is left comes back by itself."""
        for _ in range(MOST_RELEASES):
            if released < MOST_RELEASED:
                return
            async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
                released = await _release(conn, host, reasons)

    async def _changed(self, conn: Conn, action: str, host: str, before: TargetHost | None) -> TargetHost:
        after = await target_hosts.find(conn, host)
        assert after is not None  # its row was written in this transaction
        await _record(conn, action, host, before, after)
        return after


async def forget_outbound(db: Database, *, batch: int = 5000) -> int:
    """Forget calls that no budget counts any more, and holds of KEPT_DAYS ago; returns how many rows."""
    forgotten = 0
    while True:
        async with db.statements() as conn:
            calls = await host_calls.forget_calls(conn, batch=batch)
            holds = await host_calls.forget_holds(conn, days=KEPT_DAYS, batch=batch)
        forgotten += calls + holds
        if max(calls, holds) < batch:
            return forgotten


async def _release(conn: Conn, host: str, reasons: Sequence[HoldReason]) -> int:
    if released := await host_calls.release(conn, host, reasons, most=MOST_RELEASED):
        await wake_schedulers(conn)
    return released


def _allow(caller: Caller) -> None:
    if caller.namespaces is not None:
        raise Forbidden("hosts serve every namespace: only a key that is bound to none may see or change them")


def _checked_host(host: str) -> str:
    """The host in the spelling that calls are counted in; InvalidInput: no URL can name it."""
    key = host_key(host)
    if address_of(key) is None and (key.startswith(WILDCARD) or host_entry_fault(key) is not None):
        raise InvalidInput.of("host", "is a host as URLs name it, such as api.example.com or 192.0.2.7, without a port")
    return key


def _found(found: TargetHost | None, host: str) -> TargetHost:
    if found is None:
        raise NotFound(f"there are no settings for the host {host[:253].encode('ascii', 'replace').decode()!r}")
    return found


async def _record(conn: Conn, action: str, host: str, before: TargetHost | None, after: TargetHost | None) -> None:
    await audit.append(
        conn, action=action, entity="target_host", entity_id=host, before=_document(before), after=_document(after)
    )


def _document(found: TargetHost | None) -> dict[str, object] | None:
    if found is None:
        return None
    rule = found.rule
    return {
        **{key: getattr(rule, key) for key in SETTINGS},
        "state": rule.state.value,
        "open_until": None if found.open_until is None else found.open_until.isoformat(),
        "note": found.note,
    }
