"""The application: routes from the one table, errors as problem documents, headers around everything."""

import json
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from cronsvc.errors import ConfigError, CronsvcError, NotFound
from cronsvc.web.backfill_pages import backfill_page_routes
from cronsvc.web.calendar_pages import calendar_page_routes
from cronsvc.web.ending_pages import ending_page_routes
from cronsvc.web.execution_pages import execution_page_routes
from cronsvc.web.explain_routes import explain_page_routes
from cronsvc.web.headers import SafeAnswers
from cronsvc.web.hosts import KnownHosts
from cronsvc.web.openapi import openapi_document
from cronsvc.web.own_pages import OwnPages
from cronsvc.web.page import Pages
from cronsvc.web.page_routes import page_routes
from cronsvc.web.probe import Probe
from cronsvc.web.problem_pages import problem_page_routes
from cronsvc.web.problems import problem_of, problem_response
from cronsvc.web.queue_pages import queue_page_routes
from cronsvc.web.reference import Reference
from cronsvc.web.reference_pages import reference_page_routes
from cronsvc.web.replaying import once
from cronsvc.web.routes import API_ROUTES
from cronsvc.web.routing import PathEndpoint, Route, check_routes, request_id_of
from cronsvc.web.services import Services, WebSettings
from cronsvc.web.sign_in_pages import sign_in_routes

__all__ = ["Services", "WebSettings", "create_app", "route_table"]


def route_table(pages: Pages, more: Sequence[Route] = ()) -> tuple[Route, ...]:
    """Every route of the application, `more` being those that come from outside."""
    return (
        *API_ROUTES,
        *queue_page_routes(pages),
        *page_routes(pages),
        *problem_page_routes(pages),
        *reference_page_routes(pages),
        *sign_in_routes(pages, pages.settings),
        *ending_page_routes(pages),
        *backfill_page_routes(pages),
        *execution_page_routes(pages),
        *calendar_page_routes(pages),
        *explain_page_routes(pages),
        *more,
    )


def _check_names(ours: Sequence[Route], more: Sequence[Route]) -> None:
    """Raise ConfigError for a route from outside whose name is taken; its path says which pack it is of."""
    taken = {route.name for route in ours}
    for route in more:
        if route.name in taken:
            raise ConfigError(
                f"{route.method} {route.path}: another route has the name {route.name}; give it one of its own"
            )
        taken.add(route.name)


def create_app(services: Services, *, settings: WebSettings | None = None, more: Sequence[Route] = ()) -> Starlette:
    """Return the ASGI application. A route without a declared role is refused here, before anything is served."""
    settings = settings or WebSettings()
    pages = Pages(settings)
    table = route_table(pages, more)
    _check_names(table[: len(table) - len(more)], more)
    check_routes(table)
    pages.own = OwnPages(table)
    mounted = {route.path for route in more}
    by_path: dict[str, list[Route]] = {}
    for route in table:
        by_path.setdefault(route.path, []).append(once(route))

    async def not_routed(request: Request, error: Exception) -> Response:
        failure: CronsvcError = NotFound(f"There is nothing at {request.url.path[:200]}.")
        if "text/html" in request.headers.get("accept", ""):
            return await pages.failure(request, failure)
        return problem_response(problem_of(failure), request_id=request_id_of(request))

    app = Starlette(
        routes=[
            StarletteRoute(
                path,
                PathEndpoint(routes, services, settings, pages.failure, mounted=path in mounted),
                name=routes[0].name,
            )
            for path, routes in by_path.items()
        ],
        middleware=[Middleware(SafeAnswers), Middleware(KnownHosts, allowed=settings.allowed_hosts)],
        exception_handlers={HTTPException: not_routed},
    )
    # A redirect to the same path with or without a slash would repeat a Host header that nobody has checked.
    app.router.redirect_slashes = False
    app.state.probe = Probe(services.status)
    document = openapi_document(table, version=settings.version)
    app.state.openapi = json.dumps(document, separators=(",", ":")).encode()
    app.state.reference = Reference(table, document)
    return app
