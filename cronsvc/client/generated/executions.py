"""Operations on executions.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from typing import Any, Literal

from cronsvc.client.calls import UNSET, Call, Paged, Unset, call
from cronsvc.client.generated import answers


def list_job_executions(
    job_id: int,
    *,
    status: Literal["QUEUED", "RUNNING", "SUCCESS", "FAILED", "SKIPPED", "CANCELLED"] | None = None,
    trigger: Literal["schedule", "manual", "backfill", "dependency", "recovery"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
    sort: Literal["-scheduledTime", "scheduledTime"] | None = None,
) -> Paged[answers.Execution, answers.ExecutionList]:
    """List a job's executions. Needs the role viewer."""
    first = call(
        "listJobExecutions",
        "GET",
        "/api/v1/jobs/{jobId}/executions",
        answers.ExecutionList.model_validate_json,
        names={
            "jobId": job_id,
        },
        query={
            "status": status,
            "trigger": trigger,
            "cursor": cursor,
            "limit": page_size,
            "sort": sort,
        },
    )
    return Paged(first)


def list_job_executions_fields(
    job_id: int,
    *,
    fields: str,
    status: Literal["QUEUED", "RUNNING", "SUCCESS", "FAILED", "SKIPPED", "CANCELLED"] | None = None,
    trigger: Literal["schedule", "manual", "backfill", "dependency", "recovery"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
    sort: Literal["-scheduledTime", "scheduledTime"] | None = None,
) -> Paged[dict[str, Any], answers.SparseList]:
    """List a job's executions. Each item has the members that `fields` names, and its id. Needs the role viewer."""
    first = call(
        "listJobExecutions",
        "GET",
        "/api/v1/jobs/{jobId}/executions",
        answers.SparseList.model_validate_json,
        names={
            "jobId": job_id,
        },
        query={
            "status": status,
            "trigger": trigger,
            "cursor": cursor,
            "limit": page_size,
            "sort": sort,
            "fields": fields,
        },
    )
    return Paged(first)


def list_executions(
    *,
    job_id: int | None = None,
    status: Literal["QUEUED", "RUNNING", "SUCCESS", "FAILED", "SKIPPED", "CANCELLED"] | None = None,
    trigger: Literal["schedule", "manual", "backfill", "dependency", "recovery"] | None = None,
    backfill_id: int | None = None,
    recovery_id: int | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
    sort: Literal["-id", "id"] | None = None,
) -> Paged[answers.Execution, answers.ExecutionList]:
    """List executions. Needs the role viewer."""
    first = call(
        "listExecutions",
        "GET",
        "/api/v1/executions",
        answers.ExecutionList.model_validate_json,
        query={
            "jobId": job_id,
            "status": status,
            "trigger": trigger,
            "backfillId": backfill_id,
            "recoveryId": recovery_id,
            "cursor": cursor,
            "limit": page_size,
            "sort": sort,
        },
    )
    return Paged(first)


def list_executions_fields(
    *,
    fields: str,
    job_id: int | None = None,
    status: Literal["QUEUED", "RUNNING", "SUCCESS", "FAILED", "SKIPPED", "CANCELLED"] | None = None,
    trigger: Literal["schedule", "manual", "backfill", "dependency", "recovery"] | None = None,
    backfill_id: int | None = None,
    recovery_id: int | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
    sort: Literal["-id", "id"] | None = None,
) -> Paged[dict[str, Any], answers.SparseList]:
    """List executions. Each item has the members that `fields` names, and its id. Needs the role viewer."""
    first = call(
        "listExecutions",
        "GET",
        "/api/v1/executions",
        answers.SparseList.model_validate_json,
        query={
            "jobId": job_id,
            "status": status,
            "trigger": trigger,
            "backfillId": backfill_id,
            "recoveryId": recovery_id,
            "cursor": cursor,
            "limit": page_size,
            "sort": sort,
            "fields": fields,
        },
    )
    return Paged(first)


def get_execution(
    execution_id: int,
) -> Call[answers.ExecutionDetail]:
    """Read an execution with its attempts. Needs the role viewer."""
    return call(
        "getExecution",
        "GET",
        "/api/v1/executions/{executionId}",
        answers.ExecutionDetail.model_validate_json,
        names={
            "executionId": execution_id,
        },
    )


def get_progress(
    execution_id: int,
) -> Call[answers.Progress]:
    """How far an execution is, and what it says. Needs the role viewer."""
    return call(
        "getProgress",
        "GET",
        "/api/v1/executions/{executionId}/progress",
        answers.Progress.model_validate_json,
        names={
            "executionId": execution_id,
        },
    )


def cancel_execution(
    execution_id: int,
    *,
    note: str | Unset | None = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.Execution]:
    """Cancel an execution that waits or runs. Needs the role operator."""
    return call(
        "cancelExecution",
        "POST",
        "/api/v1/executions/{executionId}/cancel",
        answers.Execution.model_validate_json,
        statuses=(202,),
        names={
            "executionId": execution_id,
        },
        body={
            "note": note,
        },
        idempotency_key=idempotency_key,
    )


def retry_execution(
    execution_id: int,
    *,
    idempotency_key: str | None = None,
) -> Call[answers.Execution]:
    """Run a finished execution again. Needs the role operator."""
    return call(
        "retryExecution",
        "POST",
        "/api/v1/executions/{executionId}/retry",
        answers.Execution.model_validate_json,
        statuses=(202,),
        names={
            "executionId": execution_id,
        },
        idempotency_key=idempotency_key,
    )


def list_children(
    execution_id: int,
    *,
    status: Literal["QUEUED", "RUNNING", "SUCCESS", "FAILED", "SKIPPED", "CANCELLED"] | None = None,
    sort: Literal["-id", "id"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[answers.Execution, answers.ChildList]:
    """List the executions that an execution has started. Needs the role viewer."""
    first = call(
        "listChildren",
        "GET",
        "/api/v1/executions/{executionId}/children",
        answers.ChildList.model_validate_json,
        names={
            "executionId": execution_id,
        },
        query={
            "status": status,
            "sort": sort,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)
