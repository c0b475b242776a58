"""Recovery of the fleet after an outage: what was missed, what each job's misfire policy runs of it, and the replay.

An instant is missing when the schedule in force named it and nothing accounts for it, or when it was skipped as a
misfire. Of those a job runs what its own policy says: none, the latest, or the latest up to its cap. A recovery is one
backfill a job (trigger `recovery`) under a bound that they share; stopping it stops them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from cronsvc.domain.backfill import (
    MOST_INSTANTS,
    BackfillStatus,
    Counts,
    Direction,
    Mode,
    Recovery,
    Selector,
    Window,
    by_policy,
)
from cronsvc.domain.job import Job, MisfirePolicy
from cronsvc.errors import Conflict, Forbidden, InvalidInput, NotFound
from cronsvc.services.access import Caller
from cronsvc.services.backfilling import call_off
from cronsvc.services.backfills import (
    GREATEST_ID,
    MOST_PARALLEL,
    Backfills,
    check_parallel,
    check_window,
    kept_since,
    progress,
    schedules_own,
    walked,
    wanted_of,
)
from cronsvc.services.job_validation import check_filter, check_note
from cronsvc.services.paging import IdSort, Page, check_limit, page_of
from cronsvc.store import audit, backfill_steps, backfills, clock, jobs, recoveries, running
from cronsvc.store.pool import Conn, Database

MOST_JOBS = 1_000
MOST_TOTAL = 1_000

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class RecoveryWish:
    """What a caller asks for. `max_parallel` bounds each job, `max_total` all of them together."""

    start: datetime
    end: datetime
    selector: Selector = field(default_factory=Selector)
    direction: Direction = Direction.OLDEST
    max_parallel: int = 1
    max_total: int = 10
    note: str | None = None


@dataclass(frozen=True, slots=True)
class JobRecovery:
    """One job of a recovery: how many instants it misses, and which of them its policy runs, in order of time."""

    job: Job
    policy: MisfirePolicy
    missing: int
    runs: tuple[datetime, ...]
    window_instants: int  # from the first to the last of the runs, those that are not missing included
    seconds: float | None  # of all runs, one after the other; None: no run of it is known

    def minutes(self, max_parallel: int) -> float | None:
        """How long its runs will take, so many at a time."""
        return None if self.seconds is None else self.seconds / min(max_parallel, max(1, len(self.runs))) / 60


@dataclass(frozen=True, slots=True)
class RecoveryPlan:
    """What a recovery would do: the jobs that miss something. `minutes` None: nothing is known of any of them."""

    jobs: tuple[JobRecovery, ...]
    minutes: float | None


@dataclass(frozen=True, slots=True)
class RecoveryProgress:
    """A recovery and where the instants of all its backfills are."""

    recovery: Recovery
    counts: Counts


class Recoveries:
    """The recoveries of one database, for one process."""

    def __init__(self, db: Database, backfills_: Backfills) -> None:
        self._db = db
        self._backfills = backfills_

    async def plan(self, wish: RecoveryWish, caller: Caller) -> RecoveryPlan:
        """What `start` would run; writes nothing. InvalidInput names the bad field."""
        async with self._db.statements() as conn:
            return await self._planned(conn, wish, caller)

    async def start(self, wish: RecoveryWish, caller: Caller) -> RecoveryProgress:
        """Write one backfill for each job that has something to run. With nothing to run it is finished at once."""
        while True:
            async with self._db.statements() as conn:
                plan = await self._planned(conn, wish, caller)
            working = [each for each in plan.jobs if each.runs]
            async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
                held = [await jobs.hold(conn, each.job.id) for each in working]
                pairs = zip(held, working, strict=True)
                if any(job is None or job.revision != each.job.revision for job, each in pairs):
                    continue  # edited meanwhile: what is missing may be something else now
                recovery = await self._write(conn, wish, working, caller)
                await running.wake_schedulers(conn)
                return (await _progress(conn, [recovery]))[0]

    async def get(self, recovery_id: int, caller: Caller) -> RecoveryProgress:
        """One recovery."""
        async with self._db.statements() as conn:
            found = await recoveries.find_recovery(conn, recovery_id) if 0 < recovery_id <= GREATEST_ID else None
            return (await _progress(conn, [_visible(found, recovery_id, caller)]))[0]

    async def list(
        self,
        caller: Caller,
        *,
        status: BackfillStatus | None = None,
        sort: IdSort = IdSort.NEWEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[RecoveryProgress]:
        """Recoveries in the order of `sort`."""
        edge = sort.edge("recoveries", cursor)
        async with self._db.statements() as conn:
            found = await recoveries.page_of_recoveries(
                conn, namespaces=caller.namespaces, status=status, edge=edge, limit=check_limit(limit) + 1
            )
            rows = await _progress(conn, found)
        return page_of(rows, limit, lambda each: sort.cursor("recoveries", each.recovery.id))

    async def cancel(self, recovery_id: int, caller: Caller) -> RecoveryProgress:
        """Cancel all of its backfills that have not ended. Cancelled before: no change; Conflict when finished."""
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            found = await recoveries.lock_recovery(conn, recovery_id) if 0 < recovery_id <= GREATEST_ID else None
            recovery = _visible(found, recovery_id, caller)
            if recovery.status is BackfillStatus.FINISHED:
                raise Conflict(f"recovery {recovery_id} is finished already")
            if recovery.status is BackfillStatus.RUNNING:
                await recoveries.end_recovery(conn, recovery_id, BackfillStatus.CANCELLED)
                children = await backfills.of_recoveries(conn, [recovery_id])
                locked = [await backfills.lock(conn, each.id) for each in children]
                unended = (BackfillStatus.RUNNING, BackfillStatus.PAUSED)
                await call_off(conn, [each for each in locked if each is not None and each.status in unended])
                await _record(conn, "cancel", recovery)
                await running.wake_schedulers(conn)
            changed = await recoveries.find_recovery(conn, recovery_id)
            assert changed is not None  # its row is locked
            return (await _progress(conn, [changed]))[0]

    async def _write(self, conn: Conn, wish: RecoveryWish, working: Sequence[JobRecovery], caller: Caller) -> Recovery:
        recovery = await recoveries.insert_recovery(
            conn,
            namespaces=_namespaces(wish.selector, caller),
            start=wish.start,
            end=wish.end,
            selector=wish.selector,
            direction=wish.direction,
            max_parallel=wish.max_parallel,
            max_total=wish.max_total,
            note=wish.note,
            created_by=caller.actor,
        )
        for each in working:
            schedule = each.job.definition.schedule
            await backfills.insert(
                conn,
                job_id=each.job.id,
                recovery_id=recovery.id,
                revision=each.job.revision,
                window=Window(schedule, each.runs[0], each.runs[-1], wish.direction, Mode.MISSED),
                max_parallel=wish.max_parallel,
                params=None,
                note=None,
                planned=each.window_instants,
                created_by=caller.actor,
            )
        await _record(conn, "start", recovery)
        if not working:
            await recoveries.end_recovery(conn, recovery.id, BackfillStatus.FINISHED)
        written = await recoveries.find_recovery(conn, recovery.id)
        assert written is not None  # just written
        return written

    async def _planned(self, conn: Conn, wish: RecoveryWish, caller: Caller) -> RecoveryPlan:
        _check(wish)
        now = await clock.now(conn)
        horizon = await self._backfills.horizon(conn)
        check_window(wish.start, wish.end, now=now, horizon=horizon)
        namespaces = _namespaces(wish.selector, caller)
        found = await backfill_steps.eligible(conn, wish.selector, namespaces=namespaces, limit=MOST_JOBS + 1)
        if len(found) > MOST_JOBS:
            raise InvalidInput.of("selector", f"matches more than {MOST_JOBS} jobs; narrow it")
        ids = [job.id for job in found]
        since = await backfill_steps.in_force_since(conn, ids)
        medians = await backfill_steps.median_seconds(conn, ids)
        planned: list[JobRecovery] = []
        room = MOST_INSTANTS
        for job in found:
            in_force = since.get(job.id, job.created_at)
            window = _window(job, wish, max(kept_since(job, horizon, now), in_force))
            if window is None:
                continue
            instants = await walked(window, room + 1)
            room -= len(instants)
            if room < 0:
                raise InvalidInput.of(
                    "to", f"the window holds more than {MOST_INSTANTS} instants of these jobs; take a shorter one"
                )
            missing, _ = await wanted_of(conn, job.id, Mode.MISSED, instants)
            if missing:
                planned.append(_job_recovery(job, missing, instants, medians.get(job.id)))
        return RecoveryPlan(tuple(planned), _minutes(planned, wish))


def _job_recovery(
    job: Job, missing: Sequence[datetime], instants: Sequence[datetime], median: float | None
) -> JobRecovery:
    definition = job.definition
    runs = tuple(by_policy(definition.misfire_policy, definition.misfire_cap, missing))
    between = sum(runs[0] <= instant <= runs[-1] for instant in instants) if runs else 0
    seconds = None if median is None else median * len(runs)
    return JobRecovery(job, definition.misfire_policy, len(missing), runs, between, seconds)


def _minutes(planned: Sequence[JobRecovery], wish: RecoveryWish) -> float | None:
    """The longer of: everything through the shared bound, and the slowest job through its own."""
    alone = [minutes for each in planned if (minutes := each.minutes(wish.max_parallel)) is not None]
    if not alone:
        return None
    together = sum(each.seconds for each in planned if each.seconds is not None) / wish.max_total / 60
    return max(together, *alone)


def _window(job: Job, wish: RecoveryWish, since: datetime) -> Window | None:
    """The part of the window in which the schedule was in force and that it has passed; None when there is none."""
    own = schedules_own(job)
    passed = job.last_fire_time if own is None else own - _TICK
    if passed is None:
        return None
    window = Window(job.definition.schedule, wish.start, wish.end, wish.direction, Mode.MISSED)
    window = replace(window, start=max(window.start, since), end=min(window.end, passed))
    return window if window.start <= window.end else None


def _check(wish: RecoveryWish) -> None:
    """Raise InvalidInput for what no statement could take; the window is checked against the database's clock."""
    selector = wish.selector
    check_note(wish.note)
    check_parallel("maxParallel", wish.max_parallel, MOST_PARALLEL)
    check_parallel("maxTotal", wish.max_total, MOST_TOTAL)
    texts = {"namespace": selector.namespace, "queue": selector.queue, "namePrefix": selector.name_prefix}
    for name, value in texts.items():
        check_filter(f"selector.{name}", value)
    for tag in selector.tags:
        check_filter("selector.tags", tag)


def _namespaces(selector: Selector, caller: Caller) -> tuple[str, ...] | None:
    """Whose jobs it may touch; Forbidden for a namespace that the caller does not reach."""
    if selector.namespace is None:
        return caller.namespaces
    if not caller.sees(selector.namespace):
        raise Forbidden(f"this key does not reach the namespace {selector.namespace[:63]!r}")
    return (selector.namespace,)


async def _progress(conn: Conn, found: Sequence[Recovery]) -> list[RecoveryProgress]:
    """These recoveries with the sums over their backfills."""
    sums = {each.id: Counts() for each in found}
    for each in await progress(conn, await backfills.of_recoveries(conn, list(sums))):
        recovery_id = each.backfill.recovery_id
        assert recovery_id is not None  # asked for by it
        sums[recovery_id] += each.counts
    return [RecoveryProgress(each, sums[each.id]) for each in found]


async def _record(conn: Conn, action: str, recovery: Recovery) -> None:
    after = {
        "window_from": recovery.window_from.isoformat(),
        "window_to": recovery.window_to.isoformat(),
        "selector": dict(recovery.selector),
        "note": recovery.note,
    }
    await audit.append(conn, action=action, entity="recovery", entity_id=str(recovery.id), after=after)


def _visible(found: Recovery | None, recovery_id: int, caller: Caller) -> Recovery:
    """The recovery, if there is one and all it may touch is the caller's; raises NotFound alike for both."""
    if found is not None:
        reach = found.namespaces
        if caller.namespaces is None or (reach is not None and set(reach) <= set(caller.namespaces)):
            return found
    raise NotFound(f"there is no recovery {recovery_id}")
