"""Entries from before the chain: an upgrade leaves them as they are, and they are sealed once, like any other."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

import cronsvc.store.migrations
from cronsvc.errors import Unavailable
from cronsvc.services.auditing import Auditing, seal_audit
from cronsvc.services.callers import Caller, Role
from cronsvc.store.migrations import HEAD, beside, upgrade
from cronsvc.store.pool import Database
from tests.support.servers import Embedded

FILES = Path(cronsvc.store.migrations.__file__).parent / "sql"


@pytest.fixture(params=["0012", "0018"])
def old(postgres_server: Embedded, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database from before the chain with three jobs, and one whose upgrade stopped after the chain was made."""
    stopped_at: str = request.param
    name = f"before_chain_{os.getpid()}_{stopped_at}"
    with psycopg.connect(postgres_server.url, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = make_conninfo(postgres_server.url, dbname=name)
    with psycopg.connect(url) as conn:
        for file in sorted(FILES.glob("*.sql")):
            if file.name[:4] <= stopped_at:
                conn.execute(file.read_bytes())
            if file.name.startswith("0012"):
                for n in range(3):
                    conn.execute('INSERT INTO jobs (name, task_payload) VALUES (%s, \'{"type": "T"}\')', (f"old-{n}",))
        conn.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        conn.execute("INSERT INTO alembic_version VALUES (%s)", (stopped_at,))
    yield url
    with psycopg.connect(postgres_server.url, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


async def test_old_entries_are_sealed_once_and_new_ones_after_them(old: str) -> None:
    with psycopg.connect(old) as conn:
        before = conn.execute("SELECT (to_jsonb(a) - 'request_id')::text FROM audit_log a ORDER BY id").fetchall()
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


@pytest.mark.parametrize("old", ["0018"], indirect=True)
def test_changes_go_on_while_the_index_is_built_and_old_entries_are_queued(
    old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that is open for long holds up the upgrade, and the upgrade holds up no other."""
    monkeypatch.setattr(beside, "STRETCH", 2)
    add = 'INSERT INTO jobs (name, task_payload) VALUES (%s, \'{"type": "T"}\')'
    with ThreadPoolExecutor(1) as pool, psycopg.connect(old, autocommit=True) as other:
        with psycopg.connect(old) as long:
            long.execute(add, ("long",))
            upgrading = pool.submit(upgrade, old)
            building = "SELECT EXISTS (SELECT FROM pg_stat_progress_create_index WHERE datname = current_database())"
            soon = time.monotonic() + 30
            while other.execute(building).fetchone() != (True,):
                assert time.monotonic() < soon and not upgrading.done()
            other.execute("SET lock_timeout = '1s'")
            for n in range(3):
                other.execute(add, (f"meanwhile-{n}",))
            assert not upgrading.done()
        assert upgrading.result(60) == HEAD
        whole = other.execute(
            "SELECT count(*), count(u.audit_id), count(c.audit_id) FROM audit_log AS a"
            " LEFT JOIN audit_unsealed AS u ON u.audit_id = a.id LEFT JOIN audit_chain AS c ON c.audit_id = a.id"
        ).fetchone()
    assert whole is not None and whole[0] >= 7 and whole == (whole[0], whole[0], 0)


@pytest.mark.parametrize("old", ["0018"], indirect=True)
@pytest.mark.parametrize("is_direct", [True, False])
def test_a_time_limit_is_lifted_for_an_index_but_not_through_a_pooler(
    old: str, is_direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is set on a session would stay behind on the server connection that others get, too."""
    told: list[bool] = []
    real = beside._is_direct

    def look(conn: psycopg.Connection[Any]) -> bool:
        told.append(real(conn))
        return is_direct

    monkeypatch.setattr(beside, "_is_direct", look)
    with psycopg.connect(old, autocommit=True) as other:
        other.execute(
            sql.SQL("ALTER DATABASE {} SET statement_timeout = '1500ms'").format(sql.Identifier(other.info.dbname))
        )
        with ThreadPoolExecutor(1) as pool:
            with psycopg.connect(old) as long:
                long.execute("INSERT INTO jobs (name, task_payload) VALUES ('long', '{\"type\": \"T\"}')")
                upgrading = pool.submit(upgrade, old)
                if is_direct:
                    with pytest.raises(TimeoutError):
                        upgrading.result(2.5)
                else:
                    with pytest.raises(Unavailable, match="the address of Postgres itself"):
                        upgrading.result(30)
            assert (upgrading.result(30) if is_direct else upgrade(old)) == HEAD
    assert set(told) == {True}


@pytest.mark.parametrize("old", ["0018"], indirect=True)
def test_an_index_that_was_left_unfinished_is_built_again(old: str) -> None:
    with psycopg.connect(old, autocommit=True) as conn:
        conn.execute("CREATE INDEX audit_log_at ON audit_log (at, id)")
        conn.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'audit_log_at'::regclass")
        assert upgrade(old) == HEAD
        valid = conn.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'audit_log_at'::regclass").fetchone()
    assert valid == (True,)
