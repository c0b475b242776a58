"""The shortest time between two fires, and how many jobs a namespace may have, also when many are made at once."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from cronsvc.domain.dependencies import DependsOn, Upstream
from cronsvc.domain.schedule import Schedule
from cronsvc.errors import Conflict, InvalidInput
from cronsvc.services.job_limits import NEAR, JobLimits
from cronsvc.services.jobs import Jobs
from cronsvc.store import dependencies, job_quota
from cronsvc.store import jobs as job_rows
from cronsvc.store.pool import Conn, Database
from tests.support.control import ALICE, Desk, definition
from tests.support.rows import fetch, one

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def limited(db: Database, *, least_interval_seconds: int = 1, most_per_namespace: int = 10_000) -> Jobs:
    jobs = Desk(db).jobs
    jobs._limits = JobLimits(least_interval_seconds, most_per_namespace)
    return jobs


@pytest.mark.parametrize(
    ("cron", "closest"),
    [
        ("* * * * * *", 1),
        ("*/20 * * * * *", 20),
        ("0,30,45 * * * * *", 15),
        ("59 59 23 * * *", 86_400),
        ("0,59 0 0 1 1 *", 59),
        ("* * * * *", 60),
        ("0,59 * * * *", 60),
        ("*/7 * * * *", 240),
        ("0 9 * * *", 86_400),
        ("0 9 29 2 *", 10**9),
    ],
)
def test_the_closest_two_fires_count(cron: str, closest: int) -> None:
    schedule = Schedule(cron_expression=cron)
    JobLimits(least_interval_seconds=min(closest, 86_400)).check_interval(schedule, NOW)
    if closest < 86_400:
        with pytest.raises(InvalidInput) as refused:
            JobLimits(least_interval_seconds=closest + 1).check_interval(schedule, NOW)
        assert [error.field for error in refused.value.errors] == ["cronExpression"]


async def test_an_interval_that_is_too_short_is_neither_created_nor_edited_in(db: Database) -> None:
    jobs = limited(db, least_interval_seconds=60)
    short = Schedule(every_seconds=59)
    with pytest.raises(InvalidInput, match="60 or more"):
        await jobs.create(definition(schedule=short), ALICE)
    job = await jobs.create(definition(schedule=Schedule(every_seconds=60)), ALICE)
    for schedule in (short, Schedule(cron_expression="*/30 * * * * *")):
        with pytest.raises(InvalidInput, match="60 or more"):
            await jobs.replace(job.id, definition(schedule=schedule), ALICE)
    assert await one(db, "SELECT count(*), min(revision) FROM jobs") == (1, 1)
    stricter = limited(db, least_interval_seconds=3600)  # set later: what is there goes on and can be edited
    changed = await stricter.edit(job.id, lambda old: replace(old, description="new"), ALICE)
    assert changed.definition.description == "new"


async def test_a_full_namespace_takes_no_job_and_others_do(db: Database) -> None:
    jobs = limited(db, most_per_namespace=2)
    first = await jobs.create(definition("a"), ALICE)
    await jobs.create(definition("b"), ALICE)
    with pytest.raises(Conflict, match="as many as it may have"):
        await jobs.create(definition("c"), ALICE)
    elsewhere = await jobs.create(definition("c", namespace="other"), ALICE)
    with pytest.raises(Conflict, match="as many as it may have"):
        await jobs.edit(elsewhere.id, lambda old: replace(old, namespace=first.definition.namespace), ALICE)
    await jobs.delete(first.id, ALICE)  # a deleted job takes no room
    await jobs.create(definition("c"), ALICE)


async def test_creations_at_the_same_time_never_pass_the_limit(db: Database) -> None:
    most = NEAR + 5
    await fetch(
        db,
        "INSERT INTO jobs (name, task_payload, cron_expression) SELECT 'old-' || n, '{\"type\": \"CALL\"}', '0 0 1 1 *'"
        " FROM generate_series(1, %s) AS n RETURNING 1",
        most - 3,
    )
    jobs = limited(db, most_per_namespace=most)
    made = await asyncio.gather(*(jobs.create(definition(f"n-{n}"), ALICE) for n in range(8)), return_exceptions=True)
    assert sum(not isinstance(each, BaseException) for each in made) == 3
    assert all(isinstance(each, Conflict) for each in made if isinstance(each, BaseException))
    assert await one(db, "SELECT count(*) FROM jobs") == (most,)


async def test_far_from_the_limit_jobs_are_not_counted_at_each_creation(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    real = job_quota.count

    async def count(conn: Conn, namespace: str, *, most: int) -> int:
        counted.append(namespace)
        return await real(conn, namespace, most=most)

    monkeypatch.setattr(job_quota, "count", count)
    jobs = limited(db, most_per_namespace=10_000)
    for n in range(5):
        await jobs.create(definition(f"n-{n}"), ALICE)
    await jobs.create(definition("n", namespace="other"), ALICE)
    assert counted == ["default", "other"]


async def test_creations_and_moves_wait_for_each_other_last_of_all(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for room holds rows of jobs: so who is waited for may ask for no more of them."""
    jobs = limited(db, most_per_namespace=3)
    upstream = await jobs.create(definition("upstream"), ALICE)
    moved = await jobs.create(definition("moved", namespace="other"), ALICE)
    done: list[str] = []
    for module, name in ((job_rows, "insert"), (job_rows, "update"), (job_quota, "hold"), (dependencies, "named")):
        real = getattr(module, name)

        async def noted(*args: Any, _real: Any = real, _name: str = name, **options: Any) -> Any:
            done.append(_name)
            return await _real(*args, **options)

        monkeypatch.setattr(module, name, noted)
    after = DependsOn((Upstream(job_id=upstream.id),))
    await jobs.create(definition("follower", schedule=Schedule(), depends_on=after), ALICE)
    assert done == ["named", "insert", "hold"]
    done.clear()
    await jobs.edit(moved.id, lambda old: replace(old, namespace="default"), ALICE)
    assert done == ["update", "hold"]
