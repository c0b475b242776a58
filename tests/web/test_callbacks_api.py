"""What targets and operators may say over HTTP, and to whom nobody listens."""

import json
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from cronsvc.domain.callback_token import write
from cronsvc.domain.execution import Ticket
from cronsvc.services.access import Access
from cronsvc.services.callers import Role
from cronsvc.store.executions import find
from cronsvc.store.pool import Database
from cronsvc.web.views import execution_facts
from tests.support.callbacks import grant_of, taken_over
from tests.support.rows import fetch, one
from tests.support.running import state, waiting
from tests.web.conftest import Client, http_client, reasons

V1 = "/api/v1"


async def token_of(db: Database, ticket: Ticket, **changes: Any) -> str:
    """A token as a worker signs it, but for `changes`."""
    (secret,) = await one(db, "SELECT secret FROM callback_keys")
    return write(replace(grant_of(ticket), **changes), secret)


async def test_from_a_sign_of_life_to_the_end(http: httpx2.AsyncClient, viewer: Client, db: Database) -> None:
    ticket, _ = await taken_over(db)
    url = f"{V1}/callbacks/{await token_of(db, ticket)}"
    response = await http.post(f"{url}/progress")  # an empty body will do
    assert response.status_code == 200
    told = response.json()
    assert (told["executionId"], told["status"], told["cancelRequested"]) == (ticket.execution_id, "RUNNING", False)
    assert told["heartbeatDue"] < told["endDue"]
    news = {
        "progress": 40.5,
        "note": "row 4",
        "log": ["began", {"message": "slow", "level": "warning", "fields": {"ms": 9}}],
    }
    assert (await http.post(f"{url}/progress", json=news)).status_code == 200
    shown = (await viewer.get(f"{V1}/executions/{ticket.execution_id}/progress")).json()
    assert (shown["progress"], shown["note"]) == (40, "row 4")
    assert [line["message"] for line in shown["logDetails"]["lines"]] == ["began", "slow"]
    done = {"status": "success", "result": {"rows": 7}}
    first, second = [await http.post(f"{url}/complete", json=done) for _ in range(2)]
    assert (first.status_code, first.json()["status"], first.json()["repeated"]) == (200, "SUCCESS", False)
    assert (second.status_code, second.json()["repeated"]) == (200, True)
    other = await http.post(f"{url}/complete", json=done | {"result": 8})
    assert (other.status_code, other.json()["type"]) == (409, "/problems/conflict")
    late = await http.post(f"{url}/progress")
    assert (late.status_code, late.json()["type"]) == (410, "/problems/gone")
    execution = (await viewer.get(f"{V1}/executions/{ticket.execution_id}")).json()
    assert (execution["result"], execution["callback"]) == ({"rows": 7}, None)
    assert [each["httpStatus"] for each in execution["attempts"]] == [202]


async def test_the_token_does_as_a_bearer_too(http: httpx2.AsyncClient, db: Database) -> None:
    ticket, _ = await taken_over(db)
    other, _ = await taken_over(db)
    headers = {"Authorization": f"Bearer {await token_of(db, ticket)}"}
    path = f"{V1}/executions/{{}}/complete"
    body = {"status": "failure", "error": {"type": "disk_full", "message": "no room"}, "retry": False}
    response = await http.post(path.format(other.execution_id), headers=headers, json=body)
    assert response.status_code == 401
    response = await http.post(path.format(ticket.execution_id), headers=headers, json=body)
    assert (response.status_code, response.json()["statusReason"]) == (200, "error")
    assert await one(db, "SELECT error FROM job_executions WHERE id = %s", ticket.execution_id) == (
        {"type": "disk_full", "message": "no room"},
    )
    assert (await state(db, other))[0] == "RUNNING"
    for elsewhere in (f"{V1}/executions/{ticket.execution_id}", f"{V1}/jobs", f"{V1}/me"):
        assert (await http.get(elsewhere, headers=headers)).status_code == 401  # it opens nothing else


async def test_what_is_not_our_token_opens_nothing(
    http: httpx2.AsyncClient, keys: dict[Role, str], db: Database
) -> None:
    ticket, _ = await taken_over(db)
    good = await token_of(db, ticket)
    (now,) = await one(db, "SELECT extract(epoch FROM clock_timestamp())::bigint")
    tokens = [
        "x",
        good[:-1],
        good + "A",
        good[:20] + ("A" if good[20] != "A" else "B") + good[21:],
        good.replace("cbt_", "cbx_"),
        write(grant_of(ticket), b"\0" * 32),
        await token_of(db, ticket, key_id=2),
        await token_of(db, ticket, key_id=2**32 - 1),
        await token_of(db, ticket, expires=now - 1),
        keys[Role.ADMIN],
    ]
    answers = set()
    for token in tokens:
        for act, body in (("progress", {}), ("complete", {"status": "success"})):
            response = await http.post(f"{V1}/callbacks/{token}/{act}", json=body)
            assert response.status_code == 401, token
            answers.add(response.json()["detail"])
    assert len(answers) == 1  # none the wiser
    stale = await token_of(db, ticket, claim_no=0)
    assert (await http.post(f"{V1}/callbacks/{stale}/complete", json={"status": "success"})).status_code == 410
    gone = await token_of(db, ticket, execution_id=ticket.execution_id + 1000)
    assert (await http.post(f"{V1}/callbacks/{gone}/progress")).status_code == 410
    assert await state(db, ticket) == ("RUNNING", None, 1, 1)


async def test_a_deleted_key_revokes_its_tokens_and_a_new_one_signs(http: httpx2.AsyncClient, db: Database) -> None:
    ticket, _ = await taken_over(db)
    old = await token_of(db, ticket)
    async with db.transaction() as conn:
        await conn.execute("INSERT INTO callback_keys DEFAULT VALUES")
    assert (await http.post(f"{V1}/callbacks/{old}/progress")).status_code == 200
    secrets = await fetch(db, "SELECT secret FROM callback_keys")
    assert len({bytes(secret) for (secret,) in secrets}) == 2
    async with db.transaction() as conn:
        await conn.execute("DELETE FROM callback_keys WHERE id = 1")
    assert (await http.post(f"{V1}/callbacks/{old}/progress")).status_code == 401


async def test_an_operator_may_speak_for_what_waits_and_for_nothing_else(
    operator: Client, viewer: Client, nobody: Client, db: Database
) -> None:
    ticket, _ = await taken_over(db)
    queued = await waiting(db)
    path = f"{V1}/executions/{ticket.execution_id}"
    done = {"status": "success", "result": "by hand"}
    for act in ("progress", "complete"):
        assert (await viewer.post(f"{path}/{act}", json=done)).status_code == 403
        assert (await nobody.post(f"{path}/{act}", json=done)).status_code == 401
    assert (await operator.post(f"{path}/progress", json={"note": "they rang"})).status_code == 200
    response = await operator.post(f"{path}/complete", json=done)
    assert (response.status_code, response.json()["status"]) == (200, "SUCCESS")
    found = await fetch(db, "SELECT action, actor, after ->> 'status' FROM audit_log WHERE entity = 'execution'")
    assert found == [("complete", "key:test-operator", "success")]
    for act, body in (("progress", {}), ("complete", done)):
        for id_ in (ticket.execution_id, queued.execution_id):
            response = await operator.post(f"{V1}/executions/{id_}/{act}", json=body)
            assert response.status_code == 409 and "does not wait" in response.json()["detail"]
        assert (await operator.post(f"{V1}/executions/999999/{act}", json=body)).status_code == 404


async def test_an_operator_of_other_namespaces_finds_nothing(app: Starlette, db: Database) -> None:
    ticket, _ = await taken_over(db)
    key = await Access(db).create_key(name="red", role=Role.OPERATOR, namespaces=["red"], created_by="tests")
    async with http_client(app) as http:
        red = Client(http, key)
        for act, body in (("progress", {}), ("complete", {"status": "success"})):
            assert (await red.post(f"{V1}/executions/{ticket.execution_id}/{act}", json=body)).status_code == 404


@pytest.mark.parametrize(
    ("act", "body", "field"),
    [
        ("progress", {"progress": 101}, "progress"),
        ("progress", {"progress": "40"}, "progress"),
        ("progress", {"log": ["x"] * 201}, "log"),
        ("progress", {"percent": 5}, "percent"),
        ("complete", {}, "status"),
        ("complete", {"status": "done"}, "status"),
        ("complete", {"status": "success", "error": {"message": "but"}}, "error"),
        ("complete", {"status": "failure", "error": {"type": "lost", "message": "x"}}, "error.type"),
        ("complete", {"status": "failure", "error": {"type": "Not A Word", "message": "x"}}, "error.type"),
        ("complete", {"status": "failure", "error": {"type": "bad"}}, "error.message"),
    ],
)
async def test_what_cannot_be_read_is_named(
    http: httpx2.AsyncClient, db: Database, act: str, body: dict[str, Any], field: str
) -> None:
    ticket, _ = await taken_over(db)
    response = await http.post(f"{V1}/callbacks/{await token_of(db, ticket)}/{act}", json=body)
    assert response.status_code == 422 and field in reasons(response)
    assert (await state(db, ticket))[0] == "RUNNING"


async def test_the_body_is_bounded_and_the_token_is_looked_at_first(http: httpx2.AsyncClient, db: Database) -> None:
    ticket, _ = await taken_over(db)
    large = {"status": "success", "result": "x" * 30_000}
    response = await http.post(f"{V1}/callbacks/{await token_of(db, ticket)}/complete", json=large)
    assert response.status_code == 413
    assert (await http.post(f"{V1}/callbacks/nonsense/complete", json=large)).status_code == 401


async def test_people_see_what_it_waits_for(viewer: Client, db: Database) -> None:
    ticket, _ = await taken_over(db)
    shown = (await viewer.get(f"{V1}/executions/{ticket.execution_id}")).json()
    assert shown["worker"] is None
    assert shown["callback"]["since"] < shown["callback"]["heartbeatDue"] < shown["callback"]["endDue"]
    at = ticket.scheduled_time.isoformat().replace("+00:00", "Z")
    explained = (await viewer.get(f"{V1}/jobs/{ticket.job_id}/explain", params={"at": at})).json()
    assert "waits for the target's call since" in json.dumps(explained)
    assert "heartbeat due" in json.dumps(explained)
    async with db.statements() as conn:
        execution = await find(conn, ticket.execution_id)
    assert execution is not None
    facts = {fact.name: fact.value for fact in execution_facts(execution)}
    assert facts["Waiting"].startswith("It waits for the target's call since")
    (view,) = await fetch(db, "SELECT execution_id, heartbeat_seconds FROM cronsvc_v1.callbacks")
    assert view == (ticket.execution_id, 60)
