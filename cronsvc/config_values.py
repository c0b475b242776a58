"""What single variables of the environment may hold: each kind of value, checked, in words that repeat no secret."""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic import model_validator as after_all_fields

QUEUE_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
KEY_BYTES = 32
HOST_PATTERN = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")


def _split(value: Any) -> Any:
    """`a, b c` as a tuple; anything but text is left to pydantic."""
    return tuple(part for part in re.split(r"[,\s]+", value) if part) if isinstance(value, str) else value


def lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def queue_name(value: str) -> str:
    if not QUEUE_PATTERN.fullmatch(value):
        raise ValueError("a queue is 1 to 63 letters, digits, '_', '.' or '-', and starts with a letter or digit")
    return value


def installation_name(value: str) -> str:
    if not QUEUE_PATTERN.fullmatch(value):
        raise ValueError("a name is 1 to 63 letters, digits, '_', '.' or '-', and starts with a letter or digit")
    return value


def _egress(value: str) -> str:
    if re.fullmatch(r"[0-9.]+(/.*)?|.*:.*", value):
        try:
            ip_network(value, strict=False)
        except ValueError:
            raise ValueError(f"{value!r} is neither a network such as 10.0.0.0/8 nor a host name") from None
    elif not HOST_PATTERN.fullmatch(value):
        raise ValueError(f"{value!r} is neither a network such as 10.0.0.0/8 nor a host name")
    return value


def _database_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if "://" in text:
        _check_url(text, ("postgresql", "postgres"), "postgresql://user:password@host:5432/database")
    elif not re.match(r"\s*\w+\s*=", text):  # libpq's `host=… dbname=…` is as good
        raise ValueError("should be a URL such as postgresql://user:password@host:5432/database")
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    _check_url(value.get_secret_value(), ("redis", "rediss", "unix", "sentinel"), "redis://:password@host:6379/0")
    return value


def _check_url(text: str, schemes: Sequence[str], example: str) -> None:
    try:
        parts = urlsplit(text)
        well_formed = parts.scheme in schemes and (parts.port is None or parts.port > 0)
    except ValueError:  # urllib's own message may quote the password
        well_formed = False
    if not well_formed:
        raise ValueError(f"should be a URL such as {example}; special characters in a password are written as %40 etc.")


def split_keys(text: str) -> list[str]:
    """The keys in a list that commas, spaces or lines separate."""
    return [part for part in re.split(r"[,\s]+", text) if part]


def _secret_keys(value: SecretStr) -> SecretStr:
    keys = split_keys(value.get_secret_value())
    for number, key in enumerate(keys, start=1):
        try:
            fits = len(base64.b64decode(key, altchars=b"-_", validate=True)) == KEY_BYTES
        except (binascii.Error, ValueError):
            fits = False
        if not fits:
            raise ValueError(f"key {number} should be 32 bytes in URL-safe base64; `cronsvc secrets new-key` makes one")
    if not keys or len(set(keys)) < len(keys):
        raise ValueError("should list keys, each once")
    return value


def password_of(url: str) -> str | None:
    if "://" in url:
        return urlsplit(url).password
    found = re.search(r"\bpassword\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(\S+))", url)
    return None if found is None else found[1] or found[2]


class Command(BaseModel):
    """What a COMMAND job may run. Whatever is not granted here is fixed: a job can only name the command."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    argv: tuple[str, ...] = Field(min_length=1, description="the program by its absolute path, and its first arguments")
    arguments: bool = Field(False, description="jobs may append arguments")
    stdin: bool = Field(False, description="jobs may give the text of its standard input")
    environment: tuple[str, ...] = Field((), description="variables that jobs may set")

    @after_all_fields(mode="after")
    def _is_runnable(self) -> Self:
        if not self.argv[0].startswith("/"):
            raise ValueError(f"the program {self.argv[0]!r} should be an absolute path")
        if any("\0" in part for part in self.argv):
            raise ValueError("no part of argv can hold a NUL")
        if bad := [name for name in self.environment if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)]:
            raise ValueError(f"{bad[0]!r} is not the name of a variable")
        return self


def _json_object(text: str, example: str) -> dict[str, Any]:
    """The object that this JSON is; ValueError without a word of it, for it may be a secret."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or not all(QUEUE_PATTERN.fullmatch(name) for name in value):
        raise ValueError(f"should be a JSON object by name, such as {example}")
    return value


def _sql_dsns(value: SecretStr) -> SecretStr:
    example = '{"reporting": "postgresql://user:password@host:5432/database"}'
    for name, dsn in _json_object(value.get_secret_value(), example).items():
        if not isinstance(dsn, str):
            raise ValueError(f"the database {name!r} should be text, as in {example}")  # noqa: TRY004 pydantic's way
        _database_url(SecretStr(dsn))
    return value


def _commands(value: Any) -> Any:
    example = '{"backup": {"argv": ["/usr/local/bin/backup", "--quiet"]}}'
    if not isinstance(value, str):
        return value
    found = _json_object(value, example)
    try:
        return {name: Command.model_validate_json(json.dumps(command)) for name, command in found.items()}
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        message = str(fault["msg"]).removeprefix("Value error, ")
        raise ValueError(f"{place + ': ' if place else ''}{message}; write for example {example}") from None


def _public_url(value: str) -> str:
    parts = urlsplit(value)
    plain = not (parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain or not re.fullmatch(r"[!-~]+", value):
        raise ValueError("should be a URL such as https://cron.example.com, without user, query or fragment")
    return value.rstrip("/")


Names = Annotated[tuple[Annotated[str, AfterValidator(queue_name)], ...], BeforeValidator(_split)]
Grants = Annotated[tuple[Annotated[str, AfterValidator(_egress)], ...], BeforeValidator(_split)]
Words = Annotated[tuple[str, ...], BeforeValidator(_split)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
SecretKeys = Annotated[SecretStr, AfterValidator(_secret_keys)]
SqlDsns = Annotated[SecretStr, AfterValidator(_sql_dsns)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
Commands = Annotated[dict[str, Command], BeforeValidator(_commands)]
