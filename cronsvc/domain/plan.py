"""What one tick records for one job: pure, and the same however often it is interrupted.

An instant is *due* when the database clock has reached it. Less than the grace late, it fires; later, it is a misfire
and the policy decides. Every due instant ends up in the plan as a Firing or inside a Skip, in order, so a row can be
written for each of them and the ledger has no holes. Planning [a, c) gives the same rows as planning [a, b) and then
[b, c) with the same `now`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cronsvc.domain.execution import Reason
from cronsvc.domain.job import MisfirePolicy, OverlapPolicy
from cronsvc.domain.schedule import Schedule, fires_between, jitter, last_fire, next_fire

# More misfires than this are recorded as one range row, whose count is left open: a herd of jobs that wakes after a
# long outage must fit into one transaction.
MOST_SINGLE_SKIPS = 50

# What one job may fire in one tick; the rest is due at once in the next.
MOST_FIRINGS = 1000

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class DueJob:
    """What planning needs to know of a job. When it is not armed, `cursor` is the instant its schedule counts from."""

    id: int
    revision: int
    schedule: Schedule
    cursor: datetime
    armed: bool
    last_fire_time: datetime | None
    fire_count: int
    max_runs: int | None
    jitter_seconds: int
    misfire_policy: MisfirePolicy
    misfire_grace_seconds: int
    misfire_cap: int
    overlap_policy: OverlapPolicy
    queue: str
    priority: int
    max_attempts: int


@dataclass(frozen=True, slots=True)
class Firing:
    """Run at `scheduled_time`; not before `delay` after it. `previous` is the instant recorded before this one."""

    scheduled_time: datetime
    previous: datetime | None
    delay: timedelta


@dataclass(frozen=True, slots=True)
class Skip:
    """Record that `scheduled_time` does not run; with `until`, that none up to there does (`count` None: many)."""

    scheduled_time: datetime
    previous: datetime | None
    reason: Reason
    until: datetime | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Rows to write, and the job's cursor after them. `next_fire_time` is None when the schedule has ended."""

    rows: tuple[Firing | Skip, ...]
    next_fire_time: datetime | None
    last_fire_time: datetime | None
    fires: int


def plan(job: DueJob, now: datetime, *, unfinished: bool) -> Plan:
    """Plan every instant of `job` that is due at `now` (the database clock); raises ScheduleError for a bad definition.

    `unfinished` says whether an earlier execution of the job is still QUEUED or RUNNING; only overlap policies ask.
    """
    cursor = _armed_cursor(job)
    if cursor is None or cursor > now:
        return Plan((), cursor, job.last_fire_time, 0)
    runs, skips, upcoming = _due(job, cursor, now)
    if job.max_runs is not None:
        remaining = max(0, job.max_runs - job.fire_count)
        if len(runs) >= remaining:
            # The budget ends here: instants after its last run are not due by the definition.
            runs, upcoming = runs[:remaining], None
            skips = [skip for skip in skips if runs and skip.scheduled_time < runs[-1]]
    rows = _chained(job, runs, skips, unfinished)
    fires = sum(isinstance(row, Firing) for row in rows)
    return Plan(rows, upcoming, _end(rows[-1]) if rows else job.last_fire_time, fires)


def _armed_cursor(job: DueJob) -> datetime | None:
    if job.armed:
        return job.cursor
    first = next_fire(job.schedule, job.cursor)
    if first is not None and job.last_fire_time is not None and first <= job.last_fire_time:
        # Nothing at or before the last recorded instant is ever fired again, whatever an edit or a clock says.
        first = next_fire(job.schedule, job.last_fire_time)
    return first


def _due(job: DueJob, cursor: datetime, now: datetime) -> tuple[list[datetime], list[Skip], datetime | None]:
    """The instants to run, the misfires to skip, and the first instant after both: the next cursor.

    A cursor that somebody set by hand may lie between two instants; then nothing is due and it moves to the next.
    """
    before = cursor - _TICK
    late = now - timedelta(seconds=job.misfire_grace_seconds)
    runs: list[datetime] = []
    skips: list[Skip] = []
    last: datetime | None = None
    if cursor <= late:
        last = last_fire(job.schedule, before, late)
    if last is not None:
        runs = _misfires_to_run(job, before, last)
        skips = _misfires_to_skip(job, cursor, runs[0] - _TICK if runs else last)
    upcoming = next_fire(job.schedule, last or before)
    while upcoming is not None and upcoming <= now and len(runs) < 2 * MOST_FIRINGS:
        runs.append(upcoming)
        upcoming = next_fire(job.schedule, upcoming)
    return runs, skips, upcoming


def _misfires_to_run(job: DueJob, before: datetime, last: datetime) -> list[datetime]:
    """The latest misfires, as many as the policy runs, in order."""
    match job.misfire_policy:
        case MisfirePolicy.SKIP:
            return []
        case MisfirePolicy.FIRE_ONCE:
            return [last]
        case MisfirePolicy.FIRE_ALL:
            runs = [last]
            while len(runs) < min(job.misfire_cap, MOST_FIRINGS):
                earlier = last_fire(job.schedule, before, runs[-1] - _TICK)
                if earlier is None:
                    break
                runs.append(earlier)
            return runs[::-1]


def _misfires_to_skip(job: DueJob, first: datetime, until: datetime) -> list[Skip]:
    """Single rows for a few of them, one range row for many."""
    instants = fires_between(job.schedule, first - _TICK, until, MOST_SINGLE_SKIPS + 1)
    if len(instants) <= MOST_SINGLE_SKIPS:
        return [Skip(instant, None, Reason.MISFIRE) for instant in instants]
    end = last_fire(job.schedule, first, until)
    return [Skip(first, None, Reason.MISFIRE, until=end)]


def _chained(
    job: DueJob, runs: Sequence[datetime], skips: Sequence[Skip], unfinished: bool
) -> tuple[Firing | Skip, ...]:
    """Rows in order of time, each naming the instant before it; overlap decided for each run in turn."""
    rows: list[Firing | Skip] = []
    previous = job.last_fire_time
    for skip in skips:
        rows.append(Skip(skip.scheduled_time, previous, skip.reason, skip.until, skip.count))
        previous = _end(skip)
    for instant in runs:
        if job.overlap_policy is OverlapPolicy.SKIP and unfinished:
            rows.append(Skip(instant, previous, Reason.OVERLAP))
        else:
            rows.append(Firing(instant, previous, jitter(job.id, instant, job.jitter_seconds)))
            unfinished = True
        previous = instant
    return tuple(rows)


def _end(row: Firing | Skip) -> datetime:
    """The last instant that a row covers."""
    return (row.until if isinstance(row, Skip) else None) or row.scheduled_time
