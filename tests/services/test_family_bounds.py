"""What ends a parent that waits otherwise than by its children, what it may start, and what it costs."""

import asyncio
import json
from typing import Any

import pytest

from cronsvc.domain.execution import Outcome
from cronsvc.errors import Conflict, InvalidInput
from cronsvc.handlers import Child
from cronsvc.services.admission import release_held
from cronsvc.services.settling import end_overdue_parents, settle_ends
from cronsvc.services.upkeep import prune
from cronsvc.store import children as statements
from cronsvc.store.pool import Database
from tests.support.backfills import worker
from tests.support.chains import plain, run_waiting, to_rest, trigger
from tests.support.control import ALICE, Desk
from tests.support.families import Parent, family
from tests.support.rows import fetch, one

PARENT = json.dumps({"type": "CALL", "config": {"url": "https://example.com/", "children": True}})


@pytest.fixture
def desk(db: Database) -> Desk:
    return Desk(db)


async def parent_job(db: Database, **columns: Any) -> int:
    return await plain(db, task_payload=PARENT, **columns)


def three(job: int | str, **fields: Any) -> list[Child]:
    return [Child(job, {"service": name}, **fields) for name in ("a", "b", "c")]


async def test_cancelling_a_parent_that_waits_cancels_its_children(db: Database, desk: Desk) -> None:
    child = await plain(db)
    started = await trigger(desk, await parent_job(db))
    await run_waiting(db, await worker(db, Parent(lambda: three(child))))
    running = await one(
        db,
        "UPDATE job_executions SET status = 'RUNNING', attempt = 1, claim_no = 1"
        " WHERE id = (SELECT min(id) FROM job_executions WHERE parent_id = %s) RETURNING id",
        started,
    )
    assert (await desk.endings.cancel(started, ALICE)).status == "CANCELLED"
    while await settle_ends(db, desk.dispatcher):
        pass
    assert await family(db, started) == ("CANCELLED", "user", None, None, {"CANCELLED": 2, "RUNNING": 1})
    asked = await one(db, "SELECT cancel_requested_by, cancel_reason FROM job_executions WHERE id = %s", *running)
    assert asked == ("cronsvc:parent", "parent")
    reasons = "SELECT DISTINCT status_reason FROM job_executions WHERE parent_id = %s AND status = 'CANCELLED'"
    assert await fetch(db, reasons, started) == [("parent",)]


async def test_a_cancel_that_comes_before_the_handler_ends_is_kept(db: Database, desk: Desk) -> None:
    child = await plain(db)
    started = await trigger(desk, await parent_job(db))

    class Asked(Parent):
        async def run(self, config: Any, context: Any) -> Outcome:
            outcome = await super().run(config, context)
            await desk.endings.cancel(context.execution_id, ALICE)
            with pytest.raises(Conflict):
                await context.fan_out.start(three(child), wait=True, tolerate=0)
            return outcome

    await run_waiting(db, await worker(db, Asked(lambda: three(child))))
    while await settle_ends(db, desk.dispatcher):
        pass
    assert await family(db, started) == ("CANCELLED", "user", None, None, {"CANCELLED": 3})


async def test_a_deadline_ends_the_waiting_and_the_children(db: Database, desk: Desk) -> None:
    child = await plain(db)
    started = await trigger(desk, await parent_job(db, deadline_seconds=3600, pause_after_failures=1))
    await run_waiting(db, await worker(db, Parent(lambda: three(child))))
    assert await end_overdue_parents(db) == 0
    await fetch(db, "UPDATE job_executions SET deadline_at = '2001-01-01' WHERE id = %s RETURNING 1", started)
    assert sum(await asyncio.gather(*(end_overdue_parents(db) for _ in range(2)))) == 1
    while await settle_ends(db, desk.dispatcher):
        pass
    assert await family(db, started) == ("FAILED", "timeout", None, None, {"CANCELLED": 3})
    assert await one(db, "SELECT paused_by FROM jobs WHERE pause_after_failures = 1") == ("cronsvc:ends",)


async def test_the_end_of_the_waiting_waits_for_nobody_and_asks_again(db: Database, desk: Desk) -> None:
    """Somebody has one of them locked, and another got more time since it was found."""
    child, parent = await plain(db), await parent_job(db, deadline_seconds=3600)
    started = [await trigger(desk, parent) for _ in range(3)]
    await run_waiting(db, await worker(db, Parent(lambda: three(child))))
    await fetch(db, "UPDATE job_executions SET deadline_at = '2001-01-01' WHERE held = 'children' RETURNING 1")
    async with db.statements() as conn:
        found = [(job_id, instant) for job_id, instant, _ in await statements.overdue(conn, batch=10)]
    assert len(found) == 3
    longer = "UPDATE job_executions SET deadline_at = now() + interval '1 hour' WHERE id = %s RETURNING 1"
    await fetch(db, longer, started[1])
    async with db.transaction() as holding, db.transaction() as ending:
        await holding.execute("SELECT FROM job_executions WHERE id = %s FOR UPDATE", (started[0],))
        await ending.execute("SET LOCAL lock_timeout = '500ms'")
        assert len(await statements.end_overdue(ending, found)) == 1
    assert [(await family(db, each))[0] for each in started] == ["RUNNING", "RUNNING", "FAILED"]


async def test_a_parent_that_waits_takes_no_place_under_a_limit(db: Database, desk: Desk) -> None:
    """Parent and children share one place: they would wait for each other for ever."""
    child = await plain(db, max_concurrency=1, concurrency_key="k")
    started = await trigger(desk, await parent_job(db, max_concurrency=1, concurrency_key="k"))
    runner = await worker(db, Parent(lambda: three(child)))
    for _ in range(4):  # one of the children has the place, the others are held until it is free
        await to_rest(db, desk, runner)
        await release_held(db, desk.dispatcher)
    assert (await family(db, started))[0] == "SUCCESS"


async def test_a_newer_run_replaces_a_parent_that_waits(db: Database, desk: Desk) -> None:
    first, child = await plain(db), await plain(db)
    parent = await parent_job(db, overlap_policy="terminate_other", depends_on=json.dumps({"on": [{"jobId": first}]}))
    started = await trigger(desk, parent)
    runner = await worker(db, Parent(lambda: three(child)))
    await run_waiting(db, runner)
    await fetch(db, "UPDATE job_executions SET held = 'limit' WHERE parent_id = %s RETURNING 1", started)
    await trigger(desk, first)
    await run_waiting(db, runner)
    while await settle_ends(db, desk.dispatcher):
        pass
    assert await family(db, started) == ("CANCELLED", "replaced", None, None, {"CANCELLED": 3})


async def test_children_outlive_pruning_while_their_parent_waits(db: Database, desk: Desk) -> None:
    child = await plain(db, retention='{"keepCompleted": 0, "keepFailed": 0, "days": 90}')
    started = await trigger(desk, await parent_job(db))
    runner = await worker(db, Parent(lambda: three(child)))
    await run_waiting(db, runner)
    await run_waiting(db, runner)
    assert await prune(db) == 0
    await to_rest(db, desk, runner)
    assert (await family(db, started))[0] == "SUCCESS"
    assert await prune(db) == 3


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ([Child("nobody")], "children[0].job"),
        ([Child("red-job")], "children[0].job"),
        ([Child(True)], "children[0].job"),
        ([Child("child", delay_seconds=-1)], "children[0].delay_seconds"),
        ([Child("child", delay_seconds=float("nan"))], "children[0].delay_seconds"),
        ([Child("child", {"x": "a" * 70_000})], "children[0].params"),
        ([Child("child", {"x": object()})], "children[0].params"),
        ([Child("child"), Child("child", key="#1.0")], "children[1].key"),
        ([Child("child", key="a"), Child("child", key="a")], "children"),
        ([Child("child")] * 10_001, "children"),
    ],
)
async def test_what_cannot_be_started_is_refused_whole(
    db: Database, desk: Desk, wanted: list[Child], field: str
) -> None:
    await plain(db, name="child")
    await plain(db, name="red-job", namespace="red")
    fields: list[str] = []

    class Refused(Parent):
        async def run(self, config: Any, context: Any) -> Outcome:
            try:
                return await super().run(config, context)
            except InvalidInput as error:
                fields.extend(each.field for each in error.errors)
                return Outcome()

    await trigger(desk, await parent_job(db))
    await run_waiting(db, await worker(db, Refused(lambda: wanted)))
    assert fields == [field]
    assert await one(db, "SELECT count(*) FROM job_executions") == (1,)


async def test_thousands_of_children_are_a_few_statements(
    db: Database, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = await plain(db)
    inserts = 0
    insert = statements.insert

    async def counted(*args: Any, **options: Any) -> dict[str, int]:
        nonlocal inserts
        inserts += 1
        return await insert(*args, **options)

    monkeypatch.setattr(statements, "insert", counted)
    executor = Parent(lambda: [Child(child)] * 10_000)
    started = await trigger(desk, await parent_job(db))
    await run_waiting(db, await worker(db, executor))
    assert await family(db, started) == ("RUNNING", None, "children", None, {"QUEUED": 10_000})
    assert len(set(executor.ids[0])) == 10_000
    assert inserts <= 6
