"""What waits for its passage while the world goes on: lapses, slow probes, rates, other servers' failures."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from cronsvc.domain.execution import Claimed, Outcome
from cronsvc.domain.target_host import HostRule, HostUse, failed
from cronsvc.errors import Unavailable
from cronsvc.executors.api_call import ApiCall
from cronsvc.executors.base import ExecutorSettings, RunContext
from cronsvc.services.failing import end_overdue
from cronsvc.services.outbound import Outbound, Passage
from cronsvc.services.running import Runner, rescue
from cronsvc.services.target_hosts import TargetHosts, forget_outbound
from cronsvc.store import host_calls
from cronsvc.store.pool import Database
from tests.executors.secrets import attempt_with
from tests.executors.targets import FixedResolver, attempt, listening
from tests.services.test_outbound import HOST, OK, ROOT, again, call, gated, holds, open_is_over, row, run, state
from tests.support.job_types import Scripted
from tests.support.rows import fetch, one
from tests.support.running import outcomes, runner, waiting, worker
from tests.support.waiting import until


@pytest.fixture
async def api_call() -> AsyncIterator[ApiCall]:
    made = ApiCall(ExecutorSettings(egress_allow=("127.0.0.0/8",)))
    yield made
    await made.close()


@pytest.fixture
def hosts(db: Database) -> TargetHosts:
    return TargetHosts(db)


class Slow:
    """A coroutine function whose answer stays away until the gate opens."""

    def __init__(self, real: Callable[..., Awaitable[Any]]) -> None:
        self._real = real
        self.entered, self.gate = asyncio.Event(), asyncio.Event()

    async def __call__(self, *args: Any) -> Any:
        answer = await self._real(*args)
        self.entered.set()
        await self.gate.wait()
        return answer


async def lease_ends(db: Database, each: Runner) -> None:
    """Its process notices first, then Postgres, and others decide about what it held."""
    each.lapse()
    await one(
        db, "UPDATE workers SET lease_until = now() - interval '1 hour' WHERE id = %s RETURNING 1", each.worker_id
    )


@pytest.mark.parametrize("wait", ["passage", "definition", "claim"])
@pytest.mark.parametrize("renamed", [0, 1, 2])
async def test_what_has_not_begun_when_the_lease_lapses_never_begins(
    db: Database, api_call: ApiCall, hosts: TargetHosts, wait: str, renamed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer that it waited for comes after the rescue: the target must not be called beside the second attempt."""
    await hosts.put(HOST, {"max_concurrent": 5}, ROOT)
    async with gated() as (target, gate, inside):
        ticket = await call(db, target)
        mine, other = await runner(db, api_call), await runner(db, api_call)
        if wait == "passage":
            slow = Slow(mine._outbound.passage)
            monkeypatch.setattr(mine._outbound, "passage", slow)
        elif wait == "definition":
            slow = Slow(mine._definitions.get)
            monkeypatch.setattr(mine._definitions, "get", slow)
        else:
            slow = Slow(mine._claims.submit)
            monkeypatch.setattr(mine._claims, "submit", lambda asked: asyncio.ensure_future(slow(asked)))
        first = asyncio.create_task(mine.handle(ticket))
        await slow.entered.wait()
        await lease_ends(db, mine)
        for _ in range(renamed):
            mine.lapse()
            mine.worker_id = await worker(db)
        assert await rescue(db, grace=timedelta(0)) == 1
        second = asyncio.create_task(other.handle(await again(db, ticket)))
        await until(lambda: asyncio.sleep(0, inside() == 1))
        slow.gate.set()
        await until(lambda: asyncio.sleep(0, first.done() or inside() > 1))
        gate.set()
        await asyncio.gather(first, second)
        assert await mine.flush(20) and await other.flush(20)
        assert len(target.requests) == 1
    assert await row(db, ticket) == ("SUCCESS", 2, 2, None)
    assert await outcomes(db, ticket) == [(1, "lost"), (2, "success")]


async def test_a_process_that_lapsed_begins_again_under_its_new_name(db: Database) -> None:
    executor = Scripted()
    mine = await runner(db, executor)
    await lease_ends(db, mine)
    mine.worker_id = await worker(db)
    ticket = await waiting(db)
    await run(mine, ticket)
    assert await row(db, ticket) == ("SUCCESS", 1, 1, None)


async def test_a_claim_that_was_taken_over_is_neither_counted_nor_held(db: Database, hosts: TargetHosts) -> None:
    """The question reaches Postgres after the rescue: it takes no place and no probe, and gives nothing back."""
    await hosts.trip(HOST, ROOT)
    asked: list[Claimed] = []

    class Asking(Scripted):
        async def run(self, config: Any, context: RunContext) -> Outcome:
            (found,) = mine.claims()
            asked.append(found)
            return await super().run(config, context)

    mine = await runner(db, Asking())
    ticket = await waiting(db)
    await run(mine, ticket)
    assert await Outbound(db).passage(asked[0], "default", HOST) is None
    await open_is_over(db)
    assert await Outbound(db).passage(asked[0], "default", HOST) is None
    assert (await state(db), await holds(db, ticket)) == ("open", [])
    assert await one(db, "SELECT count(*) FROM host_calls") == (0,)
    assert await row(db, ticket) == ("SUCCESS", 1, 1, None)


async def test_a_probe_that_takes_long_lets_another_try(db: Database, api_call: ApiCall, hosts: TargetHosts) -> None:
    await hosts.put(HOST, {"breaker_failures": 1, "breaker_open_seconds": 30}, ROOT)
    await hosts.trip(HOST, ROOT)
    await open_is_over(db)
    async with gated() as (target, gate, inside), listening(OK) as quick:
        first, second = await runner(db, api_call), await runner(db, api_call)
        probing = asyncio.create_task(first.handle(await call(db, target)))
        await until(lambda: asyncio.sleep(0, inside() == 1))
        early, late = await call(db, quick), await call(db, quick)
        await run(second, early)
        assert await holds(db, early) == [("breaker", 1, True)]
        await one(db, "UPDATE target_hosts SET changed_at = changed_at - interval '31 seconds' RETURNING 1")
        await run(second, late)
        assert (await row(db, late))[0] == "SUCCESS"
        assert await state(db) == "closed"
        gate.set()
        await probing


async def test_each_probe_has_its_time(db: Database, api_call: ApiCall, hosts: TargetHosts) -> None:
    await hosts.put(HOST, {"breaker_failures": 1, "breaker_open_seconds": 30}, ROOT)
    await hosts.trip(HOST, ROOT)
    await open_is_over(db)
    async with gated() as (target, gate, inside):
        workers = [await runner(db, api_call) for _ in range(2)]
        running = [asyncio.create_task(workers[0].handle(await call(db, target)))]
        await until(lambda: asyncio.sleep(0, inside() == 1))
        await one(db, "UPDATE target_hosts SET changed_at = changed_at - interval '31 seconds' RETURNING 1")
        running.append(asyncio.create_task(workers[1].handle(await call(db, target))))
        await until(lambda: asyncio.sleep(0, inside() == 2))
        third = await call(db, target)
        running.append(asyncio.create_task((await runner(db, api_call)).handle(third)))
        await until(lambda: asyncio.sleep(0, running[-1].done() or inside() > 2))
        assert await holds(db, third) == [("breaker", 1, True)]  # while they are at it: their end lets it go
        gate.set()
        await asyncio.gather(*running)


async def test_what_a_host_holds_costs_nothing_of_its_queues_rate(
    db: Database, api_call: ApiCall, hosts: TargetHosts
) -> None:
    await hosts.trip(HOST, ROOT)
    await one(db, "UPDATE queues SET rate_per_minute = 1 WHERE name = 'default' RETURNING 1")
    async with listening(OK) as target:
        held = await call(db, target)
        mine = await runner(db, api_call)
        await run(mine, held)
        assert await holds(db, held) == [("breaker", 1, True)]
        (tokens,) = await one(db, "SELECT tokens FROM queues WHERE name = 'default'")
        assert tokens >= 1
        await hosts.reset(HOST, ROOT)
        free = await call(db, target)
        await run(await runner(db, api_call), free)
    assert (await row(db, free))[0] == "SUCCESS"
    (tokens,) = await one(db, "SELECT tokens FROM queues WHERE name = 'default'")
    assert tokens < 1, "a call that begins has its price"


async def test_no_more_is_counted_than_decides(db: Database, hosts: TargetHosts) -> None:
    """The count is made under the lock of the host: it ends at the limit, and without one there is none."""
    await hosts.put(HOST, {"max_concurrent": 5}, ROOT)
    await fetch(
        db,
        "INSERT INTO host_calls (host, job_id, scheduled_time, claim_no, ended_at)"
        " SELECT %s, n, now(), 1, now() FROM generate_series(1, 50) AS n RETURNING 1",
        HOST,
    )

    async def use() -> HostUse:
        async with db.statements() as conn:
            return (await host_calls.use(conn, [HOST]))[HOST]

    assert ((await use()).in_second, (await use()).in_minute) == (0, 0)
    await hosts.put(HOST, {"calls_per_minute": 7}, ROOT)
    found = await use()
    assert (found.in_second, found.in_minute) == (0, 7)
    assert 0 < found.minute_left <= 60


async def test_what_never_left_says_nothing_of_the_host(api_call: ApiCall) -> None:
    """A token server that hangs, or a time-out before the request was written, is not the host's failure."""
    async with gated() as (target, gate, inside):
        auth = {"type": "oauth2", "tokenUrl": target.url, "clientId": "a", "clientSecret": "{{secret:client}}"}
        waiting_for_token = api_call.parse({"url": "http://127.0.0.2/", "auth": auth})
        context, _ = attempt_with(timeout_seconds=0.5, client="b")
        outcome = await api_call.run(waiting_for_token, context)
        assert inside() == 1 and outcome.error is not None and outcome.error.type == "timeout"
        assert failed(outcome) is None
        sent = await api_call.run(api_call.parse({"url": target.url}), attempt(timeout_seconds=0.5))
        assert inside() == 2 and sent.error is not None and sent.error.type == "timeout"
        assert failed(sent) is True
        gate.set()
    silent = ApiCall(ExecutorSettings(egress_allow=("127.0.0.0/8",)), resolver=FixedResolver({"silent.example": []}))
    outcome = await silent.run(silent.parse({"url": "http://silent.example/"}), attempt(timeout_seconds=0.1))
    await silent.close()
    assert outcome.error is not None and outcome.error.type == "timeout"
    assert failed(outcome) is None


async def test_what_cannot_be_asked_is_said(
    db: Database, api_call: ApiCall, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refused(_: object) -> dict[str, HostRule]:
        raise Unavailable("permission denied for table target_hosts")

    async with listening(OK) as target:
        mine, tickets = await runner(db, api_call), [await call(db, target) for _ in range(2)]
        with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
            patched.setattr(host_calls, "rules", refused)
            for ticket in tickets:
                await run(mine, ticket)
        assert caplog.text.count("permission denied for table target_hosts") == 1, "once, not for each"
        assert (await row(db, tickets[0]))[:2] == ("QUEUED", 0)
        await run(mine, await again(db, tickets[0]))
    assert (await row(db, tickets[0]))[:2] == ("SUCCESS", 1)


async def test_the_wait_for_a_passage_is_part_of_the_deadline(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = Scripted()
    mine = await runner(db, executor)
    clock, turned = asyncio.get_running_loop().time, 0.0

    async def slow(*_: object) -> Passage:
        nonlocal turned
        turned += 100
        return Passage()

    monkeypatch.setattr(mine._outbound, "passage", slow)
    ticket = await waiting(db, timeout_seconds=300)
    await one(db, "UPDATE job_executions SET deadline_at = clock_timestamp() + interval '200 seconds' RETURNING id")
    with monkeypatch.context() as patched:
        patched.setattr(asyncio.get_running_loop(), "time", lambda: clock() + turned)
        await mine.handle(ticket)
    assert await mine.flush(20)
    assert executor.calls[0].timeout_seconds <= 100


async def test_an_end_that_could_not_be_told_is_logged(
    db: Database,
    api_call: ApiCall,
    hosts: TargetHosts,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(*_: object) -> list[str]:
        raise ZeroDivisionError

    await hosts.put(HOST, {"max_concurrent": 1}, ROOT)
    async with listening(OK) as target:
        monkeypatch.setattr(host_calls, "end", broken)
        ticket = await call(db, target)
        await run(await runner(db, api_call), ticket)
    assert (await row(db, ticket))[0] == "SUCCESS"
    assert "ZeroDivisionError" in caplog.text


async def test_calls_are_forgotten_host_by_host(db: Database, hosts: TargetHosts) -> None:
    names = ["a.example", "b.example", "c.example"]
    for name in names:
        await hosts.put(name, {"max_concurrent": 5}, ROOT)
    await fetch(
        db,
        "INSERT INTO host_calls (host, job_id, scheduled_time, claim_no, began_at, ended_at)"
        " SELECT host, n, now(), ascii(host), now() - make_interval(mins => n), now()"
        "   FROM unnest(%s::text[]) AS host, generate_series(0, 4) AS n RETURNING 1",
        names,
    )
    assert await forget_outbound(db, batch=2) == 9
    kept = await fetch(db, "SELECT host, count(*) FROM host_calls GROUP BY host ORDER BY host")
    assert kept == [(name, 2) for name in names]
    assert await forget_outbound(db) == 0


async def test_a_reset_lets_all_go_that_waited(
    db: Database, api_call: ApiCall, hosts: TargetHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cronsvc.services.target_hosts.MOST_RELEASED", 2)
    due = "SELECT count(*) FROM job_executions WHERE status = 'QUEUED' AND dispatch_at <= clock_timestamp()"
    async with listening(OK) as target:
        for let_go in (hosts.reset, hosts.delete):
            await hosts.trip(HOST, ROOT)
            await run(await runner(db, api_call), *[await call(db, target) for _ in range(5)])
            assert await one(db, due) == (0,)
            after = await let_go(HOST, ROOT)
            assert after is None or after.held == 0
            assert await one(db, due) == (5,)
            await fetch(db, "DELETE FROM job_executions RETURNING 1")


async def test_a_deadline_of_what_never_began_says_so(db: Database, api_call: ApiCall, hosts: TargetHosts) -> None:
    await hosts.trip(HOST, ROOT)
    async with listening(OK) as target:
        ticket = await call(db, target)
        await run(await runner(db, api_call), ticket)
    await one(db, "UPDATE job_executions SET deadline_at = clock_timestamp() RETURNING 1")
    assert await end_overdue(db) == 1
    (error,) = await one(db, "SELECT error FROM job_executions")
    assert error["message"].startswith("no attempt began before the deadline; held: it waits for the host 127.0.0.1")
