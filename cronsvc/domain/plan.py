"""What one tick records for one job: pure, and the same however often it is interrupted.

An instant is *due* when the database clock has reached it. Less than the grace late, it fires; later, it is a misfire
and the policy decides. Every due instant ends up in the plan as a Firing or inside a Skip, in order, so a row can be
written for each of them and the ledger has no holes. Planning [a, c) gives the same rows as planning [a, b) and then
[b, c) with the same `now`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cronsvc.domain.execution import Reason
from cronsvc.domain.job import MisfirePolicy, OverlapPolicy
from cronsvc.domain.maintenance import During, Opening, governing
from cronsvc.domain.schedule import (
    Schedule,
    fires_between,
    instants_between,
    jitter,
    last_fire,
    last_instant,
    moved_to,
    next_fire,
    next_instant,
)

# More misfires than this are recorded as one range row, whose count is left open: a herd of jobs that wakes after a
# long outage must fit into one transaction.
MOST_SINGLE_SKIPS = 50

# What one job may fire in one tick; the rest is due at once in the next.
MOST_FIRINGS = 1000

_TICK = timedelta(microseconds=1)

_NO_DELAY = timedelta(0)

REPLACING = frozenset({OverlapPolicy.CANCEL_OTHER, OverlapPolicy.TERMINATE_OTHER})


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
    namespace: str = "default"
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What a job still has to do when it is planned: executions that run, that wait, that overlap or a window holds."""

    running: bool = False
    queued: bool = False
    held: bool = False

    @property
    def any(self) -> bool:
        return self.running or self.queued or self.held


NOTHING = Unfinished()


@dataclass(frozen=True, slots=True)
class Firing:
    """Run at `scheduled_time`; not before `delay` after it, and if `held` not before what is unfinished has ended.

    `previous` is the instant recorded before this one. With `window` it is held until `release_at`, and if `alone` what
    that window holds of the job already makes room for it.
    """

    scheduled_time: datetime
    previous: datetime | None
    delay: timedelta
    held: bool = False
    window: int | None = None
    release_at: datetime | None = None
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """Record that `scheduled_time` does not run; with `until`, that none up to there does (`count` None: many).

    `detail` says which calendar or window it was. `moved_to`: where the calendar moved it.
    """

    scheduled_time: datetime
    previous: datetime | None
    reason: Reason
    until: datetime | None = None
    count: int | None = None
    detail: Mapping[str, object] | None = None
    moved_to: datetime | None = None
    window: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Rows to write, and the job's cursor after them. `next_fire_time` is None when the schedule has ended.

    `replaces`: what the job has unfinished makes room for the run in `rows`.
    """

    rows: tuple[Firing | Skip, ...]
    next_fire_time: datetime | None
    last_fire_time: datetime | None
    fires: int
    replaces: bool = False


def plan(job: DueJob, now: datetime, *, unfinished: Unfinished = NOTHING, openings: Sequence[Opening] = ()) -> Plan:
    """Plan every instant of `job` that is due at `now` (the database clock); raises ScheduleError for a bad definition.

    `unfinished` is what earlier executions of the job are at; only overlap policies ask. `openings` are those of the
    maintenance windows that concern the job.
    """
    cursor = _armed_cursor(job)
    if cursor is None or cursor > now:
        return Plan((), cursor, job.last_fire_time, 0)
    runs, skips, upcoming = _due(job, cursor, now)
    budget_ends = False
    if job.max_runs is not None:
        remaining = max(0, job.max_runs - job.fire_count)
        if len(runs) >= remaining:
            # The budget ends here: instants after its last run are not due by the definition.
            runs, upcoming, budget_ends = runs[:remaining], None, True
            skips = [skip for skip in skips if runs and skip.scheduled_time < runs[-1]]
    if job.schedule.calendar is not None:
        complete = not budget_ends and (upcoming is None or upcoming > now)
        reach = now if complete else (runs[-1] if runs else cursor - _TICK)
        skips = [*skips, *_closed(job, cursor, reach, runs, skips)]
        upcoming = None if budget_ends else next_instant(job.schedule, reach)
    rows = chained(job, runs, skips, unfinished, openings, now)
    fires = sum(isinstance(row, Firing) for row in rows)
    last = _end(rows[-1]) if rows else job.last_fire_time
    return Plan(rows, upcoming, last, fires, replaces_others(job, rows, unfinished))


def replaces_others(job: DueJob, rows: Sequence[Firing | Skip], unfinished: Unfinished) -> bool:
    """Whether what is unfinished has to make room for a run among these rows."""
    begins = any(isinstance(row, Firing) and row.window is None for row in rows)
    return begins and unfinished.any and job.overlap_policy in REPLACING


def _armed_cursor(job: DueJob) -> datetime | None:
    first = job.cursor if job.armed else next_instant(job.schedule, job.cursor)
    if first is not None and job.last_fire_time is not None and first <= job.last_fire_time:
        # Nothing at or before the last recorded instant is ever fired again, whatever an edit, a clock or SQL says.
        first = next_instant(job.schedule, job.last_fire_time)
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


def _closed(
    job: DueJob, cursor: datetime, reach: datetime, runs: Sequence[datetime], skips: Sequence[Skip]
) -> list[Skip]:
    """What the calendar closes from the cursor up to `reach`, except where a range row stands for it already."""
    taken = sorted([*((run, run) for run in runs), *((skip.scheduled_time, _end(skip)) for skip in skips)])
    found: list[Skip] = []
    after = cursor - _TICK
    for first, end in [*taken, (reach + _TICK, reach)]:
        found += _closed_within(job.schedule, after, min(first - _TICK, reach))
        after = end
    return found


def _closed_within(schedule: Schedule, after: datetime, until: datetime) -> list[Skip]:
    """Rows for a stretch in which nothing runs: single ones, or one range row for many."""
    if until <= after:
        return []
    instants = instants_between(schedule, after, until, MOST_SINGLE_SKIPS + 1)
    detail = {"calendar": schedule.calendar, "rule": schedule.calendar_rule.value}
    if len(instants) > MOST_SINGLE_SKIPS:
        end = last_instant(schedule, instants[0], until)
        return [Skip(instants[0], None, Reason.CALENDAR, until=end, detail=detail)]
    return [Skip(each, None, Reason.CALENDAR, detail=detail, moved_to=moved_to(schedule, each)) for each in instants]


def chained(
    job: DueJob,
    runs: Sequence[datetime],
    skips: Sequence[Skip],
    unfinished: Unfinished,
    openings: Sequence[Opening],
    now: datetime,
) -> tuple[Firing | Skip, ...]:
    """Rows in order of time, each naming the instant before it; window and overlap decided for each run in turn."""
    rows: list[Firing | Skip] = []
    previous = job.last_fire_time
    busy, held = unfinished.any, unfinished.held
    by_time: dict[datetime, Skip | None] = dict.fromkeys(runs) | {skip.scheduled_time: skip for skip in skips}
    for instant in sorted(by_time):
        skip = by_time[instant]
        if skip is not None:
            rows.append(replace(skip, previous=previous))
        else:
            others = (busy, held, unfinished.running)
            row = _decided(job, instant, previous, runs[-1], others, openings, now)
            if isinstance(row, Firing):
                busy, held = True, held or row.held or row.window is not None
            rows.append(row)
        previous = _end(rows[-1])
    return tuple(rows)


def _decided(
    job: DueJob,
    instant: datetime,
    previous: datetime | None,
    last: datetime,
    others: tuple[bool, bool, bool],
    openings: Sequence[Opening],
    now: datetime,
) -> Firing | Skip:
    """What becomes of one due run. `last`: the latest one due; `others`: what is unfinished, waits held, runs."""
    opening = governing(openings, instant, now) if openings else None
    if opening is not None:
        return _in_window(job, instant, previous, last, others, opening)
    busy, held, running = others
    verdict = _overlap(job.overlap_policy, busy=busy, held=held, running=running, last=instant == last)
    if verdict is None:
        return Skip(instant, previous, Reason.OVERLAP)
    return Firing(instant, previous, jitter(job.id, instant, job.jitter_seconds), held=verdict)


def _in_window(
    job: DueJob,
    instant: datetime,
    previous: datetime | None,
    last: datetime,
    others: tuple[bool, bool, bool],
    opening: Opening,
) -> Firing | Skip:
    """A due run inside a maintenance window: skipped, or held and released some time after the end.

    Overlap is decided as far as it can be: what replaces others, and what coalesces, leaves only the latest waiting.
    """
    window = opening.window
    skipped = Skip(
        instant, previous, Reason.MAINTENANCE, detail={"window": window.name, "windowId": window.id}, window=window.id
    )
    if window.during is During.SKIP:
        return skipped
    busy, held, _ = others
    replaces = job.overlap_policy in REPLACING
    if (window.coalesce or replaces) and instant != last:
        return skipped if window.coalesce else Skip(instant, previous, Reason.OVERLAP)
    in_the_way = {OverlapPolicy.SKIP: busy, OverlapPolicy.BUFFER_ONE: held}
    if in_the_way.get(job.overlap_policy, False) and not window.coalesce:
        return Skip(instant, previous, Reason.OVERLAP)
    offset = jitter(job.id, instant, window.spread_seconds)
    return Firing(
        instant,
        previous,
        _NO_DELAY,
        window=window.id,
        release_at=opening.end + offset,
        alone=window.coalesce or replaces,
    )


def _overlap(policy: OverlapPolicy, *, busy: bool, held: bool, running: bool, last: bool) -> bool | None:
    """Whether a due instant is held back; None when it does not run at all.

    `busy`: something of the job is unfinished; `held`: one of that waits already; `running`: one of it runs; `last`:
    this is the latest instant due.
    """
    match policy:
        case OverlapPolicy.ALLOW:
            return False
        case OverlapPolicy.SKIP:
            return None if busy else False
        case OverlapPolicy.BUFFER_ONE:
            return None if held else busy
        case OverlapPolicy.BUFFER_ALL:
            return busy
        case OverlapPolicy.CANCEL_OTHER:
            # The ones between would be replaced before they began; the last waits for the one that is asked to stop.
            return running if last else None
        case OverlapPolicy.TERMINATE_OTHER:
            return False if last else None


def _end(row: Firing | Skip) -> datetime:
    """The last instant that a row covers."""
    return (row.until if isinstance(row, Skip) else None) or row.scheduled_time
