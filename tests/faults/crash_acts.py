"""Crashes in the other transactions: what schedulers and workers decide besides firing, and what people ask for.

Each act is killed once just before the commit of its transaction and once just after it, before anybody was told. After
a restart the service by itself brings it to the one right end: nothing lost, nothing done twice.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from psycopg.types.json import Jsonb

from tests.faults.crash_keys import REPLAYS, play_replay, play_rotation
from tests.faults.crash_requests import PAST, REQUESTS, Request, an_hourly_past, expect, play_request
from tests.faults.stage import KILLED, QUICK, Stage, Theatre

COMING = "date_trunc('second', clock_timestamp()) + interval '3 seconds'"


@dataclass(frozen=True, slots=True)
class Act:
    """One line of the table; `play` raises AssertionError, or returns the seconds from the kill to the end."""

    name: str
    what: str
    play: Callable[[Theatre], float]


OUTCOMES = """
SELECT e.status, e.status_reason, e.attempt,
       ARRAY(SELECT a.outcome FROM job_attempts AS a WHERE a.execution_id = e.id ORDER BY a.claim_no)
  FROM job_executions AS e ORDER BY e.scheduled_time
"""
DONE = ("SUCCESS", None, 1, ["success"])
LOST_ONCE = ("SUCCESS", None, 2, ["lost", "success"])


@dataclass(frozen=True, slots=True)
class Doing:
    """What a process of the service does by itself, and must have done once. `role` is who dies.

    `rows`: what is left of the executions when it died before the commit, and after it; `look`: what else is.
    """

    name: str
    what: str
    role: str
    prepare: Callable[[Stage], object]
    rows: tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]
    look: str
    seen: tuple[Any, ...]
    with_worker: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    silent: int = 0  # attempts that call nobody themselves


def _followed(stage: Stage) -> None:
    """A job that runs after another one."""
    upstream = _each_second(stage, "ok", 1)
    wanted = Jsonb({"mode": "all", "on": [{"jobId": upstream}]})
    stage.define("after", "ok", depends_on=wanted, next_fire_time=None)


def _parent(stage: Stage) -> None:
    """A job whose handler starts three children, which call the target."""
    stage.define("child", "ok", next_fire_time=None)
    _each_second(stage, "ok", 1, task_payload=Jsonb({"type": "PYTHON", "config": {"handler": "parent"}}))


def _called_back(stage: Stage) -> None:
    """A job whose target takes it over with 202 and is never heard of again."""
    config = {"url": f"{stage.target}/accept/{stage.name}/steady", "method": "POST", "data": {"n": 1}}
    payload = Jsonb({"type": "API_CALL", "config": config | {"completion": {"timeoutSeconds": 2}}})
    _each_second(stage, "accept", 1, max_attempts=2, task_payload=payload)


def _held_by_a_window(stage: Stage) -> None:
    """A job that is due while a maintenance window holds it, for two seconds more."""
    _each_second(stage, "ok", 1)
    stage.execute(
        "INSERT INTO maintenance_windows (name, starts_at, ends_at, during, created_by)"
        f" VALUES ('work', clock_timestamp() - interval '1 minute', {COMING} + interval '2 seconds', 'hold', 'ann')"
    )


def _backfilled(stage: Stage) -> None:
    made = an_hourly_past(stage)
    stage.execute(
        "INSERT INTO backfills (job_id, revision, window_from, window_to, mode, direction, max_parallel, planned,"
        " created_by) VALUES (%s, 1, %s, %s, 'missing', 'oldest', 2, 5, 'key:faults')",
        made["job"], PAST, PAST + timedelta(hours=4),
    )  # fmt: skip


def _each_second(stage: Stage, mode: str, runs: int, **columns: Any) -> int:
    """A job that fires `runs` times, a second apart, beginning when the processes are up."""
    ((start,),) = stage.query(f"SELECT {COMING}")
    return stage.define("steady", mode, every_seconds=1, max_runs=runs, next_fire_time=start, **columns)


COUNTS = (
    "SELECT consecutive_failures, paused_by, (SELECT count(*)::int FROM audit_log WHERE action = 'pause') FROM jobs"
)

DOINGS: Sequence[Doing] = (
    Doing(
        "backfill", "a step of a backfill", "scheduler", _backfilled, ([DONE] * 5, [DONE] * 5),
        "SELECT status, started, left_alone FROM backfills", ("finished", 5, 0),
    ),
    Doing(
        "overlap", "a held execution let go", "scheduler",
        lambda stage: _each_second(stage, "slow", 3, overlap_policy="buffer_all"), ([DONE] * 3, [DONE] * 3),
        "SELECT count(*) FROM job_executions AS a JOIN job_executions AS b ON a.scheduled_time < b.scheduled_time"
        " AND a.end_time > b.start_time", (0,),
    ),
    Doing(
        "limit", "a place under a limit given away", "scheduler",
        lambda stage: _each_second(stage, "slow", 3, max_concurrency=1), ([DONE] * 3, [DONE] * 3),
        "SELECT count(*) FROM job_executions AS a JOIN job_executions AS b ON a.id <> b.id"
        " AND a.start_time <= b.start_time AND a.end_time > b.start_time", (0,),
    ),
    Doing(
        "admitted", "a claim under a limit", "worker",
        lambda stage: _each_second(stage, "ok", 2, max_concurrency=1), ([DONE] * 2, [LOST_ONCE, DONE]),
        "SELECT count(*) FROM job_executions WHERE held IS NOT NULL", (0,),
    ),
    Doing(
        "pause", "the failure that pauses a job", "worker",
        lambda stage: _each_second(stage, "fail", 1, max_attempts=1, pause_after_failures=2, consecutive_failures=1),
        ([("FAILED", "lost", 1, ["lost"])], [("FAILED", "error", 1, ["error"])]),
        COUNTS, (2, "cronsvc:failures", 1),
    ),
    Doing(
        "deadline", "the end of what waits past its deadline", "scheduler",
        lambda stage: _each_second(stage, "ok", 1, deadline_seconds=1, pause_after_failures=1),
        ([("FAILED", "timeout", 0, [])], [("FAILED", "timeout", 0, [])]),
        COUNTS, (1, "cronsvc:failures", 1), with_worker=False,
    ),
    Doing(
        "dependents", "the run that follows an end", "scheduler", _followed, ([DONE] * 2, [DONE] * 2),
        "SELECT count(*) FROM execution_ends", (0,),
    ),
    Doing(
        "children", "the start of three children", "worker", _parent, ([LOST_ONCE, *[DONE] * 3],) * 2,
        "SELECT (SELECT count(*) FROM execution_ends),"
        " (SELECT count(*) FROM job_executions WHERE parent_id IS NOT NULL)",
        (0, 3), environment={"CRONSVC_HANDLER_MODULES": "tests.faults.handlers"}, silent=1,
    ),
    Doing(
        "callback", "the start of a wait for a target's call", "worker", _called_back,
        ([("FAILED", "timeout", 2, ["lost", "timeout"])], [("FAILED", "timeout", 2, ["timeout"] * 2)]),
        "SELECT count(*) FROM job_executions WHERE worker_id IS NOT NULL AND status = 'RUNNING'", (0,),
        environment={"CRONSVC_PUBLIC_URL": "http://127.0.0.1:9"},
    ),
    Doing(
        "silence", "the end of a wait that nobody ended", "scheduler", _called_back,
        ([("FAILED", "timeout", 2, ["timeout"] * 2)],) * 2,
        "SELECT count(*) FROM execution_ends", (0,), environment={"CRONSVC_PUBLIC_URL": "http://127.0.0.1:9"},
    ),
    Doing(
        "window", "the release of what a window held", "scheduler", _held_by_a_window, ([DONE], [DONE]),
        "SELECT count(*) FROM job_executions AS e JOIN maintenance_windows AS w ON e.start_time < w.ends_at", (0,),
    ),
    Doing(
        "seal", "places in the audit log's chain", "scheduler", lambda stage: _each_second(stage, "ok", 1),
        ([DONE], [DONE]),
        "SELECT (SELECT count(*) FROM audit_unsealed), v.checked = (SELECT count(*) FROM audit_log), v.reason"
        " FROM cronsvc_v1.audit_verify() AS v", (0, True, None),
    ),
)  # fmt: skip


def play_doing(house: Theatre, doing: Doing, *, committed: bool) -> float:
    """Kill who does it at its commit; another goes on, and it is done once."""
    point = f"{doing.name}.{'committed' if committed else 'before_commit'}"
    with house.stage(doing.name, **{**QUICK, **doing.environment}) as stage:
        doing.prepare(stage)
        victim = stage.start(doing.role, fail_points=[f"{point}=kill9"])
        heir = stage.start(doing.role, standby=True)
        if doing.role == "worker":
            stage.start("scheduler")
        elif doing.with_worker:
            stage.start("worker")
        code = victim.ended()
        assert code == KILLED, f"{victim.log.name} ended with {code}:\n{victim.tail()}"
        died = time.monotonic()
        heir.go()
        rows = doing.rows[committed]
        stage.until(stage.all_terminal(len(rows)), "every execution at its end")
        stage.until(lambda: stage.query(doing.look) == [doing.seen], f"{doing.seen} of {doing.look}", seconds=15)
        seconds = time.monotonic() - died
        stage.close()
        assert stage.bites() == [point]
        expect(stage, OUTCOMES, rows)
        expect(stage, doing.look, [doing.seen])
        attempts = sum(row[2] for row in rows)
        lost = sum(row[3].count("lost") for row in rows)
        assert attempts - lost - doing.silent <= len(stage.calls()) <= attempts - doing.silent
        return seconds


def _acts() -> list[Act]:
    acts = []
    for committed in (False, True):
        moment = "after" if committed else "before"
        for doing in DOINGS:

            def play(house: Theatre, doing: Doing = doing, committed: bool = committed) -> float:
                return play_doing(house, doing, committed=committed)

            name = f"{doing.name}.{'committed' if committed else 'before_commit'}"
            acts.append(Act(name, f"{doing.what}, {moment} COMMIT", play))
        for request in REQUESTS:

            def ask(house: Theatre, request: Request = request, committed: bool = committed) -> float:
                return play_request(house, request, committed=committed)

            acts.append(Act(f"A1.{request.name}.{moment}", f"API: {request.name}, {moment} COMMIT", ask))
    acts += [Act(f"replay.{moment}", words, partial(play_replay, moment=moment)) for moment, words in REPLAYS.items()]
    for committed in (False, True):
        name = f"rotation.{'committed' if committed else 'before_commit'}"
        words = f"a new key for secrets, {'after' if committed else 'before'} COMMIT"
        acts.append(Act(name, words, partial(play_rotation, committed=committed)))
    return acts


ACTS: Sequence[Act] = tuple(_acts())
