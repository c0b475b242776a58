"""A job's past written as a word of letters, one an ended execution, and read back the same way."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

from cronsvc.store.pool import Database
from tests.support.rows import define, fetch, one

START = datetime.combine(datetime.now(UTC).date() - timedelta(days=3), time(6), UTC)
STATUSES = {"s": "SUCCESS", "f": "FAILED", "k": "SKIPPED", "c": "CANCELLED", "q": "QUEUED", "r": "RUNNING"}
GAPS = "SELECT missing_time FROM cronsvc_v1.gaps"


def minute(n: int) -> datetime:
    return START + timedelta(minutes=n)


async def ran(db: Database, pattern: str, *, start: datetime = START, **columns: Any) -> int:
    """A job whose schedule recorded these, a minute apart; each took as many seconds as its place says, in two."""
    job_id = await define(db, cron_expression="* * * * *", armed_revision=1, **columns)
    await record(db, job_id, pattern, start=start)
    return job_id


async def record(db: Database, job_id: int, pattern: str, *, start: datetime = START) -> None:
    for n, letter in enumerate(pattern):
        at = start + timedelta(minutes=n)
        status = STATUSES[letter]
        over = status not in ("QUEUED", "RUNNING")
        tries = 2 if letter in "sf" else 0
        await fetch(
            db,
            "INSERT INTO job_executions (job_id, scheduled_time, previous_time, status, attempt, start_time, end_time,"
            " created_at) SELECT id, %s, last_fire_time, %s, %s, %s, %s, %s FROM jobs WHERE id = %s RETURNING 1",
            *(at, status, tries, at if tries else None, at + timedelta(seconds=n) if over else None, at, job_id),
        )
        for claim_no in range(tries):
            await fetch(
                db,
                "INSERT INTO job_attempts (job_id, scheduled_time, claim_no, execution_id, attempt, outcome)"
                " VALUES (%s, %s, %s, 0, %s, 'success') RETURNING 1",
                *(job_id, at, claim_no + 1, claim_no + 1),
            )
        await fetch(
            db,
            "UPDATE jobs SET last_fire_time = %s::timestamptz, next_fire_time = %s::timestamptz + interval '1 minute'"
            " WHERE id = %s RETURNING 1",
            *(at, at, job_id),
        )


async def left(db: Database, job_id: int, *, start: datetime = START) -> str:
    """What is left, as it was written."""
    letters = {status: letter for letter, status in STATUSES.items()}
    rows = await fetch(
        db, "SELECT scheduled_time, status FROM job_executions WHERE job_id = %s ORDER BY scheduled_time", job_id
    )
    found = {round((at - start) / timedelta(minutes=1)): letters[status] for at, status in rows}
    return "".join(found.get(n, ".") for n in range(max(found) + 1)) if found else ""


async def kept(db: Database, job_id: int) -> tuple[int, ...]:
    """success, failed, skipped, cancelled, attempts, ms in the statistics of rows that are gone."""
    return await one(
        db,
        "SELECT coalesce(sum(success), 0)::int, coalesce(sum(failed), 0)::int, coalesce(sum(skipped), 0)::int,"
        " coalesce(sum(cancelled), 0)::int, coalesce(sum(attempts), 0)::int, coalesce(sum(duration_ms_sum), 0)::int"
        " FROM job_statistics WHERE job_id = %s",
        job_id,
    )


def keeping(completed: int | None = None, failed: int | None = None, days: int = 90) -> str:
    values = {"keepCompleted": completed, "keepFailed": failed, "days": days}
    return "{" + ", ".join(f'"{key}": {"null" if value is None else value}' for key, value in values.items()) + "}"
