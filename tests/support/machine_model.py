"""What must be true of a service whatever happened to it: the test's own opinion, held against the rows.

Schedules are read by tests/unit/oracle.py or counted by hand, fates of due instants are worked out anew, and calls are
counted by the target. Nothing here asks the code under test.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from psycopg.rows import class_row

from cronsvc.domain.schedule import Schedule
from cronsvc.store.pool import Database
from tests.support.machine_world import START
from tests.unit.oracle import Oracle

HORIZON = timedelta(hours=60)
EARLIEST = START - timedelta(hours=1)  # the clock may be turned back
ENDED = frozenset({"SUCCESS", "FAILED", "SKIPPED", "CANCELLED"})
ANCHOR = EARLIEST.replace(microsecond=0) - timedelta(seconds=7)

SCHEDULES: Mapping[str, Schedule] = {
    "every 20 s": Schedule(cron_expression="*/20 * * * * *"),
    "every minute": Schedule(cron_expression="* * * * *"),
    "45 s interval": Schedule(every_seconds=45, anchor=ANCHOR),
    "London 01:30": Schedule(cron_expression="30 1 * * *", timezone="Europe/London"),
}


@lru_cache(maxsize=8)
def instants_of(name: str) -> tuple[datetime, ...]:
    """Every instant of a schedule from EARLIEST to the horizon, by a second opinion."""
    schedule = SCHEDULES[name]
    end = START + HORIZON
    if schedule.every_seconds is not None:
        step = timedelta(seconds=schedule.every_seconds)
        return tuple(ANCHOR + n * step for n in range(1, (end - ANCHOR) // step) if ANCHOR + n * step > EARLIEST)
    assert schedule.cron_expression is not None
    found = Oracle(schedule.cron_expression).simulate(schedule.timezone, EARLIEST - timedelta(days=1), end)
    return tuple(each.astimezone(UTC) for each in found if each > EARLIEST)


def between(name: str, after: datetime, until: datetime) -> tuple[datetime, ...]:
    """The instants later than `after`, up to and including `until`."""
    instants = instants_of(name)
    return instants[bisect_right(instants, after) : bisect_right(instants, until)]


@dataclass
class Stretch:
    """From when to when a job had which schedule; `until` None: it still has it."""

    schedule: str
    after: datetime
    until: datetime | None = None


@dataclass
class KnownJob:
    """What the test knows of a job, from what it asked for."""

    id: int
    columns: Mapping[str, Any]
    stretches: list[Stretch]
    paused: bool = False
    deleted: bool = False
    turned: bool = False  # somebody has moved its cursor back by SQL

    @property
    def live(self) -> bool:
        return not self.paused and not self.deleted

    def expected(self, last: datetime | None) -> list[datetime]:
        """The instants that must be accounted for: of past schedules all, of the present one those up to `last`."""
        found: list[datetime] = []
        for each in self.stretches:
            until = each.until or last
            if until is not None and until > each.after:
                found += between(each.schedule, each.after, until)
        return found


@dataclass(frozen=True, slots=True)
class Row:
    id: int
    job_id: int
    scheduled_time: datetime
    trigger: str
    status: str
    status_reason: str | None
    attempt: int
    max_attempts: int
    claim_no: int
    worker_id: str | None
    held: str | None
    dispatch_at: datetime | None
    deadline_at: datetime | None
    skipped_until: datetime | None
    claim: int | None  # which claim its result names
    queue: str
    cancelling: bool
    backfill_id: int | None
    attempts: int  # rows of job_attempts

    @property
    def unfinished(self) -> bool:
        return self.status not in ENDED


@dataclass(frozen=True, slots=True)
class JobRow:
    id: int
    next_fire_time: datetime | None
    last_fire_time: datetime | None
    paused: bool
    failures: int


@dataclass(frozen=True)
class Snapshot:
    """The rows of one moment."""

    rows: Mapping[int, Row] = field(default_factory=dict)
    jobs: Mapping[int, JobRow] = field(default_factory=dict)
    gaps: int = 0
    lost_workers: frozenset[str] = frozenset()
    open_backfills: Mapping[int, int] = field(default_factory=dict)  # id: max_parallel

    def of(self, job_id: int) -> list[Row]:
        """The rows of a job in order of time."""
        return sorted((row for row in self.rows.values() if row.job_id == job_id), key=lambda row: row.scheduled_time)


ROWS = """
SELECT e.id, e.job_id, e.scheduled_time, e.trigger, e.status, e.status_reason, e.attempt, e.max_attempts, e.claim_no,
       e.worker_id::text, e.held, e.dispatch_at, e.deadline_at, e.skipped_until, (e.result ->> 'claim')::int AS claim,
       e.queue, e.cancel_requested_at IS NOT NULL AS cancelling, e.backfill_id,
       (SELECT count(*)::int FROM job_attempts a WHERE a.job_id = e.job_id AND a.scheduled_time = e.scheduled_time)
         AS attempts
  FROM job_executions e ORDER BY e.id
"""
JOBS = """
SELECT id, next_fire_time, last_fire_time, paused_at IS NOT NULL AS paused, consecutive_failures AS failures FROM jobs
"""
REST = """
SELECT (SELECT count(*) FROM cronsvc_v1.gaps), ARRAY(SELECT id::text FROM workers WHERE state IN ('lost', 'stopped')),
       ARRAY(SELECT ARRAY[id, max_parallel] FROM backfills WHERE final_counts IS NULL)
"""


async def look(db: Database) -> Snapshot:
    """Read everything that is checked, in one snapshot."""
    async with db.transaction() as conn:
        await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        async with conn.cursor(row_factory=class_row(Row)) as cursor:
            rows = await (await cursor.execute(ROWS.encode())).fetchall()
        async with conn.cursor(row_factory=class_row(JobRow)) as cursor_of_jobs:
            jobs = await (await cursor_of_jobs.execute(JOBS.encode())).fetchall()
        rest = await (await conn.execute(REST.encode())).fetchone()
    assert rest is not None
    return Snapshot(
        {row.id: row for row in rows}, {job.id: job for job in jobs}, rest[0], frozenset(rest[1]), dict(rest[2])
    )


def fates(job: KnownJob, due: Sequence[datetime], now: datetime, before: Iterable[Row]) -> dict[datetime, str]:
    """What one tick must make of these due instants: `run`, `held`, `misfire` or `overlap`, by the README's words.

    `before`: the job's rows as they were when the tick began.
    """
    columns = job.columns
    late = [instant for instant in due if instant <= now - timedelta(seconds=columns["misfire_grace_seconds"])]
    policy = columns["misfire_policy"]
    chosen = {"skip": [], "fire_once": late[-1:], "fire_all": late[-columns["misfire_cap"] :]}[policy]
    runs = [instant for instant in due if instant in chosen or instant not in late]
    waiting = [row for row in before if row.unfinished]
    busy, held = bool(waiting), any(row.held == "overlap" for row in waiting)
    running = any(row.status == "RUNNING" for row in waiting)
    found = {}
    for instant in due:
        fate = "misfire"
        if instant in runs:
            fate = _overlap(columns["overlap_policy"], busy, held, running, last=instant == runs[-1])
            busy, held = busy or fate in ("run", "held"), held or fate == "held"
        found[instant] = fate
    return found


def _overlap(policy: str, busy: bool, held: bool, running: bool, *, last: bool) -> str:
    if policy == "skip":
        return "overlap" if busy else "run"
    if policy == "buffer_one":
        return "overlap" if held else "held" if busy else "run"
    if policy == "buffer_all":
        return "held" if busy else "run"
    if policy == "cancel_other":
        return "overlap" if not last else "held" if running else "run"
    if policy == "terminate_other":
        return "run" if last else "overlap"
    return "run"


class Ledger:
    """The rows of one job, asked instant by instant."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._own = {row.scheduled_time: row for row in rows}
        self._ranges = [row for row in rows if row.skipped_until is not None]
        self._starts = [row.scheduled_time for row in self._ranges]

    def at(self, instant: datetime) -> Row | None:
        """The row that stands for an instant: its own, or the range it lies in."""
        own = self._own.get(instant)
        if own is not None:
            return own
        place = bisect_left(self._starts, instant) - 1
        if place >= 0:
            row = self._ranges[place]
            assert row.skipped_until is not None
            if instant <= row.skipped_until:
                return row
        return None


def told(rows: Iterable[Row], calls: Callable[[int], int]) -> str:
    """The rows as a person reads them, for a failure's message."""
    lines = [
        f"  #{row.id} job {row.job_id} {row.scheduled_time.astimezone(UTC):%H:%M:%S.%f} {row.trigger} {row.status}"
        f"{'/' + row.status_reason if row.status_reason else ''}{' held:' + row.held if row.held else ''}"
        f" attempt {row.attempt}/{row.max_attempts} claim {row.claim_no} calls {calls(row.id)}"
        f"{f' until {row.skipped_until.astimezone(UTC):%H:%M:%S}' if row.skipped_until else ''}"
        for row in rows
    ]
    return "\n".join(lines[-60:])
