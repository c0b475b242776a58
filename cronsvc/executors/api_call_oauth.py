"""Tokens of OAuth 2 servers for client credentials, kept in this process until shortly before they end.

One request serves all attempts that need the same token at the same time. A token that a target no longer takes (401)
is forgotten, and the next attempt asks for another.
"""

import asyncio
import base64
import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from cronsvc.executors.api_call_auth import TokenRequest
from cronsvc.executors.outcomes import Trouble

MOST_TOKENS = 1_000
LEEWAY_SECONDS = 30.0  # a token that ends while its call is on the way is of no use
UNSAID_SECONDS = 60.0  # how long a token is good whose server does not say
LONGEST_SECONDS = 86_400.0
LONGEST_TOKEN = 8_192
VISIBLE = re.compile(r"[\x21-\x7e]+")
ERROR_CODE = re.compile(r"[a-z_]{1,40}")
TRANSIENT = frozenset({408, 425, 429})


class TokenRefused(Exception):
    """No token came. `trouble` says what that means for the attempt, which has sent nothing to its target."""

    def __init__(self, trouble: Trouble, reason: str) -> None:
        super().__init__(reason)
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class Answer:
    """What a token server said, as far as it is read."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is sent to a token server, and what of it must be masked besides the secret itself."""

    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    derived: tuple[str, ...] = field(repr=False)


Fetch = Callable[[Credentials], Awaitable[Answer]]


@dataclass(slots=True)
class _Kept:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    token: str | None = field(default=None, repr=False)
    until: float = 0.0


class Tokens:
    """The tokens of one process."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    async def get(self, wanted: TokenRequest, fetch: Fetch) -> tuple[str, bool]:
        """A token, and whether it was kept from an earlier call; TokenRefused when there is none to be had."""
        key = _key(wanted)
        kept = self._kept.setdefault(key, _Kept())
        self._kept.move_to_end(key)
        if len(self._kept) > MOST_TOKENS:
            self._kept.popitem(last=False)
        now = asyncio.get_running_loop().time
        async with kept.lock:
            if kept.token is not None and now() < kept.until:
                return kept.token, True
            token, seconds = _read(await fetch(credentials(wanted)))
            kept.token, kept.until = token, now() + seconds - LEEWAY_SECONDS
            return token, False

    def forget(self, wanted: TokenRequest, token: str) -> None:
        """Ask for another next time, unless that has happened already."""
        kept = self._kept.get(_key(wanted))
        if kept is not None and kept.token == token:
            kept.token = None


def credentials(wanted: TokenRequest) -> Credentials:
    """The request for a token: RFC 6749, sections 2.3.1 and 4.4.2."""
    asked = {"grant_type": "client_credentials", "scope": wanted.scope, "audience": wanted.audience}
    form = {name: value for name, value in asked.items() if value is not None}
    headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")]
    derived: tuple[str, ...] = ()
    if wanted.in_body:
        form |= {"client_id": wanted.client_id, "client_secret": wanted.client_secret}
    else:
        pair = f"{quote(wanted.client_id, safe='')}:{quote(wanted.client_secret, safe='')}"
        derived = (base64.b64encode(pair.encode()).decode(),)
        headers.append(("Authorization", f"Basic {derived[0]}"))
    return Credentials(tuple(headers), urlencode(form).encode(), derived)


def _key(wanted: TokenRequest) -> bytes:
    parts = (wanted.url, wanted.client_id, wanted.client_secret, wanted.scope, wanted.audience, wanted.in_body)
    return hashlib.sha256(json.dumps(parts).encode()).digest()


def _read(answer: Answer) -> tuple[str, float]:
    """The token and the seconds it is good for."""
    try:
        said = json.loads(answer.body)
    except (ValueError, RecursionError):
        said = None
    said = said if isinstance(said, dict) else {}
    if not 200 <= answer.status <= 299:
        code = said.get("error")
        words = f", {code}" if isinstance(code, str) and ERROR_CODE.fullmatch(code) else ""
        later = answer.status in TRANSIENT or answer.status >= 500
        trouble = Trouble.AUTH_LATER if later else Trouble.AUTH_FAILED
        raise TokenRefused(trouble, f"the token server answered HTTP {answer.status}{words}")
    token, kind = said.get("access_token"), said.get("token_type", "Bearer")
    if not isinstance(token, str) or len(token) > LONGEST_TOKEN or not VISIBLE.fullmatch(token):
        raise TokenRefused(Trouble.AUTH_FAILED, "the token server's answer holds no access_token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise TokenRefused(Trouble.AUTH_FAILED, "the token server gave no Bearer token")
    seconds = said.get("expires_in", UNSAID_SECONDS)
    if isinstance(seconds, str) and seconds.isascii() and seconds.isdecimal():  # some servers quote it
        seconds = float(seconds[:10])
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        seconds = UNSAID_SECONDS
    return token, min(float(seconds), LONGEST_SECONDS)
