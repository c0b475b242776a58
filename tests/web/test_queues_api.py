"""/queues, pausing many jobs at once, keys of triggers, and the calls of dashboards, over HTTP."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from cronsvc.web.app import Services
from tests.support.rows import fetch, one
from tests.web.conftest import Client, reasons


async def test_a_queue_from_its_making_to_its_resuming(admin: Client, operator: Client, viewer: Client) -> None:
    made = await admin.send("PUT", "/api/v1/queues/bulk", json={"concurrency": 3, "ratePerMinute": 60})
    assert made.status_code == 200, made.text
    assert made.json().items() >= {"name": "bulk", "concurrency": 3, "ratePerMinute": 60, "paused": None}.items()
    patched = await admin.send("PATCH", "/api/v1/queues/bulk", json={"ratePerMinute": None})
    assert (patched.json()["concurrency"], patched.json()["ratePerMinute"]) == (3, None)
    replaced = await admin.send("PUT", "/api/v1/queues/bulk", json={"ratePerMinute": 5})
    assert (replaced.json()["concurrency"], replaced.json()["ratePerMinute"]) == (None, 5)

    until = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    body = {"note": "moving", "until": until.isoformat()}
    paused = (await operator.post("/api/v1/queues/bulk/pause", json=body)).json()["paused"]
    assert (paused["by"], paused["note"], paused["until"]) == (
        "key:test-operator",
        "moving",
        until.isoformat().replace("+00:00", "Z"),
    )
    listed = (await viewer.get("/api/v1/queues")).json()
    assert [(each["name"], each["paused"] is None) for each in listed["items"]] == [("bulk", False), ("default", True)]
    assert listed["nextCursor"] is None
    assert set(listed["items"][0]) == {
        *("name", "paused", "concurrency", "ratePerMinute", "waiting", "running", "oldestWaitingSeconds", "workers"),
        "createdAt",
    }
    assert (await operator.post("/api/v1/queues/bulk/resume")).json()["paused"] is None
    assert (await viewer.get("/api/v1/queues/bulk")).json()["paused"] is None


async def test_who_may_do_what_with_queues(operator: Client, viewer: Client, services: Services, admin: Client) -> None:
    assert (await viewer.post("/api/v1/queues/default/pause")).status_code == 403
    assert (await operator.send("PUT", "/api/v1/queues/default", json={})).status_code == 403
    assert (await operator.send("PATCH", "/api/v1/queues/default", json={})).status_code == 403
    key = await services.access.create_key(name="red", role=Role.ADMIN, namespaces=["red"], created_by="tests")
    red = Client(admin.http, key)
    assert (await red.get("/api/v1/queues/default")).status_code == 200
    for method, path in (("POST", "/pause"), ("POST", "/resume"), ("PUT", ""), ("PATCH", "")):
        options: dict[str, Any] = {} if path else {"json": {}}
        assert (await red.send(method, f"/api/v1/queues/default{path}", **options)).status_code == 403


async def test_bad_queues_and_limits_are_named(admin: Client) -> None:
    assert (await admin.get("/api/v1/queues/nothing")).status_code == 404
    assert (await admin.post("/api/v1/queues/nothing/pause")).status_code == 404
    assert (await admin.send("PATCH", "/api/v1/queues/nothing", json={"concurrency": 1})).status_code == 404
    bad = await admin.send("PUT", "/api/v1/queues/a%20b", json={"concurrency": 0, "ratePerMinute": 10**9})
    assert (bad.status_code, set(reasons(bad))) == (422, {"concurrency", "ratePerMinute", "name"})
    assert set(reasons(await admin.send("PUT", "/api/v1/queues/x", json={"concurrency": "3"}))) == {"concurrency"}
    assert set(reasons(await admin.get("/api/v1/queues?cursor=x"))) == {"cursor"}


async def test_pausing_everything_answers_as_the_seed_says_with_counts(operator: Client) -> None:
    ids = [(await operator.make_job(name=name, tags=[name[0]]))["id"] for name in ("a1", "a2", "b1")]
    one_of = await operator.post("/api/v1/jobs/pause", json={"tags": ["b"], "note": "b only"})
    assert (one_of.status_code, one_of.json()) == (
        200,
        {"success": True, "message": "1 of 1 matching job paused", "matched": 1, "changed": 1},
    )
    everything = (await operator.post("/api/v1/jobs/pause")).json()
    assert everything == {
        "success": True,
        "message": "2 of 3 matching jobs paused; 1 was already",
        "matched": 3,
        "changed": 2,
    }
    assert (await operator.get(f"/api/v1/jobs/{ids[2]}")).json()["pause"]["note"] == "b only"
    resumed = (await operator.post("/api/v1/jobs/resume", json={"jobIds": ids[:2]})).json()
    assert (resumed["matched"], resumed["changed"]) == (2, 2)
    assert (await operator.post("/api/v1/jobs/resume")).json()["changed"] == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tags": []}, "tags"),
        ({"jobIds": []}, "jobIds"),
        ({"namePrefix": ""}, "namePrefix"),
        ({"tags": None}, "tags"),
        ({"jobIds": None}, "jobIds"),
        ({"namePrefix": None}, "namePrefix"),
        ({"namespace": None}, "namespace"),
        ({"group": None}, "group"),
        ({"queue": None, "tags": ["nightly"]}, "queue"),
        ({"jobIds": [0]}, "jobIds.0"),
        ({"tag": "x"}, "tag"),
        ({"until": "2020-01-01T00:00:00Z"}, "until"),
    ],
)
async def test_a_selector_that_could_be_misread_is_refused(operator: Client, body: dict[str, Any], field: str) -> None:
    await operator.make_job()
    response = await operator.post("/api/v1/jobs/pause", json=body)
    assert (response.status_code, set(reasons(response))) == (422, {field}), response.text
    assert (await operator.get("/api/v1/jobs")).json()["items"][0]["pause"] is None
    if "until" not in body:
        resumed = await operator.post("/api/v1/jobs/resume", json=body)
        assert (resumed.status_code, set(reasons(resumed))) == (422, {field}), resumed.text


async def test_a_repeated_trigger_is_replayed_by_id_and_by_name(operator: Client, db: Database) -> None:
    job = await operator.make_job()
    path, headers = f"/api/v1/jobs/{job['id']}/trigger", {"Idempotency-Key": "4f1c-77"}
    first = await operator.post(path, headers=headers, json={"params": {"data": {"day": 1}}})
    assert (first.status_code, "idempotent-replayed" in first.headers) == (202, False)
    again = await operator.post(path, headers=headers, json={"params": {"data": {"day": 1}}})
    named = await operator.post(
        "/api/v1/jobs/trigger", headers=headers, json={"name": job["name"], "params": {"data": {"day": 1}}}
    )
    for replay in (again, named):
        assert (replay.status_code, replay.headers["idempotent-replayed"]) == (202, "true")
        assert replay.json()["id"] == first.json()["id"]
        assert replay.headers["location"] == first.headers["location"]
    other = await operator.post(path, headers=headers)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/invalid-input")
    assert set(reasons(other)) == {"Idempotency-Key"}
    assert await one(db, "SELECT count(*) FROM job_executions") == (1,)


async def test_bad_keys_are_refused(operator: Client, db: Database) -> None:
    job = await operator.make_job()
    path = f"/api/v1/jobs/{job['id']}/trigger"
    for key in ("", "x" * 256, "a b", "a\tb"):
        response = await operator.post(path, headers={"Idempotency-Key": key})
        assert (response.status_code, set(reasons(response))) == (422, {"Idempotency-Key"}), key
    headers = [("Authorization", f"Bearer {operator.key}"), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    twice = await operator.http.request("POST", path, headers=headers)
    assert "twice" in reasons(twice)["Idempotency-Key"]
    assert await one(db, "SELECT count(*) FROM job_executions") == (0,)


async def test_twenty_requests_at_once_with_one_key_are_one_execution(operator: Client, db: Database) -> None:
    job = await operator.make_job()
    path = f"/api/v1/jobs/{job['id']}/trigger"
    answers = await asyncio.gather(*(operator.post(path, headers={"Idempotency-Key": "k"}) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 19
    assert await one(db, "SELECT count(*) FROM job_executions") == (1,)


async def executions(db: Database, job_id: int, *statuses: str, **columns: Any) -> None:
    now = datetime.now(UTC)
    for number, status in enumerate(statuses, start=1):
        await fetch(
            db,
            "INSERT INTO job_executions (job_id, scheduled_time, status, start_time, end_time, progress, params,"
            " dispatch_at) VALUES (%s, %s, %s, %s, %s, %s, %s, NULL) RETURNING 1",
            job_id,
            now - timedelta(seconds=number),
            status,
            None if status == "QUEUED" else now - timedelta(seconds=2),
            None if status in ("QUEUED", "RUNNING") else now,
            columns.get("progress"),
            columns.get("params"),
        )


async def test_the_status(operator: Client, viewer: Client, db: Database) -> None:
    job = await operator.make_job(name="user-sync", cronExpression=None, every=1200)
    await operator.make_job(name="held back", isActive=False)
    await executions(db, job["id"], "SUCCESS", "SUCCESS", "FAILED", "QUEUED")
    await executions(db, job["id"], "RUNNING", progress=75, params='{"syncType": "incremental"}')
    answer = (await viewer.get("/api/v1/jobs/status")).json()
    assert answer["success"] is True
    (repeatable,) = answer["data"]["repeatableJobs"]
    assert repeatable.items() >= {"name": "user-sync", "key": "default/user-sync", "every": 1_200_000}.items()
    due = datetime.fromisoformat((await viewer.get(f"/api/v1/jobs/{job['id']}")).json()["nextFireTime"])
    assert repeatable["next"] == round(due.timestamp() * 1000)
    assert answer["data"]["counts"] == {"active": 1, "waiting": 1, "completed": 2, "failed": 1, "complete": True}
    (active,) = answer["data"]["activeJobs"]
    assert (active["data"], active["progress"], active["jobId"]) == ({"syncType": "incremental"}, 75, job["id"])
    assert (await viewer.get(f"/api/v1/executions/{active['id']}")).json()["status"] == "RUNNING"


async def test_the_metrics(operator: Client, viewer: Client, db: Database) -> None:
    job = await operator.make_job()
    await executions(db, job["id"], "SUCCESS", "SUCCESS", "SUCCESS", "FAILED", "QUEUED", "RUNNING")
    await fetch(db, "UPDATE job_executions SET ready_at = now() + interval '1 h' WHERE status = 'QUEUED' RETURNING 1")
    data = (await viewer.get("/api/v1/jobs/metrics")).json()["data"]
    assert [data[name] for name in ("active", "waiting", "delayed", "completed", "failed", "deadLetter")] == [
        *(1, 1, 1, 3, 1, 1),
    ]
    assert (data["failureRate"], round(data["averageDurationMs"])) == (0.25, 2000)
    assert data["queues"] == [{"name": "default", "isPaused": False, "waiting": 1, "active": 1, "workers": 0}]
    assert data["isHealthy"] is False
    assert data["problems"] == [
        "no worker is alive",
        "no scheduler is alive",
        "25% of what ended within 24 hours failed",
    ]
    await operator.post("/api/v1/queues/default/pause")
    assert "queue default is paused" in (await viewer.get("/api/v1/jobs/metrics")).json()["data"]["problems"]


async def test_the_history(operator: Client, viewer: Client, db: Database) -> None:
    job = await operator.make_job()
    await executions(db, job["id"], "SUCCESS", "FAILED", "SUCCESS")
    first = (await viewer.get("/api/v1/jobs/history?limit=2")).json()
    assert (first["success"], len(first["data"])) == (True, 2)
    second = (await viewer.get(f"/api/v1/jobs/history?limit=2&cursor={first['nextCursor']}")).json()
    assert ([each["jobName"] for each in second["data"]], second["nextCursor"]) == (["Daily Report"], None)
    failed = (await viewer.get("/api/v1/jobs/history?status=FAILED")).json()["data"]
    assert [each["status"] for each in failed] == ["FAILED"]


async def test_what_other_namespaces_do_is_not_counted(operator: Client, services: Services, db: Database) -> None:
    job = await operator.make_job()
    await executions(db, job["id"], "SUCCESS", "FAILED", "QUEUED", "RUNNING")
    key = await services.access.create_key(name="red", role=Role.OPERATOR, namespaces=["red"], created_by="tests")
    red = Client(operator.http, key)
    status = (await red.get("/api/v1/jobs/status")).json()["data"]
    assert status["counts"] == {"active": 0, "waiting": 0, "completed": 0, "failed": 0, "complete": True}
    assert (status["repeatableJobs"], status["activeJobs"]) == ([], [])
    metrics = (await red.get("/api/v1/jobs/metrics")).json()["data"]
    assert (metrics["deadLetter"], metrics["averageDurationMs"], metrics["failureRate"]) == (0, None, 0)
    assert (await red.get("/api/v1/jobs/history")).json()["data"] == []
    assert (await red.post("/api/v1/jobs/pause")).json()["matched"] == 0
