"""Manual runs under a key: once, however often and however many at a time ask."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cronsvc.errors import Conflict, InvalidInput, NotFound
from cronsvc.services.upkeep import forget_trigger_keys
from cronsvc.store.pool import Database
from tests.support.control import ALICE, BOB, RED, Desk, definition
from tests.support.rows import fetch, one

COUNT = "SELECT count(*) FROM job_executions"


async def test_the_same_key_is_the_same_execution_and_one_ticket(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    first = await desk.jobs.trigger_once(job.id, ALICE, key="k-1", params={"a": 1, "b": {"c": 2}})
    again = await desk.jobs.trigger_once(job.id, BOB, key="k-1", params={"b": {"c": 2}, "a": 1})
    assert (first.replayed, again.replayed) == (False, True)
    assert again.execution == first.execution
    assert [ticket.execution_id for ticket in desk.tickets] == [first.execution.id]
    assert await one(db, COUNT) == (1,)
    assert await one(db, "SELECT execution_id, scheduled_time FROM trigger_keys") == (
        first.execution.id,
        first.execution.scheduled_time,
    )


async def test_other_keys_and_other_jobs_are_other_executions(db: Database) -> None:
    desk = Desk(db)
    one_job = await desk.jobs.create(definition("one"), ALICE)
    other = await desk.jobs.create(definition("other"), ALICE)
    begun = [await desk.jobs.trigger_once(job.id, ALICE, key=key) for job in (one_job, other) for key in ("a", "b")]
    assert len({each.execution.id for each in begun}) == 4


async def test_other_params_under_the_same_key_are_refused(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    await desk.jobs.trigger_once(job.id, ALICE, key="k")
    await desk.jobs.trigger_once(job.id, ALICE, key="k", params={})
    for params in ({"a": 1}, {"a": None}):
        with pytest.raises(InvalidInput, match="Idempotency-Key"):
            await desk.jobs.trigger_once(job.id, ALICE, key="k", params=params)
    assert await one(db, COUNT) == (1,)


async def test_true_and_one_are_not_the_same_request(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    await desk.jobs.trigger_once(job.id, ALICE, key="k", params={"a": 1})
    with pytest.raises(InvalidInput):
        await desk.jobs.trigger_once(job.id, ALICE, key="k", params={"a": True})


async def test_a_refused_request_leaves_the_key_free(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    with pytest.raises(InvalidInput, match="url"):
        await desk.jobs.trigger_once(job.id, ALICE, key="k", params={"url": 5})
    assert await one(db, "SELECT count(*) FROM trigger_keys") == (0,)
    assert not (await desk.jobs.trigger_once(job.id, ALICE, key="k")).replayed


async def test_a_replay_does_not_ask_whether_the_job_would_take_it_now(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    first = await desk.jobs.trigger_once(job.id, ALICE, key="k", params={"a": 1})
    await fetch(db, 'UPDATE jobs SET task_payload = \'{"type": "GONE", "config": {}}\' RETURNING 1')
    assert (await desk.jobs.trigger_once(job.id, ALICE, key="k", params={"a": 1})).execution.id == first.execution.id


@pytest.mark.parametrize("key", ["", " ", "a b", "é", "x" * 256, "a\n", "\x7f", "a\x00"])
async def test_a_key_that_cannot_be_one_is_refused(db: Database, key: str) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    with pytest.raises(InvalidInput, match="Idempotency-Key"):
        await desk.jobs.trigger_once(job.id, ALICE, key=key)


async def test_foreign_and_deleted_jobs_are_not_found_even_with_a_known_key(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    await desk.jobs.trigger_once(job.id, ALICE, key="k")
    with pytest.raises(NotFound):
        await desk.jobs.trigger_once(job.id, RED, key="k")
    await desk.jobs.delete(job.id, ALICE)
    with pytest.raises(NotFound):
        await desk.jobs.trigger_once(job.id, ALICE, key="k")


async def test_after_a_day_the_key_is_free_again_pruned_or_not(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    first = await desk.jobs.trigger_once(job.id, ALICE, key="k")
    young = "UPDATE trigger_keys SET created_at = clock_timestamp() - interval '23 hours 59 minutes' RETURNING 1"
    await fetch(db, young)
    assert (await desk.jobs.trigger_once(job.id, ALICE, key="k")).replayed
    assert await forget_trigger_keys(db) == 0
    await fetch(db, "UPDATE trigger_keys SET created_at = clock_timestamp() - interval '24 hours' RETURNING 1")
    second = await desk.jobs.trigger_once(job.id, ALICE, key="k", params={"other": 1})
    assert not second.replayed and second.execution.id != first.execution.id
    assert await forget_trigger_keys(db, now=datetime.now(UTC) + timedelta(hours=25)) == 1
    assert await one(db, "SELECT count(*) FROM trigger_keys") == (0,)


async def test_forgetting_goes_in_batches(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    for n in range(7):
        await desk.jobs.trigger_once(job.id, ALICE, key=f"k{n}")
    assert await forget_trigger_keys(db, batch=3, now=datetime.now(UTC) + timedelta(hours=25)) == 7


async def test_an_execution_whose_row_is_gone_is_said_to_be_gone(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(), ALICE)
    await desk.jobs.trigger_once(job.id, ALICE, key="k")
    await fetch(db, "DELETE FROM job_executions RETURNING 1")
    with pytest.raises(Conflict, match="removed"):
        await desk.jobs.trigger_once(job.id, ALICE, key="k")
    assert await one(db, COUNT) == (0,)


@pytest.mark.parametrize("attempt", range(50))
async def test_two_processes_at_once_begin_one_execution(race: tuple[Database, Desk, Desk], attempt: int) -> None:
    db, one_process, other = race
    job = await one_process.jobs.create(definition(f"race-{attempt}"), ALICE)
    askers = [one_process, other, one_process, other]
    begun = await asyncio.gather(
        *(desk.jobs.trigger_once(job.id, ALICE, key="k", params={"n": attempt}) for desk in askers)
    )
    assert len({each.execution.id for each in begun}) == 1
    assert sorted(each.replayed for each in begun) == [False, True, True, True]
    assert await one(db, f"{COUNT} WHERE job_id = %s", job.id) == (1,)
    assert len(one_process.tickets) + len(other.tickets) == 1


async def test_two_at_once_with_other_params_begin_one_and_refuse_one(race: tuple[Database, Desk, Desk]) -> None:
    db, one_process, other = race
    job = await one_process.jobs.create(definition(), ALICE)
    answers: tuple[Any, ...] = await asyncio.gather(
        one_process.jobs.trigger_once(job.id, ALICE, key="k", params={"n": 1}),
        other.jobs.trigger_once(job.id, ALICE, key="k", params={"n": 2}),
        return_exceptions=True,
    )
    assert sorted(isinstance(each, InvalidInput) for each in answers) == [False, True]
    assert await one(db, COUNT) == (1,)


@pytest.fixture
def race(db: Database) -> tuple[Database, Desk, Desk]:
    return db, Desk(db), Desk(db)
