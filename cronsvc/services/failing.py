"""What the end of an execution does to its job: failures in a row, a target that is gone, a deadline that has passed.

A job is paused in the transaction that writes the failure which pauses it, audited like any pause, so no crash lies
between the two. Ends that cannot pause their job (by far the most) never come here and cost nothing.
"""

import logging
from collections.abc import Sequence
from datetime import datetime

from cronsvc.domain.execution import Finish, Status
from cronsvc.store import failures, running
from cronsvc.store.pool import Conn, Database

_log = logging.getLogger("cronsvc.running")

ACTOR = "cronsvc:failures"
_WORDS = 500


async def finish_steering(db: Database, finishes: Sequence[Finish]) -> set[int]:
    """Write ends that may pause their jobs; returns the execution ids written, as `running.finish` does.

    In one transaction: the jobs' rows are locked, the ends written behind their fences, then counted.
    """
    async with db.transaction(actor=ACTOR) as conn:
        await failures.lock_jobs(conn, sorted({each.job_id for each in finishes}))
        return await finish_locked(conn, finishes)


async def finish_locked(conn: Conn, finishes: Sequence[Finish]) -> set[int]:
    """The same inside a transaction of the caller's that has locked the jobs' rows."""
    written = await running.finish(conn, finishes)
    ended = [each for each in finishes if each.execution_id in written]
    gone = sorted({each.job_id for each in ended if each.target_is_gone})
    if gone:
        _say(await failures.pause_gone(conn, gone, by=ACTOR))
    counted = [each for each in ended if each.counted]
    await _count(
        conn,
        [(each.job_id, each.scheduled_time) for each in counted],
        {each.job_id: _words(each) for each in counted if each.status is Status.FAILED},
    )
    return written


async def end_overdue(db: Database, *, batch: int = 500, now: datetime | None = None) -> int:
    """End the waiting executions whose deadline has passed, as FAILED(timeout); returns how many.

    Any number of replicas may do it at once: a row is ended, and counted as a failure of its job, by one of them.
    """
    ended = 0
    while True:
        async with db.statements() as conn:
            rows = await failures.overdue(conn, batch=batch, now=now)
        if not rows:
            return ended
        counted = sorted({each.job_id for each in rows if each.counted})
        async with db.transaction(actor=ACTOR) as conn:
            if counted:
                await failures.lock_jobs(conn, counted)
            over = await failures.end_overdue(conn, rows, now=now)
            keys = sorted((key for key in over if key[0] in counted), key=lambda key: key[1])
            await _count(conn, keys, {job_id: "deadline" for job_id, _ in keys})
        ended += len(over)
        if over:
            _log.warning("%s executions were still waiting at their deadline: FAILED", len(over))
        if len(over) < batch:
            return ended


async def _count(conn: Conn, ended: Sequence[tuple[int, datetime]], errors: dict[int, str]) -> None:
    await failures.count(conn, ended)
    if errors:
        _say(await failures.pause_failing(conn, errors, by=ACTOR))


def _words(finish: Finish) -> str:
    assert finish.error is not None  # it failed
    return f"{finish.error.type}: {finish.error.message}"[:_WORDS]


def _say(paused: Sequence[int]) -> None:
    for job_id in paused:
        _log.warning("job %s is paused: its executions keep failing", job_id)
