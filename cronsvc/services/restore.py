"""A restored or cloned database, as people see it: why nothing is sent, what would fire, and the word to go on.

Promises: looking changes nothing. A confirmation is audited with its caller. With `resume` the database is believed as
it is: overdue instants go by the misfire policies, what was QUEUED is dispatched, what was RUNNING is rescued. With
`skip` none of that runs: instants up to now become SKIPPED rows and QUEUED ones CANCELLED (both `restore`), and neither
starts dependents; what was RUNNING gets no further attempt, backfills are paused. The fence stands until that is done.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cronsvc.domain.execution import Reason
from cronsvc.domain.fence import FenceReason, Finding, Identity, Judgement, judge
from cronsvc.domain.job import MisfirePolicy
from cronsvc.domain.plan import NOTHING, DueJob, Firing, Skip, plan
from cronsvc.errors import Conflict, Forbidden
from cronsvc.services import job_edits
from cronsvc.services.backfills import Backfills
from cronsvc.services.callers import Caller, within
from cronsvc.services.closed_days import due_with_closed_days
from cronsvc.services.fence import ENTITY, refusal
from cronsvc.store import audit, clock, identity, jobs, maintenance, restores, ticks
from cronsvc.store.pool import Conn, Database
from cronsvc.store.running import wake_schedulers

MOST_JOBS = 20
MOST_INSTANTS = 5
BATCH = 200


class ReleaseMode(StrEnum):
    RESUME = "resume"  # believe the database: go on from where it is
    SKIP = "skip"  # run nothing that it owes


@dataclass(frozen=True, slots=True)
class OwingJob:
    """A job with overdue instants, and what its policies make of them on release. `runs` are the first few."""

    id: int
    name: str
    namespace: str
    misfire_policy: MisfirePolicy
    overdue_since: datetime
    fires: int
    skipped_rows: int
    runs: tuple[datetime, ...]
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class RestoreState:
    """Whether it is fenced and why, and what would fire. Counts end at 100,000; `jobs` are the longest overdue.

    `identity` None: no service has started here. `waiting_for_look`: the server started and nobody has looked yet.
    """

    now: datetime
    identity: Identity | None
    fenced: bool
    waiting_for_look: bool
    reason: FenceReason | None
    detail: str | None
    overdue_jobs: int
    queued: int
    running: int
    backfills: int
    jobs: tuple[OwingJob, ...]


@dataclass(frozen=True, slots=True)
class Released:
    """What a confirmation did; all zero with `resume`."""

    mode: ReleaseMode
    jobs_passed: int = 0
    cancelled: int = 0
    given_up: int = 0
    backfills_paused: int = 0


class Restore:
    """The fence of one database, for people. `installation`: the name that a confirmation from here gives to it."""

    def __init__(self, db: Database, backfills: Backfills, *, installation: str | None = None) -> None:
        self._db = db
        self._backfills = backfills
        self._installation = installation

    async def check_installation(self) -> None:
        """ConfigError: the database is open, and belongs to an installation of another name."""
        async with self._db.statements() as conn:
            if self._is_misnamed(await identity.installation(conn)) and not await identity.fenced(conn):
                found = await identity.read(conn)
                judged = None if found is None else self._judge(found)
                if judged is not None and judged.finding is Finding.NOT_OURS:
                    raise refusal(judged.detail)

    async def state(self, caller: Caller) -> RestoreState:
        """Why and since when, and what of the caller's namespaces would fire on release."""
        async with self._db.statements() as conn:
            now = await clock.now(conn)
            found = await identity.read(conn)
            holds = await identity.fenced(conn)
            judged = None if found is None else self._judge(found)
            is_other = judged is not None and judged.finding is Finding.OTHER
            owed = await restores.owed(conn, now=now, namespaces=caller.namespaces)
            overdue = await restores.overdue(conn, now=now, namespaces=caller.namespaces, limit=MOST_JOBS)
            return RestoreState(
                now=now,
                identity=found,
                fenced=is_other or holds,
                waiting_for_look=holds and not is_other,
                reason=judged.reason if is_other and judged is not None else None,
                detail=judged.detail if is_other and judged is not None else None,
                overdue_jobs=owed.jobs,
                queued=owed.queued,
                running=owed.running,
                backfills=owed.backfills,
                jobs=await _owing(conn, overdue, now),
            )

    async def confirm(self, mode: ReleaseMode, caller: Caller) -> Released:
        """Go on in this database. Forbidden: a caller of some namespaces only.

        Conflict: it is not fenced; or, with `skip`, nobody has compared it yet: it may well be the one it was.
        """
        if caller.namespaces is not None:
            raise Forbidden("the fence holds for every namespace: only a key that is bound to none may open it")
        async with self._db.statements() as conn:
            now = await clock.now(conn)
            if mode is ReleaseMode.SKIP:
                await self._require_other(conn)
            elif not await self._may_resume(conn):
                raise _not_fenced()
        released = Released(mode) if mode is ReleaseMode.RESUME else await self._skip(caller, until=now)
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            await identity.lock(conn)
            if not await self._may_resume(conn):  # somebody else was faster
                raise _not_fenced()
            before = await identity.read(conn)
            await identity.release(conn, by=caller.actor, mode=mode.value, installation=self._installation)
            await audit.append(
                conn,
                action="confirm",
                entity=ENTITY,
                entity_id="restore",
                before=None if before is None else {"reason": before.reason, "detail": before.detail},
                after={
                    "mode": mode.value,
                    "jobsPassed": released.jobs_passed,
                    "cancelled": released.cancelled,
                    "givenUp": released.given_up,
                    "backfillsPaused": released.backfills_paused,
                },
            )
            await wake_schedulers(conn)
        return released

    async def _skip(self, caller: Caller, *, until: datetime) -> Released:
        """Settle what the database owes without running it; in small transactions, and again from anywhere.

        Each asks again: after a confirmation of somebody else's nothing that runs again may be cancelled.
        """
        with within(caller):
            passed, after_id = 0, 0
            while True:
                async with self._settling(caller) as conn:
                    found = await identity.overdue_ids(conn, until=until, after_id=after_id, batch=BATCH)
                    for job_id in found:
                        locked = await jobs.lock(conn, job_id)
                        if locked is not None:
                            await job_edits.pass_over(conn, locked, now=until, reason=Reason.RESTORE)
                if not found:
                    break
                passed, after_id = passed + len(found), found[-1]
            paused = 0
            async with self._db.statements() as conn:
                unfinished = await restores.running_backfills(conn)
            for backfill_id in unfinished:
                async with self._db.statements() as conn:
                    await self._require_other(conn)
                await self._backfills.pause(backfill_id, caller)
                paused += 1
            cancelled = 0
            while True:
                async with self._settling(caller) as conn:
                    rows = await identity.cancel_waiting(conn, until=until, batch=1000)
                cancelled += rows
                if rows == 0:
                    break
            async with self._settling(caller) as conn:
                given_up = await identity.spend_budgets(conn)
        return Released(ReleaseMode.SKIP, passed, cancelled, given_up, paused)

    @asynccontextmanager
    async def _settling(self, caller: Caller) -> AsyncIterator[Conn]:
        """A transaction in which the fence stays up. Conflict: it is not up any more."""
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            await identity.lock(conn)
            await self._require_other(conn)
            yield conn

    async def _require_other(self, conn: Conn) -> None:
        """Conflict unless the database is known to be another one, or an older state."""
        found = await identity.read(conn)
        if found is not None and self._judge(found).finding is Finding.OTHER:
            return
        if await identity.fenced(conn):
            raise Conflict(
                "checking: Postgres was started and no scheduler or worker has compared it with what Redis remembers;"
                " nothing is sent meanwhile, and nothing was skipped: ask again when they have"
            )
        raise _not_fenced()

    async def _may_resume(self, conn: Conn) -> bool:
        """Whether it is fenced, or open under another name than ours: then a confirmation renames it."""
        return await identity.fenced(conn) or self._is_misnamed(await identity.installation(conn))

    def _judge(self, found: Identity) -> Judgement:
        """As far as the database can tell by itself: what Redis remembers, the processes write down."""
        return judge(found, {}, asked_redis=False, installation=self._installation)

    def _is_misnamed(self, noted: str | None) -> bool:
        return None not in (noted, self._installation) and noted != self._installation


async def _owing(conn: Conn, overdue: Sequence[tuple[DueJob, str]], now: datetime) -> tuple[OwingJob, ...]:
    """What the next tick would make of these, planned as it would and written nowhere."""
    if not overdue:
        return ()
    due = await due_with_closed_days(conn, [job for job, _ in overdue])
    since = min(job.cursor for job in due)
    windows = await maintenance.standing(conn, since=since, until=now)
    openings = [opening for window in windows for opening in window.openings(since, now)]
    unfinished = await ticks.unfinished_jobs(conn, [job.id for job in due])
    owing = []
    for job, (_, name) in zip(due, overdue, strict=True):
        concerned = [each for each in openings if each.window.selector.matches(job.namespace, job.tags, job.queue)]
        rows: tuple[Firing | Skip, ...] = ()
        problem = None
        try:
            rows = plan(job, now, unfinished=unfinished.get(job.id, NOTHING), openings=concerned).rows
        except (ValueError, ArithmeticError) as error:
            problem = str(error)[:500]
        runs = tuple(row.scheduled_time for row in rows if isinstance(row, Firing))
        owing.append(
            OwingJob(
                id=job.id,
                name=name,
                namespace=job.namespace,
                misfire_policy=job.misfire_policy,
                overdue_since=job.cursor,
                fires=len(runs),
                skipped_rows=len(rows) - len(runs),
                runs=runs[:MOST_INSTANTS],
                problem=problem,
            )
        )
    return tuple(owing)


def _not_fenced() -> Conflict:
    return Conflict("nothing is fenced: this database is the one it was")
