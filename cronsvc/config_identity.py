"""What the operator says about other issuers: who may sign tokens, and which identity provider people sign in with.

Each issuer has one algorithm and one source of keys, fixed here; nothing in a token chooses either.
"""

import json
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
)
from pydantic import model_validator as after_all_fields
from pydantic.alias_generators import to_camel

LEAST_SECRET = 32
MOST_LEEWAY = 60

RoleName = Literal["viewer", "operator", "admin"]
Namespace = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Words = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1)], ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
]


class _Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, frozen=True, extra="forbid", hide_input_in_errors=True, validate_by_name=True
    )


class ClaimMap(_Model):
    """Which claims say what somebody may do. `roles` translates what an issuer says into our roles."""

    roles_claim: str = Field("roles", min_length=1)
    roles: dict[str, RoleName] = {}
    namespaces_claim: str | None = Field(None, min_length=1)
    namespaces: Annotated[tuple[Namespace, ...], Field(min_length=1)] | None = None


def _web_address(value: str) -> str:
    """https, or http to this very machine."""
    try:
        parts = urlsplit(value)
        loopback = parts.hostname in ("localhost", "127.0.0.1", "::1")
        good = bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and loopback))
        good = good and not parts.username and not parts.fragment and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise ValueError("should be an https:// URL")
    return value


WebAddress = Annotated[str, AfterValidator(_web_address)]


class JwtIssuer(ClaimMap):
    """Somebody whose tokens are believed."""

    issuer: str = Field(min_length=1)
    audience: Words = Field(min_length=1)
    algorithm: Literal["HS256", "RS256", "ES256"]
    secret: SecretStr | None = None
    key: str | dict[str, Any] | None = None
    jwks_url: WebAddress | None = None
    type: str | None = Field(None, min_length=1)
    leeway_seconds: int = Field(30, ge=0, le=MOST_LEEWAY)
    max_lifetime_seconds: int = Field(86_400, ge=1)

    @after_all_fields(mode="after")
    def _one_source_of_keys(self) -> Self:
        if sum(each is not None for each in (self.secret, self.key, self.jwks_url)) != 1:
            raise ValueError("needs one of secret, key and jwksUrl")
        if (self.algorithm == "HS256") is (self.secret is None):
            raise ValueError("a secret belongs to HS256, and a key or jwksUrl to RS256 and ES256")
        if self.secret is not None:
            secret = self.secret.get_secret_value()
            if len(secret.encode()) < LEAST_SECRET:
                raise ValueError(f"the secret is shorter than {LEAST_SECRET} bytes")
            if "-----BEGIN" in secret or '"kty"' in secret:
                raise ValueError("the secret is a key; an HS256 secret is known to nobody else")
        return self


class OidcProvider(ClaimMap):
    """The identity provider that people sign in with. `public_url` is where browsers find cronsvc."""

    issuer: WebAddress
    client_id: str = Field(min_length=1)
    client_secret: SecretStr | None = None
    public_url: WebAddress
    name: str = Field("single sign-on", min_length=1, max_length=60)
    scopes: Words = ("openid", "profile", "email")
    algorithm: Literal["RS256", "ES256"] = "RS256"


def _parsed(text: str, example: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError(f"should be JSON such as {example}") from None


def _in_words(error: ValidationError, example: str) -> ValueError:
    """The first fault and where it is, without a value: it may be a secret."""
    fault = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    message = str(fault["msg"]).removeprefix("Value error, ")
    return ValueError(f"{place + ': ' if place else ''}{message}; write for example {example}")


ISSUERS_EXAMPLE = (
    '[{"issuer": "https://login.example.com/", "audience": "cronsvc", "algorithm": "RS256",'
    ' "jwksUrl": "https://login.example.com/keys", "rolesClaim": "roles"}]'
)
OIDC_EXAMPLE = (
    '{"issuer": "https://login.example.com/", "clientId": "cronsvc", "clientSecret": "…",'
    ' "publicUrl": "https://cron.example.com", "roles": {"sre": "admin"}}'
)


def read_issuers(text: str) -> tuple[JwtIssuer, ...]:
    """The issuers that CRONSVC_JWT_ISSUERS lists. ValueError says what is wrong, without any of it."""
    found = _parsed(text, ISSUERS_EXAMPLE)
    if not isinstance(found, list):
        raise ValueError(f"should be a list such as {ISSUERS_EXAMPLE}")  # noqa: TRY004 pydantic's way
    try:
        issuers = tuple(JwtIssuer.model_validate(each) for each in found)
    except ValidationError as error:
        raise _in_words(error, ISSUERS_EXAMPLE) from None
    if len({each.issuer for each in issuers}) < len(issuers):
        raise ValueError("names an issuer twice")
    return issuers


def read_oidc(text: str) -> OidcProvider:
    """The provider that CRONSVC_OIDC describes. ValueError as above."""
    try:
        return OidcProvider.model_validate(_parsed(text, OIDC_EXAMPLE))
    except ValidationError as error:
        raise _in_words(error, OIDC_EXAMPLE) from None


def _issuers(value: SecretStr) -> SecretStr:
    read_issuers(value.get_secret_value())
    return value


def _oidc(value: SecretStr) -> SecretStr:
    read_oidc(value.get_secret_value())
    return value


def _jwt_secret(value: SecretStr) -> SecretStr:
    secret = value.get_secret_value()
    if len(secret.encode()) < LEAST_SECRET:
        raise ValueError(f"should be {LEAST_SECRET} bytes or more, such as `openssl rand -hex 32` prints")
    return value


Issuers = Annotated[SecretStr, AfterValidator(_issuers)]
Oidc = Annotated[SecretStr, AfterValidator(_oidc)]
JwtSecret = Annotated[SecretStr, AfterValidator(_jwt_secret)]
