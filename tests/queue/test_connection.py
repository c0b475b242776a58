import ssl
from typing import Any

import pytest
from redis.asyncio import SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedSSLConnection

from cronsvc.errors import ConfigError
from cronsvc.queue.connection import block_seconds, open_redis, parse_sentinel


def connection_of(url: str) -> Any:
    """What this URL's pool would connect with; connects nothing."""
    pool: Any = open_redis(url).connection_pool
    return pool.make_connection()


def test_every_timeout_is_set_and_nothing_is_resent() -> None:
    connection = connection_of("redis://:pw@cache.example:6380/3")
    assert (connection.host, connection.port, connection.db, connection.password) == ("cache.example", 6380, 3, "pw")
    assert (connection.socket_connect_timeout, connection.socket_timeout) == (3.0, 5.0)
    assert connection.socket_keepalive
    assert connection.health_check_interval == 25
    assert connection.retry.get_retries() == 0


def test_a_block_is_shorter_than_the_socket_timeout() -> None:
    assert block_seconds(open_redis("redis://h")) == 1.0
    assert block_seconds(open_redis("redis://h?socket_timeout=0.5")) == 0.25


def test_a_unix_socket() -> None:
    connection = connection_of("unix:///run/a%20b.sock?db=2")
    assert isinstance(connection, UnixDomainSocketConnection)
    assert (connection.path, connection.db, connection.socket_timeout) == ("/run/a b.sock", 2, 5.0)


@pytest.mark.parametrize(
    ("query", "mode", "hostname"),
    [
        ("", ssl.CERT_REQUIRED, True),
        ("?ssl_cert_reqs=none", ssl.CERT_NONE, False),
        ("?ssl_cert_reqs=CERT_NONE", ssl.CERT_NONE, False),
        ("?ssl_cert_reqs=None", ssl.CERT_NONE, False),
        ("?ssl_cert_reqs=required&ssl_ca_certs=/etc/ca.pem", ssl.CERT_REQUIRED, True),
    ],
)
def test_tls_checks_certificates_unless_the_url_says_otherwise(
    query: str, mode: ssl.VerifyMode, hostname: bool
) -> None:
    connection = connection_of(f"rediss://h:6379/0{query}")
    assert isinstance(connection, SSLConnection)
    assert (connection.cert_reqs, connection.check_hostname) == (mode, hostname)
    assert connection.ca_certs == ("/etc/ca.pem" if "ssl_ca_certs" in query else None)


def test_a_sentinel_url() -> None:
    address = parse_sentinel(
        "sentinel://app:p%40ss@h1:26380,h2,[::1]:5/mymaster?db=4&sentinel_password=s&socket_timeout=7&ssl=true"
    )
    assert address.hosts == (("h1", 26380), ("h2", 26379), ("::1", 5))
    assert (address.service, address.username, address.password) == ("mymaster", "app", "p@ss")
    assert (address.sentinel_username, address.sentinel_password, address.ssl) == (None, "s", True)
    assert address.options == {"db": 4, "socket_timeout": 7.0}


def test_a_sentinel_client_keeps_the_two_credentials_apart() -> None:
    pool = open_redis("sentinel://:master@h1:1,h2:2/mymaster?db=4&sentinel_password=guard").connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "mymaster"
    kwargs = pool.connection_kwargs
    assert (kwargs["password"], kwargs["db"], kwargs["socket_timeout"]) == ("master", 4, 5.0)
    guards = [guard.connection_pool.connection_kwargs for guard in pool.sentinel_manager.sentinels]
    assert [(guard["host"], guard["port"], guard["password"]) for guard in guards] == [
        ("h1", 1, "guard"),
        ("h2", 2, "guard"),
    ]
    assert all(guard["db"] == 0 and guard["socket_connect_timeout"] == 3.0 for guard in guards)


def test_a_sentinel_client_with_tls_uses_it_towards_both() -> None:
    pool = open_redis("sentinel://h1/m?ssl=true&ssl_cert_reqs=none").connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.connection_class is SentinelManagedSSLConnection
    assert pool.sentinel_manager.sentinels[0].connection_pool.connection_class is SSLConnection


@pytest.mark.parametrize(
    "url",
    [
        "http://:hunter2@h",
        "redis://:hunter#2@h:6379",
        "redis://:hunter2@h:port",
        "redis://:hunter2@h?socket_timeout=soon",
        "redis://:hunter2@h?no_such_option=1",
        "rediss://:hunter2@h?ssl_cert_reqs=maybe",
        "sentinel://:hunter2@h1,h2",
        "sentinel://:hunter2@h1,,h2/m",
        "sentinel://:hunter2@/m",
        "sentinel://:hunter#2@h1/m",
        "",
    ],
)
def test_a_bad_url_is_refused_at_once_and_not_quoted(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_redis(url)
    assert "hunter" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
