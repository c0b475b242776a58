"""Bringing along what calendars close: schedules come from the database with the name of theirs only."""

from collections.abc import Sequence
from dataclasses import replace

from cronsvc.domain.job import JobDefinition
from cronsvc.domain.plan import DueJob
from cronsvc.store import calendars
from cronsvc.store.pool import Conn


async def with_closed_days(conn: Conn, definition: JobDefinition) -> JobDefinition:
    """The definition with what its calendar closes now; without that, it cannot be asked for instants."""
    schedule = definition.schedule
    if schedule.calendar is None:
        return definition
    key = (definition.namespace, schedule.calendar)
    days = (await calendars.days(conn, [key])).get(key)
    return replace(definition, schedule=replace(schedule, closed_days=days))


async def due_with_closed_days(conn: Conn, jobs: Sequence[DueJob]) -> list[DueJob]:
    """`with_closed_days` for locked jobs, in one statement; none for jobs without calendars.

    Asked after the jobs are locked: a change of a calendar touches its jobs, so what is read here is what they follow.
    """
    wanted = {(job.namespace, job.schedule.calendar) for job in jobs if job.schedule.calendar is not None}
    if not wanted:
        return list(jobs)
    days = await calendars.days(conn, sorted(wanted))
    return [
        job
        if job.schedule.calendar is None
        else replace(job, schedule=replace(job.schedule, closed_days=days.get((job.namespace, job.schedule.calendar))))
        for job in jobs
    ]
