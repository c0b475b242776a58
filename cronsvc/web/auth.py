"""Who is asking: an API key or a token in the Authorization header, or on the page the session cookie.

Deny by default: a route names the role it needs or says that it is public, and nothing else. The API never looks at
the cookie, so no foreign page can use a session against it; the page never looks at the header.
"""

import re
from datetime import UTC, datetime
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from cronsvc.errors import Unauthenticated
from cronsvc.services.access import Access, Caller

SESSION_COOKIE = "cronsvc_session"
SIGN_IN_COOKIE = "cronsvc_sign_in"
SIGN_IN_SECONDS = 600
HOST_PREFIX = "__Host-"  # browsers take such a cookie from this very host only, over https, for every path
_BEARER = re.compile(r"bearer +([\x21-\x7e]{1,8192}) *", re.IGNORECASE | re.ASCII)
_TOKEN = re.compile(r"[\x21-\x7e]{1,512}", re.ASCII)


async def bearer_caller(request: Request, access: Access) -> Caller:
    """Return who the Authorization header speaks for; Unauthenticated without a good one."""
    given = request.headers.getlist("authorization")
    if not given:
        raise Unauthenticated("This needs an API key: send the header Authorization: Bearer <key>.")
    # Of two, a proxy in front may have looked at the other one.
    match = _BEARER.fullmatch(given[0]) if len(given) == 1 else None
    if match is None:
        raise Unauthenticated("The Authorization header is not of the form: Bearer <key>.")
    return await access.authenticate(match.group(1), source_of(request))


async def session_caller(request: Request, access: Access) -> Caller:
    """Return who the session cookie speaks for; Unauthenticated without a live one."""
    token = session_token(request)
    if token is None:
        raise Unauthenticated("Please sign in.")
    return await access.session(token, source_of(request))


def source_of(request: Request) -> str | None:
    """The address the request came from, for the audit log."""
    return request.client.host if request.client else None


def is_secure(request: Request, secure_cookies: bool | None) -> bool:
    """Whether cookies of this request are for https only: as the settings say, or as the request came."""
    return request.url.scheme == "https" if secure_cookies is None else secure_cookies


def session_token(request: Request) -> str | None:
    """The session that the browser has, if it has one."""
    return _cookie(request, SESSION_COOKIE)


def set_session_cookie(response: Response, token: str, expires_at: datetime, *, secure: bool) -> None:
    """Hand the browser a session that scripts cannot read and other sites cannot send."""
    seconds = max(0, int((expires_at - datetime.now(UTC)).total_seconds()))
    _set_cookie(response, SESSION_COOKIE, token, seconds, secure=secure, samesite="strict")


def drop_session_cookie(response: Response, *, secure: bool) -> None:
    """Make the browser forget its session."""
    _set_cookie(response, SESSION_COOKIE, "", 0, secure=secure, samesite="strict")


def sign_in_token(request: Request) -> str | None:
    """What this browser was given when it went to the identity provider."""
    return _cookie(request, SIGN_IN_COOKIE)


def set_sign_in_cookie(response: Response, token: str, *, secure: bool) -> None:
    """Bind a sign-in to this browser. Lax, because it comes back from another site."""
    _set_cookie(response, SIGN_IN_COOKIE, token, SIGN_IN_SECONDS, secure=secure, samesite="lax")


def drop_sign_in_cookie(response: Response, *, secure: bool) -> None:
    """Forget a sign-in that is over."""
    _set_cookie(response, SIGN_IN_COOKIE, "", 0, secure=secure, samesite="lax")


def _cookie(request: Request, name: str) -> str | None:
    """A cookie of ours. Over https only the one whose prefix keeps other hosts of the domain from planting it."""
    found = request.cookies.get(HOST_PREFIX + name)
    if found is None and request.url.scheme != "https":
        found = request.cookies.get(name)
    return found if found is not None and _TOKEN.fullmatch(found) else None


def _set_cookie(
    response: Response, name: str, value: str, seconds: int, *, secure: bool, samesite: Literal["lax", "strict"]
) -> None:
    response.set_cookie(
        HOST_PREFIX + name if secure else name,
        value,
        max_age=seconds,
        path="/",
        secure=secure,
        httponly=True,
        samesite=samesite,
    )
