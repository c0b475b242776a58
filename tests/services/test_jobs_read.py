"""Jobs as they are read back: namespaces, lists with their pages and filters, upcoming instants, faulty rows."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cronsvc.domain.schedule import Schedule
from cronsvc.errors import Forbidden, InvalidInput, NotFound
from cronsvc.services.paging import id_cursor, read_id_cursor, read_time_cursor, time_cursor
from cronsvc.store.pool import Database
from tests.services.test_jobs_define import fields_of
from tests.support.control import ALICE, RED, Desk, definition
from tests.support.rows import define, one


async def test_namespaces_wall_off_jobs(db: Database) -> None:
    desk = Desk(db)
    with pytest.raises(Forbidden):
        await desk.jobs.create(definition(namespace="blue"), RED)
    foreign = await desk.jobs.create(definition(namespace="blue"), ALICE)
    own = await desk.jobs.create(definition(namespace="red"), RED)
    for attempt in (
        desk.jobs.get(foreign.id, RED),
        desk.jobs.replace(foreign.id, definition(namespace="red"), RED),
        desk.jobs.delete(foreign.id, RED),
        desk.jobs.pause(foreign.id, RED),
        desk.jobs.resume(foreign.id, RED),
        desk.jobs.trigger(foreign.id, RED),
        desk.jobs.trigger_by_name("report", RED, namespace="blue"),
        desk.jobs.upcoming(foreign.id, RED),
        desk.jobs.revisions(foreign.id, RED),
        desk.executions.list(RED, job_id=foreign.id),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert [job.id for job in (await desk.jobs.list(RED)).items] == [own.id]
    assert (await desk.jobs.list(RED, namespace="blue")).items == ()
    with pytest.raises(Forbidden):
        await desk.jobs.replace(own.id, definition(namespace="blue"), RED)
    assert await one(db, "SELECT count(*) FROM jobs WHERE revision > 1 OR deleted_at IS NOT NULL") == (0,)


async def test_an_id_nobody_has_is_not_found(db: Database) -> None:
    desk = Desk(db)
    for nobody in (0, -1, 4711, 2**63 - 1, 2**63, 10**30):
        for attempt in (
            desk.jobs.get(nobody, ALICE),
            desk.jobs.delete(nobody, ALICE),
            desk.jobs.trigger(nobody, ALICE),
            desk.executions.list(ALICE, job_id=nobody),
            desk.executions.get(nobody, ALICE),
        ):
            with pytest.raises(NotFound):
                await attempt


async def test_lists_are_paged_newest_first_and_filtered(db: Database) -> None:
    desk = Desk(db)
    made = [
        await desk.jobs.create(definition(f"job {n}", tags=("odd",) if n % 2 else (), queue=f"q{n % 3}"), ALICE)
        for n in range(7)
    ]
    await desk.jobs.edit(made[6].id, lambda now: replace(now, is_active=False), ALICE)
    ids = [job.id for job in reversed(made)]

    seen: list[int] = []
    cursor = None
    while True:
        page = await desk.jobs.list(ALICE, limit=3, cursor=cursor)
        seen += [job.id for job in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
        # A job that appears between two pages disturbs neither.
        await desk.jobs.create(definition(f"late {len(seen)}"), ALICE)
    assert seen == ids

    async def listed(**filters: Any) -> list[str]:
        return [job.definition.name for job in (await desk.jobs.list(ALICE, **filters)).items]

    assert await listed(tag="odd") == ["job 5", "job 3", "job 1"]
    assert await listed(queue="q0", tag="odd") == ["job 3"]
    assert await listed(name="job 2") == ["job 2"]
    assert await listed(is_active=False) == ["job 6"]
    assert await listed(namespace="nowhere") == []


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "bnVsbA", "WyJqb2JzIiwtMV0", "WyJvdGhlciIsMV0", "é", "A" * 5000])
def test_a_cursor_that_is_not_ours_is_refused(cursor: str) -> None:
    for read in (read_id_cursor, read_time_cursor):
        with pytest.raises(InvalidInput) as refused:
            read("jobs", cursor)
        assert fields_of(refused) == {"cursor"}


def test_a_cursor_belongs_to_its_list() -> None:
    instant = datetime(2030, 1, 1, 0, 0, 0, 5, tzinfo=UTC)
    assert read_id_cursor("jobs", id_cursor("jobs", 7)) == 7
    assert read_time_cursor("runs", time_cursor("runs", instant, 7)) == (instant, 7)
    for foreign in (id_cursor("runs", 7), time_cursor("jobs", instant, 7)):
        with pytest.raises(InvalidInput):
            read_id_cursor("jobs", foreign)


async def test_what_a_list_is_asked_for_is_checked(db: Database) -> None:
    desk = Desk(db)
    questions: list[tuple[dict[str, Any], str]] = [
        ({"limit": 0}, "limit"),
        ({"limit": 201}, "limit"),
        ({"name": "a\0b"}, "name"),
        ({"tag": "\ud800"}, "tag"),
        ({"cursor": "no"}, "cursor"),
    ]
    for question, field in questions:
        with pytest.raises(InvalidInput) as refused:
            await desk.jobs.list(ALICE, **question)
        assert fields_of(refused) == {field}


async def test_upcoming_agrees_with_the_cursor_and_the_budget(db: Database) -> None:
    desk = Desk(db)
    start = datetime(2031, 1, 1, tzinfo=UTC)
    schedule = Schedule(cron_expression="0 * * * *", start_at=start)
    job = await desk.jobs.create(definition(schedule=schedule, max_runs=3), ALICE)
    expected = tuple(start + timedelta(hours=n) for n in range(3))
    assert job.next_fire_time == start
    assert await desk.jobs.upcoming(job.id, ALICE, count=2) == expected[:2]
    assert await desk.jobs.upcoming(job.id, ALICE, count=50) == expected
    await desk.jobs.pause(job.id, ALICE)
    assert await desk.jobs.upcoming(job.id, ALICE) == ()
    await desk.jobs.pause(job.id, ALICE, until=expected[1])
    assert (await desk.jobs.upcoming(job.id, ALICE, count=1)) == (expected[2],)
    await desk.jobs.edit(job.id, lambda now: replace(now, is_active=False), ALICE)
    assert await desk.jobs.upcoming(job.id, ALICE) == ()
    with pytest.raises(InvalidInput):
        await desk.jobs.upcoming(job.id, ALICE, count=0)


async def test_upcoming_of_an_unarmed_job_counts_from_its_change(db: Database) -> None:
    job_id = await define(db, cron_expression="0 * * * *", next_fire_time=datetime(2030, 1, 1, 0, 30, tzinfo=UTC))
    (first,) = await Desk(db).jobs.upcoming(job_id, ALICE, count=1)
    assert first == datetime(2030, 1, 1, 1, tzinfo=UTC)


async def test_a_definition_that_cannot_be_read_is_shown_and_says_so(db: Database) -> None:
    desk = Desk(db)
    job_id = await define(
        db, cron_expression="0 * * * *", backoff='{"type": "sometimes"}', retention='{"days": "some"}'
    )
    await desk.jobs.create(definition(), ALICE)
    listed = (await desk.jobs.list(ALICE)).items
    assert len(listed) == 2
    shown = await desk.jobs.get(job_id, ALICE)
    assert shown.quarantine_reason is not None
    assert "backoff" in shown.quarantine_reason and "retention" in shown.quarantine_reason
    mended = await desk.jobs.edit(job_id, lambda now: replace(now, task_payload=definition().task_payload), ALICE)
    assert mended.quarantine_reason is None and mended.revision == 2
    stored = await one(db, "SELECT retention->>'days', backoff->>'type' FROM jobs WHERE id = %s", job_id)
    assert stored == ("90", "exponential")
