"""One test for each arrow of the states, on real rows: something takes it, and nothing on the way is off the drawing.

A trigger of the test's own writes down every change of status that the database sees.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest

from cronsvc.domain.execution import TRANSITIONS, Status, Ticket
from cronsvc.services.backfilling import advance_backfills
from cronsvc.services.backfills import Wish
from cronsvc.services.failing import end_overdue
from cronsvc.services.scheduling import Scheduling
from cronsvc.store.pool import Database
from tests.support.backfills import NOON, hourly, row
from tests.support.control import ALICE, Desk
from tests.support.ending import failed, work
from tests.support.job_types import Held, Scripted, failing
from tests.support.rows import define, fetch
from tests.support.running import NOW, attempt, runner, waiting

Arrow = tuple[Status | None, Status]
Taking = Callable[[Database], Awaitable[object]]

WATCH = """
CREATE TABLE seen_arrows (was text, is_now text);
CREATE FUNCTION see_arrow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO seen_arrows VALUES (NULL, NEW.status);
    ELSIF NEW.status <> OLD.status THEN
        INSERT INTO seen_arrows VALUES (OLD.status, NEW.status);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER see_arrow AFTER INSERT OR UPDATE ON job_executions FOR EACH ROW EXECUTE FUNCTION see_arrow();
"""


async def fire(db: Database) -> None:
    """A minute of an every-second job: the first half is too late, the rest fires."""
    await define(
        db, every_seconds=1, next_fire_time=NOW, armed_revision=1, misfire_policy="skip", misfire_grace_seconds=30
    )
    await Scheduling(db, Desk(db).dispatcher).tick()


async def claim_and_succeed(db: Database) -> None:
    await attempt(await runner(db, Scripted()), await waiting(db))


async def fail_and_wait_to_retry(db: Database) -> None:
    await attempt(await runner(db, Scripted(failing())), await waiting(db))


async def fail_for_good(db: Database) -> None:
    await failed(db)


async def pass_the_deadline(db: Database) -> None:
    await waiting(db)
    await fetch(db, "UPDATE job_executions SET deadline_at = clock_timestamp() - interval '1 second' RETURNING 1")
    assert await end_overdue(db) == 1


async def cancel_what_waits(db: Database) -> None:
    await Desk(db).endings.cancel((await waiting(db)).execution_id, ALICE)


async def cancel_what_runs(db: Database) -> None:
    ticket = await waiting(db)
    working = await work(db, Held(), ticket)
    await Desk(db).endings.cancel(ticket.execution_id, ALICE)
    await working.ended()


async def retry_a_failure(db: Database) -> None:
    await retry(db, await failed(db))


async def retry_a_success(db: Database) -> None:
    ticket = await waiting(db)
    await attempt(await runner(db, Scripted()), ticket)
    await retry(db, ticket)


async def retry_a_cancelled_one(db: Database) -> None:
    ticket = await waiting(db)
    await Desk(db).endings.cancel(ticket.execution_id, ALICE)
    await retry(db, ticket)


async def retry(db: Database, ticket: Ticket) -> None:
    await Desk(db).endings.retry(ticket.execution_id, ALICE)


async def backfill_what_was_skipped(db: Database) -> None:
    desk, job_id = Desk(db), await hourly(db)
    await row(db, job_id, NOON, "SKIPPED", status_reason="overlap", end_time=NOON)
    await desk.backfills.start(job_id, Wish(NOON, NOON), ALICE)
    assert await advance_backfills(db, desk.dispatcher) == 1


TAKEN_BY: Mapping[Arrow, Taking] = {
    (None, Status.QUEUED): fire,
    (None, Status.SKIPPED): fire,
    (Status.QUEUED, Status.RUNNING): claim_and_succeed,
    (Status.QUEUED, Status.FAILED): pass_the_deadline,
    (Status.QUEUED, Status.CANCELLED): cancel_what_waits,
    (Status.RUNNING, Status.QUEUED): fail_and_wait_to_retry,
    (Status.RUNNING, Status.SUCCESS): claim_and_succeed,
    (Status.RUNNING, Status.FAILED): fail_for_good,
    (Status.RUNNING, Status.CANCELLED): cancel_what_runs,
    (Status.SUCCESS, Status.QUEUED): retry_a_success,
    (Status.FAILED, Status.QUEUED): retry_a_failure,
    (Status.CANCELLED, Status.QUEUED): retry_a_cancelled_one,
    (Status.SKIPPED, Status.QUEUED): backfill_what_was_skipped,
}

DRAWN = {(start, end) for start, ends in TRANSITIONS.items() for end in ends}


def test_every_arrow_has_somebody_who_takes_it() -> None:
    assert set(TAKEN_BY) == DRAWN


@pytest.mark.parametrize(("arrow", "take"), TAKEN_BY.items(), ids=lambda part: _name(part))
async def test_the_arrow(db: Database, arrow: Arrow, take: Taking) -> None:
    async with db.transaction() as conn:
        await conn.execute(WATCH.encode())
    await asyncio.wait_for(take(db), 60)
    seen = {(was and Status(was), Status(is_now)) for was, is_now in await fetch(db, "SELECT * FROM seen_arrows")}
    assert arrow in seen
    assert seen <= DRAWN, f"not on the drawing: {seen - DRAWN}"


def _name(part: object) -> str:
    return "-".join(str(status or "fire") for status in part) if isinstance(part, tuple) else "by"
