"""Evidence about one instant of one job, made by hand: a hole at nine, and what tests change about it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cronsvc.domain.calendars import CalendarRule, ClosedDays
from cronsvc.domain.evidence import (
    Evidence,
    Explanation,
    QueueFacts,
    Record,
    Revised,
    Step,
    WorkerFacts,
)
from cronsvc.domain.execution import Attempt, Execution, Status, Trigger
from cronsvc.domain.job import Job, JobDefinition, Pause, TaskPayload
from cronsvc.domain.schedule import Schedule

AT = datetime(2026, 6, 10, 9, tzinfo=UTC)
MADE = datetime(2026, 6, 1, 12, tzinfo=UTC)
NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
TOMORROW = AT + timedelta(days=1)
PLAIN = JobDefinition(
    name="report",
    schedule=Schedule(cron_expression="0 9 * * *"),
    task_payload=TaskPayload("API_CALL", {"url": "https://example.com/?token=hush"}),
)
FIRST = Revised(1, PLAIN, "key:alice", MADE)
JOB = Job(
    id=7,
    definition=PLAIN,
    revision=1,
    pause=None,
    next_fire_time=TOMORROW,
    last_fire_time=AT,
    fire_count=9,
    quarantine_reason=None,
    created_at=MADE,
    updated_at=MADE,
)


# Nothing is recorded at nine though the cursor has passed it: the worst there is, and where the others begin.
HOLE = Evidence(at=AT, now=NOON, job=JOB, armed=True, revision=FIRST)
ALICE_PAUSE = Pause("key:alice", AT - timedelta(hours=1), "moving house", None)
HOLIDAY = replace(
    PLAIN.schedule,
    calendar="holidays",
    calendar_rule=CalendarRule.NEXT,
    closed_days=ClosedDays(frozenset({TOMORROW.date()})),
)


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def execution(**fields: Any) -> Execution:
    plain: dict[str, Any] = dict.fromkeys(Execution.__slots__)
    plain |= {
        "id": 40,
        "job_id": 7,
        "job_name": "report",
        "namespace": "default",
        "scheduled_time": AT,
        "trigger": Trigger.SCHEDULE,
        "status": Status.SUCCESS,
        "revision": 1,
        "queue": "default",
        "priority": 10,
        "attempt": 1,
        "max_attempts": 3,
        "queued_at": AT + seconds(0.5),
    }
    return Execution(**plain | fields)


def row(held: str | None = None, **fields: Any) -> Record:
    times = {name: fields.pop(name, None) for name in ("dispatch_at", "deadline_at", "backfill_id")}
    ready_at = fields.pop("ready_at", AT + seconds(0.5))
    dispatches = fields.pop("dispatches", 1)
    return Record(execution(**fields), ready_at=ready_at, dispatches=dispatches, held=held, **times)


def attempt(**fields: Any) -> Attempt:
    plain: dict[str, Any] = {
        "attempt": 1,
        "claim_no": 1,
        "outcome": "success",
        "worker_id": "w1",
        "queued_at": AT + seconds(0.5),
        "start_time": AT + seconds(2.5),
        "end_time": AT + seconds(6.5),
        "error": None,
        "http_status": 200,
        "response_excerpt": None,
    }
    return Attempt(**plain | fields)


def with_row(record: Record, **fields: Any) -> Evidence:
    return replace(HOLE, record=record, **fields)


def defined(**fields: Any) -> Evidence:
    """The hole, with another definition in force then and now."""
    definition = replace(PLAIN, **fields)
    return replace(HOLE, revision=replace(FIRST, definition=definition), job=replace(JOB, definition=definition))


def job(**fields: Any) -> Evidence:
    """The hole of a job that stands elsewhere."""
    return replace(HOLE, job=replace(JOB, **fields))


def step(explanation: Explanation, what: str) -> Step:
    found = [each for each in explanation.steps if each.what == what]
    assert found, (what, [each.what for each in explanation.steps])
    return found[-1]


RAN = with_row(
    row(start_time=AT + seconds(2.5), end_time=AT + seconds(6.5), worker_id="w1"),
    attempts=(attempt(),),
    workers={"w1": WorkerFacts("w1", "host-a", "active", True, NOON)},
)
QUEUE = QueueFacts("default", None, None, None, False, None, None, 2)
WAITS = row(status=Status.QUEUED, attempt=0, dispatch_at=NOON)
BEHIND: Mapping[str, Any] = {"next_fire_time": AT, "last_fire_time": AT - timedelta(days=1)}
SQL_EDIT = Revised(
    2, replace(PLAIN, schedule=Schedule(cron_expression="0 17 * * *")), "sql:postgres", AT + timedelta(hours=1)
)
SPAN = execution(
    id=39,
    scheduled_time=AT - timedelta(days=3),
    status=Status.SKIPPED,
    status_reason="misfire",
    skipped_until=AT + timedelta(days=2),
    skipped_count=6,
)
