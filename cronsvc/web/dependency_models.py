"""Dependencies and children as JSON."""

from typing import Annotated, Any

from pydantic import Field

from cronsvc.domain.dependencies import MOST_UPSTREAMS, Mode, When
from cronsvc.domain.execution import Status
from cronsvc.services.paging import IdSort
from cronsvc.web.models import AnswerModel, QueryModel, RequestModel
from cronsvc.web.scalars import Cursor, Instant, Limit

Scalar = Annotated[Any, Field(description="text, a number, true, false or null")]


class ConditionIn(RequestModel):
    """What must hold of the upstream's result at `path` (member names and list places joined by dots): every test."""

    path: Annotated[str, Field(json_schema_extra={"maxLength": 200}, examples=["summary.errors"])] = ""
    exists: bool | None = None
    equals: Scalar = None
    not_equals: Scalar = None
    in_: list[Scalar] | None = Field(default=None, alias="in", json_schema_extra={"maxItems": 50})
    greater_than: float | None = None
    less_than: float | None = None


class UpstreamIn(RequestModel):
    """A job to wait for, by `jobId` or by `job`, its name in the namespace; and how it must end."""

    job_id: int | None = None
    job: Annotated[str, Field(json_schema_extra={"minLength": 1, "maxLength": 255})] | None = None
    when: When = When.SUCCESS
    condition: ConditionIn | None = None


class DependsOnIn(RequestModel):
    """The jobs after whose ends the job runs. `all`: when each has ended since the last time; `any`: whenever one has.

    An end that is not what is waited for makes a SKIPPED (upstream) execution.
    """

    mode: Mode = Mode.ALL
    on: Annotated[list[UpstreamIn], Field(json_schema_extra={"minItems": 1, "maxItems": MOST_UPSTREAMS})]


class UpstreamAnswer(AnswerModel):
    job_id: int
    when: When
    condition: dict[str, Any] | None


class NamedUpstreamAnswer(AnswerModel):
    """A job that SQL named and that is not there."""

    job: str
    when: When
    condition: dict[str, Any] | None


class DependsOnAnswer(AnswerModel):
    mode: Mode
    on: list[UpstreamAnswer | NamedUpstreamAnswer]


class UpstreamState(UpstreamAnswer):
    """A job that this one waits for. `endedAt`: since when its end is in the open round of `all`; `isMet`: whether it
    ended as it should."""

    job_name: str
    ended_at: Instant | None
    is_met: bool | None


class DownstreamState(UpstreamAnswer):
    """A job that waits for this one."""

    job_name: str
    mode: Mode


class DependenciesAnswer(AnswerModel):
    """What a job waits for, and who waits for it (at most 500)."""

    mode: Mode | None
    upstream: list[UpstreamState]
    downstream: list[DownstreamState]


class CauseAnswer(AnswerModel):
    """An end that brought an execution about; `why` says why it is not what was waited for."""

    execution_id: int
    job_id: int
    job_name: str | None
    status: Status
    is_met: bool
    why: str | None


class ChildQuery(QueryModel):
    status: Status | None = None
    sort: IdSort = IdSort.OLDEST
    cursor: Cursor | None = None
    limit: Limit = 50
