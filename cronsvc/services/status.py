"""How the service is: an overview for people, and readiness for whatever routes requests to this process.

Promises: both answer within seconds whatever is broken, because each server is asked with a deadline of its own;
readiness never raises, it lists what is wrong in words.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from cronsvc.domain.execution import Status
from cronsvc.errors import Unavailable
from cronsvc.services.access import Caller
from cronsvc.services.fence import fence_detail
from cronsvc.store import clock, dead_letters, metrics, migrations, status
from cronsvc.store.pool import Database
from cronsvc.store.status import JobCounts, SchedulerPresence, WorkerPresence

T = TypeVar("T")

READY_SECONDS = 2.0
SCHEDULER_SILENCE = timedelta(seconds=15)


class Pinged(Protocol):
    """What readiness asks of Redis; the queue's Broker is one."""

    async def ping(self) -> float:
        """Seconds for a round trip; Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Overview:
    """One look at everything the caller may see.

    `executions` counts those scheduled in the last 24 hours by status, statuses without any included;
    `executions_complete` is False when there are so many that only the newest 100,000 were counted.
    `oldest_waiting_seconds`: since when the first waiting execution could have run. `dead_letters_complete` is False
    when there are more than `dead_letters`.
    """

    now: datetime
    jobs: JobCounts
    executions: Mapping[str, int]
    executions_complete: bool
    waiting: int
    running: int
    oldest_waiting_seconds: float | None
    dead_letters: int
    dead_letters_complete: bool
    next_due: datetime | None
    workers: tuple[WorkerPresence, ...]
    schedulers: tuple[SchedulerPresence, ...]
    database_ms: float


@dataclass(frozen=True, slots=True)
class Check:
    """One server: whether it answered, and in how many milliseconds (None: it did not)."""

    ok: bool
    ms: float | None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether this process can serve. `problems` says in words what is missing; empty when all is well.

    `fence`: why nothing is sent, because the database is a restored or cloned one.
    """

    postgres: Check
    redis: Check
    schema_ok: bool
    problems: tuple[str, ...]
    fence: str | None = None

    @property
    def ok(self) -> bool:
        """Ready: Postgres answers and its schema fits. Without Redis requests are served and executions wait."""
        return self.postgres.ok and self.schema_ok


class StatusReader:
    """Looks at one database and one Redis."""

    def __init__(self, db: Database, broker: Pinged, *, ready_seconds: float = READY_SECONDS) -> None:
        self._db = db
        self._broker = broker
        self._ready_seconds = ready_seconds

    async def overview(self, caller: Caller) -> Overview:
        """Count what the caller may see; processes are shown to everybody. Unavailable: no Postgres."""
        namespaces = caller.namespaces
        async with self._db.statements() as conn:
            asked = time.monotonic()
            now = await clock.now(conn)
            database_ms = (time.monotonic() - asked) * 1000
            recent = await status.recent_counts(conn, namespaces=namespaces)
            unfinished = await status.waiting(conn, namespaces=namespaces)
            dead = await dead_letters.count(conn, namespaces=namespaces)
            return Overview(
                now=now,
                jobs=await status.job_counts(conn, namespaces=namespaces),
                executions={each.value: recent.by_status.get(each.value, 0) for each in Status},
                executions_complete=recent.complete,
                waiting=unfinished.waiting,
                running=unfinished.running,
                oldest_waiting_seconds=unfinished.oldest_seconds,
                dead_letters=min(dead, dead_letters.MOST_COUNTED),
                dead_letters_complete=dead <= dead_letters.MOST_COUNTED,
                next_due=await status.next_due(conn, namespaces=namespaces),
                workers=await status.live_workers(conn),
                schedulers=await status.live_schedulers(conn, silence=SCHEDULER_SILENCE),
                database_ms=database_ms,
            )

    async def ready(self) -> Readiness:
        """Ask Postgres, its schema and Redis at the same time, each with a deadline; never raises."""
        (postgres, revision, postgres_problem, fence), (redis, redis_problem) = await asyncio.gather(
            self._postgres(), self._redis()
        )
        schema_problem = _schema_problem(revision) if postgres.ok else None
        problems = tuple(each for each in (postgres_problem, schema_problem, redis_problem) if each is not None)
        return Readiness(postgres, redis, postgres.ok and schema_problem is None, problems, fence)

    async def lateness(self, caller: Caller) -> metrics.Lateness:
        """How late executions that the caller may see have begun lately."""
        async with self._db.statements() as conn:
            return await metrics.lateness(conn, namespaces=caller.namespaces)

    async def _postgres(self) -> tuple[Check, str | None, str | None, str | None]:
        """The check, the schema's revision, the problem, and why the database is fenced."""

        async def ask() -> tuple[float, str | None, str | None]:
            async with self._db.statements() as conn:
                asked = time.monotonic()
                await clock.now(conn)
                seconds, revision = time.monotonic() - asked, await status.schema_revision(conn)
                is_known = revision is not None and revision >= migrations.HEAD
                return seconds, revision, await fence_detail(conn) if is_known else None

        answer, problem = await self._within("Postgres", ask)
        if answer is None:
            return Check(ok=False, ms=None), None, problem, None
        return Check(ok=True, ms=answer[0] * 1000), answer[1], None, answer[2]

    async def _redis(self) -> tuple[Check, str | None]:
        seconds, problem = await self._within("Redis", self._broker.ping)
        return Check(ok=seconds is not None, ms=None if seconds is None else seconds * 1000), problem

    async def _within(self, server: str, ask: Callable[[], Awaitable[T]]) -> tuple[T | None, str | None]:
        """The answer, or the problem: unreachable, or not within the deadline."""
        try:
            async with asyncio.timeout(self._ready_seconds):
                return await ask(), None
        except TimeoutError:
            return None, f"{server}: no answer within {self._ready_seconds:g} s"
        except Unavailable as error:
            text = str(error)
            return None, text if text.startswith(server) else f"{server}: {text}"


def _schema_problem(revision: str | None) -> str | None:
    """What is wrong with the schema's revision; a newer one than ours serves us too."""
    if revision is None:
        return "Postgres: there is no cronsvc schema; run `cronsvc migrate`"
    if revision < migrations.HEAD:
        return f"Postgres: the schema is at {revision}, this release needs {migrations.HEAD}; run `cronsvc migrate`"
    return None
