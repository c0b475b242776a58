"""Operations on schedules.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from datetime import datetime, timedelta

from cronsvc.client.calls import UNSET, Call, Unset, call
from cronsvc.client.generated import answers, words


def preview_schedule(
    *,
    cron_expression: str | Unset | None = UNSET,
    every: timedelta | str | int | Unset | None = UNSET,
    run_at: datetime | Unset | None = UNSET,
    timezone: str | Unset = UNSET,
    start_at: datetime | Unset | None = UNSET,
    end_at: datetime | Unset | None = UNSET,
    calendar: str | Unset | None = UNSET,
    calendar_rule: words.CalendarRule | Unset = UNSET,
    namespace: str | Unset | None = UNSET,
    after: datetime | Unset | None = UNSET,
    count: int | Unset = UNSET,
) -> Call[answers.Preview]:
    """What a schedule would do. Needs the role viewer."""
    return call(
        "previewSchedule",
        "POST",
        "/api/v1/schedules/preview",
        answers.Preview.model_validate_json,
        body={
            "cronExpression": cron_expression,
            "every": every,
            "runAt": run_at,
            "timezone": timezone,
            "startAt": start_at,
            "endAt": end_at,
            "calendar": calendar,
            "calendarRule": calendar_rule,
            "namespace": namespace,
            "after": after,
            "count": count,
        },
        is_repeatable=True,
    )
