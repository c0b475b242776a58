"""Idempotency-Key on requests that change something: one effect, one answer, whatever happens in between."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from cronsvc.errors import Conflict, NotFound
from cronsvc.services.access import Caller, Role
from cronsvc.services.replaying import ABANDONED, KeyedRequest, Replays, StillRunning, forget_request_keys
from cronsvc.store.effects import Claim
from cronsvc.store.pool import Database
from cronsvc.store.request_keys import KeptAnswer
from cronsvc.web.app import Services, create_app
from cronsvc.web.routes import API_ROUTES
from tests.support.roles import logins
from tests.support.rows import one
from tests.web.conftest import PLAIN_JOB, Client, http_client, reasons, serving

KEY = {"Idempotency-Key": "5f0c-1"}

# Requests that take no key: their answer holds a secret, or they change nothing, or the token in them is one already.
WITHOUT = {
    "createKey": "shows the new key, which is kept nowhere",
    "previewSchedule": "changes nothing",
    "reportProgress": "the callback token stands for one attempt, and saying a thing twice is saying it once",
    "completeExecution": "as above",
    "reportProgressOfExecution": "as above",
    "completeExecutionById": "as above",
    "confirmRestore": "works through many transactions and is refused once the fence is open",
}


def test_every_request_that_does_something_takes_a_key() -> None:
    posts = {route.name: route.takes_idempotency_key for route in API_ROUTES if route.method == "POST"}
    assert {name for name, takes in posts.items() if not takes} == set(WITHOUT)


async def test_the_same_request_again_gets_the_same_answer(operator: Client, db: Database) -> None:
    first = await operator.post("/api/v1/jobs", json=PLAIN_JOB, headers=KEY)
    assert first.status_code == 201 and "Idempotent-Replayed" not in first.headers
    # The order of the members does not matter.
    again = await operator.post("/api/v1/jobs", json=dict(reversed(list(PLAIN_JOB.items()))), headers=KEY)
    assert (again.status_code, again.content) == (201, first.content)
    for name in ("ETag", "Location", "Content-Type"):
        assert again.headers[name] == first.headers[name]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await one(db, "SELECT count(*) FROM jobs") == (1,)
    # What the client was told may have changed since: it is told the same still.
    assert (await operator.send("DELETE", first.headers["Location"])).status_code == 204
    assert (await operator.post("/api/v1/jobs", json=PLAIN_JOB, headers=KEY)).content == first.content


async def test_another_request_under_the_same_key_is_refused(operator: Client, db: Database) -> None:
    await operator.post("/api/v1/jobs", json=PLAIN_JOB, headers=KEY)
    other = await operator.post("/api/v1/jobs", json={**PLAIN_JOB, "name": "another"}, headers=KEY)
    assert (other.status_code, set(reasons(other))) == (422, {"Idempotency-Key"})
    one_job, other_job = [await operator.make_job(name=name) for name in ("a", "b")]
    assert (await operator.post(f"/api/v1/jobs/{one_job['id']}/pause", headers=KEY)).status_code == 200
    assert (await operator.post(f"/api/v1/jobs/{other_job['id']}/pause", headers=KEY)).status_code == 422
    assert await one(db, "SELECT count(*) FROM jobs WHERE paused_at IS NOT NULL") == (1,)


async def test_a_key_belongs_to_who_sent_it_and_to_the_route(
    operator: Client, admin: Client, http: httpx2.AsyncClient, services: Services
) -> None:
    first = await operator.post("/api/v1/jobs", json=PLAIN_JOB, headers=KEY)
    assert (await admin.post("/api/v1/jobs", json=PLAIN_JOB, headers=KEY)).status_code == 409  # the name is taken
    assert (await operator.post("/api/v1/calendars", json={"name": "x"}, headers=KEY)).status_code == 201
    # The same name with another reach is somebody else: no answer about a namespace it no longer sees.
    text = await services.access.create_key(name="narrow", role=Role.OPERATOR, created_by="t", namespaces=("red",))
    narrow = await Client(http, text).post("/api/v1/jobs", json=PLAIN_JOB, headers=KEY)
    assert narrow.status_code == 201 and narrow.json()["id"] != first.json()["id"]


@pytest.mark.parametrize("key", ["", "with space", "x" * 256])
async def test_what_cannot_be_a_key(operator: Client, db: Database, key: str) -> None:
    response = await operator.post("/api/v1/jobs", json=PLAIN_JOB, headers={"Idempotency-Key": key})
    assert (response.status_code, set(reasons(response))) == (422, {"Idempotency-Key"})
    assert await one(db, "SELECT count(*) FROM jobs") == (0,)


async def test_a_refusal_leaves_the_key_free(operator: Client, db: Database) -> None:
    await operator.make_job()
    assert (await operator.post("/api/v1/jobs", json=PLAIN_JOB, headers=KEY)).status_code == 409
    assert await one(db, "SELECT count(*) FROM request_keys") == (0,)
    corrected = await operator.post("/api/v1/jobs", json={**PLAIN_JOB, "name": "another"}, headers=KEY)
    assert corrected.status_code == 201


async def test_without_the_header_nothing_is_written(operator: Client, db: Database) -> None:
    await operator.make_job()
    assert await one(db, "SELECT count(*) FROM request_keys") == (0,)


async def test_twenty_at_once_are_one(operator: Client, db: Database) -> None:
    sent = [operator.post("/api/v1/jobs", json=PLAIN_JOB, headers=KEY) for _ in range(20)]
    answers = await asyncio.gather(*sent)
    assert {answer.status_code for answer in answers} <= {201, 409}
    made = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    assert len(made) == 1
    for refused in (answer for answer in answers if answer.status_code == 409):
        assert refused.headers["Retry-After"] == "2" and "is being carried out" in refused.json()["detail"]
    assert await one(db, "SELECT count(*) FROM jobs") == (1,)


@pytest.fixture
def someone() -> Caller:
    return Caller("key:someone", Role.OPERATOR, None)


async def begin(replays: Replays, caller: Caller, *, now: datetime | None = None) -> Claim:
    begun = await replays.begin(KeyedRequest(caller, "pauseJob", "k", b"1"), now=now)
    assert isinstance(begun, Claim)
    return begun


async def test_while_the_first_runs_the_second_is_refused(services: Services, someone: Caller) -> None:
    await begin(services.replays, someone)
    with pytest.raises(StillRunning):
        await begin(services.replays, someone)


async def test_a_frozen_request_that_was_replaced_changes_nothing(
    services: Services, operator: Client, someone: Caller, db: Database
) -> None:
    """Its process stood still after it had taken the key, and goes on when another has done the work."""
    job = await operator.make_job()
    past = datetime.now(UTC) - ABANDONED - timedelta(seconds=1)
    frozen = await begin(services.replays, someone, now=past)
    second = await begin(services.replays, someone)
    with services.replays.acting(second):
        await services.jobs.pause(job["id"], someone, note="second")
    with services.replays.acting(frozen), pytest.raises(Conflict, match="taken its place"):
        await services.jobs.pause(job["id"], someone, note="frozen")
    assert (await services.jobs.get(job["id"], someone)).pause.note == "second"  # type: ignore[union-attr]
    # Nor does it take the key, or its answer, from the one that has it.
    await services.replays.release(frozen)
    await services.replays.keep(frozen, KeptAnswer(200, {}, b"frozen"))
    assert await one(db, "SELECT claim, body FROM request_keys") == (second.claim, None)


async def test_who_died_after_the_change_is_never_followed(
    services: Services, operator: Client, someone: Caller, db: Database
) -> None:
    job = await operator.make_job()
    begun = datetime.now(UTC)
    claim = await begin(services.replays, someone, now=begun)
    with services.replays.acting(claim):
        await services.jobs.pause(job["id"], someone)
    # Its process is gone; so it stays to the end of the day.
    with pytest.raises(StillRunning):
        await begin(services.replays, someone, now=begun + timedelta(seconds=59))
    for later in (ABANDONED + timedelta(seconds=1), timedelta(hours=23)):
        with pytest.raises(Conflict, match="use a new key"):
            await begin(services.replays, someone, now=begun + later)
    await services.replays.release(claim)
    assert await one(db, "SELECT count(*) FROM request_keys WHERE took_effect_at IS NOT NULL") == (1,)
    await begin(services.replays, someone, now=begun + timedelta(hours=25))


async def test_a_change_that_is_taken_back_takes_its_mark_along(
    services: Services, operator: Client, someone: Caller, db: Database
) -> None:
    claim = await begin(services.replays, someone)
    with services.replays.acting(claim), pytest.raises(NotFound):
        await services.jobs.pause(2**40, someone)
    assert await one(db, "SELECT took_effect_at FROM request_keys") == (None,)
    await services.replays.release(claim)
    assert await one(db, "SELECT count(*) FROM request_keys") == (0,)


async def test_of_two_that_find_a_key_free_one_gets_it(services: Services, someone: Caller) -> None:
    past = datetime.now(UTC) - timedelta(hours=25)
    await begin(services.replays, someone, now=past)
    begun = await asyncio.gather(*(begin(services.replays, someone) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(each, Claim) for each in begun) == 1
    assert {type(each) for each in begun} == {Claim, StillRunning}


async def test_upkeep_forgets_keys_in_batches(services: Services, someone: Caller, db: Database) -> None:
    past = datetime.now(UTC) - timedelta(hours=25)
    for n in range(5):
        await services.replays.begin(KeyedRequest(someone, "pauseJob", f"old{n}", b""), now=past)
    await begin(services.replays, someone)
    assert await forget_request_keys(db, batch=2) == 5
    assert await one(db, "SELECT count(*) FROM request_keys") == (1,)


async def test_what_is_kept_of_each_route(operator: Client, db: Database) -> None:
    """Every kind of change marks its key, so that none could be done again after a crash."""
    job = await operator.make_job()
    window = {"from": job["createdAt"], "to": job["createdAt"]}
    bodies: dict[str, Any] = {
        f"/api/v1/jobs/{job['id']}/pause": {},
        f"/api/v1/jobs/{job['id']}/resume": {},
        "/api/v1/jobs/pause": {},
        "/api/v1/jobs/resume": {},
        "/api/v1/queues/default/pause": {},
        "/api/v1/queues/default/resume": None,
        f"/api/v1/jobs/{job['id']}/backfill": window,
        "/api/v1/recoveries": {**window, "selector": {}},
        "/api/v1/calendars": {"name": "holidays"},
        "/api/v1/cleanup": {},
    }
    for path, body in bodies.items():
        first = await operator.post(path, headers=KEY, **({} if body is None else {"json": body}))
        assert first.status_code < 300, (path, first.text)
        marked = await one(
            db, "SELECT took_effect_at IS NOT NULL, status FROM request_keys ORDER BY created_at DESC LIMIT 1"
        )
        assert marked == (True, first.status_code), path
        again = await operator.post(path, headers=KEY, **({} if body is None else {"json": body}))
        assert (again.status_code, again.content) == (first.status_code, first.content), path


async def test_behind_the_policies_of_the_database(database_url: str, redis_url: str) -> None:
    with logins(database_url) as urls:
        db = await Database.open(urls["cronsvc_api"], application_name="cronsvc-test")
        try:
            async with serving(db, redis_url) as services:
                text = await services.access.create_key(
                    name="red", role=Role.OPERATOR, created_by="t", namespaces=("red",)
                )
                async with http_client(create_app(services)) as http:
                    red = Client(http, text)
                    first = await red.post("/api/v1/jobs", json=PLAIN_JOB, headers=KEY)
                    again = await red.post("/api/v1/jobs", json=PLAIN_JOB, headers=KEY)
                    assert (first.status_code, again.content) == (201, first.content)
        finally:
            await db.close()
        scheduler = await Database.open(urls["cronsvc_scheduler"], application_name="cronsvc-test")
        try:
            assert await forget_request_keys(scheduler, now=datetime.now(UTC) + timedelta(hours=25)) == 1
        finally:
            await scheduler.close()
