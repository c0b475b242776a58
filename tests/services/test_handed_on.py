"""Params that one execution hands to another: which jobs they do not reach, and what they do not choose there."""

import json
from typing import Any

import pytest

from cronsvc.domain.execution import Outcome
from cronsvc.executors.api_call import ApiCall
from cronsvc.executors.base import ExecutorSettings, RunContext
from cronsvc.handlers import Child
from cronsvc.services.running import Runner
from cronsvc.store.pool import Database
from tests.support.chains import plain, run_waiting, trigger
from tests.support.control import Desk
from tests.support.families import Parent
from tests.support.job_types import Scripted
from tests.support.rows import fetch, one
from tests.support.running import attempt, runner, state, waiting, worker

SECRET = {"headers": {"Authorization": "Bearer {{secret:token}}"}}
ELSEWHERE: dict[str, Any] = {
    "url": "https://other.example/",
    "method": "DELETE",
    "auth": {"type": "bearer", "token": "x"},
    "tls": {"verify": False},
    "signing": {"secret": "whsec_x"},
    "followRedirects": 3,
    "completion": {"mode": "callback"},
}


class Recorded(ApiCall):
    """API_CALL, but for the call: keeps where it would have gone."""

    def __init__(self) -> None:
        super().__init__(ExecutorSettings())
        self.urls: list[str] = []

    async def run(self, config: Any, context: RunContext) -> Outcome:
        self.urls.append(str(config.url))
        return Outcome()


class Admins(Scripted):
    """A job type that is an admin's to define."""

    role = "admin"


async def run_with(
    db: Database, params: dict[str, Any], config: dict[str, Any], trigger: str = "dependency"
) -> tuple[list[str], tuple[object, ...]]:
    """Where an execution with these params was sent, and its end."""
    executor = Recorded()
    payload = {"type": "API_CALL", "config": {"url": "https://h.example/", **config}}
    ticket = await waiting(db, task_payload=json.dumps(payload))
    await fetch(db, "UPDATE job_executions SET trigger = %s, params = %s RETURNING 1", trigger, json.dumps(params))
    await attempt(await runner(db, executor), ticket)
    status, *_ = await state(db, ticket)
    (error,) = await one(db, "SELECT error FROM job_executions")
    return executor.urls, (status, error and error["type"], error and error["message"])


@pytest.mark.parametrize("member", ELSEWHERE)
async def test_they_do_not_choose_where_secrets_go(db: Database, member: str) -> None:
    urls, (status, kind, words) = await run_with(db, {member: ELSEWHERE[member], "json": {"n": 1}}, SECRET)
    assert (urls, status, kind) == ([], "FAILED", "invalid_config")
    assert f"cannot set {member} of a job that names secrets" in str(words)


async def test_they_say_what_is_sent(db: Database) -> None:
    urls, (status, *_) = await run_with(db, {"json": {"n": 1}, "params": {"q": 1}, "headers": {"X-Part": "7"}}, SECRET)
    assert (urls, status) == (["https://h.example/?q=1"], "SUCCESS")


@pytest.mark.parametrize(("config", "by"), [({}, "dependency"), (SECRET, "manual")])
async def test_without_secrets_or_by_somebody_with_a_role_they_choose_the_target(
    db: Database, config: dict[str, Any], by: str
) -> None:
    urls, (status, *_) = await run_with(db, {"url": "https://other.example/"}, config, by)
    assert (urls, status) == (["https://other.example/"], "SUCCESS")


async def test_children_of_an_admins_type_are_started_without_params_only(db: Database) -> None:
    desk, admins = Desk(db), Admins()
    child = await plain(db, task_payload=json.dumps({"type": "ADMINS", "config": {"statement": "SELECT 1"}}))
    payload = {"type": "CALL", "config": {"url": "https://example.com/", "children": True}}
    parent = Parent(lambda: [Child(child), Child(child, {"statement": "DROP TABLE x"})], wait=False)
    await trigger(desk, await plain(db, task_payload=json.dumps(payload)))
    one_worker = Runner(db, {"CALL": parent, "ADMINS": admins}, worker_id=await worker(db))
    await run_waiting(db, one_worker)
    await run_waiting(db, one_worker)
    assert admins.configs == [{"statement": "SELECT 1"}]
    ends = await fetch(
        db,
        "SELECT status, error ->> 'type', error ->> 'message', attempt FROM job_executions"
        " WHERE parent_id IS NOT NULL ORDER BY child_key",
    )
    words = "params that another execution handed on cannot be given to jobs of type ADMINS: that takes the role admin"
    assert ends == [("SUCCESS", None, None, 1), ("FAILED", "invalid_config", words, 1)]
