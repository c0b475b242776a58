"""Time zones: which names exist, which data they stand for, and how wall times become instants.

Promises: the rules come from the PyPI package tzdata, never from the host's files, so that all replicas agree on
one pinned version; a name is valid exactly if `timezones()` holds it; `next_instant` is the one place where a
skipped or repeated hour is decided, by the Debian rule: times that are named run exactly once, jobs
that follow the clock run at every real moment that matches.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

import tzdata  # type: ignore[import-untyped]  # ships no type information

WallStep = Callable[[datetime], datetime | None]

# Placeholders in the database, not places.
_NOT_ZONES = frozenset({"Factory", "localtime", "posixrules"})
_LONGEST_NAME = 64
_ONE_SECOND = timedelta(seconds=1)
_ONE_MICROSECOND = timedelta(microseconds=1)


class UnknownTimezoneError(ValueError):
    """The name is not in the time zone database; the message suggests a near one."""


@lru_cache(maxsize=1)
def timezones() -> frozenset[str]:
    """Return every valid zone name, read once from the tzdata package."""
    names = resources.files("tzdata").joinpath("zones").read_text(encoding="ascii").split()
    return frozenset(names) - _NOT_ZONES


def tzdata_version() -> str:
    """Return the version of the zone rules in use, such as `2026f`; when it changes, stored cursors are stale."""
    return str(tzdata.IANA_VERSION)


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """Return the rules of a zone; raise UnknownTimezoneError, with a suggestion, if there is none of that name.

    `ZoneInfo(name)` would prefer the host's files, which differ between nodes, and the cure for that,
    PYTHONTZPATH or `zoneinfo.reset_tzpath`, is a setting of the whole process that somebody has to make before the
    first zone is loaded and nobody may undo. Reading the package's own file needs no such order of events. Looking
    the name up first also keeps `..`, directories and `right/…` away from the file system.
    """
    if name not in timezones():
        raise UnknownTimezoneError(_unknown(name))
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def next_instant(
    next_wall: WallStep, rules: ZoneInfo, after: datetime, *, follows_clock: bool, horizon_years: int
) -> datetime | None:
    """Return the first instant strictly after `after` (aware, UTC) at which a job on this wall clock runs.

    `next_wall` maps a naive wall time to the next matching one. None when there is none within the horizon.
    """
    search = _next_following if follows_clock else _next_named
    try:
        start = _wall_at(after.replace(tzinfo=None), rules)
        found = search(next_wall, rules, after.replace(tzinfo=None), start, start.year + horizon_years)
    except OverflowError:  # ran past the year 9999
        return None
    return None if found is None else found.replace(tzinfo=UTC)


def local(instant: datetime, rules: ZoneInfo) -> datetime:
    """Return the naive wall time at an aware instant; fold 1 marks the second pass of a repeated hour."""
    return _wall_at(instant.astimezone(UTC).replace(tzinfo=None), rules)


def instant_of(wall: datetime, rules: ZoneInfo) -> datetime:
    """Return the instant of a naive wall time: the first pass if it is repeated, right after the gap if skipped."""
    before, later = _offsets(wall, rules)
    instant = _change(wall, before, later, rules) if before < later else wall - before
    return instant.replace(tzinfo=UTC, fold=0)


def start_of(day: date, rules: ZoneInfo) -> datetime:
    """Return the instant at which a date begins."""
    return instant_of(datetime.combine(day, time.min), rules)


def _next_named(
    next_wall: WallStep, rules: ZoneInfo, after: datetime, start: datetime, last_year: int
) -> datetime | None:
    """Fixed times: once each, at the first pass of a repeated hour, and right after the gap when skipped."""
    wall = next_wall(start)
    while wall is not None and wall.year <= last_year:
        before, later = _offsets(wall, rules)
        instant = _change(wall, before, later, rules) if before < later else wall - before
        if instant > after:
            return instant
        # Either way the search moves on: `max` keeps it from standing still where two changes lie within one hour.
        if before > later:
            # `after` is in the second pass: the whole repeated stretch has had its turn.
            wall = next_wall(max(wall, _change(wall, before, later, rules) + before - _ONE_MICROSECOND))
        else:
            wall = next_wall(wall)
    return None


def _next_following(
    next_wall: WallStep, rules: ZoneInfo, after: datetime, start: datetime, last_year: int
) -> datetime | None:
    """Every real moment that matches: nothing for times in a gap, both passes of a repeated hour."""
    found = None
    wall = next_wall(start)
    while wall is not None and wall.year <= last_year:
        before, later = _offsets(wall, rules)
        if before < later:
            wall = next_wall(max(wall, _change(wall, before, later, rules) + later - _ONE_MICROSECOND))
            continue
        found = wall - before if wall - before > after else wall - later
        break
    before, later = _offsets(start, rules)
    if before > later and start.fold == 0:
        # `after` is in the first pass: the second pass may match sooner, at a wall time that is not later than now.
        change = _change(start, before, later, rules)
        wall = next_wall(change + later - _ONE_MICROSECOND)
        if wall is not None and wall <= start and (found is None or wall - later < found):
            return wall - later
    return found


def _wall_at(instant: datetime, rules: ZoneInfo) -> datetime:
    """Return the wall time at an instant (both naive; the instant in UTC); fold 1 marks the second pass."""
    return rules.fromutc(instant.replace(tzinfo=rules)).replace(tzinfo=None)


def _offsets(wall: datetime, rules: ZoneInfo) -> tuple[timedelta, timedelta]:
    """Return the offsets before and after the change that touches this wall time; equal when none does.

    The first is smaller in a gap and greater in a repeated stretch (PEP 495).
    """
    aware = wall.replace(tzinfo=rules, fold=0)
    before, later = aware.utcoffset(), aware.replace(fold=1).utcoffset()
    assert before is not None and later is not None
    return before, later


def _change(wall: datetime, before: timedelta, later: timedelta, rules: ZoneInfo) -> datetime:
    """Return the instant (naive, UTC) at which the clock changed around a skipped or repeated wall time."""
    early, late = sorted((wall - before, wall - later))
    early, late = early.replace(microsecond=0), late.replace(microsecond=0)
    while late - early > _ONE_SECOND:
        middle = early + (late - early) // (2 * _ONE_SECOND) * _ONE_SECOND
        if rules.fromutc(middle.replace(tzinfo=rules)).utcoffset() == before:
            early = middle
        else:
            late = middle
    return late


def _unknown(name: str) -> str:
    if not name or len(name) > _LONGEST_NAME:
        return "is not a time zone; use a name of the IANA database such as Europe/London"
    by_lower = {known.lower(): known for known in timezones()}
    near = get_close_matches(name.lower(), by_lower, n=1)
    suggestion = by_lower[near[0]] if near else "Europe/London"
    return f"{name!a} is not a time zone of the IANA database; use a name such as {suggestion}"
