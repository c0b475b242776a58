"""Dead letters: listed along their index, redriven and resolved once whoever else is at it, several at a time."""

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from psycopg import sql

from cronsvc.domain.execution import Execution, Status
from cronsvc.errors import Conflict, InvalidInput, NotFound
from cronsvc.services.access import Caller
from cronsvc.services.dead_letters import Bulk, Wanted
from cronsvc.store import dead_letters
from cronsvc.store.dead_letters import Filter
from cronsvc.store.pool import Database
from tests.support.control import ALICE, BOB, RED, Desk
from tests.support.ending import acts, failed
from tests.support.job_types import Scripted, failing
from tests.support.rows import define, fetch, one
from tests.support.running import NOW, attempt, runner, state


async def bury(db: Database, job_id: int, second: int, **columns: Any) -> int:
    """A dead letter of that second; returns its id."""
    values = {"queue": "default", "resolved": False} | columns
    (id_,) = await one(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, status, status_reason, queue, attempt, max_attempts,"
        " claim_no, dispatch_at, end_time, resolved_at, resolved_by, resolve_note)"
        " VALUES (%s, %s, 'FAILED', 'error', %s, 1, 1, 1, NULL, now(), %s, %s, %s) RETURNING id",
        job_id,
        NOW - timedelta(seconds=second),
        values["queue"],
        *((NOW, "x", "x") if values["resolved"] else (None, None, None)),
    )
    return int(id_)


async def listed(desk: Desk, caller: Caller = ALICE, *, limit: int = 50, **wanted: Any) -> list[int]:
    """Every page of the list."""
    seen: list[int] = []
    cursor = None
    while True:
        page = await desk.dead_letters.list(caller, Wanted(**wanted), cursor=cursor, limit=limit)
        assert len(page.items) <= limit and all(each.is_dead_letter for each in page.items)
        seen += [each.id for each in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return seen


async def test_the_list_is_latest_first_pages_and_filters(db: Database) -> None:
    desk = Desk(db)
    red, blue = await define(db, namespace="red"), await define(db, namespace="blue")
    # Written in another order than that of their instants, and two of one instant.
    made = {
        "b3": await bury(db, blue, 3),
        "r1": await bury(db, red, 1, queue="bulk"),
        "b1": await bury(db, blue, 1),
        "r9": await bury(db, red, 9),
    }
    await bury(db, red, 2, resolved=True)
    insert = "INSERT INTO job_executions (job_id, scheduled_time, status) VALUES (%s, %s, 'SUCCESS') RETURNING 1"
    await fetch(db, insert, red, NOW)
    order = [made["b1"], made["r1"], made["b3"], made["r9"]]
    for limit in (1, 2, 3, 50):
        assert await listed(desk, limit=limit) == order
    assert await listed(desk, job_id=red) == [made["r1"], made["r9"]]
    assert await listed(desk, queue="bulk") == [made["r1"]]
    assert await listed(desk, namespace="blue") == [made["b1"], made["b3"]]
    assert await listed(desk, since=NOW - timedelta(seconds=3)) == order[:3]
    assert await listed(desk, until=NOW - timedelta(seconds=1)) == order[2:]
    assert await listed(desk, RED) == [made["r1"], made["r9"]]
    assert await listed(desk, RED, namespace="blue") == []
    for wrong in ({"since": datetime(2026, 1, 1)}, {"queue": "a\0"}):
        with pytest.raises(InvalidInput):
            await listed(desk, **wrong)
    with pytest.raises(InvalidInput, match="cursor"):
        await desk.dead_letters.list(ALICE, cursor="nonsense")


async def test_a_success_takes_it_off_the_list_and_another_failure_puts_it_back(db: Database) -> None:
    desk = Desk(db)
    mended, broken = await failed(db), await failed(db)
    for ticket in (mended, broken):
        again = await desk.dead_letters.redrive(ticket.execution_id, ALICE)
        assert (again.status, again.attempt, again.max_attempts) == (Status.QUEUED, 1, 2)
    assert await listed(desk) == []
    await attempt(await runner(db, Scripted()), desk.tickets[0])
    await attempt(await runner(db, Scripted(failing())), desk.tickets[1])
    assert await listed(desk) == [broken.execution_id]
    assert await state(db, mended) == ("SUCCESS", None, 2, 2)
    assert await acts(db, mended) == [("redrive", "key:alice", "FAILED", "QUEUED")]


async def test_resolving_needs_a_note_and_is_written_down(db: Database) -> None:
    desk, ticket = Desk(db), await failed(db)
    for note in ("", "  ", "x" * 1001, "a\0"):
        with pytest.raises(InvalidInput, match="note"):
            await desk.dead_letters.resolve(ticket.execution_id, ALICE, note=note)
    resolved = await desk.dead_letters.resolve(ticket.execution_id, ALICE, note="sent by hand")
    assert (resolved.status, resolved.resolved_by, resolved.resolve_note) == (
        Status.FAILED,
        "key:alice",
        "sent by hand",
    )
    assert resolved.resolved_at is not None and await listed(desk) == []
    for act in (
        desk.dead_letters.redrive(ticket.execution_id, BOB),
        desk.dead_letters.resolve(ticket.execution_id, BOB, note="me too"),
    ):
        with pytest.raises(Conflict, match="key:alice resolved it"):
            await act
    before, after = await one(db, "SELECT before, after FROM audit_log WHERE action = 'resolve'")
    assert (before["resolved_at"], after["resolve_note"], after["status"]) == (None, "sent by hand", "FAILED")
    # It is no dead letter, and may still be run again for other reasons; the resolution is in the audit log then.
    again = await desk.endings.retry(ticket.execution_id, BOB)
    assert (again.resolved_at, again.resolved_by, again.resolve_note) == (None, None, None)
    (before,) = await one(db, "SELECT before FROM audit_log WHERE action = 'retry'")
    assert before["resolve_note"] == "sent by hand"


async def test_dead_letters_of_a_deleted_job_can_only_be_resolved(db: Database) -> None:
    desk, ticket = Desk(db), await failed(db)
    await desk.jobs.delete(ticket.job_id, ALICE)
    assert await listed(desk) == [ticket.execution_id]
    with pytest.raises(Conflict, match="deleted"):
        await desk.dead_letters.redrive(ticket.execution_id, ALICE)
    await desk.dead_letters.resolve(ticket.execution_id, ALICE, note="gone with its job")
    assert await listed(desk) == []


async def test_what_is_no_dead_letter_is_refused(db: Database) -> None:
    desk, ticket = Desk(db), await failed(db)
    await fetch(db, "UPDATE job_executions SET status = 'SUCCESS' RETURNING 1")
    for act in (
        desk.dead_letters.redrive(ticket.execution_id, ALICE),
        desk.dead_letters.resolve(ticket.execution_id, ALICE, note="x"),
    ):
        with pytest.raises(Conflict, match="it is SUCCESS"):
            await act


# --- two at once


async def test_two_redrives_at_once_are_one(db: Database) -> None:
    desks, ticket = [Desk(db) for _ in range(2)], await failed(db)
    answers = await asyncio.gather(
        *(desk.dead_letters.redrive(ticket.execution_id, ALICE) for desk in desks * 3), return_exceptions=True
    )
    assert sum(isinstance(each, Execution) for each in answers) == 1
    assert sum(isinstance(each, Conflict) for each in answers) == 5
    pushed = [ticket for desk in desks for ticket in desk.tickets]
    assert len(pushed) == 1 and len(await acts(db, ticket)) == 1
    executor = Scripted()
    await attempt(await runner(db, executor), pushed[0])
    assert len(executor.calls) == 1


async def test_redrive_against_resolve_does_one_of_the_two(db: Database) -> None:
    desk = Desk(db)
    for _ in range(8):
        ticket = await failed(db)
        redriven, resolved = await asyncio.gather(
            desk.dead_letters.redrive(ticket.execution_id, ALICE),
            desk.dead_letters.resolve(ticket.execution_id, BOB, note="done by hand"),
            return_exceptions=True,
        )
        assert isinstance(redriven, Execution) != isinstance(resolved, Execution)
        status, by = await one(db, "SELECT status, resolved_by FROM job_executions WHERE id = %s", ticket.execution_id)
        assert (status, by) == (("QUEUED", None) if isinstance(redriven, Execution) else ("FAILED", "key:bob"))
        assert len(await acts(db, ticket)) == 1


async def test_two_bulks_at_once_share_the_letters(db: Database) -> None:
    desks = [Desk(db) for _ in range(2)]
    job_id = await define(db)
    ids = [await bury(db, job_id, second) for second in range(20)]
    # In opposite orders: locks are taken in the order of the rows, so they cannot wait for each other in a circle.
    bulks = await asyncio.gather(
        desks[0].dead_letters.redrive_many(ALICE, ids=ids), desks[1].dead_letters.redrive_many(BOB, ids=ids[::-1])
    )
    done = [item.id for bulk in bulks for item in bulk.items if item.execution is not None]
    assert sorted(done) == sorted(ids)
    assert sum(len(desk.tickets) for desk in desks) == 20
    assert all(len(bulk.items) == 20 for bulk in bulks)


# --- several at a time


def told(bulk: Bulk) -> list[tuple[int, str]]:
    return [(item.id, "done" if item.refused is None else type(item.refused).__name__) for item in bulk.items]


async def test_several_by_id_each_with_its_own_answer(db: Database) -> None:
    desk = Desk(db)
    good, done, foreign = await failed(db), await failed(db), await failed(db, namespace="blue")
    await desk.dead_letters.resolve(done.execution_id, ALICE, note="x")
    ids = [done.execution_id, good.execution_id, 424242, foreign.execution_id, good.execution_id]
    caller = Caller("key:plain", ALICE.role, ("default",))
    bulk = await desk.dead_letters.redrive_many(caller, ids=ids)
    assert told(bulk) == [
        (done.execution_id, "Conflict"),
        (good.execution_id, "done"),
        (424242, "NotFound"),
        (foreign.execution_id, "NotFound"),
    ]
    assert not bulk.more and [ticket.execution_id for ticket in desk.tickets] == [good.execution_id]
    assert (await state(db, foreign))[0] == "FAILED"


async def test_several_by_filter_the_latest_first_up_to_the_limit(db: Database) -> None:
    desk = Desk(db)
    job_id, other = await define(db), await define(db)
    ids = [await bury(db, job_id, second) for second in range(5)]
    kept = await bury(db, other, 0)
    bulk = await desk.dead_letters.redrive_many(ALICE, wanted=Wanted(job_id=job_id), limit=3)
    assert told(bulk) == [(id_, "done") for id_ in ids[:3]] and bulk.more
    bulk = await desk.dead_letters.resolve_many(ALICE, note="outage of the 3rd", wanted=Wanted(job_id=job_id), limit=3)
    assert told(bulk) == [(id_, "done") for id_ in ids[3:]] and not bulk.more
    assert await listed(desk) == [kept]
    assert await one(db, "SELECT count(*), min(resolve_note) FROM job_executions WHERE resolved_at IS NOT NULL") == (
        2,
        "outage of the 3rd",
    )
    counts = "SELECT action, count(*) FROM audit_log WHERE entity = 'execution' GROUP BY 1 ORDER BY 1"
    assert await fetch(db, counts) == [("redrive", 3), ("resolve", 2)]
    empty = await desk.dead_letters.redrive_many(ALICE, wanted=Wanted(job_id=job_id))
    assert (empty.items, empty.more) == ((), False)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "ids"),
        ({"ids": []}, "ids"),
        ({"ids": list(range(1, 502))}, "ids"),
        ({"ids": [1], "wanted": Wanted(queue="a")}, "ids"),
        ({"wanted": Wanted(queue="a"), "limit": 501}, "limit"),
        ({"wanted": Wanted(queue="a"), "limit": 0}, "limit"),
    ],
    ids=str,
)
async def test_everything_at_once_has_to_be_said(db: Database, given: dict[str, Any], field: str) -> None:
    desk = Desk(db)
    await failed(db)
    for act in (
        desk.dead_letters.redrive_many(ALICE, **given),
        desk.dead_letters.resolve_many(ALICE, note="x", **given),
    ):
        with pytest.raises(InvalidInput) as refused:
            await act
        assert [error.field for error in refused.value.errors] == [field]
    assert desk.tickets == []


async def test_a_foreign_dead_letter_does_not_exist(db: Database) -> None:
    desk, ticket = Desk(db), await failed(db, namespace="blue")
    with pytest.raises(NotFound):
        await desk.dead_letters.resolve(ticket.execution_id, RED, note="x")
    assert await listed(desk, RED) == []


# --- among many


async def test_the_list_and_the_count_read_only_their_index(db: Database) -> None:
    """20,000 executions, a hundred of them dead: a page walks the dead ones backwards and sorts nothing."""
    job_id, other = await define(db), await define(db)
    await fetch(
        db,
        "WITH made AS (INSERT INTO job_executions (job_id, scheduled_time, status, attempt, dispatch_at)"
        " SELECT CASE WHEN n %% 2 = 0 THEN %s::bigint ELSE %s END, %s - n * interval '30 seconds',"
        "        CASE WHEN n %% 200 = 0 THEN 'FAILED' ELSE 'SUCCESS' END, 1, NULL"
        "   FROM generate_series(1, 20000) AS n RETURNING 1) SELECT count(*) FROM made",
        job_id,
        other,
        NOW,
    )
    async with db.transaction() as conn:
        await conn.execute("ANALYZE")
        # A week with a handful of rows, as there is one near its end or beginning, is rightly read whole.
        rows = await conn.execute(
            "SELECT tableoid::regclass::text FROM job_executions GROUP BY tableoid HAVING count(*) > 5000"
        )
        filled = {name for (name,) in await rows.fetchall()}
        before = (NOW - timedelta(hours=1), 10**6)
        for wanted, after in ((Filter(), None), (Filter(), before), (Filter(since=NOW - timedelta(days=2)), before)):
            plan = await _plan(conn, *dead_letters.select(wanted, before=after, limit=51))
            assert "scheduled_time_id_idx" in plan and "Sort" not in plan and not _read_whole(plan) & filled, plan
        for wanted in (Filter(namespaces=("default",)), Filter(job_id=job_id), Filter(queue="default")):
            plan = await _plan(conn, *dead_letters.select(wanted, limit=51))
            assert not _read_whole(plan) & filled, plan
        plan = await _plan(conn, sql.SQL(dead_letters.COUNT), {"namespaces": None, "most": 10_000})
        assert not _read_whole(plan) & filled, plan
        # Weeks that are out of the question are not looked at.
        plan = await _plan(conn, *dead_letters.select(Filter(since=NOW, until=NOW + timedelta(seconds=1)), limit=51))
        assert len(set(re.findall(r"on (job_executions_\d+)", plan))) == 1, plan
    assert await one(db, "SELECT count(*) FROM job_executions WHERE status = 'FAILED'") == (100,)
    assert len(await listed(Desk(db), limit=30)) == 100


async def _plan(conn: Any, statement: sql.Composable, parameters: Mapping[str, Any]) -> str:
    rows = await conn.execute(sql.SQL("EXPLAIN ") + statement, parameters)
    return "\n".join([line for (line,) in await rows.fetchall()])


def _read_whole(plan: str) -> set[str]:
    """The partitions that a plan reads from one end to the other."""
    return set(re.findall(r"Seq Scan on (job_executions_\d+)", plan))


async def test_counting_stops_at_its_bound(db: Database) -> None:
    red, blue = await define(db, namespace="red"), await define(db, namespace="blue")
    for second in range(3):
        await bury(db, red, second)
    await bury(db, blue, 0)
    async with db.statements() as conn:
        assert await dead_letters.count(conn, namespaces=None) == 4
        assert await dead_letters.count(conn, namespaces=["red"]) == 3
        assert await dead_letters.count(conn, namespaces=None, most=2) == 3


async def test_a_resolved_row_is_failed_and_whole(db: Database) -> None:
    """What the table itself refuses, whoever writes it."""
    ticket = await failed(db)
    for change in (
        "resolved_at = now()",
        "resolved_at = now(), resolved_by = 'x'",
        "status = 'SUCCESS', resolved_at = now(), resolved_by = 'x', resolve_note = 'x'",
        "cancel_requested_at = now()",
    ):
        with pytest.raises(Exception, match=r"job_executions_(resolved|cancel)"):
            await fetch(db, f"UPDATE job_executions SET {change} RETURNING 1")
    assert (await state(db, ticket))[0] == "FAILED"
