"""Pausing, resuming and running by hand: what a pause held back is accounted for, a trigger disturbs no schedule."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import sql

from cronsvc.domain.execution import Status, Ticket, Trigger
from cronsvc.domain.job import Job, Priority, TaskPayload
from cronsvc.domain.schedule import Schedule, fires_between
from cronsvc.errors import Conflict, InvalidInput
from cronsvc.services.job_edits import MOST_COUNTED
from cronsvc.store.pool import Database
from tests.support.control import ALICE, BOB, RED, Desk, definition
from tests.support.rows import define, fetch, one

SKIPPED = """
SELECT scheduled_time, status, status_reason, trigger, previous_time, skipped_until, skipped_count, dispatch_at,
       end_time IS NOT NULL
  FROM job_executions ORDER BY scheduled_time
"""
MINUTELY = Schedule(cron_expression="* * * * *")


async def paused_since(db: Database, desk: Desk, cursor: datetime, schedule: Schedule = MINUTELY, **fields: Any) -> Job:
    """A paused job whose cursor has been standing at `cursor`, the minute before it being the last that ran."""
    job = await desk.jobs.create(definition(schedule=schedule, **fields), ALICE)
    await desk.jobs.pause(job.id, ALICE)
    last = cursor - timedelta(minutes=1)
    await fetch(db, "UPDATE jobs SET next_fire_time = %s, last_fire_time = %s RETURNING 1", cursor, last)
    return await desk.jobs.get(job.id, ALICE)


def minutes_ago(minutes: int) -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=minutes)


async def test_a_pause_keeps_the_cursor_and_is_audited(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    until = datetime.now(UTC) + timedelta(hours=2)
    paused = await desk.jobs.pause(job.id, BOB, note="maintenance", until=until)
    assert paused.pause is not None
    assert (paused.pause.by, paused.pause.note, paused.pause.until) == ("key:bob", "maintenance", until)
    assert (paused.next_fire_time, paused.upcoming_fire_time, paused.revision) == (job.next_fire_time, None, 1)
    row = await one(db, "SELECT actor, after->>'pause_note' FROM audit_log WHERE action = 'pause'")
    assert row == ("key:bob", "maintenance")


async def test_pausing_again_replaces_note_and_end_and_is_audited_too(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    first = await desk.jobs.pause(job.id, ALICE, note="one", until=datetime.now(UTC) + timedelta(hours=2))
    second = await desk.jobs.pause(job.id, BOB, note="two")
    assert first.pause is not None
    assert second.pause == replace(first.pause, note="two", until=None)
    rows = await fetch(
        db,
        "SELECT actor, before->>'pause_note', after->>'pause_note' FROM audit_log WHERE action = 'pause' ORDER BY id",
    )
    assert rows == [("key:alice", None, "one"), ("key:bob", "one", "two")]


async def test_a_pause_that_cannot_be_is_refused(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    pauses: list[tuple[dict[str, Any], str]] = [
        ({"until": datetime(2020, 1, 1, tzinfo=UTC)}, "until"),
        ({"until": datetime(2040, 1, 1)}, "until"),
        ({"until": datetime(9999, 12, 31, tzinfo=UTC)}, "until"),
        ({"note": "a\0b"}, "note"),
        ({"note": "x" * 1001}, "note"),
    ]
    for arguments, field in pauses:
        with pytest.raises(InvalidInput) as refused:
            await desk.jobs.pause(job.id, ALICE, **arguments)
        assert [error.field for error in refused.value.errors] == [field]
    assert (await desk.jobs.get(job.id, ALICE)).pause is None


async def test_resuming_accounts_for_every_instant_of_the_pause(db: Database) -> None:
    desk = Desk(db)
    cursor = minutes_ago(30)
    job = await paused_since(db, desk, cursor)
    resumed = await desk.jobs.resume(job.id, BOB)
    assert resumed.pause is None
    ((first, status, reason, trigger, previous, last, count, dispatch_at, ended),) = await fetch(db, SKIPPED)
    assert (status, reason, trigger, dispatch_at, ended) == ("SKIPPED", "paused", "schedule", None, True)
    assert (first, previous) == (cursor, job.last_fire_time)
    assert count == len(fires_between(MINUTELY, cursor - timedelta(seconds=1), last, 1000)) in (31, 32)
    assert resumed.last_fire_time == last
    assert resumed.next_fire_time == last + timedelta(minutes=1)
    assert await one(db, "SELECT next_fire_time > clock_timestamp() - interval '5 s', armed_revision FROM jobs") == (
        True,
        1,
    )
    assert await fetch(db, "SELECT * FROM cronsvc_v1.gaps") == []
    assert desk.tickets == []
    assert await one(db, "SELECT count(*) FROM audit_log WHERE action = 'resume' AND actor = 'key:bob'") == (1,)


async def test_resuming_before_anything_was_due_skips_nothing(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    await desk.jobs.pause(job.id, ALICE)
    resumed = await desk.jobs.resume(job.id, ALICE)
    assert (resumed.next_fire_time, resumed.last_fire_time, resumed.pause) == (job.next_fire_time, None, None)
    assert await fetch(db, SKIPPED) == []


async def test_resuming_a_job_that_is_not_paused_changes_nothing(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    assert await desk.jobs.resume(job.id, ALICE) == job
    assert await one(db, "SELECT count(*) FROM audit_log") == (1,)


async def test_a_great_many_instants_are_not_counted(db: Database) -> None:
    desk = Desk(db)
    cursor = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=MOST_COUNTED + 50)
    job = await paused_since(db, desk, cursor, Schedule(cron_expression="* * * * * *"))
    resumed = await desk.jobs.resume(job.id, ALICE)
    ((first, *_, last, count, _, _),) = await fetch(db, SKIPPED)
    assert (first, last, count) == (cursor, resumed.last_fire_time, None)


async def test_a_pause_longer_than_the_partitions_reach_can_end(db: Database) -> None:
    desk = Desk(db)
    job = await paused_since(db, desk, minutes_ago(60 * 24 * 400), Schedule(cron_expression="0 0 * * *"))
    await desk.jobs.resume(job.id, ALICE)
    ((*_, count, _, _),) = await fetch(db, SKIPPED)
    assert count in (400, 401)


async def test_what_changed_while_paused_counts_from_its_change(db: Database) -> None:
    desk = Desk(db)
    since = minutes_ago(10)
    job_id = await define(db, cron_expression="* * * * *", paused_at=since, paused_by="x", next_fire_time=since)
    await desk.jobs.resume(job_id, ALICE)
    ((first, *_),) = await fetch(db, SKIPPED)
    assert first == since + timedelta(minutes=1)


async def test_an_edit_during_a_pause_loses_no_instant(db: Database) -> None:
    desk = Desk(db)
    cursor = minutes_ago(20)
    job = await paused_since(db, desk, cursor)
    await desk.jobs.replace(job.id, definition(schedule=Schedule(cron_expression="0 4 1 3 *")), ALICE)
    ((first, *_, last, count, _, _),) = await fetch(db, SKIPPED)
    assert first == cursor and count in (21, 22)
    resumed = await desk.jobs.resume(job.id, ALICE)
    assert (resumed.last_fire_time, len(await fetch(db, SKIPPED))) == (last, 1)
    assert resumed.next_fire_time is not None and resumed.next_fire_time.month == 3


async def test_deleting_a_paused_job_accounts_for_its_pause(db: Database) -> None:
    desk = Desk(db)
    job = await paused_since(db, desk, minutes_ago(5))
    await desk.jobs.delete(job.id, ALICE)
    ((_, status, reason, *_),) = await fetch(db, SKIPPED)
    assert (status, reason) == ("SKIPPED", "paused")
    assert await one(db, "SELECT next_fire_time FROM jobs") == (None,)


async def test_an_inactive_job_owes_nothing(db: Database) -> None:
    desk = Desk(db)
    job = await paused_since(db, desk, minutes_ago(5), is_active=False)
    assert (await desk.jobs.resume(job.id, ALICE)).pause is None
    assert await fetch(db, SKIPPED) == []


async def test_of_many_resumes_one_records_the_pause(db: Database) -> None:
    desk = Desk(db)
    job = await paused_since(db, desk, minutes_ago(5))
    answers = await asyncio.gather(*(desk.jobs.resume(job.id, ALICE) for _ in range(8)))
    assert all(answer.pause is None for answer in answers)
    assert len(await fetch(db, SKIPPED)) == 1


async def test_a_trigger_runs_now_and_leaves_the_schedule_alone(db: Database) -> None:
    desk = Desk(db)
    wanted = definition(queue="slow", priority=Priority.CRITICAL, max_attempts=7)
    job = await desk.jobs.create(wanted, ALICE)
    execution = await desk.jobs.trigger(job.id, BOB, params={"data": {"a": 1}})
    assert (execution.trigger, execution.status, execution.job_name) == (Trigger.MANUAL, Status.QUEUED, "report")
    assert (execution.params, execution.requested_by, execution.revision) == ({"data": {"a": 1}}, "key:bob", 1)
    assert (execution.queue, execution.priority, execution.max_attempts, execution.attempt) == ("slow", 1, 7, 0)
    assert execution.scheduled_time.microsecond != 0
    assert desk.tickets == [Ticket(execution.id, job.id, execution.scheduled_time, 0, "slow", 1)]
    row = await one(
        db, "SELECT dispatches, dispatch_at - scheduled_time, ready_at <= clock_timestamp() FROM job_executions"
    )
    assert row == (1, timedelta(seconds=5), True)
    assert await desk.jobs.get(job.id, ALICE) == job


async def test_a_paused_an_inactive_and_a_quarantined_job_run_when_asked(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(is_active=False), ALICE)
    await desk.jobs.pause(job.id, ALICE)
    await fetch(db, "UPDATE jobs SET quarantine_reason = 'x' RETURNING 1")
    assert (await desk.jobs.trigger(job.id, ALICE)).status == Status.QUEUED


async def test_fifty_triggers_at_once_are_fifty_executions(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    made = await asyncio.gather(*(desk.jobs.trigger(job.id, ALICE) for _ in range(50)))
    assert len({execution.scheduled_time for execution in made}) == 50
    assert {ticket.execution_id for ticket in desk.tickets} == {execution.id for execution in made}
    assert await one(db, "SELECT count(*) FROM job_executions") == (50,)


async def test_a_trigger_makes_its_own_partition(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    partitions = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'job_executions'::regclass"
    for (name,) in await fetch(db, partitions):
        async with db.transaction() as conn:
            await conn.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
    assert (await desk.jobs.trigger(job.id, ALICE)).status == Status.QUEUED


async def test_params_that_cannot_be_are_refused(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    wrong: list[tuple[Any, str]] = [
        ({"url": 5}, "params.url"),
        (["a"], "params"),
        ("text", "params"),
        ({"data": "x" * 66_000}, "params"),
        ({"data": float("nan")}, "params"),
        ({"data": "\0"}, "params"),
    ]
    for params, field in wrong:
        with pytest.raises(InvalidInput) as refused:
            await desk.jobs.trigger(job.id, ALICE, params=params)
        assert [error.field for error in refused.value.errors] == [field]
    assert await fetch(db, "SELECT 1 FROM job_executions") == []
    assert desk.tickets == []


async def test_a_fault_of_the_job_itself_is_named_as_such(db: Database) -> None:
    desk = Desk(db)
    job_id = await define(db, task_payload='{"type": "CALL", "config": {}}')
    with pytest.raises(InvalidInput) as refused:
        await desk.jobs.trigger(job_id, ALICE, params={"data": 1})
    assert [error.field for error in refused.value.errors] == ["taskPayload.config.url"]
    assert (await desk.jobs.trigger(job_id, ALICE, params={"url": "x"})).params == {"url": "x"}


async def test_a_trigger_by_name_needs_one_job_of_that_name(db: Database) -> None:
    desk = Desk(db)
    plain = await desk.jobs.create(definition(), ALICE)
    assert (await desk.jobs.trigger_by_name("report", ALICE)).job_id == plain.id
    red = await desk.jobs.create(definition(namespace="red", task_payload=TaskPayload("CALL", {"url": "x"})), ALICE)
    with pytest.raises(Conflict, match="default, red"):
        await desk.jobs.trigger_by_name("report", ALICE)
    assert (await desk.jobs.trigger_by_name("report", ALICE, namespace="red")).job_id == red.id
    assert (await desk.jobs.trigger_by_name("report", RED)).job_id == red.id
