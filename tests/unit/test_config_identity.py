"""What the operator says about issuers and the identity provider: read as a whole, refused without a secret in it."""

import json
from typing import Any

import pytest

from cronsvc.config import load_settings
from cronsvc.errors import ConfigError

SECRET = "a secret that is long enough, surely"
GOOD: dict[str, Any] = {"issuer": "i", "audience": "a", "algorithm": "HS256", "secret": SECRET}
PROVIDER: dict[str, Any] = {
    "issuer": "https://login.example",
    "clientId": "cronsvc",
    "clientSecret": SECRET,
    "publicUrl": "https://cron.example",
}


def test_one_secret_is_an_issuer() -> None:
    (issuer,) = load_settings({"CRONSVC_JWT_SECRET": SECRET}).token_issuers()
    assert (issuer.issuer, issuer.audience, issuer.algorithm) == ("cronsvc", ("cronsvc",), "HS256")
    assert load_settings({}).token_issuers() == ()
    assert load_settings({}).identity_provider() is None


def test_issuers_are_listed() -> None:
    listed = [GOOD, {"issuer": "j", "audience": ["a", "b"], "algorithm": "ES256", "jwksUrl": "https://j.example/k"}]
    settings = load_settings({"CRONSVC_JWT_ISSUERS": json.dumps(listed)})
    assert [each.audience for each in settings.token_issuers()] == [("a",), ("a", "b")]
    assert SECRET in settings.secret_values() and SECRET not in repr(settings)


@pytest.mark.parametrize(
    "change",
    [
        {"secret": "short"},
        {"secret": "é" * 15},  # 30 bytes
        {"secret": "-----BEGIN PUBLIC KEY-----" + "x" * 40},
        {"secret": None},
        {"algorithm": "none"},
        {"algorithm": "HS512"},
        {"algorithm": "RS256"},
        {"key": "PEM"},
        {"jwksUrl": "https://x.example"},
        {"audience": []},
        {"audience": None},
        {"issuer": ""},
        {"leewaySeconds": 61},
        {"roles": {"x": "root"}},
        {"namespaces": []},
        {"namespaces": ["no space"]},
        {"surprise": 1},
    ],
    ids=str,
)
def test_a_bad_issuer_stops_the_start(change: dict[str, Any]) -> None:
    issuer = {name: value for name, value in (GOOD | change).items() if value is not None}
    with pytest.raises(ConfigError, match="CRONSVC_JWT_ISSUERS") as refused:
        load_settings({"CRONSVC_JWT_ISSUERS": json.dumps([issuer])})
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("url", ["http://j.example/k", "ftp://j.example/k", "https://", "https://u@j.example", "/k"])
def test_keys_come_over_https(url: str) -> None:
    issuer = {"issuer": "j", "audience": "a", "algorithm": "RS256", "jwksUrl": url}
    with pytest.raises(ConfigError):
        load_settings({"CRONSVC_JWT_ISSUERS": json.dumps([issuer])})


@pytest.mark.parametrize("text", ["{", "{}", "1", json.dumps([GOOD, GOOD]), json.dumps([1])])
def test_what_is_no_list_of_issuers_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        load_settings({"CRONSVC_JWT_ISSUERS": text})


def test_two_ways_to_name_issuers_are_one_too_many() -> None:
    with pytest.raises(ConfigError, match="keep one"):
        load_settings({"CRONSVC_JWT_ISSUERS": json.dumps([GOOD]), "CRONSVC_JWT_SECRET": SECRET})
    with pytest.raises(ConfigError, match="32 bytes"):
        load_settings({"CRONSVC_JWT_SECRET": "short"})


@pytest.mark.parametrize(
    "change",
    [{"issuer": "http://login.example"}, {"publicUrl": "cron"}, {"clientId": ""}, {"algorithm": "HS256"}],
    ids=str,
)
def test_a_bad_provider_stops_the_start(change: dict[str, Any]) -> None:
    assert load_settings({"CRONSVC_OIDC": json.dumps(PROVIDER)}).identity_provider() is not None
    with pytest.raises(ConfigError, match="CRONSVC_OIDC") as refused:
        load_settings({"CRONSVC_OIDC": json.dumps(PROVIDER | change)})
    assert SECRET not in str(refused.value)
