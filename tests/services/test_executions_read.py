"""Reading executions: lists along their indexes, paged without holes, attempts in order, foreign ones invisible."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import sql

from cronsvc.domain.execution import Status, Trigger
from cronsvc.errors import InvalidInput, NotFound
from cronsvc.services.paging import Page
from cronsvc.store import executions
from cronsvc.store.pool import Database
from tests.support.control import ALICE, RED, Desk, definition
from tests.support.rows import fetch, one

START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


async def add(db: Database, job_id: int, minute: int, status: str = "SUCCESS", trigger: str = "schedule") -> int:
    """An execution of that minute; returns its id."""
    row = await one(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, status, trigger) VALUES (%s, %s, %s, %s) RETURNING id",
        job_id,
        START + timedelta(minutes=minute),
        status,
        trigger,
    )
    return int(row[0])


async def all_pages(desk: Desk, limit: int, **filters: Any) -> list[int]:
    seen: list[int] = []
    cursor = None
    while True:
        page: Page[Any] = await desk.executions.list(ALICE, limit=limit, cursor=cursor, **filters)
        assert len(page.items) <= limit
        seen += [execution.id for execution in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return seen


async def test_lists_run_newest_first_and_one_jobs_by_its_instants(db: Database) -> None:
    desk = Desk(db)
    one_job = await desk.jobs.create(definition("one"), ALICE)
    other = await desk.jobs.create(definition("other"), ALICE)
    # The second instant is recorded before the first, as a backfill does.
    made = {minute: await add(db, one_job.id, minute) for minute in (3, 1, 2, 5)}
    last = await add(db, other.id, 0)
    for limit in (1, 2, 3, 50):
        assert await all_pages(desk, limit) == [last, *sorted(made.values(), reverse=True)]
        assert await all_pages(desk, limit, job_id=one_job.id) == [made[5], made[3], made[2], made[1]]


async def test_filters_by_status_and_trigger(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    failed = await add(db, job.id, 1, "FAILED")
    manual = await add(db, job.id, 2, "FAILED", "manual")
    await add(db, job.id, 3)
    assert await all_pages(desk, 50, status=Status.FAILED) == [manual, failed]
    assert await all_pages(desk, 50, job_id=job.id, status=Status.FAILED) == [manual, failed]
    assert await all_pages(desk, 50, trigger=Trigger.MANUAL) == [manual]
    assert await all_pages(desk, 50, job_id=job.id, trigger=Trigger.MANUAL, status=Status.SUCCESS) == []


async def test_a_cursor_of_another_job_is_refused(db: Database) -> None:
    desk = Desk(db)
    jobs = [await desk.jobs.create(definition(name), ALICE) for name in ("a", "b")]
    for job in jobs:
        await add(db, job.id, 1)
        await add(db, job.id, 2)
    cursor = (await desk.executions.list(ALICE, job_id=jobs[0].id, limit=1)).next_cursor
    for job_id in (jobs[1].id, None):
        with pytest.raises(InvalidInput):
            await desk.executions.list(ALICE, job_id=job_id, cursor=cursor)


async def test_detail_has_everything_and_the_attempts_in_order(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    execution_id = await add(db, job.id, 1, "FAILED")
    error = {"type": "http_status", "message": "503"}
    await fetch(
        db,
        "UPDATE job_executions SET error = %s::jsonb, status_reason = 'error', attempt = 2, claim_no = 2,"
        " result = '[1]', log_details = '{\"a\": 1}', progress = 40, worker_id = gen_random_uuid() RETURNING 1",
        json.dumps(error),
    )
    for claim_no, outcome in ((2, "error"), (1, "timeout")):
        await fetch(
            db,
            "INSERT INTO job_attempts (job_id, scheduled_time, claim_no, execution_id, attempt, outcome, http_status)"
            " SELECT job_id, scheduled_time, %s, id, %s, %s, 503 FROM job_executions RETURNING 1",
            claim_no,
            claim_no,
            outcome,
        )
    execution, attempts = await desk.executions.get(execution_id, ALICE)
    assert (execution.error, execution.result, execution.log_details, execution.progress) == (error, [1], {"a": 1}, 40)
    assert (execution.status, execution.status_reason, execution.attempt) == (Status.FAILED, "error", 2)
    assert execution.scheduled_time == START + timedelta(minutes=1) and execution.scheduled_time.tzinfo is UTC
    assert isinstance(execution.worker_id, str)
    assert [(each.attempt, each.outcome, each.http_status) for each in attempts] == [
        (1, "timeout", 503),
        (2, "error", 503),
    ]


async def test_foreign_executions_do_not_exist(db: Database) -> None:
    desk = Desk(db)
    blue = await desk.jobs.create(definition(namespace="blue"), ALICE)
    red = await desk.jobs.create(definition(namespace="red"), ALICE)
    hidden, seen = await add(db, blue.id, 1), await add(db, red.id, 1)
    assert [execution.id for execution in (await desk.executions.list(RED)).items] == [seen]
    with pytest.raises(NotFound):
        await desk.executions.get(hidden, RED)
    with pytest.raises(NotFound):
        await desk.executions.list(RED, job_id=blue.id)
    assert (await desk.executions.get(seen, RED))[0].namespace == "red"


@pytest.mark.parametrize("direction", ["DESC", "ASC"])
async def test_one_jobs_list_walks_its_primary_key(db: Database, direction: str) -> None:
    """The page of one job among many rows reads that job's rows only, in either order, without sorting."""
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    await fetch(
        db,
        "WITH made AS (INSERT INTO job_executions (job_id, scheduled_time, status)"
        " SELECT CASE WHEN n %% 50 = 0 THEN %s ELSE 900000 + n %% 50 END, %s + n * interval '1 second', 'SUCCESS'"
        " FROM generate_series(1, 20000) AS n RETURNING 1) SELECT count(*) FROM made",
        job.id,
        START - timedelta(hours=5),
    )
    async with db.transaction() as conn:
        await conn.execute("ANALYZE job_executions")
        statement = executions.PAGE_OF_JOB.format(
            columns=executions.COLUMNS, filters=sql.SQL("true"), direction=sql.SQL(direction)
        )
        rows = await conn.execute(sql.SQL("EXPLAIN ") + statement, {"job_id": job.id, "limit": 51})
        plan = "\n".join([line for (line,) in await rows.fetchall()])
    assert "Seq Scan on job_executions" not in plan
    assert "Sort" not in plan


async def test_the_latest_of_each_job_in_one_query_and_nothing_of_foreign_namespaces(db: Database) -> None:
    desk = Desk(db)
    jobs = [await desk.jobs.create(definition(name=name), ALICE) for name in ("first", "second", "idle")]
    for job in jobs[:2]:
        await desk.jobs.trigger(job.id, ALICE)
    newest = await desk.jobs.trigger(jobs[0].id, ALICE)
    found = await desk.executions.latest([job.id for job in jobs], ALICE)
    assert set(found) == {jobs[0].id, jobs[1].id} and found[jobs[0].id].id == newest.id
    assert await desk.executions.latest([job.id for job in jobs], RED) == {}
