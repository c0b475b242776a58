"""Between the domain and the models: the only place that knows both spellings of a job and an execution."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from cronsvc.domain.execution import Attempt, Execution
from cronsvc.domain.job import Job, JobDefinition, Retention, TaskPayload
from cronsvc.domain.retry import MOST_SECONDS, Backoff, BackoffType
from cronsvc.domain.schedule import Schedule
from cronsvc.web.dependency_mapping import causes_answer, depends_on_answer, depends_on_of
from cronsvc.web.job_models import (
    BackoffAnswer,
    BackoffIn,
    BackoffListAnswer,
    DefinitionAnswer,
    JobAnswer,
    JobIn,
    PauseAnswer,
    RetentionAnswer,
    TaskPayloadAnswer,
)
from cronsvc.web.run_models import (
    AttemptAnswer,
    CallbackWaitAnswer,
    ErrorAnswer,
    ExecutionAnswer,
    ExecutionDetail,
    ProgressAnswer,
)
from cronsvc.web.schedule_models import PreviewIn

_MILLISECOND = timedelta(milliseconds=1)


def definition_of(body: JobIn, *, namespace: str) -> JobDefinition:
    """Return what a caller defined. `namespace` is for a body that names none; no queue means the service's default."""
    return JobDefinition(
        name=body.name,
        schedule=schedule_of(body),
        task_payload=TaskPayload(body.task_payload.type, body.task_payload.config),
        namespace=body.namespace or namespace,
        description=body.description,
        tags=tuple(dict.fromkeys(body.tags)),
        group=body.group,
        max_runs=body.max_runs,
        jitter_seconds=body.jitter_seconds,
        misfire_policy=body.misfire_policy,
        misfire_grace_seconds=body.misfire_grace_seconds,
        misfire_cap=body.misfire_cap,
        overlap_policy=body.overlap_policy,
        max_concurrency=body.max_concurrency,
        concurrency_key=body.concurrency_key,
        queue=body.queue or "",
        priority=body.priority,
        max_attempts=body.max_attempts,
        backoff=_backoff(body.backoff),
        retry_on=None if body.retry_on is None else tuple(body.retry_on),
        timeout_seconds=body.timeout_seconds,
        deadline_seconds=body.deadline_seconds,
        pause_after_failures=body.pause_after_failures,
        depends_on=depends_on_of(body.depends_on),
        retention=Retention(
            keep_completed=body.retention.keep_completed,
            keep_failed=body.retention.keep_failed,
            days=body.retention.days,
        ),
        is_active=body.is_active,
    )


def _backoff(body: BackoffIn) -> Backoff:
    """The backoff a body describes. A list that says nothing of `maxSeconds` is not bounded by its default."""
    most = body.max_seconds
    if body.type is BackoffType.LIST and "max_seconds" not in body.model_fields_set:
        most = max([most, *(delay for delay in body.delays if delay <= MOST_SECONDS)])
    return Backoff(
        type=body.type,
        delay_seconds=body.delay_seconds,
        factor=body.factor,
        max_seconds=most,
        jitter=body.jitter,
        delays=tuple(body.delays),
    )


def schedule_of(body: JobIn | PreviewIn) -> Schedule:
    """Return the schedule a body describes. An interval's anchor is the service's to set."""
    return Schedule(
        cron_expression=body.cron_expression,
        every_seconds=body.every,
        run_at=body.run_at,
        timezone=body.timezone,
        start_at=body.start_at,
        end_at=body.end_at,
        calendar=body.calendar,
        calendar_rule=body.calendar_rule,
    )


def job_answer(job: Job) -> JobAnswer:
    """Return a job as the API shows it."""
    return JobAnswer(
        **_definition(job.definition),
        id=job.id,
        pause=_pause(job),
        quarantine_reason=job.quarantine_reason,
        next_fire_time=job.upcoming_fire_time,
        last_fire_time=job.last_fire_time,
        fire_count=job.fire_count,
        template_id=job.template_id,
        template_revision=job.template_revision,
        revision=job.revision,
        created_at=job.created_at,
        updated_at=job.updated_at,
    )


def definition_answer(definition: JobDefinition) -> DefinitionAnswer:
    """Return what a person defined, without the job's state."""
    return DefinitionAnswer(**_definition(definition))


def _definition(definition: JobDefinition) -> dict[str, Any]:
    schedule, backoff, retention = definition.schedule, definition.backoff, definition.retention
    return {
        "name": definition.name,
        "description": definition.description,
        "namespace": definition.namespace,
        "tags": list(definition.tags),
        "group": definition.group,
        "cron_expression": schedule.cron_expression,
        "every": schedule.every_seconds,
        "run_at": schedule.run_at,
        "timezone": schedule.timezone,
        "start_at": schedule.start_at,
        "end_at": schedule.end_at,
        "calendar": schedule.calendar,
        "calendar_rule": schedule.calendar_rule,
        "max_runs": definition.max_runs,
        "jitter_seconds": definition.jitter_seconds,
        "misfire_policy": definition.misfire_policy,
        "misfire_grace_seconds": definition.misfire_grace_seconds,
        "misfire_cap": definition.misfire_cap,
        "overlap_policy": definition.overlap_policy,
        "max_concurrency": definition.max_concurrency,
        "concurrency_key": definition.concurrency_key,
        "queue": definition.queue,
        "priority": definition.priority,
        "max_attempts": definition.max_attempts,
        "backoff": _backoff_answer(backoff),
        "retry_on": None if definition.retry_on is None else list(definition.retry_on),
        "timeout_seconds": definition.timeout_seconds,
        "deadline_seconds": definition.deadline_seconds,
        "pause_after_failures": definition.pause_after_failures,
        "depends_on": depends_on_answer(definition.depends_on),
        "retention": RetentionAnswer(
            keep_completed=retention.keep_completed, keep_failed=retention.keep_failed, days=retention.days
        ),
        "task_payload": TaskPayloadAnswer(
            type=definition.task_payload.type, config=dict(definition.task_payload.config)
        ),
        "is_active": definition.is_active,
    }


def _backoff_answer(backoff: Backoff) -> BackoffAnswer:
    members: dict[str, Any] = {
        "type": backoff.type,
        "delay_seconds": backoff.delay_seconds,
        "factor": backoff.factor,
        "max_seconds": backoff.max_seconds,
        "jitter": backoff.jitter,
    }
    if backoff.type is BackoffType.LIST:
        return BackoffListAnswer(**members, delays=list(backoff.delays))
    return BackoffAnswer(**members)


def _pause(job: Job) -> PauseAnswer | None:
    if job.pause is None:
        return None
    return PauseAnswer(by=job.pause.by, at=job.pause.at, note=job.pause.note, until=job.pause.until)


def execution_answer(execution: Execution) -> ExecutionAnswer:
    """Return an execution as the API shows it."""
    return ExecutionAnswer(**_execution(execution))


def execution_detail(execution: Execution, attempts: tuple[Attempt, ...]) -> ExecutionDetail:
    """Return an execution with its attempts."""
    return ExecutionDetail(**_execution(execution), attempts=[attempt_answer(attempt) for attempt in attempts])


def progress_answer(execution: Execution) -> ProgressAnswer:
    """Return what an execution says of itself; a row written by SQL may hold any JSON there."""
    details = execution.log_details
    note = details.get("note") if isinstance(details, Mapping) else None
    return ProgressAnswer(
        status=execution.status,
        progress=execution.progress,
        note=note if isinstance(note, str) else None,
        log_details=details,
    )


def _execution(execution: Execution) -> dict[str, Any]:
    return {
        "id": execution.id,
        "job_id": execution.job_id,
        "job_name": execution.job_name,
        "namespace": execution.namespace,
        "scheduled_time": execution.scheduled_time,
        "trigger": execution.trigger,
        "status": execution.status,
        "status_reason": execution.status_reason,
        "attempt": execution.attempt,
        "max_attempts": execution.max_attempts,
        "queued_at": execution.queued_at,
        "start_time": execution.start_time,
        "end_time": execution.end_time,
        "duration_ms": duration_ms(execution.start_time, execution.end_time),
        "worker": execution.worker_id,
        "params": None if execution.params is None else dict(execution.params),
        "requested_by": execution.requested_by,
        "skipped_until": execution.skipped_until,
        "skipped_count": execution.skipped_count,
        "progress": execution.progress,
        "result": execution.result,
        "error": error_answer(execution.error),
        "log_details": execution.log_details,
        "revision": execution.revision,
        "cancel_requested_at": execution.cancel_requested_at,
        "cancel_requested_by": execution.cancel_requested_by,
        "cancel_note": execution.cancel_note,
        "resolved_at": execution.resolved_at,
        "resolved_by": execution.resolved_by,
        "resolve_note": execution.resolve_note,
        "backfill_id": execution.backfill_id,
        "caused_by": causes_answer(execution.causes),
        "parent_id": execution.parent_id,
        "children": execution.children,
        "waits_for_children": execution.waits_for_children,
        "callback": CallbackWaitAnswer(
            since=execution.callback_since,
            heartbeat_due=execution.callback_due,
            end_due=execution.callback_until,
        )
        if execution.awaits_callback
        else None,
    }


def attempt_answer(attempt: Attempt) -> AttemptAnswer:
    """Return one finished try as the API shows it."""
    return AttemptAnswer(
        attempt=attempt.attempt,
        outcome=attempt.outcome,
        worker=attempt.worker_id,
        queued_at=attempt.queued_at,
        start_time=attempt.start_time,
        end_time=attempt.end_time,
        duration_ms=duration_ms(attempt.start_time, attempt.end_time),
        http_status=attempt.http_status,
        error=error_answer(attempt.error),
        response_excerpt=attempt.response_excerpt,
    )


def error_answer(error: Mapping[str, Any] | None) -> ErrorAnswer | None:
    """Return the stored error; a row written by SQL may lack parts of it."""
    if error is None:
        return None
    return ErrorAnswer(type=str(error.get("type", "error")), message=str(error.get("message", "")))


def duration_ms(start: datetime | None, end: datetime | None) -> int | None:
    """Whole milliseconds from start to end; None while one of them is missing."""
    return None if start is None or end is None else (end - start) // _MILLISECOND
