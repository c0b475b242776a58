"""The overview counts what there is, boundedly; readiness says what is wrong, in time, and never raises."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cronsvc.domain.execution import Status
from cronsvc.domain.schedule import Schedule, resolve_hash
from cronsvc.errors import InvalidInput, Unavailable
from cronsvc.services.preview import preview
from cronsvc.services.status import StatusReader
from cronsvc.store import status
from cronsvc.store.pool import Database
from tests.support.control import ALICE, RED, Desk, definition
from tests.support.rows import define, fetch


class Redis:
    """A Redis that answers as told."""

    def __init__(self, answer: Callable[[], Awaitable[float]]) -> None:
        self._answer = answer

    async def ping(self) -> float:
        return await self._answer()


async def fine() -> float:
    return 0.001


async def down() -> float:
    raise Unavailable("Redis: connection refused")


async def silent() -> float:
    await asyncio.Event().wait()
    return 0.0


async def add(db: Database, job_id: int, state: str, ago: timedelta) -> None:
    await fetch(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, status, created_at)"
        " SELECT %s, t.at, %s, t.at FROM (SELECT clock_timestamp() - %s AS at) AS t RETURNING 1",
        job_id,
        state,
        ago,
    )


async def test_the_overview_counts_jobs_once_each(db: Database) -> None:
    desk = Desk(db)
    rows: dict[str, dict[str, Any]] = {
        "a": {},
        "b": {},
        "paused": {"paused_at": datetime.now(UTC)},
        "off": {"is_active": False, "paused_at": datetime.now(UTC)},
        "bad": {"quarantine_reason": "x", "paused_at": datetime.now(UTC)},
    }
    for name, columns in rows.items():
        await define(db, name=name, namespace="red", cron_expression="0 4 1 3 *", **columns)
    gone = await desk.jobs.create(definition("gone"), ALICE)
    await desk.jobs.delete(gone.id, ALICE)
    await desk.jobs.create(definition("blue", namespace="blue"), ALICE)
    reader = StatusReader(db, Redis(fine))
    assert (await reader.overview(ALICE)).jobs == status.JobCounts(3, 1, 1, 1, True)
    assert (await reader.overview(RED)).jobs == status.JobCounts(2, 1, 1, 1, True)


async def test_the_overview_counts_a_day_of_executions_and_what_is_unfinished(db: Database) -> None:
    desk = Desk(db)
    blue = await desk.jobs.create(definition(namespace="blue"), ALICE)
    red = await desk.jobs.create(definition(namespace="red"), ALICE)
    for job, state, hours in [
        (blue, "SUCCESS", 1), (blue, "SUCCESS", 23), (blue, "SUCCESS", 25), (blue, "FAILED", 2), (red, "SUCCESS", 3),
        (red, "RUNNING", 1), (red, "QUEUED", 1), (blue, "QUEUED", 30), (blue, "RUNNING", 48),
    ]:  # fmt: skip
        await add(db, job.id, state, timedelta(hours=hours))
    reader = StatusReader(db, Redis(fine))
    seen = await reader.overview(ALICE)
    assert seen.executions == {"QUEUED": 1, "RUNNING": 1, "SUCCESS": 3, "FAILED": 1, "SKIPPED": 0, "CANCELLED": 0}
    assert set(seen.executions) == set(Status) and seen.executions_complete
    assert (seen.waiting, seen.running) == (2, 2)
    assert seen.oldest_waiting_seconds is not None and seen.oldest_waiting_seconds >= 0
    assert seen.next_due == blue.next_fire_time
    assert seen.database_ms > 0
    mine = await reader.overview(RED)
    assert (mine.waiting, mine.running, mine.executions["SUCCESS"], mine.executions["FAILED"]) == (1, 1, 1, 0)


async def test_counting_stops_and_says_so(db: Database) -> None:
    job = await Desk(db).jobs.create(definition(), ALICE)
    await define(db, name="second", cron_expression="0 4 1 3 *")
    for minutes in (70, 3, 2, 1):
        await add(db, job.id, "SUCCESS", timedelta(minutes=minutes))
    await add(db, job.id, "QUEUED", timedelta(minutes=10))
    await add(db, job.id, "QUEUED", timedelta(minutes=11))
    async with db.transaction() as conn:
        few = await status.recent_counts(conn, namespaces=None, most=3)
        assert (sum(few.by_status.values()), few.complete) == (4, False)
        # Five newest reach behind the day: older rows cannot belong to it.
        later = datetime.now(UTC) + timedelta(hours=24) - timedelta(minutes=10.5)
        reaching = await status.recent_counts(conn, namespaces=None, most=4, now=later)
        assert (reaching.by_status, reaching.complete) == ({"SUCCESS": 3, "QUEUED": 1}, True)
        assert (await status.recent_counts(conn, namespaces=None, most=6)).complete
        assert (await status.waiting(conn, namespaces=None, most=1)).waiting == 1
        assert not (await status.job_counts(conn, namespaces=None, most=1)).complete


async def test_an_empty_service_has_an_overview(db: Database) -> None:
    seen = await StatusReader(db, Redis(fine)).overview(ALICE)
    assert (seen.next_due, seen.waiting, seen.running, seen.oldest_waiting_seconds) == (None, 0, 0, None)
    assert seen.executions_complete and sum(seen.executions.values()) == 0


async def test_only_living_processes_are_shown(db: Database) -> None:
    await fetch(
        db,
        "INSERT INTO workers (id, name, version, queues, concurrency, state, lease_until)"
        " SELECT gen_random_uuid(), t.name, '1', '{q}', 5, t.state, clock_timestamp() + t.lease"
        " FROM (VALUES ('alive', 'draining', interval '1 minute'), ('lapsed', 'active', interval '0'),"
        " ('stopped', 'stopped', interval '1 minute')) AS t(name, state, lease) RETURNING 1",
    )
    await fetch(
        db,
        "INSERT INTO schedulers (id, name, version, heartbeat_at)"
        " SELECT gen_random_uuid(), t.name, '1', clock_timestamp() - t.ago"
        " FROM (VALUES ('ticking', interval '3 s'), ('gone', interval '1 minute')) AS t(name, ago) RETURNING 1",
    )
    seen = await StatusReader(db, Redis(fine)).overview(RED)
    assert [(worker.name, worker.queues, worker.state) for worker in seen.workers] == [("alive", ["q"], "draining")]
    assert [scheduler.name for scheduler in seen.schedulers] == ["ticking"]


async def test_ready_when_all_is_well(db: Database) -> None:
    ready = await StatusReader(db, Redis(fine)).ready()
    assert (ready.ok, ready.postgres.ok, ready.redis.ok, ready.schema_ok, ready.problems) == (
        True,
        True,
        True,
        True,
        (),
    )
    assert ready.redis.ms == 1.0 and ready.postgres.ms is not None


@pytest.mark.parametrize("answer", [down, silent], ids=["down", "silent"])
async def test_without_redis_requests_can_be_served_and_the_problem_is_named(
    db: Database, answer: Callable[[], Awaitable[float]]
) -> None:
    ready = await StatusReader(db, Redis(answer), ready_seconds=0.5).ready()
    assert (ready.ok, ready.redis.ok, ready.redis.ms) == (True, False, None)
    (problem,) = ready.problems
    assert problem.startswith("Redis: ")


async def test_without_postgres_it_is_not_ready() -> None:
    nowhere = await Database.open("postgresql://127.0.0.1:1/none", application_name="none", min_size=0)
    ready = await StatusReader(nowhere, Redis(fine), ready_seconds=0.5).ready()
    await nowhere.close()
    assert (ready.ok, ready.postgres.ok, ready.schema_ok, ready.redis.ok) == (False, False, False, True)
    assert ready.problems[0].startswith("Postgres: ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE alembic_version SET version_num = '0000'", "is at 0000"),
        ("DELETE FROM alembic_version", "no cronsvc schema"),
        ("DROP TABLE alembic_version", "no cronsvc schema"),
        ("UPDATE alembic_version SET version_num = '9999'", None),
    ],
    ids=["older", "empty", "none", "newer"],
)
async def test_the_schema_must_serve_this_release(db: Database, change: str, words: str | None) -> None:
    async with db.transaction() as conn:
        await conn.execute(change.encode())
    ready = await StatusReader(db, Redis(fine)).ready()
    assert ready.ok is ready.schema_ok is (words is None)
    assert not ready.problems if words is None else words in ready.problems[0]


def test_preview_agrees_with_firing_and_names_the_field() -> None:
    after = datetime(2026, 3, 28, 12, tzinfo=UTC)
    seen = preview(Schedule(cron_expression="30 2 * * *", timezone="Europe/Berlin"), after=after, count=3)
    assert [instant.isoformat() for instant in seen.fire_times] == [
        "2026-03-29T01:00:00+00:00",  # 02:30 does not exist that day: right after the gap
        "2026-03-30T00:30:00+00:00",
        "2026-03-31T00:30:00+00:00",
    ]
    assert seen.description
    once = datetime(2027, 1, 1, tzinfo=UTC)
    assert preview(Schedule(run_at=once), after=after, count=5).fire_times == (once,)
    assert preview(Schedule(every_seconds=60), after=after, count=1).fire_times == (after + timedelta(minutes=1),)
    spread = Schedule(cron_expression="H * * * *")
    plain = Schedule(cron_expression=resolve_hash("H * * * *", "default/a"))
    assert preview(spread, after=after, count=2, hash_key="default/a") == preview(plain, after=after, count=2)
    for schedule, field in [
        (Schedule(cron_expression="nope"), "cronExpression"),
        (Schedule(cron_expression="* * * * *", timezone="X"), "timezone"),
        (Schedule(every_seconds=60, start_at=datetime(2026, 1, 1)), "startAt"),
    ]:
        with pytest.raises(InvalidInput) as refused:
            preview(schedule, after=after, count=1)
        assert [error.field for error in refused.value.errors] == [field]
    for wrong, count, field in [(after, 0, "count"), (after, 1001, "count"), (datetime(2026, 1, 1), 1, "after")]:
        with pytest.raises(InvalidInput) as refused:
            preview(Schedule(every_seconds=60), after=wrong, count=count)
        assert [error.field for error in refused.value.errors] == [field]
