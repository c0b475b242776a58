"""What the application is made of: the services behind it and the few settings of its own."""

from dataclasses import dataclass

from cronsvc import __version__
from cronsvc.services.access import Access
from cronsvc.services.executions import Executions
from cronsvc.services.jobs import Jobs
from cronsvc.services.status import StatusReader


@dataclass(frozen=True, slots=True)
class Services:
    """The services the doors lead to."""

    jobs: Jobs
    executions: Executions
    access: Access
    status: StatusReader


@dataclass(frozen=True, slots=True)
class WebSettings:
    """`secure_cookies`: None follows the scheme of each request. `refresh_seconds` is the page's own pace."""

    max_body_bytes: int = 262_144
    body_deadline_seconds: float = 10.0
    secure_cookies: bool | None = None
    refresh_seconds: int = 10
    version: str = __version__
