"""Pause or resume everything, or the jobs that a selector names, within the caller's namespaces.

Promises: the work goes in batches of at most 500 jobs, each a transaction that is audited job by job; an interruption
leaves the batches before it done, and asking again does the rest and nothing twice. What was due before a job's pause
is recorded first, as for a single job. A job that somebody had paused keeps that pause, its note and its end; a
resume ends every pause that matches, whoever began it, and what each held back becomes one SKIPPED row of its job.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime

from cronsvc.domain.execution import Ticket
from cronsvc.errors import FieldError, InvalidInput
from cronsvc.services import job_edits
from cronsvc.services.access import Caller
from cronsvc.services.dispatch import Dispatcher
from cronsvc.services.job_validation import check_filter, check_note
from cronsvc.services.pausing import check_until
from cronsvc.services.scheduling import settle
from cronsvc.store import clock, job_batches, jobs
from cronsvc.store.job_batches import Chosen
from cronsvc.store.pool import Database

PAUSE_BATCH = 500
RESUME_BATCH = 100  # each of them is planned in Python while the batch is locked
MOST_IDS = 10_000
MISREAD = "is empty, which could be read as none or as all; leave it out for all"
_GREATEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class JobSelector:
    """Which jobs: those that match everything that is given; all of the tags, any of the ids. Nothing given: all."""

    tags: tuple[str, ...] | None = None
    namespace: str | None = None
    group: str | None = None
    queue: str | None = None
    name_prefix: str | None = None
    job_ids: tuple[int, ...] | None = None


EVERYTHING = JobSelector()


@dataclass(frozen=True, slots=True)
class BulkChange:
    """How many jobs a selector matched, and how many of them changed."""

    matched: int
    changed: int


@dataclass(slots=True)
class _Batch:
    """One batch: every job that matched, and those whose state is not yet what is wanted."""

    matched: int
    ids: list[int] = field(default_factory=list)


class BulkPausing:
    """Pauses of many jobs of one database, for one process."""

    def __init__(self, db: Database, dispatcher: Dispatcher) -> None:
        self._db = db
        self._dispatcher = dispatcher

    async def pause(
        self, selector: JobSelector, caller: Caller, *, note: str | None = None, until: datetime | None = None
    ) -> BulkChange:
        """Hold back every chosen job that is not paused, for good or `until` an instant ahead."""
        check_note(note)
        chosen = chosen_by(selector, caller)
        async with self._db.statements() as conn:
            check_until(until, await clock.now(conn))
        matched = changed = 0
        async for batch in self._batches(chosen, paused=False, size=PAUSE_BATCH):
            matched += batch.matched
            if not batch.ids:
                continue
            tickets: list[Ticket] = []
            async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
                locked = await job_batches.lock_unpaused(conn, batch.ids)
                for job_id in [job_id for job_id, may_be_due in locked.items() if may_be_due]:
                    tickets += await settle(conn, job_id, self._dispatcher)
                changed += await job_batches.pause(conn, list(locked), by=caller.actor, note=note, until=until)
            await self._dispatcher.push(tickets)
        return BulkChange(matched, changed)

    async def resume(self, selector: JobSelector, caller: Caller) -> BulkChange:
        """End the pause of every chosen job that is paused."""
        chosen = chosen_by(selector, caller)
        matched = changed = 0
        async for batch in self._batches(chosen, paused=True, size=RESUME_BATCH):
            matched += batch.matched
            if not batch.ids:
                continue
            async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
                for job_id in batch.ids:
                    locked = await jobs.lock(conn, job_id)
                    if locked is not None and locked.job.pause is not None:
                        await job_edits.resume(conn, locked, now=await clock.now(conn))
                        changed += 1
        return BulkChange(matched, changed)

    async def _batches(self, chosen: Chosen | None, *, paused: bool, size: int) -> AsyncIterator[_Batch]:
        """The chosen jobs in order of id; each batch is read after the one before it was dealt with."""
        after_id = 0
        while chosen is not None:
            async with self._db.statements() as conn:
                found = await job_batches.batch(conn, chosen, after_id=after_id, limit=size)
            if found:
                yield _Batch(len(found), [job_id for job_id, is_paused in found if is_paused is paused])
                after_id = found[-1][0]
            if len(found) < size:
                return


def chosen_by(selector: JobSelector, caller: Caller) -> Chosen | None:
    """What to look for; None when the caller sees nothing of it. InvalidInput names every bad member."""
    bad = [
        FieldError(name, MISREAD)
        for name, value in (("tags", selector.tags), ("jobIds", selector.job_ids), ("namePrefix", selector.name_prefix))
        if value is not None and not value
    ]
    if selector.job_ids is not None and len(selector.job_ids) > MOST_IDS:
        bad.append(FieldError("jobIds", f"has more than {MOST_IDS} ids; send them in parts"))
    if bad:
        raise InvalidInput(bad)
    texts = [("namespace", selector.namespace), ("group", selector.group), ("queue", selector.queue)]
    texts.append(("namePrefix", selector.name_prefix))
    for name, text in [*texts, *(("tags", tag) for tag in selector.tags or ())]:
        check_filter(name, text)
    namespaces = caller.namespaces
    if selector.namespace is not None:
        if not caller.sees(selector.namespace):
            return None
        namespaces = (selector.namespace,)
    job_ids = selector.job_ids
    if job_ids is not None:
        job_ids = tuple(job_id for job_id in job_ids if 0 < job_id <= _GREATEST_ID)
    return Chosen(namespaces, selector.tags, selector.group, selector.queue, selector.name_prefix, job_ids)
