"""Jobs that run after other jobs: what each end brings about, once, whoever wrote it and whatever dies."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from cronsvc.domain.execution import Outcome
from cronsvc.errors import Unavailable
from cronsvc.services.failing import end_overdue
from cronsvc.services.running import rescue
from cronsvc.services.settling import settle_ends
from cronsvc.store import admission, dependencies
from cronsvc.store.dependencies import End
from cronsvc.store.pool import Conn, Database
from tests.support.backfills import worker
from tests.support.chains import after, gaps, noted, plain, rows_of, run_waiting, to_rest, trigger
from tests.support.control import ALICE, Desk
from tests.support.crashes import dying_after_commit, dying_at_statement
from tests.support.job_types import Scripted, failing
from tests.support.rows import fetch, one

FAILING = failing("invalid_config", retryable=False)


@pytest.fixture
def desk(db: Database) -> Desk:
    return Desk(db)


async def test_a_chain_runs_one_after_the_other_and_says_why(db: Database, desk: Desk) -> None:
    first = await plain(db, name="first")
    second = await after(db, first)
    third = await after(db, {"job": "first", "when": "always"}, second)
    ran = await trigger(desk, first)
    await to_rest(db, desk, await worker(db, Scripted()))
    ((status, _, causes),) = await rows_of(db, second)
    assert (status, causes) == ("SUCCESS", [ran])
    assert [(row[0], len(row[2])) for row in await rows_of(db, third)] == [("SUCCESS", 2)]
    whole = await fetch(db, "SELECT 1 FROM job_executions WHERE date_trunc('second', scheduled_time) = scheduled_time")
    assert whole == []
    (trigger_, cause, previous) = await one(
        db, "SELECT trigger, causes -> 0, previous_time FROM job_executions WHERE job_id = %s", second
    )
    assert (trigger_, previous) == ("dependency", None)
    assert cause == {"executionId": ran, "jobId": first, "jobName": "first", "status": "SUCCESS", "isMet": True}
    assert await noted(db) == 0
    assert await gaps(db) == []


@pytest.mark.parametrize(
    ("when", "ending", "runs"),
    [
        ("success", "SUCCESS", True),
        ("success", "FAILED", False),
        ("success", "CANCELLED", False),
        ("failure", "FAILED", True),
        ("failure", "SUCCESS", False),
        ("failure", "CANCELLED", False),
        ("always", "SUCCESS", True),
        ("always", "FAILED", True),
        ("always", "CANCELLED", True),
    ],
)
async def test_each_end_is_what_is_waited_for_or_a_row_says_why_not(
    db: Database, desk: Desk, when: str, ending: str, runs: bool
) -> None:
    first = await plain(db)
    second = await after(db, {"jobId": first, "when": when})
    ran = await trigger(desk, first)
    if ending == "CANCELLED":
        await desk.endings.cancel(ran, ALICE)
    else:
        await run_waiting(db, await worker(db, Scripted(None if ending == "SUCCESS" else FAILING)))
    assert await settle_ends(db, desk.dispatcher) == 1
    assert await rows_of(db, second) == [("QUEUED" if runs else "SKIPPED", None if runs else "upstream", [ran])]
    (cause,) = await one(db, "SELECT causes -> 0 FROM job_executions WHERE job_id = %s", second)
    assert cause["isMet"] is runs
    assert ("why" in cause) is not runs
    assert await gaps(db) == []


async def test_a_condition_looks_into_the_result(db: Database, desk: Desk) -> None:
    first = await plain(db)
    clean = await after(db, {"jobId": first, "condition": {"path": "summary.errors", "equals": 0}})
    dirty = await after(db, {"jobId": first, "condition": {"path": "summary.errors", "greaterThan": 0}})
    await trigger(desk, first)
    await run_waiting(db, await worker(db, Scripted(lambda _: Outcome(result={"summary": {"errors": 3}}))))
    await settle_ends(db, desk.dispatcher)
    assert [row[:2] for row in await rows_of(db, dirty)] == [("QUEUED", None)]
    assert [row[:2] for row in await rows_of(db, clean)] == [("SKIPPED", "upstream")]


async def test_all_of_several_is_a_round_and_every_end_belongs_to_one(db: Database, desk: Desk) -> None:
    one_, two = await plain(db), await plain(db)
    both = await after(db, one_, two)
    runner = await worker(db, Scripted())
    ends = []
    for job_id in (one_, one_, two, two, one_):
        ends.append(await trigger(desk, job_id))
        await run_waiting(db, runner)
        await settle_ends(db, desk.dispatcher)
    assert [(status, causes) for status, _, causes in await rows_of(db, both)] == [
        ("SUCCESS", [ends[1], ends[2]]),
        ("QUEUED", [ends[4], ends[3]]),
    ]
    assert await fetch(db, "SELECT * FROM dependency_rounds") == []


async def test_a_round_with_a_failure_is_skipped_and_the_next_begins_anew(db: Database, desk: Desk) -> None:
    one_, two = await plain(db), await plain(db)
    both = await after(db, one_, two)
    await trigger(desk, one_)
    await run_waiting(db, await worker(db, Scripted(FAILING)))
    await settle_ends(db, desk.dispatcher)
    assert await rows_of(db, both) == []
    assert await one(db, "SELECT is_met FROM cronsvc_v1.dependencies WHERE upstream_id = %s", one_) == (False,)
    await trigger(desk, two)
    await to_rest(db, desk, await worker(db, Scripted()))
    assert [row[:2] for row in await rows_of(db, both)] == [("SKIPPED", "upstream")]
    await trigger(desk, one_)
    await trigger(desk, two)
    await to_rest(db, desk, await worker(db, Scripted()))
    assert [row[0] for row in await rows_of(db, both)] == ["SKIPPED", "SUCCESS"]


async def test_any_of_several_runs_for_each_of_them(db: Database, desk: Desk) -> None:
    one_, two = await plain(db), await plain(db)
    either = await after(db, one_, two, mode="any")
    await trigger(desk, one_)
    await trigger(desk, two)
    await to_rest(db, desk, await worker(db, Scripted()))
    assert [row[0] for row in await rows_of(db, either)] == ["SUCCESS", "SUCCESS"]


async def test_only_the_final_end_of_a_retried_execution_counts(db: Database, desk: Desk) -> None:
    first = await plain(db, max_attempts=2)
    second = await after(db, {"jobId": first, "when": "failure"})
    await trigger(desk, first)
    runner = await worker(db, Scripted(failing()))
    await run_waiting(db, runner)
    assert await settle_ends(db, desk.dispatcher) == 0
    await fetch(db, "UPDATE job_executions SET ready_at = clock_timestamp() RETURNING 1")
    await run_waiting(db, runner)
    assert await settle_ends(db, desk.dispatcher) == 1
    assert [row[0] for row in await rows_of(db, second)] == ["QUEUED"]


async def test_a_retry_that_somebody_asked_for_ends_once_more(db: Database, desk: Desk) -> None:
    first = await plain(db)
    second = await after(db, first)
    ran = await trigger(desk, first)
    await to_rest(db, desk, await worker(db, Scripted(FAILING)))
    await desk.endings.retry(ran, ALICE)
    await to_rest(db, desk, await worker(db, Scripted()))
    assert await rows_of(db, second) == [("SKIPPED", "upstream", [ran]), ("SUCCESS", None, [ran])]


async def _lost(db: Database, desk: Desk, job_id: int) -> None:
    await fetch(
        db,
        "UPDATE job_executions SET status = 'RUNNING', attempt = 1, claim_no = 1, worker_id = %s, dispatch_at = NULL"
        " WHERE job_id = %s RETURNING 1",
        (lost := uuid4()),
        job_id,
    )
    await fetch(
        db,
        "INSERT INTO workers (id, name, version, queues, concurrency, lease_until, state)"
        " VALUES (%s, 'x', '0', '{}', 1, '2001-01-01', 'lost') RETURNING 1",
        lost,
    )
    assert await rescue(db, grace=timedelta(0)) == 1


async def _overdue(db: Database, desk: Desk, job_id: int) -> None:
    await fetch(db, "UPDATE job_executions SET deadline_at = '2001-01-01' WHERE job_id = %s RETURNING 1", job_id)
    assert await end_overdue(db) == 1


async def _replaced(db: Database, desk: Desk, job_id: int) -> None:
    async with db.transaction() as conn:
        await admission.replace_waiting(conn, [job_id])


async def _terminated(db: Database, desk: Desk, job_id: int) -> None:
    await fetch(
        db,
        "UPDATE job_executions SET status = 'RUNNING', attempt = 1, claim_no = 1, worker_id = %s WHERE job_id = %s"
        " RETURNING 1",
        uuid4(),
        job_id,
    )
    async with db.transaction() as conn:
        await admission.terminate(conn, [job_id])


async def _by_sql(db: Database, desk: Desk, job_id: int) -> None:
    await fetch(
        db, "UPDATE job_executions SET status = 'FAILED', status_reason = 'error' WHERE job_id = %s RETURNING 1", job_id
    )


@pytest.mark.parametrize("end", [_lost, _overdue, _replaced, _terminated, _by_sql])
async def test_every_way_to_end_is_heard_of_once(db: Database, desk: Desk, end: Any) -> None:
    first = await plain(db, max_attempts=1)
    second = await after(db, {"jobId": first, "when": "always"})
    await trigger(desk, first)
    await end(db, desk, first)
    assert await settle_ends(db, desk.dispatcher) == 1
    assert [row[0] for row in await rows_of(db, second)] == ["QUEUED"]
    assert await settle_ends(db, desk.dispatcher) == 0


async def test_what_is_skipped_is_no_end(db: Database, desk: Desk) -> None:
    first = await plain(db, overlap_policy="skip")
    second = await after(db, {"jobId": first, "when": "always"})
    third = await after(db, {"jobId": second, "when": "always"}, {"jobId": first, "when": "failure"}, mode="any")
    await fetch(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, status, status_reason)"
        " VALUES (%s, now(), 'SKIPPED', 'overlap') RETURNING 1",
        first,
    )
    assert await settle_ends(db, desk.dispatcher) == 0
    assert await rows_of(db, second) == []
    assert await rows_of(db, third) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("paused_at = now(), paused_by = 'x'", [("SKIPPED", "paused")]),
        ("is_active = false", []),
        ("quarantine_reason = 'no'", []),
    ],
)
async def test_a_dependent_that_is_held_back(
    db: Database, desk: Desk, change: str, expected: list[tuple[str, str]]
) -> None:
    first = await plain(db)
    second = await after(db, first)
    await fetch(db, f"UPDATE jobs SET {change} WHERE id = %s RETURNING 1", second)
    await trigger(desk, first)
    await to_rest(db, desk, await worker(db, Scripted()))
    assert [row[:2] for row in await rows_of(db, second)] == expected
    assert await noted(db) == 0


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("skip", [("QUEUED", None), ("SKIPPED", "overlap")]),
        ("buffer_all", [("QUEUED", None), ("QUEUED", None)]),
        ("terminate_other", [("CANCELLED", "replaced"), ("QUEUED", None)]),
    ],
)
async def test_overlap_is_decided_as_for_a_schedule(
    db: Database, desk: Desk, policy: str, expected: list[tuple[str, str | None]]
) -> None:
    first = await plain(db)
    second = await after(db, first, overlap_policy=policy, queue="slow", priority=5)
    runner = await worker(db, Scripted())
    for _ in range(2):
        ticket = await trigger(desk, first)
        await fetch(
            db, "UPDATE job_executions SET held = 'limit' WHERE job_id = %s AND held IS NULL RETURNING 1", second
        )
        await run_waiting(db, runner)
        await fetch(
            db, "UPDATE job_executions SET held = NULL WHERE job_id = %s AND held = 'limit' RETURNING 1", second
        )
        assert await settle_ends(db, desk.dispatcher) == 1, ticket
    assert [row[:2] for row in await rows_of(db, second)] == expected
    assert await fetch(db, "SELECT DISTINCT queue, priority FROM job_executions WHERE job_id = %s", second) == [
        ("slow", 5)
    ]
    held = await fetch(db, "SELECT held FROM job_executions WHERE job_id = %s ORDER BY scheduled_time", second)
    assert held[-1] == ("overlap" if policy == "buffer_all" else None,)


async def test_a_maintenance_window_holds_a_dependent(db: Database, desk: Desk) -> None:
    first = await plain(db)
    second = await after(db, first)
    await fetch(
        db,
        "INSERT INTO maintenance_windows (name, starts_at, ends_at, during, created_by)"
        " VALUES ('w', now() - interval '1 hour', now() + interval '1 hour', 'hold', 'x') RETURNING 1",
    )
    await trigger(desk, first)
    await run_waiting(db, await worker(db, Scripted()))
    await settle_ends(db, desk.dispatcher)
    held = await one(db, "SELECT held, window_id IS NOT NULL FROM job_executions WHERE job_id = %s", second)
    assert held == ("maintenance", True)


async def test_two_schedulers_that_see_the_last_two_ends_write_one_row(
    db: Database, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes one end, and holds its transaction until the other has taken the other one."""
    one_, two = await plain(db), await plain(db)
    both = await after(db, one_, two)
    runner, barrier, take = await worker(db, Scripted()), asyncio.Barrier(2), dependencies.take

    async def take_together(conn: Conn, *, batch: int) -> list[End]:
        ends = await take(conn, batch=batch)
        await barrier.wait()
        return ends

    for _ in range(5):
        await trigger(desk, one_)
        await trigger(desk, two)
        await run_waiting(db, runner)
        with monkeypatch.context() as patch:
            patch.setattr(dependencies, "take", take_together)
            settled = await asyncio.gather(
                *(settle_ends(db, desk.dispatcher, batch=1, advisory_locks=False) for _ in range(2))
            )
        assert settled == [1, 1]
        await run_waiting(db, runner)
        while await settle_ends(db, desk.dispatcher):
            pass
    assert [row[0] for row in await rows_of(db, both)] == ["SUCCESS"] * 5
    assert await fetch(db, "SELECT * FROM dependency_rounds") == []


async def test_many_schedulers_act_on_each_end_once(db: Database, desk: Desk) -> None:
    first = await plain(db)
    seconds = [await after(db, first) for _ in range(3)]
    runner = await worker(db, Scripted())
    for _ in range(12):
        await trigger(desk, first)
    await run_waiting(db, runner)
    settled = await asyncio.gather(*(settle_ends(db, desk.dispatcher, batch=3, advisory_locks=False) for _ in range(6)))
    while await settle_ends(db, desk.dispatcher):
        pass
    assert sum(settled) <= 12
    for job_id in seconds:
        rows = await rows_of(db, job_id)
        assert len(rows) == 12
        assert len({causes[0] for _, _, causes in rows}) == 12


@pytest.mark.parametrize("dying", [dying_at_statement, dying_after_commit])
async def test_a_chain_that_is_restarted_anywhere_runs_each_step_once(db: Database, desk: Desk, dying: Any) -> None:
    first = await plain(db, max_attempts=1)
    second = await after(db, first)
    third = await after(db, second)
    calls = 0
    for place in range(100):
        executor = Scripted()
        runner = await worker(db, executor)
        await fetch(db, "DELETE FROM job_executions RETURNING 1")
        await trigger(desk, first)
        await run_waiting(db, runner)
        with dying(place) as fuse:
            for _ in range(4):
                try:
                    await settle_ends(db, desk.dispatcher)
                except Unavailable:
                    break
                if fuse.blown:
                    break
        await to_rest(db, desk, runner)
        for job_id in (first, second, third):
            assert [row[0] for row in await rows_of(db, job_id)] == ["SUCCESS"], (place, job_id)
        assert await noted(db) == 0
        calls += len(executor.calls)
        if not fuse.blown:
            break
    assert place > 1
    assert calls == 3 * (place + 1)


async def test_an_instant_that_is_taken_gives_way(db: Database, desk: Desk) -> None:
    first = await plain(db)
    second = await after(db, first)
    ran = await trigger(desk, first)
    await run_waiting(db, await worker(db, Scripted()))
    (clock,) = await one(db, "SELECT date_trunc('second', clock_timestamp()) + interval '5 microseconds'")
    await fetch(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, status, status_reason) VALUES (%s, %s, 'SKIPPED', 'x')"
        " RETURNING 1",
        second,
        clock,
    )
    assert await settle_ends(db, desk.dispatcher, now=clock) == 1
    assert [row[2] for row in await rows_of(db, second)] == [[], [ran]]


async def test_a_definition_that_means_nothing_sets_its_job_aside_and_no_other(db: Database, desk: Desk) -> None:
    first = await plain(db)
    odd = await after(db, {"jobId": first, "condition": {"path": "a", "matches": "x"}})
    good = await after(db, first)
    await trigger(desk, first)
    await to_rest(db, desk, await worker(db, Scripted()))
    assert [row[0] for row in await rows_of(db, good)] == ["SUCCESS"]
    assert await rows_of(db, odd) == []
    (reason,) = await one(db, "SELECT quarantine_reason FROM jobs WHERE id = %s", odd)
    assert reason == "depends_on: on[0].condition.matches: is no member of it"
    await fetch(
        db, "UPDATE jobs SET depends_on = %s WHERE id = %s RETURNING 1", f'{{"on": [{{"jobId": {first}}}]}}', odd
    )
    assert await one(db, "SELECT quarantine_reason FROM jobs WHERE id = %s", odd) == (None,)


async def test_a_job_nobody_waits_for_notes_nothing(db: Database, desk: Desk) -> None:
    await trigger(desk, await plain(db))
    await run_waiting(db, await worker(db, Scripted()))
    assert await noted(db) == 0
