"""Attempts that need secrets: what they are given, what becomes of it, and what their rows may not show."""

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cronsvc.domain.execution import ErrorDetail, Outcome
from cronsvc.domain.job import TaskPayload
from cronsvc.domain.schedule import Schedule
from cronsvc.errors import InvalidInput
from cronsvc.executors.api_call import ApiCall
from cronsvc.executors.base import Executor, ExecutorSettings, RunContext
from cronsvc.services.access import Caller, Role
from cronsvc.services.backfills import Backfills, Wish
from cronsvc.services.jobs import Jobs
from cronsvc.services.running import Runner
from cronsvc.services.sealing import Keyring, new_key
from cronsvc.services.secret_reading import SecretReader
from cronsvc.services.secrets import Secrets
from cronsvc.store.pool import Database
from tests.support.control import Desk, definition
from tests.support.job_types import Scripted
from tests.support.rows import fetch, one
from tests.support.running import attempt, outcomes, state, waiting, worker

ADMIN = Caller("key:admin", Role.ADMIN, None, None)
VALUE = "hunter2-hunter2"
REFERENCE = {"type": "API_CALL", "config": {"url": "https://h.example/", "headers": {"X": "{{secret:token}}"}}}


class Asking(Scripted):
    """Asks for the secret `token` and does with it what a test says."""

    secret_members = ("headers",)

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.made = answer
        self.values: list[str] = []

    async def run(self, config: Any, context: RunContext) -> Outcome:
        self.calls.append(context)
        value = (await context.secrets.values(["token"]))["token"]
        self.values.append(value)
        made = self.made(value, context)
        assert isinstance(made, Outcome)
        return made


@pytest.fixture
async def keyring(db: Database) -> Keyring:
    """A keyring, and the secret `token` in the default namespace."""
    keyring = Keyring([new_key()])
    await Secrets(db, keyring).set("default", "token", VALUE, ADMIN)
    return keyring


async def runner(db: Database, executor: Any, keyring: Keyring | None) -> Runner:
    secrets = SecretReader(db, keyring)
    return Runner(db, {"API_CALL": executor}, worker_id=await worker(db), secrets=secrets)


async def test_an_attempt_has_the_value_and_its_row_has_not(
    db: Database, keyring: Keyring, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def leak(value: str, context: RunContext) -> Outcome:
        context.log(f"sending {value}", token=value)
        return Outcome(
            error=ErrorDetail("http_status", f"it said {value}"),
            result={"echo": [value], value: 1},
            excerpt=f"<p>{value}</p>",
        )

    executor = Asking(leak)
    ticket = await waiting(db, task_payload=json.dumps(REFERENCE), max_attempts=1)
    await attempt(await runner(db, executor, keyring), ticket)
    assert executor.values == [VALUE]
    row = await one(db, "SELECT error ->> 'message', log_details::text FROM job_executions")
    assert row[0] == "it said [secret]"
    assert "sending [secret]" in row[1]
    (excerpt,) = await one(db, "SELECT response_excerpt FROM job_attempts")
    assert excerpt == "<p>[secret]</p>"
    texts = await fetch(
        db,
        "SELECT e::text FROM job_executions e UNION ALL SELECT a::text FROM job_attempts a UNION ALL "
        "SELECT r::text FROM job_revisions r UNION ALL SELECT l::text FROM audit_log l",
    )
    assert not any(VALUE in text for (text,) in texts)
    assert VALUE not in caplog.text
    (used,) = await one(db, "SELECT last_used_at IS NOT NULL FROM secrets")
    assert used is True


async def test_an_exception_that_holds_a_secret_is_logged_without_it(
    db: Database, keyring: Keyring, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(value: str, _: RunContext) -> Outcome:
        raise RuntimeError(f"cannot send {value}")

    ticket = await waiting(db, task_payload=json.dumps(REFERENCE))
    await attempt(await runner(db, Asking(fail), keyring), ticket)
    assert "cannot send [secret]" in caplog.text
    assert VALUE not in caplog.text
    assert await outcomes(db, ticket) == [(1, "error")]


async def test_a_new_value_holds_for_the_next_attempt(db: Database, keyring: Keyring) -> None:
    executor = Asking(lambda _value, _context: Outcome())
    one_worker = await runner(db, executor, keyring)
    await attempt(one_worker, await waiting(db, task_payload=json.dumps(REFERENCE)))
    await Secrets(db, keyring).set("default", "token", "another-value", ADMIN)
    await attempt(one_worker, await waiting(db, task_payload=json.dumps(REFERENCE)))
    assert executor.values == [VALUE, "another-value"]


async def error(db: Database) -> tuple[str, str]:
    (found,) = await one(db, "SELECT error FROM job_executions")
    return found["type"], found["message"]


async def test_a_secret_that_is_gone_is_a_failure_for_good(db: Database, keyring: Keyring) -> None:
    await Secrets(db, keyring).delete("default", "token", ADMIN)
    ticket = await waiting(db, task_payload=json.dumps(REFERENCE))
    await attempt(await runner(db, Asking(None), keyring), ticket)
    assert await state(db, ticket) == ("FAILED", "error", 1, 1)
    assert await error(db) == ("secret_unknown", "there is no secret 'token' in the namespace 'default'")


async def test_a_secret_of_another_namespace_is_no_secret(db: Database, keyring: Keyring) -> None:
    ticket = await waiting(db, task_payload=json.dumps(REFERENCE), namespace="red", max_attempts=1)
    await attempt(await runner(db, Asking(None), keyring), ticket)
    assert (await error(db))[0] == "secret_unknown"


@pytest.mark.parametrize("keys", [(), (new_key(),)])
async def test_a_worker_without_the_key_says_so(db: Database, keyring: Keyring, keys: tuple[str, ...]) -> None:
    executor = Asking(None)
    ticket = await waiting(db, task_payload=json.dumps(REFERENCE), max_attempts=1)
    await attempt(await runner(db, executor, Keyring.of(keys)), ticket)
    assert (await error(db))[0] == "secret_unreadable"
    assert executor.values == []


async def test_a_ciphertext_moved_to_another_row_is_unreadable(db: Database, keyring: Keyring) -> None:
    await Secrets(db, keyring).set("default", "other", "other-value", ADMIN)
    async with db.transaction() as conn:
        await conn.execute(
            "UPDATE secrets SET ciphertext = (SELECT ciphertext FROM secrets WHERE name = 'other') WHERE name = 'token'"
        )
    ticket = await waiting(db, task_payload=json.dumps(REFERENCE), max_attempts=1)
    await attempt(await runner(db, Asking(None), keyring), ticket)
    assert (await error(db))[0] == "secret_unreadable"


async def test_data_that_another_execution_hands_on_chooses_no_secret(db: Database, keyring: Keyring) -> None:
    executor = Asking(None)
    ticket = await waiting(db, max_attempts=1)
    async with db.transaction() as conn:
        await conn.execute(
            "UPDATE job_executions SET trigger = 'dependency', params = %s",
            [json.dumps({"headers": {"X": "{{secret:token}}"}})],
        )
    await attempt(await runner(db, executor, keyring), ticket)
    assert executor.calls == []
    assert (await error(db))[0] == "invalid_config"


# ---- what is asked of references when they are written


@pytest.fixture
def jobs(db: Database) -> Jobs:
    executors: dict[str, Executor] = {"API_CALL": ApiCall(ExecutorSettings()), "CALL": Scripted()}
    return Jobs(db, executors, Desk(db).dispatcher, "default")


def with_config(kind: str = "API_CALL", **config: Any) -> Any:
    return definition(task_payload=TaskPayload(kind, {"url": "https://h.example/", **config}))


def faults(error: InvalidInput) -> dict[str, str]:
    return {each.field: each.reason for each in error.errors}


async def test_unknown_and_misplaced_secrets_are_named_with_every_other_fault(jobs: Jobs, keyring: Keyring) -> None:
    broken = with_config(
        headers={"X": "{{secret:token}}", "Y": "{{secret:gone}}"},
        method="{{secret:token}}",
        params={"{{secret:token}}": "{{secret:a b}}"},
    )
    with pytest.raises(InvalidInput) as caught:
        await jobs.create(replace(broken, schedule=Schedule(cron_expression="nonsense")), ADMIN)
    found = faults(caught.value)
    assert found["taskPayload.config.headers.Y"] == "there is no secret 'gone' in the namespace 'default'"
    assert "cannot hold a secret" in found["taskPayload.config.method"]
    assert "cronExpression" in found
    assert "taskPayload.config.headers.X" not in found


async def test_a_job_type_that_takes_no_secrets_refuses_them(jobs: Jobs, keyring: Keyring) -> None:
    with pytest.raises(InvalidInput, match="cannot hold a secret in a job of this type"):
        await jobs.create(with_config("CALL", x="{{secret:token}}"), ADMIN)


async def test_a_definition_keeps_what_it_named_before(jobs: Jobs, keyring: Keyring, db: Database) -> None:
    job = await jobs.create(with_config(headers={"X": "{{secret:token}}"}), ADMIN)
    await Secrets(db, keyring).delete("default", "token", ADMIN)
    edited = await jobs.edit(job.id, lambda each: replace(each, description="still there"), ADMIN)
    assert edited.revision == 2
    with pytest.raises(InvalidInput, match="there is no secret 'gone'"):
        await jobs.replace(job.id, with_config(headers={"X": "{{secret:gone}}"}), ADMIN)
    with pytest.raises(InvalidInput, match="namespace 'red'"):
        await jobs.edit(job.id, lambda each: replace(each, namespace="red"), ADMIN)


async def test_params_may_name_secrets_that_are_there(jobs: Jobs, keyring: Keyring, db: Database) -> None:
    job = await jobs.create(with_config(), ADMIN)
    run = await jobs.trigger(job.id, ADMIN, params={"headers": {"X": "{{secret:token}}"}})
    assert run.params == {"headers": {"X": "{{secret:token}}"}}
    with pytest.raises(InvalidInput) as caught:
        await jobs.trigger(job.id, ADMIN, params={"headers": {"X": "{{secret:gone}}"}})
    assert list(faults(caught.value)) == ["params.headers.X"]


async def test_backfills_are_asked_the_same(jobs: Jobs, keyring: Keyring, db: Database) -> None:
    job = await jobs.create(with_config(), ADMIN)
    end = datetime.now(UTC)
    wish = Wish(start=end - timedelta(days=1), end=end, params={"headers": {"X": "{{secret:gone}}"}})
    with pytest.raises(InvalidInput, match="there is no secret 'gone'"):
        await Backfills(db, {"API_CALL": ApiCall(ExecutorSettings())}).start(job.id, wish, ADMIN)
