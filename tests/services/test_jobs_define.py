"""Creating and finding jobs: what is stored, what is refused, and that a refusal leaves no trace."""

import asyncio
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cronsvc.domain.job import JobDefinition, Priority, Retention, TaskPayload
from cronsvc.domain.retry import Backoff, BackoffType
from cronsvc.domain.schedule import Schedule, tzdata_version
from cronsvc.errors import Conflict, InvalidInput
from cronsvc.services.job_validation import checked
from cronsvc.store.pool import Database
from tests.support.control import ALICE, YEARLY, Desk, NeedsUrl, definition
from tests.support.rows import define, fetch, one

EVERYTHING_WRITTEN = """
SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM job_revisions), (SELECT count(*) FROM audit_log),
       (SELECT count(*) FROM queues), (SELECT count(*) FROM job_executions)
"""


def fields_of(refused: pytest.ExceptionInfo[InvalidInput]) -> set[str]:
    return {error.field for error in refused.value.errors}


async def test_a_new_job_is_armed_with_its_first_fire_time(db: Database) -> None:
    job = await Desk(db).jobs.create(definition(), ALICE)
    assert job.next_fire_time is not None
    row = await one(
        db,
        "SELECT revision, armed_revision, next_fire_time BETWEEN created_at AND created_at + interval '366 days',"
        " last_fire_time, fire_count, tzdata_version FROM jobs WHERE id = %s",
        job.id,
    )
    assert row == (1, 1, True, None, 0, tzdata_version())
    assert job.next_fire_time.strftime("%m-%d %H:%M:%S") == "03-01 04:00:00"
    assert job.next_fire_time.tzinfo is UTC


async def test_what_was_defined_comes_back(db: Database) -> None:
    start = datetime(2030, 1, 1, 5, 30, tzinfo=UTC)
    wanted = definition(
        "every field",
        namespace="red",
        description="line one\nline two — ü",
        tags=("b", "a"),
        schedule=Schedule(
            cron_expression="15 9 * * MON-FRI",
            timezone="Europe/Berlin",
            start_at=start,
            end_at=start + timedelta(days=400),
        ),
        task_payload=TaskPayload("CALL", {"url": "https://example.com/", "data": {"n": [1, 2.5, None, True]}}),
        max_runs=7,
        jitter_seconds=9,
        queue="reports",
        priority=Priority.HIGH,
        max_attempts=5,
        backoff=Backoff(BackoffType.LINEAR, 1.5, 3.0, 60.0, 0.0),
        retry_on=("connect",),
        timeout_seconds=30,
        deadline_seconds=90,
        pause_after_failures=2,
        retention=Retention(10, None, 30),
    )
    desk = Desk(db)
    created = await desk.jobs.create(wanted, ALICE)
    found = await desk.jobs.get(created.id, ALICE)
    assert found == created
    assert found.definition == wanted
    (revision,) = (await desk.jobs.revisions(created.id, ALICE)).items
    assert (revision.revision, revision.definition, revision.actor) == (1, wanted, ALICE.actor)


async def test_creation_is_audited_with_actor_and_source(db: Database) -> None:
    job = await Desk(db).jobs.create(definition(), ALICE)
    row = await one(
        db,
        "SELECT actor, source, action, entity, entity_id, namespace, before, after->>'name' FROM audit_log",
    )
    assert row == ("key:alice", "10.1.2.3", "create", "job", str(job.id), "default", None, "report")


async def test_a_new_queue_gets_its_row(db: Database) -> None:
    await Desk(db).jobs.create(definition(queue="reports"), ALICE)
    assert ("reports",) in await fetch(db, "SELECT name FROM queues")


async def test_an_empty_queue_name_means_the_default_one(db: Database) -> None:
    desk = Desk(db)
    desk.jobs.default_queue = "background"
    assert (await desk.jobs.create(definition(queue=""), ALICE)).definition.queue == "background"


async def test_hash_is_resolved_once_per_job(db: Database) -> None:
    desk = Desk(db)
    schedule = Schedule(cron_expression="H H * * *")
    jobs = [await desk.jobs.create(definition(name, schedule=schedule), ALICE) for name in ("a", "b", "c")]
    stored = [job.definition.schedule.cron_expression for job in jobs]
    assert all(expression and "H" not in expression for expression in stored)
    assert len(set(stored)) == 3
    again = await Desk(db).jobs.edit(jobs[0].id, lambda now: replace(now, schedule=schedule), ALICE)
    assert again.revision == 1  # the same key finds the same place


async def test_an_interval_counts_from_its_creation(db: Database) -> None:
    job = await Desk(db).jobs.create(definition(schedule=Schedule(every_seconds=600)), ALICE)
    anchor = job.definition.schedule.anchor
    assert anchor is not None and anchor.microsecond == 0
    assert timedelta() <= job.created_at - anchor < timedelta(seconds=30)
    assert job.next_fire_time == anchor + timedelta(seconds=600)


async def test_an_interval_with_a_start_fires_first_at_the_start(db: Database) -> None:
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)
    schedule = Schedule(every_seconds=600, start_at=start)
    job = await Desk(db).jobs.create(definition(schedule=schedule), ALICE)
    assert (job.definition.schedule.anchor, job.next_fire_time) == (start, start)


async def test_every_bad_field_is_named_at_once_and_nothing_is_written(db: Database) -> None:
    before = await one(db, EVERYTHING_WRITTEN)
    wrong = JobDefinition(
        name="  ",
        namespace="not a name",
        schedule=Schedule(cron_expression="61 * * * *"),
        task_payload=TaskPayload("CALL", {}),
        tags=("x", "x"),
        queue="no spaces",
        max_runs=0,
        jitter_seconds=-1,
        misfire_cap=0,
        max_attempts=101,
        timeout_seconds=0,
        backoff=Backoff(delay_seconds=math.nan, factor=0.5),
        retention=Retention(days=0),
    )
    with pytest.raises(InvalidInput) as refused:
        await Desk(db).jobs.create(wrong, ALICE)
    assert fields_of(refused) == {
        "name", "namespace", "cronExpression", "taskPayload.config.url", "tags", "queue", "maxRuns", "jitterSeconds",
        "misfireCap", "maxAttempts", "timeoutSeconds", "backoff.delaySeconds", "backoff.factor", "retention.days",
    }  # fmt: skip
    assert await one(db, EVERYTHING_WRITTEN) == before


PAST = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"schedule": Schedule(run_at=PAST)}, "runAt"),
        ({"schedule": Schedule(run_at=datetime(9999, 12, 31, tzinfo=UTC))}, "runAt"),
        ({"schedule": Schedule(run_at=datetime(2040, 1, 1))}, "runAt"),
        ({"schedule": Schedule(cron_expression="0 9 * * *", timezone="Mars/Olympus")}, "timezone"),
        ({"schedule": Schedule(cron_expression="0 9 * * *", end_at=PAST)}, "endAt"),
        ({"schedule": Schedule(every_seconds=0)}, "every"),
        ({"schedule": Schedule()}, "cronExpression"),
        ({"schedule": Schedule(cron_expression="0 0 31 2 *")}, "cronExpression"),
        ({"task_payload": TaskPayload("NOPE", {})}, "taskPayload.type"),
        ({"task_payload": TaskPayload("CALL", {"url": "a\0b"})}, "taskPayload.config"),
        ({"task_payload": TaskPayload("CALL", {"url": "x", "n": math.inf})}, "taskPayload.config"),
        ({"task_payload": TaskPayload("CALL", {"url": "\ud800"})}, "taskPayload.config"),
        ({"name": "x" * 256}, "name"),
        ({"name": "tab\tname"}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"description": "nul \0"}, "description"),
    ],
)
def test_one_bad_field_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        checked(definition(**changes), {"CALL": NeedsUrl()}, now=datetime(2026, 6, 1, tzinfo=UTC))
    assert fields_of(refused) == {field}


def test_an_unknown_type_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="known: CALL"):
        checked(definition(task_payload=TaskPayload("call", {})), {"CALL": NeedsUrl()}, now=datetime.now(UTC))


def test_a_config_nested_without_end_is_refused() -> None:
    config: dict[str, Any] = {"url": "x"}
    for _ in range(40):
        config = {"url": "x", "inner": config}
    with pytest.raises(InvalidInput, match="nested"):
        checked(definition(task_payload=TaskPayload("CALL", config)), {"CALL": NeedsUrl()}, now=datetime.now(UTC))


async def test_a_taken_name_is_a_conflict_that_names_its_owner(db: Database) -> None:
    desk = Desk(db)
    first = await desk.jobs.create(definition(), ALICE)
    before = await one(db, EVERYTHING_WRITTEN)
    with pytest.raises(Conflict, match=f"job {first.id}"):
        await desk.jobs.create(definition(queue="brand-new"), ALICE)
    assert await one(db, EVERYTHING_WRITTEN) == before
    assert (await desk.jobs.create(definition(namespace="other"), ALICE)).id != first.id


async def test_of_many_creations_of_one_name_one_wins(db: Database) -> None:
    desk = Desk(db)
    answers = await asyncio.gather(
        *(desk.jobs.create(definition(queue="new"), ALICE) for _ in range(12)), return_exceptions=True
    )
    assert sum(isinstance(answer, Conflict) for answer in answers) == 11
    assert await one(db, "SELECT count(*), (SELECT count(*) FROM audit_log) FROM jobs") == (1, 1)


async def test_a_name_is_free_again_after_a_deletion(db: Database) -> None:
    desk = Desk(db)
    first = await desk.jobs.create(definition(), ALICE)
    await desk.jobs.delete(first.id, ALICE)
    assert (await desk.jobs.create(definition(), ALICE)).id != first.id


async def test_defaults_are_those_of_the_table(db: Database) -> None:
    desk = Desk(db)
    by_sql = await define(
        db, cron_expression=YEARLY.cron_expression, task_payload='{"type": "CALL", "config": {"url": "https://example.com/"}}'
    )  # fmt: skip
    by_service = await desk.jobs.create(definition(), ALICE)
    row = (await desk.jobs.get(by_sql, ALICE)).definition
    assert replace(row, name="report") == by_service.definition


async def test_a_concurrency_key_needs_its_limit(db: Database) -> None:
    desk = Desk(db)
    with pytest.raises(InvalidInput) as refused:
        await desk.jobs.create(replace(definition(), concurrency_key="tenant"), ALICE)
    assert [error.field for error in refused.value.errors] == ["maxConcurrency"]
    job = await desk.jobs.create(replace(definition(), concurrency_key="tenant", max_concurrency=2), ALICE)
    assert (job.definition.concurrency_key, job.definition.max_concurrency) == ("tenant", 2)
    changed = await desk.jobs.edit(job.id, lambda now: replace(now, max_concurrency=3), ALICE)
    assert (changed.revision, changed.definition.max_concurrency) == (2, 3)
