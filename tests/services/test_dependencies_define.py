"""What a job may depend on: looked up, refused when it closes a circle, and kept equal to the definition."""

import asyncio
import json
from typing import Any

import psycopg
import pytest

from cronsvc.domain.dependencies import Condition, DependsOn, Mode, Operator, Upstream, When
from cronsvc.domain.schedule import Schedule
from cronsvc.errors import Conflict, InvalidInput
from cronsvc.store.pool import Database
from tests.support.chains import after, plain
from tests.support.control import ALICE, YEARLY, Desk, definition
from tests.support.rows import fetch, one

NEVER = Schedule()


@pytest.fixture
def desk(db: Database) -> Desk:
    return Desk(db)


async def edges(db: Database) -> set[tuple[int, int]]:
    return {(up, job) for up, job in await fetch(db, "SELECT upstream_id, job_id FROM job_dependencies")}


def waits_for(*upstreams: int | str, **fields: Any) -> DependsOn:
    on = [Upstream(job_id=each) if isinstance(each, int) else Upstream(job=each) for each in upstreams]
    return DependsOn(tuple(on), **fields)


async def test_a_name_is_looked_up_and_the_definition_comes_back(db: Database, desk: Desk) -> None:
    first = await desk.jobs.create(definition("first"), ALICE)
    condition = Condition("errors", ((Operator.EQUALS, 0), (Operator.IN, (0, 1))))
    on = Upstream(job="first", when=When.ALWAYS, condition=condition)
    second = await desk.jobs.create(definition("second", schedule=NEVER, depends_on=DependsOn((on,), Mode.ANY)), ALICE)
    assert second.definition.depends_on == DependsOn((Upstream(first.id, None, When.ALWAYS, condition),), Mode.ANY)
    assert second.next_fire_time is None
    assert await edges(db) == {(first.id, second.id)}
    (stored,) = await one(db, "SELECT definition -> 'depends_on' FROM job_revisions WHERE job_id = %s", second.id)
    assert stored["on"][0]["condition"] == {"path": "errors", "equals": 0, "in": [0, 1]}
    again = await desk.jobs.replace(second.id, second.definition, ALICE)
    assert again.revision == 1
    cleared = await desk.jobs.edit(second.id, lambda old: definition(old.name, schedule=YEARLY, depends_on=None), ALICE)
    assert (cleared.revision, cleared.next_fire_time is None) == (2, False)
    assert await edges(db) == set()
    assert await one(db, "SELECT state FROM cronsvc_v1.jobs WHERE id = %s", first.id) == ("active",)


async def test_a_job_may_have_a_schedule_as_well(db: Database, desk: Desk) -> None:
    first = await desk.jobs.create(definition("first"), ALICE)
    second = await desk.jobs.create(definition("second", depends_on=waits_for(first.id)), ALICE)
    assert second.next_fire_time is not None
    assert (await desk.jobs.upcoming(second.id, ALICE, count=1)) == (second.next_fire_time,)


async def test_every_unknown_job_is_named(db: Database, desk: Desk) -> None:
    other = await plain(db, namespace="red")
    with pytest.raises(InvalidInput) as refused:
        await desk.jobs.create(definition("x", depends_on=waits_for("nobody", other)), ALICE)
    assert [error.field for error in refused.value.errors] == ["dependsOn.on[0].job", "dependsOn.on[1].jobId"]
    await desk.jobs.create(definition("first"), ALICE)
    first = await desk.jobs.id_of("first", ALICE)
    with pytest.raises(InvalidInput) as refused:
        await desk.jobs.create(definition("x", depends_on=waits_for("first", first)), ALICE)
    assert [error.field for error in refused.value.errors] == ["dependsOn.on[1]"]


async def test_a_schedule_is_needed_only_without_dependencies(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match="cronExpression"):
        await desk.jobs.create(definition("x", schedule=NEVER), ALICE)
    first = await desk.jobs.create(definition("first"), ALICE)
    with pytest.raises(InvalidInput, match="timezone"):
        odd = definition("x", schedule=Schedule(timezone="Mars/Base"), depends_on=waits_for(first.id))
        await desk.jobs.create(odd, ALICE)


async def test_circles_are_refused_whoever_closes_them(db: Database, desk: Desk) -> None:
    first = (await desk.jobs.create(definition("first"), ALICE)).id
    second = (await desk.jobs.create(definition("second", depends_on=waits_for(first)), ALICE)).id
    third = (await desk.jobs.create(definition("third", depends_on=waits_for(second)), ALICE)).id
    for upstream in (first, second, third):
        with pytest.raises(Conflict, match="would wait for its own end"):
            await desk.jobs.replace(first, definition("first", depends_on=waits_for(upstream)), ALICE)
    with pytest.raises(Conflict, match="would wait for its own end"):
        await fetch(
            db,
            "UPDATE jobs SET depends_on = %s WHERE id = %s RETURNING 1",
            json.dumps({"on": [{"job": "third"}]}),
            first,
        )
    assert await edges(db) == {(first, second), (second, third)}
    assert await one(db, "SELECT revision FROM jobs WHERE id = %s", first) == (1,)


async def test_of_two_edits_that_close_a_circle_together_one_is_refused(db: Database, database_url: str) -> None:
    """Each transaction makes its edge before the other commits: the second waits for the first, and sees it."""
    one_, two = await plain(db), await plain(db)
    async with (
        await psycopg.AsyncConnection.connect(database_url) as left,
        await psycopg.AsyncConnection.connect(database_url) as right,
    ):
        change = "UPDATE jobs SET depends_on = %s WHERE id = %s"
        await left.execute(change, (json.dumps({"on": [{"jobId": one_}]}), two))
        waiting = asyncio.create_task(right.execute(change, (json.dumps({"on": [{"jobId": two}]}), one_)))
        await _until_it_waits(db)
        await left.commit()
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="its own end"):
            await waiting
    assert await edges(db) == {(one_, two)}


async def _until_it_waits(db: Database) -> None:
    for _ in range(1000):
        if await fetch(db, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the second edit does not wait for the first")


async def test_services_that_race_for_a_circle_leave_none(db: Database, desk: Desk) -> None:
    ids = [(await desk.jobs.create(definition(f"job-{n}"), ALICE)).id for n in range(3)]

    async def wait_for(job_id: int, upstream: int) -> bool:
        try:
            await desk.jobs.edit(job_id, lambda old: definition(old.name, depends_on=waits_for(upstream)), ALICE)
        except Conflict:
            return False
        return True

    done = await asyncio.gather(*(wait_for(ids[n], ids[(n + 1) % 3]) for n in range(3)))
    assert sorted(done) == [False, True, True]
    assert len(await edges(db)) == 2


async def test_chains_are_bounded(db: Database) -> None:
    last = await plain(db)
    for _ in range(19):
        last = await after(db, last)
    with pytest.raises(Conflict, match="longer than 20"):
        await after(db, last)
    diamond = [await after(db, await plain(db)) for _ in range(2)]
    assert await after(db, *diamond)


async def test_a_job_that_others_wait_for_is_not_deleted(db: Database, desk: Desk) -> None:
    first = (await desk.jobs.create(definition("first"), ALICE)).id
    second = (await desk.jobs.create(definition("second", depends_on=waits_for(first)), ALICE)).id
    with pytest.raises(Conflict, match=rf"job {first} cannot be deleted.*\({second}\)"):
        await desk.jobs.delete(first, ALICE)
    with pytest.raises(Conflict, match="another namespace"):
        await desk.jobs.edit(first, lambda old: definition("first", namespace="red"), ALICE)
    await desk.jobs.delete(second, ALICE)
    assert await edges(db) == set()
    await desk.jobs.delete(first, ALICE)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ([], "is an object with mode and on"),
        ({}, "on is a list of jobs to wait for"),
        ({"on": []}, "on lists 1 to 20 jobs"),
        ({"mode": "some", "on": [{"jobId": 1}]}, "mode is all or any"),
        ({"on": [{"job": "nobody"}]}, "each of on names a live job of the namespace, by jobId or job"),
        ({"on": ["x"]}, "each of on names a live job of the namespace, by jobId or job"),
    ],
)
async def test_sql_that_means_nothing_sets_the_job_aside(db: Database, desk: Desk, given: Any, fault: str) -> None:
    job_id = await plain(db, depends_on=json.dumps(given))
    assert await one(db, "SELECT quarantine_reason FROM jobs WHERE id = %s", job_id) == (f"depends_on: {fault}",)
    assert await edges(db) == set()
    assert (await desk.jobs.get(job_id, ALICE)).quarantine_reason == f"depends_on: {fault}"
    await fetch(db, "UPDATE jobs SET depends_on = NULL WHERE id = %s RETURNING 1", job_id)
    assert await one(db, "SELECT quarantine_reason FROM jobs WHERE id = %s", job_id) == (None,)


@pytest.mark.parametrize("when", ["success", "failure"])
async def test_an_open_round_begins_anew_when_something_else_is_waited_for(db: Database, when: str) -> None:
    """What has been said of an end was said by the definition of then."""
    first, second = await plain(db), await plain(db)
    third = await after(db, first, second)
    await fetch(
        db,
        "INSERT INTO dependency_rounds VALUES (%s, %s, 1, '{}', true, now()), (%s, %s, 2, '{}', true, now())"
        " RETURNING 1",
        third,
        first,
        third,
        second,
    )
    await fetch(db, "UPDATE jobs SET name = 'other', depends_on = depends_on WHERE id = %s RETURNING 1", third)
    assert len(await fetch(db, "SELECT upstream_id FROM dependency_rounds")) == 2
    changed = json.dumps({"mode": "all", "on": [{"jobId": first, "when": when}, {"jobId": second}]})
    await fetch(db, "UPDATE jobs SET depends_on = %s WHERE id = %s RETURNING 1", changed, third)
    assert await fetch(db, "SELECT upstream_id FROM dependency_rounds") == []
