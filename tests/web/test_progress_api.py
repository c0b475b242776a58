"""Progress over HTTP, and what the API says of the job types it offers."""

import json
from typing import Any

from cronsvc.store.executions import find
from cronsvc.store.pool import Database
from cronsvc.web.views import execution_facts
from tests.web.conftest import Client, reasons


async def running_execution(operator: Client, db: Database, log_details: str | None) -> int:
    job = await operator.make_job()
    execution = (await operator.post(f"/api/v1/jobs/{job['id']}/trigger")).json()
    async with db.transaction() as conn:
        await conn.execute(
            "UPDATE job_executions SET status = 'RUNNING', attempt = 1, claim_no = 1, start_time = now(),"
            " dispatch_at = NULL, progress = 75, log_details = %s::jsonb",
            (log_details,),
        )
    return int(execution["id"])


async def test_progress_of_a_running_execution(operator: Client, viewer: Client, db: Database) -> None:
    details = (
        '{"attempt": 1, "note": "75 of 100", "dropped": 0, "lines":'
        ' [{"at": "2026-01-31T09:00:00.000Z", "level": "info", "message": "<b>half</b>", "user": 7}]}'
    )
    id_ = await running_execution(operator, db, details)
    response = await viewer.get(f"/api/v1/executions/{id_}/progress")
    assert response.status_code == 200
    told = response.json()
    assert (told["status"], told["progress"], told["note"]) == ("RUNNING", 75, "75 of 100")
    assert told["logDetails"]["lines"][0]["message"] == "<b>half</b>"
    shown = (await viewer.get(f"/api/v1/executions/{id_}")).json()
    assert (shown["progress"], shown["logDetails"]) == (75, told["logDetails"])
    assert (await viewer.get("/api/v1/executions/999/progress")).status_code == 404


async def test_log_details_that_sql_wrote_are_shown_as_they_are(operator: Client, db: Database) -> None:
    id_ = await running_execution(operator, db, None)
    for value in (None, '"text"', "[1]", '{"note": 5, "lines": [1]}'):
        async with db.transaction() as conn:
            await conn.execute("UPDATE job_executions SET log_details = %s::jsonb", (value,))
            execution = await find(conn, id_)
        assert execution is not None and execution_facts(execution)
        told = (await operator.get(f"/api/v1/executions/{id_}/progress")).json()
        assert told["note"] is None and told["progress"] == 75
        assert told["logDetails"] == (None if value is None else json.loads(value))


async def test_the_page_shows_the_lines(operator: Client, db: Database) -> None:
    details = (
        '{"attempt": 2, "note": "half way", "dropped": 3, "lines":'
        ' [{"at": "2026-01-31T09:00:00.000Z", "level": "error", "message": "no address", "user": "ada"}]}'
    )
    id_ = await running_execution(operator, db, details)
    async with db.statements() as conn:
        execution = await find(conn, id_)
    assert execution is not None
    facts = {fact.name: fact.value for fact in execution_facts(execution)}
    assert facts["Progress"] == "75 %"
    assert facts["Log"].splitlines() == [
        "attempt 2, 3 earlier lines were dropped, half way",
        '2026-01-31T09:00:00.000Z error   no address user="ada"',
    ]


async def test_the_job_types_of_this_release(admin: Client) -> None:
    async def refused(kind: str, config: dict[str, Any]) -> dict[str, str]:
        body = {"name": kind, "cronExpression": "0 9 * * *", "taskPayload": {"type": kind, "config": config}}
        response = await admin.post("/api/v1/jobs", json=body)
        return {} if response.status_code == 201 else reasons(response)

    assert "API_CALL, COMMAND, PYTHON, SQL" in (await refused("MAGIC", {}))["taskPayload.type"]
    assert await refused("PYTHON", {"handler": "installed-on-the-workers"}) == {}  # this API has no handlers
    assert "taskPayload.config.parms" in await refused("PYTHON", {"handler": "x", "parms": {}})
    assert "COMMAND is off" in (await refused("COMMAND", {"command": "rm"}))["taskPayload.config.command"]
    sql = await refused("SQL", {"dsn": "reports", "statement": "SELECT 1"})
    assert "CRONSVC_SQL_DSNS" in sql["taskPayload.config.dsn"]
