"""A small identity provider: discovery, authorization code with PKCE, ID tokens. Reached through ASGI."""

import base64
import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx2
from joserfc import jws
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ISSUER = "https://login.example"
CLIENT = "cronsvc"
CLIENT_SECRET = "known to both, and to nobody else"
KEY = RSAKey.generate_key(2048, parameters={"kid": "k1"})


@dataclass
class Issuer:
    """What it says can be bent: `discovery` and `claims` are laid over what a good one would say."""

    discovery: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    answer: Response | None = None
    key: RSAKey = field(default_factory=lambda: KEY)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    exchanged: int = 0

    def transport(self) -> httpx2.ASGITransport:
        """The way to it, in place of the network."""
        app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/token", self._token, methods=["POST"]),
                Route("/keys", self._keys),
            ]
        )
        return httpx2.ASGITransport(app=app)

    def consent(self, address: str, *, code: str = "code-1") -> dict[str, str]:
        """What a person does there: agree. Returns the query that the browser brings back."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert address.startswith(f"{ISSUER}/authorize?")
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
        assert asked["code_challenge_method"] == "S256" and "openid" in asked["scope"].split()
        self.codes[code] = asked
        return {"code": code, "state": asked["state"], "iss": ISSUER}

    async def _discovery(self, _request: Request) -> Response:
        good = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/keys",
        }
        return JSONResponse(good | self.discovery)

    async def _keys(self, _request: Request) -> Response:
        return JSONResponse({"keys": [KEY.as_dict(private=False)]})

    async def _token(self, request: Request) -> Response:
        if self.answer is not None:
            return self.answer
        expected = base64.b64encode(f"{CLIENT}:{CLIENT_SECRET}".replace(" ", "%20").encode()).decode()
        plain = base64.b64encode(f"{CLIENT}:{CLIENT_SECRET}".encode()).decode()
        form = dict(parse_qsl((await request.body()).decode()))
        asked = self.codes.pop(form.get("code", ""), None)  # good once
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if (
            request.headers.get("authorization") not in (f"Basic {expected}", f"Basic {plain}")
            or asked is None
            or challenge.rstrip(b"=").decode() != asked["code_challenge"]
            or form.get("redirect_uri") != asked["redirect_uri"]
        ):
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        self.exchanged += 1
        now = int(time.time())
        good = {
            "iss": ISSUER,
            "aud": CLIENT,
            "sub": "ann",
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            "roles": ["operator"],
        }
        claims = {name: value for name, value in (good | self.claims).items() if value is not None}
        token = jws.serialize_compact({"alg": "RS256", "kid": "k1"}, json.dumps(claims).encode(), self.key)
        return JSONResponse({"access_token": "a", "token_type": "Bearer", "id_token": token})
