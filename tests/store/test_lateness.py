"""How late executions begin, as monitoring is told: also while nothing begins, and without a walk over everything."""

from typing import Any

import psycopg
from psycopg.sql import Composed

from cronsvc.store import metrics
from cronsvc.store.pool import Database
from tests.support.roles import logins
from tests.support.rows import define, fetch

BEGUN = """
INSERT INTO job_executions (job_id, scheduled_time, trigger, status, attempt, start_time, end_time)
SELECT %s, date_trunc('second', now()) - n * interval '1 second', 'schedule', 'SUCCESS', 1,
       date_trunc('second', now()) - n * interval '1 second' + interval '2 seconds', now()
  FROM generate_series(1, 50) AS n RETURNING 1
"""
WAITING = """
INSERT INTO job_executions (job_id, scheduled_time, trigger, status, ready_at, held, dispatch_at)
SELECT %s, date_trunc('second', now()) - n * interval '1 second', %s, 'QUEUED', now() + %s * interval '1 second', %s,
       CASE WHEN %s::text IS NULL THEN now() END
  FROM generate_series(100, 2200) AS n RETURNING 1
"""


async def lateness(db: Database) -> metrics.Lateness:
    async with db.statements() as conn:
        return await metrics.lateness(conn, namespaces=None)


async def test_a_backlog_makes_it_late_instead_of_unknown(db: Database) -> None:
    assert await lateness(db) == metrics.Lateness(None, None, None)
    job_id = await define(db, cron_expression="* * * * * *")
    await fetch(db, BEGUN, job_id)
    before = await lateness(db)
    assert (before.median, before.p95, before.greatest) == (2, 2, 2)
    await fetch(db, WAITING, job_id, "schedule", -1, None, None)
    behind = await lateness(db)
    assert behind.greatest is not None and behind.greatest >= 2000
    assert behind.median is not None and behind.median > 100


async def test_what_is_held_back_on_purpose_is_not_late(db: Database) -> None:
    job_id = await define(db, cron_expression="* * * * * *")
    await fetch(db, BEGUN, job_id)
    for trigger, ready, held in (("schedule", -1, "queue_paused"), ("schedule", 60, None), ("backfill", -1, None)):
        await fetch(db, WAITING, job_id, trigger, ready, held, held)
        assert (await lateness(db)).greatest == 2, (trigger, ready, held)
        await fetch(db, "DELETE FROM job_executions WHERE status = 'QUEUED' RETURNING 1")


def rows_looked_at(plan: dict[str, Any]) -> int:
    """Rows of executions that a plan has read, those that a filter took away included."""
    own = 0
    if str(plan.get("Relation Name", "")).startswith("job_executions"):
        own = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return int(own) + sum(rows_looked_at(each) for each in plan.get("Plans", ()))


async def test_who_sees_little_makes_nobody_read_everything(db: Database, database_url: str) -> None:
    big, _ = await define(db, namespace="big", cron_expression="* * * * *"), await define(db, namespace="small")
    many = 3 * metrics.LOOKED_AT
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("ALTER TABLE job_executions DISABLE TRIGGER USER")
        conn.execute(
            "INSERT INTO job_executions (job_id, scheduled_time, trigger, status, attempt, start_time, end_time)"
            " SELECT %s, date_trunc('second', now()) - n * interval '1 second', 'schedule', 'SUCCESS', 1, now(), now()"
            " FROM generate_series(%s, 1, -1) AS n",
            (big, many),
        )
        conn.execute("ALTER TABLE job_executions ENABLE TRIGGER USER")
        conn.execute("ANALYZE job_executions, jobs")
    assert isinstance(metrics.LATENESS, Composed)
    with logins(database_url) as urls, psycopg.connect(urls["cronsvc_api"]) as conn:
        conn.execute("SELECT set_config('cronsvc.namespaces', %s, true)", ("{small}",))
        text = metrics.LATENESS.as_string(conn)
        row = conn.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}".encode(), {"namespaces": ["small"]}).fetchone()
    assert row is not None
    assert rows_looked_at(row[0][0]["Plan"]) <= metrics.LOOKED_AT
