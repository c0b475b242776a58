"""The worked example of routes of a pack: mounted as an installed package's are, behind the same door as ours."""

import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import cast

import pytest
from openapi_spec_validator import validate
from starlette.responses import Response, StreamingResponse

from cronsvc.errors import ConfigError
from cronsvc.services.access import Role
from cronsvc.web import packs
from cronsvc.web.app import Services, create_app
from cronsvc.web.packs import load_routes
from cronsvc.web.routing import TOKEN_IN_PATH, Call, Door, Route
from tests.web.conftest import Client, http_client, services  # noqa: F401 a fixture

ROOT = Path(__file__).parents[2]
PACK = ROOT / "ecosystem/packs/example_routes"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """The pack's entry points, from its own pyproject.toml."""
    groups = tomllib.loads((PACK / "pyproject.toml").read_text())["project"]["entry-points"]
    monkeypatch.syspath_prepend(str(PACK))
    yield [EntryPoint(name, value, packs.GROUP) for name, value in groups[packs.GROUP].items()]
    sys.modules.pop("cronsvc_tags", None)


async def test_it_answers_whom_it_should_and_nobody_else(
    services: Services,  # noqa: F811 the fixture
    installed: list[EntryPoint],
) -> None:
    app = create_app(services, more=load_routes(installed=installed))
    keys = {
        namespaces: await services.access.create_key(
            name=f"k{len(namespaces)}", role=Role.OPERATOR, created_by="t", namespaces=namespaces or None
        )
        for namespaces in ((), ("red",))
    }
    async with http_client(app) as http:
        everywhere, red, nobody = (Client(http, key) for key in (keys[()], keys[("red",)], None))
        await everywhere.make_job(tags=["a", "b"])
        await everywhere.make_job(name="x", namespace="red", tags=["b"])
        path = "/api/v1/packs/tags"
        assert (await nobody.get(path)).status_code == 401
        counts = {"items": [{"tag": "b", "jobs": 2}, {"tag": "a", "jobs": 1}], "complete": True}
        assert (await everywhere.get(path)).json() == counts
        assert (await red.get(path)).json()["items"] == [{"tag": "b", "jobs": 1}]
        assert (await red.get(path, params={"nonsense": "1"})).status_code == 422
        assert (await everywhere.post(path)).status_code == 405
        document = (await http.get("/openapi.json")).json()
    validate(document)
    operation = document["paths"][path]["get"]
    assert operation["x-cronsvc-role"] == "viewer" and set(operation["responses"]) >= {"200", "401", "403", "422"}


def mounted(monkeypatch: pytest.MonkeyPatch, found: object, name: str = "tags") -> tuple[Route, ...]:
    monkeypatch.setattr(packs, "_for_tests", found, raising=False)
    return load_routes(installed=[EntryPoint(name, "cronsvc.web.packs:_for_tests", packs.GROUP)])


def test_what_is_not_mounted(monkeypatch: pytest.MonkeyPatch, installed: list[EntryPoint]) -> None:
    (good,) = load_routes(installed=installed)
    assert mounted(monkeypatch, [good]) == (good,)
    for bad, said in (
        (replace(good, access=None), "neither a role nor PUBLIC"),
        (replace(good, summary=" "), "needs a name, a summary and a tag"),
        (replace(good, path="/api/v1/jobs"), "must begin with /api/v1/packs/tags"),
        (replace(good, path="/api/v1/packs/tagsmore"), "must begin with /api/v1/packs/tags"),
        (replace(good, door=Door.PAGE), "must be for a role"),
        (replace(good, access=TOKEN_IN_PATH), "must be for a role"),
    ):
        with pytest.raises(ConfigError, match=said):
            mounted(monkeypatch, [bad])
    for nothing in (good, "routes", [1], None):
        with pytest.raises(ConfigError, match="list or tuple"):
            mounted(monkeypatch, nothing)
    with pytest.raises(ConfigError, match="declared twice"):
        mounted(monkeypatch, [good, good])
    with pytest.raises(ConfigError, match="lower-case"):
        mounted(monkeypatch, [good], name="../jobs")


def test_packs_that_cannot_be_loaded_or_told_apart(installed: list[EntryPoint]) -> None:
    with pytest.raises(ConfigError, match="pack gone"):
        load_routes(installed=[EntryPoint("gone", "no_such_module:ROUTES", packs.GROUP)])
    assert len(load_routes(installed=[*installed, *installed])) == 1
    with pytest.raises(ConfigError, match="two packs"):
        load_routes(installed=[*installed, EntryPoint("tags", "other:ROUTES", packs.GROUP)])


async def test_what_a_pack_streams_is_not_kept_for_a_key_nor_sent_to_a_head(
    services: Services,  # noqa: F811 the fixture
    installed: list[EntryPoint],
) -> None:
    (good,) = load_routes(installed=installed)
    begun: list[str] = []

    async def pieces(call: Call) -> AsyncIterator[bytes]:
        begun.append(call.request.method)
        yield b"piece"

    async def stream(call: Call) -> Response:
        return StreamingResponse(pieces(call), media_type="text/plain", headers={"X-Kind": "stream"})

    gets = replace(good, handler=stream, answer=None, query=None)
    posts = replace(gets, method="POST", name="postTags", access=Role.OPERATOR, takes_idempotency_key=True)
    app = create_app(services, more=[gets, posts])
    key = await services.access.create_key(name="k", role=Role.OPERATOR, created_by="t")
    async with http_client(app) as http:
        client = Client(http, key)
        head = await client.send("HEAD", good.path)
        assert (head.status_code, head.headers["x-kind"], begun) == (200, "stream", [])
        assert "content-length" not in head.headers
        assert (await client.get(good.path)).content == b"piece"
        found = [await client.post(good.path, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [each.status_code for each in found] == [200, 409]
    assert begun == ["GET", "POST"]


def test_a_name_that_is_ours_is_refused_with_the_name_of_the_pack(installed: list[EntryPoint]) -> None:
    (good,) = load_routes(installed=installed)
    with pytest.raises(ConfigError, match="/api/v1/packs/tags: another route has the name listJobs"):
        create_app(cast(Services, None), more=[replace(good, name="listJobs")])


def test_the_readme_leads_there() -> None:
    assert "](ecosystem/packs/example_routes)" in (ROOT / "README.md").read_text()
