"""Which role a job type asks for: SQL and COMMAND jobs are an admin's to define, whoever may run them."""

import json
from typing import Any

import httpx2
import pytest

from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from cronsvc.web.services import Services
from tests.support.rows import define, fetch, one
from tests.web.conftest import Client

PAYLOADS: dict[str, dict[str, Any]] = {
    "API_CALL": {"url": "https://api.example.com/"},
    "PYTHON": {"handler": "anything"},
    "SQL": {"dsn": "reports", "statement": "SELECT 1"},
    "COMMAND": {"command": "backup"},
}
NEEDED = {"API_CALL": Role.OPERATOR, "PYTHON": Role.OPERATOR, "SQL": Role.ADMIN, "COMMAND": Role.ADMIN}
WINDOW = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}


def document(kind: str) -> dict[str, Any]:
    payload = {"type": kind, "config": PAYLOADS[kind]}
    return {"name": f"new-{kind}", "cronExpression": "0 4 * * *", "taskPayload": payload}


async def stored(db: Database, kind: str) -> str:
    """A job of this kind that is there already, by SQL; its path."""
    payload = json.dumps({"type": kind, "config": PAYLOADS[kind]})
    return f"/api/v1/jobs/{await define(db, cron_expression='0 4 * * *', task_payload=payload)}"


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.ADMIN])
@pytest.mark.parametrize("kind", PAYLOADS)
async def test_the_matrix_of_roles_and_job_types(
    http: httpx2.AsyncClient, keys: dict[Role, str], db: Database, role: Role, kind: str
) -> None:
    """Every cell: who may not is told which role it takes; who may is answered by the rules of the type."""
    client, path = Client(http, keys[role]), await stored(db, kind)
    other = "API_CALL" if kind != "API_CALL" else "PYTHON"
    acts = [
        await client.post("/api/v1/jobs", json=document(kind)),
        await client.send("PUT", path, json=document(kind)),
        await client.send("PATCH", path, json={"description": "x"}),
        await client.send("PATCH", path, json={"taskPayload": {"type": other, "config": PAYLOADS[other]}}),
        await client.send("PATCH", await stored(db, other), json={"taskPayload": document(kind)["taskPayload"]}),
        await client.post(f"{path}/trigger", json={"params": {"statement": "DROP TABLE x"}}),
        await client.post(f"{path}/backfill", json={**WINDOW, "params": {"arguments": ["-rf"]}}),
        await client.post(f"{path}/backfill", json={**WINDOW, "dryRun": True, "params": {"arguments": ["-rf"]}}),
    ]
    may = role.reaches(NEEDED[kind])
    assert [answer.status_code == 403 for answer in acts] == [not may] * len(acts), [each.text for each in acts]
    if not may:
        assert all(f"of type {kind} takes the role admin" in answer.json()["detail"] for answer in acts)
        assert (await one(db, "SELECT count(*) FROM job_executions"))[0] == 0


@pytest.mark.parametrize("kind", ["SQL", "COMMAND"])
async def test_an_operator_runs_pauses_and_deletes_what_an_admin_defined(
    operator: Client, db: Database, kind: str
) -> None:
    path = await stored(db, kind)
    for act in ("pause", "resume"):
        assert (await operator.post(f"{path}/{act}")).status_code == 200
    assert (await operator.post(f"{path}/trigger")).status_code != 403
    assert (await operator.send("DELETE", path)).status_code == 204


async def run_before_the_change(operator: Client, db: Database, params: object = None, **columns: Any) -> int:
    """A failed run of a PYTHON job that an operator triggered, and that an admin has made a SQL job since."""
    payload = json.dumps({"type": "PYTHON", "config": PAYLOADS["PYTHON"]})
    job_id = await define(db, cron_expression="0 4 * * *", task_payload=payload, **columns)
    answer = await operator.post(f"/api/v1/jobs/{job_id}/trigger", json={"params": params})
    assert answer.status_code == 202, answer.text
    await fetch(
        db,
        "UPDATE job_executions SET status = 'FAILED', status_reason = 'error', attempt = 1, claim_no = 1,"
        " dispatch_at = NULL, end_time = clock_timestamp() WHERE id = %s RETURNING 1",
        answer.json()["id"],
    )
    changed = json.dumps({"type": "SQL", "config": PAYLOADS["SQL"]})
    await fetch(db, "UPDATE jobs SET task_payload = %s WHERE id = %s RETURNING 1", changed, job_id)
    return int(answer.json()["id"])


async def test_params_of_another_type_do_not_come_back_as_a_statement(
    operator: Client, admin: Client, db: Database
) -> None:
    """The pinned revision moves on with a retry or redrive, the params stay: so it takes what giving them takes."""
    run = await run_before_the_change(operator, db, {"statement": "DROP TABLE x"})
    for path in (f"executions/{run}/retry", f"dead-letters/{run}/redrive"):
        refused = await operator.post(f"/api/v1/{path}")
        assert (refused.status_code, refused.json()["type"]) == (403, "/problems/forbidden"), refused.text
        assert "to run again with params jobs of type SQL takes the role admin" in refused.json()["detail"]
    bulk = (await operator.post("/api/v1/dead-letters/redrive", json={"ids": [run]})).json()
    assert (bulk["done"], bulk["items"][0]["problem"]) == (0, "/problems/forbidden")
    assert await one(db, "SELECT status, revision FROM job_executions") == ("FAILED", 1)
    assert (await admin.post(f"/api/v1/executions/{run}/retry")).status_code == 202
    assert await one(db, "SELECT status, revision FROM job_executions") == ("QUEUED", 2)


async def test_what_has_no_params_is_an_operators_to_run_again(operator: Client, db: Database) -> None:
    first, second = [await run_before_the_change(operator, db) for _ in range(2)]
    assert (await operator.post(f"/api/v1/executions/{first}/retry")).status_code == 202
    assert (await operator.post(f"/api/v1/dead-letters/{second}/redrive")).status_code == 202


async def test_of_several_those_run_again_whose_namespace_grants_it(
    operator: Client, services: Services, db: Database
) -> None:
    runs = [
        await run_before_the_change(operator, db, {"statement": "SELECT 2"}, namespace=name) for name in ("red", "blue")
    ]
    roles = {"red": Role.ADMIN, "blue": Role.OPERATOR}
    mixed = Client(operator.http, await services.access.create_key(name="mixed", roles=roles, created_by="tests"))
    bulk = (await mixed.post("/api/v1/dead-letters/redrive", json={"ids": runs})).json()
    assert [(each["done"], each["problem"]) for each in bulk["items"]] == [(True, None), (False, "/problems/forbidden")]
    assert await fetch(db, "SELECT status FROM job_executions ORDER BY id") == [("QUEUED",), ("FAILED",)]
