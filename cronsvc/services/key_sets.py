"""The keys with which an issuer's tokens are checked: one that the operator gave, or a set that the issuer publishes.

A published set is fetched when it is first needed, again after REFRESH_SECONDS, and early for a key id that is not in
it, but never more often than once in PAUSE_SECONDS, whoever sends how many such ids. While the issuer does not answer,
the keys known so far go on working for STALE_SECONDS. Only keys that fit the issuer's one algorithm are ever taken.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, RSAKey

from cronsvc import events
from cronsvc.errors import ConfigError, Unavailable

log = structlog.get_logger("cronsvc.tokens")

REFRESH_SECONDS = 600.0
PAUSE_SECONDS = 60.0
RETRY_SECONDS = 5.0
STALE_SECONDS = 86_400.0
MOST_KEYS = 50
LEAST_RSA_BITS = 2048

Key = OctKey | RSAKey | ECKey
Fetch = Callable[[str], Awaitable[bytes]]
"""The body behind a URL; raises Unavailable. What it may reach is its own business."""


class KeySource(Protocol):
    """Where a token's key comes from."""

    async def find(self, kid: str | None) -> Key | None:
        """The key of this id, or the only one when the token names none; None: there is no such key."""
        ...


class OneKey:
    """The key that the operator gave; a token may name it as it likes."""

    def __init__(self, key: Key) -> None:
        self._key = key

    async def find(self, kid: str | None) -> Key | None:
        """The key."""
        return self._key


class PublishedKeys:
    """The set of keys behind a URL."""

    def __init__(
        self, url: str, algorithm: str, fetch: Fetch, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._algorithm = algorithm
        self._fetch = fetch
        self._monotonic = monotonic
        self._keys: dict[str | None, Key] = {}
        self._fetched: float | None = None
        self._tried: float | None = None
        self._fetching = asyncio.Lock()

    async def find(self, kid: str | None) -> Key | None:
        """As promised above; Unavailable: there are no keys yet, and the issuer does not answer."""
        if self._is_old(REFRESH_SECONDS):
            await self._refresh(RETRY_SECONDS)
        found = self._choose(kid)
        if found is None:
            await self._refresh(PAUSE_SECONDS)
            found = self._choose(kid)
        if self._is_old(STALE_SECONDS):
            raise Unavailable("the keys of an issuer of tokens cannot be fetched")
        return found

    def _choose(self, kid: str | None) -> Key | None:
        if kid is not None:
            return self._keys.get(kid)
        return next(iter(self._keys.values())) if len(self._keys) == 1 else None

    def _is_old(self, seconds: float) -> bool:
        return self._fetched is None or self._monotonic() - self._fetched > seconds

    async def _refresh(self, pause: float) -> None:
        """Fetch the set unless that was tried within `pause`; one request at a time, the others use its answer."""
        async with self._fetching:
            now = self._monotonic()
            if self._tried is not None and now - self._tried < pause:
                return
            self._tried = now
            try:
                keys = _usable_keys(await self._fetch(self._url), self._algorithm)
            except Unavailable as error:
                log.warning(events.KEYS_UNAVAILABLE, url=self._url, error=str(error))
                return
            if keys:  # an answer without any key that fits is no answer
                self._keys = keys
                self._fetched = now
            else:
                log.warning(events.KEYS_UNAVAILABLE, url=self._url, error="no key in it fits")


def key_of(given: str | Mapping[str, Any], algorithm: str) -> Key:
    """The public key that a PEM text or a JWK is. ConfigError: it does not fit the algorithm."""
    kind = RSAKey if algorithm == "RS256" else ECKey
    try:
        if isinstance(given, str) and not given.lstrip().startswith("{"):
            key: RSAKey | ECKey = kind.import_key(given)
        else:
            jwk = json.loads(given) if isinstance(given, str) else dict(given)
            key = kind.import_key(jwk)
    except (JoseError, ValueError, TypeError, KeyError):
        raise ConfigError(f"CRONSVC_JWT_ISSUERS: a key is not one for {algorithm}, as PEM or JWK") from None
    if not _fits(key, algorithm):
        raise ConfigError(
            f"CRONSVC_JWT_ISSUERS: a key is too weak or of another curve: {algorithm} takes "
            + ("RSA of 2048 bits or more" if algorithm == "RS256" else "P-256")
        )
    return key


def _fits(key: Key, algorithm: str) -> bool:
    if algorithm == "RS256":
        return isinstance(key, RSAKey) and key.public_key.key_size >= LEAST_RSA_BITS
    return isinstance(key, ECKey) and key.curve_name == "P-256"


def _usable_keys(body: bytes, algorithm: str) -> dict[str | None, Key]:
    """The keys of a set that may check signatures of this algorithm, by id; anything odd in it is passed over."""
    try:
        listed = json.loads(body)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unavailable("the answer is no JSON Web Key Set") from None
    found: dict[str | None, Key] = {}
    for jwk in listed[:MOST_KEYS] if isinstance(listed, list) else []:
        key = _usable(jwk, algorithm)
        if key is not None:
            kid = jwk.get("kid")
            found[kid if isinstance(kid, str) else None] = key
    return found


def _usable(jwk: Any, algorithm: str) -> Key | None:
    kind = "RSA" if algorithm == "RS256" else "EC"
    if not isinstance(jwk, dict) or jwk.get("kty") != kind:
        return None
    if jwk.get("use", "sig") != "sig" or jwk.get("alg", algorithm) != algorithm:
        return None
    try:
        return key_of(jwk, algorithm)
    except ConfigError:
        return None
