"""Queues, and pausing many jobs at once, as JSON; the answers of the latter are `{success, message}` and counts."""

from typing import Annotated

from pydantic import Field

from cronsvc.services.paging import NameSort
from cronsvc.web.job_models import PauseAnswer, documented
from cronsvc.web.models import AnswerModel, QueryModel, RequestModel
from cronsvc.web.scalars import Cursor, Instant, Limit, QueryFlag
from cronsvc.web.selecting import Selecting

Concurrency = Annotated[int, documented(minimum=1, maximum=100_000)]
RatePerMinute = Annotated[int, documented(minimum=1, maximum=10_000_000)]
Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
Word = Annotated[str, Field(min_length=1, max_length=63)]


class QueueAnswer(AnswerModel):
    """A queue and what it has to do. Counts are of what the caller may see, among the first 100,000 unfinished."""

    name: str
    paused: PauseAnswer | None
    concurrency: int | None
    rate_per_minute: int | None
    waiting: int
    running: int
    oldest_waiting_seconds: float | None
    workers: Annotated[int, Field(description="live workers that serve it")]
    created_at: Instant


class QueueList(AnswerModel):
    items: list[QueueAnswer]
    next_cursor: str | None


class QueueQuery(QueryModel):
    is_paused: QueryFlag | None = None
    sort: NameSort = NameSort.NAME
    cursor: Cursor | None = None
    limit: Limit = 50


class QueueIn(RequestModel):
    """Limits of a queue; null is no limit. PUT sets both, PATCH those that are given."""

    concurrency: Concurrency | None = None
    rate_per_minute: RatePerMinute | None = None


class SelectorIn(Selecting):
    """Which jobs: those that match everything given; all of the tags, any of the ids. Nothing given: all of them."""

    tags: Annotated[list[str], documented(minItems=1)] | None = None
    namespace: Word | None = None
    group: Word | None = None
    queue: Word | None = None
    name_prefix: Annotated[str, Field(max_length=255), documented(minLength=1)] | None = None
    job_ids: Annotated[list[Id], documented(minItems=1, maxItems=10_000)] | None = None


class PauseJobsIn(SelectorIn):
    note: Annotated[str, documented(maxLength=1000)] | None = None
    until: Instant | None = None


class ResumeJobsIn(SelectorIn):
    pass


class JobsChanged(AnswerModel):
    """How many jobs matched, and how many of them were not yet as asked for."""

    success: bool
    message: str
    matched: int
    changed: int
