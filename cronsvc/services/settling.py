"""What an end brings about: dependent jobs run, parents end, children are called off.

The statement that ends an execution notes the end when somebody waits for it (`execution_ends`). A scheduler takes the
notes in order, a batch a transaction, and deletes each in the transaction that writes what follows from it. So an end
is acted on once, wherever a process dies and however many schedulers run; the advisory lock only saves work. What a
transaction writes is bounded: an end with very many dependents is acted on in parts, and the note says how far. The
end itself waits for none of this, and a dependent that cannot be planned spoils nobody else's.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cronsvc.domain.dependencies import Cause, Decision, DependsOn, Ended, decide, read_depends_on
from cronsvc.domain.execution import Reason, Status, Ticket
from cronsvc.domain.plan import DueJob, Plan, Skip
from cronsvc.domain.plan_at import own_instants
from cronsvc.services.dispatch import Dispatcher
from cronsvc.services.planning import gather
from cronsvc.services.scheduling import replace_others
from cronsvc.store import advisory, children, dependencies, failures, partitions
from cronsvc.store.dependencies import Concerned, End, Key
from cronsvc.store.pool import Conn, Database
from cronsvc.store.quarantine import quarantine

_log = logging.getLogger("cronsvc.scheduling")

ACTOR = "cronsvc:ends"

MOST_ENDS = 500

# What the ends of a batch may bring about, for each end it may have: rows, or children to call off.
_ROWS_AN_END = 10

_CANNOT_PLAN = (ValueError, ArithmeticError)


async def settle_ends(
    db: Database,
    dispatcher: Dispatcher,
    *,
    batch: int = MOST_ENDS,
    advisory_locks: bool = True,
    now: datetime | None = None,
) -> int:
    """Act on up to `batch` ends; returns how many. 0: there is none, or another replica is at it.

    Less of a batch is done when it has very many dependents; 1 also stands for a part of one end.
    """
    most = batch * _ROWS_AN_END
    while True:
        async with db.transaction(actor=ACTOR) as conn:
            if advisory_locks and not await advisory.try_lock(conn, advisory.ENDS_LOCK):
                return 0
            ends = await dependencies.take(conn, batch=batch)
            if not ends:
                return 0
            # In a transaction of its own: together with what dependents lock, that would be no order of keys.
            if calling := [end for end in ends if _calls_off(end)]:
                await _call_off(conn, _prefix(calling, {end.id: end.children for end in calling}, most))
                continue
            dependents = await _dependents(conn, ends, most)
            if dependents.get(ends[0].id, 0) > most:
                tickets = await _do_a_part(conn, ends[0], most, now, dispatcher.redispatch_after)
                ends = ends[:1]
            else:
                ends = _prefix(ends, dependents, most)
                tickets = await _do(conn, ends, now, dispatcher.redispatch_after)
        await dispatcher.push(tickets)
        return len(ends)


def _prefix(ends: list[End], costs: Mapping[int, int], most: int) -> list[End]:
    """The first of these ends, as many as cost no more than `most` together; at least one.

    One that is acted on in parts comes alone: what has heard of it shall not be locked again.
    """
    total = 0
    for place, end in enumerate(ends):
        total += costs.get(end.id, 0)
        if place and (total > most or end.after_job_id != ends[0].after_job_id):
            return ends[:place]
    return ends


async def _dependents(conn: Conn, ends: Sequence[End], most: int) -> dict[int, int]:
    """How many jobs have yet to hear of each end, by its id; `most` + 1 stands for any number above."""
    places = {(end.job_id, end.after_job_id) for end in ends if _is_told(end)}
    counts = await dependencies.count_dependents(conn, sorted(places), most=most) if places else {}
    return {end.id: counts[end.job_id, end.after_job_id] for end in ends if _is_told(end)}


async def _call_off(conn: Conn, ends: Sequence[End]) -> None:
    """Call off the unfinished children of what has ended so, unless somebody has let it run again in the meantime."""
    again = await children.lock_parents(conn, [(end.job_id, end.scheduled_time) for end in ends])
    if over := [end.execution_id for end in ends if end.execution_id not in again]:
        await children.cancel_children(conn, over)
    await dependencies.children_have_heard(conn, ends)


async def _do(conn: Conn, ends: Sequence[End], now: datetime | None, redispatch: timedelta) -> list[Ticket]:
    """Write all that follows from these ends, and forget them; the tickets to push."""
    parents = {key for end in ends if (key := _parent(end)) is not None}
    upstreams = {end.job_id for end in ends if _is_told(end)}
    others = {job_id for job_id, _ in parents}
    after = min(end.after_job_id for end in ends)
    concerned, clock = await dependencies.lock_jobs(conn, upstreams, others, after=after, now=now)
    tickets = [] if clock is None else await _run_dependents(conn, ends, concerned, clock, redispatch)
    if parents:
        await _end_parents(conn, parents, concerned)
    await dependencies.forget(conn, ends)
    return tickets


async def _do_a_part(conn: Conn, end: End, most: int, now: datetime | None, redispatch: timedelta) -> list[Ticket]:
    """Let the next `most` dependents hear of an end that has more; the tickets to push."""
    concerned, clock = await dependencies.lock_jobs(conn, [end.job_id], [], after=end.after_job_id, most=most, now=now)
    if clock is None:
        return []
    tickets = await _run_dependents(conn, [end], concerned, clock, redispatch)
    await dependencies.go_on_after(conn, end, concerned[-1].due.id)
    return tickets


async def end_overdue_parents(db: Database, *, batch: int = 100, now: datetime | None = None) -> int:
    """End the executions that wait for their children beyond their deadline, as FAILED(timeout); returns how many."""
    async with db.statements() as conn:
        rows = await children.overdue(conn, batch=batch, now=now)
    if not rows:
        return 0
    async with db.transaction(actor=ACTOR) as conn:
        counted = {job_id for job_id, _, counted in rows if counted}
        if counted:
            await failures.lock_jobs(conn, sorted(counted))
        ended = await children.end_overdue(conn, [(job_id, time) for job_id, time, _ in rows], now=now)
        await _count(conn, ended, counted, {job_id: "deadline" for job_id, _ in ended})
    _log.warning("%s executions still waited for their children at their deadline: FAILED", len(ended))
    return len(ended)


_ENDED = frozenset({Status.SUCCESS.value, Status.FAILED.value, Status.CANCELLED.value})


def _is_told(end: End) -> bool:
    """Whether dependents hear of it. What a restore cancels was to run nothing, and so are they."""
    return end.status in _ENDED and end.status_reason != Reason.RESTORE.value


def _parent(end: End) -> Key | None:
    """The execution that may be waiting for this end: its parent, or itself when it has just begun to wait."""
    if end.status == Status.RUNNING.value:
        return end.job_id, end.scheduled_time
    if end.parent_job_id is None or end.parent_time is None:
        return None
    return end.parent_job_id, end.parent_time


def _calls_off(end: End) -> bool:
    """Whether its unfinished children shall end, too: somebody called it off, or it ran out of time."""
    return end.children > 0 and (end.status == Status.CANCELLED.value or end.status_reason == Reason.TIMEOUT.value)


@dataclass(frozen=True, slots=True)
class _Row:
    """A decision about a dependent job, which is to become a row."""

    job: Concerned
    decision: Decision

    def skip(self, instant: datetime) -> Skip | None:
        """Why it does not run, if that is known before it is planned."""
        if not self.decision.runs:
            return Skip(instant, None, Reason.UPSTREAM)
        return Skip(instant, None, Reason.PAUSED) if self.job.is_paused else None


async def _run_dependents(
    conn: Conn, ends: Sequence[End], concerned: Sequence[Concerned], clock: datetime, redispatch: timedelta
) -> list[Ticket]:
    """Decide what these ends mean to the jobs that wait for them, and write it; the tickets to push."""
    happened: dict[int, list[End]] = defaultdict(list)
    for end in ends:
        if _is_told(end):
            happened[end.job_id].append(end)
    waiting = await dependencies.rounds(conn, [job.due.id for job in concerned if job.depends_on is not None])
    rows: list[_Row] = []
    open_rounds: dict[int, dict[int, Cause]] = {}
    for job in concerned:
        wanted = await _read(conn, job)
        if wanted is None:
            continue
        decisions, still_open = decide(wanted, _heard(job.due.id, wanted, happened), waiting[job.due.id])
        rows += [_Row(job, decision) for decision in decisions]
        if still_open != waiting[job.due.id]:
            open_rounds[job.due.id] = still_open
    if open_rounds:
        await dependencies.keep_rounds(conn, waiting, open_rounds)
    return await _record(conn, rows, clock, redispatch) if rows else []


def _heard(job_id: int, wanted: DependsOn, happened: Mapping[int, Sequence[End]]) -> list[Ended]:
    """The ends that are news to a job, in order."""
    ends = [
        end
        for upstream_id in {each.job_id for each in wanted.on if each.job_id is not None}
        for end in happened.get(upstream_id, ())
        if end.after_job_id < job_id
    ]
    return [
        Ended(end.id, end.execution_id, end.job_id, Status(end.status), end.result)
        for end in sorted(ends, key=lambda each: each.id)
    ]


async def _read(conn: Conn, job: Concerned) -> DependsOn | None:
    """What a locked job waits for; one that cannot be read is set aside with the reason."""
    if job.depends_on is None:
        return None
    try:
        return read_depends_on(job.depends_on)
    except ValueError as error:
        _log.error("job %s is quarantined, what it depends on cannot be read: %s", job.due.id, error)
        await quarantine(conn, job.due.id, f"depends_on: {error}"[:500])
        return None


async def _record(conn: Conn, rows: Sequence[_Row], clock: datetime, redispatch: timedelta) -> list[Ticket]:
    """Write a row for each decision, planned as a tick would; an instant that is taken gives way to a later one."""
    names = await dependencies.names(conn, {cause.end.job_id for row in rows for cause in row.decision.causes})
    tickets: list[Ticket] = []
    while rows:
        by_instant = _at_instants(rows, clock)
        planned = await _plan(conn, by_instant, clock)
        await partitions.ensure(
            conn, {partitions.week_of(row.scheduled_time) for _, plan in planned for row in plan.rows}
        )
        await replace_others(conn, planned)
        to_write = [
            (job.id, row, [_cause(each, names) for each in by_instant[job.id, row.scheduled_time].decision.causes])
            for job, plan in planned
            for row in plan.rows
        ]
        written, pushed = await dependencies.record(conn, to_write, redispatch=redispatch)
        tickets += pushed
        planned_ids = {job.id for job, _ in planned}
        rows = [row for key, row in by_instant.items() if key not in written and key[0] in planned_ids]
        clock += timedelta(milliseconds=1)
    return tickets


def _cause(cause: Cause, names: dict[int, str]) -> dict[str, object]:
    return dependencies.cause_json(cause, names.get(cause.end.job_id))


def _at_instants(rows: Sequence[_Row], clock: datetime) -> dict[Key, _Row]:
    """Give each decision an instant of its own, in order."""
    instants = own_instants(clock, len(rows))
    return {(row.job.due.id, instant): row for row, instant in zip(rows, instants, strict=True)}


async def _plan(conn: Conn, by_instant: dict[Key, _Row], clock: datetime) -> list[tuple[DueJob, Plan]]:
    """The plans of these jobs; one that cannot be planned is set aside, and its rows are not written."""
    jobs = {row.job.due.id: row.job.due for row in by_instant.values()}
    by_job: dict[int, list[tuple[datetime, Skip | None]]] = defaultdict(list)
    for (job_id, instant), row in by_instant.items():
        by_job[job_id].append((instant, row.skip(instant)))
    ground = await gather(conn, list(jobs.values()), clock)
    planned: list[tuple[DueJob, Plan]] = []
    for job in ground.jobs:
        mine = by_job[job.id]
        runs = [instant for instant, skip in mine if skip is None]
        try:
            planned.append((job, ground.plan_at(job, runs, [skip for _, skip in mine if skip is not None])))
        except _CANNOT_PLAN as error:
            _log.error("job %s is quarantined, it cannot be planned: %s", job.id, error)
            await quarantine(conn, job.id, str(error)[:500])
    return planned


async def _end_parents(conn: Conn, parents: set[Key], concerned: Sequence[Concerned]) -> None:
    """End the parents whose children have all ended; a failure counts for their jobs as any other."""
    ended = await children.end_parents(conn, sorted(parents))
    counted = {job.due.id for job in concerned if job.counts_failures}
    failed = {job_id: "children: not all of them succeeded" for job_id, _, status in ended if status == "FAILED"}
    await _count(conn, [(job_id, time) for job_id, time, _ in ended], counted, failed)


async def _count(conn: Conn, ended: Sequence[Key], counted: set[int], errors: dict[int, str]) -> None:
    """Count these ends for the locked jobs that pause after so many failures in a row."""
    if keys := [key for key in ended if key[0] in counted]:
        await failures.count(conn, keys)
        if failing := {job_id: error for job_id, error in errors.items() if job_id in counted}:
            for job_id in await failures.pause_failing(conn, failing, by=ACTOR):
                _log.warning("job %s is paused: its executions keep failing", job_id)
