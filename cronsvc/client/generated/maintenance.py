"""Operations on maintenance.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from cronsvc.client.calls import UNSET, Call, Paged, Unset, call
from cronsvc.client.generated import answers, words


def create_maintenance_window(
    *,
    name: str,
    during: words.During,
    namespace: str | Unset | None = UNSET,
    tags: Sequence[str] | Unset = UNSET,
    queue: str | Unset | None = UNSET,
    starts_at: datetime | Unset | None = UNSET,
    ends_at: datetime | Unset | None = UNSET,
    cron_expression: str | Unset | None = UNSET,
    timezone: str | Unset = UNSET,
    duration_seconds: int | Unset | None = UNSET,
    spread_seconds: int | Unset = UNSET,
    coalesce: bool | Unset = UNSET,
    reason: str | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.Window]:
    """Define a maintenance window. Needs the role operator."""
    return call(
        "createMaintenanceWindow",
        "POST",
        "/api/v1/maintenance-windows",
        answers.Window.model_validate_json,
        statuses=(201,),
        body={
            "name": name,
            "namespace": namespace,
            "tags": tags,
            "queue": queue,
            "startsAt": starts_at,
            "endsAt": ends_at,
            "cronExpression": cron_expression,
            "timezone": timezone,
            "durationSeconds": duration_seconds,
            "during": during,
            "spreadSeconds": spread_seconds,
            "coalesce": coalesce,
            "reason": reason,
        },
        idempotency_key=idempotency_key,
    )


def list_maintenance_windows(
    *,
    all_: bool | None = None,
    namespace: str | None = None,
    sort: Literal["-id", "id"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[answers.Window, answers.WindowList]:
    """List maintenance windows. Needs the role viewer."""
    first = call(
        "listMaintenanceWindows",
        "GET",
        "/api/v1/maintenance-windows",
        answers.WindowList.model_validate_json,
        query={
            "all": all_,
            "namespace": namespace,
            "sort": sort,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)


def get_maintenance_window(
    window_id: int,
) -> Call[answers.Window]:
    """Read a maintenance window. Needs the role viewer."""
    return call(
        "getMaintenanceWindow",
        "GET",
        "/api/v1/maintenance-windows/{windowId}",
        answers.Window.model_validate_json,
        names={
            "windowId": window_id,
        },
    )


def replace_maintenance_window(
    window_id: int,
    *,
    name: str,
    during: words.During,
    namespace: str | Unset | None = UNSET,
    tags: Sequence[str] | Unset = UNSET,
    queue: str | Unset | None = UNSET,
    starts_at: datetime | Unset | None = UNSET,
    ends_at: datetime | Unset | None = UNSET,
    cron_expression: str | Unset | None = UNSET,
    timezone: str | Unset = UNSET,
    duration_seconds: int | Unset | None = UNSET,
    spread_seconds: int | Unset = UNSET,
    coalesce: bool | Unset = UNSET,
    reason: str | Unset = UNSET,
    if_match: str | None = None,
) -> Call[answers.Window]:
    """Change a maintenance window. Needs the role operator."""
    return call(
        "replaceMaintenanceWindow",
        "PUT",
        "/api/v1/maintenance-windows/{windowId}",
        answers.Window.model_validate_json,
        names={
            "windowId": window_id,
        },
        body={
            "name": name,
            "namespace": namespace,
            "tags": tags,
            "queue": queue,
            "startsAt": starts_at,
            "endsAt": ends_at,
            "cronExpression": cron_expression,
            "timezone": timezone,
            "durationSeconds": duration_seconds,
            "during": during,
            "spreadSeconds": spread_seconds,
            "coalesce": coalesce,
            "reason": reason,
        },
        if_match=if_match,
    )


def cancel_maintenance_window(
    window_id: int,
    *,
    idempotency_key: str | None = None,
) -> Call[answers.Window]:
    """End a maintenance window, or keep it from opening. Needs the role operator."""
    return call(
        "cancelMaintenanceWindow",
        "POST",
        "/api/v1/maintenance-windows/{windowId}/cancel",
        answers.Window.model_validate_json,
        names={
            "windowId": window_id,
        },
        idempotency_key=idempotency_key,
    )
