"""Calls for monitoring as JSON: `{success, data}`, in the words of the queue libraries that people come from."""

from typing import Any

from pydantic import Field

from cronsvc.domain.execution import Status
from cronsvc.web.models import AnswerModel, QueryModel
from cronsvc.web.run_models import ExecutionAnswer
from cronsvc.web.scalars import Instant, QueryId


class RepeatableJob(AnswerModel):
    """A job that will fire. `every` in milliseconds; `next` in milliseconds since 1970."""

    id: int
    name: str
    key: str
    cron: str | None
    every: int | None
    tz: str
    next: int


class JobCounts(AnswerModel):
    """Executions: `active` and `waiting` now; `completed` and `failed` of those scheduled in the last 24 hours."""

    active: int
    waiting: int
    completed: int
    failed: int
    complete: bool = Field(description="false when there was too much to count")


class ActiveJob(AnswerModel):
    """An execution in progress; `data` are the params of a manual run, `progress` is 0 until something was said."""

    id: str
    name: str
    job_id: int
    data: dict[str, Any]
    progress: int
    start_time: Instant


class Snapshot(AnswerModel):
    """The hundred jobs that fire next, the fifty executions that have run longest, and counts of all."""

    repeatable_jobs: list[RepeatableJob]
    counts: JobCounts
    active_jobs: list[ActiveJob]


class QueueStats(AnswerModel):
    """`data.counts` once more, under the names that other dashboards have; `delayed` is part of `waiting`."""

    waiting: int
    active: int
    completed: int
    failed: int
    delayed: int


class RecentJob(AnswerModel):
    """An execution, in few words."""

    id: int
    job_id: int
    name: str
    status: Status
    progress: int | None
    scheduled_time: Instant
    start_time: Instant | None
    end_time: Instant | None


class SnapshotAnswer(AnswerModel):
    """`recentJobs`: the latest twenty executions, the newest first."""

    success: bool
    data: Snapshot
    queue_stats: QueueStats
    recent_jobs: list[RecentJob]


class SnapshotQuery(QueryModel):
    """`jobId`: of this job alone."""

    job_id: QueryId | None = None


class QueueMetrics(AnswerModel):
    name: str
    is_paused: bool
    waiting: int
    active: int
    workers: int


class Metrics(AnswerModel):
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
    queues: list[QueueMetrics]
    is_healthy: bool
    problems: list[str]


class MetricsAnswer(AnswerModel):
    success: bool
    data: Metrics


class HistoryAnswer(AnswerModel):
    success: bool
    data: list[ExecutionAnswer]
    next_cursor: str | None
