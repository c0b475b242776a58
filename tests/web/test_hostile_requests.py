"""What costs more than it should: bodies of every bad kind leave memory flat, and a slow list is given up."""

import asyncio
import gc
import json
import random
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from cronsvc.services.jobs import Jobs
from cronsvc.store.pool import Database
from cronsvc.web.app import Services, create_app
from cronsvc.web.problems import MOST_ERRORS
from tests.support.job_types import Scripted
from tests.web.conftest import PLAIN_JOB, Client, http_client, reasons

JSON = {"Content-Type": "application/json"}
HOSTILE = 300
MOST_GROWN = 2_000_000  # bytes; a tenth of what one of the large bodies would be


def fuzzed(rng: random.Random) -> bytes:
    """The plain job with bytes of it replaced, dropped or doubled; now and then nothing but noise or depth."""
    raw = bytearray(json.dumps(PLAIN_JOB).encode())
    kind = rng.randrange(5)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 2000))
    if kind == 1:
        depth = rng.randrange(33, 9000)
        return b'{"taskPayload":' * depth + b"1" + b"}" * depth
    if kind == 2:
        return b'{"name": "' + b"\\ud800" * rng.randrange(1, 500) + b'"}'
    for _ in range(rng.randrange(1, 20)):
        at = rng.randrange(len(raw))
        raw[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
    return bytes(raw)


async def test_hostile_bodies_are_4xx_and_memory_stays_flat(operator: Client) -> None:
    rng = random.Random(20260301)

    async def large() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield b" " * 65_536  # ten megabytes without a Content-Length

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async def attack(rounds: int) -> None:
        for n in range(rounds):
            body = large() if n % 25 == 0 else fuzzed(rng)
            response = await operator.post("/api/v1/jobs", content=body, headers=JSON)
            assert 400 <= response.status_code < 500 or (response.status_code == 201 and n % 25), response.text
        late = await asyncio.gather(*(operator.post("/api/v1/jobs", content=slow(), headers=JSON) for _ in range(5)))
        assert {response.status_code for response in late} == {408}

    await attack(50)  # caches, pools and imports
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await attack(HOSTILE)
        gc.collect()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < MOST_GROWN
    assert peak - before < 4 * MOST_GROWN


@pytest.mark.parametrize(
    "body",
    [
        {f"unknown{at}": at for at in range(1000)},
        {"tags": list(range(1000))},
        {"taskPayload": {"config": {"list": ["\0"] * 1000}}},
        {"name": "x", "tags": [""] * 1000, "cronExpression": "* * * * *", "taskPayload": {"type": "T"}},
    ],
    ids=["names", "types", "texts", "words"],
)
async def test_of_very_many_faults_the_first_are_told(operator: Client, body: dict[str, Any]) -> None:
    """Each unknown name is compared with all that are known: without a bound one body would cost seconds."""
    response = await operator.post("/api/v1/jobs", json=body)
    assert response.status_code == 422
    problem = response.json()
    assert 1 <= len(problem["errors"]) <= MOST_ERRORS
    assert len(response.content) < 200_000


async def test_a_whole_number_may_be_written_with_a_point(operator: Client) -> None:
    """JSON has one kind of number: where 3 fits, 3.0 does, and in a configuration it stays what it was."""
    config = {**PLAIN_JOB["taskPayload"]["config"], "data": {"ratio": 1.0}}
    payload = {"type": "API_CALL", "config": config}
    job = await operator.make_job(maxAttempts=2.0, retention={"days": 30.0}, taskPayload=payload)
    assert (job["maxAttempts"], job["retention"]["days"]) == (2, 30)
    assert repr(job["taskPayload"]["config"]["data"]["ratio"]) == "1.0"
    for value in (2.5, 1e300, -1.5):
        response = await operator.post("/api/v1/jobs", json={**PLAIN_JOB, "name": "b", "maxAttempts": value})
        assert response.status_code == 422
        assert "maxAttempts" in reasons(response)


async def test_a_list_that_takes_too_long_is_given_up_with_503(
    services: Services, viewer: Client, database_url: str
) -> None:
    """By the statement timeout of the session, here a short one that the database has."""
    name = sql.Identifier(str(conninfo_to_dict(database_url)["dbname"]))
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
        await conn.execute(sql.SQL("ALTER DATABASE {} SET statement_timeout = '200ms'").format(name))
    hasty = await Database.open(database_url, application_name="test", max_size=2, pooler=True)
    try:
        slow = create_app(_with(services, hasty))
        async with http_client(slow) as http, await psycopg.AsyncConnection.connect(database_url) as holder:
            await holder.execute("SET statement_timeout = 0")
            await holder.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
            client = Client(http, viewer.key)
            for path in ("/api/v1/jobs", "/api/v1/jobs?limit=200"):
                response: httpx2.Response = await client.get(path)
                assert response.status_code == 503, path
                assert response.json()["type"] == "/problems/unavailable"
                assert response.headers["retry-after"]
                assert "statement" not in response.text
            await holder.rollback()
            assert (await client.get("/api/v1/jobs")).status_code == 200
    finally:
        await hasty.close()


def _with(services: Services, db: Database) -> Services:
    return replace(services, jobs=Jobs(db, {"T": Scripted()}, None))  # type: ignore[arg-type]
