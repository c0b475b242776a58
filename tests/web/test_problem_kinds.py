"""Every kind of problem is brought about by a request, and its page says what came."""

import asyncio
import html
import importlib
import json
import pkgutil
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import httpx2
import pytest

import cronsvc
from cronsvc import domain, errors, queue, store, web
from cronsvc import services as services_floor
from cronsvc.queue.rate_limits import RateLimiter
from cronsvc.services.access import Role
from cronsvc.services.status import StatusReader
from cronsvc.store.pool import Database
from cronsvc.web import problems
from cronsvc.web.app import Services, WebSettings, create_app
from cronsvc.web.problem_guides import GUIDES
from cronsvc.web.problems import PROBLEMS, UNEXPECTED, ProblemKind, problem_document, problem_of
from cronsvc.web.rate_limits import RateLimits
from tests.support.callbacks import taken_over
from tests.web.conftest import PLAIN_JOB, Client, http_client
from tests.web.test_callbacks_api import token_of

V1 = "/api/v1"
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Bench:
    """A service as it is set up by default, and its makings."""

    services: Services
    db: Database
    redis_url: str
    keys: Mapping[Role, str]
    client: Client

    def by(self, role: Role | None) -> Client:
        return Client(self.client.http, None if role is None else self.keys[role])


@pytest.fixture
async def bench(services: Services, db: Database, redis_url: str, keys: dict[Role, str]) -> AsyncIterator[Bench]:
    async with http_client(create_app(services)) as http:
        yield Bench(services, db, redis_url, keys, Client(http, keys[Role.OPERATOR]))


async def invalid_input(bench: Bench) -> httpx2.Response:
    return await bench.client.post(f"{V1}/jobs", json={**PLAIN_JOB, "maxAttempts": 0, "timezone": "Europe/Londn"})


async def malformed_request(bench: Bench) -> httpx2.Response:
    return await bench.client.post(f"{V1}/jobs", content=b'{"name": "a", "name": "b"}', headers=JSON)


async def unauthenticated(bench: Bench) -> httpx2.Response:
    return await bench.by(None).get(f"{V1}/jobs")


async def forbidden(bench: Bench) -> httpx2.Response:
    return await bench.by(Role.VIEWER).post(f"{V1}/jobs", json=PLAIN_JOB)


async def not_found(bench: Bench) -> httpx2.Response:
    return await bench.client.get(f"{V1}/jobs/4242")


async def method_not_allowed(bench: Bench) -> httpx2.Response:
    return await bench.client.send("DELETE", f"{V1}/jobs")


async def request_timeout(bench: Bench) -> httpx2.Response:
    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    impatient = create_app(bench.services, settings=WebSettings(body_deadline_seconds=0.1))
    async with http_client(impatient) as http:
        return await Client(http, bench.client.key).post(f"{V1}/jobs", content=stuck(), headers=JSON)


async def conflict(bench: Bench) -> httpx2.Response:
    await bench.client.make_job()
    return await bench.client.post(f"{V1}/jobs", json=PLAIN_JOB)


async def gone(bench: Bench) -> httpx2.Response:
    ticket, _ = await taken_over(bench.db)
    path = f"{V1}/callbacks/{await token_of(bench.db, ticket)}"
    assert (await bench.by(None).post(f"{path}/complete", json={"status": "success"})).status_code == 200
    return await bench.by(None).post(f"{path}/progress", json={"progress": 50})


async def precondition_failed(bench: Bench) -> httpx2.Response:
    job = await bench.client.make_job()
    return await bench.client.send("PUT", f"{V1}/jobs/{job['id']}", json=PLAIN_JOB, headers={"If-Match": '"7"'})


async def content_too_large(bench: Bench) -> httpx2.Response:
    return await bench.client.post(f"{V1}/jobs", content=b" " * 300_000, headers=JSON)


async def unsupported_media_type(bench: Bench) -> httpx2.Response:
    return await bench.client.post(f"{V1}/jobs", content=json.dumps(PLAIN_JOB), headers={"Content-Type": "text/plain"})


async def misdirected_request(bench: Bench) -> httpx2.Response:
    named = create_app(bench.services, settings=WebSettings(allowed_hosts=("cronsvc.example",)))
    async with http_client(named) as http:
        return await Client(http, bench.client.key).get(f"{V1}/jobs", headers={"Host": "elsewhere.example"})


async def too_many_requests(bench: Bench) -> httpx2.Response:
    counts = RateLimiter.open(bench.redis_url, prefix="kinds")
    limits = RateLimits(counts, {"reads": 1})
    try:
        async with http_client(create_app(replace(bench.services, rate_limits=limits))) as http:
            client = Client(http, bench.client.key)
            assert (await client.get(f"{V1}/jobs")).status_code == 200
            return await client.get(f"{V1}/jobs")
    finally:
        await counts.close()


async def internal_error(bench: Bench) -> httpx2.Response:
    class Broken(StatusReader):
        async def overview(self, caller: object) -> NoReturn:
            raise RuntimeError("hunter2")

    broken = Broken.__new__(Broken)  # what it would be made of is not asked for
    async with http_client(create_app(replace(bench.services, status=broken))) as http:
        return await Client(http, bench.client.key).get(f"{V1}/status")


async def unavailable(bench: Bench) -> httpx2.Response:
    assert (await bench.client.get(f"{V1}/me")).status_code == 200  # the key is known now
    await bench.db.close()
    return await bench.client.get(f"{V1}/jobs")


PROVOKED: Mapping[ProblemKind, Callable[[Bench], Awaitable[httpx2.Response]]] = {
    problems.INVALID: invalid_input,
    problems.MALFORMED: malformed_request,
    problems.UNAUTHENTICATED: unauthenticated,
    problems.FORBIDDEN: forbidden,
    problems.NOT_FOUND: not_found,
    problems.METHOD_NOT_ALLOWED: method_not_allowed,
    problems.TOO_SLOW: request_timeout,
    problems.CONFLICT: conflict,
    problems.GONE: gone,
    problems.PRECONDITION: precondition_failed,
    problems.TOO_LARGE: content_too_large,
    problems.MEDIA: unsupported_media_type,
    problems.MISDIRECTED: misdirected_request,
    problems.TOO_MANY: too_many_requests,
    problems.UNEXPECTED: internal_error,
    problems.UNAVAILABLE: unavailable,
}


@pytest.mark.parametrize("kind", PROVOKED, ids=lambda kind: kind.slug)
async def test_a_request_brings_it_about_and_its_page_shows_the_answer(kind: ProblemKind, bench: Bench) -> None:
    response = await PROVOKED[kind](bench)
    assert (response.status_code, response.headers["content-type"]) == (kind.status, problems.MEDIA_TYPE)
    assert "hunter2" not in response.text
    document: dict[str, Any] = response.json()
    guide = GUIDES[kind.slug]
    shown = problem_document(guide.example, request_id=document["requestId"])
    assert alike(document) == alike(shown)
    assert all(alike(response.headers[name]) == alike(value) for name, value in guide.headers)
    assert response.headers["x-request-id"] == document["requestId"]

    page = await bench.client.http.get(document["type"])
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    text = html.unescape(re.sub(r"<[^>]+>", "", page.text))
    headers = [f"{name}: {value}" for name, value in guide.headers]
    for part in (kind.title, kind.type, f"HTTP/1.1 {kind.status}", json.dumps(guide.detail), *headers):
        assert part in text
    for words in (kind.meaning, guide.again, guide.request, *guide.causes, *guide.remedies):
        assert words.replace("`", "") in text


def alike(value: object) -> str:
    """As text, without how long this test lets somebody wait."""
    return re.sub(r"\b[\d.]+( seconds)|^\d+$", r"N\1", json.dumps(value) if isinstance(value, dict) else str(value))


def test_every_kind_there_is_has_a_page_and_a_test() -> None:
    assert set(PROBLEMS.values()) == PROVOKED.keys() == {guide.kind for guide in GUIDES.values()}
    assert {slug: guide.kind.slug for slug, guide in GUIDES.items()} == {slug: slug for slug in PROBLEMS}
    made = [kind for kind in vars(problems).values() if isinstance(kind, ProblemKind)]
    assert len(made) == len(set(made)) == len(PROBLEMS), "a kind is not in PROBLEMS"


def test_kinds_are_made_in_one_place() -> None:
    package = Path(cronsvc.__file__).parent
    makers = {file.name for file in package.rglob("*.py") if re.search(r"\bProblemKind\(\n", file.read_text())}
    assert makers == {"problems.py"}


# Errors that no request meets: of a start, of the servers that `up` brings, of the client; and the base of all.
NOT_ANSWERED = ("cronsvc.embedded.", "cronsvc.client.")
# A value that passed every check and that Postgres refuses is our defect.
OURS = {errors.CronsvcError, errors.ConfigError, errors.Unstorable}


def every_error(parent: type[errors.CronsvcError] = errors.CronsvcError) -> Iterator[type[errors.CronsvcError]]:
    yield parent
    for child in parent.__subclasses__():
        yield from every_error(child)


def test_every_error_that_crosses_floors_is_of_a_kind() -> None:
    for floor in (domain, queue, services_floor, store, web):
        for module in pkgutil.iter_modules(floor.__path__, f"{floor.__name__}."):
            importlib.import_module(module.name)
    found = [each for each in every_error() if each.__module__.startswith("cronsvc.")]
    assert len(found) > 10
    for each in found:
        if each in OURS or each is problems.Refused or each.__module__.startswith(NOT_ANSWERED):
            continue
        error = each.__new__(each)
        if isinstance(error, errors.InvalidInput):
            error.errors = ()
        assert problem_of(error).kind is not UNEXPECTED, f"{each} has no kind in problems.py"
    assert problem_of(errors.Unstorable("words")).kind is UNEXPECTED


async def test_the_list_of_problems_leads_to_each(bench: Bench) -> None:
    page = await bench.client.http.get("/problems")
    assert page.status_code == 200
    assert all(f'href="{kind.type}"' in page.text for kind in PROBLEMS.values())
    assert (await bench.client.http.get("/problems/nothing")).status_code == 404
