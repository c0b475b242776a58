"""`migrate`, `check`, `keys`, `jobs` and `trigger` on real servers."""

import itertools
import json
import os
import re
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cronsvc.cli.keys import RoleName
from cronsvc.services.access import Role
from cronsvc.store.migrations import HEAD
from tests.cli.support import cronsvc
from tests.support.servers import Embedded

_serial = itertools.count(1)


@pytest.fixture
def empty(postgres_server: Embedded, valkey_server: Embedded) -> Iterator[dict[str, str]]:
    """Variables of an empty database and a Valkey."""
    name = f"cli_{os.getpid()}_{next(_serial)}"
    with psycopg.connect(postgres_server.url, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield {"DATABASE_URL": make_conninfo(postgres_server.url, dbname=name), "REDIS_URL": valkey_server.url}
    with psycopg.connect(postgres_server.url, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def migrated(database_url: str, valkey_server: Embedded) -> dict[str, str]:
    """Variables of a migrated database and a Valkey."""
    return {"DATABASE_URL": database_url, "REDIS_URL": valkey_server.url}


def add_job(database_url: str, name: str, namespace: str = "default") -> int:
    payload = {"type": "API_CALL", "config": {"url": "https://example.org/", "method": "POST"}}
    with psycopg.connect(database_url) as conn:
        row = conn.execute(
            "INSERT INTO jobs (name, namespace, cron_expression, task_payload)"
            " VALUES (%s, %s, '0 3 * * *', %s) RETURNING id",
            (name, namespace, json.dumps(payload)),
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_migrate_prints_the_revision_and_makes_partitions(empty: dict[str, str]) -> None:
    for _ in range(2):
        done = cronsvc("migrate", **empty)
        assert (done.returncode, done.stdout) == (0, f"{HEAD}\n"), done.stderr
    with psycopg.connect(empty["DATABASE_URL"]) as conn:
        found = conn.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'job_executions'::regclass").fetchone()
    assert found is not None and found[0] >= 4


def test_migrate_takes_the_seeds_variables(empty: dict[str, str]) -> None:
    parts = conninfo_to_dict(empty["DATABASE_URL"])
    done = cronsvc(
        "migrate",
        DB_HOST=str(parts["host"]),
        DB_USER=str(parts["user"]),
        DB_PASSWORD=str(parts["password"]),
        DB_DATABASE=str(parts["dbname"]),
    )
    assert (done.returncode, done.stdout) == (0, f"{HEAD}\n"), done.stderr


def test_check_of_a_good_deployment(migrated: dict[str, str]) -> None:
    done = cronsvc("check", **migrated)
    assert done.returncode == 0, done.stdout
    lines = {line.split("  ")[0].strip(): line for line in done.stdout.splitlines()}
    assert set(lines) == {"settings", "postgres", "schema", "redis", "job types", "issuers"}
    assert all(" ok " in line for line in lines.values())
    assert f"revision {HEAD}" in lines["schema"] and "API_CALL" in lines["job types"]


def test_check_of_an_empty_database_and_no_redis_starts_nothing(empty: dict[str, str]) -> None:
    done = cronsvc("check", DATABASE_URL=empty["DATABASE_URL"], REDIS_URL="redis://:hunter22@127.0.0.1:1/0")
    assert done.returncode == 1
    wrong = [line for line in done.stdout.splitlines() if "WRONG" in line]
    assert len(wrong) == 2
    assert "run `cronsvc migrate`" in wrong[0] and wrong[1].startswith("redis")
    assert "hunter22" not in done.stdout + done.stderr
    with psycopg.connect(empty["DATABASE_URL"]) as conn:
        assert conn.execute("SELECT to_regclass('jobs')").fetchone() == (None,)


def test_check_tells_of_a_valkey_that_may_evict(migrated: dict[str, str], valkey_server: Embedded) -> None:
    import redis

    with redis.Redis.from_url(valkey_server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            done = cronsvc("check", **migrated)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert done.returncode == 1
    assert "maxmemory-policy is allkeys-lru" in done.stdout


def test_check_of_wrong_settings() -> None:
    done = cronsvc("check", CRONSVC_POOL_SIZE="x")
    assert done.returncode == 1
    assert done.stdout.startswith("settings   WRONG") and "CRONSVC_POOL_SIZE" in done.stdout


def test_the_roles_are_those_of_access() -> None:
    assert {role.name: role.value for role in RoleName} == {role.name: role.value for role in Role}


def test_keys_are_made_listed_and_revoked(migrated: dict[str, str]) -> None:
    made = cronsvc(
        "keys",
        "create",
        "--name",
        "deploy",
        "--role",
        "operator",
        "--namespace",
        "a",
        "--namespace",
        "b",
        "--expires-days",
        "7",
        **migrated,
    )
    assert made.returncode == 0, made.stderr
    assert re.fullmatch(r"csk_\w+\n", made.stdout)
    key_id = made.stdout.split("_")[1]
    assert made.stdout.strip() not in made.stderr

    again = cronsvc("keys", "create", "--name", "deploy", "--role", "viewer", **migrated)
    assert (again.returncode, again.stdout) == (1, "")
    assert "deploy" in again.stderr

    listed = cronsvc("keys", "list", **migrated)
    row = listed.stdout.splitlines()[1].split()
    assert row[:4] == [key_id, "deploy", "operator", "a,b"] and row[-1] == "-"
    assert made.stdout.strip() not in listed.stdout

    assert cronsvc("keys", "revoke", key_id, **migrated).returncode == 0
    assert cronsvc("keys", "list", **migrated).stdout.splitlines()[1].split()[-1].endswith("Z")
    missing = cronsvc("keys", "revoke", "nothere1", **migrated)
    assert missing.returncode == 1 and "nothere1" in missing.stderr
    with psycopg.connect(migrated["DATABASE_URL"]) as conn:
        actors = conn.execute("SELECT DISTINCT actor FROM audit_log WHERE entity = 'api_key'").fetchall()
    assert len(actors) == 1 and actors[0][0].startswith("cli")


def test_jobs_are_listed_and_shown(migrated: dict[str, str]) -> None:
    job_id = add_job(migrated["DATABASE_URL"], "nightly")
    add_job(migrated["DATABASE_URL"], "other", "elsewhere")
    listed = cronsvc("jobs", "list", **migrated)
    assert listed.returncode == 0, listed.stderr
    assert [line.split()[2] for line in listed.stdout.splitlines()] == ["NAME", "other", "nightly"]
    only = cronsvc("jobs", "list", "--namespace", "elsewhere", **migrated)
    assert [line.split()[2] for line in only.stdout.splitlines()] == ["NAME", "other"]
    for name_or_id in ("nightly", str(job_id)):
        shown = cronsvc("jobs", "show", name_or_id, **migrated)
        assert shown.returncode == 0, shown.stderr
        assert re.search(r"(?m)^schedule +0 3 \* \* \*$", shown.stdout)


def test_trigger_records_an_execution_by_whom(migrated: dict[str, str]) -> None:
    job_id = add_job(migrated["DATABASE_URL"], "nightly")
    done = cronsvc("trigger", "nightly", "--params", '{"data": {"day": "2026-01-31"}}', **migrated)
    assert done.returncode == 0, done.stderr
    with psycopg.connect(migrated["DATABASE_URL"]) as conn:
        row = conn.execute(
            "SELECT job_id, trigger, status, params, requested_by FROM job_executions WHERE id = %s",
            (int(done.stdout),),
        ).fetchone()
    assert row is not None
    assert row[:4] == (job_id, "manual", "QUEUED", {"data": {"day": "2026-01-31"}})
    assert row[4].startswith("cli")
    shown = cronsvc("jobs", "show", "nightly", **migrated)
    assert done.stdout.strip() in shown.stdout


def test_trigger_with_a_key_runs_once(migrated: dict[str, str]) -> None:
    add_job(migrated["DATABASE_URL"], "nightly")
    keyed = ("trigger", "nightly", "--idempotency-key", "deploy-17")
    first, again = (cronsvc(*keyed, **migrated) for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert first.stdout == again.stdout
    other = cronsvc(*keyed, "--params", '{"data": {}}', **migrated)
    assert other.returncode == 1 and "Idempotency-Key" in other.stderr


@pytest.mark.parametrize("params", ["[1]", "{", '"x"'])
def test_trigger_refuses_params_that_are_no_object(params: str, migrated: dict[str, str]) -> None:
    done = cronsvc("trigger", "nightly", "--params", params, **migrated)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("cronsvc: --params: ")


def test_what_is_not_there_or_not_clear_is_told(migrated: dict[str, str]) -> None:
    add_job(migrated["DATABASE_URL"], "twice", "a")
    add_job(migrated["DATABASE_URL"], "twice", "b")
    missing, ambiguous = (cronsvc("trigger", name, **migrated) for name in ("missing", "twice"))
    assert missing.returncode == ambiguous.returncode == 1
    assert "there is no job named 'missing'" in missing.stderr
    assert "add --namespace" in ambiguous.stderr
    assert cronsvc("trigger", "twice", "--namespace", "b", **migrated).returncode == 0


def test_explain_says_why(migrated: dict[str, str]) -> None:
    job_id = add_job(migrated["DATABASE_URL"], "nightly")
    ahead = cronsvc("explain", "nightly", "--at", "2096-03-08T03:00:00Z", **migrated)
    assert ahead.returncode == 0 and ahead.stdout.startswith("not_yet: It lies ahead"), ahead.stderr
    assert re.search(r"(?m)^  schedule +The schedule \(At 03:00\) names 2096-03-08 03:00:00 UTC\.$", ahead.stdout)
    assert cronsvc("explain", str(job_id), **migrated).stdout.startswith("not_scheduled: ")
    wrong = cronsvc("explain", "nightly", "--at", "soon", **migrated)
    assert (wrong.returncode, wrong.stdout) == (1, "") and "cronsvc: --at: must be an RFC 3339 time" in wrong.stderr
    with psycopg.connect(migrated["DATABASE_URL"]) as conn:
        conn.execute("UPDATE jobs SET deleted_at = now(), is_active = false")
    assert cronsvc("explain", str(job_id), **migrated).stdout.startswith("deleted: ")
    assert cronsvc("explain", "nightly", **migrated).returncode == 1
