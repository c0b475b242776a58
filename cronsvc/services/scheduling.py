"""T1 of a firing: due jobs become rows, and cursors move, in one transaction.

Every replica ticks. The advisory locks spread the shards over them and only save work: with them off, `SKIP LOCKED` and
the unique key give the same rows. Tickets are pushed after the commit, never before.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cronsvc.domain.execution import Ticket
from cronsvc.domain.job import OverlapPolicy
from cronsvc.domain.plan import DueJob, Firing, Plan
from cronsvc.domain.schedule import next_instant, tzdata_version
from cronsvc.services.closed_days import due_with_closed_days
from cronsvc.services.dispatch import Dispatcher
from cronsvc.services.planning import gather, truthful
from cronsvc.services.weeks import KnownWeeks
from cronsvc.store import admission, advisory, partitions, ticks, window_holds
from cronsvc.store.pool import Conn, Database
from cronsvc.store.quarantine import quarantine

_log = logging.getLogger("cronsvc.scheduling")

# What planning raises for a definition that SQL let in and no schedule can be made of (ScheduleError is a ValueError).
_CANNOT_PLAN = (ValueError, ArithmeticError)

# Planning happens between two statements of a transaction that a frozen holder may keep open for four seconds:
# stay far below, whatever the batch. What is not planned is due again in the next tick.
_PLANNING_SECONDS = 1.0

# And so many rows are written in a second or two, well within the statement timeout.
_MOST_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick did. `more`: the batch was full or a job is still due, so tick again at once."""

    jobs: int = 0
    fired: int = 0
    skipped: int = 0
    more: bool = False


class Scheduling:
    """The ticks of one scheduler process.

    `lead` is how long before an instant a tick may begin: it does all its work and then waits for the database's clock
    before it commits, so an instant is late only by a commit and a push, and never early.
    """

    def __init__(
        self,
        db: Database,
        dispatcher: Dispatcher,
        *,
        batch: int = 1000,
        advisory_locks: bool = True,
        lead: timedelta = timedelta(0),
        rotation: random.Random | None = None,
    ) -> None:
        self._db = db
        self._dispatcher = dispatcher
        self._batch = batch
        self._advisory_locks = advisory_locks
        self._lead = lead
        self._rotation = rotation or random.Random()  # noqa: S311 — spreads replicas over shards, no secret
        self._weeks = KnownWeeks()

    async def tick(self, *, now: datetime | None = None) -> Tick:
        """Record what is due and push it. `now` is the database clock unless a test brings its own."""
        async with self._db.transaction() as conn:
            jobs, judged = await ticks.take_due(
                conn,
                batch=self._batch,
                rotation=self._rotation.randrange(advisory.SHARDS),
                locks=self._advisory_locks,
                lead=self._lead,
                now=now,
            )
            if judged is None:
                return Tick()
            planned = await self._plan(conn, jobs, judged)
            tickets = await self._record(conn, planned, judged)
            if now is None and self._lead:
                await self._until_all_are_due(conn, planned, judged - self._lead)
        await self._dispatcher.push(tickets)
        fired = sum(plan.fires for _, plan in planned)
        rows = sum(len(plan.rows) for _, plan in planned)
        return Tick(
            len(jobs),
            fired,
            rows - fired,
            more=len(planned) < len(jobs) or len(jobs) >= self._batch or _unfinished(planned, judged),
        )

    async def _until_all_are_due(self, conn: Conn, planned: Sequence[tuple[DueJob, Plan]], clock: datetime) -> None:
        """Hold the commit back until the latest instant written has come; nobody sees a row before."""
        latest = max((plan.rows[-1].scheduled_time for _, plan in planned if plan.rows), default=clock)
        if latest > clock:
            await ticks.await_instant(conn, latest)

    async def _plan(self, conn: Conn, jobs: Sequence[DueJob], now: datetime) -> list[tuple[DueJob, Plan]]:
        """Plan each job; one that cannot be planned is set aside with the reason and holds up nobody."""
        ground = await gather(conn, jobs, now)
        planned: list[tuple[DueJob, Plan]] = []
        rows, end = 0, asyncio.get_running_loop().time() + _PLANNING_SECONDS
        for job in ground.jobs:
            try:
                planned.append((job, ground.plan(job)))
            except _CANNOT_PLAN as error:
                _log.error("job %s is quarantined, its schedule cannot be planned: %s", job.id, error)
                await quarantine(conn, job.id, str(error)[:500])
            rows += len(planned[-1][1].rows) if planned and planned[-1][0] is job else 0
            if rows > _MOST_ROWS or asyncio.get_running_loop().time() > end:
                break
        return await truthful(conn, planned)

    async def _record(self, conn: Conn, planned: Sequence[tuple[DueJob, Plan]], now: datetime) -> list[Ticket]:
        if not planned:
            return []
        # Catching up may reach weeks that upkeep has not made, or has dropped.
        weeks = {partitions.week_of(row.scheduled_time) for _, plan in planned for row in plan.rows}
        await self._weeks.ensure(conn, weeks, now=now)
        await replace_others(conn, planned)
        tickets = await ticks.record(conn, planned, redispatch=self._dispatcher.redispatch_after)
        await ticks.advance(conn, planned, tzdata_version=tzdata_version())
        return tickets

    async def seconds_until_due(self) -> ticks.NextInstants:
        """When the next fire, dispatch or end of a pause is due."""
        async with self._db.statements() as conn:
            return await ticks.next_instants(conn)

    async def follow_zone_data(self) -> int:
        """Recompute the cursors that were computed with other time zone data, from now on; returns how many jobs."""
        version, after_id, moved = tzdata_version(), 0, 0
        while True:
            async with self._db.transaction() as conn:
                jobs, now = await ticks.stale_zones(conn, tzdata_version=version, after_id=after_id, batch=500)
                if now is None:
                    return moved
                planned = []
                for job in await due_with_closed_days(conn, jobs):
                    try:
                        planned.append((job, Plan((), _cursor_ahead(job, now), job.last_fire_time, 0)))
                    except _CANNOT_PLAN as error:  # a zone or a spelling that this release does not know any more
                        await quarantine(conn, job.id, str(error)[:500])
                await ticks.advance(conn, planned, tzdata_version=version)
            after_id, moved = jobs[-1].id, moved + len(jobs)


async def settle(conn: Conn, job_id: int, dispatcher: Dispatcher, *, now: datetime | None = None) -> list[Ticket]:
    """Inside an edit's transaction: record what is already due under the definition that was in force.

    Returns the tickets to push after the commit. A job that is held, deleted or has nothing due yields none; one whose
    definition cannot be planned owes nothing, and the edit is what will mend it.
    """
    tickets: list[Ticket] = []
    while (locked := await ticks.lock_job(conn, job_id, now=now)) is not None:
        ground = await gather(conn, [locked[0]], locked[1])
        try:
            ((job, planned),) = await truthful(conn, [(each, ground.plan(each)) for each in ground.jobs])
        except _CANNOT_PLAN:
            break
        if not planned.rows:
            break
        await partitions.ensure(conn, {partitions.week_of(row.scheduled_time) for row in planned.rows})
        await replace_others(conn, [(job, planned)])
        tickets += await ticks.record(conn, [(job, planned)], redispatch=dispatcher.redispatch_after)
        await ticks.advance(conn, [(job, planned)], tzdata_version=tzdata_version())
    return tickets


async def replace_others(conn: Conn, planned: Sequence[tuple[DueJob, Plan]]) -> None:
    """Make room for the runs that take the place of what their jobs have unfinished, or have held."""
    alone = [
        (job.id, row.scheduled_time)
        for job, plan in planned
        for row in plan.rows
        if isinstance(row, Firing) and row.alone
    ]
    if alone:
        await window_holds.replace_held(conn, alone)
    replacing = [job for job, plan in planned if plan.replaces]
    if not replacing:
        return
    await admission.replace_waiting(conn, [job.id for job in replacing])
    for act, policy in (
        (admission.ask_to_stop, OverlapPolicy.CANCEL_OTHER),
        (admission.terminate, OverlapPolicy.TERMINATE_OTHER),
    ):
        if job_ids := [job.id for job in replacing if job.overlap_policy is policy]:
            await act(conn, job_ids)


def _cursor_ahead(job: DueJob, now: datetime) -> datetime | None:
    """The first instant after `now`; for a job that cannot be planned where its cursor is, so that a tick finds out."""
    try:
        return next_instant(job.schedule, now)
    except _CANNOT_PLAN:
        return job.cursor


def _unfinished(planned: Sequence[tuple[DueJob, Plan]], now: datetime) -> bool:
    """Whether a plan hit its own bound and its job is still due."""
    return any(plan.next_fire_time is not None and plan.next_fire_time <= now for _, plan in planned)
