"""The fence and the self check over HTTP: /restore, /ready, /metrics and the page."""

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cronsvc.queue.broker import Broker
from cronsvc.services.access import Role
from cronsvc.services.fence import Fence
from cronsvc.store.pool import Database
from cronsvc.web.app import Services
from tests.support.rows import define, fetch, one
from tests.web.conftest import Client


@pytest.fixture
async def fenced(db: Database, redis_url: str) -> Database:
    """The database remembers that it was another one."""
    broker = Broker.open(redis_url)
    assert await Fence(db, broker).look()
    await broker.close()
    await fetch(db, "UPDATE service_identity SET database_oid = 1, database_name = 'before' RETURNING 1")
    return db


async def numbers(client: Client) -> dict[tuple[str, ...], float]:
    """Metrics by name and label values."""
    response = await client.get("/metrics")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


async def test_a_fenced_service_says_so_everywhere(
    fenced: Database, viewer: Client, admin: Client, http: httpx2.AsyncClient, services: Services, keys: dict[Role, str]
) -> None:
    job_id = await define(fenced, cron_expression="* * * * *")
    await fetch(
        fenced,
        "UPDATE jobs SET armed_revision = revision, next_fire_time = date_trunc('minute', now()) - interval '10 min'"
        " RETURNING 1",
    )
    ready = await http.get("/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "fenced")
    assert "cronsvc restore status" in ready.json()["problems"][0]
    document = (await viewer.get("/api/v1/restore")).json()
    assert (document["state"], document["reason"]) == ("fenced", "other_database")
    assert document["wouldFire"]["overdueJobs"] == 1
    assert document["wouldFire"]["jobs"][0]["jobId"] == job_id
    assert (await numbers(viewer))[("cronsvc_fenced",)] == 1
    token, _ = await services.access.open_session(keys[Role.VIEWER], None)
    page = await http.get("/", headers={"Cookie": f"cronsvc_session={token}", "Sec-Fetch-Site": "same-origin"})
    assert "Nothing is sent." in page.text and "before" in page.text

    done = await admin.post("/api/v1/restore/confirm", json={"mode": "skip"})
    assert (done.status_code, done.json()["jobsPassed"]) == (200, 1)
    document = (await viewer.get("/api/v1/restore")).json()
    assert (document["state"], document["released"]["mode"]) == ("open", "skip")
    assert (await admin.post("/api/v1/restore/confirm", json={"mode": "skip"})).status_code == 409
    assert await one(fenced, "SELECT status, status_reason FROM job_executions") == ("SKIPPED", "restore")


async def test_only_an_admin_confirms_and_only_in_known_words(
    fenced: Database, operator: Client, admin: Client
) -> None:
    assert (await operator.post("/api/v1/restore/confirm", json={"mode": "resume"})).status_code == 403
    assert (await admin.post("/api/v1/restore/confirm", json={"mode": "anyhow"})).status_code == 422
    assert (await admin.post("/api/v1/restore/confirm", json={})).status_code == 422
    assert await one(fenced, "SELECT cronsvc_fenced()") == (True,)


async def test_readiness_and_a_metric_go_red_and_green(
    db: Database, viewer: Client, http: httpx2.AsyncClient, services: Services
) -> None:
    await define(db, every_seconds=60, next_fire_time="2026-01-01T00:00:00Z")
    assert (await http.get("/ready")).json()["selfCheck"]["status"] == "ok"
    for _ in range(2):
        await services.self_check.look()
    ready = await http.get("/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
    assert ready.json()["selfCheck"]["status"] == "failing"
    assert ready.json()["problems"] == ["1 jobs are overdue: no scheduler records their instants"]
    red = await numbers(viewer)
    assert (red[("cronsvc_self_check_ok",)], red[("cronsvc_self_check_differences", "overdueCursors")]) == (0, 1)
    await fetch(db, "UPDATE jobs SET is_active = false RETURNING 1")
    await services.self_check.look()
    assert (await http.get("/ready")).status_code == 200
    assert (await numbers(viewer))[("cronsvc_self_check_ok",)] == 1


async def test_metrics_take_a_key_and_keep_to_its_namespaces(
    db: Database, nobody: Client, viewer: Client, services: Services
) -> None:
    for namespace in ("red", "blue"):
        job_id = await define(db, namespace=namespace)
        await fetch(
            db,
            "INSERT INTO job_executions (job_id, scheduled_time, status, attempt, start_time)"
            " VALUES (%s, now(), 'SUCCESS', 1, now() + interval '250 ms') RETURNING 1",
            job_id,
        )
    assert (await nobody.get("/metrics")).status_code == 401
    everything = await numbers(viewer)
    assert everything[("cronsvc_executions", "SUCCESS")] == 2
    assert everything[("cronsvc_lateness_seconds", "0.5")] == 0.25
    assert everything[("cronsvc_queue_paused", "default")] == 0
    assert everything[("cronsvc_schedulers",)] == 0
    key = await services.access.create_key(name="red", role=Role.VIEWER, created_by="tests", namespaces=["red"])
    assert (await numbers(Client(viewer.http, key)))[("cronsvc_executions", "SUCCESS")] == 1
