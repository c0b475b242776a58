"""The browser's part of queues: their page with its buttons, and the buttons for all jobs at once."""

from starlette.responses import Response

from cronsvc.services.access import Role
from cronsvc.services.bulk_pausing import EVERYTHING
from cronsvc.web.page import Pages, see_other
from cronsvc.web.page_models import NoteForm, QueuesQuery
from cronsvc.web.routing import Call, Door, Route

_SHOWN = 100


class QueuePages:
    """The handlers; `pages` renders."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def queues(self, call: Call) -> Response:
        """Queues and what they have to do. Never fetches itself again: somebody may be writing a note."""
        query: QueuesQuery = call.query
        found = await call.services.queues.list(call.caller, cursor=query.cursor, limit=_SHOWN)
        return self._pages.render(
            "queues.html",
            call.caller,
            None,
            queues=found.items,
            may_steer=call.caller.role.reaches(Role.OPERATOR) and call.caller.namespaces is None,
            cursor=query.cursor,
            next_cursor=found.next_cursor,
        )

    async def pause_queue(self, call: Call) -> Response:
        """Begin nothing of a queue until somebody resumes it."""
        form: NoteForm = call.body
        name = call.request.path_params["name"]
        await call.services.queues.pause(name, call.caller, note=form.note or None, until=None)
        return see_other("/queues")

    async def resume_queue(self, call: Call) -> Response:
        """Let a queue go on."""
        await call.services.queues.resume(call.request.path_params["name"], call.caller)
        return see_other("/queues")

    async def pause_jobs(self, call: Call) -> Response:
        """Hold back every job that the caller reaches."""
        form: NoteForm = call.body
        await call.services.bulk_pausing.pause(EVERYTHING, call.caller, note=form.note or None)
        return see_other("/")

    async def resume_jobs(self, call: Call) -> Response:
        """Let every job that the caller reaches fire again."""
        await call.services.bulk_pausing.resume(EVERYTHING, call.caller)
        return see_other("/")


def queue_page_routes(pages: Pages) -> tuple[Route, ...]:
    """The browser's routes of this file; those under `/jobs` stand before `/jobs/{jobId}`."""
    own, operator, tag, door = QueuePages(pages), Role.OPERATOR, "page", Door.PAGE
    return (
        Route(
            "POST",
            "/jobs/pause",
            operator,
            own.pause_jobs,
            "pagePauseJobs",
            "Pause all jobs",
            tag,
            door=door,
            body=NoteForm,
        ),
        Route("POST", "/jobs/resume", operator, own.resume_jobs, "pageResumeJobs", "Resume all jobs", tag, door=door),
        Route("GET", "/queues", Role.VIEWER, own.queues, "pageQueues", "Queues", tag, door=door, query=QueuesQuery),
        Route(
            "POST",
            "/queues/{name}/pause",
            operator,
            own.pause_queue,
            "pagePauseQueue",
            "Pause a queue",
            tag,
            door=door,
            body=NoteForm,
        ),
        Route(
            "POST",
            "/queues/{name}/resume",
            operator,
            own.resume_queue,
            "pageResumeQueue",
            "Resume a queue",
            tag,
            door=door,
        ),
    )
