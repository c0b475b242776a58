"""The route table: everything is protected, documented, and refuses whom it should refuse."""

import json
import re
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette

from cronsvc.services.access import Role
from cronsvc.web.app import Services, WebSettings, create_app, route_table
from cronsvc.web.openapi import openapi_document, problems_of
from cronsvc.web.page import Pages
from cronsvc.web.problems import PROBLEMS
from cronsvc.web.routes import API_ROUTES
from cronsvc.web.routing import PUBLIC, TOKEN_IN_PATH, Call, Door, Route, UnprotectedRouteError
from tests.web.conftest import PLAIN_JOB, Client

TABLE = route_table(Pages(WebSettings()))
PUBLIC_ROUTES = {
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/openapi.json"),
    ("GET", "/login"),
    ("POST", "/login"),
    ("GET", "/login/oidc"),
    ("GET", "/login/oidc/callback"),
    ("POST", "/logout"),
    ("GET", "/docs"),
    ("GET", "/problems"),
    ("GET", "/problems/{slug}"),
    ("GET", "/static/{name}"),
}
BROWSER = {"Sec-Fetch-Site": "same-origin"}


def concrete(path: str) -> str:
    """The path with an id that nothing has."""
    return re.sub(r"\{\w+\}", "424242", path)


def test_only_these_routes_answer_anybody() -> None:
    assert {(route.method, route.path) for route in TABLE if route.access is PUBLIC} == PUBLIC_ROUTES


def test_every_write_needs_more_than_a_viewer() -> None:
    harmless = {"previewSchedule"}
    for route in TABLE:
        if route.method != "GET" and isinstance(route.access, Role) and route.name not in harmless:
            assert route.access.reaches(Role.OPERATOR), route.path


async def test_a_route_without_a_role_is_refused_at_creation(services: Services) -> None:
    async def handler(call: Call) -> Any:
        raise AssertionError

    forgotten = Route("GET", "/extra", None, handler, "extra", "Extra", "extra")
    with pytest.raises(UnprotectedRouteError, match="GET /extra"):
        create_app(services, more=[forgotten])
    with pytest.raises(ValueError, match="declared twice"):
        create_app(services, more=[replace(forgotten, access=PUBLIC), replace(forgotten, access=PUBLIC, name="b")])


async def test_a_route_from_outside_is_protected_and_documented(services: Services, keys: dict[Role, str]) -> None:
    async def handler(call: Call) -> Any:
        raise AssertionError("not reached")

    extra = Route("GET", "/api/v1/extra", Role.ADMIN, handler, "extra", "Extra", "extra")
    app = create_app(services, more=[extra])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://cronsvc.test") as http:
        assert (await Client(http, None).get("/api/v1/extra")).status_code == 401
        assert (await Client(http, keys[Role.OPERATOR]).get("/api/v1/extra")).status_code == 403
        assert "/api/v1/extra" in (await http.get("/openapi.json")).json()["paths"]


async def test_the_matrix_of_roles_and_routes(http: httpx2.AsyncClient, keys: dict[Role, str]) -> None:
    """Every cell: without a key 401, with too little a role 403, with enough something else."""
    for route in TABLE:
        if not isinstance(route.access, Role) or route.door is not Door.API:
            continue
        path = concrete(route.path)
        anonymous = await http.request(route.method, path)
        assert anonymous.status_code == 401, route.path
        assert anonymous.headers["www-authenticate"].startswith("Bearer")
        for role in Role:
            response = await http.request(route.method, path, headers={"Authorization": f"Bearer {keys[role]}"})
            if role.reaches(route.access):
                assert response.status_code not in (401, 403, 405, 500), (route.method, path, role)
            else:
                assert response.status_code == 403, (route.method, path, role)
                assert route.access.value in response.json()["detail"]


async def test_routes_for_a_token_are_open_to_no_key(http: httpx2.AsyncClient, keys: dict[Role, str]) -> None:
    """The token in the path is the credential; a key beside it or in its place is none."""
    routes = [route for route in TABLE if route.access is TOKEN_IN_PATH]
    acts = ("progress", "complete")
    assert {route.path for route in routes} == {f"/api/v1/callbacks/{{token}}/{act}" for act in acts}
    for route in routes:
        for place in ("424242", *keys.values()):
            for headers in ({}, *({"Authorization": f"Bearer {key}"} for key in keys.values())):
                response = await http.request(route.method, route.path.replace("{token}", place), headers=headers)
                assert response.status_code == 401, (route.path, place)


async def test_a_token_beside_a_role_is_for_the_routes_that_say_so(http: httpx2.AsyncClient) -> None:
    taking = {route.path for route in TABLE if route.takes_callback_token}
    assert taking == {f"/api/v1/executions/{{executionId}}/{act}" for act in ("progress", "complete")}
    assert all(route.access is Role.OPERATOR for route in TABLE if route.takes_callback_token)
    headers = {"Authorization": "Bearer cbt_" + "A" * 98}
    for path in taking:
        assert (await http.post(concrete(path), headers=headers)).status_code == 401


async def test_the_matrix_of_roles_and_pages(
    http: httpx2.AsyncClient, services: Services, keys: dict[Role, str]
) -> None:
    sessions = {role: (await services.access.open_session(key, None))[0] for role, key in keys.items()}
    for route in TABLE:
        if not isinstance(route.access, Role) or route.door is not Door.PAGE:
            continue
        path = concrete(route.path)
        anonymous = await http.request(route.method, path, headers=BROWSER)
        assert (anonymous.status_code, anonymous.headers["location"][:6]) == (303, "/login"), route.path
        for role, token in sessions.items():
            headers = {**BROWSER, "Cookie": f"cronsvc_session={token}"}
            response = await http.request(route.method, path, headers=headers)
            if response.status_code != 303:  # pausing all jobs works without any
                assert response.headers["content-type"].startswith("text/html"), route.path
            assert (response.status_code == 403) is not role.reaches(route.access), (route.path, role)


async def test_a_key_does_not_open_pages_and_a_session_does_not_open_the_api(
    http: httpx2.AsyncClient, services: Services, keys: dict[Role, str]
) -> None:
    token, _ = await services.access.open_session(keys[Role.ADMIN], None)
    assert (await http.get("/api/v1/jobs", headers={"Cookie": f"cronsvc_session={token}"})).status_code == 401
    assert (await http.get("/", headers={"Authorization": f"Bearer {keys[Role.ADMIN]}"})).status_code == 303


async def test_bad_credentials_are_refused_alike(http: httpx2.AsyncClient, keys: dict[Role, str]) -> None:
    good = keys[Role.ADMIN]
    for header in (
        "",
        "Bearer",
        "Bearer ",
        "Basic abc",
        good,
        f"Bearer {good}x",
        f"Bearer {good[:-1]}",
        f"Bearer {good} {good}",
        f"Bearer, Bearer {good}",
        "Bearer csk_aaaaaaaa_" + "a" * 49,
        "Bearer " + "a" * 5000,
    ):
        response = await http.get("/api/v1/me", headers={"Authorization": header})
        assert response.status_code == 401, header
        assert response.json()["type"] == "/problems/unauthenticated"
    assert (await http.get("/api/v1/me", headers={"Authorization": f"bearer {good}"})).status_code == 200


async def test_methods_that_a_path_does_not_take(http: httpx2.AsyncClient) -> None:
    for path in {route.path for route in TABLE}:
        taken = {route.method for route in TABLE if route.path == path}
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - taken:
            response = await http.request(method, concrete(path), headers=BROWSER)
            assert response.status_code == 405, (method, path)
            assert taken <= set(response.headers["allow"].split(", "))


async def test_what_is_not_there_is_a_problem_or_a_page(http: httpx2.AsyncClient) -> None:
    response = await http.get("/api/v1/nothing")
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")
    page = await http.get("/nothing", headers={"Accept": "text/html,*/*"})
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert (await http.get("/api/v1/jobs/")).status_code == 404  # no redirect that repeats an unchecked Host header


async def test_the_openapi_document_is_valid_and_complete(app: Starlette, http: httpx2.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    assert document == json.loads(app.state.openapi)
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    documented = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert documented == {(route.method, route.path) for route in TABLE if route.door is Door.API}
    for route in API_ROUTES:
        operation = document["paths"][route.path][route.method.lower()]
        assert operation["summary"]
        assert (operation.get("security") == []) is (route.access is PUBLIC)
        wanted = {str(route.status), *(str(kind.status) for kind in problems_of(route))}
        assert wanted <= set(operation["responses"])


async def test_answers_are_what_the_document_says(operator: Client) -> None:
    document = openapi_document(TABLE, version="test")
    job = await operator.make_job()
    await operator.post(f"/api/v1/jobs/{job['id']}/trigger", json={"params": {"data": {}}})
    execution = (await operator.get("/api/v1/executions")).json()["items"][0]
    bodies = {"previewSchedule": {"cronExpression": "* * * * *"}, "createJob": {**PLAIN_JOB, "name": "another"}}
    window = {"from": job["createdAt"], "to": job["createdAt"]}
    backfill = (await operator.post(f"/api/v1/jobs/{job['id']}/backfill", json=window)).json()
    recovery = (await operator.post("/api/v1/recoveries", json={**window, "selector": {}})).json()
    calendar = (await operator.post("/api/v1/calendars", json={"name": "holidays"})).json()
    closing = {"name": "upgrade", "cronExpression": "0 3 * * *", "durationSeconds": 600, "during": "skip"}
    maintenance = (await operator.post("/api/v1/maintenance-windows", json=closing)).json()
    bodies |= {"createCalendar": {"name": "others"}, "createMaintenanceWindow": closing}
    host = (await operator.post("/api/v1/hosts/api.example.com/trip")).json()
    definition = {name: PLAIN_JOB[name] for name in ("cronExpression", "taskPayload")}
    template = (await operator.post("/api/v1/templates", json={"name": "reports", "definition": definition})).json()
    bodies |= {"createTemplate": {"name": "others", "definition": definition}, "applyTemplate": {}}
    bodies |= {"createJobFromTemplate": {"name": "from a template"}}
    checked = set()
    for route in API_ROUTES:
        path = route.path.replace("{calendarId}", str(calendar["id"])).replace("{windowId}", str(maintenance["id"]))
        path = path.replace("{jobId}", str(job["id"])).replace("{executionId}", str(execution["id"]))
        path = (
            path.replace("{name}", "default")
            .replace("{backfillId}", str(backfill["id"]))
            .replace("{recoveryId}", str(recovery["id"]))
            .replace("{namespace}", "default")
            .replace("{host}", host["host"])
            .replace("{templateId}", str(template["id"]))
        )
        if (route.method != "GET" and route.name not in bodies) or route.access is Role.ADMIN or not route.answer:
            continue
        response = await operator.send(route.method, path, json=bodies.get(route.name))
        assert response.status_code == route.status, (path, response.text)
        content = document["paths"][route.path][route.method.lower()]["responses"][str(route.status)]["content"]
        schema = {**content["application/json"]["schema"], "components": document["components"]}
        errors = [error.message for error in Draft202012Validator(schema).iter_errors(response.json())]
        assert errors == [], route.path
        checked.add(route.name)
    assert {"getJob", "listJobs", "getExecution", "getHealth", "getStatus", "createJob", "listRevisions"} <= checked


async def test_every_kind_of_problem_has_a_page(http: httpx2.AsyncClient) -> None:
    for kind in PROBLEMS.values():
        response = await http.get(kind.type)
        assert response.status_code == 200
        assert str(kind.status) in response.text
    assert (await http.get("/problems/unknown")).status_code == 404
