"""Every list of the route table, found by its answer: page by page nothing is lost or doubled, whichever way it goes.

A new list has its cases without a line here, but for the rows to page through (`rows`), which it must be given.
"""

import base64
import json
from typing import Any

import pytest
from pydantic import BaseModel
from starlette.applications import Starlette

from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from cronsvc.web.app import Services
from cronsvc.web.routes import API_ROUTES
from cronsvc.web.routing import Route
from tests.support.rows import fetch
from tests.web.conftest import Client, http_client, reasons

V1 = "/api/v1"
LEAST = 3
# Lists in one order only, and what that is.
ONE_ORDER = {
    "getJobsHistory": "the newest first; /executions has others",
}


def items_of(model: type[BaseModel] | None) -> str | None:
    """The member that holds the items, if this is the answer of a list."""
    fields = set() if model is None else set(model.model_fields)
    return next((name for name in ("items", "data") if "next_cursor" in fields and name in fields), None)


LISTS = [route for route in API_ROUTES if route.method == "GET" and items_of(route.answer)]


@pytest.fixture
async def paths(admin: Client, services: Services, db: Database) -> dict[str, str]:
    """At least three rows in every list; what stands for the parameters of the paths."""

    async def made(path: str, body: Any = None, method: str = "POST") -> dict[str, Any]:
        response = await admin.send(method, V1 + path, json=body)
        assert response.status_code < 300, (path, response.text)
        found: dict[str, Any] = response.json()
        return found

    template = {
        "parameters": [],
        "definition": {
            "cronExpression": "@daily",
            "taskPayload": {"type": "API_CALL", "config": {"url": "https://a.example/"}},
        },
    }
    window = {"cronExpression": "0 3 * * *", "durationSeconds": 600, "during": "skip"}
    jobs, executions = [], []
    for name in ("a", "b", "c"):
        jobs.append(job := await admin.make_job(name=name, group=f"group-{name}"))
        executions.append(await made(f"/jobs/{job['id']}/trigger"))
        await made(f"/jobs/{job['id']}/backfill", {"from": job["createdAt"], "to": job["createdAt"]})
        await made("/calendars", {"name": name})
        await made("/maintenance-windows", {"name": name, **window})
        await made(f"/secrets/{name}", {"value": "a value"}, "PUT")
        await made(f"/queues/{name}", {}, "PUT")
        await made("/templates", {"name": name, **template})
        await made(f"/egress/{name}", {"hosts": ["a.example"]}, "PUT")
        await made(f"/hosts/{name}.example", {"callsPerSecond": 1}, "PUT")
        key = await services.access.create_key(name=name, role=Role.VIEWER, created_by="tests")
        await services.access.open_session(key, None)
    first = jobs[0]["id"]
    for text in ("one", "two"):
        await made(f"/jobs/{first}", {"description": text}, "PATCH")
        await made(f"/jobs/{first}/trigger")
        await made("/templates/1", {"name": "a", **template, "description": text}, "PUT")
    await fetch(db, f"UPDATE job_executions SET parent_id = {executions[1]['id']} WHERE job_id = {first} RETURNING 1")
    await fetch(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, status)"
        f" SELECT {first}, now() - n * interval '1 minute', 'FAILED' FROM generate_series(1, 3) AS n RETURNING 1",
    )
    await fetch(
        db,
        "INSERT INTO recoveries (window_from, window_to, selector, direction, max_parallel, max_total, created_by)"
        " SELECT now(), now(), jsonb_build_object('namespace', null, 'tags', '[]'::jsonb, 'queue', null, 'name_prefix',"
        " null, 'job_ids', null), 'oldest', 1, 1, 'tests' FROM generate_series(1, 3) RETURNING 1",
    )
    await fetch(
        db,
        "INSERT INTO host_holds (job_id, scheduled_time, host, reason, execution_id, namespace, claim_no, held_until)"
        " SELECT job_id, scheduled_time, 'a.example', 'rate', id, 'default', 1, now() FROM job_executions LIMIT 3"
        " RETURNING 1",
    )
    return {"jobId": str(first), "executionId": str(executions[1]["id"]), "templateId": "1"}


def sorts(route: Route) -> list[str | None]:
    assert route.query is not None, f"{route.path} has neither cursor nor limit"
    field = route.query.model_fields.get("sort")
    return [None] if field is None else [each.value for each in field.annotation]  # type: ignore[union-attr]


async def page(client: Client, route: Route, paths: dict[str, str], **params: Any) -> dict[str, Any]:
    response = await client.get(route.path.format(**paths), params={k: v for k, v in params.items() if v is not None})
    assert response.status_code == 200, (route.path, params, response.text)
    found: dict[str, Any] = response.json()
    return found


def identity(item: dict[str, Any]) -> str:
    """What tells an item from the others; counts and clocks may move while it is looked at."""
    names = ("id", "keyId", "revision", "name", "namespace", "host", "executionId", "since")
    found = {name: item[name] for name in names if name in item}
    assert found, item
    return json.dumps(found)


async def test_page_by_page(admin: Client, paths: dict[str, str]) -> None:
    for route in LISTS:
        await pages_through(admin, paths, route)


async def pages_through(admin: Client, paths: dict[str, str], route: Route) -> None:
    assert route.query is not None and {"cursor", "limit"} <= set(route.query.model_fields)
    assert ("sort" in route.query.model_fields) is (route.name not in ONE_ORDER)
    member = items_of(route.answer)
    assert member is not None
    whole: dict[str | None, list[str]] = {}
    for sort in sorts(route):
        at_once = await page(admin, route, paths, sort=sort, limit=200)
        whole[sort] = [identity(item) for item in at_once[member]]
        assert len(whole[sort]) >= LEAST and at_once["nextCursor"] is None, f"give {route.name} rows in `paths`"
        assert len(set(whole[sort])) == len(whole[sort]), (route.name, sort)
        found: list[str] = []
        cursor = None
        while True:
            part = await page(admin, route, paths, sort=sort, limit=2, cursor=cursor)
            assert 1 <= len(part[member]) <= 2, (route.name, sort)
            found += [identity(item) for item in part[member]]
            cursor = part["nextCursor"]
            if cursor is None:
                break
            assert len(found) < len(whole[sort]), (route.name, sort)
        assert found == whole[sort], (route.name, sort)
    for sort in filter(None, sorts(route)):
        assert whole[sort] == whole[sort[1:] if sort.startswith("-") else f"-{sort}"][::-1], (route.name, sort)
    default = [identity(item) for item in (await page(admin, route, paths))[member]]
    assert default in [each[:50] for each in whole.values()], route.name


def opaque(*values: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


WRONG: tuple[object, ...] = (None, True, [], {}, -1, 2**63, "\0", "\ud800", 1.5)


async def test_a_cursor_of_something_else(admin: Client, paths: dict[str, str]) -> None:
    for route in LISTS:
        await refuses(admin, paths, route)


async def refuses(admin: Client, paths: dict[str, str], route: Route) -> None:
    first, *others = sorts(route)
    known = (await page(admin, route, paths, sort=first, limit=1))["nextCursor"]
    kind, *values = json.loads(base64.urlsafe_b64decode(known + "=" * (-len(known) % 4)))
    garbled = ["", "x", "ä", known[:-3], known + "AAAA", "=" * 9, "[" * 900, opaque(kind)]
    garbled += [opaque("another list", *values), *(opaque(kind, *(wrong for _ in values)) for wrong in WRONG)]
    path, order = route.path.format(**paths), {} if first is None else {"sort": first}
    for cursor in garbled:
        response = await admin.get(path, params={"cursor": cursor, **order})
        assert (response.status_code, set(reasons(response))) == (422, {"cursor"}), (route.name, cursor)
        assert response.headers["content-type"] == "application/problem+json"
    for other in others:
        refused = await admin.get(path, params={"cursor": known, "sort": other})
        assert set(reasons(refused)) == {"cursor"}, (route.name, other)
    for limit in ("0", "201", "-1", "x", "1.5"):
        assert set(reasons(await admin.get(path, params={"limit": limit}))) == {"limit"}, (route.name, limit)


async def test_their_parameters_are_documented(app: Starlette) -> None:
    async with http_client(app) as http:
        document = (await http.get("/openapi.json")).json()
    for route in LISTS:
        documented = document["paths"][route.path]["get"]["parameters"]
        found = {each["name"]: each["schema"] for each in documented if each["in"] == "query"}
        bounds = [found["limit"][name] for name in ("minimum", "maximum", "default")]
        assert ("cursor" in found, bounds) == (True, [1, 200, 50]), route.name
        if "sort" in found:
            assert set(found["sort"]["enum"]) == set(sorts(route)), route.name
            assert found["sort"]["default"] in sorts(route), route.name
