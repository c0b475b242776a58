"""Backfills as people see them: try one out, start it, watch it, stop it.

Promises: what a dry run tells is what a start would do, found by the same functions; nothing ahead of the job's cursor
is ever taken, because the schedule itself will record it; a window is bounded before it is walked. Starting and
stopping are audited. The work is done by the schedulers' steps (`backfilling`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from cronsvc.domain.backfill import (
    MOST_INSTANTS,
    Backfill,
    BackfillStatus,
    Counts,
    Direction,
    Mode,
    Window,
)
from cronsvc.domain.job import DEFAULT_DAYS, Job
from cronsvc.domain.schedule import ScheduleError, fires_between
from cronsvc.errors import Conflict, FieldError, InvalidInput, NotFound
from cronsvc.executors.base import Executor
from cronsvc.services import slow_checks
from cronsvc.services.access import Caller
from cronsvc.services.backfilling import call_off
from cronsvc.services.job_validation import check_note, check_params
from cronsvc.services.paging import IdSort, Page, check_limit, page_of
from cronsvc.services.secret_validation import params_faults
from cronsvc.services.type_roles import check_type_role
from cronsvc.store import audit, backfill_steps, backfills, clock, jobs, partitions, recoveries, running
from cronsvc.store.pool import Conn, Database

GREATEST_ID = 2**63 - 1
MOST_PARALLEL = 100
SHOWN_INSTANTS = 100

# What a look at recorded instants asks for in one statement.
_STRETCH = 5_000
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller asks for: a window with both ends included, and how to go through it."""

    start: datetime
    end: datetime
    mode: Mode = Mode.MISSING
    direction: Direction = Direction.OLDEST
    max_parallel: int = 1
    params: Mapping[str, Any] | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """What a backfill would do: the instants it would run, in order of time, and how many others its window holds."""

    instants: tuple[datetime, ...]
    left_alone: int


@dataclass(frozen=True, slots=True)
class Progress:
    """A backfill and where its instants are."""

    backfill: Backfill
    counts: Counts


class Backfills:
    """The backfills of one database, for one process. `retention_days` is what the service keeps at least."""

    def __init__(self, db: Database, executors: Mapping[str, Executor], *, retention_days: int = 90) -> None:
        self._db = db
        self._executors = executors
        self._retention_days = retention_days

    async def plan(self, job_id: int, wish: Wish, caller: Caller) -> BackfillPlan:
        """What `start` would run; writes nothing. InvalidInput names the bad field."""
        slow = await slow_checks.of_params(self._db, job_id, wish.params, caller, self._executors)
        async with self._db.statements() as conn:
            return (await self._planned(conn, job_id, wish, caller, slow))[2]

    async def start(self, job_id: int, wish: Wish, caller: Caller) -> Progress:
        """Write the backfill down for the schedulers to work on. InvalidInput names the bad field.

        The instants are counted before the transaction, so that it stays short; an edit in between starts over.
        """
        while True:
            slow = await slow_checks.of_params(self._db, job_id, wish.params, caller, self._executors)
            async with self._db.statements() as conn:
                job, window, plan = await self._planned(conn, job_id, wish, caller, slow)
            async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
                held = await jobs.hold(conn, job_id)
                if held is None or held.revision != job.revision:
                    continue
                more = await params_faults(conn, job, wish.params, self._executors)
                made = await backfills.insert(
                    conn,
                    job_id=job_id,
                    revision=job.revision,
                    window=window,
                    max_parallel=wish.max_parallel,
                    params=check_params(job, wish.params, self._executors, more) or None,
                    note=wish.note,
                    planned=len(plan.instants) + plan.left_alone,
                    created_by=caller.actor,
                )
                await record(conn, "start", made)
                await running.wake_schedulers(conn)
            return Progress(made, made.counts({}))

    async def get(self, backfill_id: int, caller: Caller) -> Progress:
        """One backfill."""
        async with self._db.statements() as conn:
            found = await backfills.find(conn, backfill_id) if 0 < backfill_id <= GREATEST_ID else None
            return (await progress(conn, [_visible(found, backfill_id, caller)]))[0]

    async def list(
        self,
        caller: Caller,
        *,
        job_id: int | None = None,
        recovery_id: int | None = None,
        status: BackfillStatus | None = None,
        sort: IdSort = IdSort.NEWEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Progress]:
        """Backfills in the order of `sort`."""
        edge = sort.edge("backfills", cursor)
        async with self._db.statements() as conn:
            found = await backfills.page(
                conn,
                namespaces=caller.namespaces,
                job_id=job_id,
                recovery_id=recovery_id,
                status=status,
                edge=edge,
                limit=check_limit(limit) + 1,
            )
            rows = await progress(conn, found)
        return page_of(rows, limit, lambda each: sort.cursor("backfills", each.backfill.id))

    async def cancel(self, backfill_id: int, caller: Caller) -> Progress:
        """Start no further instant and cancel what waits; what runs ends. Cancelled before: no change."""
        return await self._change(backfill_id, caller, "cancel", BackfillStatus.CANCELLED)

    async def pause(self, backfill_id: int, caller: Caller) -> Progress:
        """Start no further instant until `resume`; what was started goes on. Paused before: no change."""
        return await self._change(backfill_id, caller, "pause", BackfillStatus.PAUSED)

    async def resume(self, backfill_id: int, caller: Caller) -> Progress:
        """Go on with a paused backfill. Running: no change."""
        return await self._change(backfill_id, caller, "resume", BackfillStatus.RUNNING)

    async def _change(self, backfill_id: int, caller: Caller, action: str, status: BackfillStatus) -> Progress:
        """Move a backfill to `status`; Conflict when it has ended otherwise."""
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            found = await backfills.find(conn, backfill_id) if 0 < backfill_id <= GREATEST_ID else None
            backfill = _visible(found, backfill_id, caller)
            if backfill.recovery_id is not None:
                await recoveries.lock_recovery(conn, backfill.recovery_id)
            backfill = _visible(await backfills.lock(conn, backfill_id), backfill_id, caller)
            if backfill.status is not status:
                if backfill.status in (BackfillStatus.FINISHED, BackfillStatus.CANCELLED):
                    raise Conflict(f"backfill {backfill_id} is {backfill.status.value} already")
                if status is BackfillStatus.CANCELLED:
                    await call_off(conn, [backfill])
                else:
                    await backfills.set_status(conn, backfill_id, status)
                await record(conn, action, backfill)
                await running.wake_schedulers(conn)
            changed = await backfills.find(conn, backfill_id)
            assert changed is not None  # its row is locked
            return (await progress(conn, [changed]))[0]

    async def _planned(
        self, conn: Conn, job_id: int, wish: Wish, caller: Caller, slow: Sequence[FieldError]
    ) -> tuple[Job, Window, BackfillPlan]:
        """The job, the window as the schedule has passed it, and what is to be run in it."""
        job = await jobs.find(conn, job_id) if 0 < job_id <= GREATEST_ID else None
        if job is None or not caller.sees(job.definition.namespace):
            raise NotFound(f"there is no job {job_id}")
        check_note(wish.note)
        if wish.params:
            check_type_role(caller, self._executors, job.definition, act="give params to")
        more = [*await params_faults(conn, job, wish.params, self._executors), *slow]
        check_params(job, wish.params, self._executors, more)
        check_parallel("maxParallel", wish.max_parallel, MOST_PARALLEL)
        now = await clock.now(conn)
        kept = kept_since(job, await self.horizon(conn), now)
        check_window(wish.start, wish.end, now=now, horizon=kept)
        window = _window(job, wish)
        instants = await walked(window, MOST_INSTANTS + 1)
        if len(instants) > MOST_INSTANTS:
            raise InvalidInput.of("to", f"the window holds more than {MOST_INSTANTS} instants; take a shorter one")
        wanted, total = await wanted_of(conn, job.id, window.mode, instants)
        return job, window, BackfillPlan(tuple(wanted), total - len(wanted))

    async def horizon(self, conn: Conn) -> datetime:
        """Since when the service keeps rows: further back a backfill would write what is dropped at once."""
        days, now = await partitions.longest_retention(conn, days=self._retention_days)
        return now - timedelta(days=days)


def kept_since(job: Job, horizon: datetime, now: datetime) -> datetime:
    """Since when rows of this job are kept: `horizon` is the service's, a job may have its own."""
    own = job.definition.retention.days
    return horizon if own == DEFAULT_DAYS else now - timedelta(days=own)


async def progress(conn: Conn, found: Sequence[Backfill]) -> list[Progress]:
    """These backfills with their counts, along one index."""
    counted = await backfills.counts(conn, found)
    return [Progress(each, each.counts(counted[each.id])) for each in found]


async def walked(window: Window, most: int) -> list[datetime]:
    """The instants of a window in order of time, at most `most`; in a thread, because a hundred thousand take a while.

    InvalidInput: the schedule was written by SQL and cannot be read.
    """
    try:
        return await asyncio.to_thread(fires_between, window.schedule, window.start - _TICK, window.end, most)
    except ScheduleError as error:
        raise InvalidInput.of(error.field, error.reason) from None


async def wanted_of(conn: Conn, job_id: int, mode: Mode, instants: Sequence[datetime]) -> tuple[list[datetime], int]:
    """Which of these instants a backfill of this mode runs now, and how many there are."""
    wanted: list[datetime] = []
    for first in range(0, len(instants), _STRETCH):
        stretch = instants[first : first + _STRETCH]
        ledger = await backfill_steps.ledger(conn, job_id, stretch)
        wanted += [instant for instant, _, runs in ledger.runs(mode, stretch) if runs]
    return wanted, len(instants)


def check_window(start: datetime, end: datetime, *, now: datetime, horizon: datetime) -> None:
    """Raise InvalidInput unless the window lies in the kept past."""
    for field, value in {"from": start, "to": end}.items():
        if value.utcoffset() is None:
            raise InvalidInput.of(field, "has no UTC offset; write for example 2026-01-31T09:00:00Z")
    if end > now:
        raise InvalidInput.of("to", f"lies ahead, and that is the schedule's; it is {now:%Y-%m-%dT%H:%M:%SZ}")
    if start > end:
        raise InvalidInput.of("from", "lies after to")
    if start < horizon:
        raise InvalidInput.of("from", f"lies before {horizon:%Y-%m-%dT%H:%M:%SZ}, where the retention has ended")


def check_parallel(field: str, value: int, most: int) -> None:
    """Raise InvalidInput unless so many executions may be unfinished at a time."""
    if not 1 <= value <= most:
        raise InvalidInput.of(field, f"is {value}; 1 to {most} is possible")


def schedules_own(job: Job) -> datetime | None:
    """From which instant on the schedule itself will record, or account for, what it names; None: nothing any more.

    A row written there ahead of the schedule would be in the way of the range row that a pause or an outage leaves.
    """
    held = not job.definition.is_active or job.quarantine_reason is not None
    return None if held else job.next_fire_time


async def record(conn: Conn, action: str, backfill: Backfill) -> None:
    """Write to the audit log what was done to a backfill; params stay out of it, they may hold secrets."""
    await audit.append(
        conn,
        action=action,
        entity="backfill",
        entity_id=str(backfill.id),
        namespace=backfill.namespace,
        after={
            "job_id": backfill.job_id,
            "recovery_id": backfill.recovery_id,
            "window_from": backfill.window_from.isoformat(),
            "window_to": backfill.window_to.isoformat(),
            "mode": backfill.mode.value,
            "planned": backfill.planned,
            "note": backfill.note,
        },
    )


def _window(job: Job, wish: Wish) -> Window:
    """The part of the wished window that the schedule has passed; InvalidInput when a part is still the schedule's."""
    window = Window(job.definition.schedule, wish.start, wish.end, wish.direction, wish.mode)
    own = schedules_own(job)
    if own is None or own > wish.end:
        return window
    if job.pause is not None:
        what = "the job is paused, and what the pause holds back is recorded when it ends: resume it first"
    elif own <= wish.start:
        what = "the schedulers are about to record it themselves: wait for them"
    else:
        return replace(window, end=own - _TICK)
    raise InvalidInput.of("to", f"reaches what lies ahead of the schedule ({own:%Y-%m-%dT%H:%M:%SZ}); {what}")


def _visible(found: Backfill | None, backfill_id: int, caller: Caller) -> Backfill:
    """The backfill, if there is one and the caller may see it; raises NotFound alike for both."""
    if found is None or not caller.sees(found.namespace):
        raise NotFound(f"there is no backfill {backfill_id}")
    return found
