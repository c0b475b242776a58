"""A backfill through real processes that are killed on the way: each instant once, never too many at a time."""

import json
import signal
from collections import Counter
from typing import Any

import psycopg

from tests.support.fleet import Fleet, fleet, wait_until

INSTANTS = 60


def rows(service: Fleet, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(service.postgres.url) as conn:
        return conn.execute(query.encode(), parameters).fetchall()


def ended(service: Fleet) -> int:
    """How many runs have ended; whenever we look, no more than the bound are under way."""
    ((done, under_way),) = rows(
        service,
        "SELECT count(*) FILTER (WHERE status = 'SUCCESS'), count(*) FILTER (WHERE status IN ('QUEUED', 'RUNNING'))"
        "  FROM job_executions WHERE trigger = 'backfill'",
    )
    assert under_way <= 4
    return int(done)


def test_killing_schedulers_and_workers_on_the_way_loses_and_repeats_no_instant() -> None:
    with fleet() as service:
        payload = {"type": "API_CALL", "config": {"url": service.receiver_url + "/hook", "method": "POST"}}
        with psycopg.connect(service.postgres.url) as conn:
            conn.execute(
                "INSERT INTO jobs (name, cron_expression, task_payload, next_fire_time, armed_revision)"
                " VALUES ('filled', '0 * * * *', %s, now() + interval '2 days', 1)",
                (json.dumps(payload),),
            )
            conn.execute(
                "INSERT INTO backfills (job_id, revision, window_from, window_to, mode, direction, max_parallel,"
                " planned, created_by) VALUES (1, 1, date_trunc('hour', now()) - interval '70 hours',"
                " date_trunc('hour', now()) - interval '11 hours', 'missing', 'oldest', 4, %s, 'test')",
                (INSTANTS,),
            )
        for number in (10, 20, 30):
            victims = [service.start("scheduler"), service.start("worker")]
            wait_until(lambda wanted=number: ended(service) >= wanted, seconds=90, what=f"{number} runs")
            for victim in victims:
                victim.signal(signal.SIGKILL)
        for process in ("scheduler", "scheduler", "worker", "worker"):
            service.start(process)
        wait_until(
            lambda: ended(service) == INSTANTS and rows(service, "SELECT status FROM backfills") == [("finished",)],
            seconds=120,
            what="the end of the backfill: " + service.logs(),
        )
        (counts,) = rows(service, "SELECT planned, started, left_alone, final_counts FROM backfills")
        assert counts == (INSTANTS, INSTANTS, 0, {"SUCCESS": INSTANTS}), service.logs()
        written = rows(service, "SELECT count(*), count(DISTINCT scheduled_time) FROM job_executions")
        assert written == [(INSTANTS, INSTANTS)]
        calls = Counter(call["execution"] for call in service.calls())
        attempts = dict(rows(service, "SELECT id, attempt FROM job_executions"))
        assert all(calls[execution] <= attempts[execution] for execution in attempts)
        assert rows(service, "SELECT last_fire_time, fire_count FROM jobs") == [(None, 0)]
