"""Entries from before the chain: an upgrade leaves them as they are, and they are sealed once, like any other."""

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

import cronsvc.store.migrations
from cronsvc.services.auditing import Auditing, seal_audit
from cronsvc.services.callers import Caller, Role
from cronsvc.store.migrations import HEAD, upgrade
from cronsvc.store.pool import Database
from tests.support.servers import Embedded

FILES = Path(cronsvc.store.migrations.__file__).parent / "sql"


@pytest.fixture
def old(postgres_server: Embedded) -> Iterator[str]:
    """A database of the release before the chain, with three jobs."""
    name = f"before_chain_{os.getpid()}"
    with psycopg.connect(postgres_server.url, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = make_conninfo(postgres_server.url, dbname=name)
    with psycopg.connect(url) as conn:
        for file in sorted(FILES.glob("*.sql")):
            if file.name < "0013":
                conn.execute(file.read_bytes())
        conn.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        conn.execute("INSERT INTO alembic_version VALUES ('0012')")
        for n in range(3):
            conn.execute('INSERT INTO jobs (name, task_payload) VALUES (%s, \'{"type": "T"}\')', (f"old-{n}",))
    yield url
    with psycopg.connect(postgres_server.url, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


async def test_old_entries_are_sealed_once_and_new_ones_after_them(old: str) -> None:
    with psycopg.connect(old) as conn:
        before = conn.execute("SELECT to_jsonb(a)::text FROM audit_log a ORDER BY id").fetchall()
    assert upgrade(old) == HEAD
    assert len(before) >= 3
    with psycopg.connect(old) as conn:
        after = conn.execute("SELECT (to_jsonb(a) - 'request_id')::text FROM audit_log a ORDER BY id").fetchall()
        assert after == before
        assert conn.execute("SELECT count(request_id) FROM audit_log").fetchone() == (0,)
    db = await Database.open(old, application_name="test", max_size=2)
    try:
        assert await seal_audit(db, batch=2) == len(before)
        assert await seal_audit(db) == 0
        assert upgrade(old) == HEAD
        async with db.transaction(actor="key:new") as conn_new:
            await conn_new.execute("UPDATE jobs SET description = 'new' WHERE name = 'old-0'")
        assert await seal_audit(db) == 1
        found = await Auditing(db).verify(Caller("x", Role.ADMIN))
        assert found.intact and found.head.place == len(before) + 1
    finally:
        await db.close()
