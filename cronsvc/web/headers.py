"""The outermost layer: a request id, security headers on every answer, and the last resort for exceptions.

The headers are set here, around everything, so that errors, static files and redirects carry them too.
"""

import re
import uuid
from collections.abc import Mapping

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cronsvc.web.problems import UNEXPECTED, Problem, problem_response

log = structlog.get_logger("cronsvc.web")

UNEXPECTED_ERROR = "unexpected_error"

SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
# A proxy's id is kept when it is harmless, so that one id runs through all logs.
_GOOD_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)


class SafeAnswers:
    """ASGI middleware around the whole application. Answers that set no Cache-Control must not be stored."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope["cronsvc.request_id"] = request_id
        started = False

        async def send_safely(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers["X-Request-Id"] = request_id
                if scope.get("scheme") == "https":
                    headers["Strict-Transport-Security"] = "max-age=31536000"
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self.app(scope, receive, send_safely)
        except Exception:
            # The last resort: the caller gets an id, the log gets the traceback.
            log.exception(UNEXPECTED_ERROR, request_id=request_id, method=scope["method"], path=scope["path"])
            if started:
                raise
            response = problem_response(Problem(UNEXPECTED, UNEXPECTED.meaning), request_id=request_id)
            await response(scope, receive, send_safely)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _GOOD_REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
