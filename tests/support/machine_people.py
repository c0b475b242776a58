"""The part of the state machine that is people: they define, edit, pause, ask, and change their minds."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from cronsvc.domain.backfill import Direction, Mode
from cronsvc.domain.job import JobDefinition, MisfirePolicy, OverlapPolicy, TaskPayload
from cronsvc.domain.retry import Backoff, BackoffType
from cronsvc.errors import Conflict, InvalidInput
from cronsvc.services.backfills import Wish
from tests.support.control import ALICE
from tests.support.machine_checks import Checks
from tests.support.machine_model import SCHEDULES, KnownJob, Row, Stretch, look
from tests.support.machine_world import Call, World

T = TypeVar("T")

MOST_JOBS = 4
BACKOFF_SECONDS = 10
which = st.integers(0, 9)  # an index into whatever there is, modulo its length

wishes = st.fixed_dictionaries(
    {
        "schedule": st.sampled_from(sorted(SCHEDULES)),
        "overlap_policy": st.sampled_from([each.value for each in OverlapPolicy]),
        "misfire_policy": st.sampled_from([each.value for each in MisfirePolicy]),
        "misfire_grace_seconds": st.sampled_from([60, 10, 600]),
        "misfire_cap": st.sampled_from([3, 10]),
        "max_attempts": st.sampled_from([1, 2, 3]),
        "queue": st.sampled_from(["default", "narrow"]),
        "limit": st.sampled_from([None, None, (1, None), (2, None), (2, "k")]),
        "deadline_seconds": st.sampled_from([None, None, 120]),
        "pause_after_failures": st.sampled_from([None, None, 2]),
    }
)


class People(RuleBasedStateMachine):
    """What people may do to a service, and how each step of the machine is made; `runner` is the loop it runs in."""

    def __init__(self, runner: asyncio.Runner, world: World) -> None:
        super().__init__()
        self._runner = runner
        self.world = world
        self.checks = Checks(world)
        self.ready = False

    def run(self, act: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(act)

    def step(self, act: Coroutine[Any, Any, object], *, ticked: bool = False, again: bool = False) -> None:
        """Do one thing and look at everything."""

        async def both() -> None:
            await act
            self.checks.step(await look(self.world.db), ticked=ticked, again=again)

        self.run(both())

    @initialize(locks=st.booleans(), wish=wishes)
    def begin(self, locks: bool, wish: dict[str, Any]) -> None:
        self.run(self.world.begin(locks=locks))
        self.ready = True
        self.define(wish)

    # People ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.checks.jobs) < MOST_JOBS)
    @rule(wish=wishes)
    def define(self, wish: dict[str, Any]) -> None:
        self.step(self._define(wish))

    async def _define(self, wish: dict[str, Any]) -> None:
        most, key = wish["limit"] or (None, None)
        columns = {**wish, "max_concurrency": most, "concurrency_key": key}
        definition = JobDefinition(
            name=f"job {len(self.checks.jobs)}",
            schedule=SCHEDULES[wish["schedule"]],
            task_payload=TaskPayload("CALL", {"url": "https://example.com/"}),
            overlap_policy=OverlapPolicy(wish["overlap_policy"]),
            misfire_policy=MisfirePolicy(wish["misfire_policy"]),
            misfire_grace_seconds=wish["misfire_grace_seconds"],
            misfire_cap=wish["misfire_cap"],
            max_attempts=wish["max_attempts"],
            queue=wish["queue"],
            max_concurrency=most,
            concurrency_key=key,
            deadline_seconds=wish["deadline_seconds"],
            pause_after_failures=wish["pause_after_failures"],
            backoff=Backoff(BackoffType.FIXED, delay_seconds=BACKOFF_SECONDS, jitter=0.0),
        )
        job = await self.world.jobs.create(definition, ALICE)
        self.checks.jobs[job.id] = KnownJob(job.id, columns, [Stretch(wish["schedule"], self.world.now)])

    @rule(job=which, schedule=st.sampled_from(sorted(SCHEDULES)))
    def edit(self, job: int, schedule: str) -> None:
        if (known := self._job(job)) is not None:
            self.step(self._edit(known, schedule))

    async def _edit(self, job: KnownJob, schedule: str) -> None:
        def change(definition: JobDefinition) -> JobDefinition:
            return replace(definition, schedule=SCHEDULES[schedule])

        await self.world.jobs.edit(job.id, change, ALICE)
        present = job.stretches[-1]
        if schedule != present.schedule:
            # What the clock has seen once is never fired again, even when somebody has turned it back meanwhile.
            last = (await look(self.world.db)).jobs[job.id].last_fire_time
            present.until = max(self.world.now, last or self.world.now)
            job.stretches.append(Stretch(schedule, present.until))

    @rule(job=which)
    def delete(self, job: int) -> None:
        if (known := self._job(job)) is not None and len(self.checks.jobs) > 1:
            known.deleted = True
            known.stretches[-1].until = max(self.world.now, self._last(known) or self.world.now)
            self.step(self.world.jobs.delete(known.id, ALICE))

    @rule(job=which)
    def pause(self, job: int) -> None:
        if (known := self._job(job)) is not None:
            self.step(self._pause(known))

    async def _pause(self, job: KnownJob) -> None:
        await self.world.jobs.pause(job.id, ALICE)
        job.paused = True

    @precondition(lambda self: any(job.paused for job in self.checks.jobs.values()))
    @rule(job=which, catch_up=st.booleans())
    def resume(self, job: int, catch_up: bool) -> None:
        if (known := self._job(job, paused=True)) is not None:
            known.paused = False
            self.step(self.world.jobs.resume(known.id, ALICE, catch_up=catch_up))

    @rule(job=which, key=st.sampled_from([None, "one", "two"]))
    def trigger(self, job: int, key: str | None) -> None:
        if (known := self._job(job)) is not None:
            jobs = self.world.jobs
            self.step(jobs.trigger(known.id, ALICE) if key is None else jobs.trigger_once(known.id, ALICE, key=key))

    @rule(queue=st.sampled_from(["default", "narrow"]), paused=st.booleans())
    def steer_queue(self, queue: str, paused: bool) -> None:
        queues = self.world.queues
        self.step(queues.pause(queue, ALICE) if paused else queues.resume(queue, ALICE))
        (self.checks.paused_queues.add if paused else self.checks.paused_queues.discard)(queue)

    @precondition(lambda self: self._row(0, unfinished) is not None)
    @rule(row=which)
    def cancel(self, row: int) -> None:
        if (found := self._row(row, unfinished)) is not None:
            self.step(or_conflict(self.world.endings.cancel(found.id, ALICE)))

    @precondition(lambda self: self._row(0, ended) is not None)
    @rule(row=which, redrive=st.booleans())
    def ask_again(self, row: int, redrive: bool) -> None:
        if (found := self._row(row, failed if redrive else ended)) is not None:
            self._again(found)
            act = self.world.dead_letters.redrive if redrive else self.world.endings.retry
            self.step(or_conflict(act(found.id, ALICE)))

    def _again(self, row: Row) -> None:
        self.checks.asked_again.add(row.id)
        self.checks.not_before.pop(row.id, None)

    @rule(job=which, minutes=st.sampled_from([1, 5]), newest=st.booleans(), parallel=st.sampled_from([1, 2]))
    def start_backfill(self, job: int, minutes: int, newest: bool, parallel: int) -> None:
        if (known := self._job(job)) is None:
            return
        wish = Wish(
            self.world.now - timedelta(minutes=minutes),
            self.world.now,
            Mode.MISSING,
            Direction.NEWEST if newest else Direction.OLDEST,
            parallel,
        )
        self.step(or_conflict(self.world.backfills.start(known.id, wish, ALICE)))

    @rule(job=which)
    def turn_cursor_back(self, job: int) -> None:
        """A person with psql, or a cursor whose write was lost: the rows are the truth."""
        known = self._job(job)
        if known is None or known.columns["overlap_policy"] != "allow":
            return
        last = self._last(known)
        if last is not None and last > known.stretches[-1].after:
            known.turned = True
            self.step(self._turn_back(known, last))

    def forget_last_instant(self, job: int) -> None:
        """No rule, for programs: what a backup of `jobs` alone would bring back."""
        known = self._job(job)
        assert known is not None
        self.run(self._restore(known, self._last(known)))

    async def _restore(self, job: KnownJob, last: Any) -> None:
        async with self.world.db.transaction() as conn:
            await conn.execute(
                "UPDATE jobs SET next_fire_time = %s, last_fire_time = NULL WHERE id = %s", (last, job.id)
            )

    async def _turn_back(self, job: KnownJob, last: Any) -> None:
        async with self.world.db.transaction() as conn:
            await conn.execute("UPDATE jobs SET next_fire_time = %s WHERE id = %s", (last, job.id))

    # Choices -----------------------------------------------------------------------------------------------------

    def _job(self, index: int, *, paused: bool = False) -> KnownJob | None:
        live = [job for job in self.checks.jobs.values() if not job.deleted and (job.paused or not paused)]
        return live[index % len(live)] if live else None

    def _row(self, index: int, wanted: Callable[[Row], bool]) -> Row | None:
        rows = [row for row in self.checks.seen.rows.values() if wanted(row) and row.status != "SKIPPED"]
        return rows[index % len(rows)] if rows else None

    def _call(self, index: int) -> Call | None:
        calls = self.world.open_calls()
        return calls[index % len(calls)] if calls else None

    def _last(self, job: KnownJob) -> Any:
        return self.checks.seen.jobs[job.id].last_fire_time


def unfinished(row: Row) -> bool:
    return row.unfinished


def ended(row: Row) -> bool:
    return not row.unfinished


def failed(row: Row) -> bool:
    return row.status == "FAILED"


async def or_conflict(act: Awaitable[object]) -> None:
    """A person may come too late, or ask for nothing."""
    try:
        await act
    except (Conflict, InvalidInput):
        return
