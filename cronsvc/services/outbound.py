"""Calls on their way out, in one worker process: what a namespace may call, and what a host is still to bear.

Promises: nothing is asked of Postgres for a host without settings, but for one small look at all settings every
FRESH_SECONDS while there is work. A call that a budget or an open breaker holds back opens no socket and costs no
attempt: its execution is QUEUED again, and `host_holds` says why, in one transaction. What a worker that died was
calling is free again when its executions are rescued.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from cronsvc.domain.egress_list import EVERYTHING, NamespaceEgress
from cronsvc.domain.execution import Claimed, ErrorDetail, Outcome
from cronsvc.domain.finish import hand_back
from cronsvc.domain.target_host import (
    BreakerState,
    Budget,
    Go,
    Hold,
    HoldReason,
    HostRule,
    HostUse,
    Verdict,
    after_call,
    failed,
)
from cronsvc.errors import CronsvcError, Unavailable
from cronsvc.services.batching import MicroBatch
from cronsvc.store import admission, egress_lists, host_calls, running
from cronsvc.store.host_calls import HeldCall
from cronsvc.store.pool import Conn, Database
from cronsvc.tasks import Reminder

_log = logging.getLogger("cronsvc.outbound")

Attempt = Coroutine[Any, Any, Outcome]

FRESH_SECONDS = 1.0
NEAR_SECONDS = 5.0  # what comes back sooner is announced to the schedulers, whose poll might come later
MOST_RELEASED = 1000  # what a breaker that closes lets go at once; the others come back by themselves

_WORDS = {
    HoldReason.RATE: "as many calls have begun as its budget allows",
    HoldReason.CONCURRENCY: "as many calls run as it may have at a time",
    HoldReason.BREAKER: "its breaker is open",
}


@dataclass(frozen=True, slots=True)
class Known:
    """The settings as they were at most FRESH_SECONDS ago."""

    hosts: Mapping[str, HostRule] = field(default_factory=dict)
    lists: Mapping[str, NamespaceEgress] = field(default_factory=dict)

    def egress(self, namespace: str) -> NamespaceEgress:
        """What the jobs of a namespace may call."""
        return self.lists.get(namespace, EVERYTHING)


@dataclass(frozen=True, slots=True)
class Passage:
    """What an attempt that may begin goes out with."""

    egress: NamespaceEgress = EVERYTHING
    watch: Callable[[Attempt], Attempt] | None = None

    def watched(self, attempt: Attempt) -> Attempt:
        """The same attempt, with its end told to the breaker and the budgets of its host if that has any."""
        return attempt if self.watch is None else self.watch(attempt)


@dataclass(frozen=True, slots=True)
class _Ask:
    """A claimed execution that is about to call a host."""

    claimed: Claimed
    namespace: str
    host: str


@dataclass(frozen=True, slots=True)
class _End:
    """A call that has ended; `failed` None: it says nothing of its host. `seconds` since it was let through."""

    host: str
    claimed: Claimed
    failed: bool | None
    seconds: float

    @property
    def key(self) -> tuple[object, ...]:
        """The attempt, as a host's probe names it."""
        return self.claimed.job_id, self.claimed.scheduled_time, self.claimed.claim_no


class Outbound:
    """What one worker process asks before its jobs call anybody."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known = Known()
        self._fresh_until = float("-inf")
        self._unasked = Reminder()
        self._looks: MicroBatch[None, Known] = MicroBatch(self._look)
        self._asks: MicroBatch[_Ask, Go | Hold | None] = MicroBatch(self._ask)
        self._ends: MicroBatch[_End, None] = MicroBatch(self._settle)

    async def known(self) -> Known:
        """The settings, asked for anew when they are older than FRESH_SECONDS. Unavailable: Postgres is away."""
        if asyncio.get_running_loop().time() >= self._fresh_until:
            return await self._looks.submit(None)
        return self._known

    async def passage(self, claimed: Claimed, namespace: str, host: str | None) -> Passage | None:
        """The way out of a claimed execution that calls this host; None: not now, and it has been given back, or its
        row says that it is not ours any more.

        `host` None: it calls nobody that is known. Unavailable: Postgres is away, and nothing was begun.
        """
        if host is None:
            return Passage()
        try:
            passage = await self._passage(_Ask(claimed, namespace, host))
        except Unavailable as error:
            if self._unasked.due():
                _log.warning("what calls a host is handed back, nobody can be asked whether it may: %s", error)
            raise
        if self._unasked.over():
            _log.warning("hosts can be asked for again")
        return passage

    async def _passage(self, ask: _Ask) -> Passage | None:
        known = await self.known()
        egress, rule = known.egress(ask.namespace), known.hosts.get(ask.host)
        if rule is None or egress.refusal(ask.host) is not None:
            return Passage(egress)
        if rule.is_counted and not isinstance(await self._asks.submit(ask), Go):
            return None
        return Passage(egress, partial(self._watch, ask.claimed, ask.host))

    async def flush(self, seconds: float) -> bool:
        """Wait until every end is told; False when Postgres did not take them all in that time."""
        try:
            async with asyncio.timeout(seconds):
                await self._ends.flush()
        except TimeoutError:
            return False
        return True

    async def _watch(self, claimed: Claimed, host: str, attempt: Attempt) -> Outcome:
        clock = asyncio.get_running_loop().time
        began, verdict = clock(), None
        try:
            outcome = await attempt
            verdict = failed(outcome)
            return outcome
        finally:
            told = self._ends.submit(_End(host, claimed, verdict, clock() - began))
            told.add_done_callback(_let_go)  # nobody waits for it

    async def _look(self, asked: Sequence[None]) -> Sequence[Known]:
        at = asyncio.get_running_loop().time()
        async with self._db.statements() as conn:
            self._known = Known(await host_calls.rules(conn), await egress_lists.everything(conn))
        self._fresh_until = at + FRESH_SECONDS
        return [self._known] * len(asked)

    async def _ask(self, asks: Sequence[_Ask]) -> Sequence[Go | Hold | None]:
        """Let through or give back; None, and nothing is written, for what does not run under its claim any more."""
        async with self._db.transaction() as conn:
            locked = await host_calls.lock(conn, (each.host for each in asks))
            use = await host_calls.use(conn, locked)
            budgets = {host: Budget(found.rule, use.get(host, HostUse())) for host, found in locked.items()}
            ours = await host_calls.still_running(conn, [each.claimed for each in asks])
            answers = [_answer(each, budgets, ours) for each in asks]
            decided = list(zip(asks, answers, strict=True))
            begun = [each for each, said in decided if isinstance(said, Go) and each.host in locked]
            if begun:
                await host_calls.begin(conn, [(each.host, each.claimed) for each in begun])
            for each, said in decided:
                if isinstance(said, Go) and said.is_probe:
                    await host_calls.send_probe(conn, each.host, each.claimed)
                    _log.warning("host %s: execution %s tries whether it is back", each.host, each.claimed.execution_id)
            held = [
                HeldCall(each.claimed, each.namespace, each.host, said.reason, said.seconds)
                for each, said in decided
                if isinstance(said, Hold)
            ]
            if held:
                await _give_back(conn, held)
        return answers

    async def _settle(self, ends: Sequence[_End]) -> Sequence[None]:
        try:
            async with self._db.transaction() as conn:
                locked = await host_calls.lock(conn, (each.host for each in ends))
                freed = await host_calls.end(conn, [each.claimed for each in ends])
                released = 0
                for host, found in locked.items():
                    before = after = found.rule
                    for each in ends:
                        if each.host == host and each.failed is not None:
                            after = after_call(
                                after,
                                Verdict(each.failed, is_probe=each.key == found.probe, is_old=each.seconds > found.age),
                            )
                    released += await self._write(conn, before, after, freed.count(host))
                if released:
                    await running.wake_schedulers(conn)
        except CronsvcError as error:
            # The calls have ended all the same: their rows do not run any more, and that is what is counted.
            _log.warning("cannot tell the breakers how %s calls ended: %s", len(ends), error)
        return [None] * len(ends)

    async def _write(self, conn: Conn, before: HostRule, after: HostRule, freed: int) -> int:
        """Write a host down as it is after the ends of its calls; returns how many held executions may go."""
        released = 0
        if after != before:
            await host_calls.set_state(conn, after)
        if after.state is not before.state:
            self._fresh_until = float("-inf")
            if after.state is BreakerState.CLOSED:
                released = await host_calls.release(conn, after.host, [HoldReason.BREAKER], most=MOST_RELEASED)
                _log.warning("host %s answers again: its breaker is closed", after.host)
            else:
                _log.warning(
                    "host %s: its breaker is open for %s s after %s failures in a row",
                    after.host,
                    after.breaker_open_seconds,
                    after.failures,
                )
        if freed and after.max_concurrent is not None:
            released += await host_calls.release(conn, after.host, [HoldReason.CONCURRENCY], most=freed)
        return released


def _answer(ask: _Ask, budgets: Mapping[str, Budget], ours: Collection[tuple[int, int]]) -> Go | Hold | None:
    if (ask.claimed.execution_id, ask.claimed.claim_no) not in ours:
        return None
    budget = budgets.get(ask.host)
    return Go() if budget is None else budget.ask()


async def _give_back(conn: Conn, held: Sequence[HeldCall]) -> None:
    """QUEUED again, the attempt and what it took of its queue's rate refunded.

    What somebody else has taken over meanwhile is left alone.
    """
    queues = await admission.rated_queues(conn, [each.claimed for each in held])
    if queues:
        await admission.lock_scopes(conn, [f"queue:{queue}" for queue in set(queues.values())])
    finishes = [
        replace(
            hand_back(each.claimed, seconds=each.seconds),
            error=ErrorDetail("held", f"it waits for the host {each.host}: {_WORDS[each.reason]}"),
        )
        for each in held
    ]
    written = await running.finish(conn, finishes)
    if kept := [each for each in held if each.claimed.execution_id in written]:
        await host_calls.hold(conn, kept)
        ids = [each.claimed.execution_id for each in kept]
        if refunds := Counter(queues[id_] for id_ in ids if id_ in queues):
            await admission.take(conn, {queue: -count for queue, count in refunds.items()})
        if min(each.seconds for each in kept) < NEAR_SECONDS:
            await running.wake_schedulers(conn)


def _let_go(told: "asyncio.Future[None]") -> None:
    if not told.cancelled() and (error := told.exception()) is not None:
        _log.error("the end of a call was not told to its host", exc_info=error)
