"""Changing and deleting jobs: revisions, the cursor, preconditions, the audit trail, races."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cronsvc.domain.job import Job, JobDefinition, TaskPayload
from cronsvc.domain.schedule import Schedule, next_fire
from cronsvc.errors import Conflict, InvalidInput, NotFound, PreconditionFailed
from cronsvc.store import executions, jobs
from cronsvc.store.pool import Database
from tests.support.control import ALICE, BOB, YEARLY, Desk, definition
from tests.support.rows import define, fetch, one
from tests.support.waiting import until

STATE = "SELECT revision, armed_revision, next_fire_time, last_fire_time FROM jobs WHERE id = %s"
FAR = datetime(2031, 5, 1, 12, tzinfo=UTC)


async def test_a_change_makes_a_revision_and_keeps_the_cursor(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    await fetch(db, "UPDATE jobs SET next_fire_time = %s RETURNING 1", FAR)
    changed = await desk.jobs.replace(job.id, definition(description="new", timeout_seconds=5, queue="slow"), BOB)
    assert (changed.revision, changed.definition.description, changed.next_fire_time) == (2, "new", FAR)
    assert changed.updated_at > job.updated_at
    assert await one(db, STATE, job.id) == (2, 2, FAR, None)
    assert ("slow",) in await fetch(db, "SELECT name FROM queues")


async def test_a_change_of_the_schedule_counts_from_now(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    await fetch(db, "UPDATE jobs SET next_fire_time = %s RETURNING 1", FAR)
    changed = await desk.jobs.replace(job.id, definition(schedule=Schedule(cron_expression="*/10 * * * *")), ALICE)
    assert (await one(db, STATE, job.id))[:2] == (2, 2)
    assert changed.next_fire_time is not None and changed.next_fire_time.minute % 10 == 0
    assert timedelta() < changed.next_fire_time - changed.updated_at <= timedelta(minutes=10)


@pytest.mark.parametrize(
    "change",
    [
        {"schedule": replace(YEARLY, timezone="Asia/Tokyo")},
        {"schedule": replace(YEARLY, end_at=FAR)},
        {"max_runs": 5},
    ],
    ids=["timezone", "end", "max-runs"],
)
async def test_whatever_moves_instants_moves_the_cursor(db: Database, change: dict[str, Any]) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    await fetch(db, "UPDATE jobs SET next_fire_time = %s RETURNING 1", FAR)
    changed = await desk.jobs.replace(job.id, definition(**change), ALICE)
    assert changed.next_fire_time == next_fire(changed.definition.schedule, datetime.now(UTC))


async def test_an_edit_never_goes_back_behind_what_was_recorded(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    await fetch(db, "UPDATE jobs SET next_fire_time = %s, last_fire_time = %s RETURNING 1", FAR, FAR)
    changed = await desk.jobs.replace(job.id, definition(schedule=Schedule(cron_expression="30 * * * *")), ALICE)
    assert changed.next_fire_time == FAR + timedelta(minutes=30)


async def test_what_was_due_is_recorded_as_it_was_defined(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(schedule=Schedule(every_seconds=3600)), ALICE)
    due = (await one(db, "UPDATE jobs SET anchor = anchor - interval '3601 s' RETURNING anchor + interval '3600 s'"))[0]
    await fetch(db, "UPDATE jobs SET next_fire_time = %s, armed_revision = revision RETURNING 1", due)
    changed = await desk.jobs.edit(job.id, lambda now: replace(now, description="after"), ALICE)
    ((scheduled, status, revision),) = await fetch(db, "SELECT scheduled_time, status, revision FROM job_executions")
    assert (scheduled, status, revision) == (due, "QUEUED", changed.revision - 1)
    assert [ticket.scheduled_time for ticket in desk.tickets] == [due]


async def test_the_same_definition_makes_no_revision(db: Database) -> None:
    desk = Desk(db)
    wanted = definition(schedule=Schedule(every_seconds=90))
    job = await desk.jobs.create(wanted, ALICE)
    assert await desk.jobs.replace(job.id, wanted, ALICE) == job
    assert await one(db, "SELECT count(*), (SELECT count(*) FROM audit_log) FROM job_revisions") == (1, 1)


async def test_true_is_not_one(db: Database) -> None:
    desk = Desk(db)
    payload = TaskPayload("CALL", {"url": "x", "flag": 1})
    job = await desk.jobs.create(definition(task_payload=payload), ALICE)
    payload = TaskPayload("CALL", {"url": "x", "flag": True})
    assert (await desk.jobs.replace(job.id, definition(task_payload=payload), ALICE)).revision == 2
    assert await one(db, "SELECT task_payload #>> '{config,flag}' FROM jobs") == ("true",)


async def test_an_interval_keeps_its_anchor_until_it_changes(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(schedule=Schedule(every_seconds=600)), ALICE)
    old = datetime(2026, 1, 1, tzinfo=UTC)
    await fetch(db, "UPDATE jobs SET anchor = %s, armed_revision = revision + 1 RETURNING 1", old)
    kept = await desk.jobs.replace(job.id, definition(schedule=Schedule(every_seconds=600), description="x"), ALICE)
    assert kept.definition.schedule.anchor == old
    # A PATCH carries the stored anchor along with the new length.
    moved = await desk.jobs.edit(
        job.id, lambda now: replace(now, schedule=replace(now.schedule, every_seconds=700)), ALICE
    )
    anchor = moved.definition.schedule.anchor
    assert anchor is not None and anchor > old
    assert moved.next_fire_time == anchor + timedelta(seconds=700)


async def test_a_one_shot_that_has_run_can_still_be_described(db: Database) -> None:
    desk = Desk(db)
    once = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    job = await desk.jobs.create(definition(schedule=Schedule(run_at=once)), ALICE)
    past = datetime(2026, 1, 1, tzinfo=UTC)
    await fetch(
        db,
        "UPDATE jobs SET run_at = %s, armed_revision = revision + 1, next_fire_time = NULL, last_fire_time = %s"
        " RETURNING 1",
        past,
        past,
    )
    changed = await desk.jobs.edit(job.id, lambda now: replace(now, description="done"), ALICE)
    assert (changed.definition.description, changed.next_fire_time) == ("done", None)
    with pytest.raises(InvalidInput) as refused:
        await desk.jobs.replace(job.id, definition(schedule=Schedule(run_at=past + timedelta(hours=1))), ALICE)
    assert [error.field for error in refused.value.errors] == ["runAt"]


async def test_a_spent_budget_ends_the_cursor_and_a_larger_one_revives_it(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    await fetch(db, "UPDATE jobs SET fire_count = 5 RETURNING 1")
    assert (await desk.jobs.replace(job.id, definition(max_runs=5), ALICE)).next_fire_time is None
    assert (await desk.jobs.replace(job.id, definition(max_runs=6), ALICE)).next_fire_time == job.next_fire_time


async def test_waking_a_job_counts_from_now(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    asleep = await desk.jobs.replace(job.id, definition(is_active=False), ALICE)
    assert asleep.upcoming_fire_time is None
    await fetch(db, "UPDATE jobs SET next_fire_time = '2026-01-01T00:00Z' RETURNING 1")
    awake = await desk.jobs.replace(job.id, definition(), ALICE)
    assert awake.next_fire_time == job.next_fire_time
    assert await fetch(db, "SELECT 1 FROM job_executions") == []


async def test_an_edit_ends_a_quarantine(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    await fetch(db, "UPDATE jobs SET quarantine_reason = 'tzdata' RETURNING 1")
    again = await desk.jobs.replace(job.id, definition(), ALICE)
    assert (again.quarantine_reason, again.revision, again.next_fire_time) == (None, 1, job.next_fire_time)
    assert await one(db, "SELECT actor, before ->> 'quarantine_reason' FROM audit_log WHERE action = 'release'") == (
        ALICE.actor,
        "tzdata",
    )


async def test_an_older_revision_is_refused(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    await desk.jobs.replace(job.id, definition(description="b"), ALICE, if_revision=1)
    for attempt in (
        desk.jobs.replace(job.id, definition(description="c"), ALICE, if_revision=1),
        desk.jobs.delete(job.id, ALICE, if_revision=1),
        desk.jobs.delete(job.id, ALICE, if_revision=3),
    ):
        with pytest.raises(PreconditionFailed, match="revision 2"):
            await attempt
    assert (await desk.jobs.get(job.id, ALICE)).definition.description == "b"


async def test_a_refused_change_leaves_no_trace(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    other = await desk.jobs.create(definition("other"), ALICE)
    before = await fetch(db, "SELECT * FROM jobs ORDER BY id")
    with pytest.raises(InvalidInput):
        await desk.jobs.replace(job.id, definition(timeout_seconds=0, queue="brand-new"), ALICE)
    with pytest.raises(Conflict, match=f"job {other.id}"):
        await desk.jobs.replace(job.id, definition("other", queue="brand-new"), ALICE)
    assert await fetch(db, "SELECT * FROM jobs ORDER BY id") == before
    counts = "SELECT count(*), (SELECT count(*) FROM queues), (SELECT count(*) FROM job_revisions) FROM audit_log"
    assert await one(db, counts) == (2, 1, 2)


async def test_changes_are_audited_with_before_and_after(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    await desk.jobs.replace(job.id, definition(description="new"), BOB)
    await desk.jobs.delete(job.id, ALICE)
    rows = await fetch(
        db,
        "SELECT actor, source, action, before->>'description', after->>'description', after->>'deleted_at' IS NULL"
        " FROM audit_log ORDER BY id",
    )
    assert rows == [
        ("key:alice", "10.1.2.3", "create", None, "", True),
        ("key:bob", None, "update", "", "new", True),
        ("key:alice", "10.1.2.3", "delete", "new", "new", False),
    ]
    page = await desk.jobs.revisions(job.id, ALICE, limit=2)
    assert [(each.revision, each.actor) for each in page.items] == [(3, "key:alice"), (2, "key:bob")]
    rest = await desk.jobs.revisions(job.id, ALICE, page.next_cursor)
    assert [each.revision for each in rest.items] == [1]


async def test_deletion_cancels_what_waits_and_keeps_the_history(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    done, waiting = [await desk.jobs.trigger(job.id, ALICE) for _ in range(2)]
    await fetch(db, "UPDATE job_executions SET status = 'RUNNING' WHERE id = %s RETURNING 1", done.id)
    await desk.jobs.delete(job.id, ALICE)
    row = await one(db, "SELECT deleted_at IS NOT NULL, is_active, next_fire_time FROM jobs")
    assert row == (True, False, None)
    history = (await desk.executions.list(ALICE, job_id=job.id)).items
    assert {each.id: (each.status, each.status_reason) for each in history} == {
        done.id: ("RUNNING", None),
        waiting.id: ("CANCELLED", "user"),
    }
    assert history[0].end_time is not None
    assert (await desk.executions.get(done.id, ALICE))[0].job_name == "report"
    for attempt in (
        desk.jobs.delete(job.id, ALICE),
        desk.jobs.get(job.id, ALICE),
        desk.jobs.trigger(job.id, ALICE),
        desk.jobs.pause(job.id, ALICE),
        desk.jobs.replace(job.id, definition(), ALICE),
        desk.jobs.trigger_by_name("report", ALICE),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert (await desk.jobs.list(ALICE)).items == ()


async def blocked_or_done(db: Database, edit: asyncio.Task[Any]) -> None:
    """Wait until `edit` waits for a row that another transaction holds, or is through."""

    async def seen() -> bool:
        waiting = await fetch(
            db, "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(waiting) or edit.done()

    await until(seen, seconds=30, what="the edit waiting for the row")


async def test_a_deletion_waits_for_a_trigger_under_way_and_cancels_it(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    async with db.transaction() as conn:
        held = await jobs.hold(conn, job.id)
        assert held is not None
        deletion = asyncio.create_task(desk.jobs.delete(job.id, BOB))
        await blocked_or_done(db, deletion)
        assert not deletion.done()
        redispatch = timedelta(seconds=5)
        assert await executions.insert_manual(conn, held, params=None, requested_by="x", redispatch=redispatch)
    await deletion
    assert await fetch(db, "SELECT status FROM job_executions") == [("CANCELLED",)]


async def test_a_rename_that_loses_the_race_is_a_conflict(db: Database) -> None:
    desk = Desk(db)
    winner, loser = [await desk.jobs.create(definition(name), ALICE) for name in ("a", "b")]
    async with db.transaction() as conn:
        assert await jobs.update(conn, winner.id, definition("wanted"), revision=1, cursor=None)
        rename = asyncio.create_task(desk.jobs.replace(loser.id, definition("wanted"), ALICE))
        await blocked_or_done(db, rename)
    with pytest.raises(Conflict, match="wanted"):
        await rename
    assert (await desk.jobs.get(loser.id, ALICE)).definition.name == "b"


async def test_two_renames_to_one_name_end_with_one_owner(db: Database) -> None:
    desk = Desk(db)
    made = [await desk.jobs.create(definition(f"job {n}"), ALICE) for n in range(6)]
    answers = await asyncio.gather(
        *(desk.jobs.replace(job.id, definition("wanted"), ALICE) for job in made), return_exceptions=True
    )
    assert sum(isinstance(answer, Job) for answer in answers) == 1
    assert sum(isinstance(answer, Conflict) for answer in answers) == 5


@pytest.mark.parametrize("paused", [False, True], ids=["active", "paused"])
async def test_parallel_edits_lose_nothing(db: Database, paused: bool) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    if paused:
        await desk.jobs.pause(job.id, ALICE)

    def tagging(tag: str) -> Callable[[JobDefinition], JobDefinition]:
        return lambda present: replace(present, tags=(*present.tags, tag))

    await asyncio.gather(*(desk.jobs.edit(job.id, tagging(f"t{n}"), ALICE) for n in range(10)))
    found = await desk.jobs.get(job.id, ALICE)
    assert (set(found.definition.tags), found.revision) == ({f"t{n}" for n in range(10)}, 11)


async def test_pausing_and_replacing_at_once_keep_both(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    for n in range(5):
        await asyncio.gather(
            desk.jobs.pause(job.id, BOB, note=f"note {n}"),
            desk.jobs.replace(job.id, definition(description=f"text {n}"), ALICE),
        )
        found = await desk.jobs.get(job.id, ALICE)
        assert found.pause is not None
        assert (found.pause.note, found.definition.description) == (f"note {n}", f"text {n}")
        await desk.jobs.resume(job.id, BOB)


async def test_a_row_written_by_sql_has_revision_audit_and_waits_for_a_tick(db: Database) -> None:
    desk = Desk(db)
    payload = '{"type": "CALL", "config": {"url": "x"}}'
    job_id = await define(db, name="seed", cron_expression="0 4 1 3 *", task_payload=payload)
    assert (await one(db, STATE, job_id))[:2] == (1, 0)
    ((actor, action),) = await fetch(db, "SELECT actor, action FROM audit_log")
    assert (actor.startswith("sql:"), action) == (True, "create")
    # An edit of something else leaves the counting to the tick; a change of schedule does it here.
    changed = await desk.jobs.edit(job_id, lambda now: replace(now, description="x"), ALICE)
    assert changed.definition.schedule == YEARLY
    revision, _, cursor, _ = await one(db, STATE, job_id)
    assert revision == 2 and cursor is not None
    assert (await desk.jobs.upcoming(job_id, ALICE, count=1))[0].month == 3


async def test_a_change_by_sql_is_seen_as_one(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    await fetch(db, "UPDATE jobs SET cron_expression = '5 * * * *' RETURNING 1")
    found = await desk.jobs.get(job.id, ALICE)
    assert (found.revision, found.definition.schedule.cron_expression) == (2, "5 * * * *")
    assert (await one(db, STATE, job.id))[:2] == (2, 1)
    (first,) = await desk.jobs.upcoming(job.id, ALICE, count=1)
    assert first.minute == 5
    revisions = (await desk.jobs.revisions(job.id, ALICE)).items
    assert revisions[0].actor.startswith("sql:")
