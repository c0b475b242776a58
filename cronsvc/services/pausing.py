"""Pauses: which ends they can have, those that come by themselves, and what the audit log says of one."""

import logging
from datetime import datetime, timedelta

from cronsvc.domain.job import Job
from cronsvc.errors import InvalidInput
from cronsvc.services import job_edits
from cronsvc.store import clock, jobs, ticks
from cronsvc.store.pool import Database

_log = logging.getLogger("cronsvc.scheduling")

ACTOR = "cronsvc:pause-ended"
LONGEST_PAUSE = timedelta(days=3660)


def check_until(until: datetime | None, now: datetime) -> None:
    """Raise InvalidInput unless a pause can end then; `now` is the database's."""
    if until is None:
        return
    if until.utcoffset() is None:
        raise InvalidInput.of("until", "has no UTC offset; write for example 2026-01-31T09:00:00Z")
    if not now < until <= now + LONGEST_PAUSE:
        raise InvalidInput.of("until", f"lies ahead, by at most ten years; it is {now:%Y-%m-%dT%H:%M:%SZ}")


def pause_columns(job: Job) -> dict[str, object]:
    """A pause as the audit log holds it."""
    pause = job.pause
    return {
        "paused_at": pause and pause.at.isoformat(),
        "paused_until": pause and pause.until and pause.until.isoformat(),
        "pause_note": pause and pause.note,
    }


async def resume_ended(db: Database, *, batch: int = 100) -> int:
    """Resume up to `batch` jobs whose pause has reached its end, longest over first; returns how many.

    Each in a transaction of its own, audited under ACTOR; a job that somebody resumed meanwhile is left alone.
    """
    async with db.statements() as conn:
        ended = await ticks.resumable(conn, batch=batch)
    resumed = 0
    for job_id in ended:
        async with db.transaction(actor=ACTOR) as conn:
            locked = await jobs.lock(conn, job_id)
            now = await clock.now(conn)
            pause = locked.job.pause if locked is not None else None
            if locked is None or pause is None or pause.until is None or pause.until > now:
                continue
            await job_edits.resume(conn, locked, now=now)
            resumed += 1
    _log.info("the pause of %s jobs has ended", resumed)
    return resumed
