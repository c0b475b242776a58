"""Jobs that run after other jobs, and what schedulers and workers do to them."""

import json
from collections.abc import Mapping
from typing import Any

from cronsvc.domain.execution import Ticket
from cronsvc.services.running import Runner
from cronsvc.services.settling import settle_ends
from cronsvc.store.pool import Database
from tests.support.control import ALICE, Desk
from tests.support.rows import define, fetch, one

Row = tuple[Any, ...]


async def after(db: Database, *upstreams: int | Mapping[str, Any], mode: str = "all", **columns: Any) -> int:
    """A job that runs after these and has no schedule of its own."""
    on = [{"jobId": each} if isinstance(each, int) else dict(each) for each in upstreams]
    payload = json.dumps({"type": "CALL", "config": {"url": "https://example.com/"}})
    return await define(db, **{"depends_on": json.dumps({"mode": mode, "on": on}), "task_payload": payload} | columns)


async def plain(db: Database, **columns: Any) -> int:
    """A job that runs when somebody asks."""
    payload = json.dumps({"type": "CALL", "config": {"url": "https://example.com/"}})
    return await define(db, **{"next_fire_time": None, "armed_revision": 1, "task_payload": payload} | columns)


async def run_waiting(db: Database, runner: Runner) -> int:
    """Make an attempt for everything that is ready; returns for how many."""
    rows = await fetch(
        db,
        "SELECT id, job_id, scheduled_time, claim_no, queue, priority FROM job_executions"
        " WHERE status = 'QUEUED' AND ready_at <= clock_timestamp() AND held IS NULL ORDER BY id",
    )
    for row in rows:
        await runner.handle(Ticket(*row))
    assert await runner.flush(10)
    return len(rows)


async def to_rest(db: Database, desk: Desk, runner: Runner) -> None:
    """Run and settle until nothing is left to do."""
    for _ in range(100):
        ran = await run_waiting(db, runner)
        settled = await settle_ends(db, desk.dispatcher)
        if not ran and not settled:
            return
    raise AssertionError("it does not come to rest")


async def trigger(desk: Desk, job_id: int) -> int:
    return (await desk.jobs.trigger(job_id, ALICE)).id


async def rows_of(db: Database, job_id: int) -> list[Row]:
    """(status, reason, the executions that brought it about) of a job, in order."""
    found = await fetch(
        db, "SELECT status, status_reason, causes FROM job_executions WHERE job_id = %s ORDER BY scheduled_time", job_id
    )
    return [(status, reason, [cause["executionId"] for cause in causes or []]) for status, reason, causes in found]


async def gaps(db: Database) -> list[Row]:
    return await fetch(db, "SELECT * FROM cronsvc_v1.gaps")


async def noted(db: Database) -> int:
    """Ends that nobody has acted on."""
    (number,) = await one(db, "SELECT count(*) FROM execution_ends")
    return int(number)
