"""Secrets as JSON: a value goes in, and no model has a place for it to come out."""

from typing import Annotated

from pydantic import Field

from cronsvc.services.paging import NameSort
from cronsvc.web.job_models import documented
from cronsvc.web.models import AnswerModel, QueryModel, RequestModel
from cronsvc.web.scalars import Cursor, Instant, Limit

Namespace = Annotated[str, Field(max_length=63)]


class SecretIn(RequestModel):
    """The value of a secret, which no answer ever repeats."""

    value: Annotated[str, documented(minLength=4, maxLength=65_536, writeOnly=True)]


class SecretAnswer(AnswerModel):
    """What there is to know of a secret."""

    namespace: str
    name: str
    version: Annotated[int, Field(description="counts the values it has had")]
    created_at: Instant
    created_by: str
    updated_at: Instant
    updated_by: str
    last_used_at: Annotated[Instant | None, Field(description="when a worker last read it, to the minute")]


class SecretList(AnswerModel):
    items: list[SecretAnswer]
    next_cursor: str | None


class SecretQuery(QueryModel):
    """Which namespace it is in: the caller's only one, or else `default`."""

    namespace: Namespace | None = None


class SecretsQuery(QueryModel):
    namespace: Namespace | None = None
    sort: NameSort = NameSort.NAME
    cursor: Cursor | None = None
    limit: Limit = 50
