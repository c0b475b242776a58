"""Cancel, retry and dead letters over HTTP: status codes, shapes, and what a caller may touch."""

from datetime import datetime, timedelta
from typing import Any

from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from cronsvc.web.app import Services
from tests.support.rows import fetch, one
from tests.web.conftest import Client, reasons

V1 = "/api/v1"


async def execution(operator: Client, **job: Any) -> dict[str, Any]:
    """A waiting execution of a new job."""
    made = await operator.make_job(**job)
    response = await operator.post(f"{V1}/jobs/{made['id']}/trigger")
    assert response.status_code == 202
    document: dict[str, Any] = response.json()
    return document


async def dead_letter(operator: Client, db: Database, **job: Any) -> dict[str, Any]:
    made = await execution(operator, **job)
    await fetch(
        db,
        "UPDATE job_executions SET status = 'FAILED', status_reason = 'error', attempt = 3, claim_no = 3,"
        ' dispatch_at = NULL, end_time = clock_timestamp(), error = \'{"type": "http_status", "message": "503"}\''
        " WHERE id = %s RETURNING 1",
        made["id"],
    )
    return made


async def test_cancelling_what_waits(operator: Client) -> None:
    made = await execution(operator)
    assert (made["cancelRequestedAt"], made["resolvedAt"]) == (None, None)
    path = f"{V1}/executions/{made['id']}"
    response = await operator.post(f"{path}/cancel", json={"note": "not today"})
    assert response.status_code == 202, response.text
    assert response.headers["location"] == path
    cancelled = response.json()
    assert (cancelled["status"], cancelled["statusReason"]) == ("CANCELLED", "user")
    assert (cancelled["cancelRequestedBy"], cancelled["cancelNote"]) == ("key:test-operator", "not today")
    assert cancelled["endTime"] is not None
    again = await operator.post(f"{path}/cancel")
    assert (again.status_code, again.json()["type"]) == (409, "/problems/conflict")
    assert "it is CANCELLED" in again.json()["detail"]
    assert reasons(await operator.post(f"{path}/cancel", json={"notes": "x"})) == {
        "notes": "unknown field; did you mean note?"
    }
    assert "note" in reasons(await operator.post(f"{path}/cancel", json={"note": "x" * 1001}))


async def test_cancelling_what_runs_is_a_request(operator: Client, db: Database) -> None:
    made = await execution(operator)
    await fetch(db, "UPDATE job_executions SET status = 'RUNNING', attempt = 1, claim_no = 1 RETURNING 1")
    for _ in range(2):
        response = await operator.post(f"{V1}/executions/{made['id']}/cancel")
        assert response.status_code == 202
        asked = response.json()
        assert asked["status"] == "RUNNING" and asked["cancelRequestedAt"].endswith("Z")


async def test_retrying(operator: Client, db: Database) -> None:
    made = await dead_letter(operator, db)
    response = await operator.post(f"{V1}/executions/{made['id']}/retry")
    assert response.status_code == 202, response.text
    again = response.json()
    assert (again["id"], again["scheduledTime"]) == (made["id"], made["scheduledTime"])
    assert (again["status"], again["attempt"], again["maxAttempts"], again["error"]) == ("QUEUED", 3, 6, None)
    refused = await operator.post(f"{V1}/executions/{made['id']}/retry")
    assert refused.status_code == 409 and "waits to run already" in refused.json()["detail"]
    assert (await operator.post(f"{V1}/executions/424242/retry")).status_code == 404
    assert (await operator.post(f"{V1}/executions/x/cancel")).status_code == 404


async def test_the_list_of_dead_letters(operator: Client, db: Database) -> None:
    made = [await dead_letter(operator, db, name=f"job {number}", queue=f"q{number}") for number in range(3)]
    await execution(operator, name="waits")

    async def listed(**params: Any) -> tuple[list[int], str | None]:
        response = await operator.get(f"{V1}/dead-letters", params=params)
        assert response.status_code == 200, response.text
        return [item["id"] for item in response.json()["items"]], response.json()["nextCursor"]

    ids = [each["id"] for each in made]
    assert await listed() == (ids[::-1], None)
    first, cursor = await listed(limit=2)
    assert first == ids[:0:-1] and await listed(limit=2, cursor=cursor) == (ids[:1], None)
    assert await listed(queue="q1") == (ids[1:2], None)
    assert await listed(jobId=made[2]["jobId"]) == (ids[2:], None)
    assert await listed(namespace="other") == ([], None)
    after = datetime.fromisoformat(made[0]["scheduledTime"]) + timedelta(microseconds=1)
    assert await listed(since=after.isoformat()) == (ids[:0:-1], None)
    assert await listed(until=after.isoformat()) == (ids[:1], None)
    (shown,) = (await operator.get(f"{V1}/dead-letters", params={"queue": "q1"})).json()["items"]
    assert {**shown, "attempts": []} == (await operator.get(f"{V1}/executions/{ids[1]}")).json()
    assert (shown["status"], shown["resolvedAt"], shown["resolvedBy"], shown["resolveNote"]) == (
        "FAILED",
        None,
        None,
        None,
    )
    assert list(reasons(await operator.get(f"{V1}/dead-letters?since=yesterday&jobId=0&colour=red"))) == [
        "jobId",
        "since",
        "colour",
    ]
    assert (await operator.get(f"{V1}/dead-letters?cursor=nonsense")).status_code == 422
    status = (await operator.get(f"{V1}/status")).json()
    assert status["deadLetters"] == {"count": 3, "complete": True}


async def test_redriving_and_resolving_one(operator: Client, db: Database) -> None:
    first, second = await dead_letter(operator, db, name="a"), await dead_letter(operator, db, name="b")
    redriven = await operator.post(f"{V1}/dead-letters/{first['id']}/redrive")
    assert (redriven.status_code, redriven.json()["status"]) == (202, "QUEUED")
    assert (await operator.post(f"{V1}/dead-letters/{first['id']}/redrive")).status_code == 409
    path = f"{V1}/dead-letters/{second['id']}/resolve"
    assert "note" in reasons(await operator.post(path, json={}))
    assert "note" in reasons(await operator.post(path, json={"note": "  "}))
    resolved = await operator.post(path, json={"note": "sent by hand"})
    assert (resolved.status_code, resolved.json()["resolveNote"]) == (200, "sent by hand")
    assert (resolved.json()["status"], resolved.json()["resolvedBy"]) == ("FAILED", "key:test-operator")
    refused = await operator.post(path, json={"note": "again"})
    assert refused.status_code == 409 and "key:test-operator resolved it" in refused.json()["detail"]
    assert (await operator.get(f"{V1}/dead-letters")).json()["items"] == []


async def test_redriving_and_resolving_several(operator: Client, db: Database) -> None:
    ids = [(await dead_letter(operator, db, name=f"job {number}"))["id"] for number in range(3)]
    response = await operator.post(f"{V1}/dead-letters/redrive", json={"ids": [ids[0], 424242, ids[0]]})
    assert response.status_code == 200, response.text
    assert response.json() == {
        "items": [
            {"id": ids[0], "done": True, "problem": None, "detail": None},
            {"id": 424242, "done": False, "problem": "/problems/not-found", "detail": "there is no execution 424242"},
        ],
        "done": 1,
        "more": False,
    }
    body = {"namespace": "default", "limit": 1, "note": "known outage"}
    response = await operator.post(f"{V1}/dead-letters/resolve", json=body)
    assert ([item["id"] for item in response.json()["items"]], response.json()["more"]) == ([ids[2]], True)
    assert await one(db, "SELECT resolve_note FROM job_executions WHERE resolved_at IS NOT NULL") == ("known outage",)
    for wrong, fields in (
        ({}, ["ids"]),
        ({"ids": []}, ["ids"]),
        ({"ids": [0]}, ["ids.0"]),
        ({"ids": ["1"]}, ["ids.0"]),
        ({"jobId": 1, "limit": 501}, ["limit"]),
        ({"status": "FAILED"}, ["status"]),
    ):
        response = await operator.post(f"{V1}/dead-letters/redrive", json=wrong)
        assert (response.status_code, list(reasons(response))) == (422, fields), (wrong, response.text)


async def test_a_key_of_another_namespace_finds_nothing(services: Services, operator: Client, db: Database) -> None:
    made = await dead_letter(operator, db)
    key = await services.access.create_key(name="red", role=Role.OPERATOR, namespaces=["red"], created_by="tests")
    red = Client(operator.http, key)
    assert (await red.get(f"{V1}/dead-letters")).json()["items"] == []
    assert (await red.get(f"{V1}/status")).json()["deadLetters"]["count"] == 0
    for path in (
        f"executions/{made['id']}/retry",
        f"executions/{made['id']}/cancel",
        f"dead-letters/{made['id']}/redrive",
    ):
        assert (await red.post(f"{V1}/{path}")).status_code == 404
    bulk = await red.post(f"{V1}/dead-letters/redrive", json={"jobId": made["jobId"]})
    assert bulk.json() == {"items": [], "done": 0, "more": False}
