"""/api/v1/egress, /hosts and /holds, and what jobs, explanations, metrics and the page say of them."""

import re
from datetime import UTC, datetime, timedelta

from cronsvc.domain.execution import Ticket
from cronsvc.executors.api_call import ApiCall
from cronsvc.executors.base import ExecutorSettings
from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from cronsvc.web.app import Services
from tests.support.rows import one
from tests.support.running import attempt, runner
from tests.web.conftest import PLAIN_JOB, Client

TO_BLUE = {**PLAIN_JOB, "namespace": "blue"}


async def bound(admin: Client, services: Services, namespace: str, role: Role = Role.ADMIN) -> Client:
    key = await services.access.create_key(
        name=f"{namespace}-{role}", role=role, namespaces=[namespace], created_by="tests"
    )
    return Client(admin.http, key)


async def test_a_namespace_calls_what_its_list_has(admin: Client, services: Services) -> None:
    job = await admin.make_job(namespace="blue")
    put = await admin.send("PUT", "/api/v1/egress/blue", json={"hosts": ["*.example.org"], "networks": ["8.8.8.0/24"]})
    assert put.status_code == 200, put.text
    assert put.json()["service"]["hosts"] == ["*.example.org"]
    assert put.json()["own"] is None

    refused = await admin.post("/api/v1/jobs", json={**TO_BLUE, "name": "other", **calling("https://8.8.4.4/")})
    assert refused.status_code == 422
    (error,) = refused.json()["errors"]
    assert error["field"] == "taskPayload.config.url"
    assert "8.8.4.4" in error["reason"]
    assert "*.example.org, 8.8.8.0/24" in error["reason"]
    for url in ("https://8.8.8.8/", "https://reports.example.org/", "https://only-its-address-tells.example/"):
        made = await admin.post("/api/v1/jobs", json={**TO_BLUE, "name": url, **calling(url)})
        assert made.status_code == 201, made.text
    assert (await admin.send("PUT", "/api/v1/egress/blue", json={"hosts": ["*.example.org"]})).status_code == 200
    edited = await admin.send("PATCH", f"/api/v1/jobs/{job['id']}", json={"description": "x"})
    assert edited.status_code == 200, "a list that came later does not lock the other fields"
    edited = await admin.send("PATCH", f"/api/v1/jobs/{job['id']}", json=calling("https://api.example.com/x"))
    assert edited.status_code == 422, edited.text
    triggered = await admin.post(f"/api/v1/jobs/{job['id']}/trigger", json={"params": {"url": "https://evil.example/"}})
    assert triggered.status_code == 422
    assert triggered.json()["errors"][0]["field"] == "params.url"

    blue = await bound(admin, services, "blue")
    own = await blue.send("PUT", "/api/v1/egress/blue", json={"hosts": ["evil.example"]})
    assert own.json()["own"]["hosts"] == ["evil.example"]
    still = await blue.post("/api/v1/jobs", json={**TO_BLUE, "name": "e", **calling("https://evil.example/")})
    assert still.status_code == 422, "who administers a namespace only narrows"
    assert (await blue.send("PUT", "/api/v1/egress/red", json={"hosts": ["a.example"]})).status_code == 403
    assert (await blue.get("/api/v1/egress/red")).status_code == 404
    assert (await admin.send("DELETE", "/api/v1/egress/blue")).status_code == 204
    assert (await admin.get("/api/v1/egress/blue")).json() == {"namespace": "blue", "service": None, "own": None}
    assert (await admin.send("DELETE", "/api/v1/egress/blue")).status_code == 404


def calling(url: str) -> dict[str, object]:
    return {"taskPayload": {"type": "API_CALL", "config": {"url": url}}}


async def test_hosts_are_set_tripped_and_reset(admin: Client, services: Services) -> None:
    settings = {"callsPerSecond": 5, "breakerFailures": 3}
    put = await admin.send("PUT", "/api/v1/hosts/API.example.com", json=settings)
    assert put.status_code == 200, put.text
    assert put.json()["host"] == "api.example.com"
    assert (put.json()["callsPerSecond"], put.json()["breakerOpenSeconds"]) == (5, 30)
    tripped = await admin.post("/api/v1/hosts/api.example.com/trip", json={"note": "moving"})
    assert tripped.json()["breaker"] | {"changedAt": None} == {
        "state": "open",
        "failures": 0,
        "changedAt": None,
        "openUntil": None,
        "trippedBy": tripped.json()["breaker"]["trippedBy"],
        "note": "moving",
    }
    assert [each["host"] for each in (await admin.get("/api/v1/hosts")).json()["items"]] == ["api.example.com"]
    assert (await admin.post("/api/v1/hosts/api.example.com/reset")).json()["breaker"]["state"] == "closed"
    assert (await admin.send("PUT", "/api/v1/hosts/a%20b", json={})).status_code == 422
    assert (await admin.send("PUT", "/api/v1/hosts/a.example", json={"callsPerSecond": 0})).status_code == 422
    red = await bound(admin, services, "red")
    for method, path in (("GET", ""), ("GET", "/api.example.com"), ("DELETE", "/api.example.com")):
        assert (await red.send(method, f"/api/v1/hosts{path}")).status_code == 403
    assert (await red.post("/api/v1/hosts/api.example.com/trip")).status_code == 403
    assert (await admin.send("DELETE", "/api/v1/hosts/api.example.com")).status_code == 204
    assert (await admin.get("/api/v1/hosts/api.example.com")).status_code == 404


async def test_what_is_held_is_told_everywhere(admin: Client, services: Services, db: Database) -> None:
    assert (await admin.post("/api/v1/hosts/api.example.com/trip", json={"seconds": 600})).status_code == 200
    job = await admin.make_job(namespace="blue")
    execution = (await admin.post(f"/api/v1/jobs/{job['id']}/trigger", json={})).json()
    id_, job_id, at = await one(db, "SELECT id, job_id, scheduled_time FROM job_executions")
    executor = ApiCall(ExecutorSettings())
    await attempt(await runner(db, executor), Ticket(id_, job_id, at, 0, "default", 10))
    await executor.close()

    (hold,) = (await admin.get(f"/api/v1/holds?executionId={execution['id']}")).json()["items"]
    assert (hold["host"], hold["reason"], hold["isHeld"], hold["times"]) == ("api.example.com", "breaker", True, 1)
    left = datetime.fromisoformat(hold["heldUntil"]) - datetime.now(UTC)
    assert timedelta(seconds=540) < left + timedelta(seconds=300)  # looked at every five minutes at the latest
    red, blue = await bound(admin, services, "red"), await bound(admin, services, "blue", Role.VIEWER)
    assert (await red.get("/api/v1/holds")).json()["items"] == []
    assert len((await blue.get("/api/v1/holds?host=API.example.com")).json()["items"]) == 1

    shown = (await admin.get(f"/api/v1/executions/{execution['id']}")).json()
    assert (shown["status"], shown["attempt"], shown["error"]["type"]) == ("QUEUED", 0, "held")
    why = (await admin.get(f"/api/v1/jobs/{job['id']}/explain?at={execution['scheduledTime']}")).json()
    assert why["verdict"] == "held"
    assert "it waits for the host api.example.com, because its breaker was open" in why["summary"]
    assert [step["facts"]["reason"] for step in why["steps"] if step["what"] == "host"] == ["breaker"]

    metrics = (await admin.get("/metrics")).text
    assert re.search(r"^cronsvc_open_breakers 1\.0$", metrics, re.MULTILINE)
    assert re.search(r'^cronsvc_held_for_hosts\{reason="breaker"\} 1\.0$', metrics, re.MULTILINE)


async def test_the_page_says_what_is_held(admin: Client, services: Services) -> None:
    await admin.post("/api/v1/hosts/api.example.com/trip", json={"seconds": 600})
    await admin.post("/api/v1/hosts/b.example/trip", json={})
    key = await services.access.create_key(name="page", role=Role.VIEWER, created_by="tests")
    session, _ = await services.access.open_session(key, None)
    page = (await admin.http.get("/", headers={"Cookie": f"cronsvc_session={session}"})).text
    assert "the breaker of api.example.com is open until <time" in page
    assert "the breaker of b.example is open until somebody resets it" in page
