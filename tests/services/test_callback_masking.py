"""What targets say in their calls of the secrets they were sent, and that none of it is kept."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cronsvc.domain import callback_token
from cronsvc.domain.execution import ErrorDetail, Status, Ticket
from cronsvc.executors.api_call import ApiCall
from cronsvc.executors.base import ExecutorSettings
from cronsvc.services.callback_masking import UNREADABLE
from cronsvc.services.callbacks import Callbacks, Ending, Line, News
from cronsvc.services.sealing import Keyring, new_key
from cronsvc.services.secrets import Secrets
from cronsvc.store.pool import Database
from tests.support.callbacks import accepting, grant_of, taken_over
from tests.support.control import ALICE
from tests.support.rows import one
from tests.support.running import attempt, runner, waiting

OLD_KEY = new_key()
KEYS = Keyring([OLD_KEY])
VALUE = "hunter2/hunter2"
OTHER = "another_secret_1"
LOGIN = base64.b64encode(f"me:{VALUE}".encode()).decode()
PAYLOAD = json.dumps(
    {
        "type": "API_CALL",
        "config": {
            "url": "https://h.example/",
            "auth": {"type": "basic", "username": "me", "password": "{{secret:token}}"},
            "completion": {"mode": "callback"},
        },
    }
)
SAID = {"it": VALUE, VALUE: [f"Basic {LOGIN}", "hunter2%2Fhunter2"], "other": OTHER, "fine": "fine"}
KEPT = {"it": "[secret]", "[secret]": ["Basic [secret]", "[secret]"], "other": "[secret]", "fine": "fine"}


@pytest.fixture
async def calls(db: Database) -> AsyncIterator[Callbacks]:
    executor = ApiCall(ExecutorSettings())
    yield Callbacks(db, {"API_CALL": executor}, KEYS)
    await executor.close()


async def secretive(db: Database) -> Ticket:
    """An execution whose target was sent two secrets, one by the job and one by the params."""
    for name, value in (("token", VALUE), ("other", OTHER)):
        await Secrets(db, KEYS).set("default", name, value, ALICE)
    ticket = await waiting(db, task_payload=PAYLOAD)
    async with db.transaction() as conn:
        params = json.dumps({"headers": {"X-Other": "{{secret:other}}"}})
        await conn.execute("UPDATE job_executions SET params = %s", (params,))
    await attempt(await runner(db, accepting()), ticket)
    return ticket


async def kept(db: Database) -> dict[str, Any]:
    (row,) = await one(
        db, "SELECT jsonb_build_object('result', result, 'error', error, 'log', log_details) FROM job_executions"
    )
    assert isinstance(row, dict)
    return row


async def test_results_are_kept_without_secrets(db: Database, calls: Callbacks) -> None:
    ticket = await secretive(db)
    assert (await calls.complete(grant_of(ticket), Ending(True, result=SAID))).status is Status.SUCCESS
    assert (await kept(db))["result"] == KEPT
    assert (await calls.complete(grant_of(ticket), Ending(True, result=SAID))).repeated


async def test_errors_are_kept_without_secrets(db: Database, calls: Callbacks) -> None:
    ticket = await secretive(db)
    ending = Ending(False, error=ErrorDetail(OTHER, f"{VALUE} is wrong"), retry=False)
    await calls.complete(grant_of(ticket), ending)
    assert (await kept(db))["error"] == {"type": "target_failed", "message": "[secret] is wrong"}
    assert (await calls.complete(grant_of(ticket), ending)).repeated


async def test_notes_and_lines_are_kept_without_secrets(db: Database, calls: Callbacks) -> None:
    ticket = await secretive(db)
    news = News(note=f"with {VALUE}", lines=[Line(f"login {LOGIN}", "info", SAID)])
    await calls.progress(grant_of(ticket), news)
    await calls.progress_as(ticket.execution_id, ALICE, news)
    log = (await kept(db))["log"]
    assert log["note"] == "with [secret]"
    for line in log["lines"]:
        assert line.items() >= {"message": "login [secret]", **KEPT}.items()
    assert len(log["lines"]) == 2


async def test_a_person_repeats_no_secret_either(db: Database, calls: Callbacks) -> None:
    ticket = await secretive(db)
    await calls.complete_as(ticket.execution_id, ALICE, Ending(True, result=SAID))
    assert (await kept(db))["result"] == KEPT


async def test_the_token_itself_is_not_kept(db: Database) -> None:
    ticket, _ = await taken_over(db)
    token = callback_token.write(grant_of(ticket), b"k" * 32)
    read = callback_token.read(token)
    assert read is not None and token not in repr(read)
    encoded = base64.b64encode(token.encode()).decode()
    url = f"https://c.example/callbacks/{token}"
    calls = Callbacks(db)
    await calls.progress(read.grant, News(note=f"cut {token[:60]}", lines=[Line(encoded)]))
    await calls.progress_as(ticket.execution_id, ALICE, News(lines=[Line(url)]))
    await calls.complete(read.grant, Ending(True, result={"sent": url}))
    row = await kept(db)
    assert row["log"]["note"] == "cut [secret]"
    assert [line["message"] for line in row["log"]["lines"]] == ["[secret]", "https://c.example/callbacks/[secret]"]
    assert row["result"] == {"sent": "https://c.example/callbacks/[secret]"}


@pytest.mark.parametrize("why", ["no keys", "other keys", "deleted", "changed", "no definition"])
async def test_words_that_nobody_can_mask_are_not_kept(db: Database, calls: Callbacks, why: str) -> None:
    ticket = await secretive(db)
    if why == "no keys":
        calls = Callbacks(db)
    elif why == "other keys":
        calls = Callbacks(db, {}, Keyring([new_key()]))
    elif why == "deleted":
        await Secrets(db, KEYS).delete("default", "other", ALICE)
    elif why == "changed":
        await Secrets(db, KEYS).set("default", "token", "its next value", ALICE)
    else:
        async with db.transaction() as conn:
            await conn.execute("UPDATE job_executions SET revision = 99")
    await calls.progress(grant_of(ticket), News(progress=7, note=VALUE, lines=[Line(VALUE, "error", SAID)]))
    told = await calls.complete(grant_of(ticket), Ending(True, result=SAID))
    assert told.status is Status.SUCCESS
    row = await kept(db)
    assert (row["result"], row["log"]["note"]) == (UNREADABLE, UNREADABLE)
    assert [(line["level"], line["message"], len(line)) for line in row["log"]["lines"]] == [("error", UNREADABLE, 3)]


async def test_a_rotation_of_keys_costs_no_words(db: Database) -> None:
    ticket = await secretive(db)
    key = new_key()
    keys = Keyring([key, OLD_KEY])
    assert await Secrets(db, keys).rotate(ALICE) == (2, ())
    await Callbacks(db, {}, Keyring([key])).complete(grant_of(ticket), Ending(True, result=f"{VALUE} and more"))
    assert (await kept(db))["result"] == "[secret] and more"
