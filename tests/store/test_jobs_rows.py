"""Rows and domain values: every field survives both ways, times are UTC, what means nothing is said, not guessed."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row

from cronsvc.domain.dependencies import Condition, DependsOn, Mode, Operator, Upstream, When
from cronsvc.domain.job import JobDefinition, MisfirePolicy, OverlapPolicy, Priority, Retention, TaskPayload
from cronsvc.domain.retry import Backoff, BackoffType
from cronsvc.domain.schedule import Schedule
from cronsvc.store import audit, jobs
from cronsvc.store.jobs import Cursor
from cronsvc.store.pool import Database
from cronsvc.store.rows import (
    JOB_COLUMNS,
    definition_for_readers,
    definition_from_json,
    definition_to_columns,
    job_for_readers,
    job_from_row,
)
from tests.support.rows import define, one

MOMENT = datetime(2031, 7, 1, 12, 30, tzinfo=UTC)
FULL = JobDefinition(
    name="full",
    namespace="red",
    description="text",
    tags=("a", "b"),
    group="reports",
    schedule=Schedule(every_seconds=60, anchor=MOMENT, start_at=MOMENT, end_at=MOMENT + timedelta(days=9)),
    task_payload=TaskPayload("CALL", {"url": "x", "n": [1, None]}),
    max_runs=9,
    jitter_seconds=8,
    misfire_policy=MisfirePolicy.FIRE_ALL,
    misfire_grace_seconds=7,
    misfire_cap=6,
    overlap_policy=OverlapPolicy.SKIP,
    max_concurrency=4,
    concurrency_key="tenant",
    queue="slow",
    priority=Priority.LOW,
    max_attempts=5,
    backoff=Backoff(BackoffType.LIST, 4.5, 1.0, 30.0, 0.25, (1.0, 2.5)),
    retry_on=("timeout", "http_status:503"),
    deadline_seconds=33,
    pause_after_failures=4,
    depends_on=DependsOn((Upstream(900, None, When.FAILURE, Condition("a.b", ((Operator.IN, (1, None)),))),), Mode.ANY),
    timeout_seconds=3,
    retention=Retention(2, 1, 10),
    is_active=False,
)
ROW = sql.SQL("SELECT {columns} FROM jobs AS j WHERE j.id = %s").format(columns=sql.SQL(JOB_COLUMNS))


async def row_of(db: Database, job_id: int) -> dict[str, Any]:
    async with db.transaction() as conn, conn.cursor(row_factory=dict_row) as cursor:
        row = await (await cursor.execute(ROW, (job_id,))).fetchone()
    assert row is not None
    return row


async def test_every_field_survives_both_ways(db: Database) -> None:
    default = JobDefinition("", Schedule(), TaskPayload("", {}))
    same = {name for name in JobDefinition.__slots__ if getattr(FULL, name) == getattr(default, name)}
    assert same == set(), "a field that keeps its default proves nothing"
    await define(db, id=900, namespace=FULL.namespace)
    async with db.transaction() as conn:
        stored = await jobs.insert(conn, FULL, cursor=Cursor(MOMENT, "x"))
    assert stored is not None
    assert stored.definition == FULL
    assert job_from_row(await row_of(db, stored.id)) == stored
    (definition,) = await one(db, "SELECT definition FROM job_revisions WHERE job_id <> 900")
    assert definition_from_json(definition) == FULL == definition_for_readers(definition)
    assert set(definition_to_columns(FULL)) == set(definition) - {"id", "deleted_at"}


async def test_times_are_utc_whatever_the_session_speaks(database_url: str) -> None:
    """The database speaks Asia/Kolkata unless the pool says otherwise; this connection does not."""
    async with await AsyncConnection.connect(database_url) as conn:
        assert await (await conn.execute("SHOW timezone")).fetchone() == ("Asia/Kolkata",)
        upstream = "INSERT INTO jobs (id, namespace, name, task_payload) VALUES (900, %s, 'up', '{\"type\": \"X\"}')"
        await conn.execute(upstream, (FULL.namespace,))
        stored = await jobs.insert(conn, FULL, cursor=Cursor(MOMENT, "x"))
        assert stored is not None
        definition = "SELECT definition FROM job_revisions WHERE job_id = %s"
        row = await (await conn.execute(definition, (stored.id,))).fetchone()
    assert row is not None and "+05:30" in row[0]["anchor"]
    assert definition_from_json(row[0]) == FULL == stored.definition
    for instant in (stored.created_at, stored.next_fire_time, stored.definition.schedule.anchor):
        assert instant is not None and instant.tzinfo is UTC
    assert definition_from_json(row[0]).schedule.anchor is not None
    assert definition_from_json(row[0]).schedule.anchor.tzinfo is UTC  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("column", "value", "default"),
    [
        ("overlap_policy", "sideways", OverlapPolicy.ALLOW),
        ("backoff", {"type": "sometimes"}, Backoff()),
        ("backoff", [], Backoff()),
        ("backoff", {"delaySeconds": "2"}, Backoff()),
        ("retention", "x", Retention()),
        ("retention", {"days": True}, Retention()),
        ("task_payload", {"type": 5}, TaskPayload("", {})),
        ("task_payload", {"type": "CALL", "config": [1]}, TaskPayload("", {})),
    ],
)
def test_a_column_that_means_nothing_is_named(column: str, value: object, default: Any) -> None:
    row = (
        dict.fromkeys(("paused_at", "next_fire_time", "last_fire_time", "quarantine_reason"))
        | dict.fromkeys(("template_id", "template_revision"))
        | {"id": 1, "revision": 1, "fire_count": 0, "created_at": MOMENT, "updated_at": MOMENT}
        | {name: getattr(each, "obj", each) for name, each in definition_to_columns(FULL).items()}
    )
    assert job_from_row(row).definition == FULL
    with pytest.raises(ValueError, match=column):
        job_from_row(row | {column: value})
    shown = job_for_readers(row | {column: value})
    assert shown.definition == replace(FULL, **{column: default})
    assert shown.quarantine_reason is not None and column in shown.quarantine_reason


async def test_a_seed_row_has_the_products_defaults(db: Database) -> None:
    """The shortest statement: four columns and no more."""
    job_id = await define(
        db, name="seed", cron_expression="0 9 * * *", task_payload=json.dumps({"type": "API_CALL", "config": {}})
    )
    read = job_from_row(await row_of(db, job_id)).definition
    assert read == JobDefinition("seed", Schedule(cron_expression="0 9 * * *"), TaskPayload("API_CALL", {}))


async def test_the_audit_log_takes_entries_and_gives_none_back(db: Database) -> None:
    async with db.transaction(actor="key:a", source="1.1.1.1") as conn:
        await audit.append(conn, action="revoke", entity="api_key", entity_id="x", before={"a": 1}, after=None)
    row = await one(db, "SELECT actor, source, action, entity, entity_id, before, after FROM audit_log")
    assert row == ("key:a", "1.1.1.1", "revoke", "api_key", "x", {"a": 1}, None)
    for statement in ("UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            async with db.transaction() as conn:
                await conn.execute(statement.encode())
