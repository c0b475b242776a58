"""Every curl example of the docs page is run as it stands, by bash and curl, against a server on loopback."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from redis.asyncio import Redis
from starlette.types import ASGIApp, Receive, Scope, Send

from cronsvc.processes.serving import address_of, listen, serve
from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from cronsvc.web.app import WebSettings, create_app, route_table
from cronsvc.web.curl_examples import Example, ExampleError, load_examples, read_examples
from cronsvc.web.openapi import openapi_document
from cronsvc.web.page import Pages
from cronsvc.web.routing import Door, Route
from tests.conftest import fresh_database
from tests.support.example_world import THINGS, World
from tests.support.servers import Embedded
from tests.web.conftest import http_client, serving

TABLE = {route.name: route for route in route_table(Pages(WebSettings()))}
EXAMPLES = load_examples()
DOCUMENT = openapi_document(tuple(TABLE.values()), version="0")

# curl says who it is and where the answer's head goes; nothing of the command's own text is touched.
CURLRC = 'silent\nshow-error\nmax-time = 20\ndump-header = "head"\n'


@dataclass(slots=True)
class Recorded:
    """The application, and the requests that came."""

    app: ASGIApp
    requests: list[tuple[str, str]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests.append((scope["method"], scope["path"]))
        await self.app(scope, receive, send)


@dataclass(frozen=True, slots=True)
class Stage:
    world: World
    recorded: Recorded


@pytest.fixture(scope="module")
def database(postgres_server: Embedded, template_database: str) -> Iterator[str]:
    with fresh_database(postgres_server.url, template_database) as url:
        yield url


@pytest.fixture(scope="module")
async def stage(database: str, valkey_server: Embedded) -> AsyncIterator[Stage]:
    """One service for all examples of a test process."""
    async with Redis.from_url(valkey_server.url) as client:
        await client.flushall()
    db = await Database.open(database, application_name="cronsvc-test", max_size=10)
    stop, answers = asyncio.Event(), asyncio.Event()
    listener = listen("127.0.0.1", 0)
    try:
        async with serving(db, valkey_server.url) as services:
            app = create_app(services)
            recorded = Recorded(app)
            server = asyncio.create_task(serve(recorded, listener, stop, trusted_proxies=(), ready=answers.set))
            await answers.wait()
            key = await services.access.create_key(name="examples", role=Role.ADMIN, created_by="tests")
            async with http_client(app) as http:
                world = World(address_of(listener), key, services, db, valkey_server.url, http)
                yield Stage(world, recorded)
            stop.set()
            await server
    finally:
        listener.close()
        await db.close()


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="needs bash and curl")
@pytest.mark.parametrize("name", EXAMPLES)
async def test_the_example_does_what_it_says(name: str, stage: Stage, tmp_path: Path) -> None:
    example, route = EXAMPLES[name], TABLE[name]
    variables = await stage.world.variables(example)
    stage.recorded.requests.clear()
    said = await typed(example.command, variables, tmp_path)
    method, path = stage.recorded.requests[-1]
    assert (method, bool(re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route.path), path))) == (route.method, True), path
    status, headers = head_of(tmp_path / "head")
    assert status == example.status, said.decode()
    if route.door is Door.API:
        check_answer(route, status, headers, said)


async def typed(command: str, variables: Mapping[str, str], folder: Path) -> bytes:
    """Run a command as a person would at a prompt of bash; returns what it printed."""
    (folder / ".curlrc").write_text(CURLRC)
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", command),
        cwd=folder,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "CURL_HOME": str(folder), **variables},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaints = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, complaints.decode()
    return output


def head_of(file: Path) -> tuple[int, dict[str, str]]:
    """The status and the headers of the last answer."""
    *_, head = (block for block in file.read_text().replace("\r", "").split("\n\n") if block.strip())
    first, *lines = head.splitlines()
    return int(first.split()[1]), {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }


def check_answer(route: Route, status: int, headers: Mapping[str, str], said: bytes) -> None:
    """The answer is what the OpenAPI document promises for this route and status."""
    response = DOCUMENT["paths"][route.path][route.method.lower()]["responses"][str(status)]
    media = headers.get("content-type", "").partition(";")[0]
    if "content" not in response:
        assert said == b""
        return
    assert media in response["content"], (media, list(response["content"]))
    if media.endswith("json"):
        check_schema(response["content"][media]["schema"], json.loads(said))
    else:
        assert said.strip()


def check_schema(schema: Mapping[str, Any], value: Any) -> None:
    whole = {"components": DOCUMENT["components"], **schema}
    errors = sorted(Draft202012Validator(whole).iter_errors(value), key=str)
    assert not errors, "\n".join(f"{error.json_path}: {error.message}" for error in errors)


def test_every_route_has_an_example_and_every_example_a_route() -> None:
    missing, gone = TABLE.keys() - EXAMPLES.keys(), EXAMPLES.keys() - TABLE.keys()
    assert not missing, f"write a curl example for each in cronsvc/web/examples: {sorted(missing)}"
    assert not gone, f"no route has these names any more: {sorted(gone)}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_is_honest(name: str) -> None:
    example, route = EXAMPLES[name], TABLE[name]
    assert '"$CRONSVC_URL' in example.command
    if route.door is Door.API:
        assert example.status in {route.status, *(status for status, _ in route.other_answers)}, "show it succeed"
        assert ("$CRONSVC_API_KEY" in example.command) is isinstance(route.access, Role)
        operation = DOCUMENT["paths"][route.path][route.method.lower()]
        assert [sample["source"] for sample in operation["x-codeSamples"]] == [example.command]
        if route.body is not None and not route.body_optional:
            assert example.body is not None, "show a body"
        if example.body is not None:
            for content in operation["requestBody"]["content"].values():
                assert content["example"] == example.body
                check_schema(content["schema"], content["example"])
    made = {thing for _, thing in example.things}
    assert made <= THINGS.keys(), "tests/support/example_world.py does not know how to make it"


@pytest.mark.parametrize(
    "text", ["#: getJob\ncurl x", "#: getJob 200", "#: getJob 200\n\n#: listJobs 200\ncurl x", "#: a 200 X = y\ncurl x"]
)
def test_a_file_that_cannot_be_read_says_where(text: str) -> None:
    with pytest.raises(ExampleError, match=r"jobs\.sh:1: "):
        list(read_examples(text, "jobs.sh"))


def test_two_examples_of_a_route_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text("#: getJob 200\ncurl a\n")
    (tmp_path / "b.sh").write_text("#: getJob 200\ncurl b\n")
    with pytest.raises(ExampleError, match="two examples"):
        load_examples(tmp_path)


def test_what_an_example_sends_and_needs() -> None:
    text = '# prose\n#: a 200 JOB_ID=paused_job with=queue\ncurl "$CRONSVC_URL/x/${JOB_ID}" \\\n -H "Content-Type: '
    text += 'application/json" \\\n -d \'{"id": $JOB_ID}\'\n'
    (example,) = read_examples(text, "x.sh")
    assert example.variables == ("CRONSVC_URL", "JOB_ID")
    assert example.things == (("JOB_ID", "paused_job"), ("with", "queue"))
    assert example.body == {"id": 42}
    assert Example("a", 200, "curl x").body is None
