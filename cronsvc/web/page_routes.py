"""The browser's part of the route table: HTML out, forms in."""

from cronsvc.services.access import Role
from cronsvc.web.page import Pages
from cronsvc.web.page_models import BackForm, OverviewQuery, RefreshQuery, ResumeForm
from cronsvc.web.routing import PUBLIC, Door, Route

VIEWER, OPERATOR = Role.VIEWER, Role.OPERATOR


def page_routes(pages: Pages) -> tuple[Route, ...]:
    """The browser's routes: HTML out, forms in."""
    return (
        Route("GET", "/", VIEWER, pages.overview, "pageOverview", "Jobs", "page", door=Door.PAGE, query=OverviewQuery),
        Route(
            "GET", "/jobs/{jobId}", VIEWER, pages.job, "pageJob", "A job", "page", door=Door.PAGE, query=RefreshQuery
        ),
        Route(
            "GET",
            "/executions/{executionId}",
            VIEWER,
            pages.execution,
            "pageExecution",
            "An execution",
            "page",
            door=Door.PAGE,
            query=RefreshQuery,
        ),
        Route("POST", "/jobs/{jobId}/run", OPERATOR, pages.run_job, "pageRun", "Run now", "page", door=Door.PAGE),
        Route(
            "POST",
            "/jobs/{jobId}/pause",
            OPERATOR,
            pages.pause_job,
            "pagePause",
            "Pause",
            "page",
            door=Door.PAGE,
            body=BackForm,
        ),
        Route(
            "POST",
            "/jobs/{jobId}/resume",
            OPERATOR,
            pages.resume_job,
            "pageResume",
            "Resume",
            "page",
            door=Door.PAGE,
            body=ResumeForm,
        ),
        Route("GET", "/static/{name}", PUBLIC, pages.static_file, "pageStatic", "A file", "page", door=Door.PAGE),
    )
