"""/api/v1/jobs as a client sees it, on real services."""

import itertools
import json
from datetime import datetime
from typing import Any

from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from cronsvc.web.app import Services
from tests.support.rows import fetch, one
from tests.web.conftest import PLAIN_JOB, Client, reasons


async def test_the_calls_of_the_seed_work_as_written(operator: Client) -> None:
    created = await operator.post("/api/v1/jobs", json=PLAIN_JOB)
    assert created.status_code == 201
    job = created.json()
    assert created.headers["location"] == f"/api/v1/jobs/{job['id']}"
    assert created.headers["etag"] == '"1"'
    assert {name: job[name] for name in PLAIN_JOB} == PLAIN_JOB

    assert [item["id"] for item in (await operator.get("/api/v1/jobs")).json()["items"]] == [job["id"]]
    by_id = await operator.get(f"/api/v1/jobs?jobId={job['id']}")
    assert by_id.json() == {"items": [job], "nextCursor": None}

    deleted = await operator.send("DELETE", f"/api/v1/jobs/{job['id']}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await operator.get(f"/api/v1/jobs?jobId={job['id']}")).status_code == 404
    assert (await operator.get("/api/v1/jobs")).json() == {"items": [], "nextCursor": None}


async def test_a_job_shows_every_member_with_the_defaults(operator: Client) -> None:
    job = await operator.make_job()
    expected: dict[str, Any] = {
        "description": "",
        "namespace": "default",
        "tags": [],
        "every": None,
        "runAt": None,
        "timezone": "UTC",
        "startAt": None,
        "endAt": None,
        "maxRuns": None,
        "jitterSeconds": 0,
        "misfirePolicy": "fire_once",
        "misfireGraceSeconds": 60,
        "overlapPolicy": "allow",
        "queue": "default",
        "priority": "normal",
        "maxAttempts": 3,
        "backoff": {"type": "exponential", "delaySeconds": 2.0, "factor": 2.0, "maxSeconds": 300.0, "jitter": 0.1},
        "retryOn": None,
        "timeoutSeconds": 60,
        "deadlineSeconds": None,
        "pauseAfterFailures": None,
        "retention": {"keepCompleted": None, "keepFailed": None, "days": 90},
        "isActive": True,
        "pause": None,
        "lastFireTime": None,
        "revision": 1,
    }
    assert {name: job[name] for name in expected} == expected
    assert job["nextFireTime"].endswith("T09:00:00Z")
    for name in ("createdAt", "updatedAt"):
        assert job[name].endswith("Z")
        assert datetime.fromisoformat(job[name]).tzinfo is not None


async def test_an_interval_is_taken_both_ways_and_shown_one_way(operator: Client) -> None:
    pairs = [
        ("PT90S", "PT1M30S"),
        (90, "PT1M30S"),
        ("P1D", "P1D"),
        (86_400, "P1D"),
        ("P1W", "P7D"),
        ("P1DT1S", "P1DT1S"),
    ]
    for given, shown in pairs:
        job = await operator.make_job(name=f"every {given}", cronExpression=None, every=given)
        assert (job["every"], job["cronExpression"]) == (shown, None)


async def test_priority_is_a_name_or_the_number_of_the_seed(operator: Client) -> None:
    for given, shown in [(1, "critical"), (5, "high"), (10, "normal"), (15, "low"), ("low", "low")]:
        assert (await operator.make_job(name=f"priority {given}", priority=given))["priority"] == shown


INVALID: list[tuple[dict[str, Any], str, str]] = [
    ({"cronExpression": "61 * * * *"}, "cronExpression", "minute"),
    ({"cronExpression": 5}, "cronExpression", "must be text, not a number"),
    ({"timezone": "Mars/Olympus"}, "timezone", "Mars/Olympus"),
    ({"name": ""}, "name", "1 to 255"),
    ({"name": "a\tb"}, "name", "control character"),
    ({"description": "no\x9b2J"}, "description", "control character"),
    ({"name": None}, "name", "must be text, not null"),
    ({"cron_expression": "* * * * *"}, "cron_expression", "did you mean cronExpression?"),
    ({"cron": "* * * * *"}, "cron", "did you mean cronExpression?"),
    ({"maxAtempts": 3}, "maxAtempts", "did you mean maxAttempts?"),
    ({"isActive": "yes"}, "isActive", "must be true or false, not text"),
    ({"maxAttempts": 0}, "maxAttempts", "1 to 100"),
    ({"maxAttempts": 2.5}, "maxAttempts", "must be a whole number"),
    ({"timeoutSeconds": 10**9}, "timeoutSeconds", "1 to 604800"),
    ({"misfirePolicy": "later"}, "misfirePolicy", "must be one of: skip, fire_once, fire_all"),
    ({"priority": 7}, "priority", "must be one of: critical (1), high (5), normal (10), low (15)"),
    ({"cronExpression": None, "every": "20m"}, "every", "PT20M"),
    ({"cronExpression": None, "every": 0}, "every", "1 second to 366 days"),
    ({"cronExpression": None, "runAt": "tomorrow"}, "runAt", "2026-01-31T09:00:00Z"),
    ({"startAt": "2026-02-30T00:00:00Z"}, "startAt", "not in the calendar"),
    ({"startAt": "2026-01-01T00:00:00"}, "startAt", "with an offset"),
    ({"cronExpression": None}, "cronExpression", "one of cronExpression, every and runAt is needed"),
    ({"every": 60}, "every", "exactly one of"),
    ({"backoff": {"delay": 3}}, "backoff.delay", "did you mean delaySeconds?"),
    ({"backoff": {"jitter": 2}}, "backoff.jitter", "0 to 1"),
    ({"retention": {"days": 0}}, "retention.days", "1 to"),
    ({"tags": "nightly"}, "tags", "must be a list, not text"),
    ({"taskPayload": {"type": "FAX", "config": {}}}, "taskPayload.type", "API_CALL"),
    ({"taskPayload": {"type": "API_CALL", "config": {"url": "nonsense"}}}, "taskPayload.config.url", "http"),
    ({"taskPayload": []}, "taskPayload", "must be an object, not a list"),
    ({"id": 7}, "id", "is set by cronsvc"),
    ({"revision": 7}, "revision", "is set by cronsvc"),
    ({"description": "a\u0000b"}, "description", "U+0000"),
    ({"taskPayload": {"type": "API_CALL", "config": {"url": "http://e.com/", "data": {"x": "\ud800"}}}},
     "taskPayload.config.data.x", "surrogate"),
]  # fmt: skip


async def test_a_bad_field_is_named_and_nothing_is_written(operator: Client, db: Database) -> None:
    wrong = []
    for changes, field, words in INVALID:
        content = json.dumps({**PLAIN_JOB, **changes})
        response = await operator.post("/api/v1/jobs", content=content, headers={"Content-Type": "application/json"})
        problem = response.json()
        said = (response.status_code, response.headers["content-type"], problem["type"], problem["status"])
        if said != (422, "application/problem+json", "/problems/invalid-input", 422):
            wrong.append((changes, said))
        if words not in reasons(response).get(field, ""):
            wrong.append((changes, problem))
    assert wrong == []
    written = await one(db, "SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM audit_log WHERE entity = 'job')")
    assert written == (0, 0)


async def test_every_bad_field_is_named_at_once(operator: Client) -> None:
    bad = {
        **PLAIN_JOB,
        "name": "",
        "cronExpression": "61 * * * *",
        "maxAttempts": 0,
        "taskPayload": {"type": "FAX", "config": {}},
    }
    response = await operator.post("/api/v1/jobs", json=bad)
    assert set(reasons(response)) == {"name", "cronExpression", "maxAttempts", "taskPayload.type"}
    shapes = {**PLAIN_JOB, "isActive": "yes", "timeoutSeconds": "5", "colour": "red"}
    response = await operator.post("/api/v1/jobs", json=shapes)
    assert set(reasons(response)) == {"isActive", "timeoutSeconds", "colour"}


async def test_a_taken_name_is_a_conflict(operator: Client) -> None:
    job = await operator.make_job()
    response = await operator.post("/api/v1/jobs", json=PLAIN_JOB)
    assert response.status_code == 409
    assert response.json()["type"] == "/problems/conflict"
    assert str(job["id"]) in response.json()["detail"]


async def test_filters_and_pages_of_the_list(operator: Client) -> None:
    made = [
        await operator.make_job(name=f"job {number}", tags=["even"] if number % 2 == 0 else [], isActive=number != 3)
        for number in range(5)
    ]
    ids = [job["id"] for job in made]
    first = (await operator.get("/api/v1/jobs?limit=2")).json()
    assert [item["id"] for item in first["items"]] == ids[:2:-1]
    rest = (await operator.get("/api/v1/jobs", params={"limit": 200, "cursor": first["nextCursor"]})).json()
    assert [item["id"] for item in rest["items"]] == ids[2::-1]
    assert rest["nextCursor"] is None

    async def listed(query: str) -> list[int]:
        response = await operator.get(f"/api/v1/jobs?{query}")
        assert response.status_code == 200, response.text
        return [item["id"] for item in response.json()["items"]]

    assert await listed("name=job 1") == [ids[1]]
    assert await listed("tag=even") == [ids[4], ids[2], ids[0]]
    assert await listed("isActive=false") == [ids[3]]
    assert await listed("queue=default&namespace=default&limit=1") == [ids[4]]
    assert await listed("namespace=elsewhere") == []


BAD_QUERIES = [
    ("limit=0", "limit", "at least 1"),
    ("limit=201", "limit", "at most 200"),
    ("limit=x", "limit", "whole number"),
    ("isActive=maybe", "isActive", "true or false"),
    ("cursor=abc", "cursor", "nextCursor"),
    ("is_active=true", "is_active", "did you mean isActive?"),
    ("limit=1&limit=2", "limit", "twice"),
    ("name=%00", "name", "U+0000"),
    ("jobId=0", "jobId", "at least 1"),
    ("jobId=99999999999999999999", "jobId", "at most"),
    ("jobId=1&name=x", "jobId", "names one job"),
]


async def test_a_bad_query_is_named(operator: Client) -> None:
    for query, field, words in BAD_QUERIES:
        response = await operator.get(f"/api/v1/jobs?{query}")
        assert response.status_code == 422, (query, response.text)
        assert words in reasons(response)[field], query


async def test_an_id_that_does_not_exist_is_404(operator: Client) -> None:
    ids = ["0", "999", "x", "-1", "99999999999999999999", "1" * 5000, "%00", "١"]
    for method, job_id in itertools.product(("GET", "DELETE"), ids):
        response = await operator.send(method, f"/api/v1/jobs/{job_id}")
        assert response.status_code == 404
        assert response.json()["type"] == "/problems/not-found"


async def test_pause_and_resume(operator: Client, db: Database) -> None:
    job = await operator.make_job()
    path = f"/api/v1/jobs/{job['id']}"
    paused = (await operator.post(f"{path}/pause", json={"note": "holiday"})).json()
    assert paused["pause"]["note"] == "holiday"
    assert paused["pause"]["by"] == "key:test-operator"
    assert paused["nextFireTime"] is None
    assert (await operator.get(f"{path}/upcoming")).json()["fireTimes"] == []
    resumed = (await operator.post(f"{path}/resume")).json()
    assert resumed["pause"] is None
    assert resumed["nextFireTime"] == job["nextFireTime"]
    actions = await fetch(db, "SELECT action, actor, source FROM audit_log WHERE entity = 'job' ORDER BY id")
    assert actions == [(action, "key:test-operator", "198.51.100.7") for action in ("create", "pause", "resume")]
    assert (await operator.post(f"{path}/pause")).status_code == 200  # a body is optional
    bad = await operator.post(f"{path}/pause", json={"until": "2001-01-01T00:00:00Z"})
    assert "lies ahead" in reasons(bad)["until"]


async def test_upcoming_and_revisions(operator: Client) -> None:
    job = await operator.make_job()
    path = f"/api/v1/jobs/{job['id']}"
    upcoming = (await operator.get(f"{path}/upcoming?count=3")).json()
    assert len(upcoming["fireTimes"]) == 3
    assert upcoming["fireTimes"][0] == job["nextFireTime"]
    assert upcoming["description"].startswith("At 09:00")
    await operator.send("PATCH", path, json={"description": "second"})
    revisions = (await operator.get(f"{path}/revisions")).json()["items"]
    assert [(item["revision"], item["definition"]["description"]) for item in revisions] == [(2, "second"), (1, "")]
    assert revisions[0]["actor"] == "key:test-operator"


async def test_namespaces_hide_and_default(services: Services, http: Any, operator: Client) -> None:
    key = await services.access.create_key(name="team-a", role=Role.OPERATOR, namespaces=["team-a"], created_by="tests")
    team = Client(http, key)
    mine = await team.make_job()
    assert mine["namespace"] == "team-a"  # the only one this key has
    other = await operator.make_job()
    assert (await team.get(f"/api/v1/jobs/{other['id']}")).status_code == 404
    assert [item["id"] for item in (await team.get("/api/v1/jobs")).json()["items"]] == [mine["id"]]
    refused = await team.post("/api/v1/jobs", json={**PLAIN_JOB, "name": "x", "namespace": "default"})
    assert refused.status_code == 403
    assert (await operator.send("PUT", f"/api/v1/jobs/{mine['id']}", json=PLAIN_JOB)).json()["namespace"] == "team-a"
