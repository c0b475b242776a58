"""Rows of the tables as values of the domain, and definitions as columns: the one place that knows both spellings.

Promises: times leave here aware and in UTC, whatever the session speaks. `job_from_row` and `definition_from_json`
are strict: a row written by SQL that means nothing to us (an unknown policy, a backoff of text) raises ValueError
naming the column, so that it can be quarantined and never run as something else. `job_for_readers` and
`definition_for_readers` never fail: they show such a row with defaults in the places that cannot be read, and
`quarantine_reason` says which.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from psycopg.types.json import Jsonb

from cronsvc.domain.calendars import CalendarRule
from cronsvc.domain.dependencies import DependsOn, depends_on_json, read_depends_on
from cronsvc.domain.execution import Attempt, Execution, Status, Trigger
from cronsvc.domain.job import (
    Job,
    JobDefinition,
    MisfirePolicy,
    OverlapPolicy,
    Pause,
    Priority,
    Retention,
    TaskPayload,
)
from cronsvc.domain.retry import Backoff, BackoffType
from cronsvc.domain.schedule import Schedule
from cronsvc.store.calendars import closed_days

T = TypeVar("T")
Row = Mapping[str, Any]

JOB_COLUMNS = """
    j.id, j.namespace, j.name, j.description, j.tags, j.cron_expression, j.every_seconds, j.run_at, j.timezone,
    j.anchor, j.start_at, j.end_at, j.max_runs, j.jitter_seconds, j.misfire_policy, j.misfire_grace_seconds,
    j.misfire_cap, j.overlap_policy, j.max_concurrency, j.concurrency_key, j.queue, j.priority, j.max_attempts,
    j.backoff, j.retry_on, j.timeout_seconds,
    j.deadline_seconds, j.pause_after_failures, j.retention, j.task_payload, j.is_active, j.paused_at,
    j.paused_by, j.pause_note, j.paused_until, j.next_fire_time, j.last_fire_time, j.fire_count, j.revision,
    j.armed_revision, j.tzdata_version, j.quarantine_reason, j.created_at, j.updated_at, j.calendar, j.calendar_rule,
    j.depends_on, j.job_group, j.template_id, j.template_revision,
    CASE WHEN j.calendar IS NOT NULL THEN cronsvc_calendar_days(j.namespace, j.calendar) END AS calendar_days
"""
"""What `job_from_row` needs, for a statement that calls the table `jobs AS j`."""

EXECUTION_COLUMNS = """
    e.id, e.job_id, j.name AS job_name, j.namespace, e.scheduled_time, e.trigger, e.status, e.status_reason,
    e.revision, e.queue, e.priority, e.attempt, e.max_attempts, e.worker_id::text AS worker_id,
    e.created_at AS queued_at, e.start_time, e.end_time, e.skipped_until, e.skipped_count, e.params, e.requested_by,
    e.progress, e.result, e.error, e.log_details, e.cancel_requested_at, e.cancel_requested_by, e.cancel_note,
    e.resolved_at, e.resolved_by, e.resolve_note, e.backfill_id, e.callback_since, e.callback_due, e.callback_until,
    e.causes, e.parent_id, e.child_key, e.children, e.held
"""
"""What `execution_from_row` needs, for a statement that joins `job_executions AS e` with `jobs AS j`."""

ATTEMPT_COLUMNS = """
    a.attempt, a.claim_no, a.outcome, a.worker_id::text AS worker_id, a.ready_at AS queued_at, a.start_time, a.end_time,
    a.error, a.http_status, a.response_excerpt
"""
"""What `attempt_from_row` needs, for a statement that calls the table `job_attempts AS a`."""


def job_from_row(row: Row) -> Job:
    """Read a row of JOB_COLUMNS; raises ValueError naming the column that means nothing."""
    return _job(row, _definition(row, None), row["quarantine_reason"])


def job_for_readers(row: Row) -> Job:
    """Read a row of JOB_COLUMNS for people: `quarantine_reason` names what could not be read and became a default."""
    faults: list[str] = []
    definition = _definition(row, faults)
    reason = row["quarantine_reason"]
    if faults and reason is None:
        reason = "cannot be read: " + "; ".join(faults)
    return _job(row, definition, reason)


def definition_from_json(value: Row) -> JobDefinition:
    """Read `job_revisions.definition`; raises ValueError naming the key that means nothing."""
    return _definition(value, None)


def definition_for_readers(value: Row) -> JobDefinition:
    """Read `job_revisions.definition` for people: what cannot be read becomes a default."""
    return _definition(value, [])


def definition_to_columns(definition: JobDefinition) -> dict[str, Any]:
    """Return the value of every column of `jobs` that a person defines, ready to be a statement's parameters."""
    schedule, backoff, retention = definition.schedule, definition.backoff, definition.retention
    return {
        "namespace": definition.namespace,
        "name": definition.name,
        "description": definition.description,
        "tags": list(definition.tags),
        "job_group": definition.group,
        "cron_expression": schedule.cron_expression,
        "every_seconds": schedule.every_seconds,
        "run_at": schedule.run_at,
        "timezone": schedule.timezone,
        "anchor": schedule.anchor,
        "start_at": schedule.start_at,
        "end_at": schedule.end_at,
        "calendar": schedule.calendar,
        "calendar_rule": schedule.calendar_rule.value,
        "max_runs": definition.max_runs,
        "jitter_seconds": definition.jitter_seconds,
        "misfire_policy": definition.misfire_policy.value,
        "misfire_grace_seconds": definition.misfire_grace_seconds,
        "misfire_cap": definition.misfire_cap,
        "overlap_policy": definition.overlap_policy.value,
        "max_concurrency": definition.max_concurrency,
        "concurrency_key": definition.concurrency_key,
        "queue": definition.queue,
        "priority": int(definition.priority),
        "max_attempts": definition.max_attempts,
        "backoff": Jsonb(
            {
                "type": backoff.type.value,
                "delaySeconds": backoff.delay_seconds,
                "factor": backoff.factor,
                "maxSeconds": backoff.max_seconds,
                "jitter": backoff.jitter,
            }
            | ({"delays": list(backoff.delays)} if backoff.type is BackoffType.LIST else {})
        ),
        "retry_on": None if definition.retry_on is None else list(definition.retry_on),
        "timeout_seconds": definition.timeout_seconds,
        "deadline_seconds": definition.deadline_seconds,
        "pause_after_failures": definition.pause_after_failures,
        "depends_on": None if definition.depends_on is None else Jsonb(depends_on_json(definition.depends_on)),
        "retention": Jsonb(
            {"keepCompleted": retention.keep_completed, "keepFailed": retention.keep_failed, "days": retention.days}
        ),
        "task_payload": Jsonb({"type": definition.task_payload.type, "config": dict(definition.task_payload.config)}),
        "is_active": definition.is_active,
    }


def execution_from_row(row: Row) -> Execution:
    """Read a row of EXECUTION_COLUMNS."""
    return Execution(
        id=row["id"],
        job_id=row["job_id"],
        job_name=row["job_name"],
        namespace=row["namespace"],
        scheduled_time=_instant(row["scheduled_time"]),
        trigger=Trigger(row["trigger"]),
        status=Status(row["status"]),
        status_reason=row["status_reason"],
        revision=row["revision"],
        queue=row["queue"],
        priority=row["priority"],
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        worker_id=row["worker_id"],
        queued_at=_instant(row["queued_at"]),
        start_time=_instant_or_none(row["start_time"]),
        end_time=_instant_or_none(row["end_time"]),
        skipped_until=_instant_or_none(row["skipped_until"]),
        skipped_count=row["skipped_count"],
        params=row["params"],
        requested_by=row["requested_by"],
        progress=row["progress"],
        result=row["result"],
        error=row["error"],
        log_details=row["log_details"],
        cancel_requested_at=_instant_or_none(row["cancel_requested_at"]),
        cancel_requested_by=row["cancel_requested_by"],
        cancel_note=row["cancel_note"],
        resolved_at=_instant_or_none(row["resolved_at"]),
        resolved_by=row["resolved_by"],
        resolve_note=row["resolve_note"],
        backfill_id=row["backfill_id"],
        callback_since=_instant_or_none(row["callback_since"]),
        callback_due=_instant_or_none(row["callback_due"]),
        callback_until=_instant_or_none(row["callback_until"]),
        causes=row["causes"] if isinstance(row["causes"], list) else None,
        parent_id=row["parent_id"],
        child_key=row["child_key"],
        children=row["children"],
        held=row["held"],
    )


def attempt_from_row(row: Row) -> Attempt:
    """Read a row of ATTEMPT_COLUMNS."""
    return Attempt(
        attempt=row["attempt"],
        claim_no=row["claim_no"],
        outcome=row["outcome"],
        worker_id=row["worker_id"],
        queued_at=_instant_or_none(row["queued_at"]),
        start_time=_instant_or_none(row["start_time"]),
        end_time=_instant(row["end_time"]),
        error=row["error"],
        http_status=row["http_status"],
        response_excerpt=row["response_excerpt"],
    )


def _job(row: Row, definition: JobDefinition, quarantine_reason: str | None) -> Job:
    pause = None
    if row["paused_at"] is not None:
        pause = Pause(
            by=row["paused_by"] or "",
            at=_instant(row["paused_at"]),
            note=row["pause_note"],
            until=_instant_or_none(row["paused_until"]),
        )
    return Job(
        id=row["id"],
        definition=definition,
        revision=row["revision"],
        pause=pause,
        next_fire_time=_instant_or_none(row["next_fire_time"]),
        last_fire_time=_instant_or_none(row["last_fire_time"]),
        fire_count=row["fire_count"],
        quarantine_reason=quarantine_reason,
        created_at=_instant(row["created_at"]),
        updated_at=_instant(row["updated_at"]),
        template_id=row["template_id"],
        template_revision=row["template_revision"],
    )


def _definition(columns: Row, faults: list[str] | None) -> JobDefinition:
    """Read the columns of a definition; a fault is raised, or with a list collected in it."""
    return JobDefinition(
        namespace=columns["namespace"],
        name=columns["name"],
        description=columns["description"],
        tags=tuple(columns["tags"]),
        group=columns.get("job_group"),
        schedule=_read(columns, schedule_from_row, "schedule", Schedule(), faults),
        max_runs=columns["max_runs"],
        jitter_seconds=columns["jitter_seconds"],
        misfire_policy=_read(
            columns, lambda row: MisfirePolicy(row["misfire_policy"]), "misfire_policy", MisfirePolicy.FIRE_ONCE, faults
        ),
        misfire_grace_seconds=columns["misfire_grace_seconds"],
        misfire_cap=columns["misfire_cap"],
        overlap_policy=_read(
            columns, lambda row: OverlapPolicy(row["overlap_policy"]), "overlap_policy", OverlapPolicy.ALLOW, faults
        ),
        max_concurrency=columns.get("max_concurrency"),
        concurrency_key=columns.get("concurrency_key"),
        queue=columns["queue"],
        priority=_read(columns, lambda row: Priority(row["priority"]), "priority", Priority.NORMAL, faults),
        max_attempts=columns["max_attempts"],
        backoff=_read(columns, _backoff, "backoff", Backoff(), faults),
        # A revision from before these columns has no such keys.
        retry_on=None if columns.get("retry_on") is None else tuple(columns["retry_on"]),
        timeout_seconds=columns["timeout_seconds"],
        deadline_seconds=columns.get("deadline_seconds"),
        pause_after_failures=columns.get("pause_after_failures"),
        depends_on=_read(columns, _depends_on, "depends_on", None, faults),
        retention=_read(columns, _retention, "retention", Retention(), faults),
        task_payload=_read(columns, _task_payload, "task_payload", TaskPayload("", {}), faults),
        is_active=columns["is_active"],
    )


def _read(columns: Row, read: Callable[[Row], T], column: str, default: T, faults: list[str] | None) -> T:
    try:
        return read(columns)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        fault = f"{column}: {error}"
        if faults is None:
            raise ValueError(fault) from error
        faults.append(fault)
        return default


def schedule_from_row(columns: Row) -> Schedule:
    """The columns that say when a job runs, by their own names; instants in UTC, whatever the session speaks."""
    return Schedule(
        cron_expression=columns["cron_expression"],
        every_seconds=columns["every_seconds"],
        run_at=_instant_or_none(columns["run_at"]),
        timezone=columns["timezone"],
        anchor=_instant_or_none(columns["anchor"]),
        start_at=_instant_or_none(columns["start_at"]),
        end_at=_instant_or_none(columns["end_at"]),
        calendar=columns.get("calendar"),
        calendar_rule=CalendarRule(columns.get("calendar_rule", CalendarRule.SKIP)),
        closed_days=None if columns.get("calendar_days") is None else closed_days(columns["calendar_days"]),
    )


def _depends_on(columns: Row) -> DependsOn | None:
    value = columns.get("depends_on")
    return None if value is None else read_depends_on(value)


def _backoff(columns: Row) -> Backoff:
    value, plain = columns["backoff"], Backoff()
    return Backoff(
        type=BackoffType(value.get("type", plain.type)),
        delay_seconds=_number(value.get("delaySeconds", plain.delay_seconds)),
        factor=_number(value.get("factor", plain.factor)),
        max_seconds=_number(value.get("maxSeconds", plain.max_seconds)),
        jitter=_number(value.get("jitter", plain.jitter)),
        delays=_delays(value) if value.get("type") == BackoffType.LIST else (),
    )


def _delays(value: Row) -> tuple[float, ...]:
    delays = tuple(_number(each) for each in value["delays"])
    if not delays:
        raise ValueError("a list without delays")
    return delays


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _retention(columns: Row) -> Retention:
    value = columns["retention"]
    completed, failed = value.get("keepCompleted"), value.get("keepFailed")
    return Retention(
        keep_completed=None if completed is None else int(_number(completed)),
        keep_failed=None if failed is None else int(_number(failed)),
        days=int(_number(value.get("days", Retention().days))),
    )


def _task_payload(columns: Row) -> TaskPayload:
    value = columns["task_payload"]
    kind, config = value["type"], value.get("config")
    if not isinstance(kind, str):
        raise TypeError("its type is not text")
    if config is not None and not isinstance(config, dict):
        raise TypeError("its config is not an object")
    return TaskPayload(kind, config or {})


def _instant(value: datetime | str) -> datetime:
    """An instant in UTC, from the driver's datetime or from the text that `to_jsonb` makes of one."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value if value.tzinfo is UTC else value.astimezone(UTC)


def _instant_or_none(value: datetime | str | None) -> datetime | None:
    return None if value is None else _instant(value)
