"""One Redis client from one URL, with every timeout said out loud.

`redis://`, `rediss://` and `unix://` are read by redis-py, and options in the URL win over the defaults here.
`sentinel://[[user]:password@]host[:port],host[:port]/service?db=0` asks the sentinels for the master; the password is
the master's, `sentinel_username` and `sentinel_password` are the sentinels', `ssl=true` is TLS to all of them.
No command is ever resent: a push that may have arrived is pushed again by the caller, who knows that it is idempotent.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from cronsvc.errors import ConfigError

BLOCK_SECONDS = 1.0  # the longest a worker sleeps on its doorbells
CONNECT_SECONDS = 3.0
SOCKET_SECONDS = 5.0  # must exceed BLOCK_SECONDS, or every quiet second would look like a dead server
IDLE_CHECK_SECONDS = 25  # PING before a command on a connection unused for so long: proxies drop silent ones
MAX_CONNECTIONS = 16
SENTINEL_PORT = 26379
LOOKS_LIKE = (
    "it looks like redis://:password@host:6379/0, rediss://…, unix:///path?db=0 or sentinel://host,host/service"
)


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """Where to ask for the master called `service`. `options` are the URL's other options, as redis-py types them."""

    hosts: tuple[tuple[str, int], ...]
    service: str
    username: str | None
    password: str | None
    sentinel_username: str | None
    sentinel_password: str | None
    ssl: bool
    options: Mapping[str, Any]


def open_redis(url: str) -> Redis:
    """Make a client for this URL without connecting. ConfigError, never quoting the URL, when it cannot be read."""
    try:
        client = _client(url)
        # connects nothing, but an unknown option is refused now and not at the first push
        client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    except (TypeError, ValueError, RedisError):
        # their messages may quote a piece of the URL, and with a "#" in a password that piece is the password
        raise ConfigError(f"the Redis URL cannot be read; {LOOKS_LIKE}") from None
    return client


def _client(url: str) -> Redis:
    if urlsplit(url).scheme == "sentinel":
        return _open_sentinel(parse_sentinel(url))
    options: dict[str, Any] = dict(parse_url(url))
    connection_class = options.get("connection_class", Connection)
    defaults = _defaults(tcp=issubclass(connection_class, Connection))
    return Redis.from_pool(BlockingConnectionPool(timeout=CONNECT_SECONDS, **{**defaults, **_checked(options)}))


def block_seconds(redis: Redis) -> float:
    """How long a blocking command may wait on this client: less than BLOCK_SECONDS if the URL cuts socket_timeout."""
    socket_timeout = redis.connection_pool.connection_kwargs.get("socket_timeout") or SOCKET_SECONDS
    return min(BLOCK_SECONDS, socket_timeout / 2)


def parse_sentinel(url: str) -> SentinelAddress:
    """Read a `sentinel://` URL. ConfigError or ValueError when it is not one."""
    parts = urlsplit(url)
    credentials, _, addresses = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    service = unquote(parts.path.strip("/"))
    if not addresses or not service or "/" in service:
        raise ConfigError("a sentinel URL looks like sentinel://[:password@]host:port,host:port/service?db=0")
    options = _checked(dict(parse_url(f"redis://?{parts.query}")))
    return SentinelAddress(
        hosts=tuple(_host_port(address) for address in addresses.split(",")),
        service=service,
        username=unquote(username) or options.pop("username", None),
        password=unquote(password) or options.pop("password", None),
        sentinel_username=options.pop("sentinel_username", None),
        sentinel_password=options.pop("sentinel_password", None),
        ssl=str(options.pop("ssl", "false")).lower() in ("true", "1", "yes"),
        options=options,
    )


def _host_port(address: str) -> tuple[str, int]:
    parts = urlsplit(f"//{address}")
    if not parts.hostname:
        raise ConfigError("the sentinel URL has an empty host")
    return parts.hostname, parts.port or SENTINEL_PORT


def _open_sentinel(address: SentinelAddress) -> Redis:
    common = {**_defaults(tcp=True), **address.options}
    # the sentinels' own connections: no db, and their own credentials
    to_sentinels = {key: value for key, value in common.items() if key not in ("db", "max_connections")}
    if address.ssl:
        to_sentinels["ssl"] = common["ssl"] = True
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        list(address.hosts),
        sentinel_kwargs={
            **to_sentinels,
            "username": address.sentinel_username,
            "password": address.sentinel_password,
        },
        username=address.username,
        password=address.password,
        **common,
    )
    client: Redis = sentinel.master_for(address.service)
    return client


def _defaults(*, tcp: bool) -> dict[str, Any]:
    options: dict[str, Any] = {
        "max_connections": MAX_CONNECTIONS,
        "socket_timeout": SOCKET_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
        "health_check_interval": IDLE_CHECK_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    if tcp:
        options |= {"socket_keepalive": True, "socket_keepalive_options": _keepalive()}
    return options


def _keepalive() -> dict[int, int]:
    """Notice a vanished peer after 15 + 3 × 5 s, where the platform lets a socket say so."""
    wanted = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """Accept the spellings of ssl_cert_reqs that people use (`None`, `CERT_NONE`); redis-py knows `none` only."""
    if "ssl_cert_reqs" in options:
        level = str(options["ssl_cert_reqs"]).lower().removeprefix("cert_")
        if level not in ("none", "optional", "required"):
            raise ConfigError("ssl_cert_reqs in the Redis URL must be none, optional or required")
        options["ssl_cert_reqs"] = level
    return options
