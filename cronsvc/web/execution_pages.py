"""The browser's list of executions, of everything or of what somebody looks for."""

from urllib.parse import urlencode

from starlette.responses import Response

from cronsvc.domain.execution import Status, Trigger
from cronsvc.services.access import Role
from cronsvc.web import views
from cronsvc.web.page import Pages
from cronsvc.web.page_models import ExecutionsQuery
from cronsvc.web.routing import Call, Door, Route
from cronsvc.web.run_handlers import found_executions

_SHOWN = 50


class ExecutionPages:
    """The handler; `pages` renders."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def executions(self, call: Call) -> Response:
        """Executions that match the filter, the newest first."""
        query: ExecutionsQuery = call.query
        found = await found_executions(call, query, limit=_SHOWN)
        wanted = query.model_dump(by_alias=True, exclude_none=True, mode="json", exclude={"cursor", "refresh"})
        return self._pages.render(
            "executions.html",
            call.caller,
            self._pages.pace(query),
            executions=[views.execution_view(each) for each in found.items],
            statuses=[each.value for each in Status],
            triggers=[each.value for each in Trigger],
            wanted=wanted,
            filters=urlencode(wanted),
            cursor=query.cursor,
            next_cursor=found.next_cursor,
        )


def execution_page_routes(pages: Pages) -> tuple[Route, ...]:
    """The browser's route of this file."""
    return (
        Route(
            "GET",
            "/executions",
            Role.VIEWER,
            ExecutionPages(pages).executions,
            "pageExecutions",
            "Executions",
            "page",
            door=Door.PAGE,
            query=ExecutionsQuery,
        ),
    )
