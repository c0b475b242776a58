"""Queues: a pause is exact, its end brings everything back at once, and both are in the audit log."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from cronsvc.domain.execution import Ticket
from cronsvc.errors import Forbidden, InvalidInput
from cronsvc.queue import Broker
from cronsvc.services.dispatch import Dispatcher
from cronsvc.services.pausing import ACTOR
from cronsvc.services.queues import Queues, tend_queues
from cronsvc.store import presence, queues, running
from cronsvc.store.pool import Database
from tests.support.control import ALICE, BOB, RED, Bell
from tests.support.rows import define, fetch, one
from tests.support.waiting import until

LEASE = timedelta(seconds=60)
START = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)


class Redis(Bell):
    """A Redis that is always there."""

    async def epoch(self) -> str:
        return "same"


def dispatcher(db: Database, **options: Any) -> tuple[Dispatcher, list[Ticket]]:
    redis = Redis()
    return Dispatcher(db, cast(Broker, redis), **options), redis.tickets


async def wait_in(db: Database, queue: str, count: int, *, dispatches: int = 1, seconds: float = -1) -> list[Ticket]:
    """So many QUEUED rows of a queue whose next dispatch is `seconds` ahead."""
    job_id = await define(db, queue=queue, every_seconds=3600)
    rows = await fetch(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, queue, dispatches, ready_at, dispatch_at)"
        " SELECT %s, %s::timestamptz + n * interval '1 ms', %s, %s, %s, clock_timestamp() + %s * interval '1 s'"
        "   FROM generate_series(1, %s) AS n RETURNING id, job_id, scheduled_time, claim_no, queue, priority",
        job_id,
        START,
        queue,
        dispatches,
        START,
        seconds,
        count,
    )
    return [Ticket(*row) for row in rows]


async def worker(db: Database) -> UUID:
    worker_id = uuid4()
    async with db.statements() as conn:
        await presence.register_worker(
            conn, process_id=worker_id, name="test", version="0", queues=["default", "bulk"], concurrency=5, lease=LEASE
        )
    return worker_id


async def claim(db: Database, worker_id: UUID, tickets: Sequence[Ticket]) -> int:
    async with db.statements() as conn:
        return len(await running.claim(conn, tickets, worker_id=worker_id))


async def waiting(db: Database, queue: str) -> tuple[int, int]:
    """(parked, due for dispatch now) of a queue."""
    return cast(
        tuple[int, int],
        await one(
            db,
            "SELECT (count(*) FILTER (WHERE held = 'queue_paused' AND dispatch_at IS NULL))::int,"
            " (count(*) FILTER (WHERE held IS NULL AND dispatch_at <= clock_timestamp()))::int"
            " FROM job_executions WHERE queue = %s AND status = 'QUEUED'",
            queue,
        ),
    )


async def test_nothing_of_a_paused_queue_is_claimed_and_the_others_go_on(db: Database) -> None:
    bulk, other = await wait_in(db, "bulk", 3), await wait_in(db, "default", 3)
    hands = await worker(db)
    assert await claim(db, hands, bulk[:1]) == 1
    state = await Queues(db).pause("bulk", ALICE, note="moving house")
    assert state.pause is not None
    assert (state.pause.by, state.pause.note, state.pause.until) == ("key:alice", "moving house", None)
    assert (state.load.waiting, state.load.running, state.load.workers) == (2, 1, 1)
    assert await claim(db, hands, [*bulk, *other]) == 3
    resumed = await Queues(db).resume("bulk", BOB)
    assert resumed.pause is None
    assert await claim(db, hands, bulk) == 2


async def test_a_pause_with_an_end_holds_until_then_by_the_database_clock(db: Database) -> None:
    tickets = await wait_in(db, "bulk", 2)
    hands = await worker(db)
    await Queues(db).pause("bulk", ALICE, until=datetime.now(UTC) + timedelta(hours=1))
    assert await claim(db, hands, tickets) == 0
    assert await tend_queues(db) == 0
    await fetch(db, "UPDATE queues SET paused_until = now() WHERE name = 'bulk' RETURNING 1")
    assert (await Queues(db).get("bulk", ALICE)).pause is None
    assert await claim(db, hands, tickets[:1]) == 1  # no scheduler has looked at it yet


async def test_due_rows_of_a_paused_queue_are_parked_once_and_never_pushed(db: Database) -> None:
    await wait_in(db, "bulk", 25)
    await wait_in(db, "default", 3)
    await Queues(db).pause("bulk", ALICE)
    dispatch, pushed = dispatcher(db, batch=10)
    while await dispatch.redispatch():
        pass
    assert {ticket.queue for ticket in pushed} == {"default"}
    assert await waiting(db, "bulk") == (25, 0)
    before = await fetch(db, "SELECT id, xmin::text FROM job_executions WHERE queue = 'bulk' ORDER BY id")
    assert await dispatch.redispatch() == 0
    assert before == await fetch(db, "SELECT id, xmin::text FROM job_executions WHERE queue = 'bulk' ORDER BY id")


async def test_resuming_dispatches_what_was_held_back_at_once(db: Database) -> None:
    await wait_in(db, "bulk", 20)
    await Queues(db).pause("bulk", ALICE)
    dispatch, pushed = dispatcher(db)
    await dispatch.redispatch()
    await wait_in(db, "bulk", 5, seconds=50)  # pushed meanwhile, and a claim may have refused them
    backing_off = await wait_in(db, "bulk", 1, dispatches=0, seconds=50)
    await Queues(db).resume("bulk", BOB)
    assert await waiting(db, "bulk") == (0, 25)
    assert await dispatch.redispatch() == 25
    assert backing_off[0].execution_id not in {ticket.execution_id for ticket in pushed}


async def test_a_resume_that_dies_halfway_is_finished_by_any_scheduler(db: Database) -> None:
    await wait_in(db, "bulk", 30)
    await Queues(db).pause("bulk", ALICE)
    dispatch, _ = dispatcher(db)
    await dispatch.redispatch()
    async with db.transaction(actor="key:bob") as conn:
        await queues.resume(conn, "bulk")
    async with db.transaction() as conn:
        assert await queues.call_in(conn, "bulk", batch=7) == 7  # … and here the process died
    assert await waiting(db, "bulk") == (23, 7)
    async with asyncio.TaskGroup() as group:
        tending = [group.create_task(tend_queues(db, batch=5)) for _ in range(3)]
    assert sum(task.result() for task in tending) == 23
    await tend_queues(db)
    assert await waiting(db, "bulk") == (0, 30)
    assert await one(db, "SELECT calling_in FROM queues WHERE name = 'bulk'") == (False,)


async def test_the_end_of_a_pause_comes_by_itself_once_and_is_audited(db: Database) -> None:
    await wait_in(db, "bulk", 4)
    await Queues(db).pause("bulk", ALICE, until=datetime.now(UTC) + timedelta(hours=1))
    dispatch, _ = dispatcher(db)
    await dispatch.redispatch()
    await fetch(db, "UPDATE queues SET paused_until = now() WHERE name = 'bulk' RETURNING 1")
    await asyncio.gather(*(tend_queues(db) for _ in range(4)))
    assert await waiting(db, "bulk") == (0, 4)
    rows = await fetch(db, "SELECT actor FROM audit_log WHERE entity = 'queue' AND action = 'resume'")
    assert rows == [(ACTOR,)]


async def test_a_pause_and_a_resume_by_sql_count_as_well(db: Database) -> None:
    await wait_in(db, "bulk", 3)
    await fetch(db, "UPDATE queues SET paused_at = now(), pause_note = 'psql' WHERE name = 'bulk' RETURNING 1")
    dispatch, pushed = dispatcher(db)
    await dispatch.redispatch()
    assert (pushed, await waiting(db, "bulk")) == ([], (3, 0))
    await fetch(db, "UPDATE queues SET paused_at = NULL WHERE name = 'bulk' RETURNING 1")
    assert await tend_queues(db) == 3
    rows = await fetch(db, "SELECT action, actor LIKE 'sql:%%' FROM audit_log WHERE entity = 'queue' ORDER BY id")
    assert rows == [("pause", True), ("resume", True)]


@pytest.mark.parametrize("seed", range(10))
async def test_parking_and_resuming_at_once_leave_no_row_behind(db: Database, seed: int) -> None:
    """Two schedulers park and tend while a person resumes: whatever the order, every row is due in the end."""
    order = random.Random(seed)
    await wait_in(db, "bulk", 60)
    await Queues(db).pause("bulk", ALICE)
    one_side, _ = dispatcher(db, batch=7)
    other_side, _ = dispatcher(db, batch=5)
    acts = [one_side.redispatch(), other_side.redispatch(), Queues(db).resume("bulk", BOB), tend_queues(db, batch=9)]
    order.shuffle(acts)
    await asyncio.gather(*acts)
    await tend_queues(db)
    parked, _ = await waiting(db, "bulk")
    assert parked == 0
    assert await one(db, "SELECT count(*) FROM job_executions WHERE dispatch_at IS NULL") == (0,)
    assert await one(db, "SELECT calling_in FROM queues WHERE name = 'bulk'") == (False,)


async def test_a_resume_waits_for_whoever_is_parking(db: Database) -> None:
    """Else a row that is parked just after the resume would wait for ever."""
    await wait_in(db, "bulk", 8)
    await Queues(db).pause("bulk", ALICE)
    async with db.transaction() as conn:
        paused = await queues.hold_paused(conn)
        resuming = asyncio.create_task(Queues(db).resume("bulk", BOB))

        async def held_up() -> bool:
            query = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND state = 'active'"
            return resuming.done() or bool((await one(db, query))[0])

        await until(held_up, what="the resume meeting the lock")
        await tend_queues(db)
        assert await queues.park(conn, paused, batch=100) == 8
    await resuming
    await tend_queues(db)
    assert await waiting(db, "bulk") == (0, 8)


async def test_a_queue_is_not_done_while_another_replica_has_rows_of_it_in_hand(db: Database) -> None:
    await wait_in(db, "bulk", 8)
    await Queues(db).pause("bulk", ALICE)
    dispatch, _ = dispatcher(db)
    await dispatch.redispatch()
    async with db.transaction(actor="key:bob") as conn:
        await queues.resume(conn, "bulk")

    class Died(Exception):
        pass

    with pytest.raises(Died):
        async with db.transaction() as conn:
            assert await queues.call_in(conn, "bulk", batch=100) == 8
            assert await tend_queues(db) == 0
            raise Died
    assert await tend_queues(db) == 8
    assert await waiting(db, "bulk") == (0, 8)


async def test_claims_racing_a_pause_take_nothing_after_it(db: Database) -> None:
    """Two workers claim one by one while the queue is paused: no attempt begins after the pause was answered."""
    tickets = await wait_in(db, "bulk", 200)
    hands = [await worker(db) for _ in range(2)]
    paused = asyncio.Event()
    late: list[int] = []

    async def work(worker_id: UUID, mine: Sequence[Ticket]) -> None:
        for ticket in mine:
            after = paused.is_set()
            taken = await claim(db, worker_id, [ticket])
            if after:
                late.append(taken)

    async def some_run() -> bool:
        return bool((await one(db, "SELECT count(*) >= 10 FROM job_executions WHERE status = 'RUNNING'"))[0])

    async def pause() -> None:
        await until(some_run)
        await Queues(db).pause("bulk", ALICE)
        paused.set()

    await asyncio.gather(work(hands[0], tickets[::2]), work(hands[1], tickets[1::2]), pause())
    assert late and sum(late) == 0


async def test_pausing_again_replaces_note_and_end_and_keeps_who_and_when(db: Database) -> None:
    desk = Queues(db)
    first = (await desk.pause("default", ALICE, note="one")).pause
    until = datetime.now(UTC) + timedelta(hours=2)
    second = (await desk.pause("default", BOB, note="two", until=until)).pause
    assert first is not None and second is not None
    assert (second.by, second.at, second.note, second.until) == ("key:alice", first.at, "two", until)
    assert (await desk.resume("default", BOB)).pause is None
    assert (await desk.resume("default", BOB)).pause is None
    rows = await fetch(
        db,
        "SELECT actor, source, action, before->>'pause_note', after->>'pause_note' FROM audit_log"
        " WHERE entity = 'queue' AND entity_id = 'default' ORDER BY id",
    )
    assert rows == [
        ("key:alice", "10.1.2.3", "pause", None, "one"),
        ("key:bob", None, "pause", "one", "two"),
        ("key:bob", None, "resume", "two", None),
    ]


async def test_a_new_pause_after_one_that_has_ended_is_a_new_one(db: Database) -> None:
    desk = Queues(db)
    await desk.pause("default", ALICE, note="one", until=datetime.now(UTC) + timedelta(hours=1))
    await fetch(db, "UPDATE queues SET paused_until = now() WHERE name = 'default' RETURNING 1")
    pause = (await desk.pause("default", BOB)).pause
    assert pause is not None and (pause.by, pause.note, pause.until) == ("key:bob", None, None)
    assert await tend_queues(db) == 0
    assert (await desk.get("default", BOB)).pause == pause


async def test_a_caller_bound_to_namespaces_looks_and_changes_nothing(db: Database) -> None:
    await wait_in(db, "bulk", 3)
    await fetch(db, "UPDATE jobs SET namespace = 'red' WHERE id IN (SELECT max(id) FROM jobs) RETURNING 1")
    await wait_in(db, "bulk", 4)
    desk = Queues(db)
    assert (await desk.get("bulk", RED)).load.waiting == 3
    assert (await desk.get("bulk", ALICE)).load.waiting == 7
    for act in (desk.pause("bulk", RED), desk.resume("bulk", RED), desk.set_limits("bulk", {"concurrency": 1}, RED)):
        with pytest.raises(Forbidden):
            await act


async def test_the_list_is_paged_by_name(db: Database) -> None:
    for name in ("zeta", "alpha", "beta"):
        await define(db, queue=name, every_seconds=60)
    desk = Queues(db)
    first = await desk.list(ALICE, limit=3)
    assert [each.name for each in first.items] == ["alpha", "beta", "default"]
    second = await desk.list(ALICE, limit=3, cursor=first.next_cursor)
    assert ([each.name for each in second.items], second.next_cursor) == (["zeta"], None)
    with pytest.raises(InvalidInput, match="cursor"):
        await desk.list(ALICE, cursor="nonsense")


async def test_the_oldest_waiting_counts_from_when_it_was_ready(db: Database) -> None:
    await wait_in(db, "bulk", 2)
    seconds = (await Queues(db).get("bulk", ALICE)).load.oldest_seconds
    assert seconds is not None and 299 < seconds < 7200
