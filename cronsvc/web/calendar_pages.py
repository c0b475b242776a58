"""The browser's part of calendars and maintenance windows: what is closed next, what is open now, ending a window."""

from dataclasses import dataclass
from datetime import date, datetime

from starlette.responses import Response

from cronsvc.domain.maintenance import During
from cronsvc.domain.schedule import ScheduleError, describe
from cronsvc.services.access import Caller, Role
from cronsvc.store.calendars import Calendar
from cronsvc.store.maintenance import WindowRow
from cronsvc.web.calendar_models import WEEKDAYS, ClosedDate
from cronsvc.web.page import Pages, see_other
from cronsvc.web.page_models import CursorQuery, WindowsQuery
from cronsvc.web.routing import Call, Door, Route
from cronsvc.web.words import moment, seconds_span

_SHOWN = 50
_DATES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class CalendarView:
    """One line of the table; `ahead` are its next closed dates, `more` how many follow, up to `last`."""

    name: str
    namespace: str
    description: str
    weekend: str
    ahead: list[ClosedDate]
    more: int
    last: date | None
    jobs: int


@dataclass(frozen=True, slots=True)
class WindowView:
    """One line of the table; `open_until` is set while it is open, `opens_next` where an opening lies ahead."""

    id: int
    name: str
    reason: str
    state: str
    state_class: str
    chosen: str
    when: str
    length: str
    open_until: datetime | None
    opens_next: datetime | None
    during: str
    held: int
    can_end: bool


class CalendarPages:
    """The handlers; `pages` renders."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def calendars(self, call: Call) -> Response:
        """Calendars with the dates they close next, the newest first."""
        query: CursorQuery = call.query
        found = await call.services.calendars.list(call.caller, cursor=query.cursor, limit=_SHOWN)
        today = (await call.services.calendars.now()).date()
        return self._pages.render(
            "calendars.html",
            call.caller,
            None,
            calendars=[_calendar(each, today) for each in found.items],
            cursor=query.cursor,
            next_cursor=found.next_cursor,
        )

    async def windows(self, call: Call) -> Response:
        """Maintenance windows with what they do now and when they open next, the newest first."""
        query: WindowsQuery = call.query
        standing = query.all != "true"
        found = await call.services.windows.list(call.caller, standing=standing, cursor=query.cursor, limit=_SHOWN)
        now = await call.services.calendars.now()
        return self._pages.render(
            "windows.html",
            call.caller,
            self._pages.pace(query),
            windows=[_window(each, call.caller, now) for each in found.items],
            all=not standing,
            cursor=query.cursor,
            next_cursor=found.next_cursor,
        )

    async def end_window(self, call: Call) -> Response:
        """End a window now, or keep it from opening."""
        await call.services.windows.cancel(call.id_in_path("windowId"), call.caller)
        return see_other("/windows")


def calendar_page_routes(pages: Pages) -> tuple[Route, ...]:
    """The browser's routes of this file."""
    own, tag, door = CalendarPages(pages), "page", Door.PAGE
    viewer, operator = Role.VIEWER, Role.OPERATOR
    return (
        Route(
            "GET",
            "/calendars",
            viewer,
            own.calendars,
            "pageCalendars",
            "Calendars",
            tag,
            door=door,
            query=CursorQuery,
        ),
        Route("GET", "/windows", viewer, own.windows, "pageWindows", "Windows", tag, door=door, query=WindowsQuery),
        Route("POST", "/windows/{windowId}/cancel", operator, own.end_window, "pageEndWindow", "End", tag, door=door),
    )


def _calendar(found: Calendar, today: date) -> CalendarView:
    fields = found.fields
    ahead = sorted(day for day in fields.dates if day >= today)
    return CalendarView(
        name=fields.name,
        namespace=fields.namespace,
        description=fields.description,
        weekend=", ".join(WEEKDAYS[number - 1].value.capitalize() for number in sorted(fields.weekend)),
        ahead=[ClosedDate(date=day, label=fields.dates[day]) for day in ahead[:_DATES_SHOWN]],
        more=max(0, len(ahead) - _DATES_SHOWN),
        last=ahead[-1] if ahead else None,
        jobs=found.jobs,
    )


def _window(row: WindowRow, caller: Caller, now: datetime) -> WindowView:
    fields, window = row.fields, row.window
    try:
        open_until, opens_next = window.open_until(now), window.opens_next(now)
    except ScheduleError:  # written by SQL
        open_until = opens_next = None
    if row.cancelled_at is not None:
        open_until, opens_next, state = None, None, ("cancelled", "idle")
    elif open_until is not None:
        state = ("open", "busy")
    else:
        state = ("ahead", "wait") if opens_next is not None else ("over", "idle")
    when, length = _when(row)
    namespace = fields.selector.namespace
    may_end = caller.namespaces is None if namespace is None else caller.sees(namespace)
    return WindowView(
        id=row.id,
        name=fields.name,
        reason=fields.reason,
        state=state[0],
        state_class=state[1],
        chosen=_chosen(namespace, fields.selector.tags, fields.selector.queue),
        when=when,
        length=length,
        open_until=open_until,
        opens_next=opens_next,
        during=_during(row),
        held=row.held,
        can_end=may_end and (open_until is not None or opens_next is not None),
    )


def _when(row: WindowRow) -> tuple[str, str]:
    """When it is open, and for how long or until when."""
    fields, window = row.fields, row.window
    if window.schedule is not None and window.duration is not None:
        return describe(window.schedule), f"for {seconds_span(window.duration.total_seconds())}"
    if fields.starts_at is None or fields.ends_at is None:
        return "–", ""
    return moment(fields.starts_at), f"to {moment(fields.ends_at)}"


def _chosen(namespace: str | None, tags: tuple[str, ...], queue: str | None) -> str:
    """Which jobs a window concerns, in words."""
    parts = [f"namespace {namespace}"] if namespace else []
    parts += [f"tagged {' and '.join(tags)}"] if tags else []
    parts += [f"queue {queue}"] if queue else []
    return ", ".join(parts) or "all jobs"


def _during(row: WindowRow) -> str:
    if row.fields.during is During.SKIP:
        return "is skipped"
    spread = f", spread over {seconds_span(row.fields.spread_seconds)}" if row.fields.spread_seconds else ""
    return ("the latest of each job waits" if row.fields.coalesce else "waits for the end") + spread
