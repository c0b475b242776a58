"""What a plan needs from the database beside the locked jobs, gathered in the transaction that writes its rows.

Calendars, maintenance windows and what is unfinished are asked after the jobs are locked. Each costs a statement only
where a job asks for it; windows one small statement for the whole batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cronsvc.domain.job import OverlapPolicy
from cronsvc.domain.maintenance import Opening
from cronsvc.domain.plan import NOTHING, REPLACING, DueJob, Firing, Plan, Skip, Unfinished, plan
from cronsvc.domain.plan_at import plan_at
from cronsvc.services.closed_days import due_with_closed_days
from cronsvc.store import maintenance, ticks
from cronsvc.store.pool import Conn


@dataclass(frozen=True, slots=True)
class Ground:
    """What a batch of locked jobs is planned on."""

    jobs: list[DueJob]
    now: datetime
    unfinished: dict[int, Unfinished]
    openings: list[Opening]

    def plan(self, job: DueJob) -> Plan:
        """Plan one of the jobs; raises ValueError or ArithmeticError for a definition that cannot be planned."""
        concerned = [each for each in self.openings if each.window.selector.matches(job.namespace, job.tags, job.queue)]
        return plan(job, self.now, unfinished=self.unfinished.get(job.id, NOTHING), openings=concerned)

    def plan_at(self, job: DueJob, runs: Sequence[datetime], skips: Sequence[Skip]) -> Plan:
        """Plan runs of one of the jobs at instants that no schedule names."""
        concerned = [each for each in self.openings if each.window.selector.matches(job.namespace, job.tags, job.queue)]
        unfinished = self.unfinished.get(job.id, NOTHING)
        return plan_at(job, runs, skips, self.now, unfinished=unfinished, openings=concerned)


async def gather(conn: Conn, jobs: Sequence[DueJob], now: datetime) -> Ground:
    """Bring together what planning these locked jobs needs; windows that may be open are held until the end."""
    since = min(job.cursor for job in jobs)
    windows = await maintenance.standing(conn, since=since, until=now, hold=True)
    openings = [opening for window in windows for opening in window.openings(since, now)]
    # A window may hold a run of a job that allows overlap, too, but only overlap policies ask what else there is.
    asking = [job.id for job in jobs if job.overlap_policy is not OverlapPolicy.ALLOW]
    await ticks.hold_unfinished(conn, [job.id for job in jobs if job.overlap_policy in REPLACING])
    return Ground(
        jobs=await due_with_closed_days(conn, jobs),
        now=now,
        unfinished=await ticks.unfinished_jobs(conn, asking),
        openings=openings,
    )


async def truthful(conn: Conn, planned: Sequence[tuple[DueJob, Plan]]) -> list[tuple[DueJob, Plan]]:
    """The plans, with no row that claims to have moved to a time that had passed before anybody knew.

    A calendar moves some instants to a day before theirs. When job or calendar came into force only after that time,
    nothing ran there and nothing will, so the row says `tooLate`.
    """
    back = [
        (job.id, row.moved_to)
        for job, plan in planned
        for row in plan.rows
        if isinstance(row, Skip) and row.moved_to is not None and row.moved_to < row.scheduled_time
    ]
    if not back:
        return list(planned)
    own = {(job.id, row.scheduled_time) for job, plan in planned for row in plan.rows}
    missing = set(back) - own - await ticks.recorded(conn, back)
    return [
        (job, replace(plan, rows=tuple(_corrected(row, (job.id, _moved(row)) in missing) for row in plan.rows)))
        for job, plan in planned
    ]


def _moved(row: Firing | Skip) -> datetime | None:
    return row.moved_to if isinstance(row, Skip) else None


def _corrected(row: Firing | Skip, is_missing: bool) -> Firing | Skip:
    if not is_missing or isinstance(row, Firing) or row.moved_to is None:
        return row
    too_late = row.moved_to.isoformat().replace("+00:00", "Z")
    return replace(row, moved_to=None, detail={**(row.detail or {}), "tooLate": too_late})
