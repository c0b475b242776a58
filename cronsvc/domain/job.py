"""A job: what a person defines, and the state cronsvc keeps beside it.

`JobDefinition` is what a revision stores; `Job` adds the cursor and the pause. Defaults here are the product's defaults
and equal those of the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any

from cronsvc.domain.retry import Backoff
from cronsvc.domain.schedule import Schedule


class MisfirePolicy(StrEnum):
    SKIP = "skip"  # none of the late instants runs
    FIRE_ONCE = "fire_once"  # the latest of them runs
    FIRE_ALL = "fire_all"  # the latest `misfire_cap` of them run


class OverlapPolicy(StrEnum):
    ALLOW = "allow"  # run beside the unfinished one
    SKIP = "skip"  # record SKIPPED(overlap) instead


class Priority(IntEnum):
    CRITICAL = 1
    HIGH = 5
    NORMAL = 10
    LOW = 15


@dataclass(frozen=True, slots=True)
class Retention:
    """How long rows of a job are kept; None for a count means no limit by count."""

    keep_completed: int | None = None
    keep_failed: int | None = None
    days: int = 90


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
    max_runs: int | None = None
    jitter_seconds: int = 0
    misfire_policy: MisfirePolicy = MisfirePolicy.FIRE_ONCE
    misfire_grace_seconds: int = 60
    misfire_cap: int = 100
    overlap_policy: OverlapPolicy = OverlapPolicy.ALLOW
    queue: str = "default"
    priority: Priority = Priority.NORMAL
    max_attempts: int = 3
    backoff: Backoff = field(default_factory=Backoff)
    timeout_seconds: int = 60
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

    @property
    def upcoming_fire_time(self) -> datetime | None:
        """The next instant that will really fire: None while paused, inactive or quarantined."""
        held = self.pause is not None or not self.definition.is_active or self.quarantine_reason is not None
        return None if held else self.next_fire_time


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
