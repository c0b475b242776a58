"""The browser's part of ending executions: the buttons, and the page of dead letters."""

from starlette.responses import Response

from cronsvc.services.access import Role
from cronsvc.web import views
from cronsvc.web.page import Pages, see_other
from cronsvc.web.page_models import BackForm, DeadLettersQuery, ResolveForm
from cronsvc.web.routing import Call, Door, Route

_SHOWN = 50


class EndingPages:
    """The handlers; `pages` renders."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def dead_letters(self, call: Call) -> Response:
        """Failed executions that wait for somebody. Never fetches itself again: somebody may be writing a note."""
        query: DeadLettersQuery = call.query
        found = await call.services.dead_letters.list(call.caller, cursor=query.cursor, limit=_SHOWN)
        return self._pages.render(
            "dead_letters.html",
            call.caller,
            None,
            executions=[views.execution_view(execution) for execution in found.items],
            cursor=query.cursor,
            next_cursor=found.next_cursor,
        )

    async def cancel(self, call: Call) -> Response:
        """End an execution."""
        execution = await call.services.endings.cancel(call.id_in_path("executionId"), call.caller)
        return see_other(f"/executions/{execution.id}")

    async def retry(self, call: Call) -> Response:
        """Let a finished execution run again."""
        execution = await call.services.endings.retry(call.id_in_path("executionId"), call.caller)
        return see_other(f"/executions/{execution.id}")

    async def redrive(self, call: Call) -> Response:
        """Let a dead letter run again."""
        form: BackForm = call.body
        await call.services.dead_letters.redrive(call.id_in_path("executionId"), call.caller)
        return see_other(self._pages.own.or_first(form.back))

    async def resolve(self, call: Call) -> Response:
        """Take a dead letter off the list."""
        form: ResolveForm = call.body
        await call.services.dead_letters.resolve(call.id_in_path("executionId"), call.caller, note=form.note)
        return see_other(self._pages.own.or_first(form.back))


def ending_page_routes(pages: Pages) -> tuple[Route, ...]:
    """The browser's routes of this file."""
    own, operator, tag, door = EndingPages(pages), Role.OPERATOR, "page", Door.PAGE
    execution, letter = "/executions/{executionId}", "/dead-letters/{executionId}"
    return (
        Route(
            "GET",
            "/dead-letters",
            Role.VIEWER,
            own.dead_letters,
            "pageDeadLetters",
            "Dead letters",
            tag,
            door=door,
            query=DeadLettersQuery,
        ),
        Route("POST", f"{execution}/cancel", operator, own.cancel, "pageCancel", "Cancel", tag, door=door),
        Route("POST", f"{execution}/retry", operator, own.retry, "pageRetry", "Run again", tag, door=door),
        Route(
            "POST",
            f"{letter}/redrive",
            operator,
            own.redrive,
            "pageRedrive",
            "Run again",
            tag,
            door=door,
            body=BackForm,
        ),
        Route(
            "POST",
            f"{letter}/resolve",
            operator,
            own.resolve,
            "pageResolve",
            "Resolve",
            tag,
            door=door,
            body=ResolveForm,
        ),
    )
