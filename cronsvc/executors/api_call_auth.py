"""`auth`: who we are to a target. What is secret in it comes from secrets, because jobs can be read.

{"type": "basic", "username": …, "password": "{{secret:…}}"}
{"type": "bearer", "token": "{{secret:…}}"}
{"type": "apiKey", "name": "X-Api-Key", "value": "{{secret:…}}", "in": "header" | "query"}
{"type": "oauth2", "tokenUrl": …, "clientId": …, "clientSecret": "{{secret:…}}", "scope": …, "audience": …,
 "clientAuthentication": "basic" | "body"}                          (client credentials; `api_call_oauth.py`)
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cronsvc.domain.secret_references import names
from cronsvc.errors import FieldError, InvalidInput
from cronsvc.executors.config_faults import read_part

LONGEST = 16_384
TEXT = f"a text of 1 to {LONGEST} characters"
SECRET = "a secret, such as {{secret:name}}"  # noqa: S105 words, not a password
UNSAFE = re.compile(r"[\x00-\x1f\x7f]")


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class BasicConfig(_Part):
    """User and password."""

    type: Literal["basic"]
    username: str = Field(min_length=1, max_length=LONGEST, description=TEXT)
    password: str = Field(max_length=LONGEST, description=SECRET)


class BearerConfig(_Part):
    """A token that the target has given out."""

    type: Literal["bearer"]
    token: str = Field(max_length=LONGEST, description=SECRET)


class ApiKeyConfig(_Part):
    """A key in a header or in the query."""

    type: Literal["apiKey"]
    name: str = Field("X-Api-Key", min_length=1, max_length=256, description="the name of the header or parameter")
    value: str = Field(max_length=LONGEST, description=SECRET)
    place: Literal["header", "query"] = Field("header", alias="in", description='"header" or "query"')


class OAuth2Config(_Part):
    """Client credentials, exchanged for a token."""

    type: Literal["oauth2"]
    token_url: str = Field(alias="tokenUrl", min_length=1, max_length=2_048, description="the URL that gives tokens")
    client_id: str = Field(alias="clientId", min_length=1, max_length=LONGEST, description=TEXT)
    client_secret: str = Field(alias="clientSecret", max_length=LONGEST, description=SECRET)
    scope: str | list[str] | None = Field(None, description="a text, or a list of scopes")
    audience: str | None = Field(None, min_length=1, max_length=2_048, description="a text")
    client_authentication: Literal["basic", "body"] = Field(
        "basic", alias="clientAuthentication", description='"basic" or "body"'
    )


MODELS: Mapping[str, type[BasicConfig | BearerConfig | ApiKeyConfig | OAuth2Config]] = {
    "basic": BasicConfig,
    "bearer": BearerConfig,
    "apiKey": ApiKeyConfig,
    "oauth2": OAuth2Config,
}
SECRET_MEMBERS = {"basic": "password", "bearer": "token", "apiKey": "value", "oauth2": "clientSecret"}


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """How to get a token from an OAuth 2 server with client credentials."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None
    audience: str | None
    in_body: bool


@dataclass(frozen=True, slots=True)
class Auth:
    """What a request says of its sender: headers, parameters of the query, or a token to be fetched first.

    `derived` are spellings of the secrets that are sent in place of them and must be masked as well.
    """

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    params: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    token: TokenRequest | None = None
    derived: tuple[str, ...] = field(default=(), repr=False)


NOBODY = Auth()


def read_auth(value: object, path: str, *, is_filled: bool) -> Auth:
    """`auth` as it was written; InvalidInput names everything that is wrong with it. `is_filled`: secrets are put in.

    What it adds is checked with the rest of the request: the header's name and value, the token's URL.
    """
    kind = value.get("type") if isinstance(value, Mapping) else None
    model = MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise InvalidInput.of(f"{path}.type", f"must be one of {', '.join(MODELS)}")
    read = read_part(model, value, path=path, kind=f"auth of type {kind}")
    bad: list[FieldError] = []
    texts: dict[str, Any] = read.model_dump(by_alias=True)
    member = SECRET_MEMBERS[str(kind)]
    if not is_filled and not names(texts[member]):
        bad.append(FieldError(f"{path}.{member}", f"must come from {SECRET}: jobs can be read"))
    scopes = texts.get("scope")
    for name, text in texts.items():
        parts = text if isinstance(text, list) else [text]
        if any(isinstance(part, str) and UNSAFE.search(part) for part in parts):
            bad.append(FieldError(f"{path}.{name}", "must not contain line breaks or control characters"))
    if isinstance(read, BasicConfig) and ":" in read.username:
        bad.append(FieldError(f"{path}.username", "must not contain a colon, which ends a user's name"))
    if isinstance(scopes, list) and not 1 <= len(scopes) <= 100:
        bad.append(FieldError(f"{path}.scope", "must be a text, or a list of 1 to 100 scopes"))
    if isinstance(read, OAuth2Config) and names(read.token_url):
        bad.append(FieldError(f"{path}.tokenUrl", "cannot hold a secret"))
    if bad:
        raise InvalidInput(bad)
    return _auth(read)


def _auth(read: BasicConfig | BearerConfig | ApiKeyConfig | OAuth2Config) -> Auth:
    if isinstance(read, BasicConfig):
        login = base64.b64encode(f"{read.username}:{read.password}".encode(errors="replace")).decode()
        return Auth(headers=(("Authorization", f"Basic {login}"),), derived=(login,))
    if isinstance(read, BearerConfig):
        return Auth(headers=(("Authorization", f"Bearer {read.token}"),))
    if isinstance(read, ApiKeyConfig):
        pair = (read.name, read.value)
        return Auth(headers=(pair,)) if read.place == "header" else Auth(params=(pair,))
    scope = " ".join(read.scope) if isinstance(read.scope, list) else read.scope
    in_body = read.client_authentication == "body"
    return Auth(token=TokenRequest(read.token_url, read.client_id, read.client_secret, scope, read.audience, in_body))
