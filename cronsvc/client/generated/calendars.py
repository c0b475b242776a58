"""Operations on calendars.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from cronsvc.client.calls import UNSET, Call, Paged, Unset, call, nothing
from cronsvc.client.generated import answers, requests, words


def create_calendar(
    *,
    name: str,
    namespace: str | Unset | None = UNSET,
    description: str | Unset = UNSET,
    weekend: Sequence[words.Weekday] | Unset = UNSET,
    dates: Sequence[requests.ClosedDateIn | Mapping[str, Any]] | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.Calendar]:
    """Define a calendar. Needs the role operator."""
    return call(
        "createCalendar",
        "POST",
        "/api/v1/calendars",
        answers.Calendar.model_validate_json,
        statuses=(201,),
        body={
            "name": name,
            "namespace": namespace,
            "description": description,
            "weekend": weekend,
            "dates": dates,
        },
        idempotency_key=idempotency_key,
    )


def list_calendars(
    *,
    namespace: str | None = None,
    name: str | None = None,
    sort: Literal["-id", "id"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[answers.Calendar, answers.CalendarList]:
    """List calendars. Needs the role viewer."""
    first = call(
        "listCalendars",
        "GET",
        "/api/v1/calendars",
        answers.CalendarList.model_validate_json,
        query={
            "namespace": namespace,
            "name": name,
            "sort": sort,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)


def get_calendar(
    calendar_id: int,
) -> Call[answers.Calendar]:
    """Read a calendar. Needs the role viewer."""
    return call(
        "getCalendar",
        "GET",
        "/api/v1/calendars/{calendarId}",
        answers.Calendar.model_validate_json,
        names={
            "calendarId": calendar_id,
        },
    )


def replace_calendar(
    calendar_id: int,
    *,
    name: str,
    namespace: str | Unset | None = UNSET,
    description: str | Unset = UNSET,
    weekend: Sequence[words.Weekday] | Unset = UNSET,
    dates: Sequence[requests.ClosedDateIn | Mapping[str, Any]] | Unset = UNSET,
    if_match: str | None = None,
) -> Call[answers.Calendar]:
    """Give a calendar other dates. Needs the role operator."""
    return call(
        "replaceCalendar",
        "PUT",
        "/api/v1/calendars/{calendarId}",
        answers.Calendar.model_validate_json,
        names={
            "calendarId": calendar_id,
        },
        body={
            "name": name,
            "namespace": namespace,
            "description": description,
            "weekend": weekend,
            "dates": dates,
        },
        if_match=if_match,
    )


def delete_calendar(
    calendar_id: int,
    *,
    if_match: str | None = None,
) -> Call[None]:
    """Delete a calendar that no job follows. Needs the role operator."""
    return call(
        "deleteCalendar",
        "DELETE",
        "/api/v1/calendars/{calendarId}",
        nothing,
        statuses=(204,),
        names={
            "calendarId": calendar_id,
        },
        if_match=if_match,
    )


def import_calendar(
    calendar_name: str,
    *,
    content: bytes,
    namespace: str | None = None,
) -> Call[answers.Import]:
    """Take a calendar's dates from an iCalendar file. Needs the role operator."""
    return call(
        "importCalendar",
        "PUT",
        "/api/v1/calendars/{calendarName}/import",
        answers.Import.model_validate_json,
        statuses=(200, 201),
        names={
            "calendarName": calendar_name,
        },
        query={
            "namespace": namespace,
        },
        content=content,
        content_type="text/calendar",
    )
