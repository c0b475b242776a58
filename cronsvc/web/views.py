"""What the page's templates show: values already in words, so that templates only place them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cronsvc.domain.execution import Attempt, Execution, Trigger
from cronsvc.domain.explain_callback import waiting_words
from cronsvc.domain.explain_dependency import cause_words, children_words
from cronsvc.domain.job import Job, JobDefinition, Pause, Retention
from cronsvc.domain.retry import Backoff, BackoffType
from cronsvc.domain.schedule import Schedule, describe
from cronsvc.web.mapping import duration_ms, error_answer
from cronsvc.web.run_models import ErrorAnswer
from cronsvc.web.scalars import write_duration, write_instant
from cronsvc.web.words import moment, outcome_class, took


@dataclass(frozen=True, slots=True)
class Tile:
    """One number at the top of the page. An alarm is a number that should be zero; `href` leads to what it counts."""

    name: str
    value: str
    alarm: bool = False
    href: str | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of a definition list; `code` is shown as it is, line by line."""

    name: str
    value: str
    code: bool = False


@dataclass(frozen=True, slots=True)
class ExecutionView:
    id: int
    job_id: int
    job_name: str
    trigger: str
    status: str
    reason: str | None
    scheduled_time: datetime
    range_words: str
    lateness: str
    duration: str
    attempt: int
    max_attempts: int
    error: ErrorAnswer | None


@dataclass(frozen=True, slots=True)
class AttemptView:
    attempt: int
    outcome: str
    outcome_class: str
    worker: str
    start_time: datetime | None
    duration: str
    http_status: int | None
    error: ErrorAnswer | None
    excerpt: str | None


@dataclass(frozen=True, slots=True)
class JobView:
    id: int
    name: str
    namespace: str
    description: str
    type: str
    tags: tuple[str, ...]
    state: str
    state_class: str
    paused: bool
    pause: Pause | None
    quarantine_reason: str | None
    schedule_words: str
    expression: str
    timezone: str
    next_fire_time: datetime | None
    last: ExecutionView | None


def execution_view(execution: Execution) -> ExecutionView:
    """Return an execution for a row of a table or its own page."""
    late = duration_ms(execution.scheduled_time, execution.start_time)
    return ExecutionView(
        id=execution.id,
        job_id=execution.job_id,
        job_name=execution.job_name,
        trigger=execution.trigger.value,
        status=execution.status.value,
        reason=execution.status_reason,
        scheduled_time=execution.scheduled_time,
        range_words=_range(execution),
        lateness=took(late) if execution.trigger is Trigger.SCHEDULE else "–",
        duration=took(duration_ms(execution.start_time, execution.end_time)),
        attempt=execution.attempt,
        max_attempts=execution.max_attempts,
        error=error_answer(execution.error),
    )


def attempt_view(attempt: Attempt) -> AttemptView:
    """Return an attempt for a row of the execution's page."""
    return AttemptView(
        attempt=attempt.attempt,
        outcome=attempt.outcome,
        outcome_class=outcome_class(attempt.outcome),
        worker=(attempt.worker_id or "")[:8],
        start_time=attempt.start_time,
        duration=took(duration_ms(attempt.start_time, attempt.end_time)),
        http_status=attempt.http_status,
        error=error_answer(attempt.error),
        excerpt=attempt.response_excerpt,
    )


def job_view(job: Job, last: Execution | None) -> JobView:
    """Return a job for a row of the table or its own page."""
    definition = job.definition
    state, state_class = _state(job)
    return JobView(
        id=job.id,
        name=definition.name,
        namespace=definition.namespace,
        description=definition.description,
        type=definition.task_payload.type,
        tags=definition.tags,
        state=state,
        state_class=state_class,
        paused=job.pause is not None,
        pause=job.pause,
        quarantine_reason=job.quarantine_reason,
        schedule_words=sentence(describe(definition.schedule)),
        expression=expression_of(definition.schedule),
        timezone=definition.schedule.timezone,
        next_fire_time=job.upcoming_fire_time,
        last=None if last is None else execution_view(last),
    )


def expression_of(schedule: Schedule) -> str:
    """The schedule as it was written."""
    if schedule.cron_expression is not None:
        return schedule.cron_expression
    if schedule.every_seconds is not None:
        return f"every {write_duration(schedule.every_seconds)}"
    return write_instant(schedule.run_at) if schedule.run_at is not None else "none"


def job_facts(job: Job) -> list[Fact]:
    """The definition of a job, line by line; what is at its default and says nothing is left out."""
    definition, schedule = job.definition, job.definition.schedule
    backoff, retention = definition.backoff, definition.retention
    lines: list[tuple[str, str | None]] = [
        ("Schedule", f"{expression_of(schedule)} · {schedule.timezone}"),
        ("From", _moment(schedule.start_at)),
        ("Until", _moment(schedule.end_at)),
        ("Runs at most", str(definition.max_runs) if definition.max_runs else None),
        ("Fired so far", str(job.fire_count)),
        ("Namespace", definition.namespace),
        ("Tags", ", ".join(definition.tags) or None),
        ("Queue", f"{definition.queue} · {definition.priority.name.lower()} priority"),
        ("Attempts", f"{definition.max_attempts} · {_waits(backoff)}"),
        ("Retried", _retried(definition)),
        ("Timeout", f"{definition.timeout_seconds} s an attempt"),
        ("Deadline", f"{definition.deadline_seconds} s for all of them" if definition.deadline_seconds else None),
        ("Pauses after", _pauses_after(definition)),
        ("When late", f"{definition.misfire_policy.value} after {definition.misfire_grace_seconds} s"),
        ("While one runs", definition.overlap_policy.value),
        ("At a time", _at_a_time(definition)),
        ("Spread", f"up to {definition.jitter_seconds} s" if definition.jitter_seconds else None),
        ("Kept", _kept(retention)),
        ("Revision", f"{job.revision} · changed {moment(job.updated_at)}"),
        ("Type", definition.task_payload.type),
    ]
    facts = [Fact(name, value) for name, value in lines if value]
    return [*facts, Fact("Configuration", pretty(definition.task_payload.config), code=True)]


def _waits(backoff: Backoff) -> str:
    """How long it waits between attempts."""
    spread = f" ± {backoff.jitter * 100:g} %" if backoff.jitter else ""
    if backoff.type is BackoffType.LIST:
        return f"waits {', '.join(f'{delay:g}' for delay in backoff.delays)} s{spread}"
    factor = f" × {backoff.factor:g}" if backoff.type is BackoffType.EXPONENTIAL else ""
    first = f"{backoff.type.value} backoff from {backoff.delay_seconds:g} s"
    return f"{first}{factor}, at most {backoff.max_seconds:g} s{spread}"


def _retried(definition: JobDefinition) -> str | None:
    """What it retries on, when that is not the job type's own choice."""
    if definition.retry_on is None:
        return None
    return "on " + ", ".join(definition.retry_on) if definition.retry_on else "never"


def _at_a_time(definition: JobDefinition) -> str | None:
    if definition.max_concurrency is None:
        return None
    shared = f", shared under the key {definition.concurrency_key}" if definition.concurrency_key else ""
    return f"at most {definition.max_concurrency}{shared}"


def _pauses_after(definition: JobDefinition) -> str | None:
    most = definition.pause_after_failures
    if most is None:
        return None
    return f"{most} failed executions in a row" if most > 1 else "a failed execution"


def _kept(retention: Retention) -> str:
    """How long its rows stay; 90 days are everybody's."""
    bounds = [(retention.keep_completed, "successes"), (retention.keep_failed, "failures")]
    counts = [f"the last {count} {what}" for count, what in bounds if count is not None]
    return " · ".join([f"{retention.days} days", *counts])


def execution_facts(execution: Execution) -> list[Fact]:
    """Everything known about an execution, line by line."""
    lines: list[tuple[str, str | None]] = [
        ("Scheduled", write_instant(execution.scheduled_time)),
        ("Trigger", execution.trigger.value + (f", by {execution.requested_by}" if execution.requested_by else "")),
        ("Reason", execution.status_reason),
        ("Skipped until", _instant(execution.skipped_until)),
        ("Instants in it", str(execution.skipped_count) if execution.skipped_count else None),
        ("Queued", write_instant(execution.queued_at)),
        ("Started", _instant(execution.start_time)),
        ("Ended", _instant(execution.end_time)),
        ("Took", took(duration_ms(execution.start_time, execution.end_time))),
        ("Attempt", f"{execution.attempt} of {execution.max_attempts}"),
        ("Worker", execution.worker_id),
        ("Waiting", sentence(waiting_words(execution)) if execution.awaits_callback else None),
        ("Caused by", sentence(cause_words(execution) or "") or None),
        ("Children", sentence(children_words(execution) or "") or None),
        ("Queue", execution.queue),
        ("Revision", str(execution.revision)),
        ("Progress", f"{execution.progress} %" if execution.progress is not None else None),
        ("Cancel asked for", _act(execution.cancel_requested_at, execution.cancel_requested_by, execution.cancel_note)),
        ("Resolved", _act(execution.resolved_at, execution.resolved_by, execution.resolve_note)),
    ]
    facts = [Fact(name, value) for name, value in lines if value]
    documents = (("Params", execution.params), ("Result", execution.result), ("Log", _log(execution.log_details)))
    return facts + [
        Fact(name, value if name == "Log" and isinstance(value, str) else pretty(value), code=True)
        for name, value in documents
        if value is not None
    ]


def cause_links(execution: Execution) -> list[tuple[int, str]]:
    """The executions whose ends led to it, each with words for its link."""
    return [
        (id_ := cause["executionId"], f"#{id_} of {cause.get('jobName') or cause['jobId']}: {cause['status']}")
        for cause in execution.causes or ()
    ]


def _log(details: Any) -> Any:
    """The lines that an attempt logged as text; what SQL wrote there in another shape is left as it is."""
    lines = details.get("lines") if isinstance(details, Mapping) else None
    if not isinstance(lines, list) or not all(isinstance(line, Mapping) for line in lines):
        return details
    heads = [f"attempt {details['attempt']}"] if details.get("attempt") else []
    if details.get("dropped"):
        heads.append(f"{details['dropped']} earlier lines were dropped")
    if details.get("note"):
        heads.append(str(details["note"]))
    return "\n".join([", ".join(heads), *map(_log_line, lines)]).strip()


def _log_line(line: Mapping[str, Any]) -> str:
    more = {name: value for name, value in line.items() if name not in ("at", "level", "message")}
    fields = "".join(f" {name}={json.dumps(value, ensure_ascii=False)}" for name, value in more.items())
    return f"{line.get('at', '')} {line.get('level', '')!s:<7} {line.get('message', '')}{fields}"


def sentence(text: str) -> str:
    """The text with a capital letter in front."""
    return text[:1].upper() + text[1:]


def pretty(value: Any) -> str:
    """JSON for people."""
    return json.dumps(dict(value) if isinstance(value, Mapping) else value, indent=2, ensure_ascii=False, default=dict)


def _moment(when: datetime | None) -> str | None:
    return None if when is None else moment(when)


def _instant(when: datetime | None) -> str | None:
    return None if when is None else write_instant(when)


def _act(when: datetime | None, who: str | None, note: str | None) -> str | None:
    """What somebody did: when, who, and why."""
    return None if when is None else f"{write_instant(when)}, by {who}" + (f": {note}" if note else "")


def _state(job: Job) -> tuple[str, str]:
    if job.quarantine_reason is not None:
        return "quarantined", "bad"
    if not job.definition.is_active:
        return "inactive", "idle"
    return ("paused", "wait") if job.pause is not None else ("active", "good")


def _range(execution: Execution) -> str:
    if execution.skipped_until is None or execution.skipped_until == execution.scheduled_time:
        return ""
    count = f"{execution.skipped_count} instants, " if execution.skipped_count else ""
    return f"{count}until {moment(execution.skipped_until)}"
