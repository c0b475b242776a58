"""One occurrence of a job: its states, and the small values that travel with it.

                   ┌──────── retry: dispatch_at = now + backoff ─────────┐
                   ▼                                                     │
    (fire) ───▶ QUEUED ─── claim: attempt + 1, claim_no + 1 ───▶ RUNNING ┤
       │         ▲ │                                                     ├──▶ SUCCESS ─┐
       │         │ ├── its deadline passes ──▶ FAILED ◀──────────────────┤             │
       │         │ └────────────────────▶ CANCELLED ◀────────────────────┘             │
       │         └── again, when somebody asks: SUCCESS, FAILED, CANCELLED ────────────┘
       └──────▶ SKIPPED ─── backfill ───▶ QUEUED

TRANSITIONS is that drawing as data; a test holds the two together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    QUEUED = "QUEUED"  # recorded; waits for its ticket, its backoff or a free worker
    RUNNING = "RUNNING"  # claimed by a worker that holds a lease, or taken over by its target, which will call back
    SUCCESS = "SUCCESS"  # an attempt reported success
    FAILED = "FAILED"  # no attempts left, or a failure that no attempt can mend; a dead letter until somebody acts
    SKIPPED = "SKIPPED"  # due, and deliberately not run; status_reason says why
    CANCELLED = "CANCELLED"  # stopped by a person or replaced by a newer execution


# Ended: only what somebody asks for leads out of these.
TERMINAL = frozenset({Status.SUCCESS, Status.FAILED, Status.SKIPPED, Status.CANCELLED})

# What may be retried by its id. What was SKIPPED never ran, and may stand for many instants: a backfill runs those.
REPEATABLE = frozenset({Status.SUCCESS, Status.FAILED, Status.CANCELLED})

TRANSITIONS: Mapping[Status | None, frozenset[Status]] = {
    None: frozenset({Status.QUEUED, Status.SKIPPED}),
    Status.QUEUED: frozenset({Status.RUNNING, Status.FAILED, Status.CANCELLED}),
    Status.RUNNING: frozenset({Status.QUEUED, Status.SUCCESS, Status.FAILED, Status.CANCELLED}),
    Status.SUCCESS: frozenset({Status.QUEUED}),
    Status.FAILED: frozenset({Status.QUEUED}),
    Status.SKIPPED: frozenset({Status.QUEUED}),
    Status.CANCELLED: frozenset({Status.QUEUED}),
}


# The one HTTP status with a meaning of its own here.
GONE = 410


class Trigger(StrEnum):
    SCHEDULE = "schedule"
    MANUAL = "manual"
    BACKFILL = "backfill"
    DEPENDENCY = "dependency"
    RECOVERY = "recovery"


class Reason(StrEnum):
    """`status_reason`: why a row is FAILED, SKIPPED or CANCELLED."""

    ERROR = "error"  # FAILED: the last attempt reported a failure
    TIMEOUT = "timeout"  # FAILED: the last attempt ran out of time, or the whole execution passed its deadline
    LOST = "lost"  # FAILED: the worker died holding it, its effect is unknown
    MISFIRE = "misfire"  # SKIPPED: seen later than the grace allows
    OVERLAP = "overlap"  # SKIPPED: the previous one is unfinished
    PAUSED = "paused"  # SKIPPED: the job was paused at that instant
    CALENDAR = "calendar"  # SKIPPED: its calendar closes that day; it may have moved to another
    MAINTENANCE = "maintenance"  # SKIPPED: in a maintenance window that skips
    UPSTREAM = "upstream"  # SKIPPED: a job it depends on did not end as it waits for
    USER = "user"  # CANCELLED: by a person
    REPLACED = "replaced"  # CANCELLED: a newer execution of the job took its place
    RESTORE = "restore"  # SKIPPED, CANCELLED: owed by a restored backup, and an administrator chose not to run it
    PARENT = "parent"  # CANCELLED: the execution that started it was called off or ran out of time


@dataclass(frozen=True, slots=True)
class Ticket:
    """What Redis may carry: an execution's identity and the claim it expects, nothing of the payload."""

    execution_id: int
    job_id: int
    scheduled_time: datetime
    claim_no: int
    queue: str
    priority: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """An execution this worker may run for one attempt. `claim_no` fences everything it will write."""

    execution_id: int
    job_id: int
    scheduled_time: datetime
    trigger: Trigger
    revision: int
    attempt: int
    max_attempts: int
    claim_no: int
    ready_at: datetime  # when this attempt became ready to run: recorded, or its backoff over
    start_time: datetime
    params: Mapping[str, Any] | None
    deadline_left: float | None = None  # seconds from the claim to the deadline of the execution; None: it has none
    # Of the definition it pinned:
    retry_on: tuple[str, ...] | None = None
    counted: bool = False  # its job pauses after so many failures in a row


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """Why an attempt failed: a stable `type` (`http_status`, `timeout`, `egress_denied`, …) and words for people."""

    type: str
    message: str


@dataclass(frozen=True, slots=True)
class Awaiting:
    """The target works on by itself and will call: never silent for longer than `heartbeat_seconds`, and with the end
    within `timeout_seconds`."""

    heartbeat_seconds: int
    timeout_seconds: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an executor says of one attempt.

    `error` is None for success. `retryable` and `retry_after` (seconds) matter only with an error. `result` is JSON,
    capped by the executor; `excerpt` is what the target answered, capped at 64 KB. With `awaiting` the attempt has not
    ended, only left the worker. `elsewhere`: the last word was another host's, to which the target had redirected.
    `unsent`: its time was over, or something else failed, before the request left for its target.
    """

    error: ErrorDetail | None = None
    retryable: bool = True
    retry_after: float | None = None
    result: Any = None
    http_status: int | None = None
    excerpt: str | None = None
    awaiting: Awaiting | None = None
    elsewhere: bool = False
    unsent: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """A decided end of an attempt, ready to be written behind the fence.

    `retry_seconds` is set when status is QUEUED: how long to wait before the next dispatch. `ready_at` is the claim's.
    With `awaiting` the row stays RUNNING and waits for its target's call.
    """

    execution_id: int
    job_id: int
    scheduled_time: datetime
    claim_no: int
    ready_at: datetime
    status: Status
    status_reason: str | None
    outcome: str  # the attempt's word: success, error, timeout, lost, released, cancelled
    retry_seconds: float | None = None
    refund_attempt: bool = False  # a hand-back that must not cost an attempt (drain, unknown job type)
    result: Any = None
    error: ErrorDetail | None = None
    http_status: int | None = None
    excerpt: str | None = None
    attempt_error: ErrorDetail | None = None  # what the attempt itself ended with, when that is not `error`
    counted: bool = False
    progress: int | None = None  # the last word of the attempt on it; None leaves what the row says
    log_details: str | None = None  # JSON text, likewise
    awaiting: Awaiting | None = None

    @property
    def target_is_gone(self) -> bool:
        """The target said 410: it will not come back, so its job is paused."""
        return (
            self.status is Status.FAILED
            and self.http_status == GONE
            and self.error is not None
            and self.error.type == "http_status"
        )

    @property
    def steers_job(self) -> bool:
        """Whether it may pause its job, so that it must be written with the job's row locked."""
        return self.target_is_gone or (self.counted and self.status in (Status.SUCCESS, Status.FAILED))


@dataclass(frozen=True, slots=True)
class Execution:
    """A row of `job_executions` as readers see it, with its job's name. Times are aware UTC."""

    id: int
    job_id: int
    job_name: str
    namespace: str
    scheduled_time: datetime
    trigger: Trigger
    status: Status
    status_reason: str | None
    revision: int
    queue: str
    priority: int
    attempt: int
    max_attempts: int
    worker_id: str | None
    queued_at: datetime
    start_time: datetime | None
    end_time: datetime | None
    skipped_until: datetime | None
    skipped_count: int | None
    params: Mapping[str, Any] | None
    requested_by: str | None
    progress: int | None
    result: Any
    error: Mapping[str, Any] | None
    log_details: Any
    cancel_requested_at: datetime | None
    cancel_requested_by: str | None
    cancel_note: str | None
    resolved_at: datetime | None
    resolved_by: str | None
    resolve_note: str | None
    backfill_id: int | None = None
    callback_since: datetime | None = None
    callback_due: datetime | None = None
    callback_until: datetime | None = None
    causes: Sequence[Mapping[str, Any]] | None = None  # of a dependency: the ends that brought it about
    parent_id: int | None = None  # of a child: the execution that started it
    child_key: str | None = None
    children: int = 0  # how many it has started
    held: str | None = None

    @property
    def awaits_callback(self) -> bool:
        """Its target has taken it over and will call; no worker holds it."""
        return self.status is Status.RUNNING and self.callback_due is not None and self.worker_id is None

    @property
    def waits_for_children(self) -> bool:
        """Its handler has ended and its children have not; no worker holds it."""
        return self.status is Status.RUNNING and self.held == "children"

    @property
    def is_dead_letter(self) -> bool:
        """Failed for good, and nobody has dealt with it yet."""
        return self.status is Status.FAILED and self.resolved_at is None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of `job_attempts`: one finished try."""

    attempt: int
    claim_no: int
    outcome: str
    worker_id: str | None
    queued_at: datetime | None
    start_time: datetime | None
    end_time: datetime
    error: Mapping[str, Any] | None
    http_status: int | None
    response_excerpt: str | None
