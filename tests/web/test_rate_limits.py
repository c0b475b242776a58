"""Who may ask how often, what a full minute answers, and that Redis being away refuses nobody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from cronsvc.config_limits import read_rates
from cronsvc.queue.rate_limits import MOST_KEPT, WINDOW_SECONDS, RateLimiter, Windows
from cronsvc.web.app import Services, WebSettings, create_app
from cronsvc.web.rate_limits import RateLimits
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
        found = [(await stranger.get("/api/v1/jobs")).status_code for _ in range(4)]
        assert found == [401, 401, 429, 429]
        assert (await Client(stranger.http, viewer.key).get("/api/v1/jobs")).status_code == 200


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
