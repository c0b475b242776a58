"""The self check: each kind of difference turns it red on the second look, and healing turns it green."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from cronsvc.queue.broker import Broker
from cronsvc.services.dispatch import Dispatcher
from cronsvc.services.fence import Fence
from cronsvc.services.scheduling import Scheduling
from cronsvc.services.self_check import SelfCheck
from cronsvc.store import self_check
from cronsvc.store.pool import Database
from tests.support.roles import logins
from tests.support.rows import define, fetch, one

MINUTE = timedelta(minutes=1)
NOTHING = {"overdueCursors": 0, "notDispatched": 0, "abandoned": 0, "missingRows": 0, "gaps": 0}


@pytest.fixture
async def scheduling(db: Database, redis_url: str) -> AsyncIterator[Scheduling]:
    broker = Broker.open(redis_url)
    yield Scheduling(db, Dispatcher(db, broker))
    await broker.close()


async def old_job(db: Database, **columns: Any) -> int:
    """A job that was defined an hour ago and has owed its instants for twenty minutes."""
    job_id = await define(db, misfire_policy="fire_all", created_at=datetime.now(UTC) - 60 * MINUTE, **columns)
    async with db.transaction() as conn:
        # The log refuses changes, as it should: this job's history is made older without its trigger.
        await conn.execute("SET LOCAL session_replication_role = replica")
        await conn.execute("UPDATE audit_log SET at = at - interval '1 hour' WHERE entity_id = %s", (str(job_id),))
        await conn.execute(
            "UPDATE jobs SET next_fire_time = %s, armed_revision = revision WHERE id = %s",
            (datetime.now(UTC).replace(second=0, microsecond=0) - 20 * MINUTE, job_id),
        )
    return job_id


SCHEDULES: list[dict[str, Any]] = [
    {"cron_expression": "* * * * *", "timezone": "Asia/Kathmandu"},
    {"cron_expression": "*/2 * * * *"},
    {"every_seconds": 60},
    {"every_seconds": 40, "anchor": datetime(2026, 1, 1, 0, 0, 7, tzinfo=UTC)},
    {"cron_expression": f"{(datetime.now(UTC) - 4 * MINUTE).minute} * * * *"},
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda each: str(next(iter(each.values()))))
async def test_a_row_that_is_deleted_is_missed(db: Database, scheduling: Scheduling, schedule: dict[str, Any]) -> None:
    job_id = await old_job(db, **schedule)
    await scheduling.tick()
    check = SelfCheck(db)
    assert (await check.look()).counts == NOTHING
    assert await one(db, "SELECT count(*) > 0 FROM job_executions WHERE job_id = %s", job_id) == (True,)
    # The latest one: no later row names it, so only the schedule tells.
    (lost,) = await fetch(
        db,
        "DELETE FROM job_executions WHERE (job_id, scheduled_time) IN (SELECT job_id, max(scheduled_time)"
        " FROM job_executions GROUP BY 1) RETURNING scheduled_time",
    )
    found = await check.look()
    assert (found.counts, found.jobs["missingRows"]) == (NOTHING | {"missingRows": 1}, (job_id,))
    assert not list(check.problems)  # one bad round may be a moment
    await check.look()
    assert check.is_red
    assert list(check.problems) == ["1 instants that schedules name have no row"]
    await fetch(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, status) VALUES (%s, %s, 'SUCCESS') RETURNING 1",
        job_id,
        lost[0],
    )
    await check.look()
    assert not check.is_red


async def test_a_hole_between_rows_is_a_gap(db: Database, scheduling: Scheduling) -> None:
    """Of any schedule, because the next row names it; this one Postgres does not count out."""
    job_id = await old_job(db, cron_expression="*/2,1-59/2 * * * *")
    await scheduling.tick()
    check = SelfCheck(db)
    assert (await check.look()).counts == NOTHING
    await fetch(
        db,
        "DELETE FROM job_executions WHERE (job_id, scheduled_time) IN (SELECT job_id, scheduled_time"
        " FROM job_executions ORDER BY scheduled_time DESC OFFSET 3 LIMIT 1) RETURNING 1",
    )
    found = await check.look()
    assert (found.counts, found.jobs["gaps"]) == (NOTHING | {"gaps": 1}, (job_id,))


async def test_a_range_that_was_skipped_accounts_for_its_instants(db: Database, scheduling: Scheduling) -> None:
    job_id = await old_job(db, every_seconds=10, misfire_grace_seconds=0)
    await fetch(db, "UPDATE jobs SET misfire_policy = 'skip' WHERE id = %s RETURNING 1", job_id)
    await scheduling.tick()
    assert await one(db, "SELECT max(skipped_until) IS NOT NULL FROM job_executions") == (True,)
    assert (await SelfCheck(db).look()).counts == NOTHING


async def test_schedulers_that_stopped_are_noticed(db: Database, scheduling: Scheduling) -> None:
    job_id = await old_job(db, every_seconds=60)
    check = SelfCheck(db)
    for _ in range(2):
        assert (await check.look()).jobs["overdueCursors"] == (job_id,)
    assert check.is_red
    await scheduling.tick()
    assert (await check.look()).counts == NOTHING
    assert not check.is_red


async def test_a_cursor_that_was_moved_past_its_instants_is_noticed(db: Database, scheduling: Scheduling) -> None:
    """By hand, over what it owed: nothing is overdue any more, and nothing was recorded."""
    job_id = await old_job(db, every_seconds=60)
    await fetch(db, "UPDATE jobs SET next_fire_time = now() + interval '1 hour' WHERE id = %s RETURNING 1", job_id)
    await scheduling.tick()
    check = SelfCheck(db)
    for _ in range(2):
        found = await check.look()
    assert found.jobs["missingRows"] == (job_id,)
    assert found.counts["missingRows"] >= 14  # of a window of fifteen minutes
    assert check.is_red


@pytest.mark.parametrize("dispatch_at", ["now() - interval '10 minutes'", "NULL"])
async def test_what_nobody_hands_out_is_noticed(db: Database, dispatch_at: str) -> None:
    job_id = await define(db)
    await fetch(
        db,
        f"INSERT INTO job_executions (job_id, scheduled_time, created_at, dispatch_at)"
        f" VALUES (%s, now() - interval '1 hour', now() - interval '1 hour', {dispatch_at}) RETURNING 1",
        job_id,
    )
    assert (await SelfCheck(db).look()).counts == NOTHING | {"notDispatched": 1}
    await fetch(db, "UPDATE job_executions SET held = 'queue_paused', dispatch_at = NULL RETURNING 1")
    assert (await SelfCheck(db).look()).counts == NOTHING


async def test_what_a_dead_worker_holds_is_noticed(db: Database) -> None:
    job_id, worker = await define(db), uuid4()
    await fetch(
        db,
        "INSERT INTO workers (id, name, version, queues, concurrency, lease_until)"
        " VALUES (%s, 'w', '0', '{}', 1, now() - interval '5 minutes') RETURNING 1",
        worker,
    )
    await fetch(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, status, attempt, worker_id)"
        " VALUES (%s, now(), 'RUNNING', 1, %s) RETURNING 1",
        job_id,
        worker,
    )
    assert (await SelfCheck(db).look()).counts == NOTHING | {"abandoned": 1}
    await fetch(db, "UPDATE workers SET lease_until = now() + interval '10 s' RETURNING 1")
    assert (await SelfCheck(db).look()).counts == NOTHING


async def test_what_is_held_back_on_purpose_is_no_fault(db: Database, redis_url: str) -> None:
    job_id = await old_job(db, every_seconds=60)
    await fetch(db, "UPDATE jobs SET paused_at = now(), paused_by = 'ann' WHERE id = %s RETURNING 1", job_id)
    assert (await SelfCheck(db).look()).counts == NOTHING
    await fetch(db, "UPDATE jobs SET paused_at = NULL WHERE id = %s RETURNING 1", job_id)
    broker = Broker.open(redis_url)
    await Fence(db, broker).look()
    await broker.close()
    await fetch(db, "UPDATE service_identity SET database_oid = 1 RETURNING 1")
    report = await SelfCheck(db).look()
    assert (report.ok, report.fenced) == (True, True)


async def test_rounds_get_to_every_job(db: Database, scheduling: Scheduling, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [await old_job(db, every_seconds=60) for _ in range(3)]
    await scheduling.tick()
    await fetch(
        db,
        "DELETE FROM job_executions WHERE (job_id, scheduled_time) IN (SELECT job_id, max(scheduled_time)"
        " FROM job_executions WHERE job_id = %s GROUP BY 1) RETURNING 1",
        jobs[2],
    )
    monkeypatch.setattr("cronsvc.services.self_check.MOST_JOBS", 1)
    check = SelfCheck(db)
    found = [(await check.look()).jobs.get("missingRows", ()) for _ in range(4)]
    assert found == [(), (), (jobs[2],), (jobs[2],)]
    assert check.is_red


async def test_the_api_may_look_in_its_role(db: Database, database_url: str, scheduling: Scheduling) -> None:
    job_id = await old_job(db, every_seconds=60)
    with logins(database_url) as urls:
        walled = await Database.open(urls["cronsvc_api"], application_name="walled")
        try:
            assert (await SelfCheck(walled).look()).jobs["overdueCursors"] == (job_id,)
        finally:
            await walled.close()


async def test_rounds_survive_an_outage_and_end_when_told(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cronsvc.services.self_check.EVERY_SECONDS", 0.01)
    looked = asyncio.Event()
    asked = 0
    real = self_check.overdue_cursors

    async def flaky(conn: Any, **parameters: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 1:
            await conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        looked.set() if asked > 2 else None
        return await real(conn, **parameters)

    monkeypatch.setattr(self_check, "overdue_cursors", flaky)
    check, stop = SelfCheck(db), asyncio.Event()
    keeping = asyncio.create_task(check.keep(stop))
    await asyncio.wait_for(looked.wait(), 30)
    stop.set()
    await asyncio.wait_for(keeping, 30)
    assert check.report is not None and check.report.ok
