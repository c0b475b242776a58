"""An instant without a row of its own: whether it was due, and what accounts for it.

The definition in force decides whether it was due. Then a range row, the cursor, what was deleted and what was edited
have to account for it; what none of them does is `missing`.
"""

from collections.abc import Iterator
from datetime import timedelta

from cronsvc.domain.evidence import Evidence, Step, Verdict, count, length, moment
from cronsvc.domain.explain_dependency import upstream_facts, waiting_for
from cronsvc.domain.explain_row import skipped
from cronsvc.domain.schedule import Schedule, describe, fires_between

_TICK = timedelta(microseconds=1)
_MOST_COUNTED = 10_000

# An edit settles what is due and then computes the cursor from its own now; the revision is stamped a moment later.
_EDIT_TAKES = timedelta(seconds=5)

Finding = tuple[Verdict, str, tuple[Step, ...]]


def absence(evidence: Evidence, named: bool, fault: str | None) -> Finding:
    """The verdict on an instant that has no row of its own."""
    at, job, revised = evidence.at, evidence.job, evidence.revision
    if revised is None or at < job.created_at:
        return Verdict.BEFORE_JOB, f"There was no such job: it was created at {moment(job.created_at)}.", ()
    if revised.deleted or (evidence.deleted_at is not None and evidence.deleted_at <= at):
        deleted = evidence.deleted_at or revised.created_at
        step = Step("activity", f"The job was deleted at {moment(deleted)}.", {"deleted_at": deleted})
        return Verdict.DELETED, f"The job had been deleted at {moment(deleted)}.", (step,)
    if fault is not None:
        return _quarantined(evidence, fault)
    if not revised.definition.is_active:
        says = f"The job was inactive since revision {revised.revision}, by {revised.actor}: such jobs record nothing."
        return Verdict.INACTIVE, says, (Step("activity", says, {"revision": revised.revision, "by": revised.actor}),)
    if not named:
        return _not_named(evidence, revised.definition.schedule)
    cover = evidence.cover
    if cover is not None:
        until = f"{moment(cover.scheduled_time)} to {moment(cover.skipped_until or cover.scheduled_time)}"
        says = (
            f"It did not run: execution {cover.id} is SKIPPED ({cover.status_reason}) for every instant from {until}."
        )
        return Verdict.SKIPPED, says, (skipped(evidence, cover),)
    if _ahead(evidence):
        return _not_recorded(evidence)
    return _passed(evidence)


def _quarantined(evidence: Evidence, fault: str) -> Finding:
    reason = evidence.job.quarantine_reason or fault
    says = f"No scheduler can plan the job, so nothing of it is recorded: {reason}."
    facts = {"reason": reason, "quarantined_now": evidence.job.quarantine_reason is not None}
    return Verdict.QUARANTINED, says, (Step("quarantine", says, facts),)


def _not_named(evidence: Evidence, schedule: Schedule) -> Finding:
    at = evidence.at
    if schedule.start_at is not None and at < schedule.start_at:
        return Verdict.BEFORE_START, f"The schedule begins later, at {moment(schedule.start_at)}.", ()
    if schedule.end_at is not None and at > schedule.end_at:
        return Verdict.AFTER_END, f"The schedule had ended at {moment(schedule.end_at)}.", ()
    wanted = evidence.job.definition.depends_on
    steps: tuple[Step, ...] = ()
    if wanted is not None:
        facts = {"mode": wanted.mode.value, "upstream": list(upstream_facts(evidence.upstreams))}
        steps = (Step("dependency", f"Beside any schedule, {waiting_for(wanted, evidence.upstreams)}.", facts),)
    return (
        Verdict.NOT_SCHEDULED,
        f"Nothing was due: the schedule ({describe(schedule)}) does not name this instant.",
        steps,
    )


def _ahead(evidence: Evidence) -> bool:
    """Whether the cursor has not passed the instant."""
    job = evidence.job
    cursor = job.next_fire_time
    if cursor is None:
        return False
    if evidence.armed:
        return evidence.at >= cursor
    return evidence.at > (cursor if job.last_fire_time is None else max(cursor, job.last_fire_time))


def _cursor_step(evidence: Evidence) -> Step:
    job = evidence.job
    says = "The cursor: "
    if job.next_fire_time is None:
        says += "no instant is left."
    elif evidence.armed:
        says += f"{moment(job.next_fire_time)} is the first instant without a row."
    else:
        says += f"no scheduler has seen the latest change yet; the schedule counts from {moment(job.next_fire_time)}."
    facts = {
        "next_fire_time": job.next_fire_time,
        "last_fire_time": job.last_fire_time,
        "armed": evidence.armed,
        "fire_count": job.fire_count,
    }
    return Step("cursor", says, facts)


def _not_recorded(evidence: Evidence) -> Finding:
    """The cursor has not come to the instant: what holds it back, or nothing but time."""
    job, at, cursor = evidence.job, evidence.at, _cursor_step(evidence)
    if job.quarantine_reason is not None:
        verdict, summary, steps = _quarantined(evidence, job.quarantine_reason)
        return verdict, summary, (cursor, *steps)
    if not job.definition.is_active:
        says = "The job is inactive now; its schedule goes on from the moment when it is active again."
        return Verdict.INACTIVE, says, (cursor,)
    pause = job.pause
    if pause is not None and (at <= evidence.now or pause.until is None or pause.until >= at):
        until = "until somebody resumes it" if pause.until is None else f"until {moment(pause.until)}"
        says = f"The job is paused by {pause.by} {until}: nothing is recorded before that, and then it becomes part of"
        says += " a SKIPPED row, unless the resume catches up."
        return Verdict.PAUSED, says, (cursor,)
    if (budget := _budget_step(evidence)) is not None:
        return Verdict.ENDED, f"It will not run: {budget.says}", (cursor, budget)
    if at > evidence.now:
        return Verdict.NOT_YET, f"It lies ahead: {length(at - evidence.now)} from now.", (cursor,)
    late = length(evidence.now - at)
    steps = tuple(_scheduler_steps(evidence))
    why = "no scheduler is alive" if evidence.schedulers is not None and not evidence.schedulers.alive else "it is due"
    says = f"It was due {late} ago and is not recorded yet: {why}. It is not lost: the next tick records it."
    return Verdict.DUE, says, (cursor, *steps)


def _budget_step(evidence: Evidence) -> Step | None:
    """The step of maxRuns, if the instant comes after the last run that it allows."""
    job = evidence.job
    most = job.definition.max_runs
    if most is None:
        return None
    left = max(0, most - job.fire_count)
    if job.next_fire_time is not None and left <= _MOST_COUNTED:
        start = job.next_fire_time - (_TICK if evidence.armed else timedelta(0))
        due = fires_between(job.definition.schedule, start, evidence.at, left + 1)
        if len(due) <= left:
            return None
    elif left > 0:
        return None
    says = f"maxRuns is {most}, it has run {job.fire_count} times, and its last run comes before this instant."
    return Step("limit", says, {"max_runs": most, "fire_count": job.fire_count})


def _scheduler_steps(evidence: Evidence) -> Iterator[Step]:
    found = evidence.schedulers
    if found is None:
        return
    says = f"{count(found.alive, 'scheduler')} alive"
    says += f", last heard of at {moment(found.last_heartbeat)}." if found.last_heartbeat else "."
    if found.shard_holder is not None:
        since = f" for {length(timedelta(seconds=found.shard_held_seconds))}" if found.shard_held_seconds else ""
        says += f" {found.shard_holder} holds its shard {found.shard}{since}."
    facts = {
        "alive": found.alive,
        "last_heartbeat": found.last_heartbeat,
        "shard": found.shard,
        "shard_holder": found.shard_holder,
        "shard_held_seconds": found.shard_held_seconds,
    }
    yield Step("scheduler", says, facts)


def _passed(evidence: Evidence) -> Finding:
    """The cursor has passed the instant, and there is neither a row nor a range: what else accounts for it."""
    at, cursor = evidence.at, _cursor_step(evidence)
    if (spent := _spent_step(evidence)) is not None:
        return Verdict.ENDED, f"Nothing was due any more: {spent.says}", (cursor, spent)
    if evidence.oldest_kept is not None and at < evidence.oldest_kept:
        says = f"Rows from before {moment(evidence.oldest_kept)} are dropped by age; nobody knows what became of it."
        step = Step("retention", says, {"oldest_kept": evidence.oldest_kept})
        return Verdict.PRUNED, says, (cursor, step)
    if evidence.named_by is not None:
        says = (
            f"The row of {moment(evidence.named_by)} names it as the one before: it was recorded, and its row is gone."
        )
        step = Step("ledger", says, {"named_by": evidence.named_by})
        return Verdict.MISSING, f"{says} A defect: please report it.", (cursor, step)
    if (pruned := _pruned_step(evidence)) is not None:
        return Verdict.PRUNED, pruned.says, (cursor, pruned)
    if (edited := _edited_step(evidence)) is not None:
        return Verdict.EDITED, edited.says, (cursor, edited)
    says = "The schedule names it, the cursor has passed it, and neither a row nor a range accounts for it."
    facts = {"row_before": evidence.row_before}
    return Verdict.MISSING, f"{says} A defect: please report it.", (cursor, Step("ledger", says, facts))


def _spent_step(evidence: Evidence) -> Step | None:
    """The step of maxRuns, if the job had run that often before the instant."""
    job, revised = evidence.job, evidence.revision
    most = None if revised is None else revised.definition.max_runs
    if most is None:
        return None
    over = job.next_fire_time is None and (job.last_fire_time is None or evidence.at > job.last_fire_time)
    runs = job.fire_count if over else evidence.runs_before or 0
    if runs < most:
        return None
    return Step("limit", f"the job had run {runs} times, and maxRuns was {most}.", {"max_runs": most, "runs": runs})


def _pruned_step(evidence: Evidence) -> Step | None:
    """The step of deleted rows, if one of them may have been the instant's."""
    pruned = evidence.pruned
    if pruned is None:
        return None
    facts = {
        "first_time": pruned.first_time,
        "last_time": pruned.last_time,
        "success": pruned.success,
        "failed": pruned.failed,
        "skipped": pruned.skipped,
        "cancelled": pruned.cancelled,
    }
    counts = (
        f"{pruned.success} succeeded, {pruned.failed} failed, {pruned.skipped} skipped, {pruned.cancelled} cancelled"
    )
    stretch = f"{moment(pruned.first_time)} to {moment(pruned.last_time)}"
    says = f"Rows of {stretch} are deleted, by number, age or a clean-up ({counts}); its row was among them."
    return Step("retention", says, facts)


def _edited_step(evidence: Evidence) -> Step | None:
    """The step of a change that came before the instant was recorded. Those of the API record what is due first."""
    revised, later = evidence.revision, evidence.next_revision
    if revised is None or later is None:
        return None
    moved = later.deleted or (
        (later.definition.schedule, later.definition.max_runs, later.definition.is_active)
        != (revised.definition.schedule, revised.definition.max_runs, revised.definition.is_active)
    )
    soon = later.created_at - evidence.at <= _EDIT_TAKES
    if not moved or not (soon or later.actor.startswith("sql:")):
        return None
    did = "deleted the job" if later.deleted else f"changed the schedule (revision {later.revision})"
    says = f"{later.actor} {did} at {moment(later.created_at)}, before the instant was recorded."
    return Step("revision", says, {"revision": later.revision, "actor": later.actor, "at": later.created_at})
