"""Lateness as users see it: two schedulers, two workers, twenty every-second jobs that call a receiver for a minute."""

import json

import psycopg

from tests.bench.ground import percentile
from tests.support.fleet import Fleet, fleet, wait_until

JOBS = 20
RUNS = 60

DEFINE = """
INSERT INTO jobs (name, cron_expression, max_runs, start_at, task_payload)
SELECT 'every-second-' || n, '* * * * * *', %s, date_trunc('second', now()) + interval '3 seconds', %s
  FROM generate_series(1, %s) AS n
"""

LATENESS = """
SELECT extract(epoch FROM start_time - scheduled_time)::float8 * 1000, status = 'SUCCESS' FROM job_executions
"""


def ours() -> tuple[float, float]:
    """Milliseconds from the named instant to the attempt's start: median and 99th percentile of 1,200 executions."""
    with fleet() as service:
        for process in ("scheduler", "scheduler", "worker", "worker"):
            service.start(process)
        with psycopg.connect(service.postgres.url, autocommit=True) as conn:
            wait_until(lambda: _living(conn) == 4, seconds=60, what="four processes")
            payload = json.dumps({"type": "API_CALL", "config": {"url": service.receiver_url}})
            conn.execute(DEFINE, (RUNS, payload, JOBS))
            wait_until(lambda: _done(conn) == JOBS * RUNS, seconds=120, what="every execution")
            rows = conn.execute(LATENESS).fetchall()
        _check(service, rows)
        late = [milliseconds for milliseconds, _ in rows]
        return percentile(late, 0.5), percentile(late, 0.99)


def _living(conn: psycopg.Connection[tuple[int]]) -> int:
    row = conn.execute("SELECT (SELECT count(*) FROM workers) + (SELECT count(*) FROM schedulers)").fetchone()
    return row[0] if row else 0


def _done(conn: psycopg.Connection[tuple[int]]) -> int:
    row = conn.execute("SELECT count(*) FROM job_executions WHERE end_time IS NOT NULL").fetchone()
    return row[0] if row else 0


def _check(service: Fleet, rows: list[tuple[float, bool]]) -> None:
    """A number of a run that went wrong would mean nothing."""
    assert all(success for _, success in rows)
    assert min(milliseconds for milliseconds, _ in rows) >= 0
    assert len(service.calls()) == JOBS * RUNS
