"""The environment, read once and checked as a whole.

`load_settings` takes a mapping, never `os.environ` behind the caller's back, and either returns frozen settings or
raises one ConfigError that lists every fault, with a suggestion for a misspelt name. An empty variable counts as unset.
A secret may come from a file named by `<NAME>_FILE`, and no message ever repeats one.

pydantic checks the values; the names, the `_FILE` variants and the parts of URLs, DB_* and REDIS_*, are ours, so
pydantic-settings would add an import of 0.3 s to every start and nothing else.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic import model_validator as after_all_fields

from cronsvc.config_client import ClientSettings
from cronsvc.config_identity import Issuers, JwtIssuer, JwtSecret, Oidc, OidcProvider, read_issuers, read_oidc
from cronsvc.config_limits import LimitSettings
from cronsvc.config_urls import compose_urls
from cronsvc.config_values import (
    Commands,
    DatabaseUrl,
    Grants,
    Names,
    PublicUrl,
    RedisUrl,
    SecretKeys,
    SqlDsns,
    Words,
    installation_name,
    lower,
    password_of,
    queue_name,
    split_keys,
)
from cronsvc.errors import ConfigError

PREFIX = "CRONSVC_"
FILE_SUFFIX = "_FILE"


class Settings(LimitSettings, ClientSettings):
    """Everything an operator can say. Made by `load_settings`; the aliases are the environment's names."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    database_url: DatabaseUrl | None = Field(
        None, alias="DATABASE_URL", description="Postgres 14 or newer, `postgresql://` or `postgres://`"
    )
    redis_url: RedisUrl | None = Field(
        None, alias="REDIS_URL", description="Redis 6.2 or newer, or Valkey: `redis://`, `rediss://` or `unix://`"
    )
    port: int = Field(8000, alias="PORT", ge=0, le=65535, description="where the API listens")
    host: str | None = Field(
        None, alias="CRONSVC_HOST", description="address to listen on (`api`: 0.0.0.0, `up`: 127.0.0.1)"
    )
    data_dir: Path | None = Field(
        None, alias="CRONSVC_DATA_DIR", description="where `cronsvc up` keeps its embedded servers' data"
    )
    default_queue: Annotated[str, AfterValidator(queue_name)] = Field(
        "default", alias="QUEUE_NAME", description="queue of a job that names none"
    )
    worker_queues: Names = Field(
        (), alias="CRONSVC_WORKER_QUEUES", description="queues this worker serves, comma separated; none: all queues"
    )
    worker_concurrency: int = Field(
        5, alias="CRONSVC_WORKER_CONCURRENCY", ge=1, le=1000, description="executions one worker process runs at a time"
    )
    public_url: PublicUrl | None = Field(
        None, alias="CRONSVC_PUBLIC_URL", description="where targets reach the API; needed by jobs that are called back"
    )
    egress_allow: Grants = Field(
        (), alias="CRONSVC_EGRESS_ALLOW", description="private networks (CIDR) and hosts that job URLs may reach"
    )
    handler_modules: Words = Field(
        (),
        alias="CRONSVC_HANDLER_MODULES",
        description="Python modules whose `@handler` functions PYTHON jobs may name, comma separated",
    )
    sql_dsns: SqlDsns | None = Field(
        None, alias="CRONSVC_SQL_DSNS", description="databases of SQL jobs: a JSON object of names and URLs"
    )
    commands: Commands = Field(
        {}, alias="CRONSVC_COMMANDS", description="what COMMAND jobs may run: a JSON object, see there; none: nothing"
    )
    secret_keys: SecretKeys | None = Field(
        None,
        alias="CRONSVC_SECRET_KEYS",
        description="keys that encrypt secrets, comma separated, the first for new ones (`cronsvc secrets new-key`)",
    )
    allow_insecure_tls: bool = Field(
        False,
        alias="CRONSVC_ALLOW_INSECURE_TLS",
        description="let API_CALL jobs say `tls.verify: false`",
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lower)] = Field(
        "info", alias="CRONSVC_LOG_LEVEL", description="`debug`, `info`, `warning` or `error`"
    )
    log_format: Annotated[Literal["auto", "json", "console"], BeforeValidator(lower)] = Field(
        "auto", alias="CRONSVC_LOG_FORMAT", description="`json`, `console`, or `auto`: console on a terminal"
    )
    poll_seconds: float = Field(
        5.0, alias="CRONSVC_POLL_SECONDS", ge=0.05, le=60, description="longest sleep of a scheduler"
    )
    tick_batch: int = Field(1000, alias="CRONSVC_TICK_BATCH", ge=1, le=10_000, description="due jobs taken in one tick")
    advisory_locks: bool = Field(
        True, alias="CRONSVC_ADVISORY_LOCKS", description="spread the work over schedulers; off is correct and slower"
    )
    lease_seconds: float = Field(
        10.0, alias="CRONSVC_LEASE_SECONDS", ge=1, le=600, description="a worker silent for this long is taken for dead"
    )
    heartbeat_seconds: float = Field(
        2.0, alias="CRONSVC_HEARTBEAT_SECONDS", ge=0.1, le=60, description="how often a worker renews its lease"
    )
    redispatch_seconds: float = Field(
        5.0,
        alias="CRONSVC_REDISPATCH_SECONDS",
        ge=0.5,
        le=600,
        description="a ticket unanswered for this long is repeated",
    )
    drain_seconds: float = Field(
        20.0,
        alias="CRONSVC_DRAIN_SECONDS",
        ge=0,
        le=3600,
        description="how long a stopping worker lets its work finish",
    )
    cancel_grace_seconds: float = Field(
        10.0,
        alias="CRONSVC_CANCEL_GRACE_SECONDS",
        ge=0,
        le=600,
        description="how long a cancelled attempt may take to end; then it is left behind",
    )
    retention_days: int = Field(
        90, alias="CRONSVC_RETENTION_DAYS", ge=1, le=36_500, description="executions are kept for this many days"
    )
    pooler: Annotated[Literal["none", "transaction"], BeforeValidator(lower)] = Field(
        "none", alias="CRONSVC_POOLER", description="`transaction` behind pgbouncer in that mode"
    )
    pool_size: int = Field(
        10, alias="CRONSVC_POOL_SIZE", ge=1, le=500, description="Postgres connections of one process"
    )
    redis_prefix: Annotated[str, AfterValidator(queue_name)] = Field(
        "cronsvc", alias="CRONSVC_REDIS_PREFIX", description="first part of every Redis key"
    )
    installation: Annotated[str, AfterValidator(installation_name)] | None = Field(
        None, alias="CRONSVC_INSTALLATION", description="a name such as `production`; the database remembers it"
    )
    max_body_bytes: int = Field(
        262_144, alias="CRONSVC_MAX_BODY_BYTES", ge=1024, le=67_108_864, description="largest request body"
    )
    trusted_proxies: Words = Field(
        (), alias="CRONSVC_TRUSTED_PROXIES", description="addresses whose `X-Forwarded-*` headers are believed"
    )

    allowed_hosts: Words = Field(
        (),
        alias="CRONSVC_ALLOWED_HOSTS",
        description="names in `Host` that are answered, such as `cron.example.com` or `*.example.com`; none: any",
    )
    jwt_issuers: Issuers | None = Field(
        None, alias="CRONSVC_JWT_ISSUERS", description="whose tokens are believed: a JSON list, see there"
    )
    jwt_secret: JwtSecret | None = Field(
        None, alias="CRONSVC_JWT_SECRET", description="in place of that, one issuer: its HS256 secret, 32 bytes or more"
    )
    jwt_issuer: str = Field("cronsvc", alias="CRONSVC_JWT_ISSUER", description="and the `iss` of its tokens")
    jwt_audience: str = Field("cronsvc", alias="CRONSVC_JWT_AUDIENCE", description="and their `aud`")
    oidc: Oidc | None = Field(
        None, alias="CRONSVC_OIDC", description="where people sign in to the page: a JSON object, see there"
    )

    @after_all_fields(mode="after")
    def _one_way_to_name_issuers(self) -> Self:
        if self.jwt_secret is not None and self.jwt_issuers is not None:
            raise ValueError("CRONSVC_JWT_SECRET: CRONSVC_JWT_ISSUERS is set as well; keep one of the two")
        return self

    @after_all_fields(mode="after")
    def _lease_outlives_heartbeats(self) -> Self:
        if self.lease_seconds < 2 * self.heartbeat_seconds:
            raise ValueError(
                "CRONSVC_LEASE_SECONDS: should be at least twice CRONSVC_HEARTBEAT_SECONDS, or one late heartbeat "
                "loses a worker's work"
            )
        return self

    def require_database_url(self) -> str:
        """The URL in plain text; ConfigError says what to set."""
        if self.database_url is None:
            raise ConfigError("DATABASE_URL is not set: give the Postgres server, or start one with `cronsvc up`")
        return self.database_url.get_secret_value()

    def secret_values(self) -> tuple[str, ...]:
        """What no log line may show: passwords in the URLs, as written there and as meant, and keys of secrets."""
        given = (self.database_url, self.redis_url)
        urls = [*(url.get_secret_value() for url in given if url), *self.sql_connections().values()]
        passwords = [password for url in urls if (password := password_of(url))]
        return tuple(
            {
                *passwords,
                *(unquote(password) for password in passwords),
                *self.secret_key_list(),
                *self._shared_secrets(),
            }
        )

    def _shared_secrets(self) -> list[str]:
        """What we share with issuers of tokens and with the identity provider."""
        provider = self.identity_provider()
        shared = [self.api_key, *(issuer.secret for issuer in self.token_issuers())]
        if provider is not None:
            shared.append(provider.client_secret)
        return [each.get_secret_value() for each in shared if each is not None]

    def secret_key_list(self) -> tuple[str, ...]:
        """The keys for secrets in plain text, the one for new ones first; none: secrets are off here."""
        return () if self.secret_keys is None else tuple(split_keys(self.secret_keys.get_secret_value()))

    def token_issuers(self) -> tuple[JwtIssuer, ...]:
        """Whose tokens are believed."""
        if self.jwt_issuers is not None:
            return read_issuers(self.jwt_issuers.get_secret_value())
        if self.jwt_secret is None:
            return ()
        return (
            JwtIssuer(issuer=self.jwt_issuer, audience=(self.jwt_audience,), algorithm="HS256", secret=self.jwt_secret),
        )

    def identity_provider(self) -> OidcProvider | None:
        """Where people sign in, if not with keys alone."""
        return None if self.oidc is None else read_oidc(self.oidc.get_secret_value())

    def sql_connections(self) -> dict[str, str]:
        """The databases of SQL jobs in plain text, by name."""
        return {} if self.sql_dsns is None else json.loads(self.sql_dsns.get_secret_value())

    def require_redis_url(self) -> str:
        """The URL in plain text; ConfigError says what to set."""
        if self.redis_url is None:
            raise ConfigError("REDIS_URL is not set: give the Redis server, or start one with `cronsvc up`")
        return self.redis_url.get_secret_value()


URL_PARTS: Mapping[str, str] = {
    "DB_HOST": "with the next four, in place of `DATABASE_URL`: host name, address or socket folder",
    "DB_PORT": "5432",
    "DB_USER": "",
    "DB_PASSWORD": "",
    "DB_DATABASE": "",
    "REDIS_HOST": "with the next three, in place of `REDIS_URL`",
    "REDIS_PORT": "6379",
    "REDIS_PASSWORD": "",
    "REDIS_DB": "0",
}


def _aliases() -> dict[str, str]:
    return {field.alias: name for name, field in Settings.model_fields.items() if field.alias}


def secret_names() -> tuple[str, ...]:
    """The variables that hold secrets; each has a twin that ends in FILE_SUFFIX."""
    fields = Settings.model_fields.values()
    marked = tuple(field.alias for field in fields if field.alias and "SecretStr" in str(field.annotation))
    return (*marked, "DB_PASSWORD", "REDIS_PASSWORD")


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Check the environment. ConfigError: one line for every fault, and nothing of any secret."""
    passwords = ("DB_PASSWORD", "REDIS_PASSWORD")  # a space at their ends may be meant
    given = {name: value if name in passwords else value.strip() for name, value in environ.items() if value.strip()}
    faults: list[str] = []
    _read_files(given, faults)
    compose_urls(given, faults)
    aliases = _aliases()
    for name in sorted(given):
        if name.startswith(PREFIX) and name not in aliases:
            faults.append(_unknown(name))
    try:
        settings = Settings.model_validate({name: given[name] for name in aliases if name in given})
    except ValidationError as error:
        faults.extend(_fault(detail) for detail in error.errors(include_url=False))
        raise _config_error(faults) from None
    if faults:
        raise _config_error(faults)
    return settings


def _read_files(given: dict[str, str], faults: list[str]) -> None:
    """Replace every `<SECRET>_FILE` by its secret."""
    for name in secret_names():
        file_name = given.pop(name + FILE_SUFFIX, None)
        if file_name is None:
            continue
        if name in given:
            faults.append(f"{name}{FILE_SUFFIX}: {name} is set as well; keep one of the two")
            continue
        try:
            given[name] = Path(file_name).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            faults.append(f"{name}{FILE_SUFFIX}: cannot read {file_name}: {reason}")


def _unknown(name: str) -> str:
    names = [*_aliases(), *(secret + FILE_SUFFIX for secret in secret_names()), *URL_PARTS]
    known = {each.removeprefix(PREFIX): each for each in names}  # what all begin with makes none alike
    close = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1, cutoff=0.7)
    return f"{name}: there is no such variable" + (f"; did you mean {known[close[0]]}?" if close else "")


def _fault(detail: Mapping[str, Any]) -> str:
    message = str(detail["msg"]).removeprefix("Value error, ")
    if not detail["loc"]:
        return message
    name = str(detail["loc"][0])
    message = message[:1].lower() + message[1:]
    given = detail["input"]
    is_told = name not in secret_names() and isinstance(given, str) and repr(given) not in message
    return f"{name}: {message}" + (f", not {given!r}" if is_told else "")


def _config_error(faults: Sequence[str]) -> ConfigError:
    if len(faults) == 1:
        return ConfigError(f"the environment has a fault: {faults[0]}")
    return ConfigError(f"the environment has {len(faults)} faults:" + "".join(f"\n  {fault}" for fault in faults))
