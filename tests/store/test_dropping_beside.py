"""While an old week is being dropped nobody may write to it, and everything else goes on: ticks, releases, cancels."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from cronsvc.domain.execution import Reason, Ticket
from cronsvc.store import (
    admission,
    backfill_steps,
    children,
    dispatches,
    executions,
    partitions,
    presence,
    queues,
    running,
    window_holds,
)
from cronsvc.store.pool import Conn, Database
from tests.support.rows import define

NOW = datetime.now(UTC).replace(microsecond=0)
OLD = partitions.week_of(NOW - timedelta(weeks=20))
# Often enough for the server to settle on one plan for whatever the parameters are.
AGAIN = 15

Act = Callable[[Conn, int], Awaitable[Any]]
REDISPATCH = timedelta(seconds=5)


async def _claim(conn: Conn, job_id: int) -> object:
    worker_id = uuid4()
    await presence.register_worker(
        conn, process_id=worker_id, name="w", version="0", queues=["default"], concurrency=5, lease=timedelta(minutes=5)
    )
    return await running.claim(conn, [Ticket(0, job_id, NOW, 0, "default", 5)], worker_id=worker_id)


ACTS: dict[str, tuple[dict[str, Any], Act]] = {
    "replace what waits": ({}, lambda conn, job_id: admission.replace_waiting(conn, [job_id])),
    "ask to stop": ({"status": "RUNNING"}, lambda conn, job_id: admission.ask_to_stop(conn, [job_id])),
    "terminate": ({"status": "RUNNING"}, lambda conn, job_id: admission.terminate(conn, [job_id])),
    "release overlap": (
        {"held": "overlap"},
        lambda conn, job_id: admission.release_overlap(conn, [job_id], redispatch=REDISPATCH),
    ),
    "release limit": (
        {"held": "limit"},
        lambda conn, job_id: admission.release_limit(conn, batch=10, redispatch=REDISPATCH),
    ),
    "call children off": ({"parent_id": 7}, lambda conn, job_id: children.cancel_children(conn, [7])),
    "look at a window again": (
        {"held": "maintenance", "window_id": 7},
        lambda conn, job_id: window_holds.look_again(conn, 7),
    ),
    "replace what a window holds": (
        {"held": "maintenance"},
        lambda conn, job_id: window_holds.replace_held(conn, [(job_id, NOW + timedelta(minutes=1))]),
    ),
    "park": ({"dispatch_at": timedelta(0)}, lambda conn, job_id: queues.park(conn, ["default"], batch=10)),
    "call in a queue": ({"held": queues.HELD}, lambda conn, job_id: queues.call_in(conn, "default", batch=10)),
    "call in what a queue had pushed": (
        {"dispatches": 1, "dispatch_at": timedelta(seconds=50)},
        lambda conn, job_id: queues.call_in(conn, "default", batch=10),
    ),
    "call in all": (
        {"dispatches": 1, "dispatch_at": timedelta(hours=1)},
        lambda conn, job_id: dispatches.call_in(conn, batch=10),
    ),
    "claim": ({"ready_at": timedelta(0)}, _claim),
    "redispatch": (
        {"dispatch_at": timedelta(0)},
        lambda conn, job_id: dispatches.redispatch(conn, batch=10, redispatch=REDISPATCH),
    ),
    "cancel what waits of a job": (
        {},
        lambda conn, job_id: executions.cancel_waiting(conn, job_id, reason=Reason.USER),
    ),
    "cancel what waits of a backfill": (
        {"backfill_id": 7},
        lambda conn, job_id: backfill_steps.cancel_waiting(conn, [7]),
    ),
}


def _from_now(value: object) -> object:
    return datetime.now(UTC) + value if isinstance(value, timedelta) else value


@pytest.fixture
async def job_id(db: Database) -> int:
    async with db.transaction() as conn:
        await partitions.ensure(conn, [OLD])
    return await define(db, cron_expression="@daily")


@pytest.mark.parametrize("name", ACTS)
async def test_an_act_does_not_wait_for_the_drop_of_an_old_week(db: Database, job_id: int, name: str) -> None:
    columns, act = ACTS[name]
    fields = {"job_id": job_id, "scheduled_time": NOW, "status": "QUEUED"} | columns
    insert = f"INSERT INTO job_executions ({', '.join(fields)}) VALUES ({', '.join(['%s'] * len(fields))})"
    async with db.transaction() as dropping:
        await dropping.execute(partitions.HOLD, {"week": OLD})
        async with db.transaction() as conn:
            await conn.execute("SET LOCAL lock_timeout = '500ms'")
            for _ in range(AGAIN):  # without a rollback, at which the driver forgets what it has prepared
                await conn.execute(insert.encode(), list(map(_from_now, fields.values())), prepare=False)
                done = await act(conn, job_id)
                assert (done if isinstance(done, int) else len(done)) == 1
                for table in partitions.PARENTS:
                    forget = f"DELETE FROM {table} WHERE scheduled_time = %s"
                    await conn.execute(forget.encode(), [NOW], prepare=False)
