"""The browser's part of backfills and recoveries: how far they are, and the buttons that hold or end them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.responses import Response

from cronsvc.domain.backfill import BackfillStatus, Counts
from cronsvc.services.access import Role
from cronsvc.services.backfills import Progress
from cronsvc.services.recoveries import RecoveryProgress
from cronsvc.web.page import Pages, see_other
from cronsvc.web.page_models import BackfillsQuery, RecoveriesQuery
from cronsvc.web.routing import Call, Door, Route

_SHOWN = 50
_CLASSES = {
    BackfillStatus.RUNNING: "busy",
    BackfillStatus.PAUSED: "wait",
    BackfillStatus.FINISHED: "good",
    BackfillStatus.CANCELLED: "idle",
}


@dataclass(frozen=True, slots=True)
class BackfillView:
    """One line of the table; `done` of `counts.planned` instants are settled."""

    id: int
    job_id: int
    job_name: str
    recovery_id: int | None
    note: str | None
    status: str
    status_class: str
    start: datetime
    end: datetime
    mode: str
    order: str
    max_parallel: int
    counts: Counts
    done: int
    created_by: str
    created_at: datetime
    can_pause: bool
    can_resume: bool
    can_cancel: bool


@dataclass(frozen=True, slots=True)
class RecoveryView:
    """One line of the table; `done` of `counts.planned` instants are settled."""

    id: int
    note: str | None
    status: str
    status_class: str
    chosen: str
    start: datetime
    end: datetime
    order: str
    max_total: int
    jobs: int
    counts: Counts
    done: int
    created_by: str
    created_at: datetime
    can_cancel: bool


class BackfillPages:
    """The handlers; `pages` renders."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def backfills(self, call: Call) -> Response:
        """Backfills, of all jobs or of one, the newest first."""
        query: BackfillsQuery = call.query
        found = await call.services.backfills.list(call.caller, job_id=query.job_id, cursor=query.cursor, limit=_SHOWN)
        return self._pages.render(
            "backfills.html",
            call.caller,
            self._pages.pace(query),
            backfills=[_view(each) for each in found.items],
            job_id=query.job_id,
            cursor=query.cursor,
            next_cursor=found.next_cursor,
        )

    async def cancel(self, call: Call) -> Response:
        """End a backfill."""
        changed = await call.services.backfills.cancel(call.id_in_path("backfillId"), call.caller)
        return _back(changed)

    async def pause(self, call: Call) -> Response:
        """Hold a backfill."""
        changed = await call.services.backfills.pause(call.id_in_path("backfillId"), call.caller)
        return _back(changed)

    async def resume(self, call: Call) -> Response:
        """Let a backfill go on."""
        changed = await call.services.backfills.resume(call.id_in_path("backfillId"), call.caller)
        return _back(changed)


class RecoveryPages:
    """The handlers; `pages` renders."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def recoveries(self, call: Call) -> Response:
        """Recoveries, the newest first."""
        query: RecoveriesQuery = call.query
        found = await call.services.recoveries.list(call.caller, cursor=query.cursor, limit=_SHOWN)
        return self._pages.render(
            "recoveries.html",
            call.caller,
            self._pages.pace(query),
            recoveries=[_recovery_view(each) for each in found.items],
            cursor=query.cursor,
            next_cursor=found.next_cursor,
        )

    async def cancel(self, call: Call) -> Response:
        """End a recovery and its backfills."""
        await call.services.recoveries.cancel(call.id_in_path("recoveryId"), call.caller)
        return see_other("/recoveries")


def backfill_page_routes(pages: Pages) -> tuple[Route, ...]:
    """The browser's routes of this file."""
    own, operator, tag, door = BackfillPages(pages), Role.OPERATOR, "page", Door.PAGE
    recoveries, one = RecoveryPages(pages), "/backfills/{backfillId}"
    return (
        Route(
            "GET",
            "/backfills",
            Role.VIEWER,
            own.backfills,
            "pageBackfills",
            "Backfills",
            tag,
            door=door,
            query=BackfillsQuery,
        ),
        Route("POST", f"{one}/cancel", operator, own.cancel, "pageCancelBackfill", "Cancel", tag, door=door),
        Route("POST", f"{one}/pause", operator, own.pause, "pagePauseBackfill", "Pause", tag, door=door),
        Route("POST", f"{one}/resume", operator, own.resume, "pageResumeBackfill", "Resume", tag, door=door),
        Route(
            "GET",
            "/recoveries",
            Role.VIEWER,
            recoveries.recoveries,
            "pageRecoveries",
            "Recoveries",
            tag,
            door=door,
            query=RecoveriesQuery,
        ),
        Route(
            "POST",
            "/recoveries/{recoveryId}/cancel",
            operator,
            recoveries.cancel,
            "pageCancelRecovery",
            "Cancel",
            tag,
            door=door,
        ),
    )


def _back(changed: Progress) -> Response:
    return see_other(f"/backfills?jobId={changed.backfill.job_id}")


def _view(progress: Progress) -> BackfillView:
    backfill, counts = progress.backfill, progress.counts
    unended = backfill.status in (BackfillStatus.RUNNING, BackfillStatus.PAUSED)
    return BackfillView(
        id=backfill.id,
        job_id=backfill.job_id,
        job_name=backfill.job_name,
        recovery_id=backfill.recovery_id,
        note=backfill.note,
        status=backfill.status.value,
        status_class=_CLASSES[backfill.status],
        start=backfill.window_from,
        end=backfill.window_to,
        mode=backfill.mode.value,
        order=backfill.direction.value,
        max_parallel=backfill.max_parallel,
        counts=counts,
        done=counts.planned - counts.waiting - counts.running,
        created_by=backfill.created_by,
        created_at=backfill.created_at,
        can_pause=backfill.status is BackfillStatus.RUNNING,
        can_resume=backfill.status is BackfillStatus.PAUSED,
        can_cancel=unended,
    )


def _recovery_view(progress: RecoveryProgress) -> RecoveryView:
    recovery, counts = progress.recovery, progress.counts
    return RecoveryView(
        id=recovery.id,
        note=recovery.note,
        status=recovery.status.value,
        status_class=_CLASSES[recovery.status],
        chosen=_chosen(recovery.selector),
        start=recovery.window_from,
        end=recovery.window_to,
        order=recovery.direction.value,
        max_total=recovery.max_total,
        jobs=recovery.jobs,
        counts=counts,
        done=counts.planned - counts.waiting - counts.running,
        created_by=recovery.created_by,
        created_at=recovery.created_at,
        can_cancel=recovery.status in (BackfillStatus.RUNNING, BackfillStatus.PAUSED),
    )


def _chosen(selector: Mapping[str, Any]) -> str:
    """Which jobs a recovery is about, in words."""
    parts = [f"namespace {selector['namespace']}"] if selector.get("namespace") else []
    parts += [f"tagged {' and '.join(selector['tags'])}"] if selector.get("tags") else []
    parts += [f"queue {selector['queue']}"] if selector.get("queue") else []
    parts += [f"named {selector['name_prefix']}…"] if selector.get("name_prefix") else []
    parts += [f"{len(selector['job_ids'])} by id"] if selector.get("job_ids") else []
    return ", ".join(parts) or "all jobs"
