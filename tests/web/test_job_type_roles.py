"""Which role a job type asks for: SQL and COMMAND jobs are an admin's to define, whoever may run them."""

import json
from typing import Any

import httpx2
import pytest

from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from tests.support.rows import define, one
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
