"""A calendar's dates from an iCalendar file: holidays as governments and calendar programs hand them out.

Promises: the dates of the file take the place of those that the calendar had, from a year back to ten years ahead;
weekend and description stay. A calendar of that name that does not exist is made. It is one change, audited as any
other, and a file that cannot be read changes nothing. Reading happens off the loop, within seconds.
"""

import asyncio
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cronsvc.domain.icalendar_dates import Closed, UnreadableCalendarError, closed_dates
from cronsvc.errors import Conflict, InvalidInput, PreconditionFailed
from cronsvc.services.calendars import Calendars
from cronsvc.services.callers import Caller
from cronsvc.store.calendars import Calendar, CalendarFields

MOST_BYTES = 256 * 1024
SECONDS = 3.0
BACK, AHEAD = timedelta(days=366), timedelta(days=3660)

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Imported:
    """The calendar as it is now, whether it is new, how many dates the file closes, and its events that close none."""

    calendar: Calendar
    created: bool
    dates: int
    ignored: int


async def import_dates(
    calendars: Calendars, name: str, content: bytes, caller: Caller, *, namespace: str, now: datetime
) -> Imported:
    """Give the calendar of this name the dates of a file. InvalidInput says what cannot be read, or does not fit."""
    if len(content) > MOST_BYTES:
        raise InvalidInput.of("body", f"has {len(content)} bytes; at most {MOST_BYTES} are possible")
    closed = await asyncio.to_thread(_read, content, now)
    for tries_left in reversed(range(_TRIES)):
        try:
            old = await calendars.named(name, caller, namespace=namespace)
            calendar = await _write(calendars, old, CalendarFields(namespace, name, "", (), closed.dates), caller)
        except (Conflict, PreconditionFailed):  # somebody else made or changed it meanwhile
            if not tries_left:
                raise
        else:
            return Imported(calendar, old is None, len(closed.dates), closed.ignored)
    raise AssertionError("not reached")


async def _write(calendars: Calendars, old: Calendar | None, fields: CalendarFields, caller: Caller) -> Calendar:
    if old is None:
        return await calendars.create(fields, caller)
    kept = replace(old.fields, dates=fields.dates)
    return await calendars.replace(old.id, kept, caller, if_revision=old.revision)


def _read(content: bytes, now: datetime) -> Closed:
    """Runs in a thread of its own."""
    end = time.monotonic() + SECONDS

    def go_on() -> None:
        if time.monotonic() > end:
            raise UnreadableCalendarError(f"takes more than {SECONDS:g} seconds to read: it recurs too much")

    try:
        return closed_dates(content, since=(now - BACK).date(), until=(now + AHEAD).date(), go_on=go_on)
    except UnreadableCalendarError as error:
        raise InvalidInput.of("body", str(error)) from None
