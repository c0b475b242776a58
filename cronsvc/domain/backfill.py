"""Filling the past on purpose: which instants of a window a backfill starts, and in which order.

Pure. The instants come from the functions that fire the schedule, so a backfill can name no instant that the schedule
would not. A range row stands for every instant up to its end that has no row of its own: to run one of those is to give
it a row; only to run the instant that the range row sits on means that the range must move on (`services.backfilling`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from cronsvc.domain.execution import Reason, Status
from cronsvc.domain.job import MisfirePolicy
from cronsvc.domain.schedule import Schedule, fires_between, last_fire

# How many instants one window may hold, and how many one look goes through.
MOST_INSTANTS = 100_000
INSTANTS_A_LOOK = 500

_TICK = timedelta(microseconds=1)
_FIRST_SPAN = timedelta(hours=6)


class Mode(StrEnum):
    MISSING = "missing"  # instants without a row, and SKIPPED ones
    ALL = "all"  # those that have ended, too; only what is unfinished is left alone
    MISSED = "missed"  # a recovery's: instants that nothing accounts for, and those skipped as misfires


class Direction(StrEnum):
    OLDEST = "oldest"
    NEWEST = "newest"


class BackfillStatus(StrEnum):
    RUNNING = "running"  # schedulers start its instants, a few at a time
    PAUSED = "paused"  # no further instant is started; what was started goes on
    FINISHED = "finished"  # every instant has been decided, and what was started has ended
    CANCELLED = "cancelled"  # by a person, or its job was deleted; what ran then may still be ending


@dataclass(frozen=True, slots=True)
class Present:
    """What is recorded at an instant. With `skipped_until` it is a range row."""

    scheduled_time: datetime
    status: Status
    status_reason: str | None
    skipped_until: datetime | None


@dataclass(frozen=True, slots=True)
class Window:
    """What a backfill goes through: the instants of `schedule` from `start` to `end`, both included."""

    schedule: Schedule
    start: datetime
    end: datetime
    direction: Direction
    mode: Mode

    def instants_after(self, reached: datetime | None, limit: int) -> list[datetime]:
        """The next instants in the order of the window, at most `limit`; `reached` is the last one decided."""
        if self.direction is Direction.OLDEST:
            return fires_between(self.schedule, reached or self.start - _TICK, self.end, limit)
        until = self.end if reached is None else reached - _TICK
        return _latest(self.schedule, self.start - _TICK, until, limit)


@dataclass(frozen=True, slots=True)
class Counts:
    """Where the instants of a backfill are: `planned` is the sum of all the others."""

    planned: int = 0
    waiting: int = 0  # not reached yet, or queued
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0  # left alone: they had run before, or were unfinished
    cancelled: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.planned + other.planned,
            self.waiting + other.waiting,
            self.running + other.running,
            self.succeeded + other.succeeded,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.cancelled + other.cancelled,
        )


@dataclass(frozen=True, slots=True)
class Backfill:
    """A row of `backfills` as readers and schedulers see it. `reached` is its own cursor."""

    id: int
    job_id: int
    job_name: str
    namespace: str
    recovery_id: int | None
    revision: int
    window_from: datetime
    window_to: datetime
    mode: Mode
    direction: Direction
    max_parallel: int
    params: Mapping[str, Any] | None
    note: str | None
    status: BackfillStatus
    reached: datetime | None
    exhausted: bool
    planned: int
    started: int
    left_alone: int
    final_counts: Mapping[str, int] | None
    created_by: str
    created_at: datetime
    finished_at: datetime | None

    def counts(self, by_status: Mapping[str, int]) -> Counts:
        """How far it is, given its executions by status; once all had ended, what was written down then."""
        if self.final_counts is not None:
            by_status = self.final_counts
        ahead = max(0, self.planned - self.started - self.left_alone)
        called_off = ahead if self.status is BackfillStatus.CANCELLED else 0
        return Counts(
            planned=self.planned,
            waiting=ahead - called_off + by_status.get(Status.QUEUED, 0),
            running=by_status.get(Status.RUNNING, 0),
            succeeded=by_status.get(Status.SUCCESS, 0),
            failed=by_status.get(Status.FAILED, 0),
            skipped=self.left_alone,
            cancelled=called_off + by_status.get(Status.CANCELLED, 0),
        )


@dataclass(frozen=True, slots=True)
class Selector:
    """Which jobs a recovery is about: those that match everything that is given; all tags, any of the ids."""

    namespace: str | None = None
    tags: tuple[str, ...] = ()
    queue: str | None = None
    name_prefix: str | None = None
    job_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Recovery:
    """A row of `recoveries`, with how many backfills it has made. `namespaces` None: any."""

    id: int
    namespaces: tuple[str, ...] | None
    window_from: datetime
    window_to: datetime
    selector: Mapping[str, Any]
    direction: Direction
    max_parallel: int
    max_total: int
    status: BackfillStatus
    note: str | None
    created_by: str
    created_at: datetime
    finished_at: datetime | None
    jobs: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is known of some instants: their rows, the range rows they may lie in, stretches whose rows were pruned."""

    rows: tuple[Present, ...] = ()
    pruned: tuple[tuple[datetime, datetime], ...] = ()

    def runs(self, mode: Mode, instants: Iterable[datetime]) -> Iterator[tuple[datetime, Present | None, bool]]:
        """Each instant with its row, and whether a backfill of this mode runs it."""
        by_time: Mapping[datetime, Present] = {row.scheduled_time: row for row in self.rows}
        ranges = [row for row in self.rows if row.skipped_until is not None]
        for instant in instants:
            present = by_time.get(instant)
            if present is None and mode is not Mode.ALL and any(a <= instant <= b for a, b in self.pruned):
                yield instant, None, False  # it had its row; nobody knows any more how it ended
            else:
                yield instant, present, starts(mode, present, _cover(instant, ranges))


def starts(mode: Mode, present: Present | None, cover: Present | None) -> bool:
    """Whether a backfill runs an instant: `present` is its row, `cover` the range row that it lies in, if it does."""
    if present is None:
        return mode is not Mode.MISSED or cover is None or cover.status_reason == Reason.MISFIRE
    if present.status is Status.SKIPPED:
        return mode is not Mode.MISSED or present.status_reason == Reason.MISFIRE
    return mode is Mode.ALL and present.status not in (Status.QUEUED, Status.RUNNING)


def by_policy(policy: MisfirePolicy, cap: int, missing: Sequence[datetime]) -> Sequence[datetime]:
    """Which of the missing instants (in order of time) a recovery runs: none, the latest, or the latest `cap`."""
    match policy:
        case MisfirePolicy.SKIP:
            return ()
        case MisfirePolicy.FIRE_ONCE:
            return missing[-1:]
        case MisfirePolicy.FIRE_ALL:
            return missing[-cap:]


def _cover(instant: datetime, ranges: Sequence[Present]) -> Present | None:
    for row in ranges:
        if row.scheduled_time < instant and row.skipped_until is not None and instant <= row.skipped_until:
            return row
    return None


def _latest(schedule: Schedule, after: datetime, until: datetime, limit: int) -> list[datetime]:
    """The latest instants t with after < t <= until, latest first, at most `limit`.

    Looks at stretches from the end backwards, longer ones while they hold little and shorter ones when they hold much.
    """
    found: list[datetime] = []
    end = last_fire(schedule, after, until)
    span = _FIRST_SPAN
    while end is not None and len(found) < limit:
        start = max(after, end - span)
        stretch = fires_between(schedule, start, end, 2 * limit)
        if len(stretch) == 2 * limit and span > timedelta(seconds=1):
            span /= 4
            continue
        found += reversed(stretch)
        if len(stretch) < limit // 2:
            span *= 4
        end = last_fire(schedule, after, start) if start > after else None
    return found[:limit]
