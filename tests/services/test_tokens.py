"""Tokens of other issuers: what a good one grants, and every bad one that the world has thought of, refused alike."""

import base64
import hmac
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwe, jws
from joserfc.jwk import ECKey, OctKey, RSAKey

from cronsvc.config_identity import JwtIssuer
from cronsvc.errors import ConfigError, Forbidden, Unauthenticated, Unavailable
from cronsvc.services.callers import Grant, Role
from cronsvc.services.key_sets import PAUSE_SECONDS, REFRESH_SECONDS, STALE_SECONDS, PublishedKeys
from cronsvc.services.tokens import MOST_BYTES, REFUSAL, Tokens, grant_of

NOW = 1_800_000_000
SECRET = "s" * 32
RSA = RSAKey.generate_key(2048, parameters={"kid": "r1"})
RSA_STRANGER = RSAKey.generate_key(2048, parameters={"kid": "r1"})
EC = ECKey.generate_key("P-256", parameters={"kid": "e1"})
RSA_PEM = RSA.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
RSA_JWK = RSA.as_dict(private=False)
JWKS = json.dumps({"keys": [RSA_JWK, EC.as_dict(private=False)]}).encode()

Claims = dict[str, Any]


def claims(issuer: str = "rsa", **changes: Any) -> Claims:
    """Good ones; a change to None takes the claim away."""
    good = {"iss": issuer, "aud": "cronsvc", "sub": "ann", "iat": NOW - 5, "exp": NOW + 300, "roles": ["operator"]}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def b64(data: bytes | str | Mapping[str, Any]) -> str:
    if isinstance(data, Mapping):
        data = json.dumps(data)
    raw = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(
    payload: Mapping[str, Any] | str, *, key: Any = RSA, header: Mapping[str, Any] | None = None, alg: str = "RS256"
) -> str:
    text = payload if isinstance(payload, str) else json.dumps(payload)
    registry = jws.JWSRegistry(strict_check_header=False, algorithms=[alg])
    full = {"alg": alg, "typ": "JWT", **(header or {})}
    return jws.serialize_compact(full, text.encode(), key, registry=registry)


def by_hand(header: str | Mapping[str, Any], payload: Mapping[str, Any], signature: str = "AAAA") -> str:
    return f"{b64(header)}.{b64(payload)}.{signature}"


def truly(header: str | Mapping[str, Any], payload: Mapping[str, Any] | str) -> str:
    """A header that joserfc would not write, over a signature that is right: only what the header says is wrong."""
    head = f"{b64(header)}.{b64(payload)}"
    private = RSA.private_key
    assert isinstance(private, RSAPrivateKey)
    return f"{head}.{b64(private.sign(head.encode(), PKCS1v15(), SHA256()))}"


def hmac_with(secret: bytes, **header: Any) -> str:
    """Made by hand: joserfc would not take such a secret."""
    head = f"{b64({'alg': 'HS256', 'typ': 'JWT', **header})}.{b64(claims())}"
    return f"{head}.{b64(hmac.digest(secret, head.encode(), 'sha256'))}"


async def published(_url: str) -> bytes:
    return JWKS


def issuer(name: str, algorithm: str, **more: Any) -> JwtIssuer:
    return JwtIssuer.model_validate({"issuer": name, "audience": "cronsvc", "algorithm": algorithm, **more})


ISSUERS = (
    issuer("rsa", "RS256", jwksUrl="https://rsa.example/keys"),
    issuer("ec", "ES256", key=EC.as_dict(private=False)),
    issuer("pem", "RS256", key=RSA_PEM.decode()),
    issuer("shared", "HS256", secret=SECRET),
    issuer("typed", "RS256", key=RSA_PEM.decode(), type="at+jwt"),
)


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(ISSUERS, published, clock=lambda: NOW)


@pytest.mark.parametrize(
    "token",
    [
        signed(claims(), header={"kid": "r1"}),
        signed(claims("ec"), key=EC, alg="ES256"),
        signed(claims("pem"), header={"kid": "any"}),
        signed(claims("shared"), key=OctKey.import_key(SECRET), alg="HS256"),
        signed(claims("typed"), header={"typ": "application/at+jwt"}),
        signed(claims(aud=["other", "cronsvc"]), header={"kid": "r1", "x5t": "abc"}),
        signed(claims(exp=NOW - 29), header={"kid": "r1"}),  # within the leeway
        signed(claims(nbf=NOW + 29, iat=None), header={"kid": "r1"}),
        truly({"alg": "RS256", "kid": "r1"}, claims()),  # so the corpus below is refused for what it says
    ],
    ids=["jwks", "ec", "pem", "shared", "typed", "audiences", "leeway", "not-before", "by-hand"],
)
async def test_good_tokens_name_their_holder(tokens: Tokens, token: str) -> None:
    holder = await tokens.verified(token)
    assert holder.grant == Grant(Role.OPERATOR)
    # A subject means nothing without its issuer.
    assert re.fullmatch(r"jwt:(rsa|ec|pem|shared|typed)\|ann", holder.actor)


async def test_of_one_issuer_the_subject_is_name_enough() -> None:
    alone = Tokens(ISSUERS[:1], published, clock=lambda: NOW)
    assert (await alone.verified(signed(claims(), header={"kid": "r1"}))).actor == "jwt:ann"


def _nested() -> str:
    return signed(signed(claims()), header={"cty": "JWT", "kid": "r1"})


def _encrypted() -> str:
    return jwe.encrypt_compact({"alg": "dir", "enc": "A256GCM"}, b"{}", OctKey.import_key("k" * 32))


def _flipped() -> str:
    head, payload, signature = signed(claims(), header={"kid": "r1"}).split(".")
    return f"{head}.{b64(claims(sub='root'))}.{signature}" if payload else ""


def _noncanonical() -> str:
    """The same signature bytes, other last bits: a second spelling of one token."""
    head, payload, signature = signed(claims("ec"), key=EC, alg="ES256").split(".")
    return f"{head}.{payload}=.{signature}"


GOOD = signed(claims(), header={"kid": "r1"})
CORPUS: dict[str, str | Callable[[], str]] = {
    "empty": "",
    "no token": "eyJ",
    "two parts": ".".join(GOOD.split(".")[:2]),
    "no signature": ".".join(GOOD.split(".")[:2]) + ".",
    "four parts": GOOD + ".AAAA",
    "alg none": by_hand({"alg": "none", "typ": "JWT"}, claims(), ""),
    "alg none with a signature": by_hand({"alg": "none", "typ": "JWT"}, claims()),
    "alg None": by_hand({"alg": "None"}, claims()),
    "alg nOnE": by_hand({"alg": "nOnE"}, claims()),
    "no alg": truly({"typ": "JWT"}, claims()),
    "alg null": truly({"alg": None}, claims()),
    "alg a list": truly({"alg": ["RS256", "none"]}, claims()),
    "HS256 with the public PEM": lambda: hmac_with(RSA_PEM, kid="r1"),
    "HS256 with the public PEM, trimmed": lambda: hmac_with(RSA_PEM.strip(), kid="r1"),
    "HS256 with the JWK's JSON": lambda: hmac_with(json.dumps(RSA_JWK).encode(), kid="r1"),
    "HS256 with an empty secret's hash": lambda: hmac_with(b"\0" * 32),
    "RS512 of the right key": lambda: signed(claims(), alg="RS512", header={"kid": "r1"}),
    "PS256 of the right key": lambda: signed(claims(), alg="PS256", header={"kid": "r1"}),
    "RS256 of a stranger": lambda: signed(claims(), key=RSA_STRANGER, header={"kid": "r1"}),
    "RS256 for an issuer of ES256": lambda: signed(claims("ec")),
    "another issuer's key": lambda: signed(claims("ec"), key=RSA, header={"kid": "r1"}),
    "a claim changed": _flipped,
    "the signature cut": GOOD[:-4],
    "a signature of zeros": by_hand({"alg": "ES256"}, claims("ec"), b64(b"\0" * 64)),
    "jku": lambda: signed(claims(), header={"kid": "r1", "jku": "https://evil.example/keys"}),
    "x5u": lambda: signed(claims(), header={"kid": "r1", "x5u": "https://evil.example/cert"}),
    "jwk": lambda: signed(claims(), key=RSA_STRANGER, header={"jwk": RSA_STRANGER.as_dict(private=False)}),
    "x5c": lambda: signed(claims(), header={"kid": "r1", "x5c": ["AAAA"]}),
    "crit": truly({"alg": "RS256", "kid": "r1", "crit": ["exp"]}, claims()),
    "crit unknown": truly({"alg": "RS256", "kid": "r1", "crit": ["cronsvc"], "cronsvc": 1}, claims()),
    "b64 false": truly({"alg": "RS256", "kid": "r1", "b64": False, "crit": ["b64"]}, claims()),
    "zip": truly({"alg": "RS256", "kid": "r1", "zip": "DEF"}, claims()),
    "kid of nobody": lambda: signed(claims(), header={"kid": "r2"}),
    "kid of another algorithm's key": lambda: signed(claims(), header={"kid": "e1"}),
    "kid a path": lambda: signed(claims(), header={"kid": "../../../../dev/null"}),
    "kid SQL": lambda: signed(claims(), header={"kid": "x' UNION SELECT 'k'--"}),
    "kid with a NUL": truly({"alg": "RS256", "kid": "r1\0"}, claims()),
    "kid a number": truly({"alg": "RS256", "kid": 1}, claims()),
    "kid a list": truly({"alg": "RS256", "kid": ["r1"]}, claims()),
    "kid null": truly({"alg": "RS256", "kid": None}, claims()),
    "two kids": truly('{"alg":"RS256","kid":"r1","kid":"r2"}', claims()),
    "two algs": truly('{"alg":"none","alg":"RS256","kid":"r1"}', claims()),
    "expired": lambda: signed(claims(exp=NOW - 31), header={"kid": "r1"}),
    "no exp": lambda: signed(claims(exp=None), header={"kid": "r1"}),
    "exp as text": lambda: signed(claims(exp=str(NOW + 300)), header={"kid": "r1"}),
    "exp true": lambda: signed(claims(exp=True), header={"kid": "r1"}),
    "exp infinite": lambda: signed(json.dumps(claims()).replace(str(NOW + 300), "1e999"), header={"kid": "r1"}),
    "exp NaN": lambda: signed(json.dumps(claims()).replace(str(NOW + 300), "NaN"), header={"kid": "r1"}),
    "exp null": lambda: signed(json.dumps(claims()).replace(str(NOW + 300), "null"), header={"kid": "r1"}),
    "not yet valid": lambda: signed(claims(nbf=NOW + 31), header={"kid": "r1"}),
    "made tomorrow": lambda: signed(claims(iat=NOW + 86_400, exp=NOW + 86_500), header={"kid": "r1"}),
    "for a year": lambda: signed(claims(exp=NOW + 31_536_000), header={"kid": "r1"}),
    "for a year, iat left out": lambda: signed(claims(exp=NOW + 31_536_000, iat=None), header={"kid": "r1"}),
    "of an unknown issuer": lambda: signed(claims("nobody"), header={"kid": "r1"}),
    "issuer spelt otherwise": lambda: signed(claims("RSA"), header={"kid": "r1"}),
    "no issuer": lambda: signed(claims(iss=None), header={"kid": "r1"}),
    "issuer a list": lambda: signed(claims(iss=["rsa"]), header={"kid": "r1"}),
    "for another audience": lambda: signed(claims(aud="other"), header={"kid": "r1"}),
    "no audience": lambda: signed(claims(aud=None), header={"kid": "r1"}),
    "audience empty": lambda: signed(claims(aud=[]), header={"kid": "r1"}),
    "audience an object": lambda: signed(claims(aud={"cronsvc": 1}), header={"kid": "r1"}),
    "audience with a number": lambda: signed(claims(aud=["cronsvc", 1]), header={"kid": "r1"}),
    "no subject": lambda: signed(claims(sub=None), header={"kid": "r1"}),
    "subject a number": lambda: signed(claims(sub=7), header={"kid": "r1"}),
    "subject of control characters": lambda: signed(claims(sub="ann\nadmin"), header={"kid": "r1"}),
    "subject without an end": lambda: signed(claims(sub="a" * 201), header={"kid": "r1"}),
    "type of another use": lambda: signed(claims(), header={"kid": "r1", "typ": "logout+jwt"}),
    "type a number": truly({"alg": "RS256", "kid": "r1", "typ": 1}, claims()),
    "an ID token where access tokens are wanted": lambda: signed(claims("typed")),
    "no type where one is wanted": lambda: by_hand({"alg": "RS256"}, claims("typed")),
    "nested": _nested,
    "encrypted": _encrypted,
    "a member twice": lambda: signed('{"sub":"ann",' + json.dumps(claims())[1:], header={"kid": "r1"}),
    "a member twice, deep": lambda: signed(
        json.dumps(claims())[:-1] + ',"x":{"a":1,"a":2}}', header={"kid": "r1"}
    ),
    "claims a list": lambda: signed("[]", header={"kid": "r1"}),
    "claims text": lambda: signed('"x"', header={"kid": "r1"}),
    "claims no JSON": lambda: signed("{", header={"kid": "r1"}),
    "claims not UTF-8": f"{b64({'alg': 'RS256'})}.{b64(bytes([0xFF, 0xFE]))}.AAAA",
    "claims too deep": lambda: f"{b64({'alg': 'RS256'})}.{b64('[' * 5000)}.AAAA",
    "header a list": by_hand("[]", claims()),
    "bad base64": "!!!.@@@.###",
    "padded base64": _noncanonical,
    "plain base64": GOOD.replace("-", "+").replace("_", "/") + "+/",
    "spaces": GOOD.replace(".", " .", 1),
    "a newline at the end": GOOD + "\n",
    "huge": lambda: signed(claims(x="a" * MOST_BYTES), header={"kid": "r1"}),
    "a megabyte": "a" * 1_000_000,
    "JSON serialization": json.dumps({"payload": b64(claims()), "signatures": []}),
    "not ASCII": "é.é.é",
    "a lone surrogate": "\ud800.a.b",
}  # fmt: skip


@pytest.mark.parametrize("name", CORPUS)
async def test_bad_tokens_are_refused_in_the_same_words(tokens: Tokens, name: str) -> None:
    made = CORPUS[name]
    with pytest.raises(Unauthenticated) as refused:
        await tokens.verified(made if isinstance(made, str) else made())
    assert str(refused.value) == REFUSAL


ROLES = {"admins": "admin", "people": "viewer"}


@pytest.mark.parametrize(
    ("said", "rules", "granted"),
    [
        ({"roles": "viewer"}, {}, Grant(Role.VIEWER)),
        ({"roles": ["x", "viewer", "admin"]}, {}, Grant(Role.ADMIN)),
        ({"scope": "openid operator"}, {"rolesClaim": "scope"}, Grant(Role.OPERATOR)),
        ({"groups": ["people", "admins"]}, {"rolesClaim": "groups", "roles": ROLES}, Grant(Role.ADMIN)),
        ({"realm_access": {"roles": ["viewer"]}}, {"rolesClaim": "realm_access.roles"}, Grant(Role.VIEWER)),
        ({"https://x.example/r": "viewer"}, {"rolesClaim": "https://x.example/r"}, Grant(Role.VIEWER)),
        ({"roles": "admin"}, {"namespaces": ["red"]}, Grant(Role.ADMIN, ("red",))),
        ({"roles": "admin", "scp": "red blue"}, {"namespacesClaim": "scp"}, Grant(Role.ADMIN, ("red", "blue"))),
        ({"roles": "admin", "ns": ["*"]}, {"namespacesClaim": "ns"}, Grant(Role.ADMIN)),
        (
            {"roles": "admin", "ns": ["*"]},
            {"namespacesClaim": "ns", "namespaces": ["red"]},
            Grant(Role.ADMIN, ("red",)),
        ),
        (
            {"roles": "admin", "ns": ["red", "blue"]},
            {"namespacesClaim": "ns", "namespaces": ["red"]},
            Grant(Role.ADMIN, ("red",)),
        ),
        (
            {"roles": {"red": "admin", "blue": "viewer", "grey": "nothing"}},
            {},
            Grant(Role.VIEWER, ("red", "blue"), {"red": Role.ADMIN, "blue": Role.VIEWER}),
        ),
        ({"roles": {"red": "admin"}}, {}, Grant(Role.ADMIN, ("red",))),
    ],
)
def test_claims_grant_roles_and_namespaces(said: Claims, rules: Claims, granted: Grant) -> None:
    assert grant_of(said, issuer("x", "HS256", secret=SECRET, **rules)) == granted


@pytest.mark.parametrize(
    ("said", "rules"),
    [
        ({}, {}),
        ({"roles": []}, {}),
        ({"roles": ["root"]}, {}),
        ({"roles": "admin"}, {"roles": ROLES}),  # translated, so our own words mean nothing
        ({"roles": "assistant to admin"}, {}),  # one name with spaces
        ({"roles": "admin", "ns": "red *"}, {"namespacesClaim": "ns"}),
        ({"roles": 1}, {}),
        ({"roles": None}, {}),
        ({"roles": {}}, {}),
        ({"roles": {"*": "admin"}}, {}),
        ({"roles": {"red": "admin"}}, {"namespaces": ["blue"]}),
        ({"roles": "admin"}, {"namespacesClaim": "ns"}),
        ({"roles": "admin", "ns": []}, {"namespacesClaim": "ns"}),
        ({"roles": "admin", "ns": ["re d"]}, {"namespacesClaim": "ns"}),
        ({"roles": "admin", "ns": ["blue"]}, {"namespacesClaim": "ns", "namespaces": ["red"]}),
    ],
)
def test_claims_that_grant_nothing_are_forbidden(said: Claims, rules: Claims) -> None:
    with pytest.raises(Forbidden):
        grant_of(said, issuer("x", "HS256", secret=SECRET, **rules))


class Publisher:
    """An issuer's key set on a clock of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked = 0
        self.body: bytes | None = JWKS

    async def fetch(self, _url: str) -> bytes:
        self.asked += 1
        if self.body is None:
            raise Unavailable("away")
        return self.body

    def source(self) -> PublishedKeys:
        return PublishedKeys("https://x.example/keys", "RS256", self.fetch, monotonic=lambda: self.now)


async def test_a_key_set_is_kept_and_renewed() -> None:
    publisher = Publisher()
    source = publisher.source()
    for _ in range(5):
        assert await source.find("r1") is not None
    assert publisher.asked == 1
    publisher.now += REFRESH_SECONDS + 1
    assert await source.find("r1") is not None
    assert publisher.asked == 2


async def test_an_unknown_key_is_looked_for_at_most_once_a_minute() -> None:
    publisher = Publisher()
    source = publisher.source()
    for n in range(50):
        assert await source.find(f"unknown-{n}") is None
    assert publisher.asked == 1
    rotated = RSAKey.generate_key(2048, parameters={"kid": "r9"})
    publisher.body = json.dumps({"keys": [rotated.as_dict(private=False)]}).encode()
    publisher.now += PAUSE_SECONDS + 1
    assert await source.find("r9") is not None
    assert await source.find("r1") is None  # withdrawn
    assert publisher.asked == 2


async def test_known_keys_outlive_an_issuer_that_is_down() -> None:
    publisher = Publisher()
    source = publisher.source()
    await source.find("r1")
    for body in (None, b"<html>", b"[]", b'{"keys": 1}', b'{"keys": []}'):
        publisher.body = body
        publisher.now += REFRESH_SECONDS + 1
        assert await source.find("r1") is not None
    publisher.now += STALE_SECONDS
    with pytest.raises(Unavailable):
        await source.find("r1")


async def test_without_any_keys_it_is_unavailable_and_soon_tried_again() -> None:
    publisher = Publisher()
    publisher.body = None
    source = publisher.source()
    for _ in range(10):
        with pytest.raises(Unavailable):
            await source.find("r1")
    assert publisher.asked == 1
    publisher.body = JWKS
    publisher.now += 6
    assert await source.find("r1") is not None


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "k": b64("s" * 32), "kid": "r1"},
        {**RSA_JWK, "use": "enc"},
        {**RSA_JWK, "alg": "RS512"},
        {**RSA_JWK, "n": "AQAB"},
        EC.as_dict(private=False) | {"kid": "r1"},
        {"kid": "r1"},
        "r1",
    ],
)
async def test_keys_that_do_not_fit_are_never_taken(jwk: Any) -> None:
    publisher = Publisher()
    publisher.body = json.dumps({"keys": [jwk, {**RSA_JWK, "kid": "good"}]}).encode()
    source = publisher.source()
    assert await source.find("r1") is None
    assert await source.find("good") is not None


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [("RS256", EC.as_dict(private=False)), ("ES256", RSA_PEM.decode()), ("RS256", "no key"), ("RS256", {"kty": "RSA"})],
)
def test_a_key_that_does_not_fit_stops_the_start(algorithm: str, key: Any) -> None:
    with pytest.raises(ConfigError):
        Tokens([issuer("x", algorithm, key=key)], published)
