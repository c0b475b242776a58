"""The audit log as JSON."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from cronsvc.services.auditing import MOST_EXPORTED
from cronsvc.web.fields import Fields
from cronsvc.web.models import AnswerModel, QueryModel
from cronsvc.web.scalars import Cursor, Instant, Limit, QueryCount, QueryId

Text = Annotated[str, Field(max_length=300)]


class AuditEntry(AnswerModel):
    """One change: who, what, when, from where, before and after."""

    id: int
    at: Instant
    actor: str
    source: Annotated[str | None, Field(description="the address the request came from")]
    request_id: Annotated[str | None, Field(description="the X-Request-Id that its answer carried")]
    action: str
    entity: str
    entity_id: str
    namespace: str | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    place: Annotated[int | None, Field(description="its place in the chain; null until it is sealed, some seconds")]
    hash: Annotated[str | None, Field(description="SHA-256 of the hash before it and of what it says")]


class AuditList(AnswerModel):
    items: list[AuditEntry]
    next_cursor: str | None


class AuditFilter(QueryModel):
    """`from` is inclusive, `to` is not."""

    actor: Text | None = None
    action: Text | None = None
    entity: Text | None = None
    entity_id: Text | None = None
    request_id: Text | None = None
    namespace: Annotated[str, Field(max_length=63)] | None = None
    since: Annotated[Instant | None, Field(alias="from")] = None
    until: Annotated[Instant | None, Field(alias="to")] = None


class AuditSort(StrEnum):
    NEWEST = "-at"
    OLDEST = "at"


class AuditQuery(AuditFilter):
    sort: AuditSort = AuditSort.NEWEST
    fields: Fields | None = None
    cursor: Cursor | None = None
    limit: Limit = 50


class AuditExportQuery(AuditFilter):
    """`afterId` goes on after the last entry of an earlier export, by place in the chain, so that none is missed."""

    format: Literal["ndjson", "csv"] = "ndjson"
    after_id: QueryId | None = None
    limit: Annotated[QueryCount, Field(ge=1, le=MOST_EXPORTED)] = MOST_EXPORTED


class AuditVerifyQuery(QueryModel):
    """`anchor`: a head that was kept elsewhere, as `PLACE:HASH`. `cursor` goes on where time ran out."""

    cursor: Annotated[str, Field(max_length=100)] | None = None
    anchor: Annotated[str, Field(max_length=100)] | None = None


class AuditHead(AnswerModel):
    """Where the chain ends: keep `anchor` elsewhere, so that a later check can tell whether anything before is gone."""

    place: int | None
    hash: str | None
    anchor: str | None
    sealed_at: Instant | None
    waiting: Annotated[int, Field(description="entries without a place yet, which nothing protects so far")]
    waiting_since: Instant | None


class AuditBreak(AnswerModel):
    """The first thing that is not as it was sealed."""

    place: int | None
    entry_id: int | None
    reason: Literal["changed", "deleted", "unchained", "truncated", "rewritten"]


class AuditVerdict(AnswerModel):
    intact: Annotated[bool, Field(description="whether what was looked at is as it was written; see nextCursor")]
    checked: int
    broken: AuditBreak | None
    next_cursor: Annotated[str | None, Field(description="null: everything has been looked at")]
    head: AuditHead
    unused_ids: Annotated[
        int,
        Field(
            description="ids given out after the last entry: of changes that were taken back or are under way,"
            " or of an end that was cut off, which only an anchor can tell"
        ),
    ]
