"""T1 and T2 against real servers: one row an instant, whoever ticks, however often."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from cronsvc.queue import Broker
from cronsvc.services.dispatch import Dispatcher
from cronsvc.services.scheduling import Scheduling, settle
from cronsvc.store.pool import Database
from tests.support.rows import define, fetch, one

NOW = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(hours=2)


@pytest.fixture
async def broker(redis_url: str) -> AsyncIterator[Broker]:
    broker = Broker.open(redis_url)
    yield broker
    await broker.close()


@pytest.fixture
def dispatcher(db: Database, broker: Broker) -> Dispatcher:
    return Dispatcher(db, broker)


async def armed(db: Database, *, at: datetime, **columns: Any) -> int:
    """A job whose cursor stands at `at`."""
    return await define(db, next_fire_time=at, armed_revision=1, **columns)


async def waiting(broker: Broker) -> int:
    return sum((await broker.depths(["default"])).values())


async def test_a_due_job_becomes_a_row_a_cursor_and_a_ticket(
    db: Database, dispatcher: Dispatcher, broker: Broker
) -> None:
    job_id = await armed(db, at=NOW, cron_expression="*/5 * * * * *", priority=5)
    tick = await Scheduling(db, dispatcher).tick(now=NOW)
    assert (tick.jobs, tick.fired, tick.more) == (1, 1, False)
    row = await one(db, "SELECT job_id, scheduled_time, status, trigger, priority, dispatches FROM job_executions")
    assert row == (job_id, NOW, "QUEUED", "schedule", 5, 1)
    cursor = await one(db, "SELECT next_fire_time > %s, last_fire_time, fire_count FROM jobs", NOW)
    assert cursor == (True, NOW, 1)
    assert await waiting(broker) == 1


async def test_nothing_fires_before_its_instant(db: Database, dispatcher: Dispatcher) -> None:
    await armed(db, at=NOW, cron_expression="* * * * * *")
    tick = await Scheduling(db, dispatcher).tick(now=NOW - timedelta(microseconds=1))
    assert tick.jobs == 0 and not await fetch(db, "SELECT 1 FROM job_executions")


@pytest.mark.parametrize("locks", [True, False], ids=["locks-on", "locks-off"])
async def test_many_schedulers_at_once_write_each_instant_once(
    db: Database, dispatcher: Dispatcher, locks: bool
) -> None:
    """The unique key is the truth: with the advisory locks off the ledger is the same."""
    jobs = [await armed(db, at=NOW, cron_expression="* * * * * *") for _ in range(40)]
    replicas = [Scheduling(db, dispatcher, batch=7, advisory_locks=locks) for _ in range(6)]
    for second in range(5):
        now = NOW + timedelta(seconds=second)

        async def until_done(scheduling: Scheduling, now: datetime = now) -> None:
            while (await scheduling.tick(now=now)).jobs:
                pass

        await asyncio.gather(*(until_done(replica) for replica in replicas))
        await until_done(replicas[0])
    counts = await fetch(db, "SELECT job_id, count(*), count(DISTINCT scheduled_time) FROM job_executions GROUP BY 1")
    assert sorted(counts) == [(job_id, 5, 5) for job_id in jobs]
    assert not await fetch(db, "SELECT * FROM cronsvc_v1.gaps")
    assert await fetch(db, "SELECT DISTINCT fire_count FROM jobs") == [(5,)]


async def test_a_row_that_exists_is_left_alone(db: Database, dispatcher: Dispatcher) -> None:
    """A cursor set back by a restore or a hand meets the unique key."""
    job_id = await armed(db, at=NOW, cron_expression="* * * * * *")
    scheduling = Scheduling(db, dispatcher)
    await scheduling.tick(now=NOW)
    async with db.transaction() as conn:
        await conn.execute("UPDATE job_executions SET status = 'SUCCESS'")
        await conn.execute("UPDATE jobs SET next_fire_time = %s, last_fire_time = NULL WHERE id = %s", (NOW, job_id))
    await scheduling.tick(now=NOW)
    assert await fetch(db, "SELECT status, count(*) FROM job_executions GROUP BY 1") == [("SUCCESS", 1)]


async def test_one_bad_job_is_quarantined_and_the_others_fire(db: Database, dispatcher: Dispatcher) -> None:
    good = [await armed(db, at=NOW, cron_expression="* * * * * *") for _ in range(3)]
    bad = await armed(db, at=NOW, cron_expression="61 * * * *")
    nowhere = await armed(db, at=NOW, cron_expression="* * * * *", timezone="Mars/Olympus")
    tick = await Scheduling(db, dispatcher).tick(now=NOW)
    assert tick.fired == len(good)
    reasons = dict(await fetch(db, "SELECT id, quarantine_reason FROM jobs WHERE quarantine_reason IS NOT NULL"))
    assert set(reasons) == {bad, nowhere}
    assert "minute" in reasons[bad] and "Mars/Olympus" in reasons[nowhere]
    async with db.transaction() as conn:  # mending the schedule brings it back
        await conn.execute("UPDATE jobs SET cron_expression = '* * * * * *' WHERE id = %s", (bad,))
    await Scheduling(db, dispatcher).tick(now=datetime.now(UTC) + timedelta(minutes=20))
    assert (await one(db, "SELECT quarantine_reason, fire_count > 0 FROM jobs WHERE id = %s", bad)) == (None, True)
    assert await fetch(
        db,
        "SELECT actor, action, entity_id, after ->> 'quarantine_reason' FROM audit_log"
        " WHERE action IN ('quarantine', 'release') ORDER BY id",
    ) == [
        ("cronsvc:scheduler", "quarantine", str(bad), reasons[bad]),
        ("cronsvc:scheduler", "quarantine", str(nowhere), reasons[nowhere]),
        ("sql:cronsvc", "release", str(bad), None),
    ]


async def test_a_job_written_by_sql_alone_is_armed_and_fires(db: Database, dispatcher: Dispatcher) -> None:
    """The shortest INSERT, with nothing of ours in it."""
    async with db.transaction() as conn:
        await conn.execute(
            "INSERT INTO jobs (name, cron_expression, task_payload) VALUES ('Daily Report', '* * * * * *', %s)",
            ('{"type": "API_CALL", "config": {"url": "https://api.example.com"}}',),
        )
    scheduling = Scheduling(db, dispatcher)
    (created,) = await one(db, "SELECT next_fire_time FROM jobs")
    first = await scheduling.tick(now=created)
    assert first.fired == 0
    assert (await one(db, "SELECT next_fire_time > %s, armed_revision = revision FROM jobs", created)) == (True, True)
    await scheduling.tick(now=created + timedelta(seconds=2))
    (rows,) = await one(db, "SELECT count(*) FROM job_executions")
    assert rows == 2
    assert await one(db, "SELECT actor LIKE 'sql:%%', action FROM audit_log WHERE actor LIKE %s", "%") == (
        True,
        "create",
    )


async def test_an_outage_leaves_a_ledger_without_holes(db: Database, dispatcher: Dispatcher) -> None:
    """Weeks that upkeep never made are made on the way."""
    start = NOW - timedelta(days=40)
    job_id = await armed(db, at=start, cron_expression="*/10 * * * *", last_fire_time=None)
    tick = await Scheduling(db, dispatcher).tick(now=NOW)
    assert tick.fired in (1, 2) and tick.skipped == 1
    until = await one(db, "SELECT skipped_until < %s, status_reason FROM job_executions WHERE status = 'SKIPPED'", NOW)
    assert until == (True, "misfire")
    assert not await fetch(db, "SELECT * FROM cronsvc_v1.gaps")
    async with db.transaction() as conn:
        await conn.execute("DELETE FROM job_executions WHERE job_id = %s AND status = 'SKIPPED'", (job_id,))
        await conn.execute(
            "INSERT INTO job_executions (job_id, scheduled_time, status) VALUES (%s, %s, 'SUCCESS')",
            (job_id, start),
        )
    assert len(await fetch(db, "SELECT * FROM cronsvc_v1.gaps")) == 1  # the view can see a hole


async def test_jitter_holds_the_ticket_back(db: Database, dispatcher: Dispatcher, broker: Broker) -> None:
    await armed(db, at=NOW, cron_expression="* * * * *", jitter_seconds=600)
    await Scheduling(db, dispatcher).tick(now=NOW)
    row = await one(
        db, "SELECT scheduled_time, dispatch_at > scheduled_time, ready_at = dispatch_at FROM job_executions"
    )
    assert row == (NOW, True, True)
    assert await waiting(broker) == 0


async def test_overlap_skip_leaves_a_row_with_the_reason(db: Database, dispatcher: Dispatcher) -> None:
    await armed(db, at=NOW, cron_expression="* * * * * *", overlap_policy="skip")
    scheduling = Scheduling(db, dispatcher)
    await scheduling.tick(now=NOW)
    await scheduling.tick(now=NOW + timedelta(seconds=1))
    rows = await fetch(db, "SELECT status, status_reason FROM job_executions ORDER BY scheduled_time")
    assert rows == [("QUEUED", None), ("SKIPPED", "overlap")]


async def test_waiting_rows_are_dispatched_again_with_growing_pauses(
    db: Database, dispatcher: Dispatcher, broker: Broker
) -> None:
    await armed(db, at=NOW, cron_expression="* * * * *")
    await Scheduling(db, dispatcher).tick(now=NOW)
    pauses = []
    for _ in range(6):
        async with db.transaction() as conn:
            await conn.execute("UPDATE job_executions SET dispatch_at = clock_timestamp()")
        assert await dispatcher.redispatch() == 1
        (pause,) = await one(
            db, "SELECT extract(epoch FROM dispatch_at - clock_timestamp())::float8 FROM job_executions"
        )
        pauses.append(round(pause))
    assert pauses == [10, 20, 40, 60, 60, 60]
    assert await waiting(broker) == 1  # the ticket that still waits is not doubled


async def test_a_wiped_redis_gets_everything_that_waits_again(
    db: Database, dispatcher: Dispatcher, broker: Broker, redis_url: str
) -> None:
    for _ in range(30):
        await armed(db, at=NOW, cron_expression="* * * * *")
    held = await armed(db, at=NOW, cron_expression="* * * * *", jitter_seconds=86_000)
    assert await dispatcher.watch_epoch() is False
    await Scheduling(db, dispatcher).tick(now=NOW)
    async with Redis.from_url(redis_url) as client:
        await client.flushall()
    assert await dispatcher.watch_epoch() is True
    assert await dispatcher.redispatch() == 30
    assert await waiting(broker) == 30
    assert await one(db, "SELECT dispatches FROM job_executions WHERE job_id = %s", held) == (0,)


async def test_redis_away_costs_delay_only(db: Database) -> None:
    away = Broker.open("redis://127.0.0.1:1/0")
    dispatcher = Dispatcher(db, away)
    await armed(db, at=NOW, cron_expression="* * * * *")
    tick = await Scheduling(db, dispatcher).tick(now=NOW)
    assert tick.fired == 1
    assert await one(db, "SELECT status FROM job_executions") == ("QUEUED",)
    assert await dispatcher.redispatch() == 0
    await away.close()


async def test_settle_records_what_is_due_before_an_edit(db: Database, dispatcher: Dispatcher) -> None:
    job_id = await armed(db, at=NOW - timedelta(seconds=3), cron_expression="* * * * * *")
    async with db.transaction() as conn:
        tickets = await settle(conn, job_id, dispatcher, now=NOW)
        await conn.execute("UPDATE jobs SET cron_expression = '0 0 1 1 *' WHERE id = %s", (job_id,))
    assert len(tickets) == 4
    assert await one(db, "SELECT count(*) FROM job_executions") == (4,)


async def test_other_zone_data_moves_cursors_from_now(db: Database, dispatcher: Dispatcher) -> None:
    far = datetime(2030, 1, 1, tzinfo=UTC)
    await armed(db, at=far, cron_expression="0 9 * * *", timezone="Africa/Casablanca", tzdata_version="1999a")
    assert await Scheduling(db, dispatcher).follow_zone_data() == 1
    assert await one(db, "SELECT next_fire_time < %s, tzdata_version <> '1999a' FROM jobs", far) == (True, True)
    assert await Scheduling(db, dispatcher).follow_zone_data() == 0


async def test_the_sleep_ends_at_the_next_thing_to_do(db: Database, dispatcher: Dispatcher) -> None:
    scheduling = Scheduling(db, dispatcher)
    empty = await scheduling.seconds_until_due()
    assert (empty.fire, empty.dispatch, empty.resume) == (None, None, None)
    await armed(db, at=NOW, cron_expression="* * * * *")
    due = await scheduling.seconds_until_due()
    assert due.fire is not None and 0 < due.fire <= 7200
