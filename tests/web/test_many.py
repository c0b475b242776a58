"""One request that does the same to many: it counts as often as they would alone, ends in time, and can be repeated."""

from dataclasses import replace
from typing import Any

import pytest

from cronsvc.errors import Unavailable
from cronsvc.services import replaying
from cronsvc.services.bulk import MOST_SECONDS, Bulk
from cronsvc.services.jobs import Jobs
from cronsvc.services.replaying import KeyedRequest, Replays, TooManyKeys
from cronsvc.store.pool import Database
from cronsvc.web.app import Services, create_app
from tests.support.rows import fetch, one
from tests.web.conftest import PLAIN_JOB, Client, http_client
from tests.web.test_rate_limits import NO_REDIS, limited

BULK = "/api/v1/jobs/bulk"
KEY = {"Idempotency-Key": "many-1"}


@pytest.fixture(params=["redis", "nowhere"])
def counted_in(request: pytest.FixtureRequest, redis_url: str) -> str:
    return redis_url if request.param == "redis" else NO_REDIS


@pytest.fixture
async def ids(operator: Client) -> list[int]:
    return [(await operator.make_job(name=f"n{n}"))["id"] for n in range(5)]


def statuses(response: Any) -> list[int]:
    return [item["status"] for item in response.json()["items"]]


def away(monkeypatch: pytest.MonkeyPatch, *job_ids: int) -> None:
    """Postgres is away whenever these are to be paused; without ids always."""
    real = Jobs.pause

    async def pause(self: Jobs, job_id: int, *args: Any, **options: Any) -> Any:
        if job_id in job_ids or not job_ids:
            raise Unavailable("Postgres: gone")
        return await real(self, job_id, *args, **options)

    monkeypatch.setattr(Jobs, "pause", pause)


async def test_each_trigger_of_a_bulk_counts(
    services: Services, operator: Client, ids: list[int], db: Database, counted_in: str
) -> None:
    body = {"action": "trigger", "jobIds": ids}
    async with limited(services, counted_in, operator.key, triggers=3, writes=9) as client:
        response = await client.post(BULK, json=body)
        assert statuses(response) == [202, 202, 202, 429, 429]
        assert response.json()["items"][3]["problem"]["type"] == "/problems/too-many-requests"
        assert response.headers["ratelimit"].startswith('"triggers";r=0;')
        assert (await client.post(f"/api/v1/jobs/{ids[0]}/trigger")).status_code == 429
        refused = await client.post(BULK, json=body)
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
    assert await one(db, "SELECT count(*) FROM job_executions") == (3,)


async def test_each_change_of_a_bulk_counts_and_its_request_is_one_of_them(
    services: Services, operator: Client, ids: list[int], counted_in: str
) -> None:
    async with limited(services, counted_in, operator.key, writes=4) as client:
        assert statuses(await client.post(BULK, json={"action": "pause", "jobIds": ids})) == [200] * 4 + [429]
        assert (await client.post(f"/api/v1/jobs/{ids[0]}/resume", json={})).status_code == 429


async def test_a_bulk_that_takes_its_time_says_what_it_has_not_tried(
    services: Services, operator: Client, ids: list[int], db: Database
) -> None:
    now = [0.0]
    done: list[int] = []

    async def act(item: int) -> int:
        now[0] += MOST_SECONDS / 2 - 1
        done.append(item)
        return item

    found = await Bulk(db, monotonic=lambda: now[0]).each(ids, act)
    assert done == ids[:3]
    assert [outcome.result for outcome in found] == [*ids[:3], None, None]
    assert all("not tried" in str(outcome.error) for outcome in found[3:])


async def test_what_was_not_tried_is_503_and_says_so(
    services: Services, operator: Client, ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cronsvc.services.bulk.MOST_SECONDS", -1.0)
    response = await operator.post(BULK, json={"action": "pause", "jobIds": ids}, headers=KEY)
    assert statuses(response) == [503] * 5
    assert "not tried" in response.json()["items"][0]["problem"]["detail"]
    monkeypatch.undo()
    again = await operator.post(BULK, json={"action": "pause", "jobIds": ids}, headers=KEY)
    assert statuses(again) == [200] * 5 and "Idempotent-Replayed" not in again.headers


async def test_an_answer_that_nothing_could_be_done_is_not_kept(
    operator: Client, ids: list[int], monkeypatch: pytest.MonkeyPatch, db: Database
) -> None:
    body = {"action": "pause", "jobIds": ids}
    away(monkeypatch)
    assert statuses(await operator.post(BULK, json=body, headers=KEY)) == [503] * 5
    assert await one(db, "SELECT count(*) FROM request_keys") == (0,)
    monkeypatch.undo()
    assert statuses(await operator.post(BULK, json=body, headers=KEY)) == [200] * 5
    again = await operator.post(BULK, json=body, headers=KEY)
    assert statuses(again) == [200] * 5 and again.headers["Idempotent-Replayed"] == "true"


async def test_a_part_that_was_done_is_told_and_never_done_again(
    operator: Client, ids: list[int], monkeypatch: pytest.MonkeyPatch, db: Database
) -> None:
    body = {"action": "pause", "jobIds": ids}
    away(monkeypatch, ids[2])
    assert statuses(await operator.post(BULK, json=body, headers=KEY)) == [200, 200, 503, 503, 503]
    monkeypatch.undo()
    again = await operator.post(BULK, json=body, headers=KEY)
    assert again.status_code == 409 and again.headers["content-type"] == "application/problem+json"
    assert f"not from the one at index 2 on, job {ids[2]}" in again.json()["detail"]
    assert await one(db, "SELECT count(*) FROM jobs WHERE paused_at IS NOT NULL") == (2,)


async def test_what_was_only_tried_out_is_not_kept(operator: Client, ids: list[int], db: Database) -> None:
    body = {"action": "delete", "jobIds": ids, "dryRun": True}
    assert statuses(await operator.post(BULK, json=body, headers=KEY)) == [204] * 5
    assert await one(db, "SELECT count(*) FROM request_keys") == (0,)
    await operator.post(f"/api/v1/jobs/{ids[0]}/pause", json={}, headers=KEY)
    assert await one(db, "SELECT count(*) FROM request_keys") == (1,)


async def test_a_large_answer_is_not_kept_but_that_it_was_given(
    operator: Client, monkeypatch: pytest.MonkeyPatch, db: Database
) -> None:
    monkeypatch.setattr("cronsvc.web.replaying.LARGEST_ANSWER", 100)
    first = await operator.post("/api/v1/jobs", json=PLAIN_JOB, headers=KEY)
    assert first.status_code == 201
    again = await operator.post("/api/v1/jobs", json=PLAIN_JOB, headers=KEY)
    assert again.status_code == 409 and "answered with 201" in again.json()["detail"]
    assert again.headers["Location"] == first.headers["Location"]
    assert await one(db, "SELECT count(*), min(status) FROM request_keys JOIN jobs ON true") == (1, 409)


def test_a_thousand_triggers_are_kept() -> None:
    """The largest answer in which all went well is not too large."""
    item = {"index": 999, "jobId": 10**9, "status": 202, "executionId": 10**11, "problem": None}
    assert len(str(item)) * 1000 < replaying.LARGEST_ANSWER


async def test_keys_of_one_caller_are_bounded(
    db: Database, operator: Client, admin: Client, services: Services
) -> None:
    few = Replays(db, most_keys=3)
    client, other = [await services.access.authenticate(str(each.key), None) for each in (operator, admin)]
    for n in range(3):
        await few.begin(KeyedRequest(client, "pauseJob", f"k{n}", b""))
    with pytest.raises(TooManyKeys):
        await few.begin(KeyedRequest(client, "pauseJob", "k3", b""))
    await few.begin(KeyedRequest(other, "pauseJob", "k3", b""))
    await fetch(db, "UPDATE request_keys SET created_at = created_at - interval '25 hours' RETURNING 1")
    await few.begin(KeyedRequest(client, "pauseJob", "k3", b""))


async def test_one_key_too_many_is_429(services: Services, operator: Client, db: Database) -> None:
    app = create_app(replace(services, replays=Replays(db, most_keys=1)))
    async with http_client(app) as http:
        client = Client(http, operator.key)
        assert (await client.post("/api/v1/jobs", json=PLAIN_JOB, headers=KEY)).status_code == 201
        assert (await client.post("/api/v1/jobs", json=PLAIN_JOB, headers=KEY)).status_code == 201  # the same one
        full = await client.post("/api/v1/jobs", json={**PLAIN_JOB, "name": "b"}, headers={"Idempotency-Key": "b"})
        assert full.status_code == 429 and full.headers["Retry-After"] == "3600"
        assert (await client.post("/api/v1/jobs", json={**PLAIN_JOB, "name": "b"})).status_code == 201
