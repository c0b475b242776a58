"""What the service answers with.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from datetime import date, datetime, timedelta
from typing import Any, Literal

from pydantic import Field

from cronsvc.client.generated.words import (
    BackfillMode,
    BackfillStatus,
    BackoffType,
    BulkAction,
    CalendarRule,
    ClockEffect,
    DependenciesMode,
    Direction,
    During,
    FenceReason,
    MisfirePolicy,
    OverlapPolicy,
    ParameterType,
    ReleaseMode,
    Role,
    Status,
    Trigger,
    Verdict,
    Weekday,
    When,
)
from cronsvc.client.shapes import Answer, Open, Versioned


class FieldProblem(Answer):
    field: str
    reason: str


class ItemProblem(Answer):
    """Why an item was refused: what the problem document of the act alone would say."""

    type: str
    title: str
    detail: str
    errors: tuple[FieldProblem, ...]


class ApplyItem(Answer):
    """What came of one job: the members that changed (none: it says the same already), or why it was refused."""

    job_id: int
    status: int
    changed: tuple[str, ...]
    problem: ItemProblem | None


class Apply(Answer):
    """What came of all. `more`: there are others behind; call again with `afterJobId` as `nextAfterJobId` says."""

    template_revision: int
    dry_run: bool
    matched: int
    succeeded: int
    failed: int
    more: bool
    next_after_job_id: int | None
    items: tuple[ApplyItem, ...]


class AuditEntry(Answer):
    """One change: who, what, when, from where, before and after."""

    id: int
    at: datetime
    actor: str
    source: str | None
    request_id: str | None
    action: str
    entity: str
    entity_id: str
    namespace: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    place: int | None
    hash: str | None


class AuditList(Answer):
    items: tuple[AuditEntry, ...]
    next_cursor: str | None


class AuditBreak(Answer):
    """The first thing that is not as it was sealed."""

    place: int | None
    entry_id: int | None
    reason: Open[Literal["changed", "deleted", "unchained", "truncated", "rewritten"]]


class AuditHead(Answer):
    """Where the chain ends: keep `anchor` elsewhere, so that a later check can tell whether anything before is
    gone.
    """

    place: int | None
    hash: str | None
    anchor: str | None
    sealed_at: datetime | None
    waiting: int
    waiting_since: datetime | None


class AuditVerdict(Answer):
    intact: bool
    checked: int
    broken: AuditBreak | None
    next_cursor: str | None
    head: AuditHead
    unused_ids: int


class BackfillCounts(Answer):
    """`planned` is the sum of the others. `skipped` instants were left alone; `cancelled` ones were called off."""

    planned: int
    waiting: int
    running: int
    succeeded: int
    failed: int
    skipped: int
    cancelled: int


class Backfill(Answer):
    """A backfill and how far it is. The mode of a recovery's is `missed`: no row, or skipped as a misfire."""

    id: int
    job_id: int
    job_name: str
    namespace: str
    recovery_id: int | None
    revision: int
    from_: datetime
    to: datetime
    mode: BackfillMode
    order: Direction
    max_parallel: int
    params: dict[str, Any] | None
    note: str | None
    status: BackfillStatus
    counts: BackfillCounts
    created_by: str
    created_at: datetime
    finished_at: datetime | None


class BackfillList(Answer):
    items: tuple[Backfill, ...]
    next_cursor: str | None


class BackfillPlan(Answer):
    """What a backfill would do: run `count` instants, leave `wouldSkip` alone. `instants` are the first hundred."""

    count: int
    would_skip: int
    first: datetime | None
    last: datetime | None
    instants: tuple[datetime, ...]


class ClosedDate(Answer):
    date: date
    label: str


class Calendar(Versioned):
    """A calendar; `jobs` is how many jobs follow it."""

    id: int
    name: str
    namespace: str
    description: str
    weekend: tuple[Weekday, ...]
    dates: tuple[ClosedDate, ...]
    jobs: int
    revision: int
    created_by: str
    created_at: datetime
    updated_at: datetime


class CalendarList(Answer):
    items: tuple[Calendar, ...]
    next_cursor: str | None


class Callback(Answer):
    """What the execution is now. With `cancelRequested` the target should stop and say how it ended.
    `heartbeatDue` and `endDue` are null until its 202 is recorded, and when it has ended. `repeated`: heard
    before.
    """

    execution_id: int
    status: Status
    status_reason: str | None
    cancel_requested: bool
    heartbeat_due: datetime | None
    end_due: datetime | None
    repeated: bool


class CallbackWait(Answer):
    """The target answered 202 and will call: since when that is so, and by when it must."""

    since: datetime | None
    heartbeat_due: datetime | None
    end_due: datetime | None


class Cause(Answer):
    """An end that brought an execution about; `why` says why it is not what was waited for."""

    execution_id: int
    job_id: int
    job_name: str | None
    status: Status
    is_met: bool
    why: str | None


class Error(Answer):
    """Why it failed: `type` is stable (`http_status`, `timeout`, `egress_denied`, `lost`, …), `message` for
    people.
    """

    type: str
    message: str


class Execution(Answer):
    """One occurrence of a job. A SKIPPED row may stand for a whole range, up to `skippedUntil`. A FAILED one
    without `resolvedAt` is a dead letter. `cancelRequestedAt` of a RUNNING one: its worker shall stop it.
    `callback`: it waits for its target's call, and no worker holds it. `causedBy`: the ends that brought it
    about. `children`: how many executions it has started; while `waitsForChildren` it holds no worker either.
    """

    id: int
    job_id: int
    job_name: str
    namespace: str
    scheduled_time: datetime
    trigger: Trigger
    status: Status
    status_reason: str | None
    attempt: int
    max_attempts: int
    queued_at: datetime
    start_time: datetime | None
    end_time: datetime | None
    duration_ms: int | None
    worker: str | None
    params: dict[str, Any] | None
    requested_by: str | None
    skipped_until: datetime | None
    skipped_count: int | None
    progress: int | None
    result: Any
    error: Error | None
    log_details: Any
    backfill_id: int | None
    caused_by: tuple[Cause, ...]
    parent_id: int | None
    children: int
    waits_for_children: bool
    revision: int
    cancel_requested_at: datetime | None
    cancel_requested_by: str | None
    cancel_note: str | None
    resolved_at: datetime | None
    resolved_by: str | None
    resolve_note: str | None
    callback: CallbackWait | None


class ChildList(Answer):
    """Children of an execution; `counts`: how many of all are in which status."""

    items: tuple[Execution, ...]
    next_cursor: str | None
    counts: dict[str, int]


class Cleanup(Answer):
    """`more`: the call stopped at its bound, and the same call again deletes further ones."""

    success: bool
    message: str
    deleted: int
    more: bool


class Confirm(Answer):
    """What `skip` settled; zeros with `resume`. Jobs whose overdue instants are SKIPPED, executions that were
    QUEUED and are CANCELLED, RUNNING ones that get no further attempt, backfills that are paused.
    """

    mode: ReleaseMode
    jobs_passed: int
    cancelled: int
    given_up: int
    backfills_paused: int


class DownstreamState(Answer):
    """A job that waits for this one."""

    job_id: int
    when: When
    condition: dict[str, Any] | None
    job_name: str
    mode: DependenciesMode


class UpstreamState(Answer):
    """A job that this one waits for. `endedAt`: since when its end is in the open round of `all`; `isMet`:
    whether it ended as it should.
    """

    job_id: int
    when: When
    condition: dict[str, Any] | None
    job_name: str
    ended_at: datetime | None
    is_met: bool | None


class Dependencies(Answer):
    """What a job waits for, and who waits for it (at most 500)."""

    mode: DependenciesMode | None
    upstream: tuple[UpstreamState, ...]
    downstream: tuple[DownstreamState, ...]


class ClockChange(Answer):
    """A clock change that touches the new schedule: these wall times are skipped (moved, left_out) or come twice."""

    at: datetime
    wall_from: str
    wall_until: str
    effect: ClockEffect


class Fires(Answer):
    """How many instants, and the first of them."""

    count: int
    first: tuple[datetime, ...]


class Backoff(Answer):
    type: BackoffType
    delay_seconds: float
    factor: float
    max_seconds: float
    jitter: float


class BackoffList(Answer):
    """A backoff of the type list."""

    type: BackoffType
    delay_seconds: float
    factor: float
    max_seconds: float
    jitter: float
    delays: tuple[float, ...]


class NamedUpstream(Answer):
    """A job that SQL named and that is not there."""

    job: str
    when: When
    condition: dict[str, Any] | None


class Upstream(Answer):
    job_id: int
    when: When
    condition: dict[str, Any] | None


class DependsOn(Answer):
    mode: DependenciesMode
    on: tuple[Upstream | NamedUpstream, ...]


class Pause(Answer):
    """Who paused the job, when, why, and until when (null: until somebody resumes it)."""

    by: str
    at: datetime
    note: str | None
    until: datetime | None


class Retention(Answer):
    keep_completed: int | None
    keep_failed: int | None
    days: int


class TaskPayload(Answer):
    type: str
    config: dict[str, Any]


class Job(Versioned):
    """A job. `nextFireTime` is null while it is paused, inactive or quarantined, and when nothing is left to
    fire. `templateRevision`: of the template it was made from, what was applied last; a newer one changes no job
    by itself.
    """

    id: int
    name: str
    description: str
    namespace: str
    tags: tuple[str, ...]
    group: str | None
    cron_expression: str | None
    every: timedelta | None
    run_at: datetime | None
    timezone: str
    start_at: datetime | None
    end_at: datetime | None
    calendar: str | None
    calendar_rule: CalendarRule
    max_runs: int | None
    jitter_seconds: int
    misfire_policy: MisfirePolicy
    misfire_grace_seconds: int
    misfire_cap: int
    overlap_policy: OverlapPolicy
    max_concurrency: int | None
    concurrency_key: str | None
    queue: str
    priority: Open[Literal["critical", "high", "normal", "low"]]
    max_attempts: int
    backoff: BackoffList | Backoff
    retry_on: tuple[str, ...] | None
    timeout_seconds: int
    deadline_seconds: int | None
    pause_after_failures: int | None
    depends_on: DependsOn | None
    retention: Retention
    task_payload: TaskPayload
    is_active: bool
    pause: Pause | None
    quarantine_reason: str | None
    next_fire_time: datetime | None
    last_fire_time: datetime | None
    fire_count: int
    template_id: int | None
    template_revision: int | None
    revision: int
    created_at: datetime
    updated_at: datetime


class EditPlan(Answer):
    """What an edit would do. Fires are compared from `from` to `until`. `until` is 30 days ahead; earlier, with
    `complete` false, where a definition has too many fires to compare them all. `firesAtOnce`: runs are due
    already and would be on their way at once, as they would without the edit.
    """

    dry_run: bool
    changes: bool
    from_: datetime
    until: datetime
    complete: bool
    added: Fires
    removed: Fires
    first_changed_fire: datetime | None
    clock_changes: tuple[ClockChange, ...]
    fires_at_once: bool
    description: str
    job: Job


class EgressList(Answer):
    """One list; everything else is refused."""

    hosts: tuple[str, ...]
    networks: tuple[str, ...]
    updated_at: datetime
    updated_by: str


class Egress(Answer):
    """What the jobs of a namespace may call: what each of its lists permits, and without one every public target."""

    namespace: str
    service: EgressList | None
    own: EgressList | None


class EgressAnswers(Answer):
    items: tuple[Egress, ...]
    next_cursor: str | None


class Attempt(Answer):
    """One finished try of an execution."""

    attempt: int
    outcome: str
    worker: str | None
    queued_at: datetime | None
    start_time: datetime | None
    end_time: datetime
    duration_ms: int | None
    http_status: int | None
    error: Error | None
    response_excerpt: str | None


class ExecutionDetail(Answer):
    """An execution with every finished attempt, the first one first."""

    id: int
    job_id: int
    job_name: str
    namespace: str
    scheduled_time: datetime
    trigger: Trigger
    status: Status
    status_reason: str | None
    attempt: int
    max_attempts: int
    queued_at: datetime
    start_time: datetime | None
    end_time: datetime | None
    duration_ms: int | None
    worker: str | None
    params: dict[str, Any] | None
    requested_by: str | None
    skipped_until: datetime | None
    skipped_count: int | None
    progress: int | None
    result: Any
    error: Error | None
    log_details: Any
    backfill_id: int | None
    caused_by: tuple[Cause, ...]
    parent_id: int | None
    children: int
    waits_for_children: bool
    revision: int
    cancel_requested_at: datetime | None
    cancel_requested_by: str | None
    cancel_note: str | None
    resolved_at: datetime | None
    resolved_by: str | None
    resolve_note: str | None
    callback: CallbackWait | None
    attempts: tuple[Attempt, ...]


class ExecutionList(Answer):
    items: tuple[Execution, ...]
    next_cursor: str | None


class Nearest(Answer):
    """The instants around, by the schedule that was in force."""

    before: datetime | None
    after: datetime | None


class Step(Answer):
    """One thing that had a say. `what` is stable: revision, schedule, timezone, pause, record, attempt, …"""

    what: str
    says: str
    facts: dict[str, Any]


class Explanation(Answer):
    """Why a job did or did not run at an instant; `summary` says it in words, `steps` what it rests on. `missing`
    is a defect of cronsvc or of who deleted its rows: the instant was due and nothing accounts for it.
    """

    at: datetime
    job_id: int
    job_name: str
    verdict: Verdict
    summary: str
    steps: tuple[Step, ...]
    nearest: Nearest
    execution: Execution | None
    attempts: tuple[Attempt, ...]


class Group(Answer):
    """A group within its namespace: its jobs by what holds them back, each counted once. `failing`: jobs whose
    latest scheduled fire FAILED. `lastFireTime` and `lastStatus` are of the group's latest fire.
    """

    name: str
    namespace: str
    jobs: int
    active: int
    paused: int
    inactive: int
    quarantined: int
    failing: int
    next_fire_time: datetime | None
    last_fire_time: datetime | None
    last_status: str | None


class GroupList(Answer):
    items: tuple[Group, ...]
    next_cursor: str | None


class DatabaseHealth(Answer):
    """`responseTime` in milliseconds; null when the database does not answer."""

    status: Open[Literal["connected", "disconnected"]]
    response_time: float | None


class JobsHealth(Answer):
    initialized: bool


class Health(Answer):
    """Liveness: 200 for as long as the process can answer. `uptime` in seconds."""

    status: Open[Literal["OK"]]
    timestamp: datetime
    uptime: float
    database: DatabaseHealth
    jobs: JobsHealth


class History(Answer):
    success: bool
    data: tuple[Execution, ...]
    next_cursor: str | None


class Hold(Answer):
    """That an execution waited for a host, without an attempt being spent or anything sent."""

    execution_id: int
    job_id: int
    namespace: str
    scheduled_time: datetime
    host: str
    reason: Open[Literal["rate", "concurrency", "breaker"]]
    times: int
    held_from: datetime
    held_until: datetime
    is_held: bool


class HoldList(Answer):
    items: tuple[Hold, ...]
    next_cursor: str | None


class Breaker(Answer):
    """`closed`: it is called. `open`: calls are held until `openUntil` (null: a reset). `half_open`: one call
    tries.
    """

    state: Open[Literal["closed", "open", "half_open"]]
    failures: int
    changed_at: datetime
    open_until: datetime | None
    tripped_by: str | None
    note: str | None


class Host(Answer):
    """A host, what its calls must keep to, and what is going on."""

    host: str
    calls_per_second: int | None
    calls_per_minute: int | None
    max_concurrent: int | None
    breaker_failures: int | None
    breaker_open_seconds: int
    breaker: Breaker
    running: int
    held: int
    updated_at: datetime
    updated_by: str


class HostList(Answer):
    items: tuple[Host, ...]
    next_cursor: str | None


class Import(Answer):
    """The calendar as it is now; how many dates the file closes, and how many of its events close none."""

    calendar: Calendar
    dates: int
    ignored_events: int


class JobList(Answer):
    items: tuple[Job, ...]
    next_cursor: str | None


class JobsChanged(Answer):
    """How many jobs matched, and how many of them were not yet as asked for."""

    success: bool
    message: str
    matched: int
    changed: int


class Key(Answer):
    """An API key without its secret."""

    key_id: str
    name: str
    role: Role
    namespaces: tuple[str, ...] | None
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    roles: dict[str, Role] | None


class KeyCreated(Answer):
    """A new key. `key` is shown this once and stored nowhere."""

    key_id: str
    name: str
    role: Role
    namespaces: tuple[str, ...] | None
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    roles: dict[str, Role] | None
    key: str = Field(repr=False)


class KeyList(Answer):
    items: tuple[Key, ...]
    next_cursor: str | None


class Me(Answer):
    """Who the credential speaks for. `namespaces`: null means all of them. `roles` says the role in each
    namespace where they differ; `role` is then the least of them.
    """

    actor: str
    role: Role
    namespaces: tuple[str, ...] | None
    roles: dict[str, Role] | None


class QueueMetrics(Answer):
    name: str
    is_paused: bool
    waiting: int
    active: int
    workers: int


class Metrics(Answer):
    """`delayed` (backoff, jitter) is part of `waiting`; `failureRate` is 0 to 1, of what ended within 24 hours."""

    active: int
    waiting: int
    delayed: int
    completed: int
    failed: int
    dead_letter: int
    complete: bool
    failure_rate: float
    average_duration_ms: float | None
    oldest_waiting_seconds: float | None
    workers: int
    schedulers: int
    queues: tuple[QueueMetrics, ...]
    is_healthy: bool
    problems: tuple[str, ...]


class MetricsAnswer(Answer):
    success: bool
    data: Metrics


class Preview(Answer):
    fire_times: tuple[datetime, ...]
    description: str


class Progress(Answer):
    """What an execution says of itself, live. `logDetails` is `{"attempt", "note", "lines", "dropped"}`."""

    status: Status
    progress: int | None
    note: str | None
    log_details: Any


class Queue(Answer):
    """A queue and what it has to do. Counts are of what the caller may see, among the first 100,000 unfinished."""

    name: str
    paused: Pause | None
    concurrency: int | None
    rate_per_minute: int | None
    waiting: int
    running: int
    oldest_waiting_seconds: float | None
    workers: int
    created_at: datetime


class QueueList(Answer):
    items: tuple[Queue, ...]
    next_cursor: str | None


class Part(Answer):
    """One thing that must work. `responseTime` in milliseconds where it was measured."""

    status: Open[Literal["ok", "failing"]]
    response_time: float | None


class Ready(Answer):
    """Readiness: 200 when every part works, else 503 with the parts that do not. `fenced` is 200: requests are
    served, and nothing is sent until somebody confirms.
    """

    status: Open[Literal["ready", "not ready", "fenced"]]
    postgres: Part
    redis: Part
    schema_: Part
    self_check: Part
    problems: tuple[str, ...]


class Selector(Answer):
    namespace: str | None
    tags: tuple[str, ...]
    queue: str | None
    name_prefix: str | None
    job_ids: tuple[int, ...] | None


class Recovery(Answer):
    """A recovery: `jobs` backfills, with the sums of their counts. `GET /backfills?recoveryId=` lists them."""

    id: int
    from_: datetime
    to: datetime
    selector: Selector
    order: Direction
    max_parallel: int
    max_total: int
    note: str | None
    status: BackfillStatus
    jobs: int
    counts: BackfillCounts
    created_by: str
    created_at: datetime
    finished_at: datetime | None


class RecoveryList(Answer):
    items: tuple[Recovery, ...]
    next_cursor: str | None


class JobRecovery(Answer):
    """One job: how many instants it misses, how many of them would run, and for how long (null: no run is known)."""

    job_id: int
    job_name: str
    namespace: str
    misfire_policy: MisfirePolicy
    missing: int
    would_run: int
    first: datetime | None
    last: datetime | None
    estimated_minutes: float | None


class RecoveryPlan(Answer):
    """What a recovery would do. `estimatedMinutes` leaves out jobs of which no run is known."""

    missing: int
    would_run: int
    estimated_minutes: float | None
    jobs: tuple[JobRecovery, ...]


class Release(Answer):
    """The last confirmation."""

    at: datetime
    by: str
    mode: ReleaseMode


class OwingJob(Answer):
    """A job with overdue instants, and what its policies make of them on release. `fires` executions would run,
    the first few are in `runs`; `skippedRows` would be recorded as not run. `problem`: it cannot be planned and
    would be quarantined.
    """

    job_id: int
    job_name: str
    namespace: str
    misfire_policy: MisfirePolicy
    overdue_since: datetime
    fires: int
    skipped_rows: int
    runs: tuple[datetime, ...]
    problem: str | None


class WouldFire(Answer):
    """What is there to do, in the caller's namespaces; counts end at 100,000. `jobs`: the longest overdue."""

    overdue_jobs: int
    queued: int
    running: int
    backfills: int
    jobs: tuple[OwingJob, ...]


class Restore(Answer):
    """Whether this is a restored or cloned database. `fenced`: nothing is sent until an administrator confirms.
    `checking`: Postgres was started and no scheduler or worker has compared it yet.
    """

    state: Open[Literal["open", "fenced", "checking"]]
    reason: FenceReason | None
    detail: str | None
    since: datetime | None
    would_fire: WouldFire
    released: Release | None


class Definition(Answer):
    """Everything a person decides about a job."""

    name: str
    description: str
    namespace: str
    tags: tuple[str, ...]
    group: str | None
    cron_expression: str | None
    every: timedelta | None
    run_at: datetime | None
    timezone: str
    start_at: datetime | None
    end_at: datetime | None
    calendar: str | None
    calendar_rule: CalendarRule
    max_runs: int | None
    jitter_seconds: int
    misfire_policy: MisfirePolicy
    misfire_grace_seconds: int
    misfire_cap: int
    overlap_policy: OverlapPolicy
    max_concurrency: int | None
    concurrency_key: str | None
    queue: str
    priority: Open[Literal["critical", "high", "normal", "low"]]
    max_attempts: int
    backoff: BackoffList | Backoff
    retry_on: tuple[str, ...] | None
    timeout_seconds: int
    deadline_seconds: int | None
    pause_after_failures: int | None
    depends_on: DependsOn | None
    retention: Retention
    task_payload: TaskPayload
    is_active: bool


class Revision(Answer):
    """One stored definition of a job, as it was."""

    revision: int
    definition: Definition
    actor: str
    created_at: datetime


class RevisionList(Answer):
    items: tuple[Revision, ...]
    next_cursor: str | None


class Secret(Answer):
    """What there is to know of a secret."""

    namespace: str
    name: str
    version: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    last_used_at: datetime | None


class SecretList(Answer):
    items: tuple[Secret, ...]
    next_cursor: str | None


class Session(Answer):
    """A living session, without its token. `namespaces`: null means all of them."""

    id: int
    actor: str
    role: Role
    namespaces: tuple[str, ...] | None
    source: str | None
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime


class SessionList(Answer):
    items: tuple[Session, ...]
    next_cursor: str | None


class SessionsEnded(Answer):
    """How many were ended."""

    ended: int


class QueueStats(Answer):
    """`data.counts` once more, under the names that other dashboards have; `delayed` is part of `waiting`."""

    waiting: int
    active: int
    completed: int
    failed: int
    delayed: int


class RecentJob(Answer):
    """An execution, in few words."""

    id: int
    job_id: int
    name: str
    status: Status
    progress: int | None
    scheduled_time: datetime
    start_time: datetime | None
    end_time: datetime | None


class ActiveJob(Answer):
    """An execution in progress; `data` are the params of a manual run, `progress` is 0 until something was said."""

    id: str
    name: str
    job_id: int
    data: dict[str, Any]
    progress: int
    start_time: datetime


class JobCounts(Answer):
    """Executions: `active` and `waiting` now; `completed` and `failed` of those scheduled in the last 24 hours."""

    active: int
    waiting: int
    completed: int
    failed: int
    complete: bool


class RepeatableJob(Answer):
    """A job that will fire. `every` in milliseconds; `next` in milliseconds since 1970."""

    id: int
    name: str
    key: str
    cron: str | None
    every: int | None
    tz: str
    next: int


class Snapshot(Answer):
    """The hundred jobs that fire next, the fifty executions that have run longest, and counts of all."""

    repeatable_jobs: tuple[RepeatableJob, ...]
    counts: JobCounts
    active_jobs: tuple[ActiveJob, ...]


class SnapshotAnswer(Answer):
    """`recentJobs`: the latest twenty executions, the newest first."""

    success: bool
    data: Snapshot
    queue_stats: QueueStats
    recent_jobs: tuple[RecentJob, ...]


class SparseList(Answer):
    """A page of items with the members that `fields` names."""

    items: tuple[dict[str, Any], ...]
    next_cursor: str | None


class Day(Answer):
    success: int
    failed: int
    skipped: int
    cancelled: int
    attempts: int
    duration_ms_average: float | None
    duration_ms_min: int | None
    duration_ms_max: int | None
    day: date
    trigger: Trigger


class HistoryCounts(Answer):
    """Executions that have ended. `attempts` counts the first tries too; durations are those of the successful
    ones.
    """

    success: int
    failed: int
    skipped: int
    cancelled: int
    attempts: int
    duration_ms_average: float | None
    duration_ms_min: int | None
    duration_ms_max: int | None


class Statistics(Answer):
    """A job's executions by day (UTC, of the scheduled time) and trigger, also those whose rows are gone. Days
    without any are left out.
    """

    from_: date
    to: date
    total: HistoryCounts
    days: tuple[Day, ...]


class DeadLetterCount(Answer):
    """`complete`: false when there are more than were counted."""

    count: int
    complete: bool


class JobCountsAnswer(Answer):
    """Jobs by what holds them back, each counted once. `complete`: false when there are more than were counted."""

    active: int
    paused: int
    inactive: int
    quarantined: int
    complete: bool


class LastDay(Answer):
    """Executions scheduled in the last 24 hours. `complete`: false when only the newest were counted."""

    counts: dict[str, int]
    complete: bool


class Scheduler(Answer):
    """A scheduler process that was heard of lately."""

    id: str
    name: str
    version: str
    started_at: datetime
    heartbeat_at: datetime


class Worker(Answer):
    """A worker process whose lease has not run out."""

    id: str
    name: str
    version: str
    queues: tuple[str, ...]
    concurrency: int
    running: int
    state: str
    started_at: datetime
    heartbeat_at: datetime


class StatusAnswer(Answer):
    """What is going on, by the database clock. `databaseMs` is one round trip."""

    timestamp: datetime
    jobs: JobCountsAnswer
    waiting: int
    running: int
    oldest_waiting_seconds: float | None
    dead_letters: DeadLetterCount
    last_day: LastDay
    next_fire_time: datetime | None
    workers: tuple[Worker, ...]
    schedulers: tuple[Scheduler, ...]
    database_ms: float


class Parameter(Answer):
    name: str
    type: ParameterType
    required: bool
    default: Any
    description: str
    choices: tuple[Any, ...]


class Template(Versioned):
    """A template. `jobs` of the caller's were made from it, `behind` of them follow an earlier revision."""

    id: int
    name: str
    namespace: str | None
    description: str
    parameters: tuple[Parameter, ...]
    definition: dict[str, Any]
    revision: int
    jobs: int
    behind: int
    created_by: str
    created_at: datetime
    updated_at: datetime


class TemplateList(Answer):
    items: tuple[Template, ...]
    next_cursor: str | None


class TemplateRevision(Answer):
    """What a template said as of a revision."""

    revision: int
    parameters: tuple[Parameter, ...]
    definition: dict[str, Any]
    actor: str
    created_at: datetime


class TemplateRevisionList(Answer):
    items: tuple[TemplateRevision, ...]
    next_cursor: str | None


class Triggered(Answer):
    """The execution, with a word about it."""

    id: int
    job_id: int
    job_name: str
    namespace: str
    scheduled_time: datetime
    trigger: Trigger
    status: Status
    status_reason: str | None
    attempt: int
    max_attempts: int
    queued_at: datetime
    start_time: datetime | None
    end_time: datetime | None
    duration_ms: int | None
    worker: str | None
    params: dict[str, Any] | None
    requested_by: str | None
    skipped_until: datetime | None
    skipped_count: int | None
    progress: int | None
    result: Any
    error: Error | None
    log_details: Any
    backfill_id: int | None
    caused_by: tuple[Cause, ...]
    parent_id: int | None
    children: int
    waits_for_children: bool
    revision: int
    cancel_requested_at: datetime | None
    cancel_requested_by: str | None
    cancel_note: str | None
    resolved_at: datetime | None
    resolved_by: str | None
    resolve_note: str | None
    callback: CallbackWait | None
    success: bool
    message: str
    timestamp: datetime


class InWindow(Answer):
    """An instant that lies in a maintenance window: it will not run (skip), or wait for the end (hold)."""

    fire_time: datetime
    window_id: int
    name: str
    during: During
    until: datetime


class Upcoming(Answer):
    """The next instants that will fire: none while the job is held back without an end. `inWindows`: which of
    them lie in a maintenance window, as far as is known now.
    """

    fire_times: tuple[datetime, ...]
    description: str
    in_windows: tuple[InWindow, ...]


class Window(Versioned):
    """A maintenance window; `held` is how many executions it holds now."""

    id: int
    name: str
    namespace: str | None
    tags: tuple[str, ...]
    queue: str | None
    starts_at: datetime | None
    ends_at: datetime | None
    cron_expression: str | None
    timezone: str
    duration_seconds: int | None
    during: During
    spread_seconds: int
    coalesce: bool
    reason: str
    held: int
    revision: int
    created_by: str
    created_at: datetime
    updated_at: datetime
    cancelled_at: datetime | None
    cancelled_by: str | None


class WindowList(Answer):
    items: tuple[Window, ...]
    next_cursor: str | None


class BulkItem(Answer):
    """What came of one item. `status` is what the act alone would have answered; `jobId` null: no job was made."""

    index: int
    job_id: int | None
    status: int
    execution_id: int | None
    problem: ItemProblem | None


class Bulk(Answer):
    """What came of all. With `dryRun`, `succeeded` counts what would go through."""

    action: BulkAction
    dry_run: bool
    matched: int
    succeeded: int
    failed: int
    items: tuple[BulkItem, ...]


class EndingBulkItem(Answer):
    """What became of one. When it was not `done`, `problem` is the type of the problem and `detail` says what it
    is.
    """

    id: int
    done: bool
    problem: str | None
    detail: str | None


class EndingBulk(Answer):
    """An item for each, all decided in one transaction. `more`: the filter fits others beyond the limit."""

    items: tuple[EndingBulkItem, ...]
    done: int
    more: bool
