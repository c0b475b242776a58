"""Two schedulers, two workers and a receiver: each instant once, in calm, under SIGKILL and FLUSHALL, in outages.

The jobs end by themselves (`max_runs`), so a run is over when every row is terminal, not when a clock says so.
"""

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from redis import Redis

from tests.support.fleet import Fleet, fleet, wait_until

JOBS = 20


@pytest.fixture
def service() -> Iterator[Fleet]:
    with fleet() as running:
        yield running


def rows(service: Fleet, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(service.postgres.url) as conn:
        return conn.execute(query.encode(), parameters).fetchall()


def start_all(service: Fleet) -> None:
    for process in ("scheduler", "scheduler", "worker", "worker"):
        service.start(process)
    wait_until(
        lambda: rows(service, "SELECT (SELECT count(*) FROM workers) + (SELECT count(*) FROM schedulers)") == [(4,)],
        seconds=60,
        what="two schedulers and two workers",
    )


def define_jobs(service: Fleet, *, runs: int, jobs: int = JOBS, **columns: Any) -> None:
    """Every-second jobs by SQL, all beginning at the same coming instant."""
    payload = {
        "type": "API_CALL",
        "config": {"url": service.receiver_url + "/hook", "method": "POST", "data": {"n": 1}},
    }
    with psycopg.connect(service.postgres.url) as conn:
        for number in range(jobs):
            conn.execute(
                "INSERT INTO jobs (name, cron_expression, max_runs, start_at, task_payload, misfire_grace_seconds,"
                " max_attempts)"
                " VALUES (%s, '* * * * * *', %s, date_trunc('second', now()) + interval '2 seconds', %s, 600, %s)",
                (f"every-second-{number}", runs, json.dumps(payload), columns.get("max_attempts", 3)),
            )


def recorded(service: Fleet) -> int:
    return int(rows(service, "SELECT count(*) FROM job_executions")[0][0])


def finished(service: Fleet) -> int:
    query = "SELECT count(*) FROM job_executions WHERE status IN ('SUCCESS', 'FAILED', 'SKIPPED', 'CANCELLED')"
    return int(rows(service, query)[0][0])


def check_ledger(service: Fleet, *, runs: int, jobs: int = JOBS) -> None:
    """One row an instant, none missing, none early, all terminal, and calls that the rows account for."""
    counts = rows(
        service,
        "SELECT job_id, count(*), count(DISTINCT scheduled_time),"
        " max(scheduled_time) - min(scheduled_time) = %s * interval '1 second' FROM job_executions GROUP BY job_id",
        runs - 1,
    )
    assert sorted(counts) == [(job_id, runs, runs, True) for job_id in range(1, jobs + 1)], service.logs()
    assert rows(service, "SELECT * FROM cronsvc_v1.gaps") == []
    assert rows(service, "SELECT count(*) FROM job_executions WHERE start_time < scheduled_time") == [(0,)]
    attempts = {
        row[0]: row[1:] for row in rows(service, "SELECT id, attempt, max_attempts, status FROM job_executions")
    }
    calls = service.calls()
    called = Counter(call["execution"] for call in calls)
    assert set(called) <= set(attempts)
    for execution, (attempt, max_attempts, status) in attempts.items():
        assert called[execution] <= attempt <= max_attempts
        assert status != "SUCCESS" or called[execution] >= 1
    for call_attempts in Counter((call["execution"], call["attempt"]) for call in calls).values():
        assert call_attempts == 1
    keys = {call["execution"]: call["key"] for call in calls}
    assert all(keys[call["execution"]] == call["key"] for call in calls)


@pytest.mark.slow
def test_a_calm_minute_is_exact(service: Fleet) -> None:
    runs = 60
    start_all(service)
    define_jobs(service, runs=runs)
    wait_until(lambda: finished(service) == JOBS * runs, seconds=110, what="1,200 finished executions")
    check_ledger(service, runs=runs)
    assert len(service.calls()) == JOBS * runs
    assert rows(service, "SELECT DISTINCT status, attempt FROM job_executions") == [("SUCCESS", 1)]
    for process in service.processes:
        process.signal(signal.SIGTERM)
    assert [process.wait() for process in service.processes] == [0, 0, 0, 0], service.logs()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_kills_and_a_wiped_redis_lose_and_double_no_row(service: Fleet) -> None:
    runs = 40
    start_all(service)
    define_jobs(service, runs=runs)
    wait_until(lambda: recorded(service) >= JOBS * 10, seconds=60, what="ten seconds of fires")
    service.processes[0].signal(signal.SIGKILL)
    service.processes[2].signal(signal.SIGKILL)
    with Redis.from_url(service.valkey.url) as client:
        client.flushall()
    wait_until(lambda: finished(service) == JOBS * runs, seconds=150, what="every row terminal")
    check_ledger(service, runs=runs)
    statuses = dict(rows(service, "SELECT status, count(*) FROM job_executions GROUP BY 1"))
    assert statuses == {"SUCCESS": JOBS * runs}  # a lost attempt leaves two more


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("server", ["postgres", "valkey"])
def test_an_outage_ends_no_process_and_work_resumes(service: Fleet, server: str) -> None:
    runs = 25
    start_all(service)
    define_jobs(service, runs=runs)
    wait_until(lambda: finished(service) >= JOBS * 5, seconds=60, what="five seconds of fires")
    stopped = service.postgres if server == "postgres" else service.valkey
    before = {process.name: process.cpu_seconds() for process in service.processes}
    stopped.stop()
    time.sleep(5)  # the outage itself, not a wait for a verdict
    burnt = {process.name: process.cpu_seconds() - before[process.name] for process in service.processes}
    stopped.start()
    assert all(process.alive for process in service.processes), service.logs()
    assert max(burnt.values()) < 2.5, f"a process spun through the outage: {burnt}"
    wait_until(lambda: finished(service) == JOBS * runs, seconds=150, what="every row terminal")
    assert all(process.alive for process in service.processes), service.logs()
    check_ledger(service, runs=runs)
