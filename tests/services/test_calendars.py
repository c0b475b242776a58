"""Calendars in the ledger: what a closed day leaves, what an edit moves, and that everybody agrees."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from cronsvc.domain.backfill import Mode
from cronsvc.domain.calendars import CalendarRule
from cronsvc.domain.schedule import Schedule
from cronsvc.errors import Conflict, Forbidden, InvalidInput, NotFound, PreconditionFailed
from cronsvc.services.backfills import Wish
from cronsvc.services.calendars import Calendars
from cronsvc.services.scheduling import Scheduling
from cronsvc.store.calendars import Calendar, CalendarFields
from cronsvc.store.pool import Database
from tests.support.control import ALICE, RED, Desk, definition
from tests.support.rows import define, fetch, one

# A Monday noon some weeks ahead: whatever the day of the test, no clock reaches it.
_TODAY = datetime.now(UTC).date()
MONDAY = datetime.combine(_TODAY + timedelta(days=14 - _TODAY.weekday()), datetime.min.time(), UTC) + timedelta(
    hours=12
)
DAY = timedelta(days=1)
NOON = Schedule(cron_expression="0 12 * * *", calendar="holidays")


def closing(*days: datetime, weekend: tuple[int, ...] = (), **fields: Any) -> CalendarFields:
    plain = CalendarFields("default", "holidays", "", weekend, {day.date(): "closed" for day in days})
    return replace(plain, **fields)


async def made(db: Database, *days: datetime, **fields: Any) -> Calendar:
    return await Calendars(db).create(closing(*days, **fields), ALICE)


async def armed(db: Database, rule: CalendarRule, **columns: Any) -> int:
    plain = {"cron_expression": "0 12 * * *", "calendar": "holidays", "armed_revision": 1, "next_fire_time": MONDAY}
    return await define(db, **plain | {"calendar_rule": rule.value} | columns)


async def ledger(db: Database, job_id: int) -> list[tuple[int, str, str | None, Mapping[str, Any] | None]]:
    """Rows of a job: days after MONDAY, status, reason, details."""
    rows = await fetch(
        db,
        "SELECT scheduled_time, status, status_reason, log_details FROM job_executions WHERE job_id = %s ORDER BY 1",
        job_id,
    )
    assert not await fetch(db, "SELECT * FROM cronsvc_v1.gaps")
    return [((at - MONDAY).days, status, reason, details) for at, status, reason, details in rows]


def written(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


async def test_closed_days_leave_rows_that_say_where_they_went(db: Database) -> None:
    await made(db, MONDAY + DAY, MONDAY + 2 * DAY)
    jobs = {rule: await armed(db, rule) for rule in CalendarRule}
    # At five past three every day of the month, so that what moves meets nothing.
    lone = await armed(
        db, CalendarRule.NEXT, cron_expression=f"0 12 {(MONDAY + DAY).day} * *", next_fire_time=MONDAY + DAY
    )
    scheduling = Scheduling(db, Desk(db).dispatcher)
    for day in range(4):
        await scheduling.tick(now=MONDAY + day * DAY)
    first = {"calendar": "holidays"}
    closed = ["SKIPPED", "calendar"]
    skip = first | {"rule": "skip"}
    assert await ledger(db, jobs[CalendarRule.SKIP]) == [
        (0, "QUEUED", None, None),
        (1, *closed, skip),
        (2, *closed, skip),
        (3, "QUEUED", None, None),
    ]
    later = first | {"rule": "next", "movedTo": written(MONDAY + 3 * DAY)}
    assert [row[3] for row in await ledger(db, jobs[CalendarRule.NEXT])] == [None, later, later, None]
    earlier = first | {"rule": "previous", "movedTo": written(MONDAY)}
    assert [row[3] for row in await ledger(db, jobs[CalendarRule.PREVIOUS])] == [None, earlier, earlier, None]
    assert await ledger(db, lone) == [(1, *closed, later), (3, "QUEUED", None, None)]
    assert await one(db, "SELECT fire_count FROM jobs WHERE id = %s", jobs[CalendarRule.SKIP]) == (2,)


async def test_what_would_have_moved_before_anybody_knew_says_so(db: Database) -> None:
    """`previous` never runs in the past: an edit fires nothing at once."""
    await made(db, MONDAY, MONDAY + DAY)
    job_id = await armed(db, CalendarRule.PREVIOUS, next_fire_time=MONDAY)
    await Scheduling(db, Desk(db).dispatcher).tick(now=MONDAY)
    details = {"calendar": "holidays", "rule": "previous", "tooLate": written(MONDAY - DAY)}
    assert await ledger(db, job_id) == [(0, "SKIPPED", "calendar", details)]


async def test_an_outage_over_holidays_keeps_runs_misfires_and_closed_days_apart(db: Database) -> None:
    await made(db, MONDAY + DAY, MONDAY + 3 * DAY, MONDAY + 4 * DAY)
    job_id = await armed(db, CalendarRule.SKIP)
    await Scheduling(db, Desk(db).dispatcher).tick(now=MONDAY + 4 * DAY + timedelta(hours=1))
    assert [row[:3] for row in await ledger(db, job_id)] == [
        (0, "SKIPPED", "misfire"),
        (1, "SKIPPED", "calendar"),
        (2, "QUEUED", None),  # the latest that runs
        (3, "SKIPPED", "calendar"),
        (4, "SKIPPED", "calendar"),
    ]
    assert await one(db, "SELECT next_fire_time FROM jobs WHERE id = %s", job_id) == (MONDAY + 5 * DAY,)


async def test_a_long_closed_stretch_is_one_range_row(db: Database) -> None:
    await made(db, MONDAY)
    job_id = await armed(db, CalendarRule.SKIP, cron_expression="* * * * *", misfire_policy="skip")
    midnight = MONDAY + timedelta(hours=12)
    scheduling = Scheduling(db, Desk(db).dispatcher)
    await scheduling.tick(now=midnight - timedelta(seconds=1))
    rows = await fetch(db, "SELECT status_reason, scheduled_time, skipped_until FROM job_executions")
    assert rows == [("calendar", MONDAY, midnight - timedelta(minutes=1))]
    await scheduling.tick(now=midnight)
    assert not await fetch(db, "SELECT * FROM cronsvc_v1.gaps")
    assert await one(db, "SELECT count(*) FROM job_executions WHERE job_id = %s AND status = 'QUEUED'", job_id) == (1,)


async def test_many_schedulers_write_one_row_an_instant(db: Database) -> None:
    await made(db, MONDAY + DAY)
    jobs = [await armed(db, rule) for rule in CalendarRule for _ in range(8)]
    dispatcher = Desk(db).dispatcher
    replicas = [Scheduling(db, dispatcher, batch=5, advisory_locks=False) for _ in range(4)]
    for day in range(3):
        await asyncio.gather(*(replica.tick(now=MONDAY + day * DAY) for replica in replicas for _ in range(6)))
        while (await replicas[0].tick(now=MONDAY + day * DAY)).jobs:
            pass
    counts = await fetch(
        db, "SELECT job_id, count(*), count(*) FILTER (WHERE status = 'SKIPPED') FROM job_executions GROUP BY 1"
    )
    assert sorted(counts) == [(job_id, 3, 1) for job_id in sorted(jobs)]
    assert not await fetch(db, "SELECT * FROM cronsvc_v1.gaps")


async def test_an_edit_of_a_calendar_moves_the_cursors_of_its_jobs_alone(db: Database) -> None:
    calendar = await made(db)
    desk = Desk(db)
    following = await desk.jobs.create(
        definition("a", schedule=replace(NOON, calendar_rule=CalendarRule.PREVIOUS)), ALICE
    )
    other = await desk.jobs.create(definition("b", schedule=replace(NOON, calendar=None)), ALICE)
    before = await desk.jobs.upcoming(following.id, ALICE, count=3)
    assert before == await desk.jobs.upcoming(other.id, ALICE, count=3)
    closed = [before[0], before[1]]
    await Calendars(db).replace(calendar.id, closing(*closed), ALICE, if_revision=calendar.revision)
    assert (await desk.jobs.upcoming(following.id, ALICE, count=1)) == (before[2],)
    assert await one(db, "SELECT armed_revision, revision FROM jobs WHERE id = %s", following.id) == (0, 1)
    assert await one(db, "SELECT armed_revision, next_fire_time FROM jobs WHERE id = %s", other.id) == (1, before[0])
    scheduling = Scheduling(db, desk.dispatcher)
    await scheduling.tick()
    armed_at = await one(db, "SELECT next_fire_time, armed_revision = revision FROM jobs WHERE id = %s", following.id)
    assert armed_at == (before[0], True)  # a closed instant is accounted for when it comes
    assert (await desk.jobs.get(following.id, ALICE)).upcoming_fire_time == before[2]
    for instant in before:
        await scheduling.tick(now=instant)
    rows = await fetch(
        db, "SELECT scheduled_time, status FROM job_executions WHERE job_id = %s ORDER BY 1", following.id
    )
    assert rows == [(before[0], "SKIPPED"), (before[1], "SKIPPED"), (before[2], "QUEUED")]


async def test_an_instant_that_is_due_survives_an_edit_of_its_calendar(db: Database) -> None:
    calendar = await made(db)
    overdue = datetime.now(UTC) - timedelta(seconds=20)
    job_id = await armed(db, CalendarRule.SKIP, next_fire_time=overdue, cron_expression="* * * * * *")
    await Calendars(db).replace(calendar.id, closing(MONDAY), ALICE)
    tick = await Scheduling(db, Desk(db).dispatcher).tick()
    assert tick.fired >= 20
    assert await one(db, "SELECT count(*) >= 20 FROM job_executions WHERE job_id = %s", job_id) == (True,)


async def test_a_change_waits_for_a_job_that_is_about_to_follow(db: Database) -> None:
    """Neither may miss the other: a cursor by the old dates would close the wrong days."""
    calendar = await made(db)
    async with db.transaction() as conn:
        await conn.execute("SELECT FROM calendars WHERE id = %s FOR SHARE", (calendar.id,))  # a creation under way
        change = asyncio.create_task(Calendars(db).replace(calendar.id, closing(MONDAY), ALICE))
        await asyncio.sleep(0)
        await conn.execute(
            "INSERT INTO jobs (name, cron_expression, calendar, task_payload, next_fire_time, armed_revision)"
            """ VALUES ('late', '0 12 * * *', 'holidays', '{"type": "CALL"}', %s, 1)""",
            (MONDAY,),
        )
    await change
    assert await one(db, "SELECT armed_revision FROM jobs") == (0,)


async def test_preview_upcoming_backfill_and_firing_agree(db: Database) -> None:
    past = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - 6 * DAY
    days = [past + n * DAY for n in range(5)]
    await made(db, days[1], days[2])
    desk = Desk(db)
    job = await desk.jobs.create(definition("a", schedule=replace(NOON, calendar_rule=CalendarRule.NEXT)), ALICE)
    plan = await desk.backfills.plan(job.id, Wish(past - timedelta(hours=1), days[4], mode=Mode.MISSING), ALICE)
    assert plan.instants == (days[0], days[3], days[4])


async def test_a_job_whose_calendar_is_not_there(db: Database) -> None:
    desk = Desk(db)
    with pytest.raises(InvalidInput, match="calendar: there is no calendar 'holidays'"):
        await desk.jobs.create(definition(schedule=NOON), ALICE)
    job_id = await define(db, cron_expression="0 12 * * *", calendar="holidays")
    await Scheduling(db, desk.dispatcher).tick()
    assert "there is no calendar" in (await one(db, "SELECT quarantine_reason FROM jobs WHERE id = %s", job_id))[0]
    await made(db)
    await Scheduling(db, desk.dispatcher).tick()
    assert await one(db, "SELECT quarantine_reason, armed_revision = revision FROM jobs WHERE id = %s", job_id) == (
        None,
        True,
    )


async def test_people_define_change_and_delete_calendars(db: Database) -> None:
    calendars, desk = Calendars(db), Desk(db)
    made_one = await calendars.create(closing(MONDAY, weekend=(6, 7)), ALICE)
    with pytest.raises(Conflict, match="is taken"):
        await calendars.create(closing(), ALICE)
    with pytest.raises(Forbidden):
        await calendars.create(closing(), RED)
    with pytest.raises(NotFound):
        await calendars.get(made_one.id, RED)
    with pytest.raises(PreconditionFailed):
        await calendars.replace(made_one.id, closing(), ALICE, if_revision=7)
    with pytest.raises(InvalidInput, match="stay"):
        await calendars.replace(made_one.id, closing(name="other"), ALICE)
    with pytest.raises(InvalidInput, match="at least one to work"):
        await calendars.replace(made_one.id, closing(weekend=(1, 2, 3, 4, 5, 6, 7)), ALICE)
    with pytest.raises(InvalidInput, match="1960"):
        await calendars.replace(made_one.id, closing(dates={date(1960, 1, 1): ""}), ALICE)
    await desk.jobs.create(definition(schedule=NOON), ALICE)
    with pytest.raises(Conflict, match="1 job follows"):
        await calendars.delete(made_one.id, ALICE)
    changed = await calendars.replace(made_one.id, closing(MONDAY + DAY), ALICE)
    assert (changed.revision, changed.jobs, list(changed.fields.dates)) == (2, 1, [(MONDAY + DAY).date()])
    assert (
        await calendars.replace(made_one.id, closing(MONDAY + DAY), ALICE)
    ).revision == 2  # the same changes nothing
    actions = await fetch(db, "SELECT action, actor FROM audit_log WHERE entity = 'calendar' ORDER BY id")
    assert actions == [("create", "key:alice"), ("update", "key:alice")]
    spare = await calendars.create(closing(name="spare"), ALICE)
    await calendars.delete(spare.id, ALICE)
    with pytest.raises(NotFound):
        await calendars.get(spare.id, ALICE)
    assert [each.id for each in (await calendars.list(ALICE)).items] == [made_one.id]
