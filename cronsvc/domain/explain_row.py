"""What a row says about its instant: recorded, handed over, claimed, tried, ended; or skipped, and why.

Each function looks at one of these and adds nothing when it has nothing to say. Pure: `Evidence` in, steps out.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from cronsvc.domain.evidence import Evidence, Record, Step, Verdict, WorkerFacts, count, length, moment
from cronsvc.domain.execution import Attempt, Execution, Reason, Status, Trigger
from cronsvc.domain.explain_callback import callback_steps, waiting_words
from cronsvc.domain.explain_dependency import cause_facts, cause_words, children_words
from cronsvc.domain.explain_hosts import holding_words, host_steps
from cronsvc.domain.explain_words import ENDED_BY, HELD_BY, SKIPPED_BY

_NO_TIME = timedelta(0)


def row_steps(evidence: Evidence, record: Record) -> Iterator[Step]:
    """Everything the row says, in the order in which it happened."""
    execution = record.execution
    yield recorded(evidence, record)
    if execution.status is Status.SKIPPED:
        yield skipped(evidence, execution)
        return
    yield from _dispatched(record)
    yield from host_steps(evidence)
    yield from _attempts(evidence)
    yield from callback_steps(execution)
    yield from _claimed(evidence, record)
    yield from _waiting(evidence, record)
    yield from _lateness(evidence, record)
    yield from _deadline(record)
    yield from _cancel(execution)
    yield from _outcome(execution)


def row_verdict(evidence: Evidence, record: Record) -> tuple[Verdict, str]:
    """What became of the instant, and the sentence that says it."""
    execution = record.execution
    tries = f"attempt {execution.attempt} of {execution.max_attempts}"
    match execution.status:
        case Status.SUCCESS:
            return Verdict.RAN, f"It ran and succeeded, {tries}{_took(execution)}{_late(evidence, record)}."
        case Status.RUNNING:
            since = f", since {moment(execution.start_time)}" if execution.start_time else ""
            waits = f"; {waiting_words(execution)}" if execution.awaits_callback else ""
            waits += f"; it {children_words(execution)}" if execution.waits_for_children else ""
            return Verdict.RUNNING, f"It is running{since}: {tries}{waits}."
        case Status.FAILED:
            why = ENDED_BY.get(execution.status_reason or "", execution.status_reason or "no reason is recorded")
            return Verdict.FAILED, f"It ran and failed, {tries}: {why}{_error(execution)}."
        case Status.CANCELLED:
            why = ENDED_BY.get(execution.status_reason or "", execution.status_reason or "no reason is recorded")
            return Verdict.CANCELLED, f"It was cancelled after {execution.attempt} attempts: {why}."
        case Status.SKIPPED:
            because = cause_words(execution) if execution.status_reason == Reason.UPSTREAM else None
            return Verdict.SKIPPED, f"It did not run: {_skip_words(execution)[1]}{f': {because}' if because else ''}."
        case Status.QUEUED:
            return _queued_verdict(evidence, record)


def _queued_verdict(evidence: Evidence, record: Record) -> tuple[Verdict, str]:
    execution = record.execution
    if record.held is not None:
        return Verdict.HELD, f"It is recorded and held: {HELD_BY.get(record.held, ('', record.held))[1]}."
    if (words := holding_words(evidence)) is not None:
        return Verdict.HELD, f"It is recorded and held: {words}."
    if record.ready_at > evidence.now:
        what = "its next attempt can begin" if execution.attempt else "it can begin"
        return Verdict.WAITING, f"It is recorded and waits: {what} at {moment(record.ready_at)}."
    if evidence.queue is not None and evidence.queue.paused:
        return Verdict.HELD, f"It is recorded and held: its queue {evidence.queue.name!r} is paused."
    if evidence.queue is not None and evidence.queue.workers == 0:
        return Verdict.WAITING, f"It is recorded and waits: no worker alive serves its queue {evidence.queue.name!r}."
    return Verdict.WAITING, "It is recorded and ready, and waits for a worker to claim it."


def recorded(evidence: Evidence, record: Record) -> Step:
    """Why the row exists, and how long after its instant it was written."""
    execution = record.execution
    late = max(_NO_TIME, execution.queued_at - execution.scheduled_time)
    says = {
        Trigger.SCHEDULE: f"A scheduler recorded the instant {length(late)} after it.",
        Trigger.MANUAL: f"{execution.requested_by or 'Somebody'} asked for this run; no schedule named the instant.",
        Trigger.BACKFILL: f"Backfill {record.backfill_id}, asked for by {execution.requested_by}, made a run of it.",
        Trigger.RECOVERY: f"{execution.requested_by} asked for a recovery: its backfill {record.backfill_id} runs it.",
        Trigger.DEPENDENCY: f"Another execution led to it: {cause_words(execution)}.",
    }[execution.trigger]
    in_force = evidence.revision
    if in_force is not None and in_force.revision != execution.revision:
        says += f" The row has pinned revision {execution.revision}; at that instant {in_force.revision} was in force."
    facts = {
        "execution_id": execution.id,
        "trigger": execution.trigger.value,
        "status": execution.status.value,
        "status_reason": execution.status_reason,
        "revision": execution.revision,
        "recorded_at": execution.queued_at,
        "late_seconds": late.total_seconds(),
        "requested_by": execution.requested_by,
        "backfill_id": record.backfill_id,
        **cause_facts(execution),
    }
    return Step("record", says, facts)


def skipped(evidence: Evidence, execution: Execution) -> Step:
    """The reason of a SKIPPED row, its range if it has one, and who was unfinished then."""
    what, why = _skip_words(execution)
    says = f"SKIPPED ({execution.status_reason}): {why}."
    until = execution.skipped_until
    if until is not None and until != execution.scheduled_time:
        many = f"{execution.skipped_count} instants" if execution.skipped_count else "every instant"
        says += f" The row stands for {many} from {moment(execution.scheduled_time)} to {moment(until)}."
    if evidence.record is not None:
        says += _window(evidence.record)
    if what == "overlap" and evidence.others:
        says += f" Unfinished then: {_names(evidence.others)}."
    facts = {
        "execution_id": execution.id,
        "reason": execution.status_reason,
        "from": execution.scheduled_time,
        "until": until,
        "count": execution.skipped_count,
        "recorded_at": execution.queued_at,
        "policy": _policy(evidence, what),
        "others": [each.id for each in evidence.others],
        "detail": execution.log_details,
    }
    return Step(what, says, facts)


def _window(record: Record) -> str:
    if record.window is None:
        return ""
    return f" It is the window {record.window!r}" + (f": {record.window_reason}." if record.window_reason else ".")


def _skip_words(execution: Execution) -> tuple[str, str]:
    reason = execution.status_reason or "no reason is recorded"
    return SKIPPED_BY.get(reason, ("skip", f"it was skipped ({reason})"))


def _policy(evidence: Evidence, what: str) -> str | None:
    revised = evidence.record_revision or evidence.revision
    if revised is None or what not in ("misfire", "overlap"):
        return None
    chosen = revised.definition.misfire_policy if what == "misfire" else revised.definition.overlap_policy
    return chosen.value


def _dispatched(record: Record) -> Iterator[Step]:
    if record.execution.status is not Status.QUEUED:
        return
    times = "once" if record.dispatches == 1 else f"{record.dispatches} times"
    says = f"Its ticket was handed to Redis {times} since it last became ready"
    says += f"; the next time at {moment(record.dispatch_at)}." if record.dispatch_at else "; none is due."
    yield Step("dispatch", says, {"dispatches": record.dispatches, "dispatch_at": record.dispatch_at})


def _claimed(evidence: Evidence, record: Record) -> Iterator[Step]:
    """Who runs it now; what has ended is told by its attempts."""
    execution = record.execution
    if execution.start_time is None or execution.status is not Status.RUNNING or execution.awaits_callback:
        return
    worker = evidence.workers.get(execution.worker_id or "")
    says = f"Attempt {execution.attempt} was claimed at {moment(execution.start_time)} by {_worker(worker, execution)}."
    if worker is not None and not worker.alive:
        says += " Its lease has run out: the execution will be rescued."
    facts = {"at": execution.start_time, "attempt": execution.attempt, "worker": execution.worker_id}
    yield Step("claim", says, facts | _worker_facts(worker))


def _attempts(evidence: Evidence) -> Iterator[Step]:
    for attempt in evidence.attempts:
        worker = evidence.workers.get(attempt.worker_id or "")
        ran = None if attempt.start_time is None else attempt.end_time - attempt.start_time
        says = f"Attempt {attempt.attempt}: {attempt.outcome}"
        says += "" if ran is None else f" after {length(ran)}"
        if attempt.start_time is not None and attempt.queued_at is not None:
            says += f", having waited {length(attempt.start_time - attempt.queued_at)} for a worker"
        if attempt.http_status is not None:
            says += f"; the target answered {attempt.http_status}"
        if attempt.error is not None:
            says += f"; {attempt.error.get('type', 'error')}: {attempt.error.get('message', '')}"
        facts = {
            "attempt": attempt.attempt,
            "outcome": attempt.outcome,
            "ready_at": attempt.queued_at,
            "start_time": attempt.start_time,
            "end_time": attempt.end_time,
            "ran_seconds": None if ran is None else ran.total_seconds(),
            "http_status": attempt.http_status,
            "worker": attempt.worker_id,
        }
        yield Step("attempt", says + ".", facts | _worker_facts(worker))


def _waiting(evidence: Evidence, record: Record) -> Iterator[Step]:
    execution = record.execution
    if execution.status is not Status.QUEUED:
        return
    if execution.attempt and record.ready_at > evidence.now:
        left = execution.max_attempts - execution.attempt
        says = f"Attempt {execution.attempt + 1} can begin at {moment(record.ready_at)}, the backoff over; {left} left."
        yield Step("retry", says, {"ready_at": record.ready_at, "attempts_left": left})
    elif record.ready_at > evidence.now and record.held is None:
        says = f"It can begin at {moment(record.ready_at)}: the job spreads its starts."
        yield Step("jitter", says, {"ready_at": record.ready_at})
    if record.held is not None:
        what, why = HELD_BY.get(record.held, ("held", f"it is held ({record.held})"))
        says = f"Held: {why}.{_window(record)}"
        says += f" Unfinished: {_names(evidence.others)}." if evidence.others else ""
        others = [each.id for each in evidence.others]
        yield Step(what, says, {"held": record.held, "window": record.window, "others": others})
    queue = evidence.queue
    if queue is None:
        return
    says = f"Queue {queue.name!r}: {count(queue.workers, 'worker')} alive and serving it."
    if queue.paused:
        until = f" until {moment(queue.paused_until)}" if queue.paused_until else ""
        note = f": {queue.pause_note}" if queue.pause_note else ""
        says += f" It was paused by {queue.paused_by}{until}{note}."
    facts = {
        "queue": queue.name,
        "workers": queue.workers,
        "paused": queue.paused,
        "concurrency": queue.concurrency,
        "rate_per_minute": queue.rate_per_minute,
    }
    yield Step("queue", says, facts)


def _lateness(evidence: Evidence, record: Record) -> Iterator[Step]:
    """From the instant to the first start, split by cause."""
    execution = record.execution
    start, ready = _first_start(evidence.attempts, record)
    if start is None or execution.trigger is not Trigger.SCHEDULE:
        return
    recorded_late = max(_NO_TIME, execution.queued_at - execution.scheduled_time)
    held_back = max(_NO_TIME, ready - execution.queued_at)
    waited = max(_NO_TIME, start - ready)
    says = (
        f"It began {length(start - execution.scheduled_time)} after its instant: recorded {length(recorded_late)} late"
    )
    says += f", then held back for {length(held_back)}" if held_back > timedelta(milliseconds=1) else ""
    says += f", then {length(waited)} until a worker took it."
    facts = {
        "late_seconds": (start - execution.scheduled_time).total_seconds(),
        "recorded_late_seconds": recorded_late.total_seconds(),
        "held_back_seconds": held_back.total_seconds(),
        "waited_seconds": waited.total_seconds(),
    }
    yield Step("lateness", says, facts)


def _first_start(attempts: tuple[Attempt, ...], record: Record) -> tuple[datetime | None, datetime]:
    """When the first attempt began, and since when it could."""
    for attempt in attempts:
        if attempt.start_time is not None:
            return attempt.start_time, attempt.queued_at or record.execution.queued_at
    if record.execution.status is Status.RUNNING:
        return record.execution.start_time, record.ready_at
    return None, record.ready_at


def _deadline(record: Record) -> Iterator[Step]:
    if record.deadline_at is not None:
        says = f"No attempt begins after its deadline, {moment(record.deadline_at)}."
        yield Step("deadline", says, {"deadline_at": record.deadline_at})


def _cancel(execution: Execution) -> Iterator[Step]:
    if execution.cancel_requested_at is None:
        return
    note = f": {execution.cancel_note}" if execution.cancel_note else ""
    says = f"{execution.cancel_requested_by} asked at {moment(execution.cancel_requested_at)} to end it{note}."
    if execution.status is Status.RUNNING:
        says += " Its worker has not stopped it yet."
    facts = {"at": execution.cancel_requested_at, "by": execution.cancel_requested_by, "note": execution.cancel_note}
    yield Step("cancel", says, facts)


def _outcome(execution: Execution) -> Iterator[Step]:
    if execution.end_time is None:
        return
    why = ENDED_BY.get(execution.status_reason or "")
    says = f"It ended {execution.status.value} at {moment(execution.end_time)}"
    says += f": {why}" if why else ""
    facts = {"status": execution.status.value, "reason": execution.status_reason, "end_time": execution.end_time}
    yield Step("outcome", f"{says}{_error(execution)}.", facts | {"error": execution.error})
    if execution.resolved_at is not None:
        says = f"{execution.resolved_by} resolved the dead letter at {moment(execution.resolved_at)}: "
        facts = {"at": execution.resolved_at, "by": execution.resolved_by, "note": execution.resolve_note}
        yield Step("resolution", f"{says}{execution.resolve_note}.", facts)
    elif execution.is_dead_letter:
        yield Step("resolution", "It is a dead letter: nobody has retried or resolved it.", {})


def _took(execution: Execution) -> str:
    if execution.start_time is None or execution.end_time is None:
        return ""
    return f", in {length(execution.end_time - execution.start_time)}"


def _late(evidence: Evidence, record: Record) -> str:
    step = next(_lateness(evidence, record), None)
    return (
        "" if step is None else f"; it began {length(timedelta(seconds=step.facts['late_seconds']))} after its instant"
    )


def _error(execution: Execution) -> str:
    if execution.error is None:
        return ""
    return f" ({execution.error.get('type', 'error')}: {execution.error.get('message', '')})"


def _names(executions: tuple[Execution, ...]) -> str:
    return ", ".join(f"execution {each.id} of {moment(each.scheduled_time)}" for each in executions)


def _worker(worker: WorkerFacts | None, execution: Execution) -> str:
    if worker is not None:
        return f"worker {worker.name} ({worker.state})"
    return f"worker {execution.worker_id}, whose row is gone" if execution.worker_id else "a worker"


def _worker_facts(worker: WorkerFacts | None) -> dict[str, object]:
    if worker is None:
        return {}
    return {"worker_name": worker.name, "worker_state": worker.state, "worker_heartbeat_at": worker.heartbeat_at}
