"""/api/v1/calendars and /api/v1/maintenance-windows."""

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
from cronsvc.web.revised import expected_revision, revised
from cronsvc.web.routing import Call


async def create_calendar(call: Call) -> Response:
    """Define a calendar."""
    fields = _calendar_fields(call.body, call.caller.home)
    made = await call.services.calendars.create(fields, call.caller)
    return revised(_calendar(made), made.revision, location=f"/api/v1/calendars/{made.id}")


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
    found = await call.services.calendars.get(call.id_in_path("calendarId"), call.caller)
    return revised(_calendar(found), found.revision)


async def replace_calendar(call: Call) -> Response:
    """Give a calendar other dates; the jobs that follow it are planned anew."""
    calendar_id = call.id_in_path("calendarId")
    old = await call.services.calendars.get(calendar_id, call.caller)
    fields = _calendar_fields(call.body, old.fields.namespace)
    expected = expected_revision(call)
    found = await call.services.calendars.replace(calendar_id, fields, call.caller, if_revision=expected)
    return revised(_calendar(found), found.revision)


async def import_calendar(call: Call) -> Response:
    """Give the calendar of a name the dates of an iCalendar file."""
    query: ImportQuery = call.query
    calendars = call.services.calendars
    done = await import_dates(
        calendars,
        call.request.path_params["calendarName"],
        call.document,
        call.caller,
        namespace=query.namespace or call.caller.home,
        now=await calendars.now(),
    )
    return answer(
        ImportAnswer(calendar=_calendar(done.calendar), dates=done.dates, ignored_events=done.ignored),
        status=201 if done.created else 200,
        headers={"ETag": f'"{done.calendar.revision}"', "Location": f"/api/v1/calendars/{done.calendar.id}"},
    )


async def delete_calendar(call: Call) -> Response:
    """Take away a calendar that no job follows."""
    await call.services.calendars.delete(
        call.id_in_path("calendarId"), call.caller, if_revision=expected_revision(call)
    )
    return Response(status_code=204)


async def create_window(call: Call) -> Response:
    """Define a maintenance window."""
    made = await call.services.windows.create(_window_fields(call.body, call.caller), call.caller)
    return revised(_window(made), made.revision, location=f"/api/v1/maintenance-windows/{made.id}")


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
    found = await call.services.windows.get(call.id_in_path("windowId"), call.caller)
    return revised(_window(found), found.revision)


async def replace_window(call: Call) -> Response:
    """Change a window; what it holds already follows it."""
    fields = _window_fields(call.body, call.caller)
    window_id, expected = call.id_in_path("windowId"), expected_revision(call)
    found = await call.services.windows.replace(window_id, fields, call.caller, if_revision=expected)
    return revised(_window(found), found.revision)


async def cancel_window(call: Call) -> Response:
    """End a window now."""
    found = await call.services.windows.cancel(call.id_in_path("windowId"), call.caller)
    return revised(_window(found), found.revision)


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
    namespace = caller.only_namespace if body.namespace is None else body.namespace
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
