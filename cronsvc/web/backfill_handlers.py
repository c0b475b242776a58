"""/api/v1/backfills and /api/v1/recoveries: filling the past on purpose."""

from dataclasses import asdict

from starlette.responses import Response

from cronsvc.domain.backfill import Counts, Direction, Mode, Selector
from cronsvc.services.backfills import SHOWN_INSTANTS, Progress, Wish
from cronsvc.services.recoveries import JobRecovery, RecoveryProgress, RecoveryWish
from cronsvc.web.answers import answer
from cronsvc.web.backfill_models import (
    BackfillAnswer,
    BackfillIn,
    BackfillList,
    BackfillPlanAnswer,
    BackfillQuery,
    CountsAnswer,
    JobRecoveryAnswer,
    RecoveryAnswer,
    RecoveryIn,
    RecoveryList,
    RecoveryPlanAnswer,
    RecoveryQuery,
    SelectorAnswer,
)
from cronsvc.web.routing import Call


async def backfill_job(call: Call) -> Response:
    """Run a past window of a job: 202 with the backfill, or with `dryRun` 200 with what it would do."""
    body: BackfillIn = call.body
    job_id = call.id_in_path("jobId")
    wish = Wish(
        start=body.from_,
        end=body.to,
        mode=Mode(body.mode),
        direction=Direction(body.order),
        max_parallel=body.max_parallel,
        params=body.params,
        note=body.note,
    )
    if not body.dry_run:
        made = await call.services.backfills.start(job_id, wish, call.caller)
        headers = {"Location": f"/api/v1/backfills/{made.backfill.id}"}
        return answer(backfill_answer(made), status=202, headers=headers)
    plan = await call.services.backfills.plan(job_id, wish, call.caller)
    return answer(
        BackfillPlanAnswer(
            count=len(plan.instants),
            would_skip=plan.left_alone,
            first=plan.instants[0] if plan.instants else None,
            last=plan.instants[-1] if plan.instants else None,
            instants=list(plan.instants[:SHOWN_INSTANTS]),
        )
    )


async def list_backfills(call: Call) -> Response:
    """Backfills, the newest first."""
    query: BackfillQuery = call.query
    page = await call.services.backfills.list(
        call.caller,
        job_id=query.job_id,
        recovery_id=query.recovery_id,
        status=query.status,
        sort=query.sort,
        cursor=query.cursor,
        limit=query.limit,
    )
    return answer(BackfillList(items=[backfill_answer(item) for item in page.items], next_cursor=page.next_cursor))


async def get_backfill(call: Call) -> Response:
    """One backfill and how far it is."""
    return answer(backfill_answer(await call.services.backfills.get(call.id_in_path("backfillId"), call.caller)))


async def cancel_backfill(call: Call) -> Response:
    """Start no further instant; what waits is cancelled, what runs ends."""
    return answer(backfill_answer(await call.services.backfills.cancel(call.id_in_path("backfillId"), call.caller)))


async def pause_backfill(call: Call) -> Response:
    """Start no further instant until it is resumed."""
    return answer(backfill_answer(await call.services.backfills.pause(call.id_in_path("backfillId"), call.caller)))


async def resume_backfill(call: Call) -> Response:
    """Go on with a paused backfill."""
    return answer(backfill_answer(await call.services.backfills.resume(call.id_in_path("backfillId"), call.caller)))


async def recover(call: Call) -> Response:
    """Replay what an outage kept from running: 202 with the recovery, or with `dryRun` 200 with what it would do."""
    body: RecoveryIn = call.body
    wanted = body.selector
    selector = Selector(
        namespace=wanted.namespace,
        tags=tuple(wanted.tags),
        queue=wanted.queue,
        name_prefix=wanted.name_prefix,
        job_ids=None if wanted.job_ids is None else tuple(wanted.job_ids),
    )
    wish = RecoveryWish(
        start=body.from_,
        end=body.to,
        selector=selector,
        direction=Direction(body.order),
        max_parallel=body.max_parallel,
        max_total=body.max_total,
        note=body.note,
    )
    if not body.dry_run:
        made = await call.services.recoveries.start(wish, call.caller)
        headers = {"Location": f"/api/v1/recoveries/{made.recovery.id}"}
        return answer(recovery_answer(made), status=202, headers=headers)
    plan = await call.services.recoveries.plan(wish, call.caller)
    return answer(
        RecoveryPlanAnswer(
            missing=sum(each.missing for each in plan.jobs),
            would_run=sum(len(each.runs) for each in plan.jobs),
            estimated_minutes=_rounded(plan.minutes),
            jobs=[_job_recovery(each, wish.max_parallel) for each in plan.jobs],
        )
    )


async def list_recoveries(call: Call) -> Response:
    """Recoveries, the newest first."""
    query: RecoveryQuery = call.query
    page = await call.services.recoveries.list(
        call.caller, status=query.status, sort=query.sort, cursor=query.cursor, limit=query.limit
    )
    return answer(RecoveryList(items=[recovery_answer(item) for item in page.items], next_cursor=page.next_cursor))


async def get_recovery(call: Call) -> Response:
    """One recovery and how far it is."""
    return answer(recovery_answer(await call.services.recoveries.get(call.id_in_path("recoveryId"), call.caller)))


async def cancel_recovery(call: Call) -> Response:
    """Cancel every backfill of a recovery that has not ended."""
    return answer(recovery_answer(await call.services.recoveries.cancel(call.id_in_path("recoveryId"), call.caller)))


def backfill_answer(progress: Progress) -> BackfillAnswer:
    """Return a backfill as the API shows it."""
    backfill = progress.backfill
    return BackfillAnswer(
        id=backfill.id,
        job_id=backfill.job_id,
        job_name=backfill.job_name,
        namespace=backfill.namespace,
        recovery_id=backfill.recovery_id,
        revision=backfill.revision,
        from_=backfill.window_from,
        to=backfill.window_to,
        mode=backfill.mode,
        order=backfill.direction,
        max_parallel=backfill.max_parallel,
        params=None if backfill.params is None else dict(backfill.params),
        note=backfill.note,
        status=backfill.status,
        counts=_counts(progress.counts),
        created_by=backfill.created_by,
        created_at=backfill.created_at,
        finished_at=backfill.finished_at,
    )


def recovery_answer(progress: RecoveryProgress) -> RecoveryAnswer:
    """Return a recovery as the API shows it."""
    recovery = progress.recovery
    return RecoveryAnswer(
        id=recovery.id,
        from_=recovery.window_from,
        to=recovery.window_to,
        selector=SelectorAnswer(**recovery.selector),
        order=recovery.direction,
        max_parallel=recovery.max_parallel,
        max_total=recovery.max_total,
        note=recovery.note,
        status=recovery.status,
        jobs=recovery.jobs,
        counts=_counts(progress.counts),
        created_by=recovery.created_by,
        created_at=recovery.created_at,
        finished_at=recovery.finished_at,
    )


def _job_recovery(each: JobRecovery, max_parallel: int) -> JobRecoveryAnswer:
    return JobRecoveryAnswer(
        job_id=each.job.id,
        job_name=each.job.definition.name,
        namespace=each.job.definition.namespace,
        misfire_policy=each.policy,
        missing=each.missing,
        would_run=len(each.runs),
        first=each.runs[0] if each.runs else None,
        last=each.runs[-1] if each.runs else None,
        estimated_minutes=_rounded(each.minutes(max_parallel)),
    )


def _counts(counts: Counts) -> CountsAnswer:
    return CountsAnswer(**asdict(counts))


def _rounded(minutes: float | None) -> float | None:
    return None if minutes is None else round(minutes, 2)
