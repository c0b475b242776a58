"""A parent that a person lets run again: its children that had failed run again with it, once."""

import json
from typing import Any

import pytest

from cronsvc.domain.execution import ErrorDetail, Outcome
from cronsvc.handlers import Child
from cronsvc.services.settling import settle_ends
from cronsvc.store.pool import Database
from tests.support.backfills import worker
from tests.support.chains import plain, run_waiting, to_rest, trigger
from tests.support.control import ALICE, Desk
from tests.support.families import FAILED, Parent, family
from tests.support.rows import fetch, one

PARENT = json.dumps({"type": "CALL", "config": {"url": "https://example.com/", "children": True}})

ATTEMPTS = "SELECT attempt FROM job_executions WHERE parent_id = %s ORDER BY id"


@pytest.fixture
def desk(db: Database) -> Desk:
    return Desk(db)


async def parent_job(db: Database, **columns: Any) -> int:
    return await plain(db, task_payload=PARENT, **columns)


async def test_children_that_failed_run_again_with_the_parent(db: Database, desk: Desk) -> None:
    child = await plain(db)
    answers = iter([FAILED, Outcome(), FAILED, Outcome(), Outcome()])
    executor = Parent(lambda: [Child(child)] * 3, answer=lambda _: next(answers))
    started = await trigger(desk, await parent_job(db))
    runner = await worker(db, executor)
    await to_rest(db, desk, runner)
    assert await family(db, started) == ("FAILED", "error", None, 100, {"FAILED": 2, "SUCCESS": 1})
    await desk.dead_letters.redrive(started, ALICE)
    await to_rest(db, desk, runner)
    assert await family(db, started) == ("SUCCESS", None, None, 100, {"SUCCESS": 3})
    assert executor.ids[0] == executor.ids[1]
    assert await fetch(db, ATTEMPTS, started) == [(2,), (1,), (2,)]


async def test_children_that_were_called_off_run_again_with_the_parent(db: Database, desk: Desk) -> None:
    child = await plain(db)
    runner = await worker(db, Parent(lambda: [Child(child)] * 3))
    started = await trigger(desk, await parent_job(db))
    await run_waiting(db, runner)
    await desk.endings.cancel(started, ALICE)
    while await settle_ends(db, desk.dispatcher):
        pass
    assert await family(db, started) == ("CANCELLED", "user", None, None, {"CANCELLED": 3})
    await desk.endings.retry(started, ALICE)
    await to_rest(db, desk, runner)
    assert await family(db, started) == ("SUCCESS", None, None, 100, {"SUCCESS": 3})


async def test_only_what_a_person_asked_for_and_only_once(db: Database, desk: Desk) -> None:
    """The parent is tried twice before and twice after: its child makes one attempt each time."""
    child = await plain(db)
    inner = await worker(db, Parent(list, answer=lambda _: FAILED))

    class Dying(Parent):
        async def run(self, config: Any, context: Any) -> Outcome:
            outcome = await super().run(config, context)
            await run_waiting(db, inner)
            return outcome

    executor = Dying(lambda: [Child(child, key="a")], then=Outcome(error=ErrorDetail("crash", "it died after them")))
    started = await trigger(desk, await parent_job(db, max_attempts=2, backoff='{"delaySeconds": 0}'))
    runner = await worker(db, executor)
    await to_rest(db, desk, runner)
    assert (await family(db, started))[0] == "FAILED"
    assert len(executor.ids) == 2
    assert await fetch(db, ATTEMPTS, started) == [(1,)]
    await desk.endings.retry(started, ALICE)
    await to_rest(db, desk, runner)
    assert len(executor.ids) == 4
    assert await fetch(db, ATTEMPTS, started) == [(2,)]
    assert await one(db, "SELECT children FROM job_executions WHERE id = %s", started) == (1,)
