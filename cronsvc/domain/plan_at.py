"""Planning runs that no schedule names: what a dependency brings about, at an instant of its own.

Windows and overlap decide as they do for a tick; the cursor stays where it is and no row joins the chain of instants.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from cronsvc.domain.maintenance import Opening
from cronsvc.domain.plan import DueJob, Plan, Skip, Unfinished, chained, replaces_others


def plan_at(
    job: DueJob,
    runs: Sequence[datetime],
    skips: Sequence[Skip],
    now: datetime,
    *,
    unfinished: Unfinished,
    openings: Sequence[Opening],
) -> Plan:
    """A row for each of these runs and skips, in order of time; `openings` are those that concern the job."""
    rows = tuple(replace(row, previous=None) for row in chained(job, runs, skips, unfinished, openings, now))
    return Plan(rows, job.cursor, job.last_fire_time, len(runs), replaces_others(job, rows, unfinished))


def own_instants(now: datetime, count: int) -> list[datetime]:
    """So many instants from `now` on, a microsecond apart and none a whole second: those belong to schedules."""
    found: list[datetime] = []
    instant = now
    while len(found) < count:
        if instant.microsecond:
            found.append(instant)
        instant += timedelta(microseconds=1)
    return found
