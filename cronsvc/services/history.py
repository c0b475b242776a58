"""The past of jobs: what it adds up to, and clearing it away by hand.

A clean-up works in small transactions, each audited with its caller and counted in the statistics; it is bounded, and
says when more is left. A caller with namespaces clears those and no others.
"""

import asyncio
from dataclasses import dataclass
from datetime import date, timedelta

from cronsvc.errors import InvalidInput, NotFound
from cronsvc.services.access import Caller
from cronsvc.store import audit, clock, jobs, pruning, statistics
from cronsvc.store.pool import Database
from cronsvc.store.statistics import DayStatistics

GREATEST_ID = 2**63 - 1
LONGEST_GRACE_HOURS = 87_600  # ten years
MOST_DAYS = 366
USUAL_DAYS = timedelta(days=29)  # and the last one

_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Cleanup:
    """What a clean-up did: how many executions it deleted, and whether it stopped before the last one."""

    deleted: int
    more: bool


class History:
    """The history of one database."""

    def __init__(self, db: Database, *, most_batches: int = 20, seconds: float = 8.0) -> None:
        self._db = db
        self._most_batches = most_batches
        self._seconds = seconds

    async def statistics(
        self, job_id: int, caller: Caller, *, first: date | None = None, last: date | None = None
    ) -> tuple[date, date, list[DayStatistics]]:
        """Each day's ended executions of a job, live or deleted, by trigger; with the first and last day looked at.

        Both days are included and in UTC; the last 30 unless said. NotFound as for the job; InvalidInput: no range.
        """
        async with self._db.statements() as conn:
            namespace = await jobs.namespace_of(conn, job_id) if 0 < job_id <= GREATEST_ID else None
            if namespace is None or not caller.sees(namespace):
                raise NotFound(f"there is no job {job_id}")
            if last is None:
                last = (await clock.now(conn)).date() if first is None else first + USUAL_DAYS
            if first is None:
                first = last - USUAL_DAYS
            if first > last:
                raise InvalidInput.of("from", f"{first} lies after {last}")
            if (last - first).days >= MOST_DAYS:
                raise InvalidInput.of("to", f"at most {MOST_DAYS} days are told at once")
            return first, last, await statistics.of_job(conn, job_id, first=first, last=last)

    async def clean_up(self, caller: Caller, *, grace_period_hours: int = 24) -> Cleanup:
        """Delete the executions that were due and had ended before the grace period, but for each job's latest instant.

        InvalidInput: no such period.
        """
        if not 0 <= grace_period_hours <= LONGEST_GRACE_HOURS:
            reason = f"is {grace_period_hours}; 0 to {LONGEST_GRACE_HOURS} is possible"
            raise InvalidInput.of("gracePeriodHours", reason)
        loop = asyncio.get_running_loop()
        end, deleted, batches = loop.time() + self._seconds, 0, 0
        async with self._db.statements() as conn:
            before = await clock.now(conn) - timedelta(hours=grace_period_hours)
        while batches < self._most_batches and loop.time() < end:
            async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
                await pruning.lock(conn)
                keys = await pruning.ended_before(conn, before, namespaces=caller.namespaces, rows=_BATCH)
                gone = await pruning.forget(conn, keys)
                if gone:
                    namespaces = None if caller.namespaces is None else list(caller.namespaces)
                    told = {"before": before.isoformat(), "deleted": gone, "namespaces": namespaces}
                    await audit.append(
                        conn,
                        action="cleanup",
                        entity="executions",
                        entity_id="ended",
                        namespace=caller.only_namespace,
                        after=told,
                    )
            deleted, batches = deleted + gone, batches + 1
            if len(keys) < _BATCH or not gone:
                return Cleanup(deleted, more=False)
        return Cleanup(deleted, more=True)
