"""Who is asking: an API key in the Authorization header, or on the page the session cookie.

Deny by default: a route names the role it needs or says that it is public, and nothing else. The API never looks at
the cookie, so no foreign page can use a session against it; the page never looks at the header.
"""

import re
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from cronsvc.errors import Forbidden, Unauthenticated
from cronsvc.services.access import Access, Caller, Role

SESSION_COOKIE = "cronsvc_session"
_BEARER = re.compile(r"bearer +([\x21-\x7e]{1,512}) *", re.IGNORECASE | re.ASCII)
_SESSION_TOKEN = re.compile(r"[\x21-\x7e]{1,512}", re.ASCII)


async def bearer_caller(request: Request, access: Access) -> Caller:
    """Return who the Authorization header speaks for; Unauthenticated without a good one."""
    header = request.headers.get("authorization")
    if header is None:
        raise Unauthenticated("This needs an API key: send the header Authorization: Bearer <key>.")
    match = _BEARER.fullmatch(header)
    if match is None:
        raise Unauthenticated("The Authorization header is not of the form: Bearer <key>.")
    return await access.authenticate(match.group(1), source_of(request))


async def session_caller(request: Request, access: Access) -> Caller:
    """Return who the session cookie speaks for; Unauthenticated without a live one."""
    token = request.cookies.get(SESSION_COOKIE, "")
    if not _SESSION_TOKEN.fullmatch(token):
        raise Unauthenticated("Please sign in.")
    return await access.session(token, source_of(request))


def require_role(caller: Caller, required: Role) -> None:
    """Raise Forbidden unless the caller's role reaches the required one."""
    if not caller.role.reaches(required):
        raise Forbidden(f"This needs the role {required.value}; your key has the role {caller.role.value}.")


def source_of(request: Request) -> str | None:
    """The address the request came from, for the audit log."""
    return request.client.host if request.client else None


def set_session_cookie(response: Response, token: str, expires_at: datetime, *, secure: bool) -> None:
    """Hand the browser a session that scripts cannot read and other sites cannot send."""
    response.set_cookie(
        SESSION_COOKIE,
        token,
        max_age=max(0, int((expires_at - datetime.now(UTC)).total_seconds())),
        path="/",
        secure=secure,
        httponly=True,
        samesite="strict",
    )


def drop_session_cookie(response: Response, *, secure: bool) -> None:
    """Make the browser forget its session."""
    response.delete_cookie(SESSION_COOKIE, path="/", secure=secure, httponly=True, samesite="strict")
