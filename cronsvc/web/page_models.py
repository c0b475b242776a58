"""What the page's links and forms may carry. Foreign query parameters are ignored: people come by all sorts of link."""

from typing import Literal

from pydantic import ConfigDict

from cronsvc.web.models import QueryModel, RequestModel


class PageQueryModel(QueryModel):
    model_config = ConfigDict(extra="ignore")


class RefreshQuery(PageQueryModel):
    refresh: Literal["off"] | None = None


class OverviewQuery(RefreshQuery):
    cursor: str | None = None


class LoginQuery(PageQueryModel):
    next: str = "/"
    expired: Literal["1"] | None = None


class LoginForm(RequestModel):
    key: str = ""
    next: str = "/"


class BackForm(RequestModel):
    back: str = "/"
