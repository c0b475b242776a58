"""Who may ask how often, what a full minute answers, and that Redis being away refuses nobody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx2
import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cronsvc.config_limits import read_rates
from cronsvc.domain.callback_token import PREFIX
from cronsvc.queue.rate_limits import MOST_KEPT, WINDOW_SECONDS, RateLimiter, Windows
from cronsvc.services.access import Access, Caller
from cronsvc.web.app import Services, WebSettings, create_app
from cronsvc.web.auth import SESSION_COOKIE
from cronsvc.web.rate_limits import RateLimits
from cronsvc.web.routing import PUBLIC, Call, Route
from cronsvc.web.throttle import MOST_FAILURES
from tests.web.conftest import Client, http_client

NO_REDIS = "unix:///nowhere/redis.sock"


@asynccontextmanager
async def limited(services: Services, url: str, key: str | None, **rates: int) -> AsyncIterator[Client]:
    """A process of the API of its own, with these limits."""
    counts = RateLimiter.open(url, prefix="test")
    app = create_app(replace(services, rate_limits=RateLimits(counts, rates)), settings=WebSettings())
    try:
        async with http_client(app) as http:
            yield Client(http, key)
    finally:
        await counts.close()


@pytest.fixture(params=["redis", "nowhere"])
def counted_in(request: pytest.FixtureRequest, redis_url: str) -> str:
    return redis_url if request.param == "redis" else NO_REDIS


async def test_a_full_minute_answers_429(services: Services, viewer: Client, counted_in: str) -> None:
    async with limited(services, counted_in, viewer.key, reads=3) as client:
        left = []
        for _ in range(3):
            response = await client.get("/api/v1/jobs")
            assert response.status_code == 200
            assert response.headers["ratelimit-policy"] == '"reads";q=3;w=60'
            left.append(response.headers["ratelimit"].split(";")[1])
        assert left == ["r=2", "r=1", "r=0"]
        refused = await client.get("/api/v1/jobs")
        assert refused.status_code == 429
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["type"] == "/problems/too-many-requests"
        assert 1 <= int(refused.headers["retry-after"]) <= WINDOW_SECONDS
        assert refused.headers["ratelimit"].startswith('"reads";r=0;t=')


async def test_each_kind_and_each_principal_has_its_own_minute(
    services: Services, operator: Client, viewer: Client, redis_url: str
) -> None:
    job = await operator.make_job()
    async with limited(services, redis_url, operator.key, reads=1, writes=1, triggers=1) as client:
        assert (await client.get("/api/v1/jobs")).status_code == 200
        assert (await client.post(f"/api/v1/jobs/{job['id']}/trigger")).status_code == 202
        assert (await client.post(f"/api/v1/jobs/{job['id']}/pause", json={})).status_code == 200
        for method, path in (("GET", ""), ("POST", f"/{job['id']}/trigger"), ("POST", f"/{job['id']}/resume")):
            assert (await client.send(method, f"/api/v1/jobs{path}")).status_code == 429, path
        assert (await Client(client.http, viewer.key).get("/api/v1/jobs")).status_code == 200
        for path in ("/health", "/ready", "/openapi.json"):
            for _ in range(3):
                assert (await client.get(path)).status_code == 200


async def test_processes_share_one_count_while_there_is_redis(
    services: Services, viewer: Client, redis_url: str
) -> None:
    async with (
        limited(services, redis_url, viewer.key, reads=4) as one,
        limited(services, redis_url, viewer.key, reads=4) as other,
    ):
        answers = await asyncio.gather(*(client.get("/api/v1/jobs") for client in (one, other) for _ in range(4)))
        assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429] * 4


async def test_bad_credentials_are_counted_by_address_and_good_ones_pass(
    services: Services, viewer: Client, counted_in: str
) -> None:
    async with limited(services, counted_in, "csk_aaaaaaaa_" + "a" * 49, denied=2) as stranger:
        assert (await Client(stranger.http, viewer.key).get("/api/v1/jobs")).status_code == 200
        found = [(await stranger.get("/api/v1/jobs")).status_code for _ in range(4)]
        assert found == [401, 401, 429, 429]
        assert (await Client(stranger.http, viewer.key).get("/api/v1/jobs")).status_code == 200


async def test_beyond_the_limit_a_strange_credential_costs_no_look_up(
    services: Services, viewer: Client, operator: Client, counted_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []
    real = Access.authenticate

    async def authenticate(self: Access, key: str, source: str | None = None) -> Caller:
        looked_up.append(key)
        return await real(self, key, source)

    monkeypatch.setattr(Access, "authenticate", authenticate)
    async with limited(services, counted_in, "csk_aaaaaaaa_" + "a" * 49, denied=2) as stranger:
        known, late = Client(stranger.http, viewer.key), Client(stranger.http, operator.key)
        assert (await known.get("/api/v1/jobs")).status_code == 200
        found = [(await stranger.get("/api/v1/jobs")).status_code for _ in range(6)]
        assert found == [401, 401, 429, 429, 429, 429]
        assert looked_up == [viewer.key, stranger.key, stranger.key]
        assert (await late.get("/api/v1/jobs")).status_code == 429
        assert (await known.get("/api/v1/jobs")).status_code == 200


async def test_sessions_and_callback_tokens_that_are_not_good_are_counted_too(
    services: Services, counted_in: str
) -> None:
    async with limited(services, counted_in, None, denied=2) as stranger:
        cookie = {"Cookie": f"{SESSION_COOKIE}={'a' * 43}", "Accept": "text/html"}
        # Without a cookie nothing was tried.
        found = [(await stranger.get("/", headers={"Accept": "text/html"})).status_code for _ in range(3)]
        assert found == [303] * 3
        assert (await stranger.get("/", headers=cookie)).status_code == 303
        token = f"/api/v1/callbacks/{PREFIX}{'a' * 60}/progress"
        assert (await stranger.post(token)).status_code == 401
        assert (await stranger.post(token)).status_code == 429
        assert (await stranger.get("/", headers=cookie)).status_code == 429


async def test_where_there_is_no_address_nobody_is_held_for_others(services: Services, viewer: Client) -> None:
    counts = RateLimiter.open(NO_REDIS, prefix="test")
    app = create_app(replace(services, rate_limits=RateLimits(counts, {"denied": 1, "sign_ins": 1})))

    async def from_a_socket(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "client": None}, receive, send)

    transport = httpx2.ASGITransport(app=from_a_socket)
    try:
        async with httpx2.AsyncClient(transport=transport, base_url="http://cronsvc.test") as http:
            stranger = Client(http, "csk_aaaaaaaa_" + "a" * 49)
            assert [(await stranger.get("/api/v1/jobs")).status_code for _ in range(3)] == [401] * 3
            headers = {"Sec-Fetch-Site": "same-origin"}
            for _ in range(MOST_FAILURES + 1):
                bad = await http.post("/login", data={"key": "csk_bad"}, headers=headers)
                assert bad.status_code == 401
            good = await http.post("/login", data={"key": str(viewer.key)}, headers=headers)
            assert good.status_code == 303
    finally:
        await counts.close()


async def test_answers_that_refuse_say_what_is_left_as_well(
    services: Services, viewer: Client, counted_in: str
) -> None:
    async with limited(services, counted_in, viewer.key, reads=9, writes=9) as client:
        for path, status, left in (("/99999999", 404, 8), ("/1?x=1", 404, 7), ("?limit=0", 422, 6)):
            response = await client.get(f"/api/v1/jobs{path}")
            assert response.status_code == status, path
            assert response.headers["ratelimit"].startswith(f'"reads";r={left};'), path


async def test_what_a_pack_answers_to_everybody_is_counted_by_address(services: Services, counted_in: str) -> None:
    async def hello(call: Call) -> Response:
        return Response("hello")

    path = "/api/v1/packs/hello"
    routes = [Route("GET", path, PUBLIC, hello, "hello", "Say hello", "hello")]
    counts = RateLimiter.open(counted_in, prefix="test")
    app = create_app(replace(services, rate_limits=RateLimits(counts, {"reads": 2})), more=routes)
    try:
        async with http_client(app) as http:
            assert [(await http.get(path)).status_code for _ in range(3)] == [200, 200, 429]
            assert [(await http.get("/health")).status_code for _ in range(3)] == [200] * 3
    finally:
        await counts.close()


async def test_signing_in_is_counted_by_address(services: Services, viewer: Client, counted_in: str) -> None:
    async with limited(services, counted_in, None, sign_ins=2) as browser:
        for status in (303, 303, 429):
            response = await browser.post(
                "/login", data={"key": str(viewer.key)}, headers={"Sec-Fetch-Site": "same-origin"}
            )
            assert response.status_code == status
        assert 1 <= int(response.headers["retry-after"]) <= WINDOW_SECONDS


async def test_redis_that_hangs_costs_a_request_little_and_no_answer(services: Services, viewer: Client) -> None:
    """A server that takes connections and never answers: one wait, then the process counts for itself for a while."""
    held: list[asyncio.StreamWriter] = []

    async def swallow(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with limited(services, f"redis://127.0.0.1:{port}/0", viewer.key, reads=2) as client:
            found = [(await client.get("/api/v1/jobs")).status_code for _ in range(3)]
            assert found == [200, 200, 429]
            assert len(held) == 1
    finally:
        for writer in held:
            writer.close()
        server.close()
        await server.wait_closed()


async def test_several_at_once_are_counted_all_or_none(counted_in: str) -> None:
    counts = RateLimiter.open(counted_in, prefix="test")
    try:
        found = [await counts.hit("writes", "me", per_minute=10, cost=cost) for cost in (4, 7, 0, 6, 0, 1)]
        assert [each.allowed for each in found] == [True, False, True, True, False, False]
        assert [each.remaining for each in found] == [6, 6, 6, 0, 0, 0]
    finally:
        await counts.close()


def test_counts_in_memory_are_bounded_and_end() -> None:
    now = [0.0]
    windows = Windows(monotonic=lambda: now[0])
    for n in range(MOST_KEPT + 10):
        assert windows.hit(f"name-{n}", 1).allowed
    assert len(windows) == MOST_KEPT
    last = f"name-{MOST_KEPT + 9}"
    assert not windows.hit(last, 1).allowed
    now[0] = WINDOW_SECONDS
    assert windows.hit(last, 1).allowed


def test_rates_as_an_operator_writes_them() -> None:
    assert read_rates("off") == {}
    assert read_rates("reads=5, sign_ins = 2") == {
        "reads": 5,
        "writes": 300,
        "triggers": 300,
        "sign_ins": 2,
        "denied": 300,
    }
    for bad in ("reads", "reads=0", "reads=-1", "reads=x", "reads=1,reads=2", "other=1", "reads=99999999", ","):
        with pytest.raises(ValueError, match=r"\w"):
            read_rates(bad)
