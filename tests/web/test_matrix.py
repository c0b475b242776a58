"""The matrix: every route of the table × every kind of principal × every role × inside and outside of their namespaces.

Made from the table, so a new route has its cells asserted without a line here. A route with the id of something that
lives in a namespace must be told here what stands for it.
"""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import pytest
from joserfc import jws
from joserfc.jwk import OctKey
from starlette.applications import Starlette
from starlette.routing import Route as StarletteRoute

from cronsvc.config_identity import JwtIssuer
from cronsvc.services.access import Access, Role
from cronsvc.services.tokens import Tokens
from cronsvc.store.pool import Database
from cronsvc.web.app import Services, WebSettings, route_table
from cronsvc.web.page import Pages
from cronsvc.web.routing import PUBLIC, Call, Door, Route, UndocumentedRouteError, check_routes
from tests.web.conftest import PLAIN_JOB, Client, http_client

TABLE = route_table(Pages(WebSettings()))
API = [route for route in TABLE if route.door is Door.API and isinstance(route.access, Role)]
PAGES = [route for route in TABLE if route.door is Door.PAGE and isinstance(route.access, Role)]
ISSUER = JwtIssuer.model_validate({"issuer": "i", "audience": "cronsvc", "algorithm": "HS256", "secret": "s" * 32})
BROWSER = {"Sec-Fetch-Site": "same-origin"}

# What stands for the id in a path: something that lives in the namespace red. None: it lives in no namespace.
IN_RED: Mapping[str, str | None] = {
    "jobId": "job",
    "executionId": "execution",
    "calendarId": "calendar",
    "windowId": "window",
    "backfillId": "backfill",
    "recoveryId": "recovery",
    "templateId": "template",
    "keyId": None,
}
WINDOW = {"name": "w", "cronExpression": "0 3 * * *", "durationSeconds": 600, "during": "skip", "namespace": "red"}
TEMPLATE = {"name": "t", "namespace": "red", "definition": {"cronExpression": "@daily", "taskPayload": {"type": "X"}}}
# Good bodies of routes that need one, so that what refuses a request is its sender and not its body.
BODIES: Mapping[str, Any] = {
    "replaceJob": PLAIN_JOB,
    "patchJob": {"description": "changed"},
    "replaceMaintenanceWindow": WINDOW,
    "replaceTemplate": TEMPLATE,
}


@dataclass(frozen=True, slots=True)
class Principal:
    """`roles` by namespace, `*` for all of them; empty: nobody."""

    kind: str
    roles: Mapping[str, Role]
    headers: Mapping[str, str]

    def may(self, route: Route, namespace: str) -> bool:
        assert isinstance(route.access, Role)
        role = self.roles.get(namespace, self.roles.get("*"))
        return role is not None and role.reaches(route.access)

    def may_somewhere(self, route: Route) -> bool:
        assert isinstance(route.access, Role)
        return any(role.reaches(route.access) for role in self.roles.values())


def token(roles: Any, **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": "i", "aud": "cronsvc", "sub": "ann", "iat": now, "exp": now + 300, "roles": roles} | changes
    key = OctKey.import_key("s" * 32)
    return jws.serialize_compact({"alg": "HS256", "typ": "JWT"}, json.dumps(claims).encode(), key)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.fixture
async def services(services: Services, db: Database) -> Services:
    async def never(_url: str) -> bytes:
        raise AssertionError("an issuer with a secret has no keys to fetch")

    return replace(services, access=Access(db, tokens=Tokens([ISSUER], never)))


async def key_of(services: Services, roles: Mapping[str, Role]) -> str:
    name = "-".join(f"{namespace.replace('*', 'all')}.{role}" for namespace, role in roles.items())
    if "*" in roles:
        return await services.access.create_key(name=name, role=roles["*"], created_by="tests")
    return await services.access.create_key(name=name, roles=dict(roles), created_by="tests")


def grants() -> list[dict[str, Role]]:
    """Each role everywhere, in one namespace, and beside less in another."""
    everywhere = [{"*": role} for role in Role]
    inside = [{"red": role} for role in Role]
    mixed = [{"red": Role.ADMIN, "blue": Role.VIEWER}, {"red": Role.VIEWER, "blue": Role.ADMIN}]
    return [*everywhere, *inside, {"blue": Role.ADMIN}, *mixed]


async def bearers(services: Services) -> list[Principal]:
    found = []
    for roles in grants():
        said: Any = [roles["*"]] if "*" in roles else roles
        found += [
            Principal("key", roles, bearer(await key_of(services, roles))),
            Principal("JWT", roles, bearer(token(said))),
        ]
    return found


async def strangers(services: Services) -> list[Principal]:
    """Credentials that are none, or not good enough for this door."""
    key = await services.access.create_key(name="ended", role=Role.ADMIN, created_by="tests")
    session, _ = await services.access.open_session(key, None)
    return [
        Principal("none", {}, {}),
        Principal("a key with a typing error", {}, bearer(key[:-1] + ("a" if key[-1] != "a" else "b"))),
        Principal("an unknown key", {}, bearer("csk_aaaaaaaa_" + "a" * 49)),
        Principal("an expired JWT", {}, bearer(token(["admin"], exp=1))),
        Principal("a JWT of another issuer", {}, bearer(token(["admin"], iss="j"))),
        Principal("a session", {}, {"Cookie": f"cronsvc_session={session}"}),
    ]


async def things(http: httpx2.AsyncClient, services: Services) -> dict[str, str]:
    """One of everything, in the namespace red."""
    root = Client(http, await services.access.create_key(name="root", role=Role.ADMIN, created_by="tests"))
    job = await root.make_job(namespace="red")
    window = {"from": job["createdAt"], "to": job["createdAt"]}

    async def made(path: str, body: Any) -> str:
        response = await root.post(path, json=body)
        assert response.status_code < 300, response.text
        return str(response.json()["id"])

    return {
        "job": str(job["id"]),
        "execution": await made(f"/api/v1/jobs/{job['id']}/trigger", {}),
        "calendar": await made("/api/v1/calendars", {"name": "days", "namespace": "red"}),
        "template": await made("/api/v1/templates", TEMPLATE),
        "window": await made("/api/v1/maintenance-windows", WINDOW),
        "backfill": await made(f"/api/v1/jobs/{job['id']}/backfill", window),
        "recovery": await made("/api/v1/recoveries", {**window, "selector": {"namespace": "red"}}),
    }


def in_red(route: Route) -> list[str]:
    """The ids in the path that name something of a namespace."""
    return [name for name in re.findall(r"\{(\w+)\}", route.path) if IN_RED.get(name) is not None]


def path_of(route: Route, found: Mapping[str, str]) -> str:
    def stand_in(match: re.Match[str]) -> str:
        return found.get(IN_RED.get(match[1]) or "", "424242")

    return re.sub(r"\{(\w+)\}", stand_in, route.path)


def test_every_id_in_a_path_is_told_what_stands_for_it() -> None:
    names = {name for route in TABLE for name in re.findall(r"\{(\w+Id)\}", route.path)}
    assert names <= set(IN_RED), "say in IN_RED what stands for it"


@pytest.mark.slow
async def test_every_route_by_every_principal(http: httpx2.AsyncClient, services: Services) -> None:
    found = await things(http, services)
    cells = 0
    known, unknown = await bearers(services), await strangers(services)
    nowhere = dict.fromkeys(found, "424242")
    for route in API:
        for principal in unknown:
            response = await http.request(route.method, path_of(route, found), headers=dict(principal.headers))
            assert response.status_code == 401, (principal.kind, route.method, route.path)
            assert response.headers["www-authenticate"].startswith("Bearer")
            cells += 1
        for principal in known:
            # With ids of nothing: what answers is the role alone.
            cell = (principal.kind, dict(principal.roles), route.method, route.path)
            response = await http.request(route.method, path_of(route, nowhere), headers=dict(principal.headers))
            if not principal.may_somewhere(route):
                assert response.status_code == 403, cell
            elif response.status_code == 403:  # the role would do; what is asked for is beyond its namespaces
                assert "*" not in principal.roles and "needs the role" not in response.text, cell
            else:
                assert response.status_code not in (401, 405, 500), cell
            cells += 1
    assert cells == len(API) * (len(known) + len(unknown))


@pytest.mark.slow
async def test_nobody_reaches_into_another_namespace(http: httpx2.AsyncClient, services: Services) -> None:
    """Ids of things in red: whoever may not there is told what one of nothing would tell, and nothing changes."""
    found = await things(http, services)
    known = [each for each in await bearers(services) if each.may_somewhere(API[0]) or each.roles]
    for route in API:
        if not in_red(route):
            continue
        body = BODIES.get(route.name, {})
        for principal in known:
            if principal.may(route, "red"):
                continue
            cell = (principal.kind, dict(principal.roles), route.method, route.path)
            send = {"headers": dict(principal.headers)} | ({"json": body} if route.body else {})
            response = await http.request(route.method, path_of(route, found), **send)
            of_nothing = await http.request(route.method, path_of(route, dict.fromkeys(found, "424242")), **send)
            assert response.status_code in (403, 404, 422), cell
            assert response.status_code == of_nothing.status_code, cell
            if response.status_code == 422:
                assert route.body is not None and route.name not in BODIES, cell
            assert response.json()["detail"].replace(*_ids(found, route)) == of_nothing.json()["detail"], cell


def _ids(found: Mapping[str, str], route: Route) -> tuple[str, str]:
    return found[str(IN_RED[in_red(route)[-1]])], "424242"


@pytest.mark.slow
async def test_whoever_may_reaches_what_is_theirs(http: httpx2.AsyncClient, services: Services) -> None:
    found = await things(http, services)
    for roles in ({"red": Role.VIEWER}, {"red": Role.VIEWER, "blue": Role.ADMIN}, {"*": Role.VIEWER}):
        said: Any = [roles["*"]] if "*" in roles else roles
        for headers in (bearer(await key_of(services, roles)), bearer(token(said))):
            for route in API:
                if route.method == "GET" and in_red(route) and route.access is Role.VIEWER:
                    response = await http.request("GET", path_of(route, found), headers=headers)
                    assert response.status_code in (200, 422), (roles, route.path)


@pytest.mark.slow
async def test_every_page_by_every_session(http: httpx2.AsyncClient, services: Services) -> None:
    found = await things(http, services)
    admin = await services.access.create_key(name="no session", role=Role.ADMIN, created_by="tests")
    sessions = [
        Principal("session", roles, {"Cookie": f"cronsvc_session={opened[0]}"})
        for roles in grants()
        for opened in [await services.access.open_session(await key_of(services, roles), None)]
    ]
    for route in PAGES:
        for headers in ({}, bearer(admin), {"Cookie": "cronsvc_session=" + "x" * 43}):
            response = await http.request(route.method, path_of(route, found), headers={**BROWSER, **headers})
            assert (response.status_code, response.headers["location"][:6]) == (303, "/login"), route.path
        for principal in sessions:
            cell = (dict(principal.roles), route.method, route.path)
            headers = {**BROWSER, **principal.headers}
            response = await http.request(route.method, path_of(route, {}), headers=headers)
            assert not response.headers.get("location", "").startswith("/login"), cell
            if not principal.may_somewhere(route):
                assert response.status_code == 403, cell
            if route.method == "POST":
                foreign = {**headers, "Sec-Fetch-Site": "cross-site"}
                assert (await http.request("POST", path_of(route, found), headers=foreign)).status_code == 403, cell
            elif in_red(route):
                response = await http.request("GET", path_of(route, found), headers=headers)
                sees = principal.may(route, "red")
                assert response.status_code == (200 if sees else 404), cell


async def test_what_is_served_is_in_the_table(app: Starlette) -> None:
    """Nothing is mounted past the table, so nothing is past the matrix and the document."""
    assert all(isinstance(route, StarletteRoute) for route in app.routes)
    served = {route.path for route in app.routes if isinstance(route, StarletteRoute)}
    assert served == {route.path for route in TABLE}
    documented = json.loads(app.state.openapi)["paths"]
    assert set(documented) == {route.path for route in TABLE if route.door is Door.API}


@pytest.mark.parametrize("gap", [{"summary": ""}, {"summary": " "}, {"tag": ""}, {"name": ""}])
def test_a_route_without_a_word_about_it_is_refused(gap: dict[str, str]) -> None:
    async def handler(call: Call) -> Any:
        raise AssertionError

    route = Route("GET", "/api/v1/extra", PUBLIC, handler, "extra", "Extra", "extra")
    check_routes([route])
    with pytest.raises(UndocumentedRouteError, match="/api/v1/extra"):
        check_routes([replace(route, **gap)])  # type: ignore[arg-type]


async def test_every_path_answers_head_as_get_without_more_rights(app: Starlette) -> None:
    async with http_client(app) as http:
        for route in API:
            if route.method == "GET":
                assert (await http.request("HEAD", path_of(route, {}))).status_code == 401
