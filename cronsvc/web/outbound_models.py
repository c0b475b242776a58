"""Egress lists, hosts with budgets and breakers, and what is held for them, as JSON."""

from typing import Annotated, Literal

from pydantic import Field

from cronsvc.services.paging import NameSort
from cronsvc.services.target_hosts import HoldSort
from cronsvc.web.job_models import documented
from cronsvc.web.models import AnswerModel, QueryModel, RequestModel
from cronsvc.web.scalars import Cursor, Instant, Limit, QueryCount


class PagesQuery(QueryModel):
    sort: NameSort = NameSort.NAME
    cursor: Cursor | None = None
    limit: Limit = 50


class EgressListIn(RequestModel):
    """Which targets may be called: `hosts` are names or `*.` and a name, `networks` are for addresses."""

    hosts: Annotated[list[str], documented(maxItems=200, description="api.example.com or *.example.com")] = Field(
        default_factory=list
    )
    networks: Annotated[list[str], documented(maxItems=200, description="192.0.2.0/24 or 2001:db8::/32")] = Field(
        default_factory=list
    )


class EgressListAnswer(AnswerModel):
    """One list; everything else is refused."""

    hosts: list[str]
    networks: list[str]
    updated_at: Instant
    updated_by: str


class EgressAnswer(AnswerModel):
    """What the jobs of a namespace may call: what each of its lists permits, and without one every public target."""

    namespace: str
    service: Annotated[EgressListAnswer | None, Field(description="set by an administrator of everything")]
    own: Annotated[EgressListAnswer | None, Field(description="set by an administrator of the namespace")]


class EgressAnswers(AnswerModel):
    items: list[EgressAnswer]
    next_cursor: str | None


class HostIn(RequestModel):
    """The settings of a host; null or left out is no limit. `breakerFailures`: failures in a row that open it."""

    calls_per_second: Annotated[int, documented(minimum=1, maximum=10_000)] | None = None
    calls_per_minute: Annotated[int, documented(minimum=1, maximum=100_000)] | None = None
    max_concurrent: Annotated[int, documented(minimum=1, maximum=100_000)] | None = None
    breaker_failures: Annotated[int, documented(minimum=1, maximum=1000)] | None = None
    breaker_open_seconds: Annotated[int, documented(minimum=1, maximum=86_400)] = 30


class TripIn(RequestModel):
    """`seconds`: how long nothing calls the host before one call tries it; left out: until it is reset."""

    seconds: Annotated[int, documented(minimum=1, maximum=2_592_000)] | None = None
    note: Annotated[str, documented(maxLength=1000)] | None = None


class BreakerAnswer(AnswerModel):
    """`closed`: it is called. `open`: calls are held until `openUntil` (null: a reset). `half_open`: one call tries."""

    state: Literal["closed", "open", "half_open"]
    failures: Annotated[int, Field(description="in a row")]
    changed_at: Instant
    open_until: Instant | None
    tripped_by: Annotated[str | None, Field(description="who opened it by hand")]
    note: str | None


class HostAnswer(AnswerModel):
    """A host, what its calls must keep to, and what is going on."""

    host: str
    calls_per_second: int | None
    calls_per_minute: int | None
    max_concurrent: int | None
    breaker_failures: int | None
    breaker_open_seconds: int
    breaker: BreakerAnswer
    running: Annotated[int, Field(description="calls that run, where there is a budget")]
    held: Annotated[int, Field(description="executions that wait for it")]
    updated_at: Instant
    updated_by: str


class HostList(AnswerModel):
    items: list[HostAnswer]
    next_cursor: str | None


class HoldsQuery(QueryModel):
    host: Annotated[str, Field(max_length=255)] | None = None
    execution_id: Annotated[QueryCount, Field(ge=1, le=2**63 - 1)] | None = None
    sort: HoldSort = HoldSort.LATEST
    cursor: Cursor | None = None
    limit: Limit = 50


class HoldAnswer(AnswerModel):
    """That an execution waited for a host, without an attempt being spent or anything sent."""

    execution_id: int
    job_id: int
    namespace: str
    scheduled_time: Instant
    host: str
    reason: Literal["rate", "concurrency", "breaker"]
    times: Annotated[int, Field(description="how often it was claimed and given back")]
    held_from: Instant
    held_until: Annotated[Instant, Field(description="when it is, or was, looked at again")]
    is_held: Annotated[bool, Field(description="it waits now")]


class HoldList(AnswerModel):
    items: list[HoldAnswer]
    next_cursor: str | None
