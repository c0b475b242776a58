"""What the page's links and forms may carry. Foreign query parameters are ignored: people come by all sorts of link."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict

from cronsvc.domain.execution import Status, Trigger
from cronsvc.web.explain_models import Moment
from cronsvc.web.models import QueryModel, RequestModel
from cronsvc.web.scalars import QueryId


class PageQueryModel(QueryModel):
    model_config = ConfigDict(extra="ignore")


class RefreshQuery(PageQueryModel):
    refresh: Literal["off"] | None = None


class OverviewQuery(RefreshQuery):
    cursor: str | None = None


class CursorQuery(PageQueryModel):
    cursor: str | None = None


class WindowsQuery(RefreshQuery):
    all: Literal["true"] | None = None
    cursor: str | None = None


def _blank(value: object) -> object:
    """A field of a form that nobody filled in says nothing."""
    return None if value == "" else value


class ExecutionsQuery(RefreshQuery):
    job_id: Annotated[QueryId | None, BeforeValidator(_blank)] = None
    status: Annotated[Status | None, BeforeValidator(_blank)] = None
    trigger: Annotated[Trigger | None, BeforeValidator(_blank)] = None
    backfill_id: Annotated[QueryId | None, BeforeValidator(_blank)] = None
    recovery_id: Annotated[QueryId | None, BeforeValidator(_blank)] = None
    cursor: str | None = None


class DeadLettersQuery(PageQueryModel):
    cursor: str | None = None


class QueuesQuery(PageQueryModel):
    cursor: str | None = None


class BackfillsQuery(RefreshQuery):
    job_id: QueryId | None = None
    cursor: str | None = None


class RecoveriesQuery(RefreshQuery):
    cursor: str | None = None


class WhyQuery(PageQueryModel):
    at: Moment | None = None


class LoginQuery(PageQueryModel):
    next: str = "/"
    expired: Literal["1"] | None = None


class CallbackQuery(PageQueryModel):
    """What an identity provider sends back; `state` is ours."""

    state: str = ""
    code: str | None = None
    error: str | None = None
    iss: str | None = None


class LoginForm(RequestModel):
    key: str = ""
    next: str = "/"


class BackForm(RequestModel):
    back: str = "/"


class ResumeForm(BackForm):
    catch_up: Literal["yes"] | None = None


class ResolveForm(BackForm):
    note: str = ""


class NoteForm(RequestModel):
    note: str = ""
