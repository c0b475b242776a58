"""Operations on callbacks.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from cronsvc.client.calls import UNSET, Call, Unset, call
from cronsvc.client.generated import answers, requests


def report_progress_of_execution(
    execution_id: int,
    *,
    progress: float | Unset | None = UNSET,
    note: str | Unset | None = UNSET,
    log: Sequence[str | requests.LogLineIn | Mapping[str, Any]] | Unset = UNSET,
) -> Call[answers.Callback]:
    """Say that it is still at work, with the token as a bearer, or as an operator. Needs the role operator."""
    return call(
        "reportProgressOfExecution",
        "POST",
        "/api/v1/executions/{executionId}/progress",
        answers.Callback.model_validate_json,
        names={
            "executionId": execution_id,
        },
        body={
            "progress": progress,
            "note": note,
            "log": log,
        },
    )


def report_progress(
    token: str,
    *,
    progress: float | Unset | None = UNSET,
    note: str | Unset | None = UNSET,
    log: Sequence[str | requests.LogLineIn | Mapping[str, Any]] | Unset = UNSET,
) -> Call[answers.Callback]:
    """Say that an execution taken over with 202 is still at work."""
    return call(
        "reportProgress",
        "POST",
        "/api/v1/callbacks/{token}/progress",
        answers.Callback.model_validate_json,
        names={
            "token": token,
        },
        body={
            "progress": progress,
            "note": note,
            "log": log,
        },
    )


def complete_execution(
    token: str,
    *,
    status: Literal["success", "failure"],
    result: Any | Unset = UNSET,
    error: requests.CallbackErrorIn | Mapping[str, Any] | Unset | None = UNSET,
    retry: bool | Unset = UNSET,
) -> Call[answers.Callback]:
    """Say how an execution taken over with 202 has ended."""
    return call(
        "completeExecution",
        "POST",
        "/api/v1/callbacks/{token}/complete",
        answers.Callback.model_validate_json,
        names={
            "token": token,
        },
        body={
            "status": status,
            "result": result,
            "error": error,
            "retry": retry,
        },
        is_repeatable=True,
    )


def complete_execution_by_id(
    execution_id: int,
    *,
    status: Literal["success", "failure"],
    result: Any | Unset = UNSET,
    error: requests.CallbackErrorIn | Mapping[str, Any] | Unset | None = UNSET,
    retry: bool | Unset = UNSET,
) -> Call[answers.Callback]:
    """Say how it has ended, with the token as a bearer, or as an operator. Needs the role operator."""
    return call(
        "completeExecutionById",
        "POST",
        "/api/v1/executions/{executionId}/complete",
        answers.Callback.model_validate_json,
        names={
            "executionId": execution_id,
        },
        body={
            "status": status,
            "result": result,
            "error": error,
            "retry": retry,
        },
    )
