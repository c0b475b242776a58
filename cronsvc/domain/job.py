"""A job: what a person defines, and the state cronsvc keeps beside it.

`JobDefinition` is what a revision stores; `Job` adds the cursor and the pause. Defaults here are the product's defaults
and equal those of the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Any

from cronsvc.domain.dependencies import DependsOn
from cronsvc.domain.retry import Backoff
from cronsvc.domain.schedule import Schedule, ScheduleError, next_fire


class MisfirePolicy(StrEnum):
    SKIP = "skip"  # none of the late instants runs
    FIRE_ONCE = "fire_once"  # the latest of them runs
    FIRE_ALL = "fire_all"  # the latest `misfire_cap` of them run


class OverlapPolicy(StrEnum):
    ALLOW = "allow"  # run beside the unfinished one
    SKIP = "skip"  # record SKIPPED(overlap) instead
    BUFFER_ONE = "buffer_one"  # one waits until the unfinished one has ended; more are SKIPPED(overlap)
    BUFFER_ALL = "buffer_all"  # each waits for the one before it, in order
    CANCEL_OTHER = "cancel_other"  # ask the unfinished one to stop, run when it has
    TERMINATE_OTHER = "terminate_other"  # the unfinished one is CANCELLED(replaced) at once, run now


class Priority(IntEnum):
    CRITICAL = 1
    HIGH = 5
    NORMAL = 10
    LOW = 15


DEFAULT_DAYS = 90

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long rows of a job are kept; None for a count means no limit by count.

    `days` at its default means what the operator decided (CRONSVC_RETENTION_DAYS); another number is the job's own.
    """

    keep_completed: int | None = None
    keep_failed: int | None = None
    days: int = DEFAULT_DAYS


@dataclass(frozen=True, slots=True)
class TaskPayload:
    """What to run: the name of an executor and its configuration, still unparsed."""

    type: str
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class JobDefinition:
    """Everything a person decides about a job. `schedule` carries expression, timezone, start and end."""

    name: str
    schedule: Schedule
    task_payload: TaskPayload
    namespace: str = "default"
    description: str = ""
    tags: tuple[str, ...] = ()
    group: str | None = None  # the one group it belongs to within its namespace
    max_runs: int | None = None
    jitter_seconds: int = 0
    misfire_policy: MisfirePolicy = MisfirePolicy.FIRE_ONCE
    misfire_grace_seconds: int = 60
    misfire_cap: int = 100
    overlap_policy: OverlapPolicy = OverlapPolicy.ALLOW
    max_concurrency: int | None = None  # executions that run at a time
    concurrency_key: str | None = None  # jobs of one namespace with the same key share their limit
    queue: str = "default"
    priority: Priority = Priority.NORMAL
    max_attempts: int = 3
    backoff: Backoff = field(default_factory=Backoff)
    retry_on: tuple[str, ...] | None = None  # None: whatever the job type calls retryable
    timeout_seconds: int = 60
    deadline_seconds: int | None = None  # for the whole execution, from when it first became ready
    pause_after_failures: int | None = None  # so many FAILED executions in a row pause the job
    depends_on: DependsOn | None = None  # the jobs after whose ends it runs, beside its schedule or without one
    retention: Retention = field(default_factory=Retention)
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class Pause:
    by: str
    at: datetime
    note: str | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Job:
    """A definition with its cursor: `next_fire_time` is the first instant that has no row yet, if there is one."""

    id: int
    definition: JobDefinition
    revision: int
    pause: Pause | None
    next_fire_time: datetime | None
    last_fire_time: datetime | None
    fire_count: int
    quarantine_reason: str | None
    created_at: datetime
    updated_at: datetime
    template_id: int | None = None  # what it was made from, and the revision that was applied last
    template_revision: int | None = None

    @property
    def upcoming_fire_time(self) -> datetime | None:
        """The next instant that will really fire: None while paused, inactive or quarantined."""
        held = self.pause is not None or not self.definition.is_active or self.quarantine_reason is not None
        first, schedule = self.next_fire_time, self.definition.schedule
        if held or first is None or schedule.calendar is None:
            return None if held else first
        try:
            return next_fire(schedule, first - _TICK)  # the cursor may stand on an instant that the calendar closes
        except ScheduleError:
            return first  # written by SQL; the tick will say what is wrong


def merge_params(config: Mapping[str, Any], params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Lay `params` over `config`: objects merge key by key, anything else replaces."""
    merged = dict(config)
    for key, value in (params or {}).items():
        present = merged.get(key)
        if isinstance(present, Mapping) and isinstance(value, Mapping):
            merged[key] = merge_params(present, value)
        else:
            merged[key] = value
    return merged
