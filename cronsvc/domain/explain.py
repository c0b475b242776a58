"""Why a job did or did not run at an instant: evidence in, a verdict and the steps to it out.

Pure. A row decides when there is one. Without one the definition in force decides whether the instant was due, and then
the range rows, the cursor, what was deleted and what was edited have to account for it. What nothing accounts for is
`missing`: promise 7 is broken and somebody should look.
"""

from datetime import datetime, timedelta

from cronsvc.domain.evidence import Evidence, Explanation, PauseAct, Revised, Step, moment
from cronsvc.domain.explain_absence import absence
from cronsvc.domain.explain_clock import clock_rule, clock_step
from cronsvc.domain.explain_row import row_steps, row_verdict
from cronsvc.domain.schedule import (
    Schedule,
    ScheduleError,
    describe,
    is_closed,
    last_fire,
    moved_to,
    next_fire,
    next_instant,
)
from cronsvc.domain.zones import UnknownTimezoneError

_TICK = timedelta(microseconds=1)
_LOOK_BACK = timedelta(days=40 * 366)  # the rarest cron date comes within it

_CANNOT_READ = (ScheduleError, UnknownTimezoneError, ValueError, ArithmeticError)


def explain(evidence: Evidence) -> Explanation:
    """Return the verdict on the instant, with the steps that lead to it."""
    revised = evidence.revision or evidence.record_revision or evidence.next_revision
    steps: list[Step] = []
    named, before, after, fault, clock, calendar = False, None, None, None, None, None
    if revised is not None:
        steps.append(_revision_step(evidence, revised))
        schedule = revised.definition.schedule
        try:
            if revised.fault is not None:
                raise ScheduleError("schedule", revised.fault)
            named = names(schedule, evidence.at)
            before, after = _nearest(evidence, schedule)
            clock = clock_step(schedule, evidence.at)
            calendar = _calendar_step(schedule, evidence.at) if schedule.calendar is not None and named else None
        except _CANNOT_READ as error:
            fault = str(error)
        steps.append(_schedule_step(evidence, schedule, named, before, after, fault))
    steps += [each for each in (clock, calendar) if each is not None]
    if evidence.pause is not None:
        steps.append(_pause_step(evidence.pause))
    if evidence.record is not None:
        steps += row_steps(evidence, evidence.record)
        verdict, summary = row_verdict(evidence, evidence.record)
    else:
        verdict, summary, more = absence(evidence, named, fault)
        steps += more
    if evidence.record is None and calendar is not None and calendar.facts["closed"]:
        summary = f"{summary} {calendar.says}"
    rule = None if clock is None else clock_rule(clock)
    if rule is not None:
        summary = f"{summary} {rule}"
    return Explanation(
        at=evidence.at,
        job_id=evidence.job.id,
        job_name=evidence.job.definition.name,
        verdict=verdict,
        summary=summary,
        steps=tuple(steps),
        before=before,
        after=after,
        execution=None if evidence.record is None else evidence.record.execution,
        attempts=evidence.attempts,
    )


def names(schedule: Schedule, at: datetime) -> bool:
    """Whether the ledger accounts for an instant, because the schedule or its calendar names it.

    Raises what the schedule functions raise.
    """
    return next_instant(schedule, at - _TICK) == at


def _calendar_step(schedule: Schedule, at: datetime) -> Step:
    """What the calendar of a schedule does with an instant, as it is now: old dates are not kept."""
    closed = is_closed(schedule, at)
    moved = moved_to(schedule, at) if closed else None
    facts = {"calendar": schedule.calendar, "rule": schedule.calendar_rule.value, "closed": closed, "moved_to": moved}
    if not closed:
        return Step("calendar", f"The calendar {schedule.calendar} has it as a working day.", facts)
    where = "it is skipped" if moved is None else f"it runs at {moment(moved)} instead"
    return Step("calendar", f"The calendar {schedule.calendar} closes that day: {where}.", facts)


def _nearest(evidence: Evidence, schedule: Schedule) -> tuple[datetime | None, datetime | None]:
    """The instants around; none from before the job was there."""
    earliest = min(
        evidence.job.created_at, evidence.record.execution.scheduled_time if evidence.record else evidence.at
    )
    since = max(evidence.at - _LOOK_BACK, min(earliest, evidence.at - _TICK))
    return last_fire(schedule, since, evidence.at - _TICK), next_fire(schedule, evidence.at)


def _revision_step(evidence: Evidence, revised: Revised) -> Step:
    says = f"Revision {revised.revision} of the definition was in force, by {revised.actor}"
    says += f" since {moment(revised.created_at)}."
    if evidence.revision is None:
        says = f"No definition was in force yet; revision {revised.revision} is of {moment(revised.created_at)}."
    facts = {"revision": revised.revision, "actor": revised.actor, "since": revised.created_at}
    return Step("revision", says, facts)


def _schedule_step(
    evidence: Evidence,
    schedule: Schedule,
    named: bool,
    before: datetime | None,
    after: datetime | None,
    fault: str | None,
) -> Step:
    facts = {
        "cron_expression": schedule.cron_expression,
        "every_seconds": schedule.every_seconds,
        "run_at": schedule.run_at,
        "start_at": schedule.start_at,
        "end_at": schedule.end_at,
        "is_instant": named,
        "description": describe(schedule),
    }
    if fault is not None:
        return Step("schedule", f"The schedule cannot be read: {fault}.", facts)
    if named:
        return Step("schedule", f"The schedule ({describe(schedule)}) names {moment(evidence.at)}.", facts)
    near = [f"{word} {moment(when)}" for word, when in (("before it", before), ("after it", after)) if when is not None]
    around = f" Nearest: {', '.join(near)}." if near else " It names no other instant near it."
    return Step("schedule", f"The schedule ({describe(schedule)}) does not name {moment(evidence.at)}.{around}", facts)


def _pause_step(pause: PauseAct) -> Step:
    note = f": {pause.note}" if pause.note else ""
    says = f"{pause.actor} had paused the job at {moment(pause.at)}{note}."
    if pause.ended_at is not None:
        says += f" {pause.ended_by} resumed it at {moment(pause.ended_at)}."
    elif pause.until is not None:
        says += f" The pause ends at {moment(pause.until)}."
    else:
        says += " It lasts until somebody resumes the job."
    facts = {
        "by": pause.actor,
        "at": pause.at,
        "note": pause.note,
        "until": pause.until,
        "ended_at": pause.ended_at,
        "ended_by": pause.ended_by,
    }
    return Step("pause", says, facts)
