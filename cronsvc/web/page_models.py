"""What the page's links and forms may carry. Foreign query parameters are ignored: people come by all sorts of link."""

from typing import Literal

from pydantic import ConfigDict

from cronsvc.web.explain_models import Moment
from cronsvc.web.models import QueryModel, RequestModel
from cronsvc.web.scalars import QueryId


class PageQueryModel(QueryModel):
    model_config = ConfigDict(extra="ignore")


class RefreshQuery(PageQueryModel):
    refresh: Literal["off"] | None = None


class OverviewQuery(RefreshQuery):
    cursor: str | None = None


class DeadLettersQuery(PageQueryModel):
    cursor: str | None = None


class QueuesQuery(PageQueryModel):
    cursor: str | None = None


class BackfillsQuery(RefreshQuery):
    job_id: QueryId | None = None
    cursor: str | None = None


class WhyQuery(PageQueryModel):
    at: Moment | None = None


class LoginQuery(PageQueryModel):
    next: str = "/"
    expired: Literal["1"] | None = None


class LoginForm(RequestModel):
    key: str = ""
    next: str = "/"


class BackForm(RequestModel):
    back: str = "/"


class ResolveForm(BackForm):
    note: str = ""


class NoteForm(RequestModel):
    note: str = ""
