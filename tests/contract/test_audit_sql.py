"""Every question in sql/audit/ finds what was planted for it, as the auditor's role, without reading all of history."""

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from tests.support.history import OLD_DAYS, SECRET, plant
from tests.support.servers import Embedded

ROOT = Path(__file__).parents[2]
FILES = {path.stem: path for path in sorted((ROOT / "sql/audit").glob("*.sql"))}
Rows = list[dict[str, Any]]

# These look at unfinished rows, or for the beginning of a job's history: wherever they are, but only along an index.
EVERYWHERE_BY_INDEX = {"waiting_and_running", "queue_depth", "gaps"}
NOT_ABOUT_EXECUTIONS = {
    "who_changed_what",
    "held_back_jobs",
    "held_for_hosts",
    "overdue_jobs",
    "who_is_alive",
    "table_sizes",
}


@pytest.fixture(scope="module")
def audited(postgres_server: Embedded, template_database: str) -> Iterator[str]:
    """A database with a planted past and the auditor's role."""
    name = f"audited_{os.getpid()}"
    url = make_conninfo(postgres_server.url, dbname=name)
    with psycopg.connect(postgres_server.url, autocommit=True) as conn:
        conn.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template_database))
        )
    with psycopg.connect(url, autocommit=True) as conn:
        _make_old_partitions(conn)
        plant(conn)
        conn.execute("ANALYZE")
        for _ in range(2):  # the second time changes nothing
            conn.execute((ROOT / "sql/roles.sql").read_bytes())
    yield url
    with psycopg.connect(postgres_server.url, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        conn.execute("DROP ROLE cronsvc_auditor, cronsvc_api, cronsvc_scheduler, cronsvc_worker")


@pytest.fixture
def auditor(audited: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A session that has only what sql/roles.sql grants."""
    with psycopg.connect(audited, autocommit=True, row_factory=dict_row) as conn:
        conn.execute("SET ROLE cronsvc_auditor")
        yield conn


def _make_old_partitions(conn: psycopg.Connection[Any]) -> None:
    end = datetime.now(UTC) - timedelta(days=OLD_DAYS - 10)
    for parent in ("job_executions", "job_attempts"):
        for name, start, stop in (("before", end - timedelta(days=30), end), ("between", end, _first_week(conn))):
            conn.execute(
                sql.SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})").format(
                    sql.Identifier(f"{parent}_{name}"), sql.Identifier(parent), sql.Literal(start), sql.Literal(stop)
                )
            )


def _first_week(conn: psycopg.Connection[Any]) -> datetime:
    row = conn.execute("SELECT min(relname) FROM pg_class WHERE relname ~ '^job_executions_[0-9]{8}$'").fetchone()
    assert row is not None
    return datetime.strptime(row[0][-8:], "%Y%m%d").replace(tzinfo=UTC)


def by(rows: Rows, column: str) -> dict[Any, dict[str, Any]]:
    keyed = {row[column]: row for row in rows}
    assert len(keyed) == len(rows), f"{column} comes twice"
    return keyed


def picked(rows: Rows, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in rows]


def failures_by_job(rows: Rows) -> None:
    assert picked(rows, "job_name", "namespace", "failed", "ended", "timeouts", "lost", "last_error_type") == [
        ("flaky", "team-a", 3, 10, 1, 1, "error"),
        ("never", "default", 1, 1, 0, 0, "error"),
    ]
    assert rows[0]["failed_percent"] == 30 and rows[0]["last_error"] == "it was error"


def late_fires(rows: Rows) -> None:
    assert picked(rows, "job_name", "late", "recorded_late", "waited", "dispatches") == [
        ("late", timedelta(seconds=42), timedelta(seconds=30), timedelta(seconds=12), 2)
    ]


def gaps(rows: Rows) -> None:
    assert picked(rows, "job_name") == [("holey",)]
    assert rows[0]["seen_from"] - rows[0]["missing_time"] == timedelta(minutes=1)


def duration_and_lateness(rows: Rows) -> None:
    slow = by(rows, "job_name")["slow"]
    durations = (slow["duration_p50_ms"], slow["duration_p95_ms"], slow["duration_p99_ms"])
    lateness = (slow["lateness_p50_ms"], slow["lateness_p95_ms"], slow["lateness_p99_ms"])
    assert (slow["runs"], durations, lateness) == (100, (50_500, 95_050, 99_010), (505, 951, 990))
    assert (slow["wait_p50_ms"], slow["wait_p99_ms"]) == (253, 495)
    assert by(rows, "job_name")["mended"]["lateness_p99_ms"] == 10  # the retry, twenty seconds later, is not lateness


def dead_letters(rows: Rows) -> None:
    assert picked(rows, "job_name", "status_reason", "attempt") == [
        ("never", "error", 1),
        ("flaky", "error", 3),
        ("flaky", "lost", 1),
        ("flaky", "error", 1),
    ]


def retries_and_lost_attempts(rows: Rows) -> None:
    columns = ("executions", "attempts", "retries", "errors", "timeouts", "lost", "released", "recovered")
    found = {name: picked([row], *columns)[0] for name, row in by(rows, "job_name").items()}
    assert found == {
        "flaky": (10, 12, 2, 3, 1, 1, 0, 0),
        "mended": (2, 4, 2, 0, 0, 1, 1, 1),
        "late": (3, 4, 1, 1, 0, 0, 0, 1),
    }


def held_for_hosts(rows: Rows) -> None:
    assert picked(rows, "host", "reason", "executions", "times", "held_now") == [("a.example", "rate", 1, 1, 0)]


def waiting_and_running(rows: Rows) -> None:
    assert picked(rows, "job_name", "status", "dispatches") == [
        ("busy", "QUEUED", 9),
        ("busy", "RUNNING", 0),
        ("busy", "QUEUED", 0),
        ("busy", "RUNNING", 0),
        ("busy", "QUEUED", 0),
    ]
    ages = [row["age"] for row in rows]
    assert ages == sorted(ages, reverse=True) and ages[3] > timedelta() > ages[4]


def skipped_by_reason(rows: Rows) -> None:
    assert sorted(picked(rows, "job_name", "reason", "instants", "uncounted_ranges")) == [
        ("holey", "misfire", 1, 1),
        ("never", "overlap", 1, 0),
        ("skipping", "misfire", 2, 0),
        ("skipping", "paused", 40, 0),
    ]


def who_changed_what(rows: Rows) -> None:
    by_alice = [row for row in rows if row["actor"] == "key:alice"]
    assert picked(by_alice, "action", "name") == [("pause", "held"), ("update", "held")]
    assert by_alice[0]["after"]["pause_note"] == "moving house"
    assert by_alice[1]["changed"] == ["priority", "timeout_seconds"]
    assert (by_alice[1]["before"]["timeout_seconds"], by_alice[1]["after"]["timeout_seconds"]) == (60, 5)
    assert not any(row["actor"] == "key:zoe" for row in rows)
    assert {row["actor"].partition(":")[0] for row in rows} == {"key", "sql"}


def held_back_jobs(rows: Rows) -> None:
    assert picked(rows, "name", "state", "reason") == [
        ("broken", "quarantined", "cronExpression: no such month"),
        ("held", "paused", "moving house"),
        ("off", "inactive", None),
    ]


def jobs_without_success(rows: Rows) -> None:
    never, busy = by(rows, "name")["never"], by(rows, "name")["busy"]
    assert picked([never], "name", "executions", "failed", "skipped", "latest_status") == [
        ("never", 2, 1, 1, "SKIPPED")
    ]
    assert datetime.now(UTC) - never["last_success"] > timedelta(days=4)
    assert (len(rows), busy["last_success"]) == (2, None)


def overdue_jobs(rows: Rows) -> None:
    assert picked(rows, "name", "is_armed") == [("behind", True), ("unseen", False)]


def who_is_alive(rows: Rows) -> None:
    assert picked(rows, "kind", "name", "is_alive", "state") == [
        ("scheduler", "host-a", True, "active"),
        ("scheduler", "host-b", False, "silent"),
        ("worker", "host-a", True, "active"),
        ("worker", "host-b", False, "lost"),
    ]


def table_sizes(rows: Rows) -> None:
    sizes = by(rows, "name")
    old = sizes["job_executions_before"]
    assert old["belongs_to"] == "job_executions" and old["about_rows"] == 3 and old["bounds"].startswith("FOR VALUES")
    assert sizes["jobs"]["total_bytes"] >= 8192 and {"audit_log", "job_attempts_before"} <= set(sizes)


def queue_depth(rows: Rows) -> None:
    columns = ("queue", "ready", "held_back", "running", "workers", "slots")
    assert picked(rows, *columns) == [("bulk", 2, 1, 2, 1, 5), ("default", 0, 0, 0, 1, 5)]
    assert timedelta(minutes=9) < rows[0]["oldest_wait"] < timedelta(hours=1)


ANSWERS: Mapping[str, Callable[[Rows], None]] = {
    answer.__name__: answer
    for answer in (
        failures_by_job,
        late_fires,
        gaps,
        duration_and_lateness,
        dead_letters,
        retries_and_lost_attempts,
        waiting_and_running,
        skipped_by_reason,
        who_changed_what,
        held_back_jobs,
        held_for_hosts,
        jobs_without_success,
        overdue_jobs,
        who_is_alive,
        table_sizes,
        queue_depth,
    )
}


def test_every_question_has_an_answer_here() -> None:
    assert set(FILES) == set(ANSWERS)


@pytest.mark.parametrize("question", ANSWERS)
def test_the_planted_answer_is_found(question: str, auditor: psycopg.Connection[dict[str, Any]]) -> None:
    ANSWERS[question](auditor.execute(FILES[question].read_bytes()).fetchall())


@pytest.mark.parametrize("question", ANSWERS)
def test_the_file_says_what_it_answers(question: str) -> None:
    lines = FILES[question].read_text().splitlines()
    head = lines[: next(n for n, line in enumerate(lines) if not line.startswith("--"))]
    assert "?" in " ".join(head)
    assert any(line.startswith(("-- Parameter:", "-- Parameters:")) for line in head)


@pytest.mark.parametrize("question", ANSWERS)
def test_the_plan_does_not_read_all_of_history(question: str, audited: str) -> None:
    with psycopg.connect(audited, autocommit=True) as conn:
        conn.execute("SET enable_seqscan = off")  # three rows in a partition: the planner would not care for an index
        row = conn.execute(b"EXPLAIN (ANALYZE, FORMAT JSON) " + FILES[question].read_bytes()).fetchone()
        partial = {name for (name,) in conn.execute(PARTIAL_OR_PRIMARY)}
    assert row is not None
    scans = [node for node in _nodes(row[0][0]["Plan"]) if node["Actual Loops"] and "Relation Name" in node]
    history = [node for node in scans if node["Relation Name"].startswith(("job_executions", "job_attempts"))]
    old = [node for node in history if node["Relation Name"].endswith("_before")]
    if question in EVERYWHERE_BY_INDEX:
        assert old and {node.get("Index Name") for node in old} <= partial
    else:
        assert not old
        assert bool(history) == (question not in NOT_ABOUT_EXECUTIONS)


PARTIAL_OR_PRIMARY = """
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indpred IS NOT NULL OR i.indisprimary
"""


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def test_the_auditor_reads_every_view_and_nothing_else(auditor: psycopg.Connection[dict[str, Any]]) -> None:
    relations = auditor.execute(RELATIONS).fetchall()
    views = {row["name"] for row in relations if row["schema"] == "cronsvc_v1"}
    assert views == {f"cronsvc_v1.{name}" for name in SUPPORTED}
    for row in relations:
        rights = [row[right] for right in ("reads", "writes")]
        assert rights == [row["name"] in views, False], row["name"]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        auditor.execute("SELECT task_payload FROM public.jobs")


def test_no_view_shows_a_secret(auditor: psycopg.Connection[dict[str, Any]], audited: str) -> None:
    with psycopg.connect(audited) as conn:
        for table in ("jobs", "job_revisions", "audit_log"):
            holding = sql.SQL("SELECT count(*) FROM {} AS t WHERE t::text LIKE {}").format(
                sql.Identifier(table), sql.Literal(f"%{SECRET}%")
            )
            row = conn.execute(holding).fetchone()
            assert row is not None and row[0] > 10, f"nothing to hide in {table}: this test could not fail"
    for view in SUPPORTED:
        rows = auditor.execute(sql.SQL("SELECT v::text AS line FROM cronsvc_v1.{} AS v").format(sql.Identifier(view)))
        lines = [row["line"] for row in rows]
        assert lines and not [line for line in lines if SECRET in line or SECRET.encode().hex() in line]


def test_views_of_later_releases_are_granted_too(audited: str) -> None:
    with psycopg.connect(audited) as conn:
        conn.execute("CREATE VIEW cronsvc_v1.later AS SELECT 1 AS one")
        conn.execute("SET LOCAL ROLE cronsvc_auditor")
        assert conn.execute("SELECT one FROM cronsvc_v1.later").fetchone() == (1,)
        conn.rollback()


SUPPORTED = (
    "callbacks",
    "calendars",
    "dependencies",
    "secrets",
    "maintenance_windows",
    "jobs",
    "revisions",
    "executions",
    "attempts",
    "gaps",
    "queues",
    "workers",
    "schedulers",
    "audit",
    "statistics",
    "backfills",
    "recoveries",
    "holds",
    "hosts",
    "egress_lists",
    "templates",
)
RELATIONS = """
SELECT n.nspname AS schema, n.nspname || '.' || c.relname AS name,
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS reads,
       has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') AS writes
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname IN ('public', 'cronsvc_v1') AND c.relkind IN ('r', 'p', 'v')
"""
