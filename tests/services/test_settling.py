"""What one transaction does of what ends bring about: a bounded share, and nothing that has been overtaken."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import pytest

from cronsvc.handlers import Child
from cronsvc.services.settling import settle_ends
from cronsvc.store import children, dependencies
from cronsvc.store.dependencies import Concerned
from cronsvc.store.pool import Conn, Database
from tests.support.backfills import worker
from tests.support.chains import after, gaps, noted, plain, run_waiting, trigger
from tests.support.control import ALICE, Desk
from tests.support.families import Parent, family
from tests.support.job_types import Scripted
from tests.support.rows import fetch, one

PARENT = json.dumps({"type": "CALL", "config": {"url": "https://example.com/", "children": True}})

PER_JOB = """
SELECT count(*), count(DISTINCT causes -> 0 ->> 'executionId') FROM job_executions
 WHERE trigger = 'dependency' GROUP BY job_id
"""


@pytest.fixture
def desk(db: Database) -> Desk:
    return Desk(db)


async def many_after(db: Database, upstream: int, number: int) -> None:
    """So many jobs that run after every end of that one."""
    wanted = json.dumps({"mode": "any", "on": [{"jobId": upstream, "when": "always"}]})
    payload = json.dumps({"type": "CALL", "config": {"url": "https://example.com/"}})
    statement = (
        "INSERT INTO jobs (name, depends_on, task_payload) SELECT 'after-' || n, %s::jsonb, %s::jsonb"
        " FROM generate_series(1, %s) AS n RETURNING id"
    )
    assert len(await fetch(db, statement, wanted, payload, number)) == number


async def end(db: Database, desk: Desk, job_id: int, times: int) -> None:
    for _ in range(times):
        await trigger(desk, job_id)
    await run_waiting(db, await worker(db, Scripted()))


async def written(db: Database) -> int:
    (number,) = await one(db, "SELECT count(*) FROM job_executions WHERE trigger = 'dependency'")
    return int(number)


async def test_a_batch_has_no_more_ends_than_their_dependents_allow(db: Database, desk: Desk) -> None:
    first = await plain(db)
    await many_after(db, first, 30)
    await end(db, desk, first, 5)
    assert [await settle_ends(db, desk.dispatcher, batch=8) for _ in range(4)] == [2, 2, 1, 0]
    assert await fetch(db, PER_JOB) == [(5, 5)] * 30
    assert await gaps(db) == []


async def test_an_end_with_very_many_dependents_is_acted_on_in_parts(db: Database, desk: Desk) -> None:
    first, other = await plain(db), await plain(db)
    await many_after(db, first, 45)
    await end(db, desk, first, 2)
    await end(db, desk, other, 1)
    rows = []
    while await settle_ends(db, desk.dispatcher, batch=2):
        rows.append(await written(db))
    assert rows == [20, 40, 45, 65, 85, 90]
    assert await fetch(db, PER_JOB) == [(2, 2)] * 45
    assert await noted(db) == 0
    assert await gaps(db) == []


async def test_many_schedulers_do_the_parts_of_an_end_once(db: Database, desk: Desk) -> None:
    """Its note says how far it is, and a smaller batch goes on where a larger one has left off."""
    first = await plain(db)
    await many_after(db, first, 90)
    await end(db, desk, first, 1)
    assert await settle_ends(db, desk.dispatcher, batch=4, advisory_locks=False) == 1
    assert await written(db) == 40
    assert await settle_ends(db, desk.dispatcher, batch=2, advisory_locks=False) == 1
    assert await written(db) == 60
    assert await settle_ends(db, desk.dispatcher, advisory_locks=False) == 1
    assert await fetch(db, PER_JOB) == [(1, 1)] * 90
    assert await noted(db) == 0


async def test_the_job_of_a_parent_that_has_heard_of_an_end_does_not_hear_twice(db: Database, desk: Desk) -> None:
    """The last part of an end also ends the parent, whose job is one of the dependents of the first part."""
    child = await plain(db)
    wanted = json.dumps({"mode": "any", "on": [{"jobId": child, "when": "always"}]})
    parent = await plain(db, task_payload=PARENT, depends_on=wanted)
    await many_after(db, child, 24)
    started = await trigger(desk, parent)
    runner = await worker(db, Parent(lambda: [Child(child)]))
    await run_waiting(db, runner)
    await settle_ends(db, desk.dispatcher)
    await run_waiting(db, runner)
    assert [await settle_ends(db, desk.dispatcher, batch=2) for _ in range(4)] == [
        1,
        1,
        1,
        0,
    ]  # the last: the parent's end
    assert (await family(db, started))[0] == "SUCCESS"
    assert sum(count for count, _ in await fetch(db, PER_JOB)) == 1 + 25  # the child, and one for each dependent


async def test_a_parent_that_runs_again_keeps_its_children(db: Database, desk: Desk) -> None:
    """The note of its cancellation is looked at when somebody has let it run again already."""
    child = await plain(db)
    started = await trigger(desk, await plain(db, task_payload=PARENT))
    await run_waiting(db, await worker(db, Parent(lambda: [Child(child)] * 3)))
    await desk.endings.cancel(started, ALICE)
    await desk.endings.retry(started, ALICE)
    while await settle_ends(db, desk.dispatcher):
        pass
    assert await family(db, started) == ("QUEUED", None, None, None, {"QUEUED": 3})
    assert await noted(db) == 0


async def test_children_are_called_off_in_a_transaction_of_its_own(
    db: Database, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Together with what dependents lock it would be in no order of keys."""
    transactions: dict[str, set[Any]] = {"jobs": set(), "children": set()}
    lock_jobs, cancel_children = dependencies.lock_jobs, children.cancel_children

    async def current(conn: Conn) -> Any:
        return await (await conn.execute("SELECT pg_current_xact_id()::text")).fetchone()

    async def locked(conn: Conn, *args: Collection[int], **options: Any) -> tuple[list[Concerned], datetime | None]:
        transactions["jobs"].add(await current(conn))
        return await lock_jobs(conn, *args, **options)

    async def called_off(conn: Conn, parent_ids: Sequence[int]) -> int:
        transactions["children"].add(await current(conn))
        return await cancel_children(conn, parent_ids)

    monkeypatch.setattr(dependencies, "lock_jobs", locked)
    monkeypatch.setattr(children, "cancel_children", called_off)
    child, parent = await plain(db), await plain(db, task_payload=PARENT)
    await after(db, {"jobId": parent, "when": "always"})
    started = await trigger(desk, parent)
    await run_waiting(db, await worker(db, Parent(lambda: [Child(child)] * 3)))
    await desk.endings.cancel(started, ALICE)
    while await settle_ends(db, desk.dispatcher):
        pass
    assert await family(db, started) == ("CANCELLED", "user", None, None, {"CANCELLED": 3})
    assert len(transactions["children"]) == 1
    assert transactions["jobs"]
    assert not transactions["jobs"] & transactions["children"]
