"""The service itself as JSON: health, readiness, status, keys, and the shape of an error."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, RootModel

from cronsvc.domain.execution import Status
from cronsvc.services.access import Role
from cronsvc.services.paging import IdSort
from cronsvc.web.ending_models import DeadLetterCount
from cronsvc.web.models import AnswerModel, QueryModel, RequestModel
from cronsvc.web.scalars import Cursor, Instant, Limit, QueryFlag


class OpenApiAnswer(RootModel[dict[str, Any]]):
    """An OpenAPI 3.1 document."""


class FieldProblem(AnswerModel):
    field: str
    reason: str


class ProblemAnswer(AnswerModel):
    """RFC 9457 problem document. `type` leads to a page about this kind of problem."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FieldProblem] = Field(
        default_factory=list, description="every bad field; absent when none is to blame"
    )


class DatabaseHealth(AnswerModel):
    """`responseTime` in milliseconds; null when the database does not answer."""

    status: Literal["connected", "disconnected"]
    response_time: float | None


class JobsHealth(AnswerModel):
    initialized: bool


class HealthAnswer(AnswerModel):
    """Liveness: 200 for as long as the process can answer. `uptime` in seconds."""

    status: Literal["OK"]
    timestamp: Instant
    uptime: float
    database: DatabaseHealth
    jobs: JobsHealth


class PartAnswer(AnswerModel):
    """One thing that must work. `responseTime` in milliseconds where it was measured."""

    status: Literal["ok", "failing"]
    response_time: float | None


class ReadyAnswer(AnswerModel):
    """Readiness: 200 when every part works, else 503 with the parts that do not.

    `fenced` is 200: requests are served, and nothing is sent until somebody confirms.
    """

    status: Literal["ready", "not ready", "fenced"]
    postgres: PartAnswer
    redis: PartAnswer
    database_schema: PartAnswer = Field(alias="schema")
    self_check: PartAnswer
    problems: list[str]


class JobCountsAnswer(AnswerModel):
    """Jobs by what holds them back, each counted once. `complete`: false when there are more than were counted."""

    active: int
    paused: int
    inactive: int
    quarantined: int
    complete: bool


class LastDayAnswer(AnswerModel):
    """Executions scheduled in the last 24 hours. `complete`: false when only the newest were counted."""

    counts: dict[Status, int]
    complete: bool


class WorkerAnswer(AnswerModel):
    """A worker process whose lease has not run out."""

    id: str
    name: str
    version: str
    queues: list[str]
    concurrency: int
    running: int
    state: str
    started_at: Instant
    heartbeat_at: Instant


class SchedulerAnswer(AnswerModel):
    """A scheduler process that was heard of lately."""

    id: str
    name: str
    version: str
    started_at: Instant
    heartbeat_at: Instant


class StatusAnswer(AnswerModel):
    """What is going on, by the database clock. `databaseMs` is one round trip."""

    timestamp: Instant
    jobs: JobCountsAnswer
    waiting: int
    running: int
    oldest_waiting_seconds: float | None
    dead_letters: DeadLetterCount
    last_day: LastDayAnswer
    next_fire_time: Instant | None
    workers: list[WorkerAnswer]
    schedulers: list[SchedulerAnswer]
    database_ms: float


class MeAnswer(AnswerModel):
    """Who the credential speaks for. `namespaces`: null means all of them.

    `roles` says the role in each namespace where they differ; `role` is then the least of them.
    """

    actor: str
    role: Role
    namespaces: list[str] | None
    roles: dict[str, Role] | None


class KeyIn(RequestModel):
    """One `role`, in `namespaces` or everywhere; or `roles`, one for each namespace."""

    name: str
    role: Role | None = None
    namespaces: list[str] | None = None
    roles: dict[str, Role] | None = None
    expires_at: Instant | None = None


class KeyAnswer(AnswerModel):
    """An API key without its secret."""

    key_id: str
    name: str
    role: Role
    namespaces: list[str] | None
    created_by: str
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Instant | None
    revoked_at: Instant | None
    roles: dict[str, Role] | None


class KeyCreated(KeyAnswer):
    """A new key. `key` is shown this once and stored nowhere."""

    key: str


class KeyQuery(QueryModel):
    """`isLive`: neither revoked nor expired; false: one of them."""

    name: Annotated[str, Field(max_length=100)] | None = None
    is_live: QueryFlag | None = None
    sort: IdSort = IdSort.OLDEST
    cursor: Cursor | None = None
    limit: Limit = 50


class KeyList(AnswerModel):
    items: list[KeyAnswer]
    next_cursor: str | None
