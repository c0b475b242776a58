"""Limits at the claim, and the release of what is held.

A claim that no limit concerns is one statement and never comes here. The others are counted and claimed in one
transaction that holds the lock of every counter they need, in order, so that no two workers take the last place. What
finds no place is held; whoever ends an execution under a limit wakes the schedulers, and one of them lets the next go.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from uuid import UUID

from cronsvc.domain.execution import Claimed, Ticket
from cronsvc.services.dispatch import Dispatcher
from cronsvc.store import admission, advisory, running
from cronsvc.store.admission import Candidate
from cronsvc.store.pool import Database

HELD = -1.0


async def claim_limited(db: Database, tickets: Sequence[Ticket], *, worker_id: UUID) -> dict[int, Claimed]:
    """Claim those of these tickets that a limit concerns and that find a place, by execution id; hold the others."""
    async with db.transaction() as conn:
        waiting = await admission.candidates(conn, tickets)
        if not waiting:
            return {}
        scopes = sorted({scope for each in waiting for scope in _scopes(each)})
        await admission.lock_scopes(conn, scopes)
        rated = {each.queue for each in waiting if each.queue_rate is not None}
        places = _Places(await admission.count_running(conn, scopes), await admission.fill(conn, sorted(rated)))
        refused = [(each, pause) for each in waiting if (pause := places.ask(each)) is not None]
        if refused:
            await admission.hold(conn, [(each, None if pause < 0 else pause) for each, pause in refused])
        out = {(each.job_id, each.scheduled_time) for each, _ in refused}
        queues = {(each.job_id, each.scheduled_time): each.queue for each in waiting}
        chosen = [ticket for ticket in tickets if (ticket.job_id, ticket.scheduled_time) in queues.keys() - out]
        if not chosen:
            return {}
        claimed = await running.claim(conn, chosen, worker_id=worker_id, admitted=True)
        # Only what begins spends a token: a pause or a cancel may have come since the tickets were looked at.
        begun = Counter(queues[each.job_id, each.scheduled_time] for each in claimed.values())
        if taken := {queue: count for queue, count in begun.items() if queue in rated}:
            await admission.take(conn, taken)
        return claimed


class _Places:
    """What is left under each counter while one batch of tickets asks, most urgent first."""

    def __init__(self, taken: dict[str, int], tokens: dict[str, int]) -> None:
        self._taken = taken
        self._tokens = tokens

    def ask(self, each: Candidate) -> float | None:
        """None and a place; or HELD until one becomes free; or the seconds until the queue's rate allows it."""
        if each.scope is not None and each.scope_limit is not None and self._taken[each.scope] >= each.scope_limit:
            return HELD
        if each.queue_limit is not None and self._taken[_queue_scope(each)] >= each.queue_limit:
            return HELD
        if each.queue_rate is not None:
            self._tokens[each.queue] -= 1
            if self._tokens[each.queue] < 0:
                return -self._tokens[each.queue] * 60.0 / each.queue_rate
        for scope in _scopes(each):
            self._taken[scope] += 1
        return None


def _scopes(each: Candidate) -> Iterable[str]:
    if each.scope is not None:
        yield each.scope
    if each.queue_limit is not None or each.queue_rate is not None:
        yield _queue_scope(each)


def _queue_scope(each: Candidate) -> str:
    return f"queue:{each.queue}"


async def release_held(db: Database, dispatcher: Dispatcher, *, batch: int = 500) -> int:
    """Let go what no longer has to wait; returns how many. Any replica may do it, any number of times."""
    tickets: list[Ticket] = []
    async with db.transaction() as conn:
        if free := await admission.overlap_free(conn, batch=batch):
            locked = await admission.lock_jobs(conn, free)
            tickets += await admission.release_overlap(conn, locked, redispatch=dispatcher.redispatch_after)
    async with db.transaction() as conn:
        if await advisory.try_lock(conn, advisory.RELEASE_LOCK):
            tickets += await admission.release_limit(conn, batch=batch, redispatch=dispatcher.redispatch_after)
    await dispatcher.push(tickets)
    return len(tickets)
