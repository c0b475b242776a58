"""The params of a run: where they end up by job type, for a trigger, another try, a retry by hand and a backfill."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cronsvc.domain.execution import ErrorDetail, Outcome, Ticket
from cronsvc.domain.job import TaskPayload
from cronsvc.domain.schedule import Schedule
from cronsvc.errors import InvalidInput
from cronsvc.executors.base import ExecutorSettings, RunContext
from cronsvc.executors.options import merged
from cronsvc.executors.python import Python
from cronsvc.services.backfilling import advance_backfills
from cronsvc.services.backfills import Backfills, Wish
from cronsvc.services.jobs import Jobs
from cronsvc.services.running import Runner
from cronsvc.store.pool import Database
from tests.support.control import ALICE, Desk, definition
from tests.support.job_types import Scripted
from tests.support.rows import fetch, one
from tests.support.running import attempt, runner

CONFIG: dict[str, Any] = {
    "handler": "echo",
    "params": {"syncType": "incremental", "limits": {"users": 10, "groups": 5}},
}


class PythonDesk(Desk):
    """A service desk whose jobs are PYTHON ones, and a worker for them."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.python = Python(ExecutorSettings(handler_modules=("tests.support.handlers",)), installed=())
        self.jobs = Jobs(db, {"PYTHON": self.python}, self.dispatcher, "default")
        self.backfills = Backfills(db, {"PYTHON": self.python})

    async def worker(self, db: Database) -> Runner:
        return await runner(db, self.python, type_="PYTHON")


async def results(db: Database) -> list[Any]:
    return [params for (params,) in await fetch(db, "SELECT result -> 'params' FROM job_executions ORDER BY id")]


@pytest.mark.parametrize(
    ("params", "config"),
    [
        ({"syncType": "full"}, {"handler": "echo", "params": {**CONFIG["params"], "syncType": "full"}}),
        (
            {"limits": {"users": 1}},
            {"handler": "echo", "params": {"syncType": "incremental", "limits": {"users": 1, "groups": 5}}},
        ),
        ({"handler": "other"}, {**CONFIG, "handler": "other"}),
        ({"params": {"a": 1}}, {"handler": "echo", "params": {**CONFIG["params"], "a": 1}}),
        (
            {"params": {"a": 1, "b": 1}, "a": 2, "handler": "other"},
            {"handler": "other", "params": {**CONFIG["params"], "a": 2, "b": 1}},
        ),
        ({}, CONFIG),
        (None, CONFIG),
    ],
)
def test_keys_of_the_config_go_there_and_all_others_to_the_handler(
    params: dict[str, Any] | None, config: dict[str, Any]
) -> None:
    before = {**CONFIG, "params": {**CONFIG["params"]}}
    assert merged(Python(ExecutorSettings(), installed=()), CONFIG, params) == config
    assert before == CONFIG


def test_a_type_that_says_nothing_gets_a_plain_merge() -> None:
    assert merged(Scripted(), {"a": {"b": 1}, "c": 1}, {"a": {"d": 2}, "e": 3}) == {
        "a": {"b": 1, "d": 2},
        "c": 1,
        "e": 3,
    }


async def test_what_a_trigger_brings_reaches_the_handler_and_again_after_a_retry(db: Database) -> None:
    desk = PythonDesk(db)
    job = await desk.jobs.create(definition(task_payload=TaskPayload("PYTHON", CONFIG)), ALICE)
    execution = await desk.jobs.trigger(job.id, ALICE, params={"syncType": "full"})
    worker = await desk.worker(db)
    await attempt(worker, desk.tickets[-1])
    expected = {"syncType": "full", "limits": {"users": 10, "groups": 5}}
    assert await results(db) == [expected]
    async with db.transaction() as conn:
        await conn.execute("UPDATE job_executions SET result = NULL")
    await desk.endings.retry(execution.id, ALICE)
    await attempt(worker, desk.tickets[-1])
    assert await results(db) == [expected]


async def test_another_try_is_given_the_same(db: Database) -> None:
    desk = PythonDesk(db)
    seen: list[Any] = []

    class Failing(Python):
        async def run(self, config: Any, context: RunContext) -> Outcome:
            seen.append(config.params)
            return Outcome(error=ErrorDetail("handler_error", "not yet"), retryable=True)

    worker = await runner(
        db, Failing(ExecutorSettings(handler_modules=("tests.support.handlers",)), installed=()), type_="PYTHON"
    )
    job = await desk.jobs.create(definition(task_payload=TaskPayload("PYTHON", CONFIG), max_attempts=2), ALICE)
    await desk.jobs.trigger(job.id, ALICE, params={"syncType": "full"})
    await attempt(worker, desk.tickets[-1])
    async with db.transaction() as conn:
        await conn.execute("UPDATE job_executions SET ready_at = clock_timestamp()")
    row = await one(db, "SELECT id, job_id, scheduled_time, claim_no, queue, priority FROM job_executions")
    await attempt(worker, Ticket(*row))
    assert [params["syncType"] for params in seen] == ["full", "full"]


async def test_what_a_backfill_brings_reaches_the_handler(db: Database) -> None:
    desk = PythonDesk(db)
    hourly = definition(
        task_payload=TaskPayload("PYTHON", CONFIG), schedule=Schedule(cron_expression="0 * * * *"), max_attempts=1
    )
    job = await desk.jobs.create(hourly, ALICE)
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    async with db.transaction() as conn:
        await conn.execute("UPDATE jobs SET last_fire_time = %s", (now,))
    wish = Wish(now - timedelta(hours=2), now - timedelta(hours=1), max_parallel=2, params={"syncType": "full"})
    await desk.backfills.start(job.id, wish, ALICE)
    await advance_backfills(db, desk.dispatcher)
    worker = await desk.worker(db)
    for ticket in list(desk.tickets):
        await attempt(worker, ticket)
    assert [params["syncType"] for params in await results(db)] == ["full", "full"]


async def test_a_bad_member_of_the_config_is_named_as_it_was_given(db: Database) -> None:
    desk = PythonDesk(db)
    job = await desk.jobs.create(definition(task_payload=TaskPayload("PYTHON", CONFIG)), ALICE)
    with pytest.raises(InvalidInput) as refused:
        await desk.jobs.trigger(job.id, ALICE, params={"handler": "nobody", "anything": 1})
    assert [error.field for error in refused.value.errors] == ["params.handler"]
