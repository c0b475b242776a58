"""Servers and databases for tests: one Postgres and one Valkey a test process, one fresh database a test.

The servers come from the embedded wheels, on sockets of their own. A database is cloned from a migrated template and
speaks a time zone that is deliberately not UTC.
"""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from redis.asyncio import Redis

from cronsvc.store import partitions
from cronsvc.store.migrations import upgrade
from cronsvc.store.pool import Database
from tests.support.servers import Embedded, scratch_root, start_postgres, start_valkey

_serial = itertools.count(1)


@pytest.fixture(scope="session")
def base_dir() -> Iterator[Path]:
    """A short folder: socket paths hold some hundred bytes and pytest's own folders are long."""
    path = Path(tempfile.mkdtemp(prefix="cst-", dir=scratch_root()))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(base_dir: Path) -> Iterator[Embedded]:
    with start_postgres(base_dir / "pg") as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server(base_dir: Path) -> Iterator[Embedded]:
    with start_valkey(base_dir / "vk") as server:
        yield server


def database_of(server_url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return psycopg.conninfo.make_conninfo(server_url, dbname=name)


@pytest.fixture(scope="session")
def template_database(postgres_server: Embedded) -> str:
    """A migrated database with partitions around now, to clone from."""
    name = "template_cronsvc"
    with psycopg.connect(postgres_server.url, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        conn.execute(sql.SQL("ALTER DATABASE {} SET timezone = 'Asia/Kolkata'").format(sql.Identifier(name)))
    url = database_of(postgres_server.url, name)
    upgrade(url)

    async def make() -> None:
        now = datetime.now(UTC)
        async with await psycopg.AsyncConnection.connect(url) as conn:
            await partitions.ensure(conn, {partitions.week_of(now + timedelta(days=7 * n)) for n in range(-2, 4)})

    asyncio.run(make())
    return name


@contextmanager
def fresh_database(server_url: str, template: str) -> Iterator[str]:
    """The URL of a clone of the template, dropped at the end."""
    name = f"test_{os.getpid()}_{next(_serial)}"
    with psycopg.connect(server_url, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        conn.execute(sql.SQL("ALTER DATABASE {} SET timezone = 'Asia/Kolkata'").format(sql.Identifier(name)))
    try:
        yield database_of(server_url, name)
    finally:
        with psycopg.connect(server_url, autocommit=True) as conn:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database_url(postgres_server: Embedded, template_database: str) -> Iterator[str]:
    """A fresh migrated database, dropped after the test."""
    with fresh_database(postgres_server.url, template_database) as url:
        yield url


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    database = await Database.open(database_url, application_name="cronsvc-test", max_size=20)
    yield database
    await database.close()


@pytest.fixture
async def redis_url(valkey_server: Embedded) -> AsyncIterator[str]:
    """An empty Valkey."""
    async with Redis.from_url(valkey_server.url) as client:
        await client.flushall()
    yield valkey_server.url
