"""/api/v1/calendars and /api/v1/maintenance-windows."""

import re

from starlette.responses import Response

from cronsvc.domain.maintenance import Selector
from cronsvc.errors import InvalidInput
from cronsvc.services.access import Caller
from cronsvc.services.calendar_import import import_dates
from cronsvc.store.calendars import Calendar, CalendarFields
from cronsvc.store.maintenance import WindowFields, WindowRow
from cronsvc.web.answers import answer
from cronsvc.web.calendar_models import (
    WEEKDAYS,
    CalendarAnswer,
    CalendarIn,
    CalendarList,
    CalendarQuery,
    ClosedDate,
    ImportAnswer,
    ImportQuery,
    WindowAnswer,
    WindowIn,
    WindowList,
    WindowQuery,
)
from cronsvc.web.routing import Call

_ETAG = re.compile(r'"(\d{1,9})"', re.ASCII)


async def create_calendar(call: Call) -> Response:
    """Define a calendar."""
    fields = _calendar_fields(call.body, _home(call.caller))
    made = await call.services.calendars.create(fields, call.caller)
    return _calendar_with_etag(made, status=201)


async def list_calendars(call: Call) -> Response:
    """Calendars, newest first."""
    query: CalendarQuery = call.query
    page = await call.services.calendars.list(
        call.caller,
        namespace=query.namespace,
        name=query.name,
        sort=query.sort,
        cursor=query.cursor,
        limit=query.limit,
    )
    return answer(CalendarList(items=[_calendar(each) for each in page.items], next_cursor=page.next_cursor))


async def get_calendar(call: Call) -> Response:
    """One calendar."""
    return _calendar_with_etag(await call.services.calendars.get(call.id_in_path("calendarId"), call.caller))


async def replace_calendar(call: Call) -> Response:
    """Give a calendar other dates; the jobs that follow it are planned anew."""
    calendar_id = call.id_in_path("calendarId")
    old = await call.services.calendars.get(calendar_id, call.caller)
    fields = _calendar_fields(call.body, old.fields.namespace)
    return _calendar_with_etag(
        await call.services.calendars.replace(calendar_id, fields, call.caller, if_revision=_if_match(call))
    )


async def import_calendar(call: Call) -> Response:
    """Give the calendar of a name the dates of an iCalendar file."""
    query: ImportQuery = call.query
    calendars = call.services.calendars
    done = await import_dates(
        calendars,
        call.request.path_params["calendarName"],
        call.document,
        call.caller,
        namespace=query.namespace or _home(call.caller),
        now=await calendars.now(),
    )
    return answer(
        ImportAnswer(calendar=_calendar(done.calendar), dates=done.dates, ignored_events=done.ignored),
        status=201 if done.created else 200,
        headers={"ETag": f'"{done.calendar.revision}"', "Location": f"/api/v1/calendars/{done.calendar.id}"},
    )


async def delete_calendar(call: Call) -> Response:
    """Take away a calendar that no job follows."""
    await call.services.calendars.delete(call.id_in_path("calendarId"), call.caller, if_revision=_if_match(call))
    return Response(status_code=204)


async def create_window(call: Call) -> Response:
    """Define a maintenance window."""
    made = await call.services.windows.create(_window_fields(call.body, call.caller), call.caller)
    return _window_with_etag(made, status=201)


async def list_windows(call: Call) -> Response:
    """Windows that are open or ahead, newest first."""
    query: WindowQuery = call.query
    page = await call.services.windows.list(
        call.caller,
        namespace=query.namespace,
        standing=not query.all,
        sort=query.sort,
        cursor=query.cursor,
        limit=query.limit,
    )
    return answer(WindowList(items=[_window(each) for each in page.items], next_cursor=page.next_cursor))


async def get_window(call: Call) -> Response:
    """One window."""
    return _window_with_etag(await call.services.windows.get(call.id_in_path("windowId"), call.caller))


async def replace_window(call: Call) -> Response:
    """Change a window; what it holds already follows it."""
    fields = _window_fields(call.body, call.caller)
    return _window_with_etag(
        await call.services.windows.replace(
            call.id_in_path("windowId"), fields, call.caller, if_revision=_if_match(call)
        )
    )


async def cancel_window(call: Call) -> Response:
    """End a window now."""
    return _window_with_etag(await call.services.windows.cancel(call.id_in_path("windowId"), call.caller))


def _calendar_fields(body: CalendarIn, namespace: str) -> CalendarFields:
    dates = {each.date: each.label for each in body.dates}
    if len(dates) < len(body.dates):
        raise InvalidInput.of("dates", "lists a date twice")
    return CalendarFields(
        namespace=body.namespace or namespace,
        name=body.name,
        description=body.description,
        weekend=tuple(sorted(WEEKDAYS.index(day) + 1 for day in body.weekend)),
        dates=dates,
    )


def _calendar(found: Calendar) -> CalendarAnswer:
    fields = found.fields
    return CalendarAnswer(
        id=found.id,
        name=fields.name,
        namespace=fields.namespace,
        description=fields.description,
        weekend=[WEEKDAYS[number - 1] for number in fields.weekend],
        dates=[ClosedDate(date=day, label=label) for day, label in sorted(fields.dates.items())],
        jobs=found.jobs,
        revision=found.revision,
        created_by=found.created_by,
        created_at=found.created_at,
        updated_at=found.updated_at,
    )


def _window_fields(body: WindowIn, caller: Caller) -> WindowFields:
    namespace = body.namespace
    if namespace is None and caller.namespaces is not None and len(caller.namespaces) == 1:
        namespace = caller.namespaces[0]
    return WindowFields(
        name=body.name,
        during=body.during,
        selector=Selector(namespace, tuple(dict.fromkeys(body.tags)), body.queue),
        starts_at=body.starts_at,
        ends_at=body.ends_at,
        cron_expression=body.cron_expression,
        timezone=body.timezone,
        duration_seconds=body.duration_seconds,
        spread_seconds=body.spread_seconds,
        coalesce=body.coalesce,
        reason=body.reason,
    )


def _window(found: WindowRow) -> WindowAnswer:
    fields = found.fields
    return WindowAnswer(
        id=found.id,
        name=fields.name,
        namespace=fields.selector.namespace,
        tags=list(fields.selector.tags),
        queue=fields.selector.queue,
        starts_at=fields.starts_at,
        ends_at=fields.ends_at,
        cron_expression=fields.cron_expression,
        timezone=fields.timezone,
        duration_seconds=fields.duration_seconds,
        during=fields.during,
        spread_seconds=fields.spread_seconds,
        coalesce=fields.coalesce,
        reason=fields.reason,
        held=found.held,
        revision=found.revision,
        created_by=found.created_by,
        created_at=found.created_at,
        updated_at=found.updated_at,
        cancelled_at=found.cancelled_at,
        cancelled_by=found.cancelled_by,
    )


def _calendar_with_etag(found: Calendar, *, status: int = 200) -> Response:
    headers = {"ETag": f'"{found.revision}"'} | ({"Location": f"/api/v1/calendars/{found.id}"} if status == 201 else {})
    return answer(_calendar(found), status=status, headers=headers)


def _window_with_etag(found: WindowRow, *, status: int = 200) -> Response:
    where = {"Location": f"/api/v1/maintenance-windows/{found.id}"} if status == 201 else {}
    return answer(_window(found), status=status, headers={"ETag": f'"{found.revision}"'} | where)


def _if_match(call: Call) -> int | None:
    """The revision that If-Match names; None for any."""
    text = call.request.headers.get("if-match")
    if text is None or text.strip() == "*":
        return None
    match = _ETAG.fullmatch(text.strip())
    if match is None:
        raise InvalidInput.of("If-Match", 'must be an ETag as GET answered it, in quotes, such as "7"')
    return int(match.group(1))


def _home(caller: Caller) -> str:
    return caller.namespaces[0] if caller.namespaces is not None and len(caller.namespaces) == 1 else "default"
