"""The fence of a restored database: what it takes for one, what it does not, and what a confirmation does."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.json import Jsonb
from redis.asyncio import Redis

from cronsvc.domain.execution import Ticket
from cronsvc.domain.fence import TOLERATED_GENERATIONS, FenceReason
from cronsvc.errors import Conflict, Forbidden, Unavailable
from cronsvc.queue.broker import Broker
from cronsvc.services import fence as fence_module
from cronsvc.services.backfills import Backfills
from cronsvc.services.callers import Caller, Role
from cronsvc.services.dispatch import Dispatcher
from cronsvc.services.fence import Fence
from cronsvc.services.restore import ReleaseMode, Restore
from cronsvc.services.scheduling import Scheduling
from cronsvc.services.settling import settle_ends
from cronsvc.store import identity, presence, running
from cronsvc.store.pool import Database
from tests.support.rows import define, fetch, one
from tests.support.servers import Embedded

ADMIN = Caller(actor="ann", role=Role.ADMIN)
EXECUTIONS = "SELECT job_id, scheduled_time, status, status_reason, trigger FROM job_executions ORDER BY 1, 2"


class Memory:
    """Redis as far as the fence asks it, or away."""

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}
        self.away = False

    async def generations(self) -> dict[str, int]:
        if self.away:
            raise Unavailable("Redis: away")
        return dict(self.kept)

    async def remember_generation(self, lineage: str, generation: int) -> None:
        if self.away:
            raise Unavailable("Redis: away")
        self.kept[lineage] = max(generation, self.kept.get(lineage, -1))


@pytest.fixture
async def broker(redis_url: str) -> AsyncIterator[Broker]:
    broker = Broker.open(redis_url)
    yield broker
    await broker.close()


@pytest.fixture
async def copy_of(postgres_server: Embedded, db: Database) -> AsyncIterator[Callable[[str], Any]]:
    """Clone a database by TEMPLATE, as a restore of the same cluster would; dropped at the end."""
    made: list[str] = []
    async with AsyncExitStack() as stack:

        async def copy(url: str) -> Database:
            name = f"copy_{os.getpid()}_{uuid4().hex[:8]}"
            source = str(conninfo_to_dict(url)["dbname"])
            async with await psycopg.AsyncConnection.connect(postgres_server.url, autocommit=True) as conn:
                await conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (source,)
                )
                await conn.execute(
                    sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                        sql.Identifier(name), sql.Identifier(source)
                    )
                )
            made.append(name)
            opened = await Database.open(make_conninfo(postgres_server.url, dbname=name), application_name="copy")
            stack.push_async_callback(opened.close)
            return opened

        yield copy
    async with await psycopg.AsyncConnection.connect(postgres_server.url, autocommit=True) as conn:
        for name in made:
            await conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


async def due_job(db: Database, **columns: Any) -> int:
    """A job that fires every ten minutes and owes the last five; the next is minutes away."""
    first = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=45)
    columns = {"every_seconds": 600, "anchor": first, "misfire_grace_seconds": 0} | columns
    job_id = await define(db, **columns)
    await fetch(
        db,
        "UPDATE jobs SET next_fire_time = %s, armed_revision = revision, tzdata_version = 'x' WHERE id = %s"
        " RETURNING 1",
        first,
        job_id,
    )
    return job_id


async def waiting_and_running(db: Database, job_id: int) -> None:
    worker = uuid4()
    async with db.statements() as conn:
        await presence.register_worker(
            conn, process_id=worker, name="w", version="0", queues=("default",), concurrency=1, lease=timedelta(hours=1)
        )
    await fetch(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, status, attempt, worker_id, start_time, dispatch_at)"
        " VALUES"
        " (%s, now() - interval '90.5 s', 'QUEUED', 0, NULL, NULL, now()),"
        " (%s, now() - interval '91.5 s', 'RUNNING', 1, %s, now(), NULL) RETURNING 1",
        job_id,
        job_id,
        worker,
    )


async def claimed(db: Database) -> int:
    """How many of the waiting executions a new worker gets."""
    rows = await fetch(
        db, "SELECT id, job_id, scheduled_time, claim_no, queue, priority FROM job_executions WHERE status = 'QUEUED'"
    )
    worker = uuid4()
    async with db.statements() as conn:
        await presence.register_worker(
            conn, process_id=worker, name="w", version="0", queues=("default",), concurrency=1, lease=timedelta(hours=1)
        )
        return len(await running.claim(conn, [Ticket(*row) for row in rows], worker_id=worker)) if rows else 0


def restoring(db: Database) -> Restore:
    return Restore(db, Backfills(db, {}))


async def test_a_first_start_is_silent_and_counts(db: Database, broker: Broker) -> None:
    fence = Fence(db, broker)
    assert not await fence.holds()
    assert await fence.look()
    (lineage, first) = await one(db, "SELECT lineage::text, generation FROM service_identity")
    await fetch(db, "UPDATE service_identity SET noted_at = noted_at - interval '6 s' RETURNING 1")
    assert await fence.look()
    assert await one(db, "SELECT generation FROM service_identity") == (first + 1,)
    assert await broker.generations() == {lineage: first + 1}
    assert not await fence.holds()


async def test_two_processes_start_at_once(db: Database, broker: Broker) -> None:
    assert all(await asyncio.gather(*(Fence(db, broker).look() for _ in range(5))))
    assert await one(db, "SELECT count(*) FROM service_identity") == (1,)


async def test_a_copy_writes_nothing_until_somebody_confirms(
    db: Database, database_url: str, broker: Broker, copy_of: Any
) -> None:
    job_id = await due_job(db)
    await waiting_and_running(db, job_id)
    assert await Fence(db, broker).look()
    copy: Database = await copy_of(database_url)
    before = await fetch(copy, EXECUTIONS)
    dispatcher = Dispatcher(copy, broker)
    # From the very first statement on, before anybody has looked:
    tick = await Scheduling(copy, dispatcher).tick()
    assert (tick.jobs, tick.fired, await dispatcher.redispatch(), await claimed(copy)) == (0, 0, 0, 0)
    fence = Fence(copy, broker)
    assert not await fence.look()
    assert await fence.holds()
    assert await one(copy, "SELECT fence_reason FROM service_identity") == ("other_database",)
    assert (await Scheduling(copy, dispatcher).tick()).jobs == 0
    assert await fetch(copy, EXECUTIONS) == before

    restore = restoring(copy)
    state = await restore.state(ADMIN)
    assert (state.fenced, state.reason, state.waiting_for_look) == (True, FenceReason.OTHER_DATABASE, False)
    assert (state.overdue_jobs, state.queued, state.running) == (1, 1, 1)
    (owing,) = state.jobs
    assert (owing.id, owing.fires, owing.skipped_rows) == (job_id, 1, 4)  # fire_once: the latest runs
    assert await fetch(copy, EXECUTIONS) == before  # looking changed nothing

    await restore.confirm(ReleaseMode.RESUME, ADMIN)
    assert await fence.look()
    tick = await Scheduling(copy, dispatcher).tick()
    assert (tick.jobs, tick.fired) == (1, 1)
    assert await claimed(copy) == 2
    (actions,) = await one(
        copy, "SELECT array_agg(action || ' ' || actor ORDER BY id) FROM audit_log WHERE entity = 'service'"
    )
    assert actions == ["fence cronsvc:restore", "confirm ann"]
    # The one it was copied from never noticed; its old connections ended with the copying.
    original = await Database.open(database_url, application_name="original")
    try:
        assert await Fence(original, broker).look()
        assert (await Scheduling(original, Dispatcher(original, broker)).tick()).fired == 1
    finally:
        await original.close()


async def test_skip_runs_nothing_that_was_owed(db: Database, database_url: str, broker: Broker, copy_of: Any) -> None:
    job_id = await due_job(db)
    await waiting_and_running(db, job_id)
    assert await Fence(db, broker).look()
    copy: Database = await copy_of(database_url)
    done = await restoring(copy).confirm(ReleaseMode.SKIP, ADMIN)
    assert (done.jobs_passed, done.cancelled, done.given_up, done.backfills_paused) == (1, 1, 1, 0)
    assert await Fence(copy, broker).look()
    assert (await Scheduling(copy, Dispatcher(copy, broker)).tick()).fired == 0
    rows = await fetch(
        copy, "SELECT status, status_reason, skipped_count, max_attempts - attempt FROM job_executions ORDER BY 1"
    )
    assert rows == [("CANCELLED", "restore", None, 3), ("RUNNING", None, None, 0), ("SKIPPED", "restore", 5, 3)]
    assert await claimed(copy) == 0


@pytest.mark.parametrize(("mode", "runs"), [(ReleaseMode.SKIP, 0), (ReleaseMode.RESUME, 1)])
async def test_what_a_restore_cancels_starts_no_dependents(
    db: Database, broker: Broker, mode: ReleaseMode, runs: int
) -> None:
    assert await Fence(db, broker).look()
    first = await define(db)
    wanted = Jsonb({"mode": "all", "on": [{"jobId": first, "when": "always"}]})
    after = await define(db, depends_on=wanted, cron_expression=None)
    await fetch(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, dispatch_at)"
        " VALUES (%s, now() - interval '90.5 s', now()) RETURNING 1",
        first,
    )
    await fetch(db, "UPDATE service_identity SET database_oid = 1 RETURNING 1")
    await restoring(db).confirm(mode, ADMIN)
    if mode is ReleaseMode.RESUME:  # the same end by somebody's hand does start them
        await fetch(
            db, "UPDATE job_executions SET status = 'CANCELLED', dispatch_at = NULL, end_time = now() RETURNING 1"
        )
    assert await settle_ends(db, Dispatcher(db, broker)) == 1
    assert await one(db, "SELECT count(*) FROM job_executions WHERE job_id = %s", after) == (runs,)
    assert await one(db, "SELECT count(*) FROM execution_ends") == (0,)


async def test_an_older_state_is_told_by_what_redis_remembers(db: Database, broker: Broker) -> None:
    assert await Fence(db, broker).look()
    (lineage,) = await one(db, "SELECT lineage::text FROM service_identity")
    await broker.remember_generation(lineage, TOLERATED_GENERATIONS)
    assert await Fence(db, broker).look()  # an asynchronous failover may forget as much
    await broker.remember_generation(lineage, TOLERATED_GENERATIONS + 5)
    assert not await Fence(db, broker).look()
    assert await one(db, "SELECT fence_reason FROM service_identity") == ("went_back",)
    await restoring(db).confirm(ReleaseMode.RESUME, ADMIN)
    assert await Fence(db, broker).look()  # under a new name: the old memory says nothing of it


async def test_an_older_state_is_told_by_a_process_that_saw_the_later_one(db: Database) -> None:
    memory = Memory()
    fence = Fence(db, memory)
    assert await fence.look()
    await fetch(db, "UPDATE service_identity SET generation = 100 RETURNING 1")
    assert await fence.look()
    memory.away = True
    await fetch(db, "UPDATE service_identity SET generation = 50 RETURNING 1")
    assert not await fence.look()


async def test_a_worker_vouches_for_what_it_has_seen_lately(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has lived since the first generation; the state of yesterday is later than that, and yet an older one."""
    memory = Memory()
    worker = Fence(db, memory, notes=False)
    assert await worker.look()
    await fetch(db, "UPDATE service_identity SET generation = 100000 RETURNING 1")
    monkeypatch.setattr(fence_module, "FOLLOW_SECONDS", 0.0)
    await worker.follow()
    memory.away = True
    await fetch(
        db,
        "UPDATE service_identity SET generation = 80000, server_start = server_start - interval '1 hour' RETURNING 1",
    )
    await worker.follow()
    assert await worker.holds()
    assert await one(db, "SELECT fence_reason FROM service_identity") == ("went_back",)


async def test_following_asks_little_while_nothing_changes(db: Database) -> None:
    memory = Memory()
    worker = Fence(db, memory, notes=False)
    await worker.follow()  # the first time it looks
    assert len(memory.kept) == 1
    memory.kept.clear()
    await worker.follow()
    assert memory.kept == {}
    await fetch(db, "UPDATE service_identity SET server_start = server_start - interval '1 hour' RETURNING 1")
    await worker.follow()
    assert not await worker.holds()


async def test_after_a_start_of_the_server_nothing_moves_until_it_was_compared(db: Database) -> None:
    job_id = await due_job(db)
    memory = Memory()
    survivor = Fence(db, memory)
    assert await survivor.look()
    restarted = "UPDATE service_identity SET server_start = server_start - interval '1 hour' RETURNING 1"
    await fetch(db, restarted)
    broker_away = Memory()
    broker_away.away = True
    assert await survivor.holds()
    assert not await Fence(db, broker_away).look()  # a new process without Redis cannot know
    state = await restoring(db).state(ADMIN)
    assert (state.fenced, state.waiting_for_look, state.reason) == (True, True, None)
    memory.away = True
    assert await survivor.look()  # one that has seen it before can
    assert not await survivor.holds()
    await fetch(db, restarted)
    assert await Fence(db, Memory()).look()  # Redis was wiped meanwhile: that is no restore
    assert not await survivor.holds()
    assert await one(db, "SELECT count(*) FROM audit_log WHERE entity = 'service'") == (0,)
    assert await one(db, "SELECT count(*) FROM job_executions WHERE job_id = %s", job_id) == (0,)


async def test_ordinary_life_is_no_restore(db: Database, database_url: str, broker: Broker, redis_url: str) -> None:
    """A wiped Redis, another way to the same server, a promoted standby that lost nothing, a clock that went back."""
    fence = Fence(db, broker)
    assert await fence.look()
    async with Redis.from_url(redis_url) as client:
        await client.flushall()
    assert await fence.look()
    assert await Fence(db, broker).look()
    assert len(await broker.generations()) == 1
    async with db.statements() as conn:
        port = (await (await conn.execute("SELECT current_setting('port')")).fetchone() or [""])[0]
    elsewhere = make_conninfo(database_url, port=str(port), application_name="another name")
    other = await Database.open(elsewhere, application_name="elsewhere", pooler=True)
    try:
        assert await Fence(other, broker).look()
    finally:
        await other.close()
    await fetch(
        db,
        "UPDATE service_identity SET timeline = timeline + 1, server_start = server_start - interval '1 day',"
        " noted_at = noted_at + interval '1 hour' RETURNING 1",
    )
    assert await Fence(db, broker).look()
    assert not await fence.holds()
    assert await one(db, "SELECT timeline = (SELECT timeline FROM cronsvc_server()) FROM service_identity") == (True,)


FORGOTTEN = {
    "point-in-time recovery": "timeline = timeline - 1",
    "yesterday's snapshot": "noted_at = noted_at - interval '1 day'",
}


@pytest.mark.parametrize("what", FORGOTTEN)
async def test_a_state_that_nobody_remembers_is_not_believed(db: Database, what: str) -> None:
    """A backup beside a Redis of its own, and no process that lived through it."""
    survivor = Fence(db, Memory())
    assert await survivor.look()
    await fetch(
        db,
        f"UPDATE service_identity SET server_start = server_start - interval '1 hour', {FORGOTTEN[what]} RETURNING 1",
    )
    state = await restoring(db).state(ADMIN)
    assert (state.fenced, state.waiting_for_look) == (True, True)  # people cannot ask Redis: a process looks
    assert not await Fence(db, Memory()).look()
    reason, detail = await one(db, "SELECT fence_reason, fence_detail FROM service_identity")
    assert (reason, "Redis does not know" in detail) == ("went_back", True)
    await restoring(db).confirm(ReleaseMode.RESUME, ADMIN)
    assert await Fence(db, Memory()).look()


@pytest.mark.parametrize("what", FORGOTTEN)
async def test_who_remembers_it_speaks_for_it(db: Database, what: str) -> None:
    """A process that saw it, or Redis: a failover that lost nothing, or a long night, is no restore."""
    memory = Memory()
    survivor = Fence(db, memory)
    assert await survivor.look()
    older = (
        f"UPDATE service_identity SET server_start = server_start - interval '1 hour', {FORGOTTEN[what]} RETURNING 1"
    )
    await fetch(db, older)
    kept, memory.kept = memory.kept, {}
    assert await survivor.look()
    await fetch(db, older)
    memory.kept = kept
    assert await Fence(db, memory).look()


async def test_a_young_state_is_believed_by_its_database_alone(db: Database) -> None:
    """A reboot of the whole machine, Redis without a disk: nothing is to be confirmed."""
    assert await Fence(db, Memory()).look()
    await fetch(
        db,
        "UPDATE service_identity SET server_start = server_start - interval '1 hour',"
        " noted_at = noted_at - interval '50 minutes' RETURNING 1",
    )
    assert await Fence(db, Memory()).look()


async def test_the_timeline_is_followed_while_the_service_runs(db: Database) -> None:
    """A promoted standby shows its new timeline only after a checkpoint, when it was cleared long ago."""
    fence = Fence(db, Memory())
    assert await fence.look()
    await fetch(
        db, "UPDATE service_identity SET timeline = timeline - 1, noted_at = noted_at - interval '6 s' RETURNING 1"
    )
    assert await fence.look()
    assert await one(db, "SELECT timeline = (SELECT timeline FROM cronsvc_server()) FROM service_identity") == (True,)


async def test_another_cluster_is_told(db: Database, broker: Broker) -> None:
    assert await Fence(db, broker).look()
    await fetch(
        db,
        "UPDATE service_identity SET system_identifier = '1', server_start = server_start - interval '1 s' RETURNING 1",
    )
    assert not await Fence(db, broker).look()
    assert await one(db, "SELECT fence_reason FROM service_identity") == ("other_server",)


async def test_a_clear_that_comes_late_changes_nothing(db: Database, broker: Broker) -> None:
    """Between the look and the clearing the server was started once more."""
    assert await Fence(db, broker).look()
    await fetch(db, "UPDATE service_identity SET server_start = server_start - interval '1 hour' RETURNING 1")
    async with db.statements() as conn:
        found = await identity.read(conn)
    assert found is not None
    object.__setattr__(found, "present_start", found.present_start - timedelta(minutes=1))
    async with db.statements() as conn:
        assert not await identity.clear(conn, found)
        assert await identity.fenced(conn)


async def test_who_may_confirm_and_when(db: Database, broker: Broker) -> None:
    restore = restoring(db)
    assert await Fence(db, broker).look()
    with pytest.raises(Conflict):
        await restore.confirm(ReleaseMode.RESUME, ADMIN)
    await fetch(db, "UPDATE service_identity SET database_oid = 1 RETURNING 1")
    with pytest.raises(Forbidden):
        await restore.confirm(ReleaseMode.RESUME, Caller(actor="bob", role=Role.ADMIN, namespaces=("red",)))
    await due_job(db, namespace="blue")
    state = await restore.state(Caller(actor="bob", role=Role.VIEWER, namespaces=("red",)))
    assert (state.fenced, state.overdue_jobs, state.jobs) == (True, 0, ())


async def test_two_confirmations_open_it_once(db: Database, broker: Broker) -> None:
    assert await Fence(db, broker).look()
    await fetch(db, "UPDATE service_identity SET database_oid = 1 RETURNING 1")
    restore = restoring(db)
    done = await asyncio.gather(*(restore.confirm(ReleaseMode.RESUME, ADMIN) for _ in range(3)), return_exceptions=True)
    assert sum(isinstance(each, Conflict) for each in done) == 2
    assert await one(db, "SELECT count(*) FROM audit_log WHERE action = 'confirm'") == (1,)
