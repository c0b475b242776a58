"""Deadlines, pruning and releases look things up; none reads through history, every job, or what a pause has parked."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cronsvc.store.admission import FIRST_HELD, FREE_PLACES, OVERLAP_FREE
from cronsvc.store.callbacks import SILENT
from cronsvc.store.failures import OVERDUE
from cronsvc.store.partitions import LONGEST_RETENTION
from cronsvc.store.pruning import SURPLUS
from cronsvc.store.running import FINISH
from cronsvc.store.ticks import NEXT_INSTANTS
from tests.store.test_plans import FINISHED


@pytest.fixture
def busy(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A thousand jobs, one in a hundred of which keeps less, and a long history of one of them."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO jobs (name, cron_expression, task_payload, retention)"
            " SELECT 'job ' || n, '@daily', '{\"type\": \"x\"}', CASE WHEN n % 100 = 0"
            '        THEN \'{"keepCompleted": 5, "keepFailed": 5, "days": 90}\''
            '        ELSE \'{"keepCompleted": null, "keepFailed": null, "days": 90}\' END::jsonb'
            "   FROM generate_series(1, 1000) AS n"
        )
        conn.execute(
            "INSERT INTO job_executions (job_id, scheduled_time, status, dispatch_at, end_time)"
            " SELECT id, now() - n * interval '1 second', 'SUCCESS', NULL, now()"
            "   FROM (SELECT min(id) AS id FROM jobs WHERE retention ->> 'keepFailed' IS NOT NULL) AS j,"
            "        generate_series(1, 20000) AS n"
        )
        conn.execute("UPDATE jobs SET last_fire_time = now()")
        conn.execute("ANALYZE")
        conn.execute("SET enable_seqscan = off")  # a thousand jobs: the planner would not care for an index
        yield conn


def plan(conn: psycopg.Connection[Any], statement: sql.Composed | str, **parameters: Any) -> list[dict[str, Any]]:
    text = statement.as_string(conn) if isinstance(statement, sql.Composed) else statement
    row = conn.execute(b"EXPLAIN (ANALYZE, FORMAT JSON) " + text.encode(), parameters).fetchone()
    assert row is not None
    found = row[0] if isinstance(row[0], list) else json.loads(row[0])
    return list(nodes(found[0]["Plan"]))


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from nodes(child)


def rows_read(found: list[dict[str, Any]], table: str) -> int:
    """How many rows scans of this table went through, those that a filter threw away included."""
    scans = [node for node in found if node.get("Relation Name", "").startswith(table) and node["Actual Loops"]]
    return sum(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) for node in scans)


def test_waiting_rows_past_their_deadline_are_found_by_an_index(busy: psycopg.Connection[Any]) -> None:
    found = plan(busy, OVERDUE, now=None, batch=100)
    assert rows_read(found, "job_executions") == 0 and rows_read(found, "jobs") <= 1


def test_silent_targets_are_found_by_an_index(busy: psycopg.Connection[Any]) -> None:
    busy.execute(
        "UPDATE job_executions SET status = 'RUNNING', end_time = NULL,"
        "       callback_due = now() + (extract(epoch FROM latest.at - scheduled_time) - 2.5) * interval '1 hour'"
        "  FROM (SELECT max(scheduled_time) AS at FROM job_executions) AS latest"
        " WHERE scheduled_time > latest.at - interval '3000 seconds'"
    )
    busy.execute("ANALYZE job_executions")
    found = plan(busy, SILENT, batch=100)
    assert rows_read(found, "job_executions") == 3
    assert rows_read(plan(busy, SILENT, batch=2), "job_executions") <= 3


def test_only_jobs_that_keep_less_are_looked_at(busy: psycopg.Connection[Any]) -> None:
    found = plan(busy, SURPLUS, now=None, after_id=0, jobs=100, rows=100)
    assert rows_read(found, "jobs") == 10
    indexes = {node.get("Index Name") for node in found}
    assert "jobs_history_bounded" in indexes
    # The five that stay, the edge, and the hundred that may go now: not the other twenty thousand.
    assert rows_read(found, "job_executions") < 500


def test_that_nothing_failed_is_known_without_reading_what_succeeded(busy: psycopg.Connection[Any]) -> None:
    busy.execute("UPDATE jobs SET retention = retention || '{\"keepCompleted\": null}'")
    found = plan(busy, SURPLUS, now=None, after_id=0, jobs=100, rows=100)
    assert rows_read(found, "job_executions") == 0


def test_the_longest_retention_is_asked_of_few_jobs(busy: psycopg.Connection[Any]) -> None:
    found = plan(busy, LONGEST_RETENTION, days=90)
    assert rows_read(found, "jobs") <= 10


def test_what_a_pause_has_parked_costs_nobody_else(busy: psycopg.Connection[Any]) -> None:
    """Two rows wait for others to end and one runs; twenty thousand wait for their queue."""
    busy.execute("UPDATE job_executions SET status = 'QUEUED', end_time = NULL, held = 'queue_paused'")
    for change in ("held = 'overlap'", "held = 'limit'", "held = NULL, status = 'RUNNING', dispatch_at = NULL"):
        busy.execute(
            f"UPDATE job_executions SET {change} WHERE (job_id, scheduled_time) IN"
            " (SELECT job_id, scheduled_time FROM job_executions WHERE held = 'queue_paused' LIMIT 1)".encode()
        )
    busy.execute("VACUUM ANALYZE job_executions")
    row = busy.execute("SELECT job_id, scheduled_time FROM job_executions WHERE status = 'RUNNING'").fetchone()
    assert row is not None
    job_id, instant = row
    assert rows_read(plan(busy, NEXT_INSTANTS), "job_executions") <= 1
    assert rows_read(plan(busy, FREE_PLACES, batch=100), "job_executions") <= 10
    for statement, parameters in ((OVERLAP_FREE, {"batch": 100}), (FIRST_HELD, {"job_ids": [job_id]})):
        held = [node for node in plan(busy, statement, **parameters) if node.get("Alias", "").startswith("h")]
        assert 1 <= rows_read(held, "job_executions") <= 2
    finished = {name: [None] for name in FINISHED} | {
        "job_id": [job_id],
        "scheduled_time": [instant],
        "claim_no": [0],
        "status": ["SUCCESS"],
        "outcome": ["success"],
        "refund": [False],
        "least": instant,
        "greatest": instant,
    }
    with busy.transaction(force_rollback=True):
        found = plan(busy, FINISH, **finished)
    assert found[0]["Actual Rows"] == 1 and rows_read(found, "job_executions") <= 10
