"""Triggers, executions and previews on real services."""

from datetime import UTC, datetime, timedelta
from typing import Any

from cronsvc.store.pool import Database
from tests.support.rows import fetch
from tests.web.conftest import Client, reasons


async def test_a_trigger_answers_with_the_execution(operator: Client) -> None:
    job = await operator.make_job()
    response = await operator.post(f"/api/v1/jobs/{job['id']}/trigger", json={"params": {"data": {"x": 1}}})
    assert response.status_code == 202, response.text
    execution = response.json()
    assert response.headers["location"] == f"/api/v1/executions/{execution['id']}"
    expected = {
        "jobId": job["id"],
        "jobName": "Daily Report",
        "trigger": "manual",
        "status": "QUEUED",
        "statusReason": None,
        "attempt": 0,
        "maxAttempts": 3,
        "params": {"data": {"x": 1}},
        "requestedBy": "key:test-operator",
        "startTime": None,
        "endTime": None,
        "durationMs": None,
        "worker": None,
        "result": None,
        "error": None,
        "revision": 1,
    }
    assert {name: execution[name] for name in expected} == expected
    # A manual trigger never falls on a whole second, and its microseconds are not lost on the way out.
    assert datetime.fromisoformat(execution["scheduledTime"]).microsecond != 0
    shown = (await operator.get(f"/api/v1/executions/{execution['id']}")).json()
    assert shown == {**execution, "attempts": []}
    assert (await operator.post(f"/api/v1/jobs/{job['id']}/trigger")).status_code == 202  # a body is optional


async def test_a_trigger_by_name(operator: Client) -> None:
    job = await operator.make_job(name="syncXero")
    response = await operator.post("/api/v1/jobs/trigger", json={"name": "syncXero"})
    assert (response.status_code, response.json()["jobId"]) == (202, job["id"])
    assert (await operator.post("/api/v1/jobs/trigger", json={"name": "unknown"})).status_code == 404
    assert "name" in reasons(await operator.post("/api/v1/jobs/trigger", json={}))
    await operator.make_job(name="syncXero", namespace="other")
    ambiguous = await operator.post("/api/v1/jobs/trigger", json={"name": "syncXero"})
    assert ambiguous.status_code == 409
    chosen = await operator.post("/api/v1/jobs/trigger", json={"name": "syncXero", "namespace": "other"})
    assert chosen.json()["namespace"] == "other"


async def test_bad_parameters_start_nothing(operator: Client, db: Database) -> None:
    job = await operator.make_job()
    path = f"/api/v1/jobs/{job['id']}/trigger"
    assert "params.url" in reasons(await operator.post(path, json={"params": {"url": 5}}))
    assert reasons(await operator.post(path, json={"params": [1]})) == {"params": "must be an object, not a list"}
    assert reasons(await operator.post(path, json={"parms": {}})) == {"parms": "unknown field; did you mean params?"}
    assert await fetch(db, "SELECT id FROM job_executions") == []


async def test_lists_of_executions_filter_and_page(operator: Client) -> None:
    jobs = [await operator.make_job(name=f"job {number}") for number in range(2)]
    ids: list[int] = []
    for number in range(5):
        response = await operator.post(f"/api/v1/jobs/{jobs[number % 2]['id']}/trigger")
        ids.append(response.json()["id"])

    async def listed(path: str, **params: Any) -> tuple[list[int], str | None]:
        response = await operator.get(f"/api/v1/{path}", params=params)
        assert response.status_code == 200, response.text
        return [item["id"] for item in response.json()["items"]], response.json()["nextCursor"]

    first, cursor = await listed("executions", limit=3)
    assert first == ids[:1:-1]
    assert await listed("executions", limit=3, cursor=cursor) == (ids[1::-1], None)
    of_job = ids[4::-2]
    assert (await listed("executions", jobId=jobs[0]["id"]))[0] == of_job
    assert (await listed(f"jobs/{jobs[0]['id']}/executions"))[0] == of_job
    assert (await listed("executions", status="QUEUED", trigger="manual"))[0] == ids[::-1]
    assert (await listed("executions", status="FAILED"))[0] == []
    bad = await operator.get("/api/v1/executions?status=DONE")
    assert "must be one of: QUEUED, RUNNING" in reasons(bad)["status"]
    assert (await operator.get("/api/v1/jobs/999/executions")).status_code == 404
    assert (await operator.get("/api/v1/executions?jobId=999")).status_code == 404


async def test_an_execution_shows_its_attempts_and_error(operator: Client, db: Database) -> None:
    job = await operator.make_job()
    execution = (await operator.post(f"/api/v1/jobs/{job['id']}/trigger")).json()
    start = datetime.fromisoformat(execution["scheduledTime"]) + timedelta(seconds=1)
    async with db.transaction() as conn:
        await conn.execute(
            "UPDATE job_executions SET status = 'FAILED', status_reason = 'error', attempt = 1, claim_no = 1,"
            " start_time = %(start)s, end_time = %(end)s, error = %(error)s::jsonb, dispatch_at = NULL",
            {
                "start": start,
                "end": start + timedelta(milliseconds=1250),
                "error": '{"type": "http_status", "message": "503 from the target"}',
            },
        )
        await conn.execute(
            "INSERT INTO job_attempts (job_id, scheduled_time, claim_no, execution_id, attempt, outcome, start_time,"
            " end_time, error, http_status, response_excerpt)"
            " SELECT job_id, scheduled_time, 1, id, 1, 'error', start_time, end_time, error, 503, '<b>busy</b>'"
            " FROM job_executions"
        )
    shown = (await operator.get(f"/api/v1/executions/{execution['id']}")).json()
    error = {"type": "http_status", "message": "503 from the target"}
    assert (shown["status"], shown["statusReason"], shown["durationMs"], shown["error"]) == (
        "FAILED",
        "error",
        1250,
        error,
    )
    (attempt,) = shown["attempts"]
    assert (attempt["attempt"], attempt["outcome"], attempt["httpStatus"], attempt["error"], attempt["durationMs"]) == (
        1,
        "error",
        503,
        error,
        1250,
    )


async def test_preview_shows_what_would_fire(operator: Client) -> None:
    body = {
        "cronExpression": "30 2 * * *",
        "timezone": "Europe/Berlin",
        "after": "2026-03-28T00:00:00Z",
        "count": 3,
    }
    preview = (await operator.post("/api/v1/schedules/preview", json=body)).json()
    # On the 29th the clock skips 02:30; it runs right after the skip.
    assert preview["fireTimes"] == ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    assert "Europe/Berlin" in preview["description"]

    once = {"runAt": "2026-05-01T12:00:00+02:00", "after": "2026-04-01T00:00:00Z"}
    assert (await operator.post("/api/v1/schedules/preview", json=once)).json()["fireTimes"] == ["2026-05-01T10:00:00Z"]
    every = {"every": "PT30S", "startAt": "2026-05-01T00:00:00Z", "after": "2026-05-02T00:00:00Z", "count": 2}
    preview = (await operator.post("/api/v1/schedules/preview", json=every)).json()
    assert preview["fireTimes"] == ["2026-05-02T00:00:30Z", "2026-05-02T00:01:00Z"]

    soon = (await operator.post("/api/v1/schedules/preview", json={"cronExpression": "* * * * * *"})).json()
    assert len(soon["fireTimes"]) == 10
    assert datetime.fromisoformat(soon["fireTimes"][0]) - datetime.now(UTC) < timedelta(seconds=5)


async def test_a_preview_that_cannot_be_says_why(operator: Client) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"cronExpression": "0 0 31 2 *"}, "cronExpression"),
        ({"cronExpression": "* * * * *", "timezone": "Nowhere"}, "timezone"),
        ({"cronExpression": "* * * * *", "count": 1001}, "count"),
        ({"cronExpression": "* * * * *", "after": "now"}, "after"),
        ({}, "cronExpression"),
        ({"every": "P1Y"}, "every"),
    ]
    for body, field in cases:
        response = await operator.post("/api/v1/schedules/preview", json=body)
        assert (response.status_code, list(reasons(response))) == (422, [field]), body
