"""PYTHON, SQL and COMMAND on a real worker process: configured by its environment, drained by SIGTERM."""

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.executors.attempts import is_running
from tests.support.fleet import Fleet, fleet, wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def service() -> Iterator[Fleet]:
    with fleet() as running:
        yield running


def define(conn: psycopg.Connection[Any], kind: str, config: dict[str, Any], **columns: Any) -> None:
    values = {
        "name": kind,
        "run_at": datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2),
        "max_attempts": 1,
        "task_payload": json.dumps({"type": kind, "config": config}),
    } | columns
    marks = ", ".join(f"%({name})s" for name in values)
    conn.execute(f"INSERT INTO jobs ({', '.join(values)}) VALUES ({marks})".encode(), values)


@pytest.mark.slow
def test_each_type_from_the_environment_and_a_drain_that_ends_the_children(service: Fleet, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    service.start("scheduler")
    worker = service.start(
        "worker",
        PYTHONPATH=str(ROOT),
        CRONSVC_HANDLER_MODULES="tests.support.handlers",
        CRONSVC_SQL_DSNS=json.dumps({"own": service.postgres.url}),
        CRONSVC_COMMANDS='{"hello": {"argv": ["/bin/echo", "hello"]}}',
        CRONSVC_DRAIN_SECONDS="0.2",
        CRONSVC_LOG_LEVEL="debug",
    )
    with psycopg.connect(service.postgres.url, autocommit=True) as conn:
        define(conn, "PYTHON", {"handler": "sync-users-sync", "params": {"users": 250}})
        define(conn, "SQL", {"dsn": "own", "statement": "SELECT count(*) AS jobs FROM jobs"})
        define(conn, "COMMAND", {"command": "hello"})

        def results() -> dict[str, Any]:
            query = (
                "SELECT j.name, e.result FROM job_executions e JOIN jobs j ON j.id = e.job_id WHERE status = 'SUCCESS'"
            )
            return dict(conn.execute(query).fetchall())

        wait_until(lambda: len(results()) == 3, seconds=60, what="three results")
        found = results()
        assert found["PYTHON"]["errors"] == 2 and found["SQL"]["rows"] == [{"jobs": 3}]
        assert found["COMMAND"]["stdout"] == "hello\n"

        define(conn, "PYTHON", {"handler": "stubborn", "params": {"pids": str(pids)}}, name="stubborn")
        wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 2, seconds=60, what="a stubborn child")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, service.logs()
        children = [int(pid) for pid in pids.read_text().split()]
        wait_until(lambda: not any(map(is_running, children)), seconds=20, what="the end of the children")
        row = conn.execute(
            "SELECT status, status_reason FROM job_executions e JOIN jobs j ON j.id = e.job_id WHERE name = 'stubborn'"
        ).fetchone()
        assert row == ("FAILED", "lost")
    password = psycopg.conninfo.conninfo_to_dict(service.postgres.url).get("password")
    assert password and str(password) not in service.logs()
