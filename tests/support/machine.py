"""A state machine that does to a service whatever may happen to one, in any order, and checks it after each step.

A failure prints the steps as a program: `state.advance(seconds=61)`, `state.tick(who=0)`, and the rows as they were.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from itertools import count

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from cronsvc.domain.execution import Outcome
from tests.support.control import ALICE
from tests.support.machine_model import look
from tests.support.machine_people import BACKOFF_SECONDS, People, or_conflict, unfinished, which
from tests.support.machine_world import Call, failure, success

PATIENCE = 12  # rounds of a healed service in which nothing ends

RACERS = ("tick 0", "tick 1", "release 0", "release 1", "redispatch", "rescue", "overdue", "backfill 0", "backfill 1")
PEOPLE = ("deliver A", "deliver B", "answer", "cancel", "trigger", "pause", "edit")


class Service(People):
    """Rules are the faults and acts of the life of a firing, and whatever people do in between."""

    # Time and processes ------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 5, 11, 20, 20, 61, 61, 300, 3700]))
    def advance(self, seconds: int) -> None:
        self.step(self._advance(seconds))

    async def _advance(self, seconds: int) -> None:
        await self.world.turn(timedelta(seconds=seconds))
        await self.world.beats()

    @rule()
    def turn_clock_back(self) -> None:
        self.step(self.world.turn(timedelta(seconds=-30)))

    @rule(who=st.integers(0, 1))
    def tick(self, who: int) -> None:
        self.step(self.world.schedulers[who].tick(), ticked=True)

    @rule(who=st.integers(0, 1))
    def chores(self, who: int) -> None:
        """What a scheduler does beside its ticks."""
        self.step(self._chores(who))

    async def _chores(self, who: int) -> None:
        scheduler = self.world.schedulers[who]
        for act in (scheduler.tend, scheduler.redispatch, scheduler.release):
            await act()

    @rule(who=st.integers(0, 1))
    def rescue(self, who: int) -> None:
        self.step(self.world.schedulers[who].rescue())

    @rule(who=st.integers(0, 1))
    def end_overdue(self, who: int) -> None:
        self.step(self.world.schedulers[who].end_overdue())

    @precondition(lambda self: bool(self.checks.seen.open_backfills))
    @rule(who=st.integers(0, 1))
    def backfill(self, who: int) -> None:
        self.step(self.world.schedulers[who].backfill(), again=True)

    @precondition(lambda self: bool(self.world.bell.tickets))
    @rule(ticket=which, who=st.integers(0, 1), again=st.booleans())
    def deliver(self, ticket: int, who: int, again: bool) -> None:
        """Redis hands a ticket over; with `again` it keeps a copy."""
        self.step(self._deliver(ticket, who, keep=again))

    async def _deliver(self, ticket: int, who: int, *, keep: bool = False) -> None:
        tickets = self.world.bell.tickets
        if tickets:
            place = ticket % len(tickets)
            await self.world.deliver(self.world.workers[who], tickets[place] if keep else tickets.pop(place))

    @precondition(lambda self: bool(self.world.bell.tickets))
    @rule(ticket=which)
    def deliver_to_both(self, ticket: int) -> None:
        self.step(self._deliver_to_both(ticket))

    async def _deliver_to_both(self, ticket: int) -> None:
        tickets = self.world.bell.tickets
        chosen = tickets.pop(ticket % len(tickets))
        await self.world.at_once(*(partial(self.world.deliver, worker, chosen) for worker in self.world.workers))

    @precondition(lambda self: bool(self.world.bell.tickets))
    @rule(ticket=which)
    def lose(self, ticket: int) -> None:
        self.world.bell.tickets.pop(ticket % len(self.world.bell.tickets))

    @precondition(lambda self: bool(self.world.bell.tickets))
    @rule()
    def wipe_redis(self) -> None:
        self.world.bell.wipe()

    @rule(away=st.booleans())
    def redis(self, away: bool) -> None:
        self.world.bell.away = away

    @precondition(lambda self: self._call(0) is not None)
    @rule(call=which, how=st.sampled_from(["success", "success", "retryable", "final"]))
    def answer(self, call: int, how: str) -> None:
        """The target answers one of its calls; the worker may be frozen, replaced or declared lost by now."""
        if (found := self._call(call)) is not None:
            self.step(self._answer(found, how))

    async def _answer(self, call: Call, how: str) -> None:
        row = self.checks.seen.rows[call.context.execution_id]
        held = row.status == "RUNNING" and row.claim_no == call.context.claim_no
        if how == "success":
            self.checks.succeeded.add(call.key)
            outcome: Outcome = success(call)
        else:
            outcome = failure(retryable=how == "retryable")
        if held and how == "retryable":
            self.checks.not_before[row.id] = self.world.now + timedelta(seconds=BACKOFF_SECONDS)
        await self.world.answer(call, outcome)
        after = (await look(self.world.db)).rows[row.id]
        if not held:
            assert after == row, f"promise 5: a stale end changed {row} to {after}"
        elif how == "success":
            assert (after.status, after.claim) == ("SUCCESS", call.context.claim_no), f"a success got lost: {after}"

    @rule(who=st.integers(0, 1), how=st.sampled_from(["crash", "freeze", "thaw", "drain"]))
    def worker(self, who: int, how: str) -> None:
        """A crash leaves its calls at the target: they may still answer, to nobody who may write it."""
        self.step(self._worker(who, how))

    async def _worker(self, who: int, how: str) -> None:
        worker = self.world.workers[who]
        if how == "crash":
            await self.world.replace(worker)
        elif how == "drain":
            await self.world.drain(worker)
        else:
            worker.frozen = how == "freeze"
            if not worker.frozen:
                await self.world.beat(worker)

    # Several at a time, so that executions get far ------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 20, 61]), who=st.integers(0, 1))
    def go_on(self, seconds: int, who: int) -> None:
        """A healthy service for a while: everything that is due is recorded and handed to the workers."""
        self.advance(seconds)
        self.tick(who)
        self.chores(who)
        while self.world.bell.tickets:
            self.deliver(0, len(self.world.bell.tickets) % 2, again=False)

    @precondition(lambda self: self._call(0) is not None)
    @rule(who=st.integers(0, 1))
    def partition(self, who: int) -> None:
        """A worker with calls under way is cut off, taken for dead, and its work goes to the other."""
        self.worker(who, "freeze")
        self.advance(11)
        self.rescue(0)
        self.chores(1)
        while self.world.bell.tickets:
            self.deliver(0, 1 - who, again=False)

    # At the same moment ------------------------------------------------------------------------------------------

    @rule(one=st.sampled_from(RACERS), other=st.sampled_from(RACERS + PEOPLE), third=st.sampled_from(RACERS + PEOPLE))
    def at_once(self, one: str, other: str, third: str) -> None:
        acts = {name: act for name in (one, other, third) if (act := self._racer(name)) is not None}
        self.step(self.world.at_once(*acts.values()), again=any(name.startswith("backfill") for name in acts))

    def _racer(self, name: str) -> Callable[[], Awaitable[object]] | None:
        first, second = self.world.schedulers
        job = self._job(0)
        call = self._call(0)
        row = self._row(0, unfinished)
        acts: dict[str, Callable[[], Awaitable[object]] | None] = {
            "tick 0": first.tick,
            "tick 1": second.tick,
            "release 0": first.release,
            "release 1": second.release,
            "redispatch": second.redispatch,
            "rescue": first.rescue,
            "overdue": first.end_overdue,
            "backfill 0": first.backfill,
            "backfill 1": second.backfill,
            "deliver A": partial(self._deliver, 0, 0, keep=True),
            "deliver B": partial(self._deliver, 0, 1, keep=True),
            "answer": partial(self._answer_in_a_race, call) if call else None,
            "cancel": (lambda: or_conflict(self.world.endings.cancel(row.id, ALICE))) if row else None,
            "trigger": (lambda: self.world.jobs.trigger_once(job.id, ALICE, key="race")) if job else None,
            "pause": (lambda: self._pause(job)) if job else None,
            "edit": (lambda: self._edit(job, "every 20 s")) if job else None,
        }
        return acts[name]

    async def _answer_in_a_race(self, call: Call) -> None:
        self.checks.succeeded.add(call.key)
        await self.world.answer(call, success(call))

    # The end -----------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not self.ready:
            return
        try:
            self.heal()
        finally:
            self.run(self.world.end())

    def heal(self) -> None:
        self.run(self._heal())

    async def _heal(self) -> None:
        """Everything comes back, the schedules stop, and what there is runs until nothing is left."""
        self.world.bell.away = False
        for queue in ("default", "narrow"):
            await self.world.queues.resume(queue, ALICE)
        self.checks.paused_queues.clear()
        for worker in list(self.world.workers):
            worker.frozen = False
            await self.world.beat(worker)
        for job in self.checks.jobs.values():
            if not job.deleted:
                await self.world.jobs.resume(job.id, ALICE)
                job.paused = False
        await self.world.turn(max(self.world.latest - self.world.now, timedelta(0)))
        await self.world.schedulers[0].tick()
        self.checks.step(await look(self.world.db))
        last = self.world.now
        for job in self.checks.jobs.values():
            if not job.deleted:
                await self._pause(job)
        done, stalled = -1, 0
        for number in count():
            await self._round(number)
            now = await look(self.world.db)
            self.checks.step(now, again=True)
            before, done = done, sum(not row.unfinished for row in now.rows.values())
            stalled = stalled + 1 if done == before else 0
            if stalled > PATIENCE or (done == len(now.rows) and not now.open_backfills):
                break
        self.world.now, healed = last, self.world.now
        self.checks.quiet(await look(self.world.db))
        self.world.now = healed

    async def _round(self, number: int) -> None:
        await self._advance(20)
        scheduler = self.world.schedulers[number % 2]
        for act in (scheduler.rescue, scheduler.end_overdue, scheduler.tend, scheduler.backfill):
            await act()
        done = -1
        while done != len(self.world.calls):  # each end may let another one go
            done = len(self.world.calls)
            await self._chores(number % 2)
            while self.world.bell.tickets:
                await self._deliver(0, len(self.world.bell.tickets) % 2)
            for call in self.world.open_calls():
                await self._answer_in_a_race(call)
