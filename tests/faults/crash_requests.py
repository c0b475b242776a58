"""Crashes in what people ask the API for: killed just before the commit of a request, and just after it.

What is left must be nothing or all of it, each with its audit row, and the same request, asked again, brings it to the
one right end.
"""

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cronsvc.services.sealing import new_key
from tests.faults.stage import KILLED, QUICK, Child, Stage, Theatre
from tests.support.servers import free_port

# A week ago, whole hours: within what is kept.
PAST = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=7)
YEARLY = {"cron_expression": "0 4 1 3 *", "next_fire_time": "2090-03-01T04:00:00Z"}


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks for. `{job}` and `{execution}` in the path are those that `prepare` made.

    `look` shows what it changes: `before` and `after`. `repeated`: the answer when it is asked again after it happened
    (None: it is not asked). `calls`: how often the target is called in the end, by those that lead to a run.
    """

    name: str
    method: str
    path: str
    body: Mapping[str, Any] | None
    prepare: Callable[[Stage], dict[str, int]]
    look: str
    before: tuple[Any, ...]
    after: tuple[Any, ...]
    answer: int
    repeated: int | None
    headers: Mapping[str, str] = field(default_factory=dict)
    calls: int | None = None
    audits: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    point: str = ""  # where it is killed; else at the first commit of what the caller asked for


def _a_job(stage: Stage) -> dict[str, int]:
    return {"job": stage.define("steady", "ok", **YEARLY)}


def an_hourly_past(stage: Stage) -> dict[str, int]:
    ended = {"next_fire_time": None, "start_at": PAST, "end_at": PAST + timedelta(days=1)}
    return {"job": stage.define("steady", "ok", cron_expression="0 * * * *", **ended)}


def _waiting(stage: Stage) -> dict[str, int]:
    return _execution(stage, "status, dispatch_at", "'QUEUED', clock_timestamp() + interval '1 hour'")


def _failed(stage: Stage) -> dict[str, int]:
    columns = "status, status_reason, attempt, max_attempts, claim_no, end_time"
    return _execution(stage, columns, "'FAILED', 'error', 1, 1, 1, clock_timestamp()")


def _restored(stage: Stage) -> dict[str, int]:
    """A database that was somebody else's: an execution waits, and a job owes an instant."""
    made = _execution(stage, "status, dispatch_at", "'QUEUED', clock_timestamp()")
    stage.define("owing", "ok", run_at=PAST, cron_expression=None)
    stage.execute(
        "INSERT INTO service_identity (database_oid, database_name, server_start)"
        " VALUES (1, 'the original', pg_postmaster_start_time())"
    )
    return made


FENCE = (
    "SELECT cronsvc_fenced(), (SELECT count(*)::int FROM audit_log WHERE action = 'confirm'),"
    " (SELECT array_agg(status || coalesce(' ' || status_reason, '') ORDER BY status) FROM job_executions)"
)


def _execution(stage: Stage, columns: str, values: str) -> dict[str, int]:
    job = stage.define("steady", "ok", **YEARLY)
    ((execution,),) = stage.query(
        f"INSERT INTO job_executions (job_id, scheduled_time, dispatches, {columns})"
        f" VALUES (%s, clock_timestamp() - interval '1 minute', 1, {values}) RETURNING id",
        job,
    )
    return {"job": job, "execution": execution}


EXECUTION = "SELECT status, status_reason, attempt, max_attempts, resolved_at IS NOT NULL FROM job_executions"
NEW_JOB = {
    "name": "new",
    "cronExpression": "0 4 1 3 *",
    "taskPayload": {"type": "API_CALL", "config": {"url": "https://api.example.com/"}},
}
WINDOW = {"from": PAST.isoformat(), "to": (PAST + timedelta(hours=2)).isoformat()}
FAILED = ("FAILED", "error", 1, 1, False)

REQUESTS: Sequence[Request] = (
    Request(
        "create", "POST", "/jobs", NEW_JOB, lambda _: {},
        "SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM job_revisions)", (0, 0), (1, 1), 201, 409,
    ),
    Request(
        "edit", "PATCH", "/jobs/{job}", {"cronExpression": "0 5 1 3 *"}, _a_job,
        "SELECT cron_expression, revision, (SELECT count(*) FROM job_revisions)::int FROM jobs",
        ("0 4 1 3 *", 1, 1), ("0 5 1 3 *", 2, 2), 200, 200,
    ),
    Request(
        "delete", "DELETE", "/jobs/{job}", None, _waiting,
        "SELECT j.deleted_at IS NOT NULL, e.status FROM jobs AS j JOIN job_executions AS e ON e.job_id = j.id",
        (False, "QUEUED"), (True, "CANCELLED"), 204, 404,
    ),
    Request(
        "trigger", "POST", "/jobs/{job}/trigger", {"params": {"data": {"n": 2}}}, _a_job,
        "SELECT (SELECT count(*) FROM job_executions), (SELECT count(*) FROM trigger_keys)", (0, 0), (1, 1), 202, 202,
        headers={"Idempotency-Key": "once"}, calls=1, audits=0,  # a run is a row of its own, no change of anything
    ),
    Request(
        "cancel", "POST", "/executions/{execution}/cancel", {"note": "enough"}, _waiting, EXECUTION,
        ("QUEUED", None, 0, 3, False), ("CANCELLED", "user", 0, 3, False), 202, 409,
    ),
    Request(
        "retry", "POST", "/executions/{execution}/retry", None, _failed, EXECUTION,
        FAILED, ("QUEUED", None, 1, 4, False), 202, 409, calls=1,
    ),
    Request(
        "redrive", "POST", "/dead-letters/{execution}/redrive", None, _failed, EXECUTION,
        FAILED, ("QUEUED", None, 1, 4, False), 202, 409, calls=1,
    ),
    Request(
        "resolve", "POST", "/dead-letters/{execution}/resolve", {"note": "done by hand"}, _failed, EXECUTION,
        FAILED, ("FAILED", "error", 1, 1, True), 200, 409,
    ),
    Request(
        "backfill", "POST", "/jobs/{job}/backfill", WINDOW, an_hourly_past,
        "SELECT (SELECT count(*) FROM backfills), (SELECT count(*) FROM job_executions)", (0, 0), (1, 0), 202, None,
        calls=3,
    ),
    Request(
        "secret", "PUT", "/secrets/token", {"value": "a-value-that-is-long-enough"}, lambda _: {},
        "SELECT count(*), max(version) FROM secrets", (0, None), (1, 1), 200, None,
        environment={"CRONSVC_SECRET_KEYS": new_key()},
    ),
    Request(
        "confirm", "POST", "/restore/confirm", {"mode": "resume"}, _restored, FENCE,
        (True, 0, ["QUEUED"]), (False, 1, ["QUEUED"]), 200, 409, calls=2,
    ),
    # What it owed is settled before the fence opens, in transactions of their own.
    Request(
        "confirm-skip", "POST", "/restore/confirm", {"mode": "skip"}, _restored, FENCE,
        (True, 0, ["CANCELLED restore", "SKIPPED restore"]), (False, 1, ["CANCELLED restore", "SKIPPED restore"]),
        200, 409, calls=0, point="confirm",
    ),
)  # fmt: skip


def play_request(house: Theatre, request: Request, *, committed: bool) -> float:
    """Kill the API at this request's commit, then ask again and see that it happened once."""
    point = "api.committed" if committed else "api.after_mutate"
    if request.point:
        point = f"{request.point}.{'committed' if committed else 'before_commit'}"
    with house.stage(request.name, **{**QUICK, **request.environment}) as stage:
        made = request.prepare(stage)
        before = audited(stage)
        path = "/api/v1" + request.path.format(**made)
        victim, port = api(stage, [f"{point}=kill9"])
        heir, second = api(stage, [])
        answer = _ask(stage, victim, port, request, path)
        assert answer is None, f"the API was not killed and answered {answer}"
        code = victim.ended()
        assert code == KILLED, f"the API ended with {code}:\n{victim.tail()}"
        died = time.monotonic()
        assert stage.bites() == [point]
        expect(stage, request.look, [request.after if committed else request.before])
        assert audited(stage) - before == request.audits * int(committed), "a change and its audit row came apart"
        if (wanted := request.repeated if committed else request.answer) is not None:
            answer = _ask(stage, heir, second, request, path)
            assert answer == wanted, f"asked again, it answered {answer}"
        expect(stage, request.look, [request.after])
        assert audited(stage) - before == request.audits, "audited twice, or not at all"
        if request.calls is not None:
            stage.start("scheduler")
            stage.start("worker")
            stage.until(lambda: len(stage.calls()) >= request.calls, "the calls")  # type: ignore[operator]
            stage.until(lambda: stage.query(_UNFINISHED) == [(0,)], "every execution at its end")
        seconds = time.monotonic() - died
        stage.close()
        assert len(stage.calls()) == (request.calls or 0)
        return seconds


_UNFINISHED = "SELECT count(*) FROM job_executions WHERE status IN ('QUEUED', 'RUNNING')"


def audited(stage: Stage) -> int:
    """How many things people have changed, by the audit log."""
    ((count,),) = stage.query("SELECT count(*) FROM audit_log WHERE actor = 'key:faults'")
    return int(count)


def api(stage: Stage, fail_points: Sequence[str]) -> tuple[Child, int]:
    port = free_port()
    child = stage.start("api", "--host", "127.0.0.1", "--port", str(port), fail_points=fail_points)
    return child, port


def _ask(stage: Stage, child: Child, port: int, request: Request, path: str) -> int | None:
    return ask(stage, child, port, request.method, path, request.body, request.headers)


def ask(
    stage: Stage,
    child: Child,
    port: int,
    method: str,
    path: str,
    content: Mapping[str, Any] | None,
    more: Mapping[str, str],
) -> int | None:
    """The status of the answer; None when the connection broke."""
    stage.until(lambda: not child.alive or '"ready"' in child.tail(), "the API listening")
    headers = {"Authorization": f"Bearer {stage.admin_key}", "Content-Type": "application/json", **more}
    body = None if content is None else json.dumps(content)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            answer.read()
        except (ConnectionError, http.client.HTTPException):
            return None
        return answer.status


def expect(stage: Stage, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """AssertionError, with both, unless the statement brings exactly these rows."""
    found = stage.query(statement)
    assert found == list(rows), f"{found} instead of {list(rows)}"
