"""A tried-out edit as JSON: `PUT` and `PATCH /jobs/{jobId}?dryRun=true`."""

from typing import Annotated

from pydantic import Field

from cronsvc.domain.fire_diff import ClockEffect
from cronsvc.services.rehearsing import Rehearsal
from cronsvc.web.job_models import JobAnswer
from cronsvc.web.mapping import job_answer
from cronsvc.web.models import AnswerModel, QueryModel
from cronsvc.web.scalars import Instant, QueryFlag

SHOWN = 20


class EditQuery(QueryModel):
    """`dryRun`: make every check, change nothing, and answer what the change would do to the fires."""

    dry_run: QueryFlag = False


class FiresAnswer(AnswerModel):
    """How many instants, and the first of them."""

    count: int
    first: Annotated[list[Instant], Field(max_length=SHOWN)]


class ClockChangeAnswer(AnswerModel):
    """A clock change that touches the new schedule: these wall times are skipped (moved, left_out) or come twice."""

    at: Instant
    wall_from: str
    wall_until: str
    effect: ClockEffect


class EditPlanAnswer(AnswerModel):
    """What an edit would do. Fires are compared from `from` to `until`.

    `until` is 30 days ahead; earlier, with `complete` false, where a definition has too many fires to compare them all.
    `firesAtOnce`: runs are due already and would be on their way at once, as they would without the edit.
    """

    dry_run: bool
    changes: bool
    from_: Annotated[Instant, Field(alias="from")]
    until: Instant
    complete: bool
    added: FiresAnswer
    removed: FiresAnswer
    first_changed_fire: Instant | None
    clock_changes: list[ClockChangeAnswer]
    fires_at_once: bool
    description: str
    job: JobAnswer


def edit_plan(rehearsal: Rehearsal) -> EditPlanAnswer:
    """Return the answer for a tried-out edit."""
    diff = rehearsal.diff
    return EditPlanAnswer(
        dry_run=True,
        changes=rehearsal.changes,
        from_=rehearsal.since,
        until=rehearsal.until,
        complete=rehearsal.is_whole,
        added=FiresAnswer(count=len(diff.added), first=list(diff.added[:SHOWN])),
        removed=FiresAnswer(count=len(diff.removed), first=list(diff.removed[:SHOWN])),
        first_changed_fire=diff.first_changed,
        clock_changes=[
            ClockChangeAnswer(
                at=change.at,
                wall_from=change.wall_from.isoformat(),
                wall_until=change.wall_until.isoformat(),
                effect=change.effect,
            )
            for change in rehearsal.clock_changes
        ],
        fires_at_once=rehearsal.owed > 0,
        description=rehearsal.description,
        job=job_answer(rehearsal.job),
    )
