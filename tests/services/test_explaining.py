"""Explanations from real rows, written by the services themselves: the ledger is read as it is kept."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from cronsvc.domain.evidence import Explanation, Verdict
from cronsvc.domain.execution import ErrorDetail, Outcome, Ticket
from cronsvc.domain.job import MisfirePolicy, OverlapPolicy
from cronsvc.domain.schedule import Schedule
from cronsvc.errors import InvalidInput, NotFound
from cronsvc.services.explaining import Explaining
from cronsvc.services.running import Runner
from cronsvc.services.scheduling import Scheduling
from cronsvc.services.upkeep import drop_partitions, prune
from cronsvc.store import partitions, presence
from cronsvc.store.advisory import LOCK_CLASS
from cronsvc.store.pool import Database
from tests.support.control import ALICE, BOB, RED, Desk, definition
from tests.support.job_types import Scripted
from tests.support.rows import define, fetch, one

MINUTELY = Schedule(cron_expression="* * * * *")
# Before anything happens here, and after it: no clock turns over between two steps.
HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=5)


async def why(db: Database, job_id: int, at: datetime | None = None) -> Explanation:
    return await Explaining(db).explain(job_id, ALICE, at=at)


def says(explanation: Explanation, what: str) -> str:
    return " ".join(each.says for each in explanation.steps if each.what == what)


async def aged(db: Database, job_id: int, created: datetime, *, cursor: datetime | None = None) -> None:
    """Make a job and all its revisions as old as `created`, its cursor standing at `cursor`."""
    async with db.transaction() as conn:
        await conn.execute("ALTER TABLE job_revisions DISABLE TRIGGER ALL")
        await conn.execute("UPDATE job_revisions SET created_at = %s WHERE job_id = %s", (created, job_id))
        await conn.execute("ALTER TABLE job_revisions ENABLE TRIGGER ALL")
        await conn.execute("UPDATE jobs SET created_at = %s WHERE id = %s", (created, job_id))
        if cursor is not None:
            await conn.execute(
                "UPDATE jobs SET next_fire_time = %s, armed_revision = revision WHERE id = %s", (cursor, job_id)
            )


async def hourly(db: Database, **columns: object) -> int:
    """A job of ten hours whose cursor stands at HOUR."""
    job_id = await define(db, **{"cron_expression": "0 * * * *", "misfire_grace_seconds": 86_400} | columns)
    await aged(db, job_id, HOUR - timedelta(hours=5), cursor=HOUR)
    return job_id


async def runner(db: Database, executor: Scripted) -> Runner:
    worker_id = uuid4()
    async with db.statements() as conn:
        await presence.register_worker(
            conn,
            process_id=worker_id,
            name="host-a",
            version="0",
            queues=["default"],
            concurrency=5,
            lease=timedelta(minutes=5),
        )
    return Runner(db, {"API_CALL": executor, "CALL": executor}, worker_id=worker_id)


async def test_the_life_of_one_instant(db: Database) -> None:
    """Due, recorded, tried, failed, to be tried again: each time the rows of that moment."""
    desk = Desk(db)
    job_id = await hourly(db, max_attempts=2)
    due = await why(db, job_id, HOUR)
    assert (due.verdict, due.execution) == (Verdict.DUE, None)
    assert "0 schedulers are alive" in says(due, "scheduler") and "no scheduler is alive" in due.summary

    async with db.statements() as conn:
        await presence.beat_scheduler(conn, process_id=uuid4(), name="s", version="0")
    assert "1 scheduler is alive" in says(await why(db, job_id, HOUR), "scheduler")

    await Scheduling(db, desk.dispatcher).tick(now=HOUR)
    waiting = await why(db, job_id, HOUR)
    assert waiting.verdict is Verdict.WAITING and "no worker alive serves its queue" in waiting.summary
    assert "handed to Redis once" in says(waiting, "dispatch")

    refusal = Outcome(error=ErrorDetail("http_status", "it said 503"), http_status=503)
    worker = await runner(db, Scripted(lambda context: refusal if context.attempt == 1 else Outcome(result=1)))
    await worker.handle(desk.tickets[-1])
    assert await worker.flush(5)
    again = await why(db, job_id, HOUR)
    assert again.verdict is Verdict.WAITING and "next attempt can begin" in again.summary
    assert "error after" in says(again, "attempt") and "answered 503" in says(again, "attempt")
    assert "Attempt 2 can begin" in says(again, "retry")

    (id_, claim_no) = await one(
        db, "UPDATE job_executions SET ready_at = clock_timestamp() - interval '1 s' RETURNING id, claim_no"
    )
    await worker.handle(Ticket(id_, job_id, HOUR, claim_no, "default", 10))
    assert await worker.flush(5)
    ran = await why(db, job_id, HOUR)
    assert ran.verdict is Verdict.RAN and "attempt 2 of 2" in ran.summary
    assert [each.outcome for each in ran.attempts] == ["error", "success"]
    facts = next(each.facts for each in ran.steps if each.what == "attempt")
    assert facts["worker_name"] == "host-a" and UUID(facts["worker"]) == worker.worker_id
    assert "recorded" in says(ran, "lateness")


async def test_who_holds_the_shard_is_told(db: Database) -> None:
    job_id = await hourly(db)
    async with db.transaction() as conn:
        await conn.execute("SELECT pg_advisory_xact_lock(%s::int, (%s %% 64)::int)", (LOCK_CLASS, job_id))
        found = await why(db, job_id, HOUR)
    assert f"cronsvc-test holds its shard {job_id % 64}" in says(found, "scheduler")
    assert "holds its shard" not in says(await why(db, job_id, HOUR), "scheduler")


async def test_a_misfire_range_covers_its_instants(db: Database) -> None:
    job_id = await define(db, cron_expression="* * * * *", misfire_policy="skip", misfire_grace_seconds=0)
    await aged(db, job_id, HOUR - timedelta(hours=5), cursor=HOUR)
    await Scheduling(db, Desk(db).dispatcher).tick(now=HOUR + timedelta(hours=2, seconds=30))
    (row_id,) = await one(db, "SELECT id FROM job_executions WHERE skipped_until IS NOT NULL")
    inside = await why(db, job_id, HOUR + timedelta(minutes=30))
    assert inside.verdict is Verdict.SKIPPED
    assert f"execution {row_id} is SKIPPED (misfire)" in inside.summary
    assert (await why(db, job_id, HOUR + timedelta(hours=2, minutes=1))).verdict is Verdict.DUE
    assert (await why(db, job_id, HOUR + timedelta(minutes=30, seconds=1))).verdict is Verdict.NOT_SCHEDULED


async def test_a_pause_is_told_while_it_lasts_and_when_it_is_over(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(schedule=MINUTELY), ALICE)
    await desk.jobs.pause(job.id, ALICE, note="moving house")
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    first = minute - timedelta(minutes=10)
    await aged(db, job.id, HOUR, cursor=first)
    async with db.transaction() as conn:  # the pause began before those minutes
        await conn.execute("ALTER TABLE audit_log DISABLE TRIGGER ALL")
        await conn.execute("UPDATE audit_log SET at = %s", (HOUR,))
        await conn.execute("ALTER TABLE audit_log ENABLE TRIGGER ALL")
    held = await why(db, job.id, minute - timedelta(minutes=5))
    assert held.verdict is Verdict.PAUSED and "paused by key:alice" in held.summary
    assert "moving house. It lasts until somebody resumes" in says(held, "pause")

    await desk.jobs.resume(job.id, BOB)
    over = await why(db, job.id, minute - timedelta(minutes=5))
    assert over.verdict is Verdict.SKIPPED and "(paused)" in over.summary
    assert "key:bob resumed it" in says(over, "pause")
    after = await why(db, job.id, datetime.now(UTC) + timedelta(seconds=1))
    assert says(after, "pause") == ""


async def test_overlap_names_who_was_unfinished(db: Database) -> None:
    desk = Desk(db)
    job_id = await hourly(db, overlap_policy=OverlapPolicy.SKIP.value)
    for hours in (0, 1):
        await Scheduling(db, desk.dispatcher).tick(now=HOUR + timedelta(hours=hours))
    (first,) = await one(db, "SELECT id FROM job_executions WHERE scheduled_time = %s", HOUR)
    skipped = await why(db, job_id, HOUR + timedelta(hours=1))
    assert skipped.verdict is Verdict.SKIPPED and f"Unfinished then: execution {first} " in says(skipped, "overlap")
    await fetch(db, "UPDATE jobs SET overlap_policy = 'buffer_one' RETURNING 1")
    await Scheduling(db, desk.dispatcher).tick(now=HOUR + timedelta(hours=2))
    held = await why(db, job_id, HOUR + timedelta(hours=2))
    assert held.verdict is Verdict.HELD and f"Unfinished: execution {first} " in says(held, "overlap")


async def test_a_paused_queue_is_told(db: Database) -> None:
    job_id = await hourly(db)
    await Scheduling(db, Desk(db).dispatcher).tick(now=HOUR)
    await fetch(db, "UPDATE queues SET paused_at = now(), paused_by = 'key:bob', pause_note = 'db' RETURNING 1")
    found = await why(db, job_id, HOUR)
    assert found.verdict is Verdict.HELD and "paused by key:bob: db" in says(found, "queue")


async def test_the_definition_in_force_then_decides(db: Database) -> None:
    """Revisions, deletion and what SQL changed before it was recorded."""
    desk = Desk(db)
    job = await desk.jobs.create(definition(schedule=MINUTELY), ALICE)
    await aged(db, job.id, HOUR, cursor=datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(hours=1))
    hourly_now = replace(job.definition, schedule=Schedule(cron_expression="0 * * * *"))
    await desk.jobs.replace(job.id, hourly_now, BOB)
    half_past = HOUR + timedelta(minutes=30)
    then = await why(db, job.id, half_past)
    assert then.verdict is Verdict.MISSING  # an edit by the API records what is due, so nothing excuses the hole
    assert "Revision 1" in says(then, "revision")
    later = (datetime.now(UTC) + timedelta(hours=2)).replace(minute=30, second=0, microsecond=0)
    ahead = await why(db, job.id, later)
    assert ahead.verdict is Verdict.NOT_SCHEDULED and "Revision 2" in says(ahead, "revision")
    assert (await why(db, job.id, later + timedelta(minutes=30))).verdict is Verdict.NOT_YET
    assert (await why(db, job.id, HOUR - timedelta(minutes=1))).verdict is Verdict.BEFORE_JOB

    by_sql = await hourly(db)
    await fetch(db, "UPDATE jobs SET cron_expression = '7 7 7 7 *' WHERE id = %s RETURNING 1", by_sql)
    edited = await why(db, by_sql, HOUR)
    assert edited.verdict is Verdict.EDITED and "sql:" in edited.summary
    await fetch(db, "UPDATE jobs SET is_active = false WHERE id = %s RETURNING 1", by_sql)
    assert (await why(db, by_sql)).verdict is Verdict.INACTIVE

    await desk.jobs.delete(job.id, BOB)
    assert (await why(db, job.id)).verdict is Verdict.DELETED
    assert (await why(db, job.id, half_past)).verdict is Verdict.MISSING


async def test_a_job_that_nobody_can_plan(db: Database) -> None:
    job_id = await hourly(db, timezone="Mars/Olympus")
    found = await why(db, job_id, HOUR)
    assert found.verdict is Verdict.QUARANTINED and "Mars/Olympus" in found.summary
    await Scheduling(db, Desk(db).dispatcher).tick(now=HOUR)
    assert (await why(db, job_id, HOUR)).verdict is Verdict.QUARANTINED
    with pytest.raises(InvalidInput, match="time zone"):
        await why(db, job_id, HOUR.replace(tzinfo=None))


async def test_the_last_run_that_max_runs_allows(db: Database) -> None:
    job_id = await hourly(db, max_runs=2)
    await Scheduling(db, Desk(db).dispatcher).tick(now=HOUR + timedelta(hours=3))
    assert await fetch(db, "SELECT count(*) FROM job_executions") == [(2,)]
    assert (await why(db, job_id, HOUR + timedelta(hours=1))).verdict is Verdict.WAITING
    assert (await why(db, job_id, HOUR + timedelta(hours=2))).verdict is Verdict.ENDED
    await fetch(db, "UPDATE jobs SET max_runs = 9 WHERE id = %s RETURNING 1", job_id)
    spent = await why(db, job_id, HOUR + timedelta(hours=2))
    assert (spent.verdict, "2 times" in spent.summary) == (Verdict.ENDED, True)


async def test_rows_that_are_gone(db: Database) -> None:
    """Pruned by number, dropped by age, and lost: three different answers."""
    job_id = await hourly(db, retention=json.dumps({"keepCompleted": 1, "keepFailed": None, "days": 90}))
    await Scheduling(db, Desk(db).dispatcher).tick(now=HOUR + timedelta(hours=3))
    await fetch(db, "UPDATE job_executions SET status = 'SUCCESS', end_time = now() RETURNING 1")
    assert await prune(db) == 3
    pruned = await why(db, job_id, HOUR + timedelta(hours=1))
    assert pruned.verdict is Verdict.PRUNED and "3 succeeded" in pruned.summary

    other = await hourly(db)
    await Scheduling(db, Desk(db).dispatcher).tick(now=HOUR + timedelta(hours=3))
    second = HOUR + timedelta(hours=1)
    await fetch(db, "DELETE FROM job_executions WHERE job_id = %s AND scheduled_time = %s RETURNING 1", other, second)
    lost = await why(db, other, second)
    assert lost.verdict is Verdict.MISSING and "it was recorded, and its row is gone" in lost.summary
    assert await fetch(db, "SELECT job_id FROM cronsvc_v1.gaps") == [(other,)]

    await aged(db, other, HOUR - timedelta(days=100))
    old = HOUR - timedelta(days=60)
    async with db.transaction() as conn:
        await partitions.ensure(conn, {partitions.week_of(old)})
        await conn.execute(
            "INSERT INTO job_executions (job_id, scheduled_time, status) VALUES (%s, %s, 'SUCCESS')", (other, old)
        )
    assert (await why(db, other, old)).verdict is Verdict.RAN
    assert (await why(db, other, old + timedelta(hours=1))).verdict is Verdict.MISSING
    await drop_partitions(db, retention_days=30)
    assert (await why(db, other, old)).verdict is Verdict.PRUNED


async def test_manual_runs_and_backfills_are_told_by_their_rows(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(misfire_policy=MisfirePolicy.SKIP), ALICE)
    execution = await desk.jobs.trigger(job.id, BOB)
    found = await why(db, job.id, execution.scheduled_time)
    assert found.verdict is Verdict.WAITING and "key:bob asked for this run" in says(found, "record")
    assert "does not name" in says(found, "schedule")


async def test_wall_times_are_the_jobs_own(db: Database) -> None:
    job_id = await define(db, cron_expression="30 2 * * *", timezone="America/New_York")
    gap = await why(db, job_id, datetime(2026, 3, 8, 2, 30))
    assert gap.at == datetime(2026, 3, 8, 7, tzinfo=UTC)
    assert "right after the gap, at 03:00" in gap.summary
    assert (await why(db, job_id, datetime(2026, 11, 1, 1, 30))).at == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)


async def test_now_is_the_databases(db: Database) -> None:
    job_id = await define(db, cron_expression="0 4 1 3 *")
    (before,) = await one(db, "SELECT clock_timestamp()")
    found = await why(db, job_id)
    (after,) = await one(db, "SELECT clock_timestamp()")
    assert before <= found.at <= after and found.verdict is Verdict.NOT_SCHEDULED


async def test_who_may_ask_and_for_which_years(db: Database) -> None:
    job_id = await define(db, cron_expression="0 4 1 3 *")
    for id_, caller in ((job_id, RED), (job_id + 1, ALICE), (2**70, ALICE), (0, ALICE)):
        with pytest.raises(NotFound):
            await Explaining(db).explain(id_, caller)
    for year in (1, 1899, 9999):
        with pytest.raises(InvalidInput, match="years"):
            await why(db, job_id, datetime(year, 1, 1, tzinfo=UTC))
    for year in (1900, 9899):
        await why(db, job_id, datetime(year, 1, 1, tzinfo=UTC))


async def test_a_calendar_is_asked_for_days_ahead_and_its_rows_are_told(db: Database) -> None:
    ahead = (HOUR + timedelta(days=3)).replace(hour=9)
    async with db.transaction() as conn:
        await conn.execute("INSERT INTO calendars (name, created_by) VALUES ('holidays', 'test')")
        await conn.execute(
            "INSERT INTO calendar_dates (calendar_id, date) SELECT id, %s FROM calendars", (ahead.date(),)
        )
    job_id = await hourly(db, calendar="holidays")
    closed = await why(db, job_id, ahead)
    assert (
        closed.verdict is Verdict.NOT_YET and "The calendar holidays closes that day: it is skipped" in closed.summary
    )
    assert closed.before is not None and closed.before < ahead.replace(hour=0)
    unknown = await hourly(db, calendar="nobodys")
    assert (await why(db, unknown, ahead)).verdict is Verdict.QUARANTINED
    async with db.transaction() as conn:
        await conn.execute(
            "INSERT INTO job_executions (job_id, scheduled_time, status, status_reason, end_time)"
            " VALUES (%s, %s, 'SKIPPED', 'calendar', now())",
            (job_id, HOUR),
        )
    skipped = await why(db, job_id, HOUR)
    assert skipped.verdict is Verdict.SKIPPED and "SKIPPED (calendar)" in says(skipped, "calendar")


async def test_a_window_is_named(db: Database) -> None:
    job_id = await hourly(db)
    async with db.transaction() as conn:
        await conn.execute(
            "WITH w AS (INSERT INTO maintenance_windows (name, reason, during, starts_at, ends_at, created_by)"
            " VALUES ('db', 'upgrade', 'hold', now(), now() + interval '1 hour', 'test') RETURNING id)"
            " INSERT INTO job_executions (job_id, scheduled_time, held, dispatch_at, ready_at, window_id)"
            " SELECT %s, %s, 'maintenance', NULL, now() + interval '1 hour', id FROM w",
            (job_id, HOUR),
        )
    held = await why(db, job_id, HOUR)
    assert held.verdict is Verdict.HELD and "It is the window 'db': upgrade." in says(held, "window")
