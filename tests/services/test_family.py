"""Executions that start others: each child once, and a parent that waits without a worker until the last has ended."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from cronsvc.domain.execution import ErrorDetail, Outcome
from cronsvc.errors import Unavailable
from cronsvc.handlers import Child
from cronsvc.services.running import rescue
from cronsvc.services.settling import settle_ends
from cronsvc.store import dependencies
from cronsvc.store.dependencies import End
from cronsvc.store.pool import Conn, Database
from tests.support.backfills import worker
from tests.support.chains import after, gaps, plain, rows_of, run_waiting, to_rest, trigger
from tests.support.control import Desk
from tests.support.crashes import dying_after_commit, dying_at_statement
from tests.support.families import FAILED, Parent, family
from tests.support.job_types import Scripted
from tests.support.rows import fetch, one

PARENT = json.dumps({"type": "CALL", "config": {"url": "https://example.com/", "children": True}})


@pytest.fixture
def desk(db: Database) -> Desk:
    return Desk(db)


async def parent_job(db: Database, **columns: Any) -> int:
    return await plain(db, task_payload=PARENT, **columns)


def three(job: int | str, **fields: Any) -> list[Child]:
    return [Child(job, {"service": name}, **fields) for name in ("a", "b", "c")]


async def test_a_parent_waits_without_a_worker_and_ends_with_its_last_child(db: Database, desk: Desk) -> None:
    child = await plain(db, name="child")
    executor = Parent(lambda: three("child"))
    runner = await worker(db, executor)
    started = await trigger(desk, await parent_job(db))
    await run_waiting(db, runner)
    assert await family(db, started) == ("RUNNING", None, "children", None, {"QUEUED": 3})
    left = await one(db, "SELECT worker_id, end_time, result FROM job_executions WHERE id = %s", started)
    assert left == (None, None, {"started": 3})
    attempts = "SELECT outcome, worker_id FROM job_attempts WHERE execution_id = %s"
    assert await one(db, attempts, started) == ("success", runner.worker_id)
    assert await rescue(db, grace=timedelta(0)) == 0
    assert await settle_ends(db, desk.dispatcher) == 1
    assert await run_waiting(db, runner) == 3
    assert await settle_ends(db, desk.dispatcher) == 3
    assert await family(db, started) == ("SUCCESS", None, None, 100, {"SUCCESS": 3})
    rows = await fetch(
        db,
        "SELECT id, params, trigger, requested_by, date_trunc('second', scheduled_time) = scheduled_time"
        " FROM job_executions WHERE job_id = %s ORDER BY id",
        child,
    )
    assert [row[0] for row in rows] == executor.ids[0]
    assert [row[1] for row in rows] == [{"service": name} for name in "abc"]
    assert {row[2:] for row in rows} == {("dependency", f"execution:{started}", False)}
    assert await gaps(db) == []


async def test_children_that_are_not_waited_for_go_their_own_way(db: Database, desk: Desk) -> None:
    child = await plain(db)
    runner = await worker(db, Parent(lambda: three(child, delay_seconds=30), wait=False))
    started = await trigger(desk, await parent_job(db))
    await run_waiting(db, runner)
    assert await family(db, started) == ("SUCCESS", None, None, None, {"QUEUED": 3})
    late = await fetch(
        db,
        "SELECT ready_at - created_at > interval '29 seconds', dispatch_at >= ready_at FROM job_executions"
        " WHERE parent_id = %s",
        started,
    )
    assert late == [(True, True)] * 3
    assert await run_waiting(db, runner) == 0


@pytest.mark.parametrize(("tolerate", "status", "reason"), [(0, "FAILED", "error"), (1, "SUCCESS", None)])
async def test_a_parent_ends_as_its_children_did(
    db: Database, desk: Desk, tolerate: int, status: str, reason: str | None
) -> None:
    child = await plain(db)
    answers = iter([FAILED, Outcome(), Outcome()])
    executor = Parent(lambda: three(child), tolerate=tolerate, answer=lambda _: next(answers))
    started = await trigger(desk, await parent_job(db, pause_after_failures=1))
    await to_rest(db, desk, await worker(db, executor))
    assert await family(db, started) == (status, reason, None, 100, {"FAILED": 1, "SUCCESS": 2})
    error, paused = await one(
        db,
        "SELECT e.error ->> 'message', j.paused_at IS NOT NULL FROM job_executions e JOIN jobs j ON j.id = e.job_id"
        " WHERE e.id = %s",
        started,
    )
    assert error == ("1 of 3 children did not succeed" if tolerate == 0 else None)
    assert paused is (tolerate == 0)


async def test_a_job_after_the_parent_waits_for_its_real_end(db: Database, desk: Desk) -> None:
    child, parent = await plain(db), await parent_job(db)
    last = await after(db, parent)
    runner = await worker(db, Parent(lambda: three(child)))
    started = await trigger(desk, parent)
    await run_waiting(db, runner)
    while await settle_ends(db, desk.dispatcher):
        pass
    assert await rows_of(db, last) == []
    await to_rest(db, desk, runner)
    assert await rows_of(db, last) == [("SUCCESS", None, [started])]


async def test_the_last_two_children_that_end_together_end_the_parent_once(
    db: Database, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two schedulers take one end each before either looks at the parent."""
    child, parent = await plain(db), await parent_job(db)
    watcher = await after(db, {"jobId": parent, "when": "always"})
    runner, barrier, take = await worker(db, Parent(lambda: three(child)[:2])), asyncio.Barrier(2), dependencies.take

    async def take_together(conn: Conn, *, batch: int) -> list[End]:
        ends = await take(conn, batch=batch)
        await barrier.wait()
        return ends

    for _ in range(4):
        started = await trigger(desk, parent)
        await run_waiting(db, runner)
        assert await settle_ends(db, desk.dispatcher) == 1
        assert await run_waiting(db, runner) == 2
        with monkeypatch.context() as patch:
            patch.setattr(dependencies, "take", take_together)
            both = (settle_ends(db, desk.dispatcher, batch=1, advisory_locks=False) for _ in range(2))
            assert await asyncio.gather(*both) == [1, 1]
        assert (await family(db, started))[0] == "SUCCESS"
        await to_rest(db, desk, runner)
    assert len(await rows_of(db, watcher)) == 4


async def test_children_that_end_before_the_handler_end_the_parent_too(db: Database, desk: Desk) -> None:
    child, parent = await plain(db), await parent_job(db)
    plainly = await worker(db, Scripted())

    class Slow(Parent):
        async def run(self, config: Any, context: Any) -> Outcome:
            outcome = await super().run(config, context)
            await run_waiting(db, plainly)
            await settle_ends(db, desk.dispatcher)
            return outcome

    started = await trigger(desk, parent)
    await run_waiting(db, await worker(db, Slow(lambda: three(child))))
    assert (await family(db, started))[:3] == ("RUNNING", None, "children")
    await settle_ends(db, desk.dispatcher)
    assert (await family(db, started))[0] == "SUCCESS"


@pytest.mark.parametrize("keyed", [True, False])
async def test_a_parent_that_is_tried_again_starts_no_child_twice(db: Database, desk: Desk, keyed: bool) -> None:
    child = await plain(db)

    def wanted() -> list[Child]:
        return [Child(child, key=name if keyed else None) for name in ("a", "b")]

    executor = Parent(wanted, then=Outcome(error=ErrorDetail("crash", "it died after them")))
    started = await trigger(desk, await parent_job(db, max_attempts=2, backoff='{"delaySeconds": 0}'))
    runner = await worker(db, executor)
    for _ in range(2):
        await fetch(db, "UPDATE job_executions SET held = 'limit' WHERE parent_id IS NOT NULL RETURNING 1")
        assert await run_waiting(db, runner) == 1
    assert executor.ids[0] == executor.ids[1]
    assert (await family(db, started)) == ("FAILED", "error", None, None, {"QUEUED": 2})
    assert await one(db, "SELECT children FROM job_executions WHERE id = %s", started) == (2,)


@pytest.mark.parametrize("dying", [dying_at_statement, dying_after_commit])
async def test_a_fan_out_that_is_restarted_anywhere_runs_each_step_once(db: Database, desk: Desk, dying: Any) -> None:
    """The worker or the scheduler dies at one statement or after one commit; what is left begins again."""
    child = await plain(db)
    parent = await parent_job(db, max_attempts=5, backoff='{"delaySeconds": 0}')
    last = await after(db, parent)
    for place in range(200):
        executor = Parent(lambda: three(child))
        await fetch(db, "DELETE FROM job_executions RETURNING 1")
        started = await trigger(desk, parent)
        first = await worker(db, executor)
        with dying(place) as fuse:
            for _ in range(4):
                try:
                    await run_waiting(db, first)
                    await settle_ends(db, desk.dispatcher)
                except Unavailable:
                    break
                if fuse.blown:
                    break
        await fetch(db, "UPDATE workers SET lease_until = '2001-01-01' WHERE id = %s RETURNING 1", first.worker_id)
        await rescue(db, grace=timedelta(0))
        runner = await worker(db, executor)
        await fetch(db, "UPDATE job_executions SET ready_at = clock_timestamp() WHERE status = 'QUEUED' RETURNING 1")
        await to_rest(db, desk, runner)
        assert await family(db, started) == ("SUCCESS", None, None, 100, {"SUCCESS": 3}), place
        assert [row[0] for row in await rows_of(db, last)] == ["SUCCESS"], place
        assert await fetch(db, "SELECT * FROM execution_ends") == []
        if not fuse.blown:
            break
    assert place > 3
    assert fuse.blown is False
