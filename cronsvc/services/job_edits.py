"""The steps of an edit, each inside a transaction that somebody else began.

An edit moves no instant by accident: a cursor is recomputed only when the schedule changed, strictly after the
database's now, and never at or before the last recorded instant. What a pause held back is written down before the
cursor passes it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from cronsvc.domain.execution import Reason
from cronsvc.domain.job import Job, JobDefinition
from cronsvc.domain.schedule import ScheduleError, instants_between, last_instant, next_instant, tzdata_version
from cronsvc.errors import Conflict, FieldError
from cronsvc.executors.base import Executor
from cronsvc.services.job_limits import JobLimits
from cronsvc.services.job_validation import checked, names_instants
from cronsvc.services.secret_validation import definition_faults
from cronsvc.services.upstreams import with_upstreams
from cronsvc.store import clock, executions, jobs, partitions
from cronsvc.store.jobs import Cursor, JobState
from cronsvc.store.pool import Conn

# Beyond this a skipped stretch is not counted: a year of an every-second job has thirty million instants.
MOST_COUNTED = 10_000

_INSTANT = timedelta(microseconds=1)


async def create(conn: Conn, definition: JobDefinition, *, now: datetime, limits: JobLimits | None = None) -> Job:
    """Write a checked definition as a new job; Conflict: a live job has its name, or the namespace is full."""
    limits = limits or JobLimits()
    limits.check_interval(definition.schedule, now)
    definition = await with_upstreams(conn, definition)
    await jobs.ensure_queue(conn, definition.queue)
    cursor = cursor_after(definition, now, fire_count=0)
    for _ in range(3):
        job = await jobs.insert(conn, definition, cursor=cursor)
        if job is not None:
            await limits.check_room(conn, definition.namespace)
            return job
        taken = await jobs.id_of(conn, namespace=definition.namespace, name=definition.name)
        if taken is not None:
            raise Conflict(jobs.name_taken(definition, taken))
        # The owner of the name was deleted between the two statements: the name is free now.
    raise Conflict(jobs.name_taken(definition))


async def redefine(
    conn: Conn,
    locked: JobState,
    definition: JobDefinition,
    executors: Mapping[str, Executor],
    slow: Sequence[FieldError] = (),
    limits: JobLimits | None = None,
) -> Job:
    """Give a locked job another definition; the same one changes nothing. InvalidInput, Conflict as for a new job.

    `slow` is what `slow_checks` found.
    """
    job, stored = locked.job, locked.job.definition
    trusted = locked.readable and job.quarantine_reason is None
    now = await clock.now(conn)
    more = [*await definition_faults(conn, definition, executors, stored=stored), *slow]
    needs_schedule = definition.depends_on is None and stored.depends_on is not None
    as_stored = stored.schedule if trusted and (names_instants(definition.schedule) or not needs_schedule) else None
    wanted = checked(definition, executors, now=now, stored=as_stored, more=more)
    limits = limits or JobLimits()
    if wanted.schedule != stored.schedule:
        limits.check_interval(wanted.schedule, now)
    wanted = await with_upstreams(conn, wanted)
    if trusted and _same(wanted, stored):
        return job
    if (wanted.namespace, wanted.name) != (stored.namespace, stored.name):
        taken = await jobs.id_of(conn, namespace=wanted.namespace, name=wanted.name)
        if taken is not None and taken != job.id:
            raise Conflict(jobs.name_taken(wanted, taken))
    await jobs.ensure_queue(conn, wanted.queue)
    locked = await account_for_pause(conn, locked, now=now)
    cursor = None
    if _moves_instants(stored, wanted):
        # From where the transaction began, not from now: an instant that came after what was due had been settled would
        # belong to neither definition.
        begun, last = await clock.began(conn), locked.job.last_fire_time
        cursor = cursor_after(wanted, begun if last is None else max(begun, last), fire_count=job.fire_count)
    changed = await jobs.update(conn, job.id, wanted, revision=job.revision, cursor=cursor)
    assert changed is not None  # the row is locked at this revision
    if wanted.namespace != stored.namespace:
        await limits.check_room(conn, wanted.namespace)
    return changed


async def account_for_pause(conn: Conn, locked: JobState, *, now: datetime) -> JobState:
    """Record in one SKIPPED row the instants up to `now` that the pause of a locked job held back, and pass them."""
    if locked.job.pause is None:
        return locked
    return await pass_over(conn, locked, now=now, reason=Reason.PAUSED)


async def pass_over(conn: Conn, locked: JobState, *, now: datetime, reason: Reason) -> JobState:
    """Record in one SKIPPED row what a locked job owes up to `now`, and move its cursor behind it."""
    job = locked.job
    if not job.definition.is_active or job.quarantine_reason is not None:
        return locked
    schedule = job.definition.schedule
    try:
        first = first_ahead(locked)
        if first is None or first > now:
            return locked
        last = last_instant(schedule, first, now) or first
        held = instants_between(schedule, first - _INSTANT, last, MOST_COUNTED + 1)
        cursor = cursor_after(job.definition, last, fire_count=job.fire_count)
    except ScheduleError:
        return locked  # written by SQL and unusable: the next tick, or the edit under way, deals with it
    await partitions.ensure(conn, {partitions.week_of(first)})
    count = len(held) if len(held) <= MOST_COUNTED else None
    await executions.insert_skipped(conn, job, reason=reason, first=first, last=last, count=count)
    await jobs.advance(conn, job.id, revision=job.revision, cursor=cursor, last_fire_time=last)
    passed = replace(job, next_fire_time=cursor.next_fire_time, last_fire_time=last)
    return JobState(passed, armed=True, readable=locked.readable)


async def resume(conn: Conn, locked: JobState, *, now: datetime, catch_up: bool = False) -> Job:
    """End the pause of a locked job, its skipped instants recorded and its cursor after `now`.

    With `catch_up` both stay as they are: those instants are due, and a tick decides about them.
    """
    if not catch_up:
        await account_for_pause(conn, locked, now=now)
    resumed = await jobs.resume(conn, locked.job.id)
    assert resumed is not None  # the row is locked and paused
    return resumed


def cursor_after(definition: JobDefinition, after: datetime, *, fire_count: int) -> Cursor:
    """The first instant strictly later than `after` to account for, unless the job has run as often as it may."""
    done = definition.max_runs is not None and fire_count >= definition.max_runs
    return Cursor(None if done else next_instant(definition.schedule, after), tzdata_version())


def first_ahead(state: JobState) -> datetime | None:
    """The first instant of a job that has no row yet; None when there is none. ScheduleError: an unusable schedule."""
    job = state.job
    counts_from = job.next_fire_time
    behind = job.last_fire_time is not None and counts_from is not None and counts_from <= job.last_fire_time
    if counts_from is None or (state.armed and not behind):
        return counts_from
    if job.last_fire_time is not None:
        counts_from = max(counts_from, job.last_fire_time)
    return cursor_after(job.definition, counts_from, fire_count=job.fire_count).next_fire_time


def _moves_instants(stored: JobDefinition, wanted: JobDefinition) -> bool:
    """Whether the change is one of those that the table's trigger, too, takes as a change of when the job runs."""
    return (
        wanted.schedule != stored.schedule
        or (wanted.schedule.calendar is not None and wanted.namespace != stored.namespace)
        or wanted.max_runs != stored.max_runs
        or (wanted.is_active and not stored.is_active)
    )


def _same(one: JobDefinition, other: JobDefinition) -> bool:
    """Equal, and equal as JSON too: Python takes 1 and true for the same."""
    return one == other and json.dumps(dict(one.task_payload.config), sort_keys=True) == json.dumps(
        dict(other.task_payload.config), sort_keys=True
    )
