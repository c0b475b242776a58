"""What is asked of a definition before anything is written, whichever door it came through.

Promises: every bad field is named at once, by its API name, with what would be right; what passes here can be stored
(Postgres takes no NUL and no lone surrogate), has a next instant and a configuration its executor accepts. What comes
out is ready to store: `H` resolved, intervals anchored, times in UTC.
"""

import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from cronsvc.domain.job import Job, JobDefinition
from cronsvc.domain.retry import NEVER_RETRIED, BackoffType
from cronsvc.domain.schedule import Schedule, ScheduleError
from cronsvc.domain.schedule_validation import faults
from cronsvc.errors import FieldError, InvalidInput
from cronsvc.executors.base import Executor, NotInstalled
from cronsvc.executors.options import merged
from cronsvc.services.preview import anchored, resolved

MAX_PARAMS_BYTES = 64 * 1024
MAX_CONFIG_BYTES = 256 * 1024
MAX_DEPTH = 32
MOST_DELAYS = 100
MOST_RETRY_ON = 50

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
_FAILURE = re.compile(r"[a-z][a-z0-9_]{0,62}|http_status:[1-5][0-9]{2}", re.ASCII)
_NAME_RULE = "is 1 to 63 letters, digits or _.- and starts with a letter or digit"
_YEAR_SECONDS = 366 * 86_400
_GREATEST_INTEGER = 2**31 - 1
_LAST_YEAR = 9990  # far from where date arithmetic overflows


def checked(
    definition: JobDefinition,
    executors: Mapping[str, Executor],
    *,
    now: datetime,
    stored: Schedule | None = None,
    more: Sequence[FieldError] = (),
) -> JobDefinition:
    """Return the definition as it is to be stored; raises InvalidInput with every bad field. `now`: the database's.

    `stored` is the schedule that this definition replaces: kept as it is, it need not have an instant ahead. `more` is
    what else is wrong with it, as others have found.
    """
    schedule, bad = _checked_schedule(definition, now, stored)
    bad += _text_faults(definition)
    bad += _number_faults(definition)
    bad += _retry_faults(definition)
    bad += payload_faults(definition.task_payload.type, definition.task_payload.config, executors)
    bad += more
    if bad:
        raise InvalidInput(bad)
    return replace(definition, schedule=schedule)


def payload_faults(kind: str, config: Mapping[str, Any], executors: Mapping[str, Executor]) -> list[FieldError]:
    """What is wrong with a task payload: its type, its JSON, or what its executor says of it."""
    executor = executors.get(kind)
    if executor is None:
        known = ", ".join(sorted(executors)) or "none is installed"
        return [FieldError("taskPayload.type", f"there is no job type {kind[:100]!r}; known: {known}")]
    fault = json_fault(config, MAX_CONFIG_BYTES)
    if fault is not None:
        return [FieldError("taskPayload.config", fault)]
    try:
        executor.parse(config)
    except NotInstalled as error:
        return [] if error.elsewhere else list(error.errors)
    except InvalidInput as error:
        return list(error.errors)
    return []


def check_params(
    job: Job, params: object, executors: Mapping[str, Executor], more: Sequence[FieldError] = ()
) -> dict[str, Any]:
    """Return the parameters of a manual run; raises InvalidInput unless the job's type accepts them over its config.

    A field that came in by `params` is named there, one of the job itself below `taskPayload.config`.
    """
    if params is None:
        params = {}
    if not isinstance(params, Mapping):
        raise InvalidInput.of("params", "is a JSON object whose keys are laid over the job's config")
    fault = json_fault(params, MAX_PARAMS_BYTES)
    if fault is not None:
        raise InvalidInput.of("params", fault)
    payload = job.definition.task_payload
    config = merged(executors.get(payload.type), payload.config, params)
    bad = [*payload_faults(payload.type, config, executors), *more]
    if bad:
        raise InvalidInput([FieldError(_blame(error.field, params), error.reason) for error in bad])
    return dict(params)


def check_note(note: str | None) -> None:
    """Raise InvalidInput unless a pause note can be stored and shown."""
    fault = None if note is None else _text_fault(note, 0, 1000, lines=True)
    if fault is not None:
        raise InvalidInput.of("note", fault)


def check_filter(field: str, value: str | None) -> None:
    """Raise InvalidInput for text that no column can hold; Postgres would refuse the whole statement."""
    if value is not None and not _storable(value):
        raise InvalidInput.of(field, "holds a character that no name can have")


def _blame(field: str, params: Mapping[str, Any]) -> str:
    prefix = "taskPayload.config."
    key = field.removeprefix(prefix).partition(".")[0].partition("[")[0]
    return f"params.{field.removeprefix(prefix)}" if field.startswith(prefix) and key in params else field


def _checked_schedule(
    definition: JobDefinition, now: datetime, stored: Schedule | None
) -> tuple[Schedule, list[FieldError]]:
    """The schedule as it is to be stored, and what is wrong with it."""
    schedule = definition.schedule
    try:
        schedule = resolved(_in_utc(schedule), f"{definition.namespace}/{definition.name}")
        schedule = anchored(schedule, now) if stored is None else _anchored_like(stored, schedule, now)
        if schedule == stored:
            return schedule, []  # it was good when it was new; that its end has passed must not lock the other fields
    except ScheduleError as error:
        return schedule, [FieldError(error.field, error.reason)]
    if definition.depends_on is not None and not names_instants(schedule):
        # It runs when others have ended; what is left to check is what a schedule of any kind would be asked.
        bad = faults(replace(schedule, every_seconds=86_400, calendar=None), now=now)
        return schedule, [FieldError(error.field, error.reason) for error in bad]
    if bad := faults(schedule, now=now):
        return schedule, [FieldError(error.field, error.reason) for error in bad]
    if schedule.run_at is not None and schedule.run_at <= now:
        return schedule, [FieldError("runAt", f"lies in the past; it is {now:%Y-%m-%dT%H:%M:%SZ}")]
    return schedule, []


def names_instants(schedule: Schedule) -> bool:
    """Whether it is a schedule at all: a job that depends on others may do without."""
    return (schedule.cron_expression, schedule.every_seconds, schedule.run_at) != (None, None, None)


def _anchored_like(stored: Schedule, schedule: Schedule, now: datetime) -> Schedule:
    """Keep the anchor of an interval that stays the same; one that changes counts from its start or from now."""
    if schedule.anchor is not None and schedule.anchor != stored.anchor:
        return schedule
    if (schedule.every_seconds, schedule.start_at) == (stored.every_seconds, stored.start_at):
        return replace(schedule, anchor=stored.anchor)
    return anchored(replace(schedule, anchor=None), now)


def _in_utc(schedule: Schedule) -> Schedule:
    """The schedule with its instants in UTC; raises ScheduleError for one that is naive or out of bounds."""
    return replace(
        schedule,
        run_at=_instant("runAt", schedule.run_at),
        anchor=_instant("anchor", schedule.anchor),
        start_at=_instant("startAt", schedule.start_at),
        end_at=_instant("endAt", schedule.end_at),
    )


def _instant(field: str, value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if value.utcoffset() is None:
        raise ScheduleError(field, "has no UTC offset; write for example 2026-01-31T09:00:00Z")
    if not 1970 <= value.year <= _LAST_YEAR:
        raise ScheduleError(field, f"lies outside the years 1970 to {_LAST_YEAR}")
    return value.astimezone(UTC)


def _text_faults(definition: JobDefinition) -> list[FieldError]:
    """Names, description and tags."""
    bad: list[FieldError] = []
    fault = _text_fault(definition.name, 1, 255)
    if fault is None and definition.name != definition.name.strip():
        fault = "begins or ends with a space"
    if fault is not None:
        bad.append(FieldError("name", fault))
    for field, value in {
        "namespace": definition.namespace,
        "queue": definition.queue,
        "group": definition.group,
    }.items():
        if value is not None and _NAME.fullmatch(value) is None:
            bad.append(FieldError(field, _NAME_RULE))
    fault = _text_fault(definition.description, 0, 10_000, lines=True)
    if fault is not None:
        bad.append(FieldError("description", fault))
    key = definition.concurrency_key
    if key is not None and (fault := _text_fault(key, 1, 200)) is not None:
        bad.append(FieldError("concurrencyKey", fault))
    if key is not None and definition.max_concurrency is None:
        bad.append(FieldError("maxConcurrency", "is needed beside concurrencyKey: how many of the key run at a time"))
    if len(definition.tags) > 50 or len(set(definition.tags)) < len(definition.tags):
        bad.append(FieldError("tags", "lists at most 50 tags, each once"))
    for tag in definition.tags[:50]:
        fault = _text_fault(tag, 1, 100)
        if fault is not None:
            bad.append(FieldError("tags", f"the tag {tag[:100]!r} {fault}"))
    return bad


def _number_faults(definition: JobDefinition) -> list[FieldError]:
    """Everything that is counted; the bounds are those of the table, or tighter."""
    backoff, retention = definition.backoff, definition.retention
    longest_delay = min(604_800, backoff.max_seconds)
    ranges: list[tuple[str, float | None, float, float]] = [
        ("maxRuns", definition.max_runs, 1, _GREATEST_INTEGER),
        ("jitterSeconds", definition.jitter_seconds, 0, 86_400),
        ("misfireGraceSeconds", definition.misfire_grace_seconds, 0, _YEAR_SECONDS),
        ("misfireCap", definition.misfire_cap, 1, 10_000),
        ("maxConcurrency", definition.max_concurrency, 1, 10_000),
        ("maxAttempts", definition.max_attempts, 1, 100),
        ("timeoutSeconds", definition.timeout_seconds, 1, 604_800),
        ("deadlineSeconds", definition.deadline_seconds, 1, _YEAR_SECONDS),
        ("pauseAfterFailures", definition.pause_after_failures, 1, 1000),
        ("backoff.delaySeconds", backoff.delay_seconds, 0, 604_800),
        ("backoff.factor", backoff.factor, 1, 100),
        ("backoff.maxSeconds", backoff.max_seconds, 0, 604_800),
        ("backoff.jitter", backoff.jitter, 0, 1),
        *((f"backoff.delays[{n}]", delay, 0, longest_delay) for n, delay in enumerate(backoff.delays[:MOST_DELAYS])),
        ("retention.keepCompleted", retention.keep_completed, 0, _GREATEST_INTEGER),
        ("retention.keepFailed", retention.keep_failed, 0, _GREATEST_INTEGER),
        ("retention.days", retention.days, 1, 36_600),
    ]
    return [
        FieldError(field, f"is {value}; {low:.0f} to {high:.0f} is possible")
        for field, value, low, high in ranges
        if value is not None and not low <= value <= high  # a NaN fails this too
    ]


def _retry_faults(definition: JobDefinition) -> list[FieldError]:
    """The list of delays, and the failures to retry on."""
    bad: list[FieldError] = []
    delays, listed = definition.backoff.delays, definition.backoff.type is BackoffType.LIST
    if listed and not 1 <= len(delays) <= MOST_DELAYS:
        bad.append(FieldError("backoff.delays", f"lists 1 to {MOST_DELAYS} delays in seconds; the last one repeats"))
    if delays and not listed:
        bad.append(FieldError("backoff.delays", f"belongs to the type list, not to {definition.backoff.type.value}"))
    named = definition.retry_on or ()
    if len(named) > MOST_RETRY_ON or len(set(named)) < len(named):
        bad.append(FieldError("retryOn", f"lists at most {MOST_RETRY_ON} failures, each once"))
    for each in named[:MOST_RETRY_ON]:
        if _FAILURE.fullmatch(each) is None:
            words = "is an error type such as timeout, or http_status:503 for one answer"
            bad.append(FieldError("retryOn", f"{each[:100]!r} is none: each {words}"))
        elif each in NEVER_RETRIED:
            bad.append(FieldError("retryOn", f"{each} is a failure that no further attempt can mend"))
    return bad


def _text_fault(text: str, shortest: int, longest: int, *, lines: bool = False) -> str | None:
    if not shortest <= len(text) <= longest:
        return f"has {len(text)} characters; {shortest} to {longest} are possible"
    allowed = "\n\r\t" if lines else ""
    if not _storable(text) or any(unicodedata.category(each) == "Cc" for each in text if each not in allowed):
        return "holds a control character"
    return None


def _storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= each <= "\udfff" for each in text)


def json_fault(value: Mapping[str, Any], most_bytes: int) -> str | None:
    """What keeps this from being stored as JSON, or None."""
    for fault in _walk(value):
        return fault
    size = len(json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=dict).encode())
    return f"is {size} bytes of JSON; at most {most_bytes} are possible" if size > most_bytes else None


def _walk(value: object, depth: int = 0) -> Iterator[str]:
    """Every fault in a JSON value, in order."""
    if depth > MAX_DEPTH:
        yield f"is nested more than {MAX_DEPTH} levels deep"
    elif isinstance(value, Mapping):
        for key, each in value.items():
            if not isinstance(key, str) or not _storable(key):
                yield "has a key that is not text or holds a NUL character"
            yield from _walk(each, depth + 1)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _walk(each, depth + 1)
    elif not _is_plain(value):
        yield f"holds {str(value)[:40]!r}, which cannot be stored as JSON"


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return _storable(value)
    return value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
