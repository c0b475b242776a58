"""/api/v1/restore: why a restored database sends nothing, what it would send, and the word to go on."""

from typing import Literal

from starlette.responses import Response

from cronsvc.services.callers import Role
from cronsvc.services.restore import ReleaseMode, RestoreState
from cronsvc.web import problems
from cronsvc.web.answers import answer
from cronsvc.web.restore_models import (
    ConfirmAnswer,
    ConfirmIn,
    OwingJobAnswer,
    ReleaseAnswer,
    RestoreAnswer,
    WouldFireAnswer,
)
from cronsvc.web.routing import Call, Route

V1 = "/api/v1"


async def get_restore(call: Call) -> Response:
    """Why and since when nothing is sent, and what would fire."""
    found = await call.services.restore.state(call.caller)
    kept = found.identity
    released = None
    if kept is not None and kept.released_at is not None and kept.released_by and kept.release_mode:
        released = ReleaseAnswer(at=kept.released_at, by=kept.released_by, mode=ReleaseMode(kept.release_mode))
    return answer(
        RestoreAnswer(
            state=_state(found),
            reason=found.reason,
            detail=found.detail,
            since=kept.fenced_at if kept is not None else None,
            would_fire=WouldFireAnswer(
                overdue_jobs=found.overdue_jobs,
                queued=found.queued,
                running=found.running,
                backfills=found.backfills,
                jobs=[
                    OwingJobAnswer(
                        job_id=job.id,
                        job_name=job.name,
                        namespace=job.namespace,
                        misfire_policy=job.misfire_policy,
                        overdue_since=job.overdue_since,
                        fires=job.fires,
                        skipped_rows=job.skipped_rows,
                        runs=list(job.runs),
                        problem=job.problem,
                    )
                    for job in found.jobs
                ],
            ),
            released=released,
        )
    )


async def confirm_restore(call: Call) -> Response:
    """Open the fence: this database is the one to go on with."""
    body: ConfirmIn = call.body
    done = await call.services.restore.confirm(ReleaseMode(body.mode), call.caller)
    return answer(
        ConfirmAnswer(
            mode=done.mode,
            jobs_passed=done.jobs_passed,
            cancelled=done.cancelled,
            given_up=done.given_up,
            backfills_paused=done.backfills_paused,
        )
    )


def _state(found: RestoreState) -> Literal["open", "fenced", "checking"]:
    if not found.fenced:
        return "open"
    return "checking" if found.waiting_for_look else "fenced"


RESTORE_ROUTES = (
    Route(
        "GET",
        f"{V1}/restore",
        Role.VIEWER,
        get_restore,
        "getRestore",
        "Whether a restored or cloned database is fenced, and what would fire",
        "service",
        answer=RestoreAnswer,
    ),
    Route(
        "POST",
        f"{V1}/restore/confirm",
        Role.ADMIN,
        confirm_restore,
        "confirmRestore",
        "Go on in a restored or cloned database",
        "service",
        body=ConfirmIn,
        answer=ConfirmAnswer,
        problems=(problems.CONFLICT,),
    ),
)
