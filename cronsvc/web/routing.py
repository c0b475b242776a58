"""What a route is, and the one way from a request to its handler.

A `Route` is data: the application, the OpenAPI document and the tests of permissions read the same table.
`PathEndpoint` serves all methods of one path in a fixed order: method, (page) where from, who, role, query, body,
handler. Nothing is read from the body before the caller is known to be allowed.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import parse_qsl

import structlog
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from cronsvc.domain.callback_token import CallbackGrant
from cronsvc.errors import CronsvcError, FieldError, Forbidden, InvalidInput, NotFound, Unauthenticated
from cronsvc.services.access import Caller, Role
from cronsvc.services.callers import everywhere, within
from cronsvc.store.origin import requested
from cronsvc.web import auth, callback_auth, csrf, rate_limits
from cronsvc.web.body import FORM_TYPE, check_texts, media_type, parse_json, read_body, require_json_type, require_type
from cronsvc.web.headers import UNEXPECTED_ERROR
from cronsvc.web.models import QueryModel
from cronsvc.web.problems import (
    MALFORMED,
    MEDIA,
    METHOD_NOT_ALLOWED,
    UNAVAILABLE,
    UNEXPECTED,
    ProblemKind,
    Refused,
    problem_of,
    problem_response,
)
from cronsvc.web.services import Services, WebSettings
from cronsvc.web.validation import read_model, read_query

log = structlog.get_logger("cronsvc.web")

REQUEST_FAILED = "request_failed"
_GREATEST_ID = 2**63 - 1


class Public(Enum):
    """Said on purpose: this route answers anybody."""

    PUBLIC = "public"


PUBLIC = Public.PUBLIC


class CallbackToken(Enum):
    """This route is for the bearer of the callback token that stands in its path, and for nobody else."""

    IN_PATH = "token in the path"


TOKEN_IN_PATH = CallbackToken.IN_PATH


class Door(Enum):
    """How a route is entered: with a bearer key and JSON, or with a browser, a cookie and forms."""

    API = "api"
    PAGE = "page"


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way to a handler, with everything already checked."""

    request: Request
    services: Services
    settings: WebSettings
    identity: Caller | None
    query: Any = None
    body: Any = None
    document: Any = None  # the body as it was sent, for those who must know what was left out
    callback: CallbackGrant | None = None  # of a callback token; there is no caller then

    @property
    def caller(self) -> Caller:
        """Who asks. A public route has nobody, and asking for one is a defect."""
        if self.identity is None:
            raise RuntimeError("a public route has no caller")
        return self.identity

    def id_in_path(self, name: str) -> int:
        """The id in the path; NotFound for anything that cannot be one."""
        text = self.request.path_params[name]
        if not (text.isascii() and text.isdigit() and len(text) <= 19 and 1 <= int(text) <= _GREATEST_ID):
            raise NotFound(f"There is nothing with the id {text[:40]!r}: ids are whole numbers.")
        return int(text)


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    `access` is the least role, or PUBLIC, or TOKEN_IN_PATH; None is refused when the application is made. `body`
    documents and (unless `reads_document`) parses the JSON body. `problems` are the ways to fail beyond those that
    follow from the rest. `takes_file` is a media type that comes as it is: the handler finds the bytes in `document`.
    With `takes_idempotency_key` the answer is kept for the key, unless the handler `keeps_key_itself`.
    `gives_files` are the media types of an answer that is no JSON document.
    With `takes_callback_token` the token of the execution in the path does in place of a key.
    """

    method: str
    path: str
    access: Role | Public | CallbackToken | None
    handler: Handler
    name: str
    summary: str
    tag: str
    door: Door = Door.API
    status: int = 200
    answer: type[BaseModel] | None = None
    other_answers: tuple[tuple[int, type[BaseModel]], ...] = ()
    query: type[QueryModel] | None = None
    body: type[BaseModel] | None = None
    body_optional: bool = False
    reads_document: bool = False
    takes_file: str | None = None
    takes_if_match: bool = False
    gives_etag: bool = False
    takes_idempotency_key: bool = False
    keeps_key_itself: bool = False
    takes_callback_token: bool = False
    gives_files: tuple[str, ...] = ()
    problems: tuple[ProblemKind, ...] = field(default=())


class UnprotectedRouteError(Exception):
    """A route was declared without saying who may call it."""


class UndocumentedRouteError(Exception):
    """A route was declared without the words that the document shows for it."""


def check_routes(routes: Sequence[Route]) -> None:
    """Raise UnprotectedRouteError for a route without a role, UndocumentedRouteError for one without words.

    ValueError: one is declared twice.
    """
    seen: set[tuple[str, str]] = set()
    names: set[str] = set()
    for route in routes:
        if route.access is None:
            raise UnprotectedRouteError(f"{route.method} {route.path} names neither a role nor PUBLIC")
        if not (route.name.strip() and route.summary.strip() and route.tag.strip()):
            raise UndocumentedRouteError(f"{route.method} {route.path} needs a name, a summary and a tag")
        if (route.method, route.path) in seen or route.name in names:
            raise ValueError(f"{route.method} {route.path} ({route.name}) is declared twice")
        seen.add((route.method, route.path))
        names.add(route.name)


FailurePage = Callable[[Request, CronsvcError], Awaitable[Response]]


class PathEndpoint:
    """ASGI application for one path: the routes that share it."""

    def __init__(
        self,
        routes: Sequence[Route],
        services: Services,
        settings: WebSettings,
        failure_page: FailurePage,
        *,
        mounted: bool = False,
    ) -> None:
        self.routes = {route.method: route for route in routes}
        self.services = services
        self.settings = settings
        self.failure_page = failure_page
        self.door = routes[0].door
        self.path = routes[0].path
        self.mounted = mounted  # from outside: what is public there is counted, too

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            with requested(request_id_of(request)):
                response = await self._answer(request)
        except ClientDisconnect:
            return  # nobody is left to answer
        except CronsvcError as error:
            response = await self._failure(request, error)
        except Exception:
            log.exception(UNEXPECTED_ERROR, request_id=request_id_of(request), method=request.method, route=self.path)
            response = await self._failure(request, Refused(UNEXPECTED, UNEXPECTED.meaning))
        rate_limits.tell(request, response)
        if request.method == "HEAD" and isinstance(response, StreamingResponse):
            response = _head_of(response)  # nobody would read what comes
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        route = self.routes.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            allowed = ", ".join(sorted({*self.routes, *({"HEAD"} if "GET" in self.routes else set())}))
            raise Refused(METHOD_NOT_ALLOWED, f"This path takes {allowed}.", {"Allow": allowed})
        if route.door is Door.PAGE:
            csrf.require_same_origin(request.method, request.headers)
        callback = await self._callback(request, route)
        identity = await self._identify(request, route) if callback is None else None
        await self._count(request, route, identity, callback)
        query = read_query(route.query, request.query_params) if route.query else None
        body, document = await self._read_body(request, route)
        call = Call(request, self.services, self.settings, identity, query, body, document, callback)
        if callback is not None:
            with everywhere():
                return await route.handler(call)
        if identity is None:
            return await route.handler(call)
        with within(identity):
            try:
                return await route.handler(call)
            except NotFound:
                if identity.held_back:
                    raise Forbidden(
                        "There is no such thing in the namespaces where your role reaches far enough for this."
                    ) from None
                raise

    async def _callback(self, request: Request, route: Route) -> CallbackGrant | None:
        if route.access is TOKEN_IN_PATH:
            find: Callable[..., Awaitable[CallbackGrant | None]] = callback_auth.path_grant
        elif route.takes_callback_token:
            find = callback_auth.header_grant
        else:
            return None
        try:
            return await find(request, self.services.callbacks)
        except Unauthenticated:
            # Counted after it was looked up: each token is new here, so there are none that were good before.
            if self.services.rate_limits is not None:
                await self.services.rate_limits.take_denied(request)
            raise

    async def _identify(self, request: Request, route: Route) -> Caller | None:
        if isinstance(route.access, Role):
            return (await self._caller(request, route)).acting_as(route.access)
        if route.access is PUBLIC:
            return None
        raise UnprotectedRouteError(f"{route.method} {route.path}")  # create_app has refused it already

    async def _caller(self, request: Request, route: Route) -> Caller:
        """Who asks. One credential too many from an address costs no query, unless it was good before."""
        limits, is_api = self.services.rate_limits, route.door is Door.API
        find = auth.bearer_caller if is_api else auth.session_caller
        credential = request.headers.get("authorization") if is_api else auth.session_token(request)
        if limits is None:
            return await find(request, self.services.access)
        if credential is not None:
            await limits.look_denied(request, credential)
        try:
            caller = await find(request, self.services.access)
        except Unauthenticated:
            if is_api or credential is not None:
                await limits.take_denied(request)
            raise
        if credential is not None:
            limits.known.add(credential)
        return caller

    async def _count(
        self, request: Request, route: Route, identity: Caller | None, callback: CallbackGrant | None
    ) -> None:
        limits = self.services.rate_limits
        if limits is None:
            return
        kind = rate_limits.kind_of(route.method, route.path)
        if identity is not None:
            await limits.take(request, kind, identity.actor)
        elif callback is not None:
            await limits.take(request, kind, f"execution:{callback.execution_id}")
        elif rate_limits.signs_in(route.name):
            await limits.take_sign_in(request)
        elif self.mounted:
            await limits.take_by_address(request, kind)

    async def _read_body(self, request: Request, route: Route) -> tuple[BaseModel | None, Any]:
        if route.body is None and route.takes_file is None:
            return None, None
        if route.takes_file is not None:
            require_type(request, route.takes_file)
        raw = await read_body(
            request, max_bytes=self.settings.max_body_bytes, deadline_seconds=self.settings.body_deadline_seconds
        )
        if route.body is None:
            return None, raw
        if route.door is Door.PAGE:
            document: Any = _read_form(request, raw)
        elif not raw and route.body_optional:
            document = {}
        else:
            require_json_type(request)
            document = parse_json(raw)
        return (None if route.reads_document else read_model(route.body, document)), document

    async def _failure(self, request: Request, error: CronsvcError) -> Response:
        kind = problem_of(error).kind
        if kind is UNAVAILABLE or (kind is UNEXPECTED and not isinstance(error, Refused)):
            # The caller learns what to do, the log learns what it was.
            log.warning(REQUEST_FAILED, kind=kind.slug, reason=str(error), request_id=request_id_of(request))
        if self.door is Door.PAGE:
            return await self.failure_page(request, error)
        return problem_response(problem_of(error), request_id=request_id_of(request))


def _head_of(response: StreamingResponse) -> Response:
    """The answer without what would be streamed, nor a length that it has not."""
    head = Response(status_code=response.status_code, headers=response.headers, background=response.background)
    del head.headers["content-length"]
    return head


def request_id_of(request: Request) -> str:
    """The id that the answer carries and the log knows."""
    return str(request.scope.get("cronsvc.request_id", ""))


def _read_form(request: Request, raw: bytes) -> dict[str, str]:
    """Return the fields of an HTML form; a field left empty counts as not given."""
    if raw and media_type(request) != FORM_TYPE:
        raise Refused(MEDIA, f"A form must come with Content-Type: {FORM_TYPE}.")
    try:
        pairs = parse_qsl(raw.decode("utf-8"), max_num_fields=20, errors="strict")
    except (UnicodeDecodeError, ValueError):
        raise Refused(MALFORMED, "The form cannot be read.") from None
    if len({name for name, _ in pairs}) < len(pairs):
        raise InvalidInput([FieldError("", "a field of the form is given twice")])
    document = dict(pairs)
    problems = check_texts(document)
    if problems:
        raise InvalidInput(problems)
    return document
