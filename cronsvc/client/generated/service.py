"""Operations on service.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from typing import Literal

from cronsvc.client.calls import UNSET, Call, Unset, call
from cronsvc.client.generated import answers


def cleanup(
    *,
    grace_period_hours: int | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.Cleanup]:
    """Delete executions that ended long ago. Needs the role operator."""
    return call(
        "cleanup",
        "POST",
        "/api/v1/cleanup",
        answers.Cleanup.model_validate_json,
        body={
            "gracePeriodHours": grace_period_hours,
        },
        idempotency_key=idempotency_key,
    )


def get_status() -> Call[answers.StatusAnswer]:
    """What is going on. Needs the role viewer."""
    return call(
        "getStatus",
        "GET",
        "/api/v1/status",
        answers.StatusAnswer.model_validate_json,
    )


def get_me() -> Call[answers.Me]:
    """Who the key speaks for. Needs the role viewer."""
    return call(
        "getMe",
        "GET",
        "/api/v1/me",
        answers.Me.model_validate_json,
    )


def get_restore() -> Call[answers.Restore]:
    """Whether a restored or cloned database is fenced, and what would fire. Needs the role viewer."""
    return call(
        "getRestore",
        "GET",
        "/api/v1/restore",
        answers.Restore.model_validate_json,
    )


def confirm_restore(
    *,
    mode: Literal["resume", "skip"],
) -> Call[answers.Confirm]:
    """Go on in a restored or cloned database. Needs the role admin."""
    return call(
        "confirmRestore",
        "POST",
        "/api/v1/restore/confirm",
        answers.Confirm.model_validate_json,
        body={
            "mode": mode,
        },
    )
