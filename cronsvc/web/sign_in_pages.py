"""Signing in and out: with an API key on the form, or by way of an identity provider and back.

Each sign-in ends the session that the browser came with and makes a new one. What goes to the provider is bound to
this browser by a cookie, and comes back once.
"""

import secrets
from urllib.parse import quote

from starlette.responses import Response

from cronsvc.errors import CronsvcError, Forbidden, NotFound, Unauthenticated, Unavailable
from cronsvc.services.sessions import SignIn as BegunSignIn
from cronsvc.web import auth
from cronsvc.web.page import Pages, see_other
from cronsvc.web.page_models import CallbackQuery, LoginForm, LoginQuery
from cronsvc.web.routing import PUBLIC, Call, Door, Route
from cronsvc.web.services import WebSettings
from cronsvc.web.sign_in import SignIn
from cronsvc.web.throttle import Throttle


class SignInPages:
    """The handlers; one per application, because they count failures."""

    def __init__(self, pages: Pages, settings: WebSettings) -> None:
        self._pages = pages
        self._settings = settings
        self._throttle = Throttle()

    async def form(self, call: Call) -> Response:
        """Ask for an API key, or offer the provider."""
        query: LoginQuery = call.query
        return self._form("Your session has ended. Please sign in again." if query.expired else "", query.next)

    async def login(self, call: Call) -> Response:
        """Exchange a key for a session."""
        form: LoginForm = call.body
        source = auth.source_of(call.request)
        wait = self._throttle.wait_seconds(source)
        if wait:
            response = self._form(f"Too many attempts. Try again in {wait} seconds.", form.next, status=429)
            response.headers["Retry-After"] = str(wait)
            return response
        secure = self._secure(call)
        try:
            token, ends = await call.services.access.open_session(
                form.key.strip(), source, replacing=auth.session_token(call.request)
            )
        except Unauthenticated as error:
            self._throttle.failed(source)
            return self._form(str(error), form.next, status=401)
        response = see_other(self._pages.own.or_first(form.next))
        auth.set_session_cookie(response, token, ends, secure=secure)
        return response

    async def logout(self, call: Call) -> Response:
        """End the session here and on the server."""
        token = auth.session_token(call.request)
        if token:
            await call.services.access.close_session(token)
        response = see_other("/login")
        auth.drop_session_cookie(response, secure=self._secure(call))
        return response

    async def begin(self, call: Call) -> Response:
        """Send the browser to the identity provider."""
        query: LoginQuery = call.query
        provider = self._provider()
        state, browser, nonce = (secrets.token_urlsafe(32) for _ in range(3))
        verifier = secrets.token_urlsafe(64)
        try:
            address = await provider.address(state=state, nonce=nonce, verifier=verifier)
        except Unavailable:
            return self._form(f"{provider.name} does not answer. Try again, or use a key.", query.next, status=503)
        begun = BegunSignIn(nonce, verifier, self._pages.own.or_first(query.next))
        await call.services.access.sessions.begin_sign_in(begun, state=state, browser=browser)
        response = see_other(address)
        auth.set_sign_in_cookie(response, browser, secure=self._secure(call))
        return response

    async def callback(self, call: Call) -> Response:
        """Take the provider's answer and open a session."""
        query: CallbackQuery = call.query
        source, sessions = auth.source_of(call.request), call.services.access.sessions
        provider, secure = self._provider(), self._secure(call)
        wait, taken = self._throttle.wait_seconds(source), False
        try:
            if wait:
                raise Unauthenticated(f"Too many attempts. Try again in {wait} seconds.")
            if query.error is not None or query.code is None:
                raise Unauthenticated(f"{provider.name} did not sign you in.")
            begun = await sessions.take_sign_in(state=query.state, browser=auth.sign_in_token(call.request) or "")
            taken = True
            holder = await provider.holder(
                code=query.code, issuer=query.iss, nonce=begun.nonce, verifier=begun.verifier
            )
            token, ends = await sessions.open_for(
                holder.actor, holder.grant, source, replacing=auth.session_token(call.request)
            )
        except (Unauthenticated, Forbidden, Unavailable) as error:
            # Any page can send a browser here: only what a sign-in of this browser had begun counts, and ends.
            if taken and isinstance(error, Unauthenticated):
                self._throttle.failed(source)
            return self._failed(error, provider, ended=taken, secure=secure)
        # A page of ours that leads on by itself: a redirect would still count as coming from the provider's site, and
        # the browser would not send the new cookie along.
        response = self._pages.render("signed_in.html", None, None, next=self._pages.own.or_first(begun.next))
        auth.set_session_cookie(response, token, ends, secure=secure)
        auth.drop_sign_in_cookie(response, secure=secure)
        return response

    def _failed(self, error: CronsvcError, provider: SignIn, *, ended: bool, secure: bool) -> Response:
        status = {Unauthenticated: 401, Unavailable: 503}.get(type(error), 403)
        words = f"{provider.name} does not answer." if status == 503 else str(error)
        response = self._form(words, "/", status=status)
        if ended:
            auth.drop_sign_in_cookie(response, secure=secure)
        return response

    def _form(self, notice: str, following: str, *, status: int = 200) -> Response:
        provider = self._settings.sign_in
        following = self._pages.own.or_first(following)
        return self._pages.render(
            "login.html",
            None,
            None,
            status=status,
            notice=notice,
            next=following,
            provider=None if provider is None else provider.name,
            provider_path=f"/login/oidc?next={quote(following)}",
        )

    def _provider(self) -> SignIn:
        if self._settings.sign_in is None:
            raise NotFound("No identity provider is configured here; sign in with a key.")
        return self._settings.sign_in

    def _secure(self, call: Call) -> bool:
        return auth.is_secure(call.request, self._settings.secure_cookies)


def sign_in_routes(pages: Pages, settings: WebSettings) -> tuple[Route, ...]:
    """The routes of signing in and out."""
    own = SignInPages(pages, settings)
    return (
        Route("GET", "/login", PUBLIC, own.form, "pageLoginForm", "Sign in", "page", door=Door.PAGE, query=LoginQuery),
        Route("POST", "/login", PUBLIC, own.login, "pageLogin", "Sign in", "page", door=Door.PAGE, body=LoginForm),
        Route("POST", "/logout", PUBLIC, own.logout, "pageLogout", "Sign out", "page", door=Door.PAGE),
        Route(
            "GET",
            "/login/oidc",
            PUBLIC,
            own.begin,
            "pageSignIn",
            "Sign in with the identity provider",
            "page",
            door=Door.PAGE,
            query=LoginQuery,
        ),
        Route(
            "GET",
            "/login/oidc/callback",
            PUBLIC,
            own.callback,
            "pageSignedIn",
            "Back from the identity provider",
            "page",
            door=Door.PAGE,
            query=CallbackQuery,
        ),
    )
