"""Ending executions, running them again, and dead letters as JSON."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from cronsvc.web.fields import Fields
from cronsvc.web.models import AnswerModel, QueryModel, RequestModel
from cronsvc.web.scalars import Cursor, Instant, Limit, QueryId

Note = Annotated[str, Field(json_schema_extra={"maxLength": 1000})]
Id = Annotated[int, Field(ge=1, le=2**63 - 1)]


class CancelIn(RequestModel):
    """`note` is kept with the execution."""

    note: Note | None = None


class ResolveIn(RequestModel):
    """`note` says what was done about it."""

    note: Note


class DeadLetterSort(StrEnum):
    LATEST = "-scheduledTime"
    EARLIEST = "scheduledTime"


class DeadLetterQuery(QueryModel):
    """Filters of the list. `since` and `until` bound the scheduled time; `until` itself is out."""

    job_id: QueryId | None = None
    queue: Annotated[str, Field(max_length=63)] | None = None
    namespace: Annotated[str, Field(max_length=63)] | None = None
    since: Instant | None = None
    until: Instant | None = None
    sort: DeadLetterSort = DeadLetterSort.LATEST
    fields: Fields | None = None
    cursor: Cursor | None = None
    limit: Limit = 50


class DeadLettersIn(RequestModel):
    """Which dead letters: `ids`, or at least one filter, of which the latest `limit` are taken."""

    ids: list[Id] | None = None
    job_id: Id | None = None
    queue: str | None = None
    namespace: str | None = None
    since: Instant | None = None
    until: Instant | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class ResolveManyIn(DeadLettersIn):
    note: Note


class BulkItem(AnswerModel):
    """What became of one. When it was not `done`, `problem` is the type of the problem and `detail` says what it is."""

    id: int
    done: bool
    problem: str | None
    detail: str | None


class BulkAnswer(AnswerModel):
    """An item for each, all decided in one transaction. `more`: the filter fits others beyond the limit."""

    items: list[BulkItem]
    done: int
    more: bool


class DeadLetterCount(AnswerModel):
    """`complete`: false when there are more than were counted."""

    count: int
    complete: bool
