"""What is known about one instant of one job, and the shape of the answer that is made of it.

`Evidence` is rows as they were read, nothing concluded; `explain` turns it into an `Explanation`. Facts are named as
elsewhere in the domain; their instants stay instants, and the doors spell both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from cronsvc.domain.execution import Attempt, Execution
from cronsvc.domain.explain_dependency import UpstreamFacts
from cronsvc.domain.job import Job, JobDefinition


class Verdict(StrEnum):
    RAN = "ran"  # SUCCESS
    RUNNING = "running"
    WAITING = "waiting"  # QUEUED: for its ticket, its jitter or backoff, or a free worker
    HELD = "held"  # QUEUED: for others of its job, for a place under a limit, for its queue to be resumed
    FAILED = "failed"
    SKIPPED = "skipped"  # due, and recorded as not run
    CANCELLED = "cancelled"
    NOT_SCHEDULED = "not_scheduled"  # the schedule does not name the instant
    NOT_YET = "not_yet"  # it does, and the instant lies ahead
    DUE = "due"  # it has come, and no scheduler has recorded it yet
    BEFORE_JOB = "before_job"  # there was no such job
    BEFORE_START = "before_start"  # before startAt
    AFTER_END = "after_end"  # after endAt
    ENDED = "ended"  # the job had run maxRuns times
    INACTIVE = "inactive"
    PAUSED = "paused"  # a pause holds it back: no row yet
    QUARANTINED = "quarantined"  # nobody can plan the job
    DELETED = "deleted"
    EDITED = "edited"  # a change of the definition came before it was recorded
    PRUNED = "pruned"  # its row, if it had one, is deleted by age or number
    MISSING = "missing"  # passed, and nothing accounts for it: a defect


@dataclass(frozen=True, slots=True)
class Revised:
    """A revision of the job. `definition` has defaults where `fault` says that something cannot be read."""

    revision: int
    definition: JobDefinition
    actor: str
    created_at: datetime
    deleted: bool = False
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """The row of the instant, with what readers of executions do not see otherwise."""

    execution: Execution
    ready_at: datetime
    dispatch_at: datetime | None
    dispatches: int
    held: str | None
    deadline_at: datetime | None
    backfill_id: int | None
    window: str | None = None  # the maintenance window that skipped or held it
    window_reason: str | None = None


@dataclass(frozen=True, slots=True)
class HostHoldFacts:
    """That the row waited, or waits (`is_held`), for a host: `reason` is rate, concurrency or breaker."""

    host: str
    reason: str
    times: int
    held_from: datetime
    held_until: datetime
    is_held: bool


@dataclass(frozen=True, slots=True)
class PauseAct:
    """A pause that was in force, as the audit log tells it. `ended_at` None: it still is."""

    actor: str
    at: datetime
    note: str | None
    until: datetime | None
    ended_at: datetime | None = None
    ended_by: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    id: str
    name: str
    state: str
    alive: bool
    heartbeat_at: datetime


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """The queue of a waiting row, now. `workers`: processes alive that serve it."""

    name: str
    paused_by: str | None
    pause_note: str | None
    paused_until: datetime | None
    paused: bool
    concurrency: int | None
    rate_per_minute: int | None
    workers: int


@dataclass(frozen=True, slots=True)
class Schedulers:
    """Who could record a due instant, now. `shard_held_seconds`: since when a transaction holds the job's shard."""

    alive: int
    last_heartbeat: datetime | None
    shard: int
    shard_holder: str | None = None
    shard_held_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Pruned:
    """A day of `job_statistics` whose deleted rows reach from before the instant to after it."""

    first_time: datetime
    last_time: datetime
    success: int
    failed: int
    skipped: int
    cancelled: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that was read. `armed`: the cursor of `job` is its first instant without a row."""

    at: datetime
    now: datetime
    job: Job
    armed: bool
    deleted_at: datetime | None = None
    revision: Revised | None = None  # in force at the instant
    next_revision: Revised | None = None
    record: Record | None = None
    record_revision: Revised | None = None  # the one the row pinned, when it is another one
    attempts: tuple[Attempt, ...] = ()
    workers: Mapping[str, WorkerFacts] = field(default_factory=dict)
    others: tuple[Execution, ...] = ()  # of the same job, unfinished when it mattered
    queue: QueueFacts | None = None
    host_holds: tuple[HostHoldFacts, ...] = ()
    cover: Execution | None = None  # the range row in which the instant lies
    named_by: datetime | None = None  # a later row that names the instant as the one before it
    row_before: datetime | None = None  # the last instant of the schedule before it that has a row
    pause: PauseAct | None = None
    pruned: Pruned | None = None
    oldest_kept: datetime | None = None  # where the oldest partition begins
    runs_before: int | None = None  # read when the definition has max_runs
    schedulers: Schedulers | None = None  # read when the instant is due
    upstreams: tuple[UpstreamFacts, ...] = ()  # read when the job depends on others and the instant has no row


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that had a say: `what` it was, `says` in words, and the facts behind the words."""

    what: str
    says: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Explanation:
    """`before` and `after` are the nearest other instants of the schedule in force, if there are any."""

    at: datetime
    job_id: int
    job_name: str
    verdict: Verdict
    summary: str
    steps: tuple[Step, ...]
    before: datetime | None
    after: datetime | None
    execution: Execution | None
    attempts: tuple[Attempt, ...]


def moment(when: datetime) -> str:
    """An instant as a person reads it: `2026-03-08 07:00:00 UTC`, with its fraction if it has one."""
    return f"{when:%Y-%m-%d %H:%M:%S}" + (f".{when:%f}" if when.microsecond else "") + " UTC"


def count(number: int, noun: str) -> str:
    """A number of things and their verb: `1 scheduler is`, `2 schedulers are`."""
    return f"1 {noun} is" if number == 1 else f"{number} {noun}s are"


def length(span: timedelta) -> str:
    """A length of time in the units that matter: `84 ms`, `2.4 s`, `3 min 5 s`, `2 h 5 min`."""
    seconds = max(0.0, span.total_seconds())
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole, parts = int(seconds), []
    for name, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        amount, whole = divmod(whole, size)
        if amount:
            parts.append(f"{amount} {name}")
    return " ".join(parts[:2])
