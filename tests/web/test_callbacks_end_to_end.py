"""A worker, a target and the API over real sockets: 202, signs of life, the end; and no token stays behind."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx2
import pytest
from starlette.applications import Starlette

from cronsvc.domain.execution import Ticket
from cronsvc.executors.api_call import ApiCall
from cronsvc.executors.base import ExecutorSettings
from cronsvc.processes.serving import address_of, listen, serve
from cronsvc.store.pool import Database
from tests.executors.targets import Request, Target, answer, listening
from tests.support.callbacks import waits
from tests.support.rows import one
from tests.support.running import attempt, outcomes, runner, state, waiting

CallBack = Callable[[httpx2.AsyncClient, str], Awaitable[None]]


@asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[str]:
    """The API on a socket; gives its URL."""
    listener, stop, ready = listen("127.0.0.1", 0), asyncio.Event(), asyncio.Event()
    serving = asyncio.create_task(serve(app, listener, stop, trusted_proxies=(), ready=ready.set))
    await ready.wait()
    try:
        yield address_of(listener)
    finally:
        stop.set()
        await serving
        listener.close()


@asynccontextmanager
async def service(app: Starlette, *, before_202: CallBack | None = None) -> AsyncIterator[tuple[ApiCall, Target]]:
    """The API, a target that answers 202 (after `before_202`) and echoes the URL it got, and the job type."""
    async with served(app) as api, httpx2.AsyncClient(trust_env=False) as client:

        async def respond(request: Request, writer: asyncio.StreamWriter) -> None:
            url = request.headers["x-cronsvc-callback-url"]
            if before_202 is not None:
                await before_202(client, url)
            writer.write(answer(202, json.dumps({"echo": url}).encode(), Content_Type="application/json"))
            await writer.drain()

        async with listening(respond) as target:
            executor = ApiCall(ExecutorSettings(egress_allow=("127.0.0.0/8",), public_url=api))
            try:
                yield executor, target
            finally:
                await executor.close()


async def job(db: Database, target: Target, *, max_attempts: int = 3) -> Ticket:
    config = {"url": target.url, "method": "POST", "completion": {"heartbeatSeconds": 30, "timeoutSeconds": 900}}
    payload = json.dumps({"type": "API_CALL", "config": config})
    return await waiting(db, task_payload=payload, max_attempts=max_attempts)


async def everything(db: Database) -> str:
    """All rows that an attempt could have left something in, as text."""
    (text,) = await one(
        db,
        "SELECT concat((SELECT string_agg(e::text, ' ') FROM job_executions e),"
        " (SELECT string_agg(a::text, ' ') FROM job_attempts a), (SELECT string_agg(l::text, ' ') FROM audit_log l))",
    )
    return str(text)


async def test_hours_later_the_target_calls(app: Starlette, db: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="cronsvc")
    caplog.set_level(logging.DEBUG, logger="uvicorn")
    async with service(app) as (executor, target), httpx2.AsyncClient(trust_env=False) as client:
        ticket = await job(db, target)
        worker = await runner(db, executor)
        await attempt(worker, ticket)
        assert worker.running == 0 and await waits(db, ticket)
        (request,) = target.requests
        url = request.headers["callback-url"]
        assert (await client.post(f"{url}/progress", json={"progress": 50})).json()["status"] == "RUNNING"
        ended = await client.post(f"{url}/complete", json={"status": "success", "result": {"sent": url}})
        assert (ended.status_code, ended.json()["status"]) == (200, "SUCCESS")
        assert (await client.post(f"{url}/progress")).status_code == 410
    assert await state(db, ticket) == ("SUCCESS", None, 1, 1)
    token = url.rpartition("/")[2]
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("cronsvc", "uvicorn"))]
    assert token not in " ".join(ours)


async def test_what_the_target_echoes_of_its_token_is_not_kept(app: Starlette, db: Database) -> None:
    async with service(app) as (executor, target):
        ticket = await job(db, target)
        await attempt(await runner(db, executor), ticket)
        token = target.requests[0].headers["callback-url"].rpartition("/")[2]
    assert await waits(db, ticket)
    assert token not in await everything(db)


async def test_the_target_calls_before_it_answers(app: Starlette, db: Database) -> None:
    async def at_once(client: httpx2.AsyncClient, url: str) -> None:
        assert (await client.post(f"{url}/progress", json={"note": "quick"})).status_code == 200
        assert (await client.post(f"{url}/complete", json={"status": "success", "result": 1})).status_code == 200

    async with service(app, before_202=at_once) as (executor, target):
        ticket = await job(db, target)
        await attempt(await runner(db, executor), ticket)
    assert await state(db, ticket) == ("SUCCESS", None, 1, 1)
    assert await one(db, "SELECT result FROM job_executions") == (1,)
    assert await outcomes(db, ticket) == [(1, "success")]


async def test_each_attempt_has_a_token_of_its_own(app: Starlette, db: Database) -> None:
    async with service(app) as (executor, target), httpx2.AsyncClient(trust_env=False) as client:
        ticket = await job(db, target)
        await attempt(await runner(db, executor), ticket)
        first = target.requests[0].headers["callback-url"]
        failed = await client.post(f"{first}/complete", json={"status": "failure"})
        assert failed.json()["status"] == "QUEUED"
        async with db.transaction() as conn:
            await conn.execute("UPDATE job_executions SET ready_at = clock_timestamp()")
        again = Ticket(ticket.execution_id, ticket.job_id, ticket.scheduled_time, 1, "default", 10)
        await attempt(await runner(db, executor), again)
        second = target.requests[1].headers["callback-url"]
        assert first != second
        assert (await client.post(f"{first}/complete", json={"status": "success"})).status_code == 410
        assert (await client.post(f"{second}/complete", json={"status": "success"})).json()["status"] == "SUCCESS"
        keys = {request.headers["idempotency-key"] for request in target.requests}
    assert len(keys) == 1
    assert await outcomes(db, ticket) == [(1, "error"), (2, "success")]
