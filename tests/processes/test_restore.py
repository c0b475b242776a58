"""A scheduler and a worker that wake up on a dump restored beside its original: silent until somebody confirms."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cronsvc.config import Settings
from cronsvc.embedded.binaries import find_postgres
from cronsvc.processes.scheduler import run_scheduler
from cronsvc.services.backfills import Backfills
from cronsvc.services.callers import Caller, Role
from cronsvc.services.restore import ReleaseMode, Restore
from cronsvc.store.pool import Database
from tests.processes.test_worker_queues import alive, settings_for, working
from tests.support.job_types import Scripted
from tests.support.rows import define, fetch, one
from tests.support.servers import Embedded
from tests.support.waiting import until

EXECUTIONS = (
    "SELECT job_id, scheduled_time, status, status_reason, attempt, dispatch_at FROM job_executions ORDER BY 1, 2"
)


@pytest.fixture
async def restored_url(postgres_server: Embedded, database_url: str) -> AsyncIterator[str]:
    """The URL of an empty database on the same server, for a dump of the other one."""
    name = f"restored_{conninfo_to_dict(database_url)['dbname']}"
    async with await psycopg.AsyncConnection.connect(postgres_server.url, autocommit=True) as conn:
        await conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield make_conninfo(postgres_server.url, dbname=name)
        await conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def dump_and_restore(url: str, into: str) -> None:
    binary = find_postgres().with_name("pg_dump")
    if not binary.exists():
        pytest.skip("this Postgres comes without pg_dump")
    dump = subprocess.run([binary, "--dbname", url], capture_output=True, check=True, timeout=60)
    psql = binary.with_name("psql")
    subprocess.run(
        [psql, "--quiet", "-v", "ON_ERROR_STOP=1", "--dbname", into],
        input=dump.stdout,
        capture_output=True,
        check=True,
        timeout=60,
        env=dict(os.environ),
    )


def scheduling(settings: Settings) -> AbstractAsyncContextManager[None]:
    return alive(lambda stop, ready: run_scheduler(settings, stop, ready=ready))


async def test_a_restored_dump_is_silent_until_confirmed(
    db: Database, database_url: str, restored_url: str, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with scheduling(settings_for(database_url, redis_url)):
        assert await one(db, "SELECT count(*), bool_or(cronsvc_fenced()) FROM service_identity") == (1, False)
    job_id = await define(db, cron_expression="* * * * *", misfire_policy="fire_all")
    await fetch(
        db,
        "UPDATE jobs SET next_fire_time = %s, armed_revision = revision WHERE id = %s RETURNING 1",
        datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=3),
        job_id,
    )
    await fetch(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time) VALUES (%s, now() - interval '1.5 s') RETURNING 1",
        job_id,
    )
    await asyncio.to_thread(dump_and_restore, database_url, restored_url)
    restored = await Database.open(restored_url, application_name="restored")
    called = Scripted()
    settings = settings_for(restored_url, redis_url, CRONSVC_POLL_SECONDS="0.1")
    try:
        before = await fetch(restored, EXECUTIONS)
        assert len(before) == 1
        async with scheduling(settings), working(settings, called):
            # Both have looked and gone on for some rounds: the presence of the scheduler is renewed by its chores.
            async def has_gone_on() -> bool:
                rows = await fetch(restored, "SELECT 1 FROM schedulers WHERE heartbeat_at > started_at")
                return bool(rows)

            await until(has_gone_on, what="a second heartbeat of the fenced scheduler")
            assert await fetch(restored, EXECUTIONS) == before
            assert called.calls == []
            assert await one(restored, "SELECT fence_reason FROM service_identity") == ("other_database",)
            assert any("nothing is sent" in record.getMessage() for record in caplog.records)
            await Restore(restored, Backfills(restored, {})).confirm(
                ReleaseMode.RESUME, Caller(actor="ann", role=Role.ADMIN)
            )

            async def all_ran() -> bool:
                rows = await one(restored, "SELECT count(*) FROM job_executions WHERE status = 'SUCCESS'")
                return bool(rows[0] >= 5)  # four that were owed, and the one that waited

            await until(all_ran, what="the work after the confirmation")
        assert {each.job_id for each in called.calls} == {job_id}
    finally:
        await restored.close()
