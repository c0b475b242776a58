"""Dependencies and children through the API and the page."""

from typing import Any

import httpx2
import pytest

from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from cronsvc.web.services import Services
from tests.support.rows import fetch, one
from tests.web.conftest import Client, reasons
from tests.web.test_page import Browser


@pytest.fixture
async def operating(http: httpx2.AsyncClient, keys: dict[Role, str]) -> Browser:
    browser = Browser(http)
    await browser.sign_in(keys[Role.OPERATOR])
    return browser


@pytest.fixture
async def first(operator: Client) -> dict[str, Any]:
    return await operator.make_job(name="first")


async def dependent(operator: Client, *on: dict[str, Any], **changes: Any) -> dict[str, Any]:
    wanted = {"cronExpression": None, "dependsOn": {"on": list(on)}, "name": "second"}
    return await operator.make_job(**wanted | changes)


async def test_a_dependency_is_part_of_the_document(operator: Client, first: dict[str, Any]) -> None:
    assert first["dependsOn"] is None
    condition = {"path": "summary.errors", "equals": None, "in": [None, 0], "lessThan": 3}
    second = await dependent(operator, {"job": "first", "when": "always", "condition": condition})
    assert second["dependsOn"] == {
        "mode": "all",
        "on": [{"jobId": first["id"], "when": "always", "condition": condition}],
    }
    assert (second["cronExpression"], second["nextFireTime"]) == (None, None)
    path = f"/api/v1/jobs/{second['id']}"
    same = await operator.send("PUT", path, json=second)
    assert same.json()["revision"] == 1, same.text
    patched = await operator.send("PATCH", path, json={"dependsOn": {"mode": "any"}})
    assert (patched.json()["revision"], patched.json()["dependsOn"]["mode"]) == (2, "any")
    revisions = (await operator.get(f"{path}/revisions")).json()["items"]
    assert [each["definition"]["dependsOn"]["mode"] for each in revisions] == ["any", "all"]
    gone = await operator.send("PATCH", path, json={"dependsOn": None})
    assert reasons(gone) == {"cronExpression": "one of cronExpression, every and runAt is needed"}


@pytest.mark.parametrize(
    ("on", "field"),
    [
        ([], "dependsOn.on"),
        ([{"jobId": 1, "job": "x"}], "dependsOn.on[0]"),
        ([{"jobId": 999}], "dependsOn.on[0].jobId"),
        ([{"job": "first", "when": "later"}], "dependsOn.on[0].when"),
        ([{"job": "first", "condition": {}}], "dependsOn.on[0].condition"),
        ([{"job": "first", "condition": {"path": "a..b", "exists": True}}], "dependsOn.on[0].condition.path"),
        ([{"job": "first", "condition": {"in": []}}], "dependsOn.on[0].condition.in"),
        ([{"job": "first", "condition": {"equals": [1]}}], "dependsOn.on[0].condition.equals"),
        ([{"job": "first", "condition": {"greaterThan": "x"}}], "dependsOn.on[0].condition.greaterThan"),
        ([{"job": "first"}, {"job": "first"}], "dependsOn.on[1]"),
    ],
)
async def test_what_cannot_be_is_named(operator: Client, first: dict[str, Any], on: list[Any], field: str) -> None:
    body = {"name": "x", "dependsOn": {"on": on}, "taskPayload": first["taskPayload"]}
    refused = await operator.post("/api/v1/jobs", json=body)
    assert refused.status_code in (400, 422), refused.text
    assert field in {name.replace(".on.0", ".on[0]") for name in reasons(refused)}, refused.text


async def test_circles_and_needed_jobs_are_conflicts(operator: Client, first: dict[str, Any]) -> None:
    second = await dependent(operator, {"jobId": first["id"]})
    change = {"dependsOn": {"on": [{"jobId": second["id"]}]}}
    circle = await operator.send("PATCH", f"/api/v1/jobs/{first['id']}", json=change)
    assert circle.status_code == 409 and "its own end" in circle.json()["detail"]
    deleted = await operator.send("DELETE", f"/api/v1/jobs/{first['id']}")
    assert deleted.status_code == 409 and "cannot be deleted" in deleted.json()["detail"]


async def test_both_sides_of_a_job_are_shown(
    operator: Client, viewer: Client, services: Services, first: dict[str, Any]
) -> None:
    second = await dependent(operator, {"jobId": first["id"], "when": "failure"})
    below = (await viewer.get(f"/api/v1/jobs/{first['id']}/dependencies")).json()
    assert below == {
        "mode": None,
        "upstream": [],
        "downstream": [
            {"jobId": second["id"], "jobName": "second", "mode": "all", "when": "failure", "condition": None}
        ],
    }
    above = (await viewer.get(f"/api/v1/jobs/{second['id']}/dependencies")).json()
    assert (above["mode"], above["upstream"][0]["jobName"], above["upstream"][0]["endedAt"]) == ("all", "first", None)
    key = await services.access.create_key(name="red", role=Role.VIEWER, namespaces=["red"], created_by="tests")
    red = Client(viewer.http, key)
    assert (await red.get(f"/api/v1/jobs/{first['id']}/dependencies")).status_code == 404
    assert (await red.get("/api/v1/executions/1/children")).status_code == 404


async def plant(db: Database, job_id: int, **columns: Any) -> int:
    names, places = ", ".join(columns), ", ".join(["%s"] * len(columns))
    (id_,) = await one(
        db,
        f"INSERT INTO job_executions (job_id, scheduled_time, {names})"
        f" VALUES (%s, clock_timestamp(), {places}) RETURNING id",
        job_id,
        *columns.values(),
    )
    return int(id_)


async def test_children_are_listed_in_order_and_counted(
    operator: Client, operating: Browser, db: Database, first: dict[str, Any]
) -> None:
    parent = await plant(db, first["id"], status="RUNNING", held="children", children=3, children_tolerated=0)
    children = [
        await plant(db, first["id"], status=status, parent_id=parent, child_key=str(n), trigger="dependency")
        for n, status in enumerate(("SUCCESS", "QUEUED", "SUCCESS"))
    ]
    path = f"/api/v1/executions/{parent}/children"
    page = (await operator.get(path, params={"limit": 2})).json()
    assert [each["id"] for each in page["items"]] == children[:2]
    assert page["counts"] == {"SUCCESS": 2, "QUEUED": 1}
    rest = (await operator.get(path, params={"limit": 2, "cursor": page["nextCursor"]})).json()
    assert ([each["id"] for each in rest["items"]], rest["nextCursor"]) == (children[2:], None)
    done = (await operator.get(path, params={"status": "SUCCESS"})).json()
    assert [each["id"] for each in done["items"]] == [children[0], children[2]]
    shown = (await operator.get(f"/api/v1/executions/{parent}")).json()
    assert (shown["children"], shown["waitsForChildren"], shown["parentId"]) == (3, True, None)
    assert (await operator.get(f"/api/v1/executions/{children[0]}")).json()["parentId"] == parent
    html = (await operating.get(f"/executions/{parent}")).text
    assert "Waits until its 3 children have ended" in html and f"/executions/{children[0]}" in html
    assert f'href="/executions/{parent}"' in (await operating.get(f"/executions/{children[0]}")).text


async def test_children_whose_job_moved_are_another_namespaces(
    operator: Client, services: Services, db: Database, first: dict[str, Any]
) -> None:
    moved = await operator.make_job(name="moved")
    parent = await plant(db, first["id"], status="RUNNING", held="children", children=2, children_tolerated=0)
    kept, gone = [
        await plant(db, job, status="SUCCESS", parent_id=parent, child_key=str(n), trigger="dependency")
        for n, job in enumerate((first["id"], moved["id"]))
    ]
    await fetch(db, "UPDATE jobs SET namespace = 'red' WHERE id = %s RETURNING 1", moved["id"])
    key = await services.access.create_key(name="own", role=Role.VIEWER, namespaces=["default"], created_by="tests")
    browser = Browser(operator.http)
    await browser.sign_in(key)
    html = (await browser.get(f"/executions/{parent}")).text
    assert f"/executions/{kept}" in html and f"/executions/{gone}" not in html
    path = f"/api/v1/executions/{parent}/children"
    seen = (await Client(operator.http, key).get(path)).json()
    assert ([each["id"] for each in seen["items"]], seen["counts"]) == ([kept], {"SUCCESS": 1})
    every = (await operator.get(path)).json()
    assert ([each["id"] for each in every["items"]], every["counts"]) == ([kept, gone], {"SUCCESS": 2})


async def test_a_cause_is_told_everywhere(
    operator: Client, operating: Browser, db: Database, first: dict[str, Any]
) -> None:
    second = await dependent(operator, {"jobId": first["id"]})
    why = "it ended as FAILED, and success is waited for"
    cause = (
        f'[{{"executionId": 77, "jobId": 1, "jobName": "first", "status": "FAILED", "isMet": false, "why": "{why}"}}]'
    )
    skipped = await plant(
        db, second["id"], status="SKIPPED", status_reason="upstream", trigger="dependency", causes=cause
    )
    shown = (await operator.get(f"/api/v1/executions/{skipped}")).json()
    assert shown["causedBy"] == [
        {"executionId": 77, "jobId": 1, "jobName": "first", "status": "FAILED", "isMet": False, "why": why}
    ]
    at = shown["scheduledTime"]
    told = (await operator.get(f"/api/v1/jobs/{second['id']}/explain", params={"at": at})).json()
    assert told["summary"] == (
        "It did not run: what it depends on did not end as it waits for: execution 77 of first ended as FAILED,"
        f" but {why}."
    )
    waiting = (await operator.get(f"/api/v1/jobs/{second['id']}/explain")).json()
    assert "it runs when all of these have ended since the last time: first (success), which has not" in str(waiting)
    html = (await operating.get(f"/executions/{skipped}")).text
    assert 'href="/executions/77"' in html
    page = (await operating.get(f"/jobs/{second['id']}")).text
    assert "Runs after all of" in page and f'href="/jobs/{first["id"]}"' in page
    assert "Then run" in (await operating.get(f"/jobs/{first['id']}")).text
    assert await fetch(db, "SELECT causes IS NOT NULL FROM cronsvc_v1.executions WHERE id = %s", skipped) == [(True,)]
