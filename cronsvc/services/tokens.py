"""Tokens of other issuers (JWT), as RFC 8725 wants them checked.

A token chooses nothing: its issuer, if we know it, has one algorithm and one source of keys, whatever the header says.
Headers that bring keys or ask for more than we do (`jwk`, `jku`, `x5u`, `crit`, `zip`, `b64`, …) are refused unread.
Every refusal says the same; the log has the reason, and nothing of the token.
"""

import base64
import binascii
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from cronsvc import events
from cronsvc.config_identity import ClaimMap, JwtIssuer
from cronsvc.errors import Forbidden, Unauthenticated
from cronsvc.services.callers import Grant, Role
from cronsvc.services.key_sets import Fetch, KeySource, OneKey, PublishedKeys, key_of

log = structlog.get_logger("cronsvc.tokens")

MOST_BYTES = 8192
REFUSAL = "this token is not accepted"

_PART = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_KID = re.compile(r"[\x21-\x7e]{1,256}", re.ASCII)
_SUBJECT = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,200}")
# Claims that are a list in one string, by RFC 6749.
_SPACED = frozenset({"scope", "scp"})

_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
# The thumbprints are told by some issuers and mean nothing to us.
_HEADERS = frozenset({"alg", "typ", "kid", "x5t", "x5t#S256"})
_TYPES = frozenset({"jwt", "at+jwt"})


class Refusal(Exception):
    """Why a token is not accepted, for the log."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Whom a good token names, and what they may do."""

    actor: str
    grant: Grant


@dataclass(frozen=True, slots=True)
class _Issuer:
    rules: JwtIssuer
    keys: KeySource


class Tokens:
    """The issuers of one process."""

    def __init__(self, issuers: Sequence[JwtIssuer], fetch: Fetch, *, clock: Callable[[], float] = time.time) -> None:
        self._issuers = {each.issuer: _Issuer(each, _source(each, fetch)) for each in issuers}
        self._clock = clock

    async def verified(self, token: str) -> Holder:
        """Return whom a token names. Unauthenticated, in the same words whatever is wrong.

        Forbidden: it grants nothing. Unavailable: its issuer's keys have never been reached.
        """
        try:
            claims, rules = await self.claims(token)
        except Refusal as refusal:
            log.info(events.TOKEN_REFUSED, reason=str(refusal))
            raise Unauthenticated(REFUSAL) from None
        # A subject is somebody within its issuer only.
        by = claims["sub"] if len(self._issuers) == 1 else f"{rules.issuer}|{claims['sub']}"
        return Holder(f"jwt:{by}", grant_of(claims, rules))

    async def claims(self, token: str) -> tuple[Mapping[str, Any], JwtIssuer]:
        """The claims of a token that is good in every respect, and its issuer; raises Refusal."""
        header, claims = _opened(token)
        known = self._issuers.get(claims["iss"]) if isinstance(claims.get("iss"), str) else None
        if known is None:
            raise Refusal("its issuer is not one of ours")
        rules = known.rules
        _check_header(header, rules)
        key = await known.keys.find(header.get("kid"))
        if key is None:
            raise Refusal("its issuer has no such key")
        try:
            jws.deserialize_compact(token, key, algorithms=[rules.algorithm])
        except (JoseError, ValueError, TypeError):
            raise Refusal("the signature is not good") from None
        _check_claims(claims, rules, self._clock())
        return claims, rules


def _source(rules: JwtIssuer, fetch: Fetch) -> KeySource:
    if rules.secret is not None:
        return OneKey(OctKey.import_key(rules.secret.get_secret_value()))
    if rules.key is not None:
        return OneKey(key_of(rules.key, rules.algorithm))
    assert rules.jwks_url is not None  # the settings have one of the three
    return PublishedKeys(rules.jwks_url, rules.algorithm, fetch)


def _opened(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the claims, of which nothing is believed yet."""
    if len(token) > MOST_BYTES:
        raise Refusal("it is too long")
    parts = token.split(".")
    if len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
        raise Refusal("it is not a signed token")
    return _object(parts[0]), _object(parts[1])


def _object(part: str) -> dict[str, Any]:
    try:
        text = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        if base64.urlsafe_b64encode(text).rstrip(b"=") != part.encode():
            raise Refusal("a part of it is spelt oddly")
        found = json.loads(text.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (binascii.Error, ValueError, RecursionError):
        raise Refusal("a part of it is not JSON in base64") from None
    if not isinstance(found, dict):
        raise Refusal("a part of it is no object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Refusal("a member is there twice")
    return found


def _no_constant(text: str) -> None:
    raise ValueError(text)


def _check_header(header: Mapping[str, Any], rules: JwtIssuer) -> None:
    if header.get("alg") != rules.algorithm:
        raise Refusal("it is not signed with its issuer's algorithm")
    if not header.keys() <= _HEADERS:
        raise Refusal("its header asks for more than we do")
    kid = header.get("kid")
    if "kid" in header and not (isinstance(kid, str) and _KID.fullmatch(kid)):
        raise Refusal("its kid is no name")
    kind = header.get("typ")
    if kind is not None and not isinstance(kind, str):
        raise Refusal("its type is no text")
    plain = None if kind is None else kind.lower().removeprefix("application/")
    if rules.type is not None:
        if plain != rules.type.lower().removeprefix("application/"):
            raise Refusal("it is a token of another type")
    elif plain is not None and plain not in _TYPES:
        raise Refusal("it is a token of another type")


def _check_claims(claims: Mapping[str, Any], rules: JwtIssuer, now: float) -> None:
    """Times are seconds since 1970; the leeway is for clocks that differ."""
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
        raise Refusal("it names no audience")
    if not set(named) & set(rules.audience):
        raise Refusal("it is meant for somebody else")
    ends, begins, made = (_instant(claims, name) for name in ("exp", "nbf", "iat"))
    leeway = rules.leeway_seconds
    if ends is None:
        raise Refusal("it never expires")
    if now >= ends + leeway:
        raise Refusal("it has expired")
    if (begins is not None and now < begins - leeway) or (made is not None and now < made - leeway):
        raise Refusal("it is not valid yet")
    if ends - (now if made is None else made) > rules.max_lifetime_seconds + leeway:
        raise Refusal("it lives too long")
    subject = claims.get("sub")
    if not isinstance(subject, str) or _SUBJECT.fullmatch(subject) is None:
        raise Refusal("it names nobody")


def _instant(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        raise Refusal(f"its {name} is no time")
    return float(value)


def grant_of(claims: Mapping[str, Any], rules: ClaimMap) -> Grant:
    """What claims grant by these rules; Forbidden when that is nothing.

    A claim of roles is a name, a list of names, or an object of namespaces and names. The highest one counts.
    """
    said = _claim(claims, rules.roles_claim)
    if isinstance(said, dict):
        of_each = {name: _highest(value, rules) for name, value in said.items()}
        roles = {name: role for name, role in of_each.items() if role is not None and _NAMESPACE.fullmatch(name)}
        bound = _namespaces(claims, rules)
        roles = {name: role for name, role in roles.items() if bound is None or name in bound}
        if not roles:
            raise NothingGranted
        return Grant.of_roles(roles)
    role = _highest(said, rules)
    if role is None:
        raise NothingGranted
    return Grant(role, _namespaces(claims, rules))


class NothingGranted(Forbidden):
    """The credential is good and says nothing that lets its holder in."""

    def __init__(self) -> None:
        super().__init__("This credential grants no role here; an administrator can say why.")


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of this name; if there is none, the one at this path (`realm_access.roles`)."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _words(value: Any, name: str) -> list[str]:
    """What a claim lists. A string is one word, whatever is in it, but for two claims that are a list by RFC 6749."""
    if isinstance(value, str):
        return value.split() if name in _SPACED else [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _highest(said: Any, rules: ClaimMap) -> Role | None:
    names = _words(said, rules.roles_claim)
    known = rules.roles or {role.value: role.value for role in Role}
    roles = [Role(known[name]) for name in names if name in known]
    return max(roles, key=list(Role).index) if roles else None


def _namespaces(claims: Mapping[str, Any], rules: ClaimMap) -> tuple[str, ...] | None:
    """None is all of them: nothing bounds this holder."""
    if rules.namespaces_claim is None:
        return rules.namespaces
    names = _words(_claim(claims, rules.namespaces_claim), rules.namespaces_claim)
    if "*" in names:
        return rules.namespaces
    good = [name for name in dict.fromkeys(names) if _NAMESPACE.fullmatch(name)]
    if rules.namespaces is not None:
        good = [name for name in good if name in rules.namespaces]
    if not good:
        raise NothingGranted
    return tuple(good)
