"""Why a job did or did not run at an instant: reads the rows that account for it and lets `domain.explain` conclude.

A dozen look-ups by key at most, whatever the job has behind it. From rows only: what no row remembers (when a job was
quarantined, what a log line said) is not told.
"""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, time

from cronsvc.domain.evidence import Evidence, Explanation, HostHoldFacts, Record
from cronsvc.domain.execution import Reason, Status
from cronsvc.domain.explain import explain
from cronsvc.domain.explain_clock import instant_of_wall
from cronsvc.domain.explain_dependency import UpstreamFacts
from cronsvc.domain.zones import UnknownTimezoneError
from cronsvc.errors import InvalidInput, NotFound
from cronsvc.services.access import Caller
from cronsvc.services.closed_days import with_closed_days
from cronsvc.services.status import SCHEDULER_SILENCE
from cronsvc.store import dependencies, executions, explaining, partitions, target_hosts
from cronsvc.store.explaining import Standing
from cronsvc.store.pool import Conn, Database

GREATEST_ID = 2**63 - 1
FIRST_YEAR, LAST_YEAR = 1900, 9900
MOST_RUNS_COUNTED = 10_000


class Explaining:
    """Explanations of the jobs of one database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def explain(self, job_id: int, caller: Caller, *, at: datetime | None = None) -> Explanation:
        """What became of a job, live or deleted, at an instant; now, unless one is given.

        A naive `at` is a wall time in the time zone of the job, read as its schedule would: a skipped one is the moment
        right after the gap, a repeated one the first. NotFound as for executions; InvalidInput: no year of ours.
        """
        async with self._db.statements() as conn:
            found = await explaining.standing(conn, job_id) if 0 < job_id <= GREATEST_ID else None
            if found is None or not caller.sees(found.job.definition.namespace):
                raise NotFound(f"there is no job {job_id}")
            evidence = await _evidence(conn, found, _instant(found, at))
        # Instants of a rare schedule, or of one whose calendar closes much, take a while; nobody else must wait.
        return await asyncio.to_thread(explain, evidence)


def _instant(found: Standing, at: datetime | None) -> datetime:
    if at is None:
        return found.now
    if not FIRST_YEAR <= at.year < LAST_YEAR:
        raise InvalidInput.of("at", f"lies outside of the years {FIRST_YEAR} to {LAST_YEAR}")
    if at.tzinfo is not None:
        return at.astimezone(UTC)
    try:
        return instant_of_wall(at, found.job.definition.schedule.timezone)
    except UnknownTimezoneError as error:
        raise InvalidInput.of("at", f"has no offset, and the time zone of the job {error}") from None


async def _evidence(conn: Conn, found: Standing, at: datetime) -> Evidence:
    """What is to be known of the instant. The job was read before: see `store.explaining` for why that is the order."""
    job_id = found.job.id
    record = await explaining.record(conn, job_id, at)
    pinned = None if record is None else record.execution.revision
    revisions = {
        which: replace(revised, definition=await with_closed_days(conn, revised.definition))
        for which, revised in (await explaining.revisions(conn, job_id, at, pinned=pinned)).items()
    }
    in_force = revisions.get("in_force")
    evidence = Evidence(
        at=at,
        now=found.now,
        job=found.job,
        armed=found.armed,
        deleted_at=found.deleted_at,
        revision=in_force,
        next_revision=revisions.get("next"),
        record=record,
        record_revision=revisions.get("pinned"),
        pause=await explaining.pause_at(conn, job_id, at),
    )
    return await (_of_absence(conn, found, evidence) if record is None else _of_row(conn, evidence, record))


async def _of_row(conn: Conn, evidence: Evidence, record: Record) -> Evidence:
    """What belongs to a row: its attempts, who ran them, what it waits for."""
    execution = record.execution
    attempts = await executions.attempts(conn, execution.job_id, execution.scheduled_time)
    ids = {id_ for id_ in (execution.worker_id, *(each.worker_id for each in attempts)) if id_ is not None}
    queue, others = None, evidence.others
    if execution.status is Status.QUEUED:
        queue = await explaining.queue(conn, execution.queue)
        if record.held in ("overlap", "limit"):
            others = await explaining.unfinished(conn, execution.job_id, besides=execution.scheduled_time)
    elif execution.status is Status.SKIPPED and execution.status_reason == Reason.OVERLAP:
        others = await explaining.unfinished_then(
            conn, execution.job_id, before=execution.scheduled_time, then=execution.queued_at
        )
    workers = await explaining.workers(conn, ids)
    holds = tuple(
        HostHoldFacts(each.host, each.reason, each.times, each.held_from, each.held_until, each.is_held)
        for each in await target_hosts.holds_of(conn, execution.job_id, execution.scheduled_time)
    )
    return replace(evidence, attempts=attempts, workers=workers, queue=queue, others=others, host_holds=holds)


async def _of_absence(conn: Conn, found: Standing, evidence: Evidence) -> Evidence:
    """What could account for an instant that has no row."""
    job_id, at = found.job.id, evidence.at
    before = await explaining.row_before(conn, job_id, at)
    covered = before is not None and before.skipped_until is not None and before.skipped_until >= at
    weeks = await partitions.present(conn)
    most = None if evidence.revision is None else evidence.revision.definition.max_runs
    due = at <= found.now
    upstreams = [] if found.job.definition.depends_on is None else await dependencies.upstreams(conn, job_id)
    return replace(
        evidence,
        upstreams=tuple(UpstreamFacts(each.job_id, each.job_name, each.ended_at, each.is_met) for each in upstreams),
        cover=before if covered else None,
        row_before=None if before is None else before.scheduled_time,
        named_by=await explaining.named_by(conn, job_id, at) if due else None,
        pruned=await explaining.pruned(conn, job_id, at) if due else None,
        oldest_kept=datetime.combine(min(weeks), time(), UTC) if weeks else None,
        runs_before=None
        if most is None
        else await explaining.runs_before(conn, job_id, at, most=min(most, MOST_RUNS_COUNTED)),
        schedulers=await explaining.schedulers(conn, shard=found.shard, silence=SCHEDULER_SILENCE) if due else None,
    )
