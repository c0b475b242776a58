"""The status page: jobs, executions and their detail, and the few buttons that an operator needs.

Plain HTML made on the server, no script. Everything shown is escaped by the template engine; everything changed comes
by a form that `csrf` has checked. Errors here are pages.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cronsvc.domain.execution import REPEATABLE, TERMINAL, Status
from cronsvc.errors import CronsvcError, NotFound, Unauthenticated
from cronsvc.services.access import Caller, Role
from cronsvc.services.status import Overview
from cronsvc.web import auth, views, words
from cronsvc.web.own_pages import FIRST, OwnPages
from cronsvc.web.page_models import BackForm, OverviewQuery, RefreshQuery, ResumeForm
from cronsvc.web.probe import Probe
from cronsvc.web.problems import UNAVAILABLE, Problem, problem_of
from cronsvc.web.prose import pieces
from cronsvc.web.routing import Call, request_id_of
from cronsvc.web.scalars import write_instant
from cronsvc.web.services import WebSettings

_JOBS_SHOWN = 25
_EXECUTIONS_SHOWN = 25
_UPCOMING_SHOWN = 5
# What stands at the top of every page: path, name, template.
_NAVIGATION = (
    ("/", "Jobs", "overview.html"),
    ("/executions", "Executions", "executions.html"),
    ("/dead-letters", "Dead letters", "dead_letters.html"),
    ("/queues", "Queues", "queues.html"),
    ("/backfills", "Backfills", "backfills.html"),
    ("/recoveries", "Recoveries", "recoveries.html"),
    ("/calendars", "Calendars", "calendars.html"),
    ("/windows", "Windows", "windows.html"),
)
STATIC = Path(__file__).parent / "static"
STATIC_TYPES = {"style.css": "text/css", "docs.css": "text/css", "icon.svg": "image/svg+xml"}


def make_environment() -> Environment:
    """The template engine, escaping everything."""
    environment = Environment(
        loader=PackageLoader("cronsvc.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["pieces"] = pieces
    environment.globals.update(
        moment=words.moment,
        relative=words.relative,
        seconds_span=words.seconds_span,
        rfc3339=write_instant,
        status_mark=words.status_mark,
        status_class=words.status_class,
    )
    return environment


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file of ours, read once."""

    content: bytes
    media_type: str

    @property
    def etag(self) -> str:
        """A name for exactly this content."""
        return hashlib.sha256(self.content).hexdigest()[:16]


class Pages:
    """The handlers of the page; one per application, because they share the template engine."""

    def __init__(self, settings: WebSettings) -> None:
        self.settings = settings
        self._environment = make_environment()
        self._files = {name: StaticFile((STATIC / name).read_bytes(), media) for name, media in STATIC_TYPES.items()}
        self._style_version = self._files["style.css"].etag
        self._docs_style_version = self._files["docs.css"].etag
        self.own = OwnPages()

    async def overview(self, call: Call) -> Response:
        """Counts, jobs and recent executions."""
        query: OverviewQuery = call.query
        services, caller = call.services, call.caller
        probe: Probe = call.request.app.state.probe
        counts = await services.status.overview(caller)
        page = await services.jobs.list(caller, cursor=query.cursor, limit=_JOBS_SHOWN)
        last_runs = await services.executions.latest([job.id for job in page.items], caller)
        recent = await services.executions.list(caller, limit=_EXECUTIONS_SHOWN)
        return self.render(
            "overview.html",
            caller,
            self.pace(query),
            tiles=_tiles(counts),
            fence=(await probe.readiness()).fence,
            check_problems=services.self_check.problems,
            open_hosts=await services.target_hosts.open_hosts(caller),
            active_jobs=counts.jobs.active,
            paused_jobs=counts.jobs.paused,
            jobs=[views.job_view(job, last_runs.get(job.id)) for job in page.items],
            executions=[views.execution_view(execution) for execution in recent.items],
            cursor=query.cursor,
            next_cursor=page.next_cursor,
        )

    async def job(self, call: Call) -> Response:
        """One job: its definition, the next instants, the last executions."""
        query: RefreshQuery = call.query
        services, caller = call.services, call.caller
        job = await services.jobs.get(call.id_in_path("jobId"), caller)
        upcoming = await services.jobs.upcoming(job.id, caller, count=_UPCOMING_SHOWN)
        last = await services.executions.list(caller, job_id=job.id, limit=_EXECUTIONS_SHOWN)
        return self.render(
            "job.html",
            caller,
            self.pace(query),
            job=views.job_view(job, None),
            facts=views.job_facts(job),
            upcoming=upcoming,
            around=await services.dependencies.around(job.id, caller),
            executions=[views.execution_view(execution) for execution in last.items],
        )

    async def execution(self, call: Call) -> Response:
        """One execution with its attempts."""
        query: RefreshQuery = call.query
        execution, attempts = await call.services.executions.get(call.id_in_path("executionId"), call.caller)
        family = None
        if execution.children:
            family = await call.services.dependencies.children(execution.id, call.caller)
        return self.render(
            "execution.html",
            call.caller,
            self.pace(query),
            execution=views.execution_view(execution),
            facts=views.execution_facts(execution),
            causes=views.cause_links(execution),
            parent_id=execution.parent_id,
            children=[] if family is None else [views.execution_view(each) for each in family.page.items],
            child_counts={} if family is None else family.counts,
            may_cancel=execution.status not in TERMINAL and execution.cancel_requested_at is None,
            may_retry=execution.status in REPEATABLE,
            cancelling=execution.status not in TERMINAL and execution.cancel_requested_at is not None,
            is_dead_letter=execution.is_dead_letter,
            attempts=[views.attempt_view(attempt) for attempt in attempts],
        )

    async def run_job(self, call: Call) -> Response:
        """Run a job once and show the execution."""
        execution = await call.services.jobs.trigger(call.id_in_path("jobId"), call.caller, params=None)
        return see_other(f"/executions/{execution.id}")

    async def pause_job(self, call: Call) -> Response:
        """Hold a job until somebody resumes it."""
        form: BackForm = call.body
        await call.services.jobs.pause(call.id_in_path("jobId"), call.caller, note=None, until=None)
        return see_other(self.own.or_first(form.back))

    async def resume_job(self, call: Call) -> Response:
        """Let a job fire again, from now on or with what its pause held back."""
        form: ResumeForm = call.body
        await call.services.jobs.resume(call.id_in_path("jobId"), call.caller, catch_up=form.catch_up == "yes")
        return see_other(self.own.or_first(form.back))

    async def static_file(self, call: Call) -> Response:
        """The style sheets and the icon."""
        file = self._files.get(call.request.path_params["name"])
        if file is None:
            raise NotFound("There is no such file.")
        headers = {"ETag": f'"{file.etag}"', "Cache-Control": "public, max-age=3600"}
        if call.request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)

    async def failure(self, request: Request, error: CronsvcError) -> Response:
        """Show an error as a page; without a good session lead to the login."""
        if isinstance(error, Unauthenticated):
            return _to_login(request, self.own, secure=auth.is_secure(request, self.settings.secure_cookies))
        return self._problem_page(request, problem_of(error))

    def _problem_page(self, request: Request, problem: Problem) -> Response:
        waits = problem.kind is UNAVAILABLE and request.method == "GET"
        response = self.render(
            "problem.html",
            None,
            self.settings.refresh_seconds if waits else None,
            status=problem.kind.status,
            status_word=str(problem.kind.status),
            title=problem.kind.title,
            detail=problem.detail,
            errors=problem.errors,
            request_id=request_id_of(request),
        )
        response.headers.update(problem.headers or {})
        return response

    def pace(self, query: RefreshQuery) -> int:
        """How often the page fetches itself, in seconds; 0 when the reader wants it to hold still."""
        return 0 if query.refresh == "off" else self.settings.refresh_seconds

    def render(
        self, template: str, caller: Caller | None, pace: int | None, *, status: int = 200, **values: Any
    ) -> Response:
        """Render a template; `pace` is from `pace`, None for a page that never refreshes."""
        html = self._environment.get_template(template).render(
            caller=caller,
            navigation=_NAVIGATION,
            shown=template,
            may_operate=caller is not None and caller.role.reaches(Role.OPERATOR),
            refreshes=caller is not None and pace is not None,
            refresh_seconds=pace or 0,
            style_version=self._style_version,
            docs_style_version=self._docs_style_version,
            version=self.settings.version,
            now=datetime.now(UTC),
            **values,
        )
        return HTMLResponse(html, status_code=status)


def see_other(path: str) -> RedirectResponse:
    """Lead the browser to a page after a form."""
    return RedirectResponse(path, status_code=303)


def _to_login(request: Request, own: OwnPages, *, secure: bool) -> Response:
    had_session = auth.session_token(request) is not None
    back = own.or_first(request.url.path) if request.method in ("GET", "HEAD") else FIRST
    response = see_other(f"/login?next={quote(back)}" + ("&expired=1" if had_session else ""))
    if had_session:
        auth.drop_session_cookie(response, secure=secure)
    return response


def _tiles(overview: Overview) -> list[views.Tile]:
    """The numbers at the top of the page."""
    jobs, day = overview.jobs, overview.executions
    more = "" if overview.executions_complete else "+"
    failed = day.get(Status.FAILED.value, 0)
    return [
        views.Tile("Active jobs", str(jobs.active) + ("" if jobs.complete else "+")),
        views.Tile("Paused", str(jobs.paused)),
        views.Tile("Quarantined", str(jobs.quarantined), alarm=jobs.quarantined > 0),
        views.Tile("Waiting", str(overview.waiting), href="/queues"),
        views.Tile("Running", str(overview.running)),
        views.Tile("Succeeded 24 h", f"{day.get(Status.SUCCESS.value, 0)}{more}"),
        views.Tile("Failed 24 h", f"{failed}{more}", alarm=failed > 0),
        views.Tile(
            "Dead letters",
            f"{overview.dead_letters}{'' if overview.dead_letters_complete else '+'}",
            alarm=overview.dead_letters > 0,
            href="/dead-letters",
        ),
        views.Tile("Workers", str(len(overview.workers)), alarm=not overview.workers),
        views.Tile("Schedulers", str(len(overview.schedulers)), alarm=not overview.schedulers),
        views.Tile("Database ms", f"{overview.database_ms:.1f}"),
    ]
