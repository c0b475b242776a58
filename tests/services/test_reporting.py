"""Progress and log lines on a real Runner: live, capped, fenced, in order; and tickets that a worker cannot serve."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cronsvc.domain.execution import Outcome, Ticket
from cronsvc.errors import Unavailable
from cronsvc.executors.base import Executor, ExecutorSettings, RunContext
from cronsvc.executors.command import Command
from cronsvc.executors.python import Python
from cronsvc.executors.sql import Sql
from cronsvc.services.job_validation import payload_faults
from cronsvc.services.reporting import Report, Reports
from cronsvc.services.running import Runner, rescue
from cronsvc.store import reports as statements
from cronsvc.store.pool import Database
from tests.executors.attempts import gone, pids_in
from tests.support.job_types import Scripted
from tests.support.rows import fetch, one
from tests.support.running import attempt, outcomes, runner, state, waiting, worker
from tests.support.waiting import until

HANDLERS = ExecutorSettings(handler_modules=("tests.support.handlers",))


class Talking(Scripted):
    """An attempt that is a function of its context."""

    def __init__(self, talk: Callable[[RunContext], Awaitable[Outcome]]) -> None:
        super().__init__()
        self._talk = talk

    async def run(self, config: Mapping[str, Any], context: RunContext) -> Outcome:
        return await self._talk(context)


def payload(handler: str, **params: Any) -> str:
    return json.dumps({"type": "PYTHON", "config": {"handler": handler, "params": params}})


async def python_runner(db: Database) -> Runner:
    return await runner(db, Python(HANDLERS, installed=()), type_="PYTHON")


async def reported(db: Database, ticket: Ticket) -> tuple[Any, ...]:
    return await one(db, "SELECT status, progress, log_details FROM job_executions WHERE id = %s", ticket.execution_id)


def messages(details: Any) -> list[str]:
    return [line["message"] for line in details["lines"]]


async def test_progress_and_lines_are_there_while_it_runs(db: Database) -> None:
    ticket = await waiting(db, task_payload=payload("patient"))
    one_worker = await python_runner(db)
    task = asyncio.create_task(attempt(one_worker, ticket))

    async def live() -> bool:
        details = (await reported(db, ticket))[2]
        return bool(details and details["lines"])

    await until(live, what="progress of a running execution")
    status, progress, details = await reported(db, ticket)
    assert (
        (status, progress) == ("RUNNING", 40)
        and details["note"] == "waiting"
        and (details["attempt"], details["dropped"]) == (1, 0)
    )
    (line,) = details["lines"]
    assert (line["level"], line["message"], line["user"]) == ("info", "waiting", "ada") and line["at"].endswith("Z")
    task.cancel()  # the drain
    await task
    assert await one_worker.flush(20)
    assert await outcomes(db, ticket) == [(1, "released")]
    assert (await reported(db, ticket))[1:] == (40, details)


@pytest.mark.parametrize("handler", ["chatty", "chatty-sync"])
async def test_a_flood_is_capped_counted_and_ends_with_the_last_word(db: Database, handler: str) -> None:
    ticket = await waiting(db, task_payload=payload(handler, lines=5_000))
    await attempt(await python_runner(db), ticket)
    status, progress, details = await reported(db, ticket)
    assert (status, progress) == ("SUCCESS", 99)
    assert len(details["lines"]) == 200 and details["dropped"] == 4_800
    assert messages(details)[-1] == "line 4999"


async def test_long_lines_are_capped_by_bytes(db: Database) -> None:
    async def talk(context: RunContext) -> Outcome:
        for number in range(50):
            context.log(f"{number} " + "ä\x00" * 10_000, "nonsense", at="mine", blob="x" * 10_000, lone="\ud800")
        return Outcome()

    ticket = await waiting(db)
    await attempt(await runner(db, Talking(talk)), ticket)
    _, _, details = await reported(db, ticket)
    assert 0 < len(json.dumps(details, ensure_ascii=False).encode()) <= 70_000
    assert details["dropped"] + len(details["lines"]) == 50
    last = details["lines"][-1]
    assert last["message"].startswith("49 ä") and last["level"] == "info" and last["at"] != "mine"
    assert "\x00" not in last["message"] and "leftOut" in last


async def test_what_json_and_postgres_cannot_hold_is_replaced(db: Database) -> None:
    async def talk(context: RunContext) -> Outcome:
        await context.progress(1e9, "note \x00 \ud800")
        context.log("a\x00b", "error", **{"k\x00": float("inf"), "obj": object, "deep": [[[{"x\x00": "\x00"}]]]})
        return Outcome()

    ticket = await waiting(db)
    await attempt(await runner(db, Talking(talk)), ticket)
    status, progress, details = await reported(db, ticket)
    assert (status, progress, details["note"]) == ("SUCCESS", 100, "note \ufffd \ufffd")
    (line,) = details["lines"]
    assert (line["message"], line["k\ufffd"], line["deep"]) == ("a\ufffdb", "inf", [[[{"x\ufffd": "\ufffd"}]]])


async def test_one_statement_for_all_and_not_more_often_than_the_pause(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    write = statements.write

    async def counted(conn: Any, news: Any) -> int:
        sizes.append(len(news))
        written.set()
        return await write(conn, news)

    monkeypatch.setattr(statements, "write", counted)
    gate, written = asyncio.Event(), asyncio.Event()
    begun = 0

    async def talk(context: RunContext) -> Outcome:
        nonlocal begun
        begun += 1
        await gate.wait()
        for step in range(100):
            await context.progress(step)
        await written.wait()
        return Outcome()

    tickets = [await waiting(db) for _ in range(20)]
    one_worker = await runner(db, Talking(talk))
    tasks = [asyncio.create_task(attempt(one_worker, ticket)) for ticket in tickets]

    async def all_begun() -> bool:
        return begun == 20

    await until(all_begun)
    gate.set()
    await asyncio.gather(*tasks)
    assert sizes[0] == 20 and len(sizes) <= 2, "2,000 words of 20 attempts"
    assert await fetch(db, "SELECT DISTINCT status, progress FROM job_executions") == [("SUCCESS", 99)]


async def test_a_stale_claim_reports_nothing(db: Database) -> None:
    release = asyncio.Event()
    contexts: list[RunContext] = []

    async def talk(context: RunContext) -> Outcome:
        contexts.append(context)
        await release.wait()
        await context.progress(77, "from the dead")
        return Outcome()

    ticket = await waiting(db)
    task = asyncio.create_task(attempt(await runner(db, Talking(talk)), ticket))

    async def runs() -> bool:
        return bool(contexts)

    await until(runs)
    async with db.transaction() as conn:
        await conn.execute("UPDATE workers SET lease_until = clock_timestamp() - interval '1 second'")
    assert await rescue(db, grace=timedelta(0)) == 1
    again = replace(ticket, claim_no=1)
    await attempt(await runner(db, Talking(fresh_talk)), again)
    release.set()
    await task
    late = Reports(db, pause=0.0).open(_claimed_of(contexts[0], ticket))
    late.progress(88, "later still")
    await asyncio.sleep(0)
    await late_written(late)
    status, progress, details = await reported(db, ticket)
    assert (status, progress, details["note"], details["attempt"]) == ("SUCCESS", 5, "fresh", 2)


async def fresh_talk(context: RunContext) -> Outcome:
    await context.progress(5, "fresh")
    return Outcome()


def _claimed_of(context: RunContext, ticket: Ticket) -> Any:
    return SimpleNamespace(
        job_id=ticket.job_id,
        scheduled_time=ticket.scheduled_time,
        claim_no=context.claim_no,
        attempt=context.attempt,
    )


async def late_written(report: Report) -> None:
    async def quiet() -> bool:
        return not [task for task in asyncio.all_tasks() if task.get_name() == "reports"]

    await until(quiet)


async def test_what_is_said_in_a_thread_is_heard(db: Database) -> None:
    ticket = await waiting(db, task_payload=payload("threads"))
    await attempt(await python_runner(db), ticket)
    assert messages((await reported(db, ticket))[2]) == ["from a thread"]


async def test_a_retry_begins_its_log_anew_and_keeps_the_old_one_until_then(db: Database) -> None:
    ticket = await waiting(db, task_payload=payload("die", how="exit"), backoff=json.dumps({"delaySeconds": 0}))
    one_worker = await python_runner(db)
    await attempt(one_worker, ticket)
    _, _, details = await reported(db, ticket)
    assert (details["attempt"], messages(details)) == (1, ["about to die"])
    async with db.transaction() as conn:
        await conn.execute("UPDATE job_executions SET ready_at = clock_timestamp()")
    await attempt(one_worker, replace(ticket, claim_no=1))
    _, _, details = await reported(db, ticket)
    assert (details["attempt"], messages(details)) == (2, ["about to die"])


async def test_a_failed_handler_leaves_its_error_and_traceback(db: Database) -> None:
    ticket = await waiting(db, task_payload=payload("raise-sync", what="permanent"))
    await attempt(await python_runner(db), ticket)
    assert await state(db, ticket) == ("FAILED", "error", 1, 1)
    error, excerpt = await one(db, "SELECT error, response_excerpt FROM job_attempts")
    assert error == {"type": "handler_error", "message": "Permanent: the account is closed"}
    assert "in _raise" in excerpt


async def test_a_trigger_lays_its_params_over_the_job(db: Database) -> None:
    ticket = await waiting(db, task_payload=payload("echo", syncType="incremental", batchSize=100))
    async with db.transaction() as conn:
        await conn.execute("UPDATE job_executions SET params = %s", ('{"params": {"syncType": "full"}}',))
    await attempt(await python_runner(db), ticket)
    (result,) = await one(db, "SELECT result FROM job_executions")
    assert result["params"] == {"syncType": "full", "batchSize": 100}


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("PYTHON", {"handler": "elsewhere"}),
        ("SQL", {"dsn": "elsewhere", "statement": "SELECT 1"}),
        ("COMMAND", {"command": "elsewhere"}),
    ],
)
async def test_a_worker_without_it_hands_the_ticket_back(db: Database, kind: str, config: dict[str, Any]) -> None:
    executors: Mapping[str, Executor] = {
        "PYTHON": Python(HANDLERS, installed=()),
        "SQL": Sql(HANDLERS),
        "COMMAND": Command(HANDLERS),
    }
    ticket = await waiting(db, max_attempts=1, task_payload=json.dumps({"type": kind, "config": config}))
    one_worker = Runner(db, executors, worker_id=await worker(db))
    await attempt(one_worker, ticket)
    assert await state(db, ticket) == ("QUEUED", None, 0, 1)
    assert await outcomes(db, ticket) == []
    assert payload_faults(kind, config, executors)  # who defines such a job here is told


def test_an_api_without_handlers_lets_a_python_job_pass() -> None:
    bare = {"PYTHON": Python(ExecutorSettings(), installed=())}
    assert payload_faults("PYTHON", {"handler": "anything"}, bare) == []
    assert payload_faults("PYTHON", {"handler": "anything", "more": 1}, bare) != []


async def test_a_parse_that_raises_ends_the_attempt(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Scripted):
        def parse(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
            raise KeyError("oops")

    ticket = await waiting(db)
    with caplog.at_level(logging.CRITICAL):
        await attempt(await runner(db, Broken()), ticket)
    assert await state(db, ticket) == ("FAILED", "error", 1, 1)


async def test_a_lapsed_lease_kills_the_child(db: Database, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    ticket = await waiting(db, task_payload=payload("stubborn", pids=str(pids)))
    one_worker = await python_runner(db)
    task = asyncio.create_task(attempt(one_worker, ticket))

    found = await pids_in(pids)
    one_worker.lapse()
    await task
    await gone(*found)
    assert await state(db, ticket) == ("RUNNING", None, 1, 1)


async def test_reports_wait_while_postgres_is_away(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    class Away:
        """A database that is away for two statements."""

        failures = 0

        @asynccontextmanager
        async def statements(self) -> Any:
            if self.failures < 2:
                self.failures += 1
                raise Unavailable("away")
            async with db.statements() as conn:
                yield conn

    ticket = await waiting(db)
    async with db.transaction() as conn:
        await conn.execute("UPDATE job_executions SET status = 'RUNNING', claim_no = 1, attempt = 1")
    context = RunContext(1, 1, "j", ticket.scheduled_time, 1, 3, 1, 60.0)
    report = Reports(Away(), pause=0.01).open(_claimed_of(context, ticket))  # type: ignore[arg-type]
    report.log("said while it was away", "info", {})

    async def written() -> bool:
        return (await reported(db, ticket))[2] is not None

    await until(written)
    assert messages((await reported(db, ticket))[2]) == ["said while it was away"]
    assert caplog.text.count("wait for Postgres") == 1
