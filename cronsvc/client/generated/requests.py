"""Parts of what is sent.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Literal

from cronsvc.client.generated.words import (
    BackoffType,
    ModeInput,
    ParameterType,
    When,
)
from cronsvc.client.shapes import Part


class BackoffIn(Part):
    """How long to wait between attempts."""

    type: BackoffType = "exponential"
    delay_seconds: float = 2.0
    factor: float = 2.0
    max_seconds: float = 300.0
    jitter: float = 0.1
    delays: Sequence[float] = ()


class BulkSelectorIn(Part):
    """Which jobs: those that match everything given, all of the tags. At least one must be given."""

    tags: Sequence[str] = ()
    namespace: str | None = None
    group: str | None = None
    queue: str | None = None
    name_prefix: str | None = None


class CallbackErrorIn(Part):
    """Why it failed: `type` is what `retryOn` may name, `message` is for people."""

    type: str = "target_failed"
    message: str


class ClosedDateIn(Part):
    """One date on which nothing runs."""

    date: date
    label: str = ""


class ConditionIn(Part):
    """What must hold of the upstream's result at `path` (member names and list places joined by dots): every
    test.
    """

    path: str = ""
    exists: bool | None = None
    equals: Any = None
    not_equals: Any = None
    in_: Sequence[Any] | None = None
    greater_than: float | None = None
    less_than: float | None = None


class UpstreamIn(Part):
    """A job to wait for, by `jobId` or by `job`, its name in the namespace; and how it must end."""

    job_id: int | None = None
    job: str | None = None
    when: When = "success"
    condition: ConditionIn | Mapping[str, Any] | None = None


class DependsOnIn(Part):
    """The jobs after whose ends the job runs. `all`: when each has ended since the last time; `any`: whenever one
    has. An end that is not what is waited for makes a SKIPPED (upstream) execution.
    """

    mode: ModeInput = "all"
    on: Sequence[UpstreamIn | Mapping[str, Any]]


class LogLineIn(Part):
    """A line for the execution's log; at most 4 KB of each are kept, and the last 200 lines."""

    message: str
    level: Literal["debug", "info", "warning", "error"] = "info"
    fields: Mapping[str, Any] = {}


class ParameterIn(Part):
    """A parameter; without a `default` (or with null) its value must be given. `choices`: it is one of these."""

    name: str
    type: ParameterType = "string"
    default: Any = None
    description: str = ""
    choices: Sequence[Any] = ()


class RetentionIn(Part):
    """How many rows of the job are kept, and for how many days. null means no limit by count. `days`: 90, the
    default, means what the operator decided for all; another number is the job's own.
    """

    keep_completed: int | None = None
    keep_failed: int | None = None
    days: int = 90


class SelectorIn(Part):
    """Jobs that match everything that is given: all of the tags, one of the ids. `{}` is every job."""

    namespace: str | None = None
    tags: Sequence[str] = ()
    queue: str | None = None
    name_prefix: str | None = None
    job_ids: Sequence[int] = ()


class TaskPayloadIn(Part):
    """What to run: a job type and its configuration, which the job type checks."""

    type: str
    config: Mapping[str, Any] = {}
