"""The roles of sql/roles.sql: what each may do, what no trick lets it do, and that its process can live with that."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from cronsvc.domain.execution import Outcome
from cronsvc.executors.base import RunContext
from cronsvc.processes.scheduler import run_scheduler
from cronsvc.services.callers import Caller, Role, within
from cronsvc.services.executions import Executions
from cronsvc.services.upkeep import upkeep
from cronsvc.store import partitions
from cronsvc.store.pool import Database
from cronsvc.store.reach import reaching
from tests.processes.test_worker_queues import settings_for, working
from tests.support.job_types import Scripted, failing
from tests.support.roles import logins
from tests.support.rows import define, fetch, one
from tests.support.waiting import until

Connection = psycopg.Connection[tuple[object, ...]]
TENANT_TABLES = [
    "jobs",
    "job_revisions",
    "job_executions",
    "job_attempts",
    "job_statistics",
    "trigger_keys",
    "backfills",
    "calendars",
    "calendar_dates",
    "maintenance_windows",
    "job_templates",
    "job_template_revisions",
    "secrets",
    "egress_lists",
    "host_holds",
    "audit_log",
]


@pytest.fixture
def urls(database_url: str) -> Iterator[dict[str, str]]:
    with logins(database_url, again=True) as found:
        yield found


@pytest.fixture
async def planted(db: Database) -> dict[str, int]:
    """Two namespaces with a row in every table that has tenants; the job of each."""
    ids = {}
    for namespace in ("red", "blue"):
        job = ids[namespace] = await define(db, namespace=namespace)
        for statement in (
            "INSERT INTO job_executions (job_id, scheduled_time, status) VALUES ({job}, now(), 'SUCCESS')",
            "INSERT INTO job_attempts (job_id, scheduled_time, claim_no, execution_id, attempt, outcome)"
            " VALUES ({job}, now(), 1, 1, 1, 'success')",
            "INSERT INTO job_statistics VALUES ({job}, now(), 'schedule', 1, 0, 0, 0, 1, 0, 0, 0, now(), now())",
            "INSERT INTO trigger_keys (job_id, key_hash, request_hash) VALUES ({job}, 'x', 'x')",
            "INSERT INTO backfills (job_id, revision, window_from, window_to, mode, direction, max_parallel, planned,"
            " created_by) VALUES ({job}, 1, now(), now(), 'all', 'oldest', 1, 1, 'x')",
            "INSERT INTO calendars (namespace, name, created_by) VALUES ('{namespace}', 'days', 'x')",
            "INSERT INTO calendar_dates (calendar_id, date) SELECT max(id), now() FROM calendars",
            "INSERT INTO egress_lists (namespace, layer, hosts) VALUES ('{namespace}', 'namespace', '{{a.example}}')",
            "INSERT INTO host_holds (job_id, scheduled_time, host, reason, execution_id, namespace, claim_no,"
            " held_until) VALUES ({job}, now(), 'a.example', 'rate', 1, '{namespace}', 1, now())",
            "INSERT INTO secrets (namespace, name, ciphertext, key_id) VALUES ('{namespace}', 'x', 'x', 'x')",
            "INSERT INTO job_templates (namespace, name, created_by) VALUES ('{namespace}', 't', 'x')",
            "INSERT INTO job_template_revisions (template_id, revision, parameters, definition, actor)"
            " SELECT max(id), 1, '[]', '{{}}', 'x' FROM job_templates",
            "INSERT INTO maintenance_windows (namespace, name, starts_at, ends_at, during, created_by)"
            " VALUES ('{namespace}', 'w', now(), now() + interval '1 hour', 'skip', 'x')",
        ):
            await fetch(db, statement.format(job=job, namespace=namespace) + " RETURNING 1")
    return ids


def seen(conn: Connection, table: str) -> int:
    row = conn.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row is not None and isinstance(row[0], int)
    return row[0]


def refused(conn: Connection, statement: str) -> bool:
    """Whether Postgres refuses it for want of a right; a policy that hides every row counts as well."""
    try:
        with conn.transaction(force_rollback=True):
            return conn.execute(statement.encode()).rowcount == 0
    except psycopg.errors.InsufficientPrivilege:
        return True


@pytest.mark.parametrize("setting", [None, "", "{}", '{"RED"}', '{"red,blue"}', '{"%"}', "red", "true", "NULL"])
def test_without_a_good_word_the_api_sees_nothing(
    urls: dict[str, str], planted: dict[str, int], setting: str | None
) -> None:
    with psycopg.connect(urls["cronsvc_api"]) as conn:
        if setting is not None:
            conn.execute("SELECT set_config('cronsvc.namespaces', %s, true)", (setting,))
        for table in TENANT_TABLES:
            try:
                with conn.transaction():
                    assert seen(conn, table) == 0, table
            except psycopg.errors.InvalidTextRepresentation:
                continue  # not an array: the statement fails, and shows nothing either


def test_the_api_sees_and_writes_the_namespaces_it_names_and_no_other(
    urls: dict[str, str], planted: dict[str, int]
) -> None:
    red, blue = planted["red"], planted["blue"]
    with psycopg.connect(urls["cronsvc_api"], autocommit=True) as conn:
        conn.execute("SELECT set_config('cronsvc.namespaces', '{\"red\"}', false)")
        for table in TENANT_TABLES:
            assert seen(conn, table) == (2 if table == "audit_log" else 1), table  # a job and a secret
        for statement in (
            f"UPDATE jobs SET description = 'x' WHERE id = {blue}",
            f"UPDATE jobs SET namespace = 'blue' WHERE id = {red}",
            "INSERT INTO jobs (namespace, name, task_payload) VALUES ('blue', 'x', '{\"type\": \"T\"}')",
            f"UPDATE job_executions SET status = 'QUEUED' WHERE job_id = {blue}",
            f"UPDATE job_executions SET job_id = {blue} WHERE job_id = {red}",
            f"INSERT INTO job_executions (job_id, scheduled_time) VALUES ({blue}, now() + interval '1 s')",
            f"DELETE FROM job_executions WHERE job_id = {blue}",
            f"DELETE FROM job_attempts WHERE job_id = {blue}",
            "INSERT INTO audit_log (actor, action, entity, entity_id, namespace) VALUES ('x', 'x', 'x', 'x', 'blue')",
            "UPDATE calendars SET description = 'x' WHERE namespace = 'blue'",
            "UPDATE maintenance_windows SET reason = 'x' WHERE namespace = 'blue'",
            "INSERT INTO maintenance_windows (name, starts_at, ends_at, during, created_by)"
            " VALUES ('everybody', now(), now() + interval '1 hour', 'skip', 'x')",
        ):
            assert refused(conn, statement), statement
        for statement in (
            f"UPDATE jobs SET description = 'x' WHERE id = {red}",
            "UPDATE calendars SET description = 'x'",
        ):
            assert not refused(conn, statement), statement
        conn.execute("SELECT set_config('cronsvc.namespaces', '*', false)")
        assert {seen(conn, table) for table in TENANT_TABLES} == {2, 4}


def test_partitions_are_no_way_round(urls: dict[str, str], planted: dict[str, int], database_url: str) -> None:
    with psycopg.connect(database_url) as conn:
        rows = conn.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'job_executions'::regclass"
        )
        names = [str(name) for (name,) in rows if "idx" not in str(name)]
    assert names
    for role in ("cronsvc_api", "cronsvc_scheduler", "cronsvc_worker", "cronsvc_auditor"):
        with psycopg.connect(urls[role], autocommit=True) as conn:
            assert all(refused(conn, f"SELECT FROM {name}") for name in names)


EVERYBODY = ("cronsvc_api", "cronsvc_scheduler", "cronsvc_worker", "cronsvc_auditor")
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "UPDATE audit_log SET actor = 'nobody'": EVERYBODY,
    "DELETE FROM audit_log": EVERYBODY,
    "TRUNCATE audit_log": EVERYBODY,
    "ALTER TABLE audit_log DISABLE TRIGGER ALL": EVERYBODY,
    "DROP TRIGGER audit_log_append_only ON audit_log": EVERYBODY,
    "ALTER TABLE jobs DISABLE ROW LEVEL SECURITY": EVERYBODY,
    "DROP POLICY jobs_reach ON jobs": EVERYBODY,
    "UPDATE job_revisions SET actor = 'nobody'": EVERYBODY,
    "DELETE FROM job_revisions": EVERYBODY,
    "DELETE FROM jobs": EVERYBODY,
    "TRUNCATE job_executions": EVERYBODY,
    "CREATE TABLE public.mine ()": EVERYBODY,
    "DROP TABLE job_attempts": EVERYBODY,
    "GRANT cronsvc_scheduler TO CURRENT_USER": EVERYBODY,
    "SET ROLE cronsvc_scheduler": ("cronsvc_api", "cronsvc_worker", "cronsvc_auditor"),
    "INSERT INTO jobs (name, task_payload) VALUES ('x', '{\"type\": \"T\"}')": EVERYBODY[1:],
    'UPDATE jobs SET task_payload = \'{"type": "T"}\'': EVERYBODY[1:],
    "UPDATE jobs SET namespace = 'red'": EVERYBODY[1:],
    "UPDATE jobs SET next_fire_time = now()": ("cronsvc_worker", "cronsvc_auditor"),
    "DELETE FROM job_executions": ("cronsvc_worker", "cronsvc_auditor"),
    "SELECT FROM api_keys": ("cronsvc_worker", "cronsvc_auditor"),
    "SELECT secret_hash FROM api_keys": EVERYBODY[1:],
    "UPDATE api_keys SET role = 'admin'": EVERYBODY[1:],
    "SELECT token_hash FROM sessions": EVERYBODY[1:],
    "SELECT FROM audit_log": EVERYBODY[1:],
    "SELECT ciphertext FROM secrets": ("cronsvc_scheduler", "cronsvc_auditor"),
    "UPDATE secrets SET ciphertext = 'x'": EVERYBODY[1:],
    "SELECT task_payload FROM jobs": ("cronsvc_auditor",),
    "SELECT cronsvc_drop_partition('2026-01-05')": ("cronsvc_api", "cronsvc_worker", "cronsvc_auditor"),
    "SELECT cronsvc_make_partition('job_executions', '2040-01-02')": ("cronsvc_auditor",),
}


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_what_no_role_but_the_owners_may_do(urls: dict[str, str], planted: dict[str, int], statement: str) -> None:
    for role in FORBIDDEN[statement]:
        with psycopg.connect(urls[role], autocommit=True) as conn:
            conn.execute("SELECT set_config('cronsvc.namespaces', '*', false)")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement.encode())


def test_only_partitions_of_our_tables_can_be_made(urls: dict[str, str]) -> None:
    with psycopg.connect(urls["cronsvc_scheduler"], autocommit=True) as conn:
        for arguments in (
            "'jobs', '2040-01-02'",
            "'job_executions', '2040-01-03'",
            "'x; DROP TABLE jobs', '2040-01-02'",
        ):
            with pytest.raises(psycopg.errors.InvalidParameterValue):
                conn.execute(f"SELECT cronsvc_make_partition({arguments})".encode())


def test_every_table_is_granted_or_left_out_on_purpose(urls: dict[str, str], database_url: str) -> None:
    """A table of a later release that sql/roles.sql forgets would be found by the first request that needs it."""
    with psycopg.connect(database_url) as conn:
        tables = {str(name) for (name,) in conn.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
            " AND NOT relispartition"
        )}  # fmt: skip
        granted = {str(name) for (name,) in conn.execute(
            "SELECT DISTINCT table_name FROM information_schema.role_table_grants WHERE grantee = 'cronsvc_api'"
        )}  # fmt: skip
    assert tables - granted == set()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    db = await Database.open(url, application_name="cronsvc-test", max_size=4)
    try:
        yield db
    finally:
        await db.close()


async def test_services_pass_on_what_their_caller_reaches(urls: dict[str, str], planted: dict[str, int]) -> None:
    """Also where the service itself forgets to ask: this one is told that the caller may see everything."""
    careless = Caller("key:x", Role.VIEWER, None)
    async with opened(urls["cronsvc_api"]) as db:
        executions = Executions(db)
        with within(Caller("key:x", Role.VIEWER, ("red",))):
            assert [each.job_id for each in (await executions.list(careless)).items] == [planted["red"]]
        with within(careless):
            assert len((await executions.list(careless)).items) == 2
        assert (await executions.list(careless)).items == ()  # nobody asks
        # A connection keeps nothing of what was said on it.
        async with db.statements() as conn:
            row = await (await conn.execute("SELECT current_setting('cronsvc.namespaces', true)")).fetchone()
            assert row is not None and not row[0]


async def test_requests_at_the_same_time_keep_apart(urls: dict[str, str], planted: dict[str, int]) -> None:
    careless = Caller("key:x", Role.VIEWER, None)
    async with opened(urls["cronsvc_api"]) as db:
        executions = Executions(db)

        async def ask(namespace: str) -> bool:
            with within(Caller("key:x", Role.VIEWER, (namespace,))):
                found = (await executions.list(careless)).items
            return [each.job_id for each in found] == [planted[namespace]]

        answers = await asyncio.gather(*(ask(("red", "blue")[n % 2]) for n in range(40)))
    assert all(answers)


async def test_odd_names_of_namespaces_are_told_exactly(urls: dict[str, str], db: Database) -> None:
    names = ['a"b', "a,b", "a\\b", "{a}", "NULL", " a ", "ä"]
    for name in names:
        await define(db, namespace=name)
    async with opened(urls["cronsvc_api"]) as walled:
        for name in names:
            with reaching([name, "other"]):
                assert await fetch(walled, "SELECT namespace FROM jobs") == [(name,)]


async def test_a_scheduler_and_a_worker_do_their_work_in_their_roles(
    urls: dict[str, str], db: Database, redis_url: str
) -> None:
    def answer(context: RunContext) -> Outcome:
        return failing(retryable=False)(context) if context.job_name == "bad" else Outcome(result={"ok": True})

    good = await define(db, name="good", every_seconds=1, namespace="red", max_concurrency=1)
    bad = await define(db, name="bad", every_seconds=1, namespace="blue", pause_after_failures=1)
    stop, ready = asyncio.Event(), asyncio.Event()
    scheduler = asyncio.create_task(
        run_scheduler(settings_for(urls["cronsvc_scheduler"], redis_url), stop, ready=ready)
    )
    try:
        async with working(settings_for(urls["cronsvc_worker"], redis_url), Scripted(answer)):

            async def done() -> bool:
                assert not scheduler.done()
                row = await one(
                    db,
                    "SELECT (SELECT count(*) FROM job_executions WHERE job_id = %s AND status = 'SUCCESS') >= 2,"
                    " (SELECT paused_at IS NOT NULL FROM jobs WHERE id = %s)",
                    good,
                    bad,
                )
                return bool(row[0] and row[1])

            await until(done, what="two runs of one job and the pause of the other")
    finally:
        stop.set()
        await scheduler
    actor = await one(db, "SELECT actor, namespace FROM audit_log WHERE action = 'pause'")
    assert actor == ("cronsvc:failures", "blue")


async def test_upkeep_works_in_the_role_of_a_scheduler(urls: dict[str, str], db: Database) -> None:
    old = partitions.week_of(datetime.now(UTC) - timedelta(weeks=20))
    async with db.transaction() as conn:
        await partitions.ensure(conn, {old})
    job = await define(db, namespace="red", last_fire_time=datetime.now(UTC))
    await fetch(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, status) VALUES (%s, %s, 'SUCCESS') RETURNING 1",
        job,
        datetime.combine(old, datetime.min.time(), UTC) + timedelta(days=1),
    )
    async with opened(urls["cronsvc_scheduler"]) as scheduler:
        await upkeep(scheduler, retention_days=30)
        async with scheduler.statements() as conn:
            assert old not in await partitions.present(conn)
    assert await one(db, "SELECT sum(success) FROM job_statistics WHERE job_id = %s", job) == (1,)


async def test_policies_cost_schedulers_and_workers_nothing(urls: dict[str, str], planted: dict[str, int]) -> None:
    for role in ("cronsvc_scheduler", "cronsvc_worker"):
        async with opened(urls[role]) as db:
            rows = await fetch(db, "EXPLAIN SELECT FROM job_executions WHERE status = 'QUEUED' AND dispatch_at < now()")
        plan = "\n".join(line for (line,) in rows)
        assert "SubPlan" not in plan and "InitPlan" not in plan and "cronsvc_reach" not in plan, plan


async def test_the_lists_of_the_api_go_along_their_indexes_behind_the_policies(
    urls: dict[str, str], db: Database
) -> None:
    """The policy asks once what the caller reaches, and the order of the list still comes out of the index."""
    await fetch(
        db,
        "INSERT INTO jobs (namespace, name, task_payload) SELECT 'n' || mod(n, 50), 'j' || n, '{\"type\": \"T\"}'"
        " FROM generate_series(1, 5000) AS n RETURNING 1",
    )
    await fetch(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, status) SELECT id, now() - id * interval '1 s', 'SUCCESS'"
        " FROM jobs RETURNING 1",
    )
    async with db.statements() as conn:
        await conn.execute("ANALYZE jobs, job_executions")
    lists = {
        "jobs": "SELECT * FROM jobs AS j WHERE j.deleted_at IS NULL AND j.id < 4000 ORDER BY j.id DESC LIMIT 50",
        "executions": "SELECT e.* FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id WHERE e.id < 4000"
        " ORDER BY e.id DESC LIMIT 50",
        "one": "SELECT * FROM job_executions WHERE id = 77",
    }
    async with opened(urls["cronsvc_api"]) as walled:
        for namespaces in (None, ("n7",), ("n7", "n8")):
            for name, statement in lists.items():
                with reaching(namespaces):
                    plan = "\n".join(line for (line,) in await fetch(walled, f"EXPLAIN {statement}"))
                # Partitions without a row are read whole, which costs nothing.
                assert re.search(r"Seq Scan on job_executions_\d+ .* rows=\d{3,}", plan) is None, (
                    namespaces,
                    name,
                    plan,
                )
                assert "Index" in plan, (namespaces, name, plan)
