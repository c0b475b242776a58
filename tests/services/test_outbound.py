"""Budgets and breakers of hosts: workers share them, what they hold costs nothing, and nothing of them leaks."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from cronsvc.domain.execution import Ticket
from cronsvc.errors import Conflict, Forbidden, InvalidInput, NotFound
from cronsvc.executors.api_call import ApiCall
from cronsvc.executors.base import ExecutorSettings
from cronsvc.services.callers import Caller, Role, within
from cronsvc.services.egress_lists import EgressLists
from cronsvc.services.failing import end_overdue
from cronsvc.services.running import Runner, rescue
from cronsvc.services.target_hosts import TargetHosts, forget_outbound
from cronsvc.store.pool import Database
from tests.executors.targets import Request, Respond, Target, always, answer, listening
from tests.support.roles import logins
from tests.support.rows import fetch, one
from tests.support.running import outcomes, runner, waiting, worker
from tests.support.waiting import until

ROOT = Caller("root", Role.ADMIN)
RED = Caller("red", Role.ADMIN, ("red",))
HOST = "127.0.0.1"
OK = always(answer(200, b"{}"))


@pytest.fixture
async def api_call() -> AsyncIterator[ApiCall]:
    made = ApiCall(ExecutorSettings(egress_allow=("127.0.0.0/8",)))
    yield made
    await made.close()


@pytest.fixture
def hosts(db: Database) -> TargetHosts:
    return TargetHosts(db)


@asynccontextmanager
async def gated(status: int = 200) -> AsyncIterator[tuple[Target, asyncio.Event, Callable[[], int]]]:
    """A target that answers nobody before its gate is opened, and how many it has in hand."""
    gate, inside = asyncio.Event(), 0

    async def respond(_: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal inside
        inside += 1
        await gate.wait()
        inside -= 1
        writer.write(answer(status, b"{}"))
        await writer.drain()

    async with listening(respond) as target:
        yield target, gate, lambda: inside


async def call(db: Database, target: Target, **columns: Any) -> Ticket:
    payload = {"type": "API_CALL", "config": {"url": target.url}}
    return await waiting(db, task_payload=json.dumps(payload), **columns)


async def again(db: Database, ticket: Ticket) -> Ticket:
    """The ticket that the row of an execution would be dispatched with now, and it is ready."""
    (claim_no,) = await one(
        db,
        "UPDATE job_executions SET ready_at = clock_timestamp() WHERE id = %s RETURNING claim_no",
        ticket.execution_id,
    )
    return Ticket(ticket.execution_id, ticket.job_id, ticket.scheduled_time, claim_no, "default", 10)


async def run(each: Runner, *tickets: Ticket) -> None:
    await asyncio.gather(*(each.handle(ticket) for ticket in tickets))
    assert await each.flush(20)


async def row(db: Database, ticket: Ticket) -> tuple[Any, ...]:
    return await one(
        db,
        "SELECT status, attempt, claim_no, dispatch_at > clock_timestamp() FROM job_executions WHERE id = %s",
        ticket.execution_id,
    )


async def holds(db: Database, ticket: Ticket) -> list[tuple[Any, ...]]:
    return await fetch(
        db, "SELECT reason, times, is_held FROM cronsvc_v1.holds WHERE execution_id = %s", ticket.execution_id
    )


async def state(db: Database) -> str:
    return str((await one(db, "SELECT state FROM target_hosts"))[0])


async def open_is_over(db: Database) -> None:
    await one(db, "UPDATE target_hosts SET open_until = clock_timestamp() RETURNING 1")


async def test_a_host_without_settings_is_counted_by_nobody(
    db: Database, api_call: ApiCall, hosts: TargetHosts
) -> None:
    await hosts.put("other.example", {"calls_per_minute": 1}, ROOT)
    async with listening(OK) as target:
        mine = await runner(db, api_call)
        tickets = [await call(db, target) for _ in range(3)]
        await run(mine, *tickets)
    assert len(target.requests) == 3
    assert await one(db, "SELECT (SELECT count(*) FROM host_calls), (SELECT count(*) FROM host_holds)") == (0, 0)


async def test_two_workers_share_one_budget_and_what_is_held_costs_no_attempt(
    db: Database, api_call: ApiCall, hosts: TargetHosts
) -> None:
    await hosts.put(HOST, {"calls_per_minute": 3}, ROOT)
    async with listening(OK) as target:
        workers = [await runner(db, api_call), await runner(db, api_call)]
        tickets = [await call(db, target, max_attempts=1) for _ in range(8)]
        await asyncio.gather(run(workers[0], *tickets[:4]), run(workers[1], *tickets[4:]))
        assert len(target.requests) == target.connections == 3  # no socket was opened for the others
    rows = [await row(db, ticket) for ticket in tickets]
    assert sorted(rows) == [("QUEUED", 0, 1, True)] * 5 + [("SUCCESS", 1, 1, None)] * 3
    for ticket, (status, *_) in zip(tickets, rows, strict=True):
        held = status == "QUEUED"
        assert await holds(db, ticket) == ([("rate", 1, True)] if held else [])
        assert await outcomes(db, ticket) == ([] if held else [(1, "success")])
    # Each in a place of its own, a third of a minute after the other.
    apart = await fetch(
        db, "SELECT extract(epoch FROM held_until - min(held_until) OVER ()) FROM host_holds ORDER BY 1"
    )
    assert [round(float(seconds) / 20) for (seconds,) in apart] == [0, 1, 2, 3, 4]


async def test_the_minute_is_any_minute(db: Database, api_call: ApiCall, hosts: TargetHosts) -> None:
    await hosts.put(HOST, {"calls_per_minute": 2, "calls_per_second": 2}, ROOT)
    async with listening(OK) as target:
        mine = await runner(db, api_call)
        await run(mine, await call(db, target), await call(db, target))
        late = await call(db, target)
        await fetch(db, "UPDATE host_calls SET began_at = began_at - interval '59 seconds' RETURNING 1")
        await run(mine, late)
        assert await holds(db, late) == [("rate", 1, True)]
        await fetch(db, "UPDATE host_calls SET began_at = began_at - interval '1 second' RETURNING 1")
        await run(mine, await again(db, late))
    assert len(target.requests) == 3
    assert await row(db, late) == ("SUCCESS", 1, 2, None)
    assert await holds(db, late) == [("rate", 1, False)]


async def test_no_more_calls_run_than_may_and_an_end_lets_the_next_go(
    db: Database, api_call: ApiCall, hosts: TargetHosts
) -> None:
    await hosts.put(HOST, {"max_concurrent": 2}, ROOT)
    async with gated() as (target, gate, inside):
        workers = [await runner(db, api_call), await runner(db, api_call)]
        tickets = [await call(db, target) for _ in range(5)]
        running = [asyncio.create_task(workers[number % 2].handle(ticket)) for number, ticket in enumerate(tickets)]
        await until(lambda: asyncio.sleep(0, inside() == 2))
        await until(lambda: _count_done(running, 3))
        gate.set()
        await asyncio.gather(*running)
        for each in workers:
            assert await each.flush(20)
        assert len(target.requests) == 2
        due = "SELECT count(*) FROM job_executions WHERE status = 'QUEUED' AND dispatch_at <= clock_timestamp()"
        assert await one(db, due) == (2,)  # as many as places have become free, at once
        while waits := await fetch(db, "SELECT id FROM job_executions WHERE status = 'QUEUED'"):
            ids = {id_ for (id_,) in waits}
            await run(workers[0], *[await again(db, each) for each in tickets if each.execution_id in ids])
    assert len(target.requests) == 5
    assert {(await row(db, ticket))[:2] for ticket in tickets} == {("SUCCESS", 1)}


async def _count_done(tasks: list["asyncio.Task[None]"], wanted: int) -> bool:
    return sum(task.done() for task in tasks) == wanted


async def test_what_a_dead_worker_was_calling_is_free_with_its_rescue(
    db: Database, api_call: ApiCall, hosts: TargetHosts
) -> None:
    await hosts.put(HOST, {"max_concurrent": 1}, ROOT)
    async with gated() as (target, gate, inside):
        dead, alive = await runner(db, api_call), await runner(db, api_call)
        lost, other = await call(db, target, max_attempts=1), await call(db, target)
        dying = asyncio.create_task(dead.handle(lost))
        await until(lambda: asyncio.sleep(0, inside() == 1))
        await run(alive, other)
        assert await holds(db, other) == [("concurrency", 1, True)]
        assert dead.lapse() == 1  # its process is gone: nothing of it writes any more
        await dying
        await fetch(db, "UPDATE host_calls SET ended_at = NULL RETURNING 1")
        await fetch(
            db, "UPDATE workers SET lease_until = now() - interval '1 hour' WHERE id = %s RETURNING 1", dead.worker_id
        )
        assert await rescue(db, grace=timedelta(0)) == 1
        gate.set()
        await run(alive, await again(db, other))
        assert (await row(db, other))[:2] == ("SUCCESS", 1)
    assert (await row(db, lost))[0] == "FAILED"
    await fetch(db, "UPDATE host_calls SET began_at = began_at - interval '1 hour' RETURNING 1")
    assert await forget_outbound(db) == 2


async def test_failures_in_a_row_open_the_breaker_for_all_workers_and_one_call_tries(
    db: Database, api_call: ApiCall, hosts: TargetHosts
) -> None:
    await hosts.put(HOST, {"breaker_failures": 3, "breaker_open_seconds": 60}, ROOT)
    async with AsyncExitStack() as stack:
        bad = await stack.enter_async_context(listening(always(answer(503))))
        first, second = await runner(db, api_call), await runner(db, api_call)
        await run(first, await call(db, bad), await call(db, bad))
        assert await state(db) == "closed"
        await run(second, await call(db, bad))
        assert await state(db) == "open"
        held = [await call(db, bad, max_attempts=1) for _ in range(4)]
        third, fourth = await runner(db, api_call), await runner(db, api_call)
        await asyncio.gather(run(third, *held[:2]), run(fourth, *held[2:]))
        assert len(bad.requests) == 3
        assert {await row(db, ticket) for ticket in held} == {("QUEUED", 0, 1, True)}
        left = await one(db, "SELECT min(held_until) > clock_timestamp() + interval '50 seconds' FROM host_holds")
        assert left == (True,)

        # Its time is over: one of all goes, and fails.
        await open_is_over(db)
        tickets = [await again(db, ticket) for ticket in held]
        await asyncio.gather(run(third, *tickets[:2]), run(fourth, *tickets[2:]))
        assert len(bad.requests) == 4
        assert await state(db) == "open"
        assert sorted([(await row(db, ticket))[0] for ticket in held]) == ["FAILED", "QUEUED", "QUEUED", "QUEUED"]
    good = await stack.enter_async_context(listening(OK))
    async with stack:
        await open_is_over(db)
        probe = await call(db, good)
        await run(third, probe)
        assert await state(db) == "closed"
        assert (await row(db, probe))[0] == "SUCCESS"
        # What the breaker held is due at once.
        due = "SELECT count(*) FROM job_executions WHERE status = 'QUEUED' AND dispatch_at <= clock_timestamp()"
        assert await one(db, due + " AND attempt = 0") == (3,)


async def test_a_probe_whose_worker_died_blocks_nobody(db: Database, api_call: ApiCall, hosts: TargetHosts) -> None:
    await hosts.put(HOST, {"breaker_failures": 1}, ROOT)
    await hosts.trip(HOST, ROOT)
    await open_is_over(db)
    async with gated() as (target, gate, inside):
        dead, alive = await runner(db, api_call), await runner(db, api_call)
        probing = asyncio.create_task(dead.handle(await call(db, target, max_attempts=1)))
        await until(lambda: asyncio.sleep(0, inside() == 1))
        other = await call(db, target)
        await run(alive, other)
        assert await state(db) == "half_open"
        assert await holds(db, other) == [("breaker", 1, True)]
        dead.lapse()
        await probing
        await fetch(
            db, "UPDATE workers SET lease_until = now() - interval '1 hour' WHERE id = %s RETURNING 1", dead.worker_id
        )
        assert await rescue(db, grace=timedelta(0)) == 1
        gate.set()
        await run(alive, await again(db, other))
    assert await state(db) == "closed"
    assert (await row(db, other))[:2] == ("SUCCESS", 1)


@pytest.mark.parametrize(
    ("respond", "speaks_against"),
    [
        (always(answer(500)), True),
        (always(b"nonsense", close=True), True),
        (always(answer(404)), False),
        (always(answer(429)), False),
        (always(answer(302, Location="https://10.0.0.1/")), False),
    ],
)
async def test_what_speaks_against_a_host(
    db: Database, api_call: ApiCall, hosts: TargetHosts, respond: Respond, speaks_against: bool
) -> None:
    await hosts.put(HOST, {"breaker_failures": 1}, ROOT)
    async with listening(respond) as target:
        await run(await runner(db, api_call), await call(db, target))
    assert await state(db) == ("open" if speaks_against else "closed")


async def test_a_refused_connection_speaks_against_a_host_and_a_success_forgets(
    db: Database, api_call: ApiCall, hosts: TargetHosts
) -> None:
    await hosts.put(HOST, {"breaker_failures": 2}, ROOT)
    mine = await runner(db, api_call)
    async with listening(OK) as target:
        gone = await call(db, target)
        after = await call(db, target)
        async with listening(OK) as closed:
            refused = [await call(db, closed), await call(db, closed)]
        await run(mine, refused[0])
        await run(mine, gone)
        assert await one(db, "SELECT state, failures FROM target_hosts") == ("closed", 0)
        await run(mine, refused[1])
        await run(mine, await again(db, refused[1]))
        assert await state(db) == "open"
        await asyncio.sleep(0)
        await run(await runner(db, api_call), after)
    assert len(target.requests) == 1


async def test_a_deadline_holds_while_a_host_holds(db: Database, api_call: ApiCall, hosts: TargetHosts) -> None:
    await hosts.trip(HOST, ROOT)
    async with listening(OK) as target:
        ticket = await call(db, target)
        await fetch(
            db,
            "UPDATE job_executions SET deadline_at = clock_timestamp() + interval '1 hour' WHERE id = %s RETURNING 1",
            ticket.execution_id,
        )
        await run(await runner(db, api_call), ticket)
        left = "SELECT deadline_at > clock_timestamp() + interval '50 minutes' FROM job_executions WHERE id = %s"
        assert await one(db, left, ticket.execution_id) == (True,)
        await fetch(db, "UPDATE job_executions SET deadline_at = clock_timestamp() RETURNING 1")
        assert await end_overdue(db) == 1
    assert not target.connections
    status, error = await one(db, "SELECT status, error FROM job_executions WHERE id = %s", ticket.execution_id)
    assert (status, error["type"]) == ("FAILED", "deadline")
    assert "it waits for the host 127.0.0.1: its breaker is open" in error["message"]
    assert await outcomes(db, ticket) == []
    assert await holds(db, ticket) == [("breaker", 1, False)]


async def test_people_trip_and_reset_and_it_is_written_down(
    db: Database, api_call: ApiCall, hosts: TargetHosts
) -> None:
    tripped = await hosts.trip("API.Example.com.", ROOT, note="moving")
    assert (tripped.rule.host, tripped.tripped_by, tripped.open_until) == ("api.example.com", "root", None)
    await hosts.trip(HOST, ROOT, seconds=60)
    async with listening(OK) as target:
        ticket = await call(db, target)
        mine = await runner(db, api_call)
        await run(mine, ticket)
        assert (await hosts.get(HOST, ROOT)).held == 1
        assert (await hosts.reset(HOST, ROOT)).rule.state == "closed"
        assert (await row(db, ticket))[3] is False  # due at once
        await run(await runner(db, api_call), await again(db, ticket))
    assert (await row(db, ticket))[0] == "SUCCESS"
    await hosts.delete(HOST, ROOT)
    found = await fetch(
        db, "SELECT action, actor FROM audit_log WHERE entity = 'target_host' AND entity_id = %s ORDER BY id", HOST
    )
    assert found == [("trip", "root"), ("reset", "root"), ("delete", "root")]


async def test_settings_are_for_those_who_reach_everything(hosts: TargetHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    acts: list[Coroutine[Any, Any, object]] = [hosts.list(RED), hosts.get(HOST, RED), hosts.put(HOST, {}, RED)]
    for act in [*acts, hosts.trip(HOST, RED), hosts.reset(HOST, RED), hosts.delete(HOST, RED)]:
        with pytest.raises(Forbidden):
            await act
    with pytest.raises(InvalidInput) as refused:
        await hosts.put(HOST, {"calls_per_second": 0, "max_concurrent": 10**9}, ROOT)
    assert [error.field for error in refused.value.errors] == ["callsPerSecond", "maxConcurrent"]
    for host in ("*.example.com", "http://x", "a b", "x:80", ""):
        with pytest.raises(InvalidInput):
            await hosts.put(host, {}, ROOT)
    with pytest.raises(NotFound):
        await hosts.reset("nobody.example", ROOT)
    monkeypatch.setattr("cronsvc.services.target_hosts.MOST_HOSTS", 1)
    await hosts.put("one.example", {"calls_per_second": 1}, ROOT)
    await hosts.put("one.example", {}, ROOT)
    with pytest.raises(Conflict):
        await hosts.trip("two.example", ROOT)


async def test_a_worker_that_dies_while_it_gives_back_leaves_all_or_nothing(
    db: Database, api_call: ApiCall, hosts: TargetHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row that says why and the row that waits again are one commit."""
    await hosts.trip(HOST, ROOT)
    async with listening(OK) as target:
        ticket = await call(db, target, max_attempts=1)
        dying = await runner(db, api_call)

        async def dies(*_: object, **__: object) -> None:
            raise asyncio.CancelledError

        with monkeypatch.context() as patched:
            patched.setattr("cronsvc.store.host_calls.hold", dies)
            await dying.handle(ticket)
        status = await row(db, ticket)
        assert await holds(db, ticket) == []
        await dying.flush(20)
        assert status[0] in ("RUNNING", "QUEUED")
        assert (await row(db, ticket))[:2] == ("QUEUED", 0)  # handed back without cost
        await run(await runner(db, api_call), await again(db, ticket))
    assert not target.connections
    assert await holds(db, ticket) == [("breaker", 1, True)]
    assert await worker(db)


async def test_the_roles_of_the_processes_are_enough(
    db: Database, api_call: ApiCall, hosts: TargetHosts, database_url: str
) -> None:
    """Workers count, hold and open breakers under their own role, people trip and reset under the API's."""
    with logins(database_url, again=True) as urls:
        async with AsyncExitStack() as stack:
            opened = {}
            for role in ("worker", "api", "scheduler"):
                opened[role] = await Database.open(urls[f"cronsvc_{role}"], application_name=role)
                stack.push_async_callback(opened[role].close)
            people = TargetHosts(opened["api"])
            with within(ROOT):
                await people.put(HOST, {"max_concurrent": 5, "calls_per_minute": 1, "breaker_failures": 1}, ROOT)
                await EgressLists(opened["api"]).put("default", ["x.example"], ["127.0.0.0/8"], ROOT)
            bad = await stack.enter_async_context(listening(always(answer(500))))
            mine = Runner(opened["worker"], {"API_CALL": api_call}, worker_id=await worker(db))
            tickets = [await call(db, bad) for _ in range(2)]
            await run(mine, *tickets)
            assert await state(db) == "open"
            assert await one(db, "SELECT count(*) FROM host_holds") == (1,)
            with within(ROOT):
                assert (await people.reset(HOST, ROOT)).rule.failures == 0
                assert len((await people.holds(ROOT)).items) == 1
                await people.trip(HOST, ROOT)
                await people.delete(HOST, ROOT)
            assert await forget_outbound(opened["scheduler"]) == 0
