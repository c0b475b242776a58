"""schemathesis at work on the application in this process: no sockets, one event loop, one database a module.

Generated values alone would meet little but 404 and 422. So the things that the curl examples speak of are made afresh
for each operation, and most valid cases get their ids and a part of their body from there: what is generated then
reaches the services. What was generated to be wrong stays as it is.
"""

import asyncio
import itertools
import json
import re
import threading
import zlib
from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.engine import Status, events, from_schema
from schemathesis.generation.case import Case
from schemathesis.hooks import HookContext
from schemathesis.python.asgi import get_client
from starlette.types import ASGIApp, Receive, Scope, Send

from cronsvc.services.access import Role
from cronsvc.store.pool import Database
from cronsvc.web.app import WebSettings, create_app, route_table
from cronsvc.web.curl_examples import Example, load_examples
from cronsvc.web.openapi import openapi_document
from cronsvc.web.page import Pages
from cronsvc.web.routing import Door, Route
from tests.support.example_world import World
from tests.web.conftest import http_client, serving

SEED = 20260301
THINGS_MADE = 6
STEPS = 10
_PHASES = ("examples", "coverage", "fuzzing", "stateful")
_MORE: Mapping[str, Any] = {
    "coverage": {"generate-duplicate-query-parameters": True},
    "stateful": {"max-steps": STEPS, "inference": {"algorithms": []}},
}
T = TypeVar("T")

TABLE = route_table(Pages(WebSettings()))
OPERATIONS: Mapping[str, Route] = {route.name: route for route in TABLE if route.door is Door.API}
DOCUMENT = openapi_document(TABLE, version="0")
EXAMPLES = load_examples()

# Rules that no JSON schema says: one of cronExpression, every and runAt; `until` ahead of now; a cursor that is ours;
# an Idempotency-Key that came with another request; no U+0000; the grammar of cron. Such a refusal must be one of these
# statuses, and a 422 must name what is wrong.
_POSITIVE = ["2xx", "3xx", "400", "401", "403", "404", "409", "410", "412", "422"]
# What these tell outlives a DELETE on purpose: the history of a job that is gone, and why it did not fire; which rules
# hold for a namespace or a host that has none of its own any more.
_HISTORY = ("listJobExecutions", "listRevisions", "getJobStatistics", "explainJob")
_OUTLIVING = {("use_after_free", name) for name in (*_HISTORY, "getEgress", "getHost")}
_NEGATIVE = ["400", "401", "403", "404", "405", "409", "410", "412", "413", "415", "422"]


class Served:
    """The application with its services, on the event loop where schemathesis calls it.

    That loop is met when the lifespan is offered: it is turned down, because schemathesis would end it with every run.
    """

    def __init__(self, database_url: str, redis_url: str) -> None:
        self.database_url = database_url
        self.redis_url = redis_url
        self._loop: asyncio.AbstractEventLoop | None = None
        self._app: ASGIApp | None = None
        self._world: World | None = None
        self._keys: dict[Role, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._loop = asyncio.get_running_loop()
            raise NotImplementedError("no lifespan here")
        assert self._app is not None
        await self._app(scope, receive, send)

    @property
    def world(self) -> World:
        assert self._world is not None
        return self._world

    def key(self, role: Role) -> str:
        """A key of that role, everywhere."""
        return self._keys[role]

    def run(self, made: Coroutine[Any, Any, T]) -> T:
        """Run it on the loop that serves, from another thread."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(made, self._loop).result(60)

    @contextmanager
    def opened(self) -> Iterator["Served"]:
        """Open the services on that loop, and close them there."""
        with get_client(cast(Any, self)):
            pass
        assert self._loop is not None
        ready, stop = threading.Event(), asyncio.Event()
        living = asyncio.run_coroutine_threadsafe(self._live(ready, stop), self._loop)
        living.add_done_callback(lambda _: ready.set())
        ready.wait()
        try:
            if not living.done():
                yield self
        finally:
            self._loop.call_soon_threadsafe(stop.set)
            living.result(30)

    async def _live(self, ready: threading.Event, stop: asyncio.Event) -> None:
        db = await Database.open(self.database_url, application_name="cronsvc-test", max_size=4)
        try:
            async with serving(db, self.redis_url) as services:
                self._app = create_app(services)
                for role in Role:
                    self._keys[role] = await services.access.create_key(
                        name=f"fuzz-{role.value}", role=role, created_by="tests"
                    )
                async with http_client(self._app) as http:
                    root = await services.access.create_key(name="fuzz-world", role=Role.ADMIN, created_by="tests")
                    self._world = World("http://cronsvc.test", root, services, db, self.redis_url, http)
                    ready.set()
                    await stop.wait()
        finally:
            await db.close()


@dataclass(slots=True)
class Known:
    """What exists, for one operation: values for its path, and bodies that are right."""

    paths: list[dict[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    file: str | None = None  # one that is right, for a route that takes files
    makes: bool = False  # something new, whose name must be new as well
    serial: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def improve(self, case: Case[Any]) -> Case[Any]:
        """Give a valid case ids that exist and members of a good body; the case decides which."""
        meta = case.meta
        if meta is None:
            return case
        chance = zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode("utf-8", "surrogatepass"))
        if self.paths and chance % 4 and not meta.is_negative_at(ParameterLocation.PATH):
            case.path_parameters = dict(self.paths[chance // 4 % len(self.paths)])
        if chance % 4 and not meta.is_negative_at(ParameterLocation.HEADER):
            case.headers.pop("If-Match", None)
        if case.headers.get("Idempotency-Key") and not meta.is_negative_at(ParameterLocation.HEADER):
            # One that came before would be answered as it was then, whatever has become of what was made.
            case.headers["Idempotency-Key"] = f"fuzz-{next(self.serial)}"
        if not meta.is_negative_at(ParameterLocation.BODY):
            self._improve_body(case, chance)
        return case

    def _improve_body(self, case: Case[Any], chance: int) -> None:
        if self.file is not None and chance % 2:
            case.body = self.file
        if not self.bodies or not chance % 8 or not isinstance(case.body, dict):
            return
        good = dict(self.bodies[chance // 8 % len(self.bodies)])
        if self.makes and isinstance(good.get("name"), str):
            good["name"] += f"-{next(self.serial)}"
        names = [name for at, name in enumerate(sorted(case.body)) if (chance >> (at % 28)) % 4 == 0]
        case.body = {**good, **{name: case.body[name] for name in names[: chance % 4]}}


async def known(world: World, route: Route) -> Known:
    """Make what the example of this operation speaks of, several times over."""
    found = Known(makes=route.method == "POST" and route.status == 201)
    example = EXAMPLES.get(route.name)
    if example is None:
        return found
    for _ in range(THINGS_MADE):
        try:
            said = _with_values(example, await world.variables(example))
        except AssertionError:
            if not (found.paths or found.bodies):
                raise
            break  # its things have names of their own, and are there already
        url = re.search(r'"http://cronsvc\.test([^"?]*)', said.command)
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path)
        match = re.fullmatch(pattern, url[1]) if url else None
        if match and match.groupdict():
            found.paths.append(match.groupdict())
        if isinstance(said.body, dict):
            found.bodies.append(said.body)
        if route.takes_file:
            found.file = said.command.split("'\n", 1)[-1].rpartition("\n")[0]
        if set(example.variables) <= {"CRONSVC_URL", "CRONSVC_API_KEY"}:
            break
    return found


def _with_values(example: Example, variables: Mapping[str, str]) -> Example:
    return replace(
        example, command=re.sub(r"\$\{?([A-Z][A-Z0-9_]*)\}?", lambda found: variables[found[1]], example.command)
    )


def schema_for(app: Served, key: str, *, most: int, phases: Sequence[str], seed: int = SEED) -> Any:
    """The whole document as schemathesis reads it, asked with this key, at most so many generated cases each."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "continue-on-failure": True,
            "headers": {"Authorization": f"Bearer {key}"},
            "generation": {"max-examples": most, "database": "none", "no-shrink": True, "deterministic": True},
            "phases": {name: {"enabled": name in phases} | _MORE.get(name, {}) for name in _PHASES},
            "checks": {
                "positive_data_acceptance": {"expected-statuses": _POSITIVE},
                "negative_data_rejection": {"expected-statuses": _NEGATIVE},
            },
        }
    )
    schema = schemathesis.openapi.from_dict(json.loads(json.dumps(DOCUMENT)), config=config)
    schema.app = app
    return schema


@dataclass(slots=True)
class Run:
    """What came of a run: requests by phase, answers by status, and what was wrong with them."""

    sent: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    by_operation: dict[str, Counter[int]] = field(default_factory=dict)
    by_link: dict[str, Counter[int]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def run(schema: Any, found: Run | None = None) -> Run:
    """Let schemathesis have its way with a schema; returns what came of it, on top of what was found before."""
    found = Run() if found is None else found
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _count(found, event)
        elif isinstance(event, events.NonFatalError):
            found.failures.append(f"{event.label}: {event.value!r}"[:2000])
        elif isinstance(event, events.FatalError):
            raise event.exception
    return found


def _count(found: Run, event: events.ScenarioFinished) -> None:
    recorder = event.recorder
    for case_id, interaction in recorder.interactions.items():
        assert interaction.response is not None
        status = interaction.response.status_code
        found.sent[event.phase.value] += 1
        found.statuses[status] += 1
        name = _name_of(recorder.cases[case_id].value)
        found.by_operation.setdefault(name, Counter())[status] += 1
        if recorder.cases[case_id].is_transition_applied:
            found.by_link.setdefault(name, Counter())[status] += 1
        if status == 422 and not interaction.response.json().get("errors"):
            found.failures.append(f"422 without a word why: {interaction.response.text}")
    for case_id, checks in recorder.checks.items():
        name = _name_of(recorder.cases[case_id].value)
        for check in checks:
            if check.status is not Status.FAILURE or check.failure_info is None or (check.name, name) in _OUTLIVING:
                continue
            found.failures.append(_told(check.name, check.failure_info.failure, recorder.interactions[case_id]))


def _name_of(case: Case[Any]) -> str:
    return str(case.operation.definition.raw["operationId"])


def _told(check: str, failure: Any, interaction: Any) -> str:
    request, response = interaction.request, interaction.response
    body = (request.body or b"").decode("utf-8", "replace")
    return (
        f"{check}: {failure.title}: {failure.message}\n  {request.method} {request.uri} {body}\n"
        f"  {response.status_code} {response.text}"
    )[:3000]


def on_every_case(schema: Any, known: Mapping[str, Known]) -> None:
    """Let what is known of each operation into its cases."""

    def map_case(context: HookContext, case: Case[Any]) -> Case[Any]:
        found = known.get(_name_of(case))
        return case if found is None else found.improve(case)

    schema.hook(map_case)


def first_few(failures: Sequence[str]) -> str:
    return f"{len(failures)} failures\n\n" + "\n\n".join(failures[:5])
