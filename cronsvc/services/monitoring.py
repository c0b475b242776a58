"""What programs that watch ask for, in the measures that queue libraries made usual.

`completed` and `failed` are of the last 24 hours, everything else is of now. Every number is bounded: `complete` is
False when there was too much to count. Queues, workers and schedulers are shown to everybody, counts are of what the
caller may see.
"""

from dataclasses import dataclass

from cronsvc.domain.execution import Status
from cronsvc.services.access import Caller
from cronsvc.services.job_sight import known, visible
from cronsvc.services.status import SCHEDULER_SILENCE
from cronsvc.store import dead_letters, jobs, monitoring, queues, status
from cronsvc.store.edges import Edge
from cronsvc.store.monitoring import Active, Repeating
from cronsvc.store.pool import Database
from cronsvc.store.queues import Queue, QueueLoad

REPEATING_SHOWN = 100
ACTIVE_SHOWN = 50
QUEUES_SHOWN = 200

# The share of failures among what ended within a day from which it is worth a look.
FAILURE_ALARM = 0.1


@dataclass(frozen=True, slots=True)
class Counts:
    """Executions: running and waiting now, ended within 24 hours."""

    active: int
    waiting: int
    completed: int
    failed: int
    complete: bool

    @property
    def failure_rate(self) -> float:
        """Failures among what ended, 0 to 1; 0 when nothing has."""
        ended = self.completed + self.failed
        return self.failed / ended if ended else 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What will fire, what runs, and how much of each; `delayed` (for backoff or jitter) is part of what waits."""

    repeating: tuple[Repeating, ...]
    active: tuple[Active, ...]
    counts: Counts
    delayed: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """`delayed` (for backoff or jitter) is part of `counts.waiting`. `problems` is empty when all is well."""

    counts: Counts
    delayed: int
    dead_letters: int
    average_ms: float | None
    oldest_waiting_seconds: float | None
    workers: int
    schedulers: int
    queues: tuple[tuple[Queue, QueueLoad], ...]
    problems: tuple[str, ...]


class Monitoring:
    """Looks at one database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def snapshot(self, caller: Caller, *, job_id: int | None = None) -> Snapshot:
        """What will fire next, and what runs: of all jobs, or of one. NotFound: there is no such job."""
        within = caller.namespaces
        async with self._db.statements() as conn:
            if job_id is not None:
                visible(await jobs.find(conn, known(job_id)), job_id, caller)
                load = await monitoring.job_load(conn, job_id)
                counts = Counts(load.active, load.waiting, load.completed, load.failed, load.complete)
                delayed = load.delayed
            else:
                unfinished = await status.waiting(conn, namespaces=within)
                counts = _counts(unfinished, await status.recent_counts(conn, namespaces=within))
                delayed = (await monitoring.pace(conn, namespaces=within)).delayed
            found = await monitoring.repeating(conn, namespaces=within, job_id=job_id, limit=REPEATING_SHOWN)
            active = await monitoring.active(conn, namespaces=within, job_id=job_id, limit=ACTIVE_SHOWN)
        return Snapshot(tuple(found), tuple(active), counts, delayed)

    async def metrics(self, caller: Caller) -> Metrics:
        """Numbers for a dashboard, and what is wrong in words."""
        async with self._db.statements() as conn:
            unfinished = await status.waiting(conn, namespaces=caller.namespaces)
            counts = _counts(unfinished, await status.recent_counts(conn, namespaces=caller.namespaces))
            pace = await monitoring.pace(conn, namespaces=caller.namespaces)
            dead = await dead_letters.count(conn, namespaces=caller.namespaces)
            workers = len(await status.live_workers(conn))
            schedulers = len(await status.live_schedulers(conn, silence=SCHEDULER_SILENCE))
            named = await queues.page(conn, edge=Edge(ascending=True), limit=QUEUES_SHOWN)
            loads = await queues.loads(conn, [queue.name for queue in named], namespaces=caller.namespaces)
        return Metrics(
            counts=counts,
            delayed=pace.delayed,
            dead_letters=min(dead, dead_letters.MOST_COUNTED),
            average_ms=pace.average_ms,
            oldest_waiting_seconds=unfinished.oldest_seconds,
            workers=workers,
            schedulers=schedulers,
            queues=tuple((queue, loads[queue.name]) for queue in named),
            problems=_problems(counts, workers, schedulers, [queue.name for queue in named if queue.pause]),
        )


def _counts(unfinished: status.Waiting, recent: status.RecentCounts) -> Counts:
    most = status.MOST_COUNTED
    return Counts(
        active=unfinished.running,
        waiting=unfinished.waiting,
        completed=recent.by_status.get(Status.SUCCESS.value, 0),
        failed=recent.by_status.get(Status.FAILED.value, 0),
        complete=recent.complete and unfinished.waiting < most and unfinished.running < most,
    )


def _problems(counts: Counts, workers: int, schedulers: int, paused: list[str]) -> tuple[str, ...]:
    """What somebody should look at, in words."""
    found: list[str] = []
    if not workers:
        found.append("no worker is alive")
    if not schedulers:
        found.append("no scheduler is alive")
    found += [f"queue {name} is paused" for name in paused]
    if counts.failure_rate > FAILURE_ALARM:
        found.append(f"{counts.failure_rate:.0%} of what ended within 24 hours failed")
    return tuple(found)
