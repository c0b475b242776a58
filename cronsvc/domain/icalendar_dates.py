"""The dates that an iCalendar file (RFC 5545) closes: its all-day events, those that recur written out.

Promises: pure; what comes out lies between two dates, and no rule, however it is made, keeps this busy for more than a
fraction of a second. Nothing is guessed: an event that cannot be read is refused with its number. Events with a time of
day close no date; they are counted, as are those that are cancelled.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from dateutil.rrule import rrulestr
from icalendar import Calendar

LONGEST_EVENT_DAYS = 366
LABEL_LENGTH = 200

_FIRST_YEAR, _LAST_YEAR = 1600, 2300
_DAY = timedelta(days=1)
_FREQUENCIES = frozenset({"YEARLY", "MONTHLY", "WEEKLY", "DAILY"})
_PARTS = frozenset(
    {
        "FREQ",
        "INTERVAL",
        "COUNT",
        "UNTIL",
        "BYMONTH",
        "BYMONTHDAY",
        "BYDAY",
        "BYYEARDAY",
        "BYWEEKNO",
        "BYSETPOS",
        "WKST",
    }
)
# A rule that never comes true is followed to the year 9999, so it is followed from shortly before. The calendar repeats
# itself, weekdays included, every 400 years.
_SHIFT_YEARS = 400 * 19
# What icalendar and dateutil raise for input that is none.
_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)


class UnreadableCalendarError(ValueError):
    """The file, or one event of it, cannot be read; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The closed dates with their labels, and how many events closed none."""

    dates: dict[date, str]
    ignored: int


@dataclass(frozen=True, slots=True)
class _Event:
    """One all-day event; `stands_for` is the date of the occurrence that it takes the place of."""

    number: int
    uid: str
    label: str
    start: date
    days: int
    rule: str | None
    more: tuple[date, ...]
    but: frozenset[date]
    stands_for: date | None


def closed_dates(content: bytes, *, since: date, until: date, go_on: Callable[[], None] = lambda: None) -> Closed:
    """Read the dates from `since` to `until`; UnreadableCalendarError says what is wrong. `go_on` is called between
    events and may raise to give up.
    """
    try:
        calendars = Calendar.from_ical(content, multiple=True)
        found = [event for calendar in calendars for event in calendar.walk("VEVENT")]
    except _UNREADABLE:
        calendars = []
    if not calendars:
        raise UnreadableCalendarError("is no iCalendar file, which goes from BEGIN:VCALENDAR to END:VCALENDAR")
    if not found:
        raise UnreadableCalendarError("has no event")
    events = [_read(number, event) for number, event in enumerate(found, start=1)]
    all_day = [event for event in events if event is not None]
    dates: dict[date, str] = {}
    for event in _without_what_was_moved(all_day):
        go_on()
        for day in _days(event, since, until):
            labels = [label for label in (dates.get(day), event.label) if label]
            dates[day] = ", ".join(dict.fromkeys(labels))[:LABEL_LENGTH]
    return Closed(dates, ignored=len(events) - len(all_day))


def _read(number: int, event: Any) -> _Event | None:
    """One event; None for one that closes no date."""
    try:
        start = event["DTSTART"].dt
        if isinstance(start, datetime) or str(event.get("STATUS", "")).upper() == "CANCELLED":
            return None
        read = _Event(
            number=number,
            uid=str(event.get("UID", f"event {number}")),
            label=_label(str(event.get("SUMMARY", ""))),
            start=_day(start),
            days=_length(event, _day(start)),
            rule=_rule(event.get("RRULE")),
            more=tuple(_listed(event.get("RDATE"))),
            but=frozenset(_listed(event.get("EXDATE"))),
            stands_for=_day(event["RECURRENCE-ID"].dt) if "RECURRENCE-ID" in event else None,
        )
    except UnreadableCalendarError as error:
        raise UnreadableCalendarError(f"event {number} {error}") from None
    except _UNREADABLE:
        raise UnreadableCalendarError(f"event {number} has a date that cannot be read, or none") from None
    if not 1 <= read.days <= LONGEST_EVENT_DAYS:
        raise UnreadableCalendarError(f"event {number} lasts {read.days} days; 1 to {LONGEST_EVENT_DAYS} are possible")
    if not all(_FIRST_YEAR <= day.year <= _LAST_YEAR for day in (read.start, *read.more)):
        raise UnreadableCalendarError(f"event {number} lies outside the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return read


def _without_what_was_moved(events: Sequence[_Event]) -> Iterator[_Event]:
    """Each event, less the occurrences of it that another one stands for."""
    moved: dict[str, set[date]] = {}
    for event in events:
        if event.stands_for is not None:
            moved.setdefault(event.uid, set()).add(event.stands_for)
    for event in events:
        yield event if event.stands_for is not None else replace(event, but=event.but | moved.get(event.uid, set()))


def _days(event: _Event, since: date, until: date) -> Iterator[date]:
    """The dates of an event that lie between the two."""
    for first in {*_occurrences(event, since, until), *event.more} - event.but:
        for n in range(event.days):
            if since <= (day := first + n * _DAY) <= until:
                yield day


def _occurrences(event: _Event, since: date, until: date) -> Iterator[date]:
    """The first dates of an event; those that end before `since` are left out."""
    if event.rule is None:
        yield event.start
        return
    try:
        for found in rrulestr(event.rule, dtstart=_shifted(event.start)):
            first = found.date().replace(year=found.year - _SHIFT_YEARS)
            if first > until:
                return
            if first + event.days * _DAY > since:
                yield first
    except _UNREADABLE:
        raise UnreadableCalendarError(f"event {event.number} has a recurrence that cannot be read") from None


def _rule(value: Any) -> str | None:
    """The recurrence as dateutil reads it, moved to where it is followed; UnreadableCalendarError for one it is not."""
    if value is None:
        return None
    if isinstance(value, list):
        raise UnreadableCalendarError("has two recurrence rules; one is possible")
    parts = dict(part.split("=", 1) for part in value.to_ical().decode().upper().split(";"))
    if unknown := sorted(set(parts) - _PARTS):
        raise UnreadableCalendarError(f"recurs by {unknown[0][:40]}, which is not supported")
    if parts.get("FREQ") not in _FREQUENCIES:
        raise UnreadableCalendarError("recurs more often than daily, or without saying how often")
    if (until := parts.get("UNTIL")) is not None:
        last = datetime.strptime(until[:8], "%Y%m%d")
        if last.year >= _LAST_YEAR:
            del parts["UNTIL"]
        else:
            parts["UNTIL"] = f"{_shifted(last.date()):%Y%m%d}"
    return ";".join(f"{name}={text}" for name, text in parts.items())


def _shifted(day: date) -> datetime:
    return datetime(day.year + _SHIFT_YEARS, day.month, day.day)


def _length(event: Any, start: date) -> int:
    """How many days it takes: until the day before DTEND, or as DURATION says; else one."""
    if "DTEND" in event:
        return (_day(event["DTEND"].dt) - start).days or 1  # some write the same date for both
    if "DURATION" in event:
        length: timedelta = event["DURATION"].dt
        return length.days
    return 1


def _listed(value: Any) -> Iterator[date]:
    """The dates of RDATE or EXDATE, which may stand there several times."""
    for each in value if isinstance(value, list) else [value] if value is not None else []:
        for found in each.dts:
            yield _day(found.dt)


def _day(value: Any) -> date:
    if isinstance(value, datetime):
        return value.date()
    if not isinstance(value, date):
        raise TypeError("a date is needed here")
    return value


def _label(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text).strip()[:LABEL_LENGTH]
