"""An edit tried out: what it would do to the fires of the next 30 days, and nothing written.

The edit itself runs, with every check that a real one meets, and is rolled back: so it is refused here exactly where it
would be refused there. Instants are worked out afterwards, when the job is no longer locked.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn

from cronsvc.domain.fire_diff import ClockChange, FireDiff, clock_changes, fire_diff
from cronsvc.domain.job import Job, JobDefinition
from cronsvc.domain.schedule import ScheduleError, describe, fires_between
from cronsvc.services import job_edits
from cronsvc.services.callers import Caller
from cronsvc.services.jobs import Jobs
from cronsvc.store.jobs import JobState

HORIZON = timedelta(days=30)
# Of each definition: a job of every minute has 43,200 in that time, one of every second reaches this in 14 hours.
MOST_FIRES = 50_000

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What an edit would do. Fires are compared up to `until`; `is_whole`: that is the 30 days, no limit cut it short.

    `owed`: so many runs are due by the definition as it is, and would be on their way at once, before the edit counts.
    """

    job: Job
    changes: bool
    since: datetime
    until: datetime
    is_whole: bool
    diff: FireDiff
    clock_changes: tuple[ClockChange, ...]
    owed: int
    description: str


class _Seen(Exception):
    """No error: it carries what was seen out of a transaction that is rolled back."""

    def __init__(self, before: JobState, after: Job, owed: int, now: datetime) -> None:
        super().__init__()
        self.before, self.after, self.owed, self.now = before, after, owed, now


class Rehearsals:
    """Edits tried out by one process: comparing takes up to a second of work, so it is done for one after the other."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._comparing = asyncio.Semaphore(1)

    async def rehearse(
        self,
        job_id: int,
        change: Callable[[JobDefinition], JobDefinition],
        caller: Caller,
        *,
        if_revision: int | None = None,
    ) -> Rehearsal:
        """What `Jobs.edit` would do; raises what it would raise."""
        try:
            await self._jobs.edit(job_id, change, caller, if_revision=if_revision, rehearsal=_see)
        except _Seen as seen:
            async with self._comparing:
                return await asyncio.to_thread(_compared, seen)
        raise RuntimeError("an edit that was to be tried out has been made")


def _see(before: JobState, after: Job, owed: int, now: datetime) -> NoReturn:
    raise _Seen(before, after, owed, now)


def _compared(seen: _Seen) -> Rehearsal:
    now, until = seen.now, seen.now + HORIZON
    after = JobState(seen.after, armed=True, readable=True)
    old, new = (_fires(state, now, until) for state in (seen.before, after))
    whole = True
    for fires in (old, new):
        if len(fires) > MOST_FIRES:
            until, whole = min(until, fires[MOST_FIRES - 1]), False
    schedule = seen.after.definition.schedule
    return Rehearsal(
        job=seen.after,
        changes=seen.after.revision != seen.before.job.revision,
        since=now,
        until=until,
        is_whole=whole,
        diff=fire_diff([t for t in old if t <= until], [t for t in new if t <= until]),
        clock_changes=tuple(clock_changes(schedule, now, until)) if new else (),
        owed=seen.owed,
        description=describe(schedule),
    )


def _fires(state: JobState, now: datetime, until: datetime) -> list[datetime]:
    """The instants up to `until` that will fire; one more than MOST_FIRES says that there are more."""
    job = state.job
    definition = job.definition
    limit = MOST_FIRES + 1
    if definition.max_runs is not None:
        limit = min(limit, definition.max_runs - job.fire_count)
    held = job.pause is not None and job.pause.until is None
    if not definition.is_active or job.quarantine_reason is not None or held or limit <= 0:
        return []
    try:
        if job.pause is not None and job.pause.until is not None:
            return fires_between(definition.schedule, max(now, job.pause.until), until, limit)
        first = job_edits.first_ahead(state)
        return [] if first is None else fires_between(definition.schedule, first - _INSTANT, until, limit)
    except ScheduleError:
        return []  # written by SQL and unusable; what is tried out may put it right
