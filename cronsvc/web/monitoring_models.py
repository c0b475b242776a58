"""The seeds' calls for monitoring as JSON: `{success, data}`, in the words of seeds 001 and 002."""

from typing import Any

from pydantic import Field

from cronsvc.web.models import AnswerModel
from cronsvc.web.run_models import ExecutionAnswer
from cronsvc.web.scalars import Instant


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


class SnapshotAnswer(AnswerModel):
    success: bool
    data: Snapshot


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
