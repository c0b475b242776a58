"""The calls that people bring along from the queue and cron services they had, as their documents show them.

Each is sent as it is written there, below /api/v1, and answered with at least the members that are written there.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from cronsvc.store.pool import Database
from tests.support.rows import fetch, one
from tests.web.conftest import PLAIN_JOB, Client, reasons

V1 = "/api/v1"
SYNC = {
    "name": "user-sync",
    "cronExpression": None,
    "every": 1200,
    "maxAttempts": 3,
    "backoff": {"type": "exponential", "delaySeconds": 5, "factor": 5},
    "retention": {"keepCompleted": 10, "keepFailed": 20},
}


@pytest.fixture
async def job(operator: Client) -> dict[str, Any]:
    return await operator.make_job(**SYNC)


async def row(db: Database, job_id: int, status: str, ago: str = "1 s", **columns: str) -> int:
    more = "".join(f", {name}" for name in columns)
    values = "".join(f", '{value}'" for value in columns.values())
    found = await one(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, status, start_time, end_time" + more + ") VALUES"
        f" ({job_id}, now() - interval '{ago}', '{status}', now() - interval '{ago}',"
        f" CASE WHEN '{status}' IN ('SUCCESS', 'FAILED') THEN now() - interval '{ago}' END{values}) RETURNING id",
    )
    assert isinstance(found[0], int)
    return found[0]


async def test_health(nobody: Client, job: dict[str, Any]) -> None:
    health = (await nobody.get("/health")).json()
    assert (health["status"], health["database"]["status"], health["jobs"]) == (
        "OK",
        "connected",
        {"initialized": True},
    )
    assert abs(datetime.fromisoformat(health["timestamp"]) - datetime.now(UTC)).total_seconds() < 60
    assert isinstance(health["uptime"], float) and health["database"]["responseTime"] > 0


async def test_create_list_find_and_delete_a_job(operator: Client) -> None:
    created = await operator.post(f"{V1}/jobs", json=PLAIN_JOB)
    assert created.status_code == 201
    job_id = created.json()["id"]
    assert created.json()["taskPayload"] == PLAIN_JOB["taskPayload"]
    assert [each["id"] for each in (await operator.get(f"{V1}/jobs")).json()["items"]] == [job_id]
    assert (await operator.get(f"{V1}/jobs?jobId={job_id}")).json()["items"] == [created.json()]
    assert (await operator.send("DELETE", f"{V1}/jobs/{job_id}")).status_code == 204
    assert (await operator.get(f"{V1}/jobs")).json()["items"] == []
    assert (await operator.get(f"{V1}/jobs?jobId={job_id}")).status_code == 404


async def test_a_request_with_query_parameters_of_its_own(operator: Client) -> None:
    config = {
        "url": "https://api.example.com/endpoint",
        "method": "POST",
        "headers": {"Content-Type": "application/json", "Authorization": "Bearer token"},
        "data": {"key": "value"},
        "params": {"query": "param"},
    }
    made = await operator.make_job(taskPayload={"type": "API_CALL", "config": config})
    assert made["taskPayload"]["config"] == config


async def test_status(operator: Client, viewer: Client, db: Database, job: dict[str, Any]) -> None:
    for status, times in (("SUCCESS", 3), ("FAILED", 1), ("QUEUED", 2)):
        for number in range(times):
            await row(db, job["id"], status, f"{number + 10} s")
    running = await row(db, job["id"], "RUNNING", progress="75", params='{"syncType": "incremental"}')
    await fetch(
        db,
        "UPDATE job_executions SET ready_at = now() + interval '1 h' WHERE id ="
        " (SELECT min(id) FROM job_executions WHERE status = 'QUEUED') RETURNING 1",
    )
    other = await operator.make_job(name="other")
    await row(db, other["id"], "SUCCESS")
    answer = (await viewer.get(f"{V1}/jobs/status")).json()
    assert answer["success"] is True
    data = answer["data"]
    repeatable = next(each for each in data["repeatableJobs"] if each["name"] == "user-sync")
    assert (repeatable["every"], repeatable["key"]) == (1_200_000, "default/user-sync")
    assert isinstance(repeatable["next"], int)
    assert data["counts"] == {"active": 1, "waiting": 2, "completed": 4, "failed": 1, "complete": True}
    (active,) = data["activeJobs"]
    assert (active["id"], active["data"], active["progress"]) == (str(running), {"syncType": "incremental"}, 75)
    assert answer["queueStats"] == {"waiting": 2, "active": 1, "completed": 4, "failed": 1, "delayed": 1}
    assert len(answer["recentJobs"]) == 8 and answer["recentJobs"][0]["name"] == "other"

    only = (await viewer.get(f"{V1}/jobs/status?jobId={job['id']}")).json()
    assert only["queueStats"] == {"waiting": 2, "active": 1, "completed": 3, "failed": 1, "delayed": 1}
    assert only["data"]["counts"] == {"active": 1, "waiting": 2, "completed": 3, "failed": 1, "complete": True}
    assert [each["name"] for each in only["data"]["repeatableJobs"]] == ["user-sync"]
    assert [each["id"] for each in only["data"]["activeJobs"]] == [str(running)]
    assert {each["jobId"] for each in only["recentJobs"]} == {job["id"]} and len(only["recentJobs"]) == 7
    quiet = (await viewer.get(f"{V1}/jobs/status?jobId={other['id']}")).json()
    assert (quiet["data"]["activeJobs"], quiet["queueStats"]["completed"]) == ([], 1)
    assert (await viewer.get(f"{V1}/jobs/status?jobId=424242")).status_code == 404


@pytest.mark.parametrize("body", [{"syncType": "incremental"}, {"syncType": "full"}, None])
async def test_trigger_by_the_name_in_the_path(operator: Client, job: dict[str, Any], body: dict[str, Any]) -> None:
    python = {"taskPayload": {"type": "API_CALL", "config": {"url": "https://api.example.com/", "data": {}}}}
    await operator.send("PATCH", f"{V1}/jobs/{job['id']}", json=python)
    sent = {"json": {"data": body}} if body else {}
    response = await operator.post(f"{V1}/jobs/trigger/user-sync", **sent)
    assert response.status_code == 202, response.text
    answer = response.json()
    assert (answer["success"], answer["message"]) == (True, "user-sync triggered successfully")
    assert datetime.fromisoformat(answer["timestamp"]).tzinfo is not None
    assert (answer["jobId"], answer["params"]) == (job["id"], {"data": body} if body else None)
    assert response.headers["location"] == f"{V1}/executions/{answer['id']}"


async def test_a_repeated_trigger_by_the_path_is_the_same_execution(operator: Client, job: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "once"}
    path = f"{V1}/jobs/trigger/user-sync"
    both = await asyncio.gather(*(operator.post(path, headers=headers) for _ in range(2)))
    assert both[0].json()["id"] == both[1].json()["id"]
    assert sorted(each.headers.get("idempotent-replayed", "") for each in both) == ["", "true"]
    assert (await operator.post(f"{V1}/jobs/trigger/nobody")).status_code == 404
    assert (await operator.post(path, json=["x"])).status_code == 422


async def test_trigger_by_the_name_in_the_body(operator: Client) -> None:
    job = await operator.make_job(name="syncXero")
    response = await operator.post(f"{V1}/jobs/trigger", json={"name": "syncXero"})
    assert (response.status_code, response.json()["jobId"]) == (202, job["id"])


async def test_pause_and_resume_everything(operator: Client, job: dict[str, Any]) -> None:
    path = f"{V1}/jobs/{job['id']}"
    for act, held in (("pause", True), ("resume", False)):
        answer = await operator.post(f"{V1}/jobs/{act}")
        assert (answer.status_code, answer.json()["success"]) == (200, True)
        assert answer.json()["message"] == f"1 of 1 matching job {act}d"
        assert ((await operator.get(path)).json()["pause"] is not None) is held


@pytest.mark.parametrize(("body", "hours", "left"), [(None, 24, 1), ({"gracePeriodHours": 48}, 48, 2)])
async def test_clean_up(
    operator: Client, db: Database, job: dict[str, Any], body: dict[str, int] | None, hours: int, left: int
) -> None:
    for ago in ("30 h", "60 h", "1 h"):
        done = await row(db, job["id"], "SUCCESS", ago, trigger="manual")
        await fetch(db, f"UPDATE job_executions SET created_at = start_time WHERE id = {done} RETURNING 1")
    answer = await operator.post(f"{V1}/jobs/cleanup", **({} if body is None else {"json": body}))
    assert answer.status_code == 200
    expected = {"success": True, "message": f"Old jobs cleaned up (grace period: {hours}h)"}
    assert answer.json().items() >= expected.items()
    assert await one(db, "SELECT count(*)::int FROM job_executions") == (left,)


async def test_metrics_and_history(viewer: Client, db: Database, job: dict[str, Any]) -> None:
    for number in range(60):
        await row(db, job["id"], "FAILED" if number < 12 else "SUCCESS", f"{number + 1} s")
    metrics = (await viewer.get(f"{V1}/jobs/metrics")).json()
    assert metrics["success"] is True
    data = metrics["data"]
    counts = [data[name] for name in ("waiting", "active", "completed", "failed", "delayed", "deadLetter")]
    assert counts == [0, 0, 48, 12, 0, 12]
    assert data["failureRate"] == 0.2 and "20% of what ended within 24 hours failed" in data["problems"]
    history = (await viewer.get(f"{V1}/jobs/history?limit=50")).json()
    assert (history["success"], len(history["data"])) == (True, 50)
    rest = (await viewer.get(f"{V1}/jobs/history", params={"limit": 50, "cursor": history["nextCursor"]})).json()
    assert (len(rest["data"]), rest["nextCursor"]) == (10, None)


async def test_the_words_for_priority_and_a_dead_letter_tried_again(operator: Client, db: Database) -> None:
    for number, word in ((1, "critical"), (5, "high"), (10, "normal"), (15, "low")):
        assert (await operator.make_job(name=word, priority=number))["priority"] == word
    job = await operator.make_job(name="dead")
    dead = await row(db, job["id"], "FAILED")
    assert [each["id"] for each in (await operator.get(f"{V1}/dead-letters")).json()["items"]] == [dead]
    assert (await operator.post(f"{V1}/dead-letters/{dead}/redrive")).status_code == 202
    assert (await operator.get(f"{V1}/dead-letters")).json()["items"] == []


async def test_every_one_of_them_asks_for_a_key(http: httpx2.AsyncClient) -> None:
    for method, path in (
        ("GET", "/jobs"),
        ("GET", "/jobs/status"),
        ("GET", "/jobs/metrics"),
        ("GET", "/jobs/history?limit=50"),
        ("POST", "/jobs/trigger"),
        ("POST", "/jobs/trigger/user-sync"),
        ("POST", "/jobs/pause"),
        ("POST", "/jobs/resume"),
        ("POST", "/jobs/cleanup"),
    ):
        response = await http.request(method, V1 + path)
        problem = response.json()
        assert (response.status_code, response.headers["content-type"]) == (401, "application/problem+json")
        assert {"type", "title", "status", "detail"} <= set(problem)


async def test_a_job_that_cannot_be_is_told_why(operator: Client) -> None:
    response = await operator.post(f"{V1}/jobs", json={**PLAIN_JOB, "cronExpression": "61 * * * *"})
    assert (response.status_code, set(reasons(response))) == (422, {"cronExpression"})
