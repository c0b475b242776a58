"""Probes, status, keys, who am I."""

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx2
import pytest

from cronsvc.queue.broker import Broker
from cronsvc.services.status import StatusReader
from cronsvc.store.pool import Database
from cronsvc.web.app import Services, create_app
from tests.support.servers import free_port
from tests.web.conftest import Client, http_client, reasons


async def test_health_has_the_shape_of_the_seed(nobody: Client) -> None:
    response = await nobody.get("/health")
    assert response.status_code == 200
    health = response.json()
    assert set(health) == {"status", "timestamp", "uptime", "database", "jobs"}
    assert health["status"] == "OK"
    assert health["timestamp"].endswith("Z")
    assert health["uptime"] >= 0
    assert health["database"]["status"] == "connected"
    assert health["database"]["responseTime"] > 0
    assert health["jobs"] == {"initialized": True}


async def test_ready_names_every_part(nobody: Client) -> None:
    response = await nobody.get("/ready")
    assert response.status_code == 200
    ready = response.json()
    assert (ready["status"], ready["problems"]) == ("ready", [])
    assert {ready[part]["status"] for part in ("postgres", "redis", "schema")} == {"ok"}


@pytest.fixture
async def stranded(services: Services, database_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """An application whose Postgres and Redis are gone."""
    db = await Database.open(database_url, application_name="stranded")
    await db.close()
    broker = Broker.open(f"redis://127.0.0.1:{free_port()}/0")
    app = create_app(replace(services, status=StatusReader(db, broker, ready_seconds=1.0)))
    async with http_client(app) as http:
        yield http
    await broker.close()


async def test_probes_survive_losing_both_servers(stranded: httpx2.AsyncClient) -> None:
    ready = await stranded.get("/ready")
    assert ready.status_code == 503
    assert ready.json()["status"] == "not ready"
    assert {ready.json()[part]["status"] for part in ("postgres", "redis")} == {"failing"}
    assert ready.json()["problems"] == [
        "Postgres does not answer",
        "Redis does not answer: requests are served, executions wait",
    ]
    health = await stranded.get("/health")
    assert (health.status_code, health.json()["database"]) == (200, {"status": "disconnected", "responseTime": None})


async def test_a_lost_database_is_503_without_the_drivers_words(services: Services, db: Database) -> None:
    key = await services.access.create_key(name="k", role="viewer", created_by="tests")
    async with http_client(create_app(services)) as http:
        client = Client(http, key)
        assert (await client.get("/api/v1/me")).status_code == 200
        await db.close()
        response = await client.get("/api/v1/jobs")
        assert response.status_code == 503
        assert response.headers["retry-after"] == "2"
        assert response.json()["type"] == "/problems/unavailable"
        assert "pool" not in response.text
        page = await http.get("/", headers={"Cookie": "cronsvc_session=" + "x" * 43})
        assert page.status_code == 503
        assert page.headers["content-type"].startswith("text/html")


async def test_status_counts(operator: Client) -> None:
    jobs = [await operator.make_job(name=f"job {number}") for number in range(3)]
    await operator.post(f"/api/v1/jobs/{jobs[0]['id']}/pause")
    await operator.post(f"/api/v1/jobs/{jobs[1]['id']}/trigger")
    status = (await operator.get("/api/v1/status")).json()
    assert status["jobs"] == {"active": 2, "paused": 1, "inactive": 0, "quarantined": 0, "complete": True}
    assert (status["waiting"], status["running"]) == (1, 0)
    assert status["lastDay"]["counts"]["QUEUED"] == 1
    assert status["nextFireTime"] == jobs[1]["nextFireTime"]
    assert (status["workers"], status["schedulers"]) == ([], [])


async def test_me(viewer: Client) -> None:
    assert (await viewer.get("/api/v1/me")).json() == {
        "actor": "key:test-viewer",
        "role": "viewer",
        "namespaces": None,
        "roles": None,
    }


async def test_the_life_of_a_key(admin: Client, http: httpx2.AsyncClient) -> None:
    created = await admin.post("/api/v1/keys", json={"name": "ci", "role": "operator", "namespaces": ["team-a"]})
    assert created.status_code == 201, created.text
    key = created.json()
    listed = (await admin.get("/api/v1/keys")).json()["items"]
    (shown,) = [item for item in listed if item["keyId"] == key["keyId"]]
    assert "key" not in shown
    assert key["key"] not in (await admin.get("/api/v1/keys")).text
    user = Client(http, key["key"])
    assert (await user.get("/api/v1/me")).json()["namespaces"] == ["team-a"]
    assert (await admin.post("/api/v1/keys", json={"name": "ci", "role": "viewer"})).status_code == 409
    revoked = await admin.send("DELETE", f"/api/v1/keys/{key['keyId']}")
    assert revoked.status_code == 200
    assert revoked.json()["revokedAt"] is not None
    assert (await user.get("/api/v1/me")).status_code == 401
    again = await admin.send("DELETE", f"/api/v1/keys/{key['keyId']}")
    assert (again.status_code, again.json()) == (200, revoked.json())
    assert (await admin.send("DELETE", "/api/v1/keys/nothere1")).status_code == 404


async def test_a_bad_key_request_names_its_fields(admin: Client) -> None:
    bad = {"name": "x", "role": "root", "expiresAt": "soon"}
    found = reasons(await admin.post("/api/v1/keys", json=bad))
    assert found["role"] == "must be one of: viewer, operator, admin"
    assert "2026-01-31T09:00:00Z" in found["expiresAt"]
    past = {"name": "x", "role": "viewer", "expiresAt": "2001-01-01T00:00:00Z", "namespaces": []}
    assert set(reasons(await admin.post("/api/v1/keys", json=past))) == {"expiresAt", "namespaces"}


async def test_an_admin_of_one_namespace_cannot_reach_further(admin: Client, http: httpx2.AsyncClient) -> None:
    made = await admin.post("/api/v1/keys", json={"name": "a", "role": "admin", "namespaces": ["a"]})
    small = Client(http, made.json()["key"])
    assert (await small.post("/api/v1/keys", json={"name": "b", "role": "viewer"})).status_code == 403
    assert (
        await small.post("/api/v1/keys", json={"name": "c", "role": "viewer", "namespaces": ["b"]})
    ).status_code == 403
    within = await small.post("/api/v1/keys", json={"name": "d", "role": "viewer", "namespaces": ["a"]})
    assert within.status_code == 201
    assert {item["name"] for item in (await small.get("/api/v1/keys")).json()["items"]} == {"a", "d"}
