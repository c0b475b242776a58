"""Order and members of lists: every row once, page by page, in each order; nothing but what was asked for."""

import pytest

from cronsvc.services.job_order import JobSort
from cronsvc.store.pool import Database
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
