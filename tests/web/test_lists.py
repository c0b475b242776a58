"""Order and members of lists: every row once, page by page, in each order; nothing but what was asked for."""

import pytest

from cronsvc.services.access import Role
from cronsvc.services.job_order import JobSort
from cronsvc.store.pool import Database
from cronsvc.web.app import Services
from tests.support.rows import fetch
from tests.web.conftest import Client, reasons

NAMES = ["b", "a", "ä", "a'; --", "x" * 255, "ж" * 255, "B"]


async def walk(client: Client, path: str, **params: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    cursor: dict[str, str] = {}
    for _ in range(50):
        page = await client.get(path, params={"limit": "2", **params, **cursor})
        assert page.status_code == 200, page.text
        found += page.json()["items"]
        if page.json()["nextCursor"] is None:
            return found
        cursor = {"cursor": page.json()["nextCursor"]}
    raise AssertionError("the list does not end")


@pytest.mark.parametrize("sort", list(JobSort))
async def test_jobs_page_in_every_order(operator: Client, db: Database, sort: JobSort) -> None:
    for name in NAMES:
        await operator.make_job(name=name)
        await operator.make_job(name=name, namespace="other")
    # Two of each at the same instant: only the id tells them apart.
    await fetch(db, "UPDATE jobs SET updated_at = date_trunc('hour', now()) - id / 2 * interval '1 hour' RETURNING 1")
    column = {"id": "id", "name": "name", "updatedAt": "updated_at"}[sort.column]
    turn = "DESC" if sort.descending else "ASC"
    expected = [row[0] for row in await fetch(db, f"SELECT id::int FROM jobs ORDER BY {column} {turn}, id {turn}")]
    assert [item["id"] for item in await walk(operator, "/api/v1/jobs", sort=sort.value)] == expected


async def test_a_page_stays_right_when_jobs_come_and_go(operator: Client) -> None:
    ids = {name: (await operator.make_job(name=name))["id"] for name in ("b", "d", "f", "h")}
    first = (await operator.get("/api/v1/jobs", params={"sort": "name", "limit": "2"})).json()
    await operator.make_job(name="a")
    await operator.make_job(name="e")
    await operator.send("DELETE", f"/api/v1/jobs/{ids['d']}")  # the very job that the cursor stands behind
    rest = await operator.get("/api/v1/jobs", params={"sort": "name", "cursor": first["nextCursor"]})
    assert [item["name"] for item in rest.json()["items"]] == ["e", "f", "h"]


async def test_a_cursor_belongs_to_its_order(operator: Client) -> None:
    for name in ("a", "b"):
        await operator.make_job(name=name)
    cursor = (await operator.get("/api/v1/jobs?sort=name&limit=1")).json()["nextCursor"]
    for sort in ("-name", "id", "updatedAt", None):
        params = {"cursor": cursor} | ({} if sort is None else {"sort": sort})
        response = await operator.get("/api/v1/jobs", params=params)
        assert (response.status_code, set(reasons(response))) == (422, {"cursor"}), sort
    assert set(reasons(await operator.get("/api/v1/jobs?sort=taskPayload"))) == {"sort"}


async def test_executions_both_ways_round(operator: Client) -> None:
    job = await operator.make_job()
    ids = [(await operator.post(f"/api/v1/jobs/{job['id']}/trigger")).json()["id"] for _ in range(5)]
    assert [each["id"] for each in await walk(operator, "/api/v1/executions", sort="id")] == ids
    assert [each["id"] for each in await walk(operator, "/api/v1/executions", sort="-id")] == ids[::-1]
    of_job = f"/api/v1/jobs/{job['id']}/executions"
    assert [each["id"] for each in await walk(operator, of_job, sort="scheduledTime")] == ids
    assert [each["id"] for each in await walk(operator, of_job)] == ids[::-1]
    both = await operator.get("/api/v1/executions", params={"jobId": job["id"], "sort": "id"})
    assert set(reasons(both)) == {"sort"}


async def test_only_the_members_that_are_named(operator: Client) -> None:
    job = await operator.make_job()
    await operator.post(f"/api/v1/jobs/{job['id']}/trigger")
    found = (await operator.get("/api/v1/jobs", params={"fields": "name, nextFireTime"})).json()
    assert found == {
        "items": [{"id": job["id"], "name": job["name"], "nextFireTime": job["nextFireTime"]}],
        "nextCursor": None,
    }
    one = (await operator.get("/api/v1/jobs", params={"fields": "name", "jobId": job["id"]})).json()
    assert one["items"] == [{"id": job["id"], "name": job["name"]}]
    for path in ("/api/v1/executions", f"/api/v1/jobs/{job['id']}/executions"):
        (execution,) = (await operator.get(path, params={"fields": "status"})).json()["items"]
        assert set(execution) == {"id", "status"}
        assert set(reasons(await operator.get(path, params={"fields": "secret"}))) == {"fields"}
    assert set(reasons(await operator.get("/api/v1/jobs", params={"fields": ""}))) == {"fields"}


async def names_of(client: Client, path: str, member: str = "name", **params: str) -> list[object]:
    return [item[member] for item in await walk(client, path, **params)]


async def test_filters_of_the_smaller_lists(admin: Client, services: Services, db: Database) -> None:
    window = {"cronExpression": "0 3 * * *", "durationSeconds": 600, "during": "skip"}
    for name, namespace in (("x", "red"), ("y", "red"), ("x", "blue")):
        await admin.post("/api/v1/calendars", json={"name": name, "namespace": namespace})
        await admin.post("/api/v1/maintenance-windows", json={"name": name, "namespace": namespace, **window})
    await admin.post("/api/v1/maintenance-windows", json={"name": "all", **window})
    assert await names_of(admin, "/api/v1/calendars", namespace="red", sort="id") == ["x", "y"]
    assert await names_of(admin, "/api/v1/calendars", "namespace", name="x") == ["blue", "red"]
    assert await names_of(admin, "/api/v1/maintenance-windows", namespace="red") == ["y", "x"]

    await admin.send("PUT", "/api/v1/queues/slow", json={})
    await admin.post("/api/v1/queues/slow/pause")
    assert await names_of(admin, "/api/v1/queues", isPaused="true") == ["slow"]
    assert "slow" not in await names_of(admin, "/api/v1/queues", isPaused="false")

    for name in ("old", "now", "late"):
        await services.access.create_key(name=name, role=Role.VIEWER, created_by="tests")
    (old,) = await walk(admin, "/api/v1/keys", name="old")
    await admin.send("DELETE", f"/api/v1/keys/{old['keyId']}")
    await fetch(db, "UPDATE api_keys SET expires_at = now() WHERE name = 'late' RETURNING 1")
    assert await names_of(admin, "/api/v1/keys", isLive="false", sort="id") == ["old", "late"]
    assert await names_of(admin, "/api/v1/keys", isLive="true", sort="-id") == [
        "now",
        "test-admin",
        "test-operator",
        "test-viewer",
    ]
    await services.access.open_session(
        await services.access.create_key(name="ann", role=Role.VIEWER, created_by="t"), None
    )
    assert await names_of(admin, "/api/v1/sessions", "actor", actor="key:ann") == ["key:ann"]
    assert await names_of(admin, "/api/v1/sessions", "actor", actor="key:old") == []

    await fetch(
        db,
        "INSERT INTO recoveries (window_from, window_to, selector, direction, max_parallel, max_total, created_by,"
        " status) SELECT now(), now(), jsonb_build_object('namespace', null, 'tags', '[]'::jsonb, 'queue', null,"
        " 'name_prefix', null, 'job_ids', null), 'oldest', 1, 1, 'tests', status"
        " FROM unnest('{running,cancelled,running}'::text[]) AS status RETURNING 1",
    )
    assert await names_of(admin, "/api/v1/recoveries", "status", status="cancelled") == ["cancelled"]
    assert len(await names_of(admin, "/api/v1/recoveries", "status", status="running")) == 2


async def test_members_of_dead_letters_and_of_the_audit_log(admin: Client, db: Database) -> None:
    job = await admin.make_job()
    await fetch(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, status)"
        f" VALUES ({job['id']}, now(), 'FAILED') RETURNING 1",
    )
    (dead,) = await walk(admin, "/api/v1/dead-letters", fields="jobName")
    assert dead == {"id": dead["id"], "jobName": job["name"]}
    entries = await walk(admin, "/api/v1/audit", fields="action", entity="job")
    assert entries == [{"id": entries[0]["id"], "action": "create"}]
    assert set(reasons(await admin.get("/api/v1/audit", params={"fields": "nonsense"}))) == {"fields"}


async def test_a_key_is_made_however_many_there_are(admin: Client, db: Database) -> None:
    await fetch(
        db,
        "INSERT INTO api_keys (key_id, name, secret_hash, role, created_by)"
        " SELECT 'k' || n, 'key ' || n, sha256(n::text::bytea), 'viewer', 'tests' FROM generate_series(1, 1100) AS n"
        " RETURNING 1",
    )
    made = await admin.post("/api/v1/keys", json={"name": "one more", "role": "viewer"})
    assert (made.status_code, made.json()["name"]) == (201, "one more")
    last = (await admin.get("/api/v1/keys", params={"sort": "-id", "limit": "1"})).json()
    assert last["items"][0]["name"] == "one more" and last["nextCursor"] is not None
