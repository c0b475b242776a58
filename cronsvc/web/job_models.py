"""Jobs and schedules as JSON. Bounds here equal those of the table; defaults are the product's."""

from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, RootModel

from cronsvc.domain.calendars import CalendarRule
from cronsvc.domain.job import MisfirePolicy, OverlapPolicy, Priority
from cronsvc.domain.retry import BackoffType
from cronsvc.services.job_order import JobSort
from cronsvc.services.paging import IdSort
from cronsvc.web.dependency_models import DependsOnAnswer, DependsOnIn
from cronsvc.web.fields import Fields
from cronsvc.web.models import AnswerModel, QueryModel, RequestModel
from cronsvc.web.scalars import Cursor, EverySeconds, Instant, Limit, PriorityLevel, QueryFlag, QueryId


def documented(**schema: Any) -> Any:
    """A bound for readers of the OpenAPI document. The service checks it, together with all others, in one answer."""
    return Field(json_schema_extra=schema)


Config = dict[str, Any]
Cron = Annotated[str, Field(description="5 fields, or 6 with leading seconds", examples=["0 9 * * 1-5"])]
Timezone = Annotated[str, Field(description="IANA name", examples=["Europe/London"])]
PositiveInt = Annotated[int, documented(minimum=1, maximum=2**31 - 1)]
KeptRows = Annotated[int, documented(minimum=0, maximum=2**31 - 1)]
Delays = Annotated[
    list[float],
    documented(maxItems=100, description="for the type list: seconds before each retry; the last one repeats"),
]
RetryOn = Annotated[
    list[str],
    documented(
        maxItems=50,
        description="failures worth another attempt: error types (timeout, connect, lost, …), or http_status:503 for "
        "exactly that answer; null: what the job type calls retryable",
    ),
]
DeadlineSeconds = Annotated[
    int,
    documented(minimum=1, maximum=31_622_400, description="for a whole execution, from when it first became ready"),
]
FailuresInARow = Annotated[
    int, documented(minimum=1, maximum=1000, description="so many FAILED executions in a row pause the job")
]
CalendarName = Annotated[str, documented(maxLength=63, description="a calendar of the job's namespace")]
SlugText = Annotated[str, documented(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]


READ_ONLY = frozenset(
    {
        "id",
        "pause",
        "quarantineReason",
        "nextFireTime",
        "lastFireTime",
        "fireCount",
        "templateId",
        "templateRevision",
        "revision",
        "createdAt",
        "updatedAt",
    }
)
"""Members of a job's document that cronsvc sets."""


class TaskPayloadIn(RequestModel):
    """What to run: a job type and its configuration, which the job type checks."""

    type: Annotated[str, Field(min_length=1, max_length=64, examples=["API_CALL"])]
    config: Config = Field(default_factory=dict)


class BackoffIn(RequestModel):
    """How long to wait between attempts."""

    type: BackoffType = BackoffType.EXPONENTIAL
    delay_seconds: Annotated[float, documented(minimum=0, maximum=604_800)] = 2.0
    factor: Annotated[float, documented(minimum=1, maximum=100)] = 2.0
    max_seconds: Annotated[float, documented(minimum=0, maximum=604_800)] = 300.0
    jitter: Annotated[float, documented(minimum=0, maximum=1)] = 0.1
    delays: Delays = Field(default_factory=list)


class RetentionIn(RequestModel):
    """How many rows of the job are kept, and for how many days. null means no limit by count.

    `days`: 90, the default, means what the operator decided for all; another number is the job's own.
    """

    keep_completed: KeptRows | None = None
    keep_failed: KeptRows | None = None
    days: Annotated[int, documented(minimum=1, maximum=36_600)] = 90


class JobIn(RequestModel):
    """A job as a person defines it. One of cronExpression, every and runAt, unless it depends on others."""

    read_only: ClassVar[frozenset[str]] = READ_ONLY

    name: Annotated[str, documented(minLength=1, maxLength=255)]
    description: Annotated[str, documented(maxLength=10_000)] = ""
    namespace: SlugText | None = None
    tags: Annotated[list[str], documented(maxItems=50)] = Field(default_factory=list)
    group: Annotated[SlugText | None, Field(description="one within the namespace, for lists and bulk acts")] = None
    cron_expression: Cron | None = None
    every: EverySeconds | None = None
    run_at: Instant | None = None
    timezone: Timezone = "UTC"
    start_at: Instant | None = None
    end_at: Instant | None = None
    calendar: CalendarName | None = None
    calendar_rule: CalendarRule = CalendarRule.SKIP
    max_runs: PositiveInt | None = None
    jitter_seconds: Annotated[int, documented(minimum=0, maximum=86_400)] = 0
    misfire_policy: MisfirePolicy = MisfirePolicy.FIRE_ONCE
    misfire_grace_seconds: Annotated[int, documented(minimum=0, maximum=31_622_400)] = 60
    misfire_cap: Annotated[int, documented(minimum=1, maximum=10_000)] = 100
    overlap_policy: OverlapPolicy = OverlapPolicy.ALLOW
    max_concurrency: Annotated[int, documented(minimum=1, maximum=10_000)] | None = None
    concurrency_key: Annotated[str, documented(minLength=1, maxLength=200)] | None = None
    queue: SlugText | None = None
    priority: PriorityLevel = Priority.NORMAL
    max_attempts: Annotated[int, documented(minimum=1, maximum=100)] = 3
    backoff: BackoffIn = Field(default_factory=BackoffIn)
    retry_on: RetryOn | None = None
    timeout_seconds: Annotated[int, documented(minimum=1, maximum=604_800)] = 60
    deadline_seconds: DeadlineSeconds | None = None
    pause_after_failures: FailuresInARow | None = None
    depends_on: DependsOnIn | None = None
    retention: RetentionIn = Field(default_factory=RetentionIn)
    task_payload: TaskPayloadIn
    is_active: bool = True


ReadOnly = Annotated[Any, Field(json_schema_extra={"readOnly": True})]


class JobDocument(JobIn):
    """A whole job as GET answers it, changed and sent back. Read-only members may stay if left as they were."""

    id: ReadOnly = None
    pause: ReadOnly = None
    quarantine_reason: ReadOnly = None
    next_fire_time: ReadOnly = None
    last_fire_time: ReadOnly = None
    fire_count: ReadOnly = None
    template_id: ReadOnly = None
    template_revision: ReadOnly = None
    revision: Annotated[int | None, Field(description="counts as If-Match")] = None
    created_at: ReadOnly = None
    updated_at: ReadOnly = None


class JobPatch(RootModel[dict[str, Any]]):
    """A JSON merge patch (RFC 7396) over the job's document: null puts a member back to its default."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"cronExpression": None, "every": "PT20M"}, {"taskPayload": {"config": {}}}]}
    )


class TaskPayloadAnswer(AnswerModel):
    type: str
    config: Config


class BackoffAnswer(AnswerModel):
    type: BackoffType
    delay_seconds: float
    factor: float
    max_seconds: float
    jitter: float


class BackoffListAnswer(BackoffAnswer):
    """A backoff of the type list."""

    delays: list[float]


class RetentionAnswer(AnswerModel):
    keep_completed: int | None
    keep_failed: int | None
    days: int


class PauseAnswer(AnswerModel):
    """Who paused the job, when, why, and until when (null: until somebody resumes it)."""

    by: str
    at: Instant
    note: str | None
    until: Instant | None


class DefinitionAnswer(AnswerModel):
    """Everything a person decides about a job."""

    name: str
    description: str
    namespace: str
    tags: list[str]
    group: str | None
    cron_expression: str | None
    every: EverySeconds | None
    run_at: Instant | None
    timezone: str
    start_at: Instant | None
    end_at: Instant | None
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
    priority: PriorityLevel
    max_attempts: int
    backoff: BackoffListAnswer | BackoffAnswer
    retry_on: list[str] | None
    timeout_seconds: int
    deadline_seconds: int | None
    pause_after_failures: int | None
    depends_on: DependsOnAnswer | None
    retention: RetentionAnswer
    task_payload: TaskPayloadAnswer
    is_active: bool


class Identified(AnswerModel):
    id: int


class JobAnswer(DefinitionAnswer, Identified):
    """A job. `nextFireTime` is null while it is paused, inactive or quarantined, and when nothing is left to fire.

    `templateRevision`: of the template it was made from, what was applied last; a newer one changes no job by itself.
    """

    pause: PauseAnswer | None
    quarantine_reason: str | None
    next_fire_time: Instant | None
    last_fire_time: Instant | None
    fire_count: int
    template_id: int | None
    template_revision: int | None
    revision: int
    created_at: Instant
    updated_at: Instant


class JobList(AnswerModel):
    items: list[JobAnswer]
    next_cursor: str | None


class JobQuery(QueryModel):
    """Filters of the job list. `jobId` alone answers with the one job, or 404."""

    job_id: QueryId | None = None
    name: Annotated[str, Field(max_length=255)] | None = None
    tag: Annotated[str, Field(max_length=64)] | None = None
    group: Annotated[str, Field(max_length=63)] | None = None
    template_id: QueryId | None = None
    queue: Annotated[str, Field(max_length=63)] | None = None
    is_active: QueryFlag | None = None
    namespace: Annotated[str, Field(max_length=63)] | None = None
    sort: JobSort = JobSort.NEWEST
    fields: Fields | None = None
    cursor: Annotated[str, Field(max_length=1500)] | None = None
    limit: Limit = 50


class PageQuery(QueryModel):
    sort: IdSort = IdSort.NEWEST
    cursor: Cursor | None = None
    limit: Limit = 50


class PauseIn(RequestModel):
    note: Annotated[str, documented(maxLength=1000)] | None = None
    until: Instant | None = None


class ResumeIn(RequestModel):
    """`catchUp`: what the pause held back is planned by the misfire policy, in place of one SKIPPED row for it all."""

    catch_up: bool = False


class RevisionAnswer(AnswerModel):
    """One stored definition of a job, as it was."""

    revision: int
    definition: DefinitionAnswer
    actor: str
    created_at: Instant


class RevisionList(AnswerModel):
    items: list[RevisionAnswer]
    next_cursor: str | None
