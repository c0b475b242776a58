"""Signing in with OpenID Connect: discovery, the code flow with PKCE, state and nonce, and an ID token that is checked.

authlib speaks the protocol over httpx2; the ID token goes through the same checks as any token (`services.tokens`),
with the provider's published keys. The provider is the operator's choice, so its address may be private; what it says
about where its parts are must be https all the same, and every answer is bounded in size and time.
"""

import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import structlog
from authlib.common.errors import AuthlibBaseError  # type: ignore[import-untyped]
from authlib.integrations.httpx_client import AsyncOAuth2Client  # type: ignore[import-untyped]
from pydantic import TypeAdapter, ValidationError

from cronsvc import events
from cronsvc.config_identity import JwtIssuer, OidcProvider, WebAddress
from cronsvc.errors import Unauthenticated, Unavailable
from cronsvc.services.tokens import Holder, Refusal, Tokens, grant_of

log = structlog.get_logger("cronsvc.oidc")

CALLBACK = "/login/oidc/callback"
WAIT_SECONDS = 5.0
MOST_BYTES = 262_144
DISCOVERY_SECONDS = 3600.0

_ADDRESS = TypeAdapter(WebAddress)
_REFUSED = "The identity provider's answer is not good. Begin again."


@dataclass(frozen=True, slots=True)
class _Found:
    """What discovery told."""

    authorization_endpoint: str
    token_endpoint: str
    auth_method: str
    tokens: Tokens
    at: float


class Oidc:
    """One identity provider. `transport` replaces the network in tests."""

    def __init__(
        self,
        provider: OidcProvider,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider = provider
        self._transport = transport
        self._monotonic = monotonic
        self._found: _Found | None = None

    @property
    def name(self) -> str:
        """What the button says."""
        return self._provider.name

    async def address(self, *, state: str, nonce: str, verifier: str) -> str:
        """Where to send the browser. Unavailable: the provider does not answer."""
        found = await self._discovered()
        async with self._client(found) as client:
            url, _ = client.create_authorization_url(
                found.authorization_endpoint, state=state, code_verifier=verifier, nonce=nonce
            )
        return str(url)

    async def holder(self, *, code: str, issuer: str | None, nonce: str, verifier: str) -> Holder:
        """Whom the provider's answer names. Unauthenticated: it is not good; Forbidden: it grants nothing here."""
        found = await self._discovered()
        if issuer is not None and issuer != self._provider.issuer:
            raise _refused("the answer comes from another issuer")
        try:
            async with self._client(found) as client:
                answer = await client.fetch_token(
                    found.token_endpoint, grant_type="authorization_code", code=code, code_verifier=verifier
                )
            claims, _ = await found.tokens.claims(str(answer.get("id_token", "")))
        except (AuthlibBaseError, ValueError, KeyError, TypeError) as error:
            raise _refused(f"no token for the code: {type(error).__name__}") from None
        except httpx2.HTTPError as error:
            raise _away(error) from None
        except Refusal as refusal:
            raise _refused(str(refusal)) from None
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode("utf-8", "replace"), nonce.encode()):
            raise _refused("the nonce is not ours")
        if claims.get("azp", self._provider.client_id) != self._provider.client_id:
            raise _refused("the token was made for another client")
        return Holder(f"oidc:{claims['sub']}", grant_of(claims, self._provider))

    def _client(self, found: _Found) -> Any:
        secret = self._provider.client_secret
        return AsyncOAuth2Client(
            client_id=self._provider.client_id,
            client_secret=None if secret is None else secret.get_secret_value(),
            token_endpoint_auth_method=found.auth_method,
            scope=" ".join(self._provider.scopes),
            redirect_uri=self._provider.public_url.rstrip("/") + CALLBACK,
            code_challenge_method="S256",
            **self._options(),
        )

    def _options(self) -> dict[str, Any]:
        return {
            "transport": _Bounded(self._transport or httpx2.AsyncHTTPTransport()),
            "timeout": WAIT_SECONDS,
            "follow_redirects": False,
            "trust_env": False,
        }

    async def _discovered(self) -> _Found:
        """What the provider says of itself, an hour old at most; older while it does not answer."""
        now = self._monotonic()
        if self._found is not None and now - self._found.at < DISCOVERY_SECONDS:
            return self._found
        try:
            self._found = self._read(json.loads(await self._fetch(self._well_known())), now)
        except (Unavailable, ValueError) as error:
            log.warning(events.KEYS_UNAVAILABLE, url=self._provider.issuer, error=type(error).__name__)
            if self._found is None:
                raise Unavailable("the identity provider cannot be reached") from None
        return self._found

    def _well_known(self) -> str:
        return self._provider.issuer.rstrip("/") + "/.well-known/openid-configuration"

    def _read(self, said: Mapping[str, Any], now: float) -> _Found:
        """ValueError: the document is not one, or not of this issuer."""
        if not isinstance(said, dict) or said.get("issuer") != self._provider.issuer:
            raise ValueError("the discovery document is another issuer's")
        try:
            names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            authorization, token, keys = (_ADDRESS.validate_python(said.get(name)) for name in names)
        except ValidationError:
            raise ValueError("the discovery document names no usable endpoints") from None
        methods = said.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        method = "client_secret_basic" if "client_secret_basic" in methods else "client_secret_post"
        rules = JwtIssuer(
            issuer=self._provider.issuer,
            audience=(self._provider.client_id,),
            algorithm=self._provider.algorithm,
            jwks_url=keys,
        )
        return _Found(
            authorization_endpoint=authorization,
            token_endpoint=token,
            auth_method=method if self._provider.client_secret is not None else "none",
            tokens=Tokens([rules], self._fetch),
            at=now,
        )

    async def _fetch(self, url: str) -> bytes:
        try:
            async with httpx2.AsyncClient(**self._options()) as client:
                answer = await client.get(url, headers={"Accept": "application/json"})
        except httpx2.HTTPError as error:
            raise _away(error) from None
        if answer.status_code != 200:
            raise Unavailable(f"the identity provider answered {answer.status_code}")
        return answer.content


def _refused(reason: str) -> Unauthenticated:
    log.info(events.SIGN_IN_REFUSED, reason=reason)
    return Unauthenticated(_REFUSED)


def _away(error: httpx2.HTTPError) -> Unavailable:
    return Unavailable(f"the identity provider does not answer ({type(error).__name__})")


class _Bounded(httpx2.AsyncBaseTransport):
    """A transport whose answers have an end."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _BoundedStream(response.stream)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MOST_BYTES
        async for chunk in self._inner:
            left -= len(chunk)
            if left < 0:
                raise httpx2.ReadError("the answer is too long")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
