"""Executions and attempts as JSON."""

from enum import StrEnum
from typing import Any

from pydantic import ConfigDict, RootModel

from cronsvc.domain.execution import Status, Trigger
from cronsvc.web.dependency_models import CauseAnswer
from cronsvc.web.fields import Fields
from cronsvc.web.models import AnswerModel, QueryModel, RequestModel
from cronsvc.web.scalars import Cursor, Instant, Limit, QueryId


class ErrorAnswer(AnswerModel):
    """Why it failed: `type` is stable (`http_status`, `timeout`, `egress_denied`, `lost`, …), `message` for people."""

    type: str
    message: str


class CallbackWaitAnswer(AnswerModel):
    """The target answered 202 and will call: since when that is so, and by when it must."""

    since: Instant | None
    heartbeat_due: Instant | None
    end_due: Instant | None


class ExecutionAnswer(AnswerModel):
    """One occurrence of a job. A SKIPPED row may stand for a whole range, up to `skippedUntil`.

    A FAILED one without `resolvedAt` is a dead letter. `cancelRequestedAt` of a RUNNING one: its worker shall stop it.
    `callback`: it waits for its target's call, and no worker holds it. `causedBy`: the ends that brought it about.
    `children`: how many executions it has started; while `waitsForChildren` it holds no worker either.
    """

    id: int
    job_id: int
    job_name: str
    namespace: str
    scheduled_time: Instant
    trigger: Trigger
    status: Status
    status_reason: str | None
    attempt: int
    max_attempts: int
    queued_at: Instant
    start_time: Instant | None
    end_time: Instant | None
    duration_ms: int | None
    worker: str | None
    params: dict[str, Any] | None
    requested_by: str | None
    skipped_until: Instant | None
    skipped_count: int | None
    progress: int | None
    result: Any
    error: ErrorAnswer | None
    log_details: Any
    backfill_id: int | None
    caused_by: list[CauseAnswer]
    parent_id: int | None
    children: int
    waits_for_children: bool
    revision: int
    cancel_requested_at: Instant | None
    cancel_requested_by: str | None
    cancel_note: str | None
    resolved_at: Instant | None
    resolved_by: str | None
    resolve_note: str | None
    callback: CallbackWaitAnswer | None


class ExecutionList(AnswerModel):
    items: list[ExecutionAnswer]
    next_cursor: str | None


class ChildList(ExecutionList):
    """Children of an execution; `counts`: how many of all are in which status."""

    counts: dict[str, int]


class AttemptAnswer(AnswerModel):
    """One finished try of an execution."""

    attempt: int
    outcome: str
    worker: str | None
    queued_at: Instant | None
    start_time: Instant | None
    end_time: Instant
    duration_ms: int | None
    http_status: int | None
    error: ErrorAnswer | None
    response_excerpt: str | None


class ExecutionDetail(ExecutionAnswer):
    """An execution with every finished attempt, the first one first."""

    attempts: list[AttemptAnswer]


class ProgressAnswer(AnswerModel):
    """What an execution says of itself, live. `logDetails` is `{"attempt", "note", "lines", "dropped"}`."""

    status: Status
    progress: int | None
    note: str | None
    log_details: Any


class ExecutionQuery(QueryModel):
    job_id: QueryId | None = None
    status: Status | None = None
    trigger: Trigger | None = None
    backfill_id: QueryId | None = None
    recovery_id: QueryId | None = None
    cursor: Cursor | None = None
    limit: Limit = 50


class JobExecutionQuery(QueryModel):
    status: Status | None = None
    trigger: Trigger | None = None
    cursor: Cursor | None = None
    limit: Limit = 50


class ExecutionSort(StrEnum):
    """By id: the order in which they were recorded."""

    NEWEST = "-id"
    OLDEST = "id"


class JobExecutionSort(StrEnum):
    LATEST = "-scheduledTime"
    EARLIEST = "scheduledTime"


class ExecutionListQuery(ExecutionQuery):
    """With `jobId` the list is by scheduled time, the latest first: `/jobs/{jobId}/executions` turns that round."""

    sort: ExecutionSort = ExecutionSort.NEWEST
    fields: Fields | None = None


class JobExecutionListQuery(JobExecutionQuery):
    sort: JobExecutionSort = JobExecutionSort.LATEST
    fields: Fields | None = None


class TriggerIn(RequestModel):
    """`params` is laid over the job's `taskPayload.config` for this one execution."""

    params: dict[str, Any] | None = None


class TriggerParams(RootModel[dict[str, Any]]):
    """The members of `params`, by themselves."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"syncType": "incremental"}]})


class TriggeredAnswer(ExecutionAnswer):
    """The execution, with a word about it."""

    success: bool
    message: str
    timestamp: Instant


class TriggerByNameIn(RequestModel):
    name: str
    namespace: str | None = None
    params: dict[str, Any] | None = None
