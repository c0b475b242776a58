"""Every hot statement goes along an index: its plan on a table that is large enough to make a scan the worse choice."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from psycopg import sql

from cronsvc.store import (
    admission,
    advisory,
    children,
    dependencies,
    dispatches,
    presence,
    queues,
    running,
    ticks,
    window_holds,
)
from cronsvc.store.pool import Database

NOW = datetime.now(UTC).replace(microsecond=0)

MANY_JOBS = """
INSERT INTO jobs (name, cron_expression, task_payload, next_fire_time, armed_revision)
SELECT 'job-' || n, '* * * * *', '{"type": "API_CALL"}', clock_timestamp() + n * interval '1 second', 1
  FROM generate_series(1, 20000) AS n
"""

MANY_EXECUTIONS = """
INSERT INTO job_executions (job_id, scheduled_time, status, attempt, dispatch_at)
SELECT 1 + n %% 20000, %s - n * interval '10 seconds', CASE WHEN n %% 1000 = 0 THEN 'QUEUED' ELSE 'SUCCESS' END, 1,
       CASE WHEN n %% 1000 = 0 THEN clock_timestamp() + interval '1 hour' END
  FROM generate_series(1, 40000) AS n
"""

TIMES = [NOW - timedelta(seconds=10 * n) for n in range(1, 51)]
KEYS: dict[str, Any] = {"job_ids": [1 + n for n in range(1, 51)], "times": TIMES}
BOUNDS: dict[str, Any] = {"least": min(TIMES), "greatest": max(TIMES)}

FINISHED = [
    "claim_no",
    "ready_at",
    "status",
    "status_reason",
    "outcome",
    "retry_seconds",
    "result",
    "error",
    "http_status",
    "excerpt",
    "progress",
    "log_details",
    "attempt_error",
]

HOT: dict[str, tuple[str | sql.Composed, dict[str, Any]]] = {
    "next instants": (ticks.NEXT_INSTANTS, {}),
    "take due": (
        ticks.TAKE_DUE,
        {
            "now": None,
            "lead": timedelta(0),
            "batch": 1000,
            "rotation": 5,
            "locks": True,
            "class": advisory.LOCK_CLASS,
        },
    ),
    "resumable": (ticks.RESUMABLE, {"now": None, "batch": 100}),
    "waiting": (dispatches.WAITING, {"now": None, "batch": 1000, "paused": ["slow"]}),
    "due in a paused queue": (queues.DUE, {"now": None, "batch": 1000, "queues": ["slow"]}),
    "park": (queues.PARK, KEYS | BOUNDS | {"held": queues.HELD}),
    "parked": (queues.PARKED, {"name": "slow", "batch": 1000}),
    "dispatched": (
        queues.DISPATCHED,
        {"name": "slow", "batch": 1000, "longest": queues.LONGEST_REDISPATCH},
    ),
    "call in": (queues.CALL_IN, KEYS | BOUNDS),
    "pushed": (dispatches.PUSHED, {"batch": 1000}),
    "unfinished, to be replaced": (admission.UNFINISHED, {"job_ids": [1, 2, 3]}),
    "replace": (admission.REPLACE_WAITING, KEYS | BOUNDS),
    "held back by overlap": (admission.FIRST_HELD, {"job_ids": [1, 2, 3]}),
    "free of overlap": (admission.OVERLAP_FREE, {"batch": 500}),
    "places that are free": (admission.FREE_PLACES, {"batch": 500}),
    "held by windows before": (window_holds.HELD_BEFORE, KEYS),
    "called in": (queues.CALLED_IN, {"name": "slow"}),
    "redispatch": (
        dispatches.REDISPATCH,
        KEYS | BOUNDS | {"redispatch": timedelta(seconds=5), "now": None},
    ),
    "claim": (running.CLAIM, KEYS | BOUNDS | {"worker_id": uuid4(), "claim_nos": [0] * 50, "admitted": False}),
    "abandoned": (running.ABANDONED, {"batch": 500}),
    "finish": (
        running.FINISH,
        {
            "job_id": KEYS["job_ids"],
            "scheduled_time": TIMES,
            **BOUNDS,
            **dict.fromkeys(FINISHED, [None] * 50),
            "refund": [False] * 50,
        },
    ),
    "ends to act on": (dependencies.TAKE, {"batch": 500}),
    "jobs that wait": (
        dependencies.LOCK_JOBS,
        {"upstreams": [1, 2, 3], "others": [4], "after": 0, "most": None, "now": None},
    ),
    "waiting parents": (
        children.LOCK_WAITING,
        KEYS | BOUNDS,
    ),
    "children that have ended": (children.COUNT_AND_END, BOUNDS | {"ids": [1, 2, 3]}),
    "open children": (children.OPEN, {"parent_ids": [1, 2, 3]}),
    "call children off": (children.CANCEL_CHILDREN, KEYS | BOUNDS | {"by": "x"}),
    "parents beyond their deadline": (children.OVERDUE, {"batch": 100, "now": None}),
    "prune workers": (presence.PRUNE_WORKERS, {}),
}


@pytest.fixture
async def filled(db: Database) -> Database:
    async with db.transaction() as conn:
        await conn.execute("ALTER TABLE jobs DISABLE TRIGGER USER")
        await conn.execute(MANY_JOBS)
        await conn.execute("ALTER TABLE jobs ENABLE TRIGGER USER")
        await conn.execute(MANY_EXECUTIONS, (NOW,))
        await conn.execute(
            "INSERT INTO workers (id, name, version, queues, concurrency, lease_until)"
            " SELECT gen_random_uuid(), 'w', '0', '{default}', 5, clock_timestamp() FROM generate_series(1, 10)"
        )
        await conn.execute("INSERT INTO job_dependencies SELECT n, n + 1 FROM generate_series(1, 10000) AS n")
        await conn.execute("ANALYZE")
    return db


async def test_no_hot_statement_scans_a_large_table(filled: Database) -> None:
    scans = {}
    async with filled.statements() as conn:
        for name, (statement, parameters) in HOT.items():
            text = statement if isinstance(statement, str) else statement.as_string(conn)
            rows = await (await conn.execute(f"EXPLAIN {text}".encode(), parameters)).fetchall()
            # An empty partition is scanned for nothing, which is the best plan there is.
            lines = [line for (line,) in rows if "Seq Scan on job" in line and "cost=0.00..0.00" not in line]
            if lines:
                scans[name] = lines
    assert scans == {}
