"""Hourly jobs with a past that has holes, and what schedulers and workers do to it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from cronsvc.domain.backfill import BackfillStatus
from cronsvc.executors.base import Executor
from cronsvc.services.backfilling import advance_backfills
from cronsvc.services.backfills import Wish
from cronsvc.services.running import Runner
from cronsvc.store import presence
from cronsvc.store.pool import Database
from tests.support.control import ALICE, Desk
from tests.support.rows import define, fetch, one

HOUR = timedelta(hours=1)
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=3)


async def hourly(db: Database, **columns: Any) -> int:
    """A job whose schedule has passed everything up to an hour ago, and has left no row of it."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    given = {
        "cron_expression": "0 * * * *",
        "next_fire_time": now + HOUR,
        "last_fire_time": now,
        "armed_revision": 1,
        "task_payload": '{"type": "CALL", "config": {"url": "https://example.com/"}}',
    }
    return await define(db, **(given | columns))


async def row(db: Database, job_id: int, at: datetime, status: str = "SUCCESS", **columns: Any) -> None:
    """A row that the schedule wrote."""
    given = {"job_id": job_id, "scheduled_time": at, "status": status, "dispatch_at": None} | columns
    names, places = ", ".join(given), ", ".join(["%s"] * len(given))
    async with db.transaction() as conn:
        await conn.execute(f"INSERT INTO job_executions ({names}) VALUES ({places})".encode(), list(given.values()))


async def end_all(db: Database, status: str = "SUCCESS") -> int:
    """What a worker does to everything that waits, in one statement."""
    async with db.transaction() as conn:
        return (
            await conn.execute(
                "UPDATE job_executions SET status = %s, attempt = attempt + 1, claim_no = claim_no + 1,"
                " end_time = clock_timestamp(), dispatch_at = NULL WHERE status = 'QUEUED'",
                (status,),
            )
        ).rowcount


async def unfinished(db: Database) -> int:
    (number,) = await one(db, "SELECT count(*) FROM job_executions WHERE status IN ('QUEUED', 'RUNNING')")
    return int(number)


async def to_the_end(db: Database, desk: Desk, backfill_id: int) -> list[int]:
    """Step and finish until the backfill has ended; returns how many executions were under way at each step."""
    steps: list[int] = []
    for _ in range(500):
        await advance_backfills(db, desk.dispatcher)
        if (await desk.backfills.get(backfill_id, ALICE)).backfill.status is BackfillStatus.FINISHED:
            return steps
        steps.append(await unfinished(db))
        await end_all(db)
    raise AssertionError("the backfill does not end")


def hours(*numbers: int) -> list[datetime]:
    return [NOON + number * HOUR for number in numbers]


async def worker(db: Database, executor: Executor) -> Runner:
    """A worker process that is alive."""
    worker_id = uuid4()
    async with db.statements() as conn:
        await presence.register_worker(
            conn,
            process_id=worker_id,
            name="test",
            version="0",
            queues=["default"],
            concurrency=5,
            lease=timedelta(minutes=5),
        )
    return Runner(db, {"CALL": executor}, worker_id=worker_id)


async def ran(db: Database, job_id: int) -> list[datetime]:
    """The instants that backfills of this job ran, in the order they were written."""
    rows = await fetch(
        db,
        "SELECT scheduled_time FROM job_executions WHERE job_id = %s AND backfill_id IS NOT NULL"
        " AND status = 'SUCCESS' ORDER BY ready_at, scheduled_time",
        job_id,
    )
    return [at for (at,) in rows]


async def no_gaps(db: Database) -> bool:
    return not await fetch(db, "SELECT * FROM cronsvc_v1.gaps")


async def patchwork(db: Database) -> int:
    """A day with everything in it: holes, a success, skips, a range over six hours, a failure; the chain unbroken."""
    job_id = await hourly(db)
    await row(db, job_id, NOON + 0 * HOUR, previous_time=None)
    await row(db, job_id, NOON + 1 * HOUR, "SKIPPED", status_reason="overlap", previous_time=NOON)
    await row(
        db,
        job_id,
        NOON + 2 * HOUR,
        "SKIPPED",
        status_reason="misfire",
        previous_time=NOON + 1 * HOUR,
        skipped_until=NOON + 7 * HOUR,
        skipped_count=6,
    )
    await row(db, job_id, NOON + 8 * HOUR, "FAILED", previous_time=NOON + 7 * HOUR, attempt=3, max_attempts=3)
    await row(db, job_id, NOON + 9 * HOUR, "SUCCESS", previous_time=NOON + 8 * HOUR, attempt=1)
    return job_id


WHOLE_DAY = Wish(NOON, NOON + 12 * HOUR)


async def ledger(db: Database, job_id: int) -> list[tuple[Any, ...]]:
    return await fetch(
        db,
        "SELECT scheduled_time, status, status_reason, trigger, attempt, skipped_until, skipped_count, previous_time"
        "  FROM job_executions WHERE job_id = %s ORDER BY scheduled_time",
        job_id,
    )
