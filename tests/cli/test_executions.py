"""`executions` and `dead-letters` on real servers."""

import psycopg
import pytest

from cronsvc.cli.executions import StatusName
from cronsvc.domain.execution import Status
from tests.cli.support import cronsvc
from tests.support.servers import Embedded


@pytest.fixture
def migrated(database_url: str, valkey_server: Embedded) -> dict[str, str]:
    """Variables of a migrated database and a Valkey."""
    return {"DATABASE_URL": database_url, "REDIS_URL": valkey_server.url}


def add(database_url: str, *statuses: str) -> list[int]:
    """A job with an execution of each status, a second apart; returns the ids of the executions."""
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "INSERT INTO jobs (name, cron_expression, task_payload)"
            """ VALUES ('nightly', '0 3 * * *', '{"type": "API_CALL", "config": {"url": "https://example.org/"}}')"""
        )
        return [
            conn.execute(
                "INSERT INTO job_executions (job_id, scheduled_time, status) SELECT max(id),"
                " date_trunc('second', now()) + %s * interval '1 second', %s FROM jobs RETURNING id",
                (number, status),
            ).fetchall()[0][0]
            for number, status in enumerate(statuses)
        ]


def test_the_statuses_are_those_of_the_domain() -> None:
    assert [each.value for each in StatusName] == [each.value for each in Status]


def test_executions_are_listed_cancelled_and_retried(migrated: dict[str, str]) -> None:
    waiting, done = add(migrated["DATABASE_URL"], "QUEUED", "SUCCESS")
    listed = cronsvc("executions", "list", **migrated)
    assert listed.returncode == 0, listed.stderr
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["EXECUTION", str(done), str(waiting)]
    only = cronsvc("executions", "list", "--status", "SUCCESS", "--limit", "5", **migrated)
    assert [line.split()[0] for line in only.stdout.splitlines()[1:]] == [str(done)]
    cancelled = cronsvc("executions", "cancel", str(waiting), "--note", "not today", **migrated)
    assert (cancelled.returncode, cancelled.stdout) == (0, "CANCELLED\n"), cancelled.stderr
    again = cronsvc("executions", "retry", str(waiting), **migrated)
    assert (again.returncode, again.stdout) == (0, "QUEUED\n"), again.stderr
    refused = cronsvc("executions", "cancel", str(done), **migrated)
    assert (refused.returncode, refused.stdout) == (1, "") and "it is SUCCESS" in refused.stderr
    with psycopg.connect(migrated["DATABASE_URL"]) as conn:
        acts = conn.execute(
            "SELECT action, left(actor, 3), after ->> 'cancel_note' FROM audit_log"
            " WHERE entity = 'execution' ORDER BY id"
        ).fetchall()
    assert acts == [("cancel", "cli", "not today"), ("retry", "cli", None)]


def test_dead_letters_are_listed_redriven_and_resolved(migrated: dict[str, str]) -> None:
    first, second, done = add(migrated["DATABASE_URL"], "FAILED", "FAILED", "SUCCESS")
    listed = cronsvc("dead-letters", "list", **migrated)
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == [str(second), str(first)]
    redriven = cronsvc("dead-letters", "redrive", str(first), str(done), **migrated)
    assert redriven.returncode == 1
    assert redriven.stdout.splitlines()[0] == f"{first}  done" and "it is SUCCESS" in redriven.stdout
    unsaid = cronsvc("dead-letters", "resolve", str(second), **migrated)
    assert unsaid.returncode == 2 and "--note" in unsaid.stderr
    resolved = cronsvc("dead-letters", "resolve", str(second), "--note", "sent by hand", **migrated)
    assert (resolved.returncode, resolved.stdout) == (0, f"{second}  done\n"), resolved.stderr
    assert len(cronsvc("dead-letters", "list", **migrated).stdout.splitlines()) == 1
