"""Maintenance windows: which jobs they concern, when they are open, and what becomes of an instant then.

Pure. A window is one stretch of time, or a cron expression with a duration. An instant is inside when it lies in the
opening, or is recorded late while one is open. Where several are open, one that skips wins; among those that hold, the
one that ends last.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cronsvc.domain.schedule import Schedule, fires_between, next_fire

LONGEST_OPENING = timedelta(days=31)

# Openings of one window that one look goes through.
MOST_OPENINGS = 10_000


class During(StrEnum):
    SKIP = "skip"  # what is due inside is recorded as SKIPPED(maintenance)
    HOLD = "hold"  # it is recorded, and waits for the end


@dataclass(frozen=True, slots=True)
class Selector:
    """Which jobs a window concerns: those that match everything given; all of the tags. Nothing given: all."""

    namespace: str | None = None
    tags: tuple[str, ...] = ()
    queue: str | None = None

    def matches(self, namespace: str, tags: Iterable[str], queue: str) -> bool:
        """Whether a job is concerned."""
        return (
            (self.namespace is None or self.namespace == namespace)
            and set(self.tags) <= set(tags)
            and (self.queue is None or self.queue == queue)
        )


@dataclass(frozen=True, slots=True)
class Window:
    """A window as it was defined. `schedule` and `duration` for one that recurs, then start and end only bound it."""

    id: int
    name: str
    selector: Selector
    during: During
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    schedule: Schedule | None = None
    duration: timedelta | None = None
    spread_seconds: int = 0
    coalesce: bool = False

    def openings(self, since: datetime, until: datetime) -> list["Opening"]:
        """When it is open between `since` and `until`."""
        if self.schedule is None or self.duration is None:
            if self.starts_at is None or self.ends_at is None or self.starts_at > until or self.ends_at <= since:
                return []
            return [Opening(self, self.starts_at, self.ends_at)]
        starts = fires_between(self.schedule, since - self.duration, until, MOST_OPENINGS)
        return [Opening(self, start, start + self.duration) for start in starts]

    def open_until(self, now: datetime) -> datetime | None:
        """When what is open at `now` has ended; None when nothing is."""
        return max((each.end for each in self.openings(now, now) if each.start <= now < each.end), default=None)

    def opens_next(self, after: datetime) -> datetime | None:
        """When it opens next, later than `after`."""
        if self.schedule is not None:
            return next_fire(self.schedule, after)
        return self.starts_at if self.starts_at is not None and self.starts_at > after else None


@dataclass(frozen=True, slots=True)
class Opening:
    """One time that a window is open; `end` is not part of it."""

    window: Window
    start: datetime
    end: datetime

    def holds(self, instant: datetime) -> bool:
        """Whether the instant lies inside."""
        return self.start <= instant < self.end


def governing(openings: Sequence[Opening], instant: datetime, now: datetime) -> Opening | None:
    """The opening that decides about an instant recorded at `now`; None when none is concerned."""
    return _strongest([each for each in openings if each.holds(instant) or each.holds(now)])


def _strongest(openings: Sequence[Opening]) -> Opening | None:
    return max(openings, key=lambda each: (each.window.during is During.SKIP, each.end, each.window.id), default=None)


def keeping(openings: Sequence[Opening], now: datetime) -> Opening | None:
    """The opening that keeps what is held already: the one that ends last, whatever it does with what comes new."""
    return max(
        (each for each in openings if each.holds(now)), key=lambda each: (each.end, each.window.id), default=None
    )
