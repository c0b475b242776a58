"""Migrations: raced by replicas, blocked by nobody for ever, and equal to the readable `sql/schema.sql`."""

import itertools
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cronsvc.errors import Unavailable
from cronsvc.store import migrations
from cronsvc.store.migrations import HEAD, current, inspect, upgrade
from tests.support.servers import Embedded

ROOT = Path(__file__).parents[2]
RACERS = 4

# What makes two schemas equal, each as rows of text. Partitions are upkeep's, and alembic's table is alembic's.
CATALOGUES = {
    "relations": """
        SELECT n.nspname || '.' || c.relname, c.relkind::text, coalesce(array_to_string(c.reloptions, ','), ''),
               coalesce(pg_get_partkeydef(c.oid), ''), coalesce(obj_description(c.oid, 'pg_class'), '')
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {ours}""",
    "columns": """
        SELECT n.nspname || '.' || c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull::text,
               a.attidentity::text, a.attgenerated::text, a.attnum::text,
               coalesce(pg_get_expr(d.adbin, d.adrelid), ''), coalesce(col_description(c.oid, a.attnum), '')
          FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
          LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
         WHERE {ours} AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind <> 'i' AND c.relkind <> 'I'""",
    "constraints": """
        SELECT n.nspname || '.' || c.relname, k.conname, pg_get_constraintdef(k.oid),
               coalesce(obj_description(k.oid, 'pg_constraint'), '')
          FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE {ours}""",
    "indexes": """
        SELECT n.nspname || '.' || c.relname, pg_get_indexdef(c.oid), i.indisvalid::text
          FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE {ours}""",
    "views": """
        SELECT n.nspname || '.' || c.relname, pg_get_viewdef(c.oid)
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {ours} AND c.relkind = 'v'""",
    "functions": """
        SELECT n.nspname || '.' || p.proname, pg_get_functiondef(p.oid), coalesce(obj_description(p.oid, 'pg_proc'), '')
          FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname IN ('public', 'cronsvc_v1')""",
    "triggers": """
        SELECT n.nspname || '.' || c.relname, pg_get_triggerdef(t.oid), t.tgenabled::text,
               coalesce(obj_description(t.oid, 'pg_trigger'), '')
          FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE {ours} AND NOT t.tgisinternal""",
    "policies": """
        SELECT schemaname || '.' || tablename, policyname, permissive, roles::text, cmd, coalesce(qual, ''),
               coalesce(with_check, '')
          FROM pg_policies WHERE schemaname IN ('public', 'cronsvc_v1')""",
    "row security": """
        SELECT c.relname::text, c.relrowsecurity::text, c.relforcerowsecurity::text
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {ours} AND c.relkind IN ('r', 'p')""",
    "sequences": """
        SELECT schemaname || '.' || sequencename, data_type::text, start_value::text, increment_by::text,
               cache_size::text
          FROM pg_sequences WHERE schemaname IN ('public', 'cronsvc_v1')""",
    "schemas": """
        SELECT nspname, coalesce(obj_description(oid, 'pg_namespace'), '')
          FROM pg_namespace WHERE nspname IN ('public', 'cronsvc_v1')""",
    "first rows": "SELECT to_jsonb(q) ->> 'name', (to_jsonb(q) - 'created_at')::text FROM queues q",
}
OURS = """n.nspname IN ('public', 'cronsvc_v1') AND NOT c.relispartition AND c.relname NOT LIKE 'alembic_version%'"""

_serial = itertools.count(1)


@pytest.fixture
def empty_database(postgres_server: Embedded) -> Iterator[Callable[[], str]]:
    """Makes empty databases; each is dropped at the end."""
    made: list[str] = []

    def make() -> str:
        name = f"empty_{os.getpid()}_{next(_serial)}"
        with psycopg.connect(postgres_server.url, autocommit=True) as conn:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        made.append(name)
        return make_conninfo(postgres_server.url, dbname=name)

    yield make
    with psycopg.connect(postgres_server.url, autocommit=True) as conn:
        for name in made:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def catalogue(database_url: str, name: str) -> list[tuple[str, ...]]:
    with psycopg.connect(database_url) as conn:
        query = CATALOGUES[name].replace("{ours}", OURS)
        return sorted(conn.execute(query.encode()).fetchall())


def test_replicas_may_race(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    barrier = threading.Barrier(RACERS)

    def race() -> str:
        barrier.wait(10)
        return upgrade(url)

    with ThreadPoolExecutor(RACERS) as pool:
        assert [racer.result() for racer in [pool.submit(race) for _ in range(RACERS)]] == [HEAD] * RACERS
    with psycopg.connect(url) as conn:
        assert conn.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
        assert conn.execute("SELECT count(*) FROM queues").fetchone() == (1,)


def test_the_others_wait_while_one_migrates(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    with ThreadPoolExecutor(1) as pool:
        with psycopg.connect(url) as holder:
            holder.execute(migrations.TRY_LOCK)
            waiting = pool.submit(upgrade, url)
            with pytest.raises(TimeoutError):
                waiting.result(0.5)
            assert current(url) is None
        assert waiting.result(30) == HEAD


def test_waiting_for_another_migration_ends(empty_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    url = empty_database()
    monkeypatch.setattr(migrations, "LOCK_WAIT_SECONDS", 0.2)
    with psycopg.connect(url) as holder:
        holder.execute(migrations.TRY_LOCK)
        with pytest.raises(Unavailable, match="another process has been migrating"):
            upgrade(url)
    assert upgrade(url) == HEAD


def test_an_interrupted_migration_leaves_nothing(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE TABLE sessions ()")  # in the way of the migration, half way through
    with pytest.raises(psycopg.errors.DuplicateTable):
        upgrade(url)
    with psycopg.connect(url, autocommit=True) as conn:
        assert conn.execute("SELECT to_regclass('public.jobs')").fetchone() == (None,)
        conn.execute("DROP TABLE sessions")
    assert current(url) is None
    assert upgrade(url) == HEAD


def test_a_second_upgrade_does_nothing_and_tells_the_revision(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    assert current(url) is None
    assert upgrade(url) == HEAD
    before = catalogue(url, "relations")
    assert upgrade(url) == current(url) == HEAD
    assert catalogue(url, "relations") == before


def test_a_newer_releases_schema_is_left_alone(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    upgrade(url)
    with psycopg.connect(url) as conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")
    assert upgrade(url) == "9999"


def test_postgres_urls_and_socket_folders_work(empty_database: Callable[[], str]) -> None:
    parts = conninfo_to_dict(empty_database())
    login = f"{parts['user']}:{parts['password']}"
    folder = str(parts["host"]).replace("/", "%2F")
    assert folder.startswith("%2F")
    assert upgrade(f"postgres://{login}@{folder}:{parts.get('port', 5432)}/{parts['dbname']}") == HEAD


def test_session_defaults_do_not_leak_into_the_schema(empty_database: Callable[[], str]) -> None:
    plain, odd = empty_database(), empty_database()
    with psycopg.connect(odd, autocommit=True) as conn:
        name = sql.Identifier(str(conninfo_to_dict(odd)["dbname"]))
        conn.execute("CREATE SCHEMA elsewhere")
        conn.execute(sql.SQL("ALTER DATABASE {} SET search_path = elsewhere, public").format(name))
    for url in (plain, odd):
        upgrade(url)
    for subject in ("relations", "functions"):
        assert catalogue(odd, subject) == catalogue(plain, subject)


def test_the_lock_is_held_however_long_it_takes(
    empty_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = empty_database()
    with psycopg.connect(url, autocommit=True) as conn:
        name = sql.Identifier(str(conninfo_to_dict(url)["dbname"]))
        conn.execute(sql.SQL("ALTER DATABASE {} SET idle_in_transaction_session_timeout = '200ms'").format(name))
    run_alembic = migrations._run_alembic

    def slow(database_url: str) -> None:
        time.sleep(0.6)  # three times as long as an idle transaction may last in this database
        with psycopg.connect(url) as other:
            assert other.execute(migrations.TRY_LOCK).fetchone() == (False,)
        run_alembic(database_url)

    monkeypatch.setattr(migrations, "_run_alembic", slow)
    assert upgrade(url) == HEAD


def test_no_server_is_unavailable(tmp_path: Path) -> None:
    for act in (upgrade, current, inspect):
        with pytest.raises(Unavailable, match="Postgres: "):
            act(f"postgresql://u:p@/d?host={tmp_path}")


def test_inspect_tells_what_the_server_is(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    found = inspect(url)
    assert found.major >= 14 and found.version.startswith(str(found.major)) and found.revision is None
    upgrade(url)
    assert inspect(url).revision == HEAD


def test_head_is_the_newest_revision_and_history_is_one_line() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "cronsvc.store:migrations")
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [HEAD]
    revisions = [revision.revision for revision in script.walk_revisions()]
    assert revisions == sorted(revisions, reverse=True)  # is_ahead() compares them as text
    files = {path.name for path in (ROOT / "cronsvc/store/migrations/sql").glob("*.sql")}
    assert {name[:4] for name in files} == set(revisions)


def test_no_migration_keeps_the_jobs_locked_while_it_looks_at_them() -> None:
    busy = "(public\\.)?(jobs|job_executions|audit_log)"
    files = [path for path in (ROOT / "cronsvc/store/migrations/sql").glob("*.sql") if path.name[:4] > "0015"]
    found = {path.name: re.sub("--.*", "", path.read_text(encoding="utf-8")) for path in files}
    assert len(found) >= 5, "there is nothing to look at: it could not fail"
    for name, text in found.items():
        assert not re.search(rf"CREATE (UNIQUE )?INDEX \w+ ON {busy} ", text), f"{name}: beside.build_index"
        for statement in text.split(";"):
            if re.search(rf"ALTER TABLE {busy} (.|\n)*ADD CONSTRAINT", statement):
                assert "NOT VALID" in statement, f"{name}: NOT VALID, and beside.validate later"


@pytest.fixture(scope="module")
def built_both_ways(postgres_server: Embedded) -> Iterator[tuple[str, str]]:
    names = (f"migrated_{os.getpid()}", f"read_{os.getpid()}")
    urls = [make_conninfo(postgres_server.url, dbname=name) for name in names]
    with psycopg.connect(postgres_server.url, autocommit=True) as conn:
        for name in names:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    upgrade(urls[0])
    with psycopg.connect(urls[1]) as conn:
        conn.execute((ROOT / "sql/schema.sql").read_bytes())
    yield urls[0], urls[1]
    with psycopg.connect(postgres_server.url, autocommit=True) as conn:
        for name in names:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.parametrize("subject", CATALOGUES)
def test_schema_sql_equals_the_migrations(subject: str, built_both_ways: tuple[str, str]) -> None:
    migrated, read = (catalogue(url, subject) for url in built_both_ways)
    assert migrated, "the query finds nothing: it could not fail"
    assert read == migrated
