"""What no login may do with the rights of others: borrow triggers, forge entries, lift a fence in silence."""

import asyncio
import json
from collections.abc import Iterator
from typing import cast

import psycopg
import pytest

from cronsvc.domain.fence import FenceReason
from cronsvc.errors import Conflict, Unavailable
from cronsvc.processes.scheduler import run_scheduler
from cronsvc.queue.broker import Broker
from cronsvc.services.fence import Fence
from cronsvc.store import identity
from cronsvc.store.pool import Database
from tests.processes.test_worker_queues import settings_for
from tests.store.test_roles import opened
from tests.support.roles import ROLES, ROLES_SQL, grant, logins
from tests.support.rows import define, fetch, one
from tests.support.waiting import until

BORROWED = {
    "cronsvc_audit_waits": (
        "id bigint",
        "AFTER INSERT ON {} REFERENCING NEW TABLE AS added FOR EACH STATEMENT",
        "(0)",
    ),
    "cronsvc_executions_ended": (
        "id bigint, job_id bigint, scheduled_time timestamptz, status text, status_reason text, result jsonb,"
        " children integer, parent_job_id bigint, parent_time timestamptz",
        "AFTER INSERT ON {} FOR EACH ROW",
        "(77, {up}, now(), 'SUCCESS', NULL, '{{}}', 0, NULL, NULL)",
    ),
    "cronsvc_jobs_wait": (
        "namespace text, depends_on jsonb, quarantine_reason text",
        "BEFORE INSERT ON {} FOR EACH ROW",
        '(\'default\', \'{{"on": [{{"job": "x"}}]}}\', NULL)',
    ),
    "cronsvc_jobs_connect": (
        "id bigint, namespace text, deleted_at timestamptz, depends_on jsonb",
        "AFTER INSERT ON {} FOR EACH ROW",
        "({up}, 'default', NULL, '{{\"on\": [{{\"jobId\": {down}}}]}}')",
    ),
}


@pytest.fixture
def urls(database_url: str) -> Iterator[dict[str, str]]:
    with logins(database_url) as found:
        yield found


async def test_what_runs_with_the_owners_rights_is_granted_by_name_and_looks_nowhere_else(db: Database) -> None:
    """Of every function of every migration: nobody has it as part of PUBLIC, and it names the schemas it looks in."""
    rows = await fetch(
        db,
        "SELECT p.oid::regprocedure::text, EXISTS (SELECT FROM aclexplode(coalesce(p.proacl,"
        " acldefault('f', p.proowner))) AS a WHERE a.grantee = 0),"
        " (SELECT setting FROM unnest(p.proconfig) AS setting WHERE setting LIKE 'search_path=%%')"
        "  FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace"
        " WHERE p.prosecdef AND n.nspname IN ('public', 'cronsvc_v1')",
    )
    assert {"cronsvc_audit_waits()", "cronsvc_seal_audit(integer)"} <= {name for name, _, _ in rows}
    assert [name for name, is_public, _ in rows if is_public] == []
    # pg_temp unnamed would be looked through first.
    assert [name for name, _, path in rows if path is None or not path.endswith("public, pg_temp")] == []


@pytest.mark.parametrize("function", BORROWED)
async def test_no_login_can_put_our_triggers_on_its_own_table(
    function: str, urls: dict[str, str], db: Database, database_url: str
) -> None:
    up = await define(db)
    down = await define(db, depends_on=json.dumps({"on": [{"jobId": up}]}))
    columns, when, values = BORROWED[function]
    insert = f"INSERT INTO borrowed VALUES {values.format(up=up, down=down)}"
    before = await _bystanders(db)
    for role in ROLES:
        with psycopg.connect(urls[role], autocommit=True) as conn:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute("CREATE TEMP TABLE refused ()")
            grant(database_url, "TEMPORARY ON DATABASE {database}", role)  # as in a database that is shared
            conn.execute(f"CREATE TEMP TABLE borrowed ({columns})".encode())
            attach = f"CREATE TRIGGER t {when.format('borrowed')} EXECUTE FUNCTION public.{function}()".encode()
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(attach)
            # Also where somebody has been generous.
            grant(database_url, "USAGE ON SCHEMA public", role)
            grant(database_url, f"EXECUTE ON FUNCTION {function}()", role)
            conn.execute(attach)
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="alone"):
                conn.execute(insert.encode())
    assert await _bystanders(db) == before


async def _bystanders(db: Database) -> tuple[object, ...]:
    return await one(
        db,
        "SELECT (SELECT count(*) FROM execution_ends), (SELECT count(*) FROM audit_unsealed WHERE audit_id = 0),"
        " (SELECT array_agg(d ORDER BY d) FROM job_dependencies AS d)",
    )


ENTRY = "INSERT INTO audit_log ({}) {} VALUES ({})"


@pytest.mark.parametrize("role", ["cronsvc_api", "cronsvc_scheduler", "cronsvc_worker"])
async def test_entries_say_neither_their_id_nor_their_instant(
    role: str, urls: dict[str, str], database_url: str
) -> None:
    columns, values = "actor, action, entity, entity_id", "'cronsvc:x', 'delete', 'job', '1'"
    grant(database_url, "INSERT ON audit_log", role)  # what an earlier release said, until roles.sql is run again
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(ROLES_SQL.read_bytes())
    with psycopg.connect(urls[role], autocommit=True) as conn:
        for column, value in (("id", "999999"), ("at", "'2020-01-01'"), ("request_id", "'x'")):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
                conn.execute(
                    ENTRY.format(f"{column}, {columns}", "OVERRIDING SYSTEM VALUE", f"{value}, {values}").encode()
                )
        conn.execute(ENTRY.format(columns, "", values).encode())


@pytest.mark.parametrize("role", ["cronsvc_scheduler", "cronsvc_worker"])
async def test_a_scheduler_and_a_worker_act_in_no_persons_name(role: str, urls: dict[str, str]) -> None:
    with psycopg.connect(urls[role], autocommit=True) as conn:
        for actor in ("key:ceo", "oidc:ceo", "sql:postgres", "cronsvc", ""):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                conn.execute(
                    "INSERT INTO audit_log (actor, action, entity, entity_id) VALUES (%s, 'x', 'x', 'x')", (actor,)
                )
        for own in ("cronsvc:failures", f"sql:{role}_login"):
            conn.execute("INSERT INTO audit_log (actor, action, entity, entity_id) VALUES (%s, 'x', 'x', 'x')", (own,))


class _NoMemory:
    """Redis that remembers nothing."""

    async def generations(self) -> dict[str, int]:
        return {}

    async def remember_generation(self, lineage: str, generation: int) -> None:
        return None


@pytest.mark.parametrize("role", ["cronsvc_scheduler", "cronsvc_worker"])
async def test_a_process_keeps_the_fence_and_cannot_lift_it(role: str, urls: dict[str, str], db: Database) -> None:
    async with opened(urls[role]) as own:
        fence = Fence(own, cast(Broker, _NoMemory()), notes=role == "cronsvc_scheduler", installation="here")
        assert await fence.look()  # makes the row, and writes down what it is called
        assert await one(db, "SELECT installation FROM service_identity") == ("here",)
        await fetch(db, "UPDATE service_identity SET server_start = 'epoch' RETURNING 1")
        assert await fence.look()  # the server started again
        (lineage,) = await one(db, "SELECT lineage::text FROM service_identity")
        async with own.statements() as conn:
            assert await identity.fence(conn, lineage=lineage, reason=FenceReason.WENT_BACK, detail="older")
        with psycopg.connect(urls[role], autocommit=True) as raw:
            for change in (
                "fenced_at = NULL, fence_reason = NULL",
                "fence_reason = 'other_server'",
                "installation = 'elsewhere'",
                "installation = NULL",
                "lineage = gen_random_uuid()",
                "database_oid = 1",
                "released_by = 'key:ceo'",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    raw.execute(f"UPDATE service_identity SET {change}".encode())
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                raw.execute("DELETE FROM service_identity")
        assert not await fence.look()
    async with opened(urls["cronsvc_api"]) as api, api.transaction(actor="key:ann") as conn:
        await identity.lock(conn)
        await identity.release(conn, by="key:ann", mode="resume", installation="here")
    assert await one(db, "SELECT fenced_at, released_by FROM service_identity") == (None, "key:ann")


async def test_a_constraint_that_nobody_expected_is_a_conflict(db: Database) -> None:
    await fetch(db, "INSERT INTO queues (name) VALUES ('twice') RETURNING 1")
    with pytest.raises(Conflict, match="duplicate key"):
        await fetch(db, "INSERT INTO queues (name) VALUES ('twice') RETURNING 1")


async def test_a_grant_that_is_missing_says_what_to_run(
    urls: dict[str, str], db: Database, database_url: str, redis_url: str
) -> None:
    """After `migrate` and before sql/roles.sql: a scheduler waits and says so, and works as soon as it may."""
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("REVOKE ALL ON service_identity FROM cronsvc_scheduler")
        async with opened(urls["cronsvc_scheduler"]) as own:
            with pytest.raises(Unavailable, match=r"service_identity; run sql/roles\.sql"):
                await fetch(own, "SELECT FROM service_identity")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):  # what a policy refuses is no missing grant
                await fetch(own, "INSERT INTO audit_log (actor, action, entity, entity_id) VALUES ('x', 'x', 'x', 'x')")
        await fetch(db, "INSERT INTO queues (name) VALUES ('sealed') RETURNING 1")
        stop, ready = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(run_scheduler(settings_for(urls["cronsvc_scheduler"], redis_url), stop, ready=ready))
        try:

            async def has_met_it() -> bool:
                assert not task.done(), task
                return bool(
                    (await one(db, "SELECT count(*) FROM audit_unsealed"))[0] == 0
                )  # a chore that may work does

            await until(has_met_it, what="the chain to go on while the fence cannot be read")
            assert not ready.is_set()
            owner.execute(ROLES_SQL.read_bytes())
            await asyncio.wait_for(ready.wait(), 20)
            assert not task.done()
        finally:
            stop.set()
            await task
