"""Operations on dead letters.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from cronsvc.client.calls import UNSET, Call, Paged, Unset, call
from cronsvc.client.generated import answers


def list_dead_letters(
    *,
    job_id: int | None = None,
    queue: str | None = None,
    namespace: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    sort: Literal["-scheduledTime", "scheduledTime"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[answers.Execution, answers.ExecutionList]:
    """List failed executions that nobody has dealt with. Needs the role viewer."""
    first = call(
        "listDeadLetters",
        "GET",
        "/api/v1/dead-letters",
        answers.ExecutionList.model_validate_json,
        query={
            "jobId": job_id,
            "queue": queue,
            "namespace": namespace,
            "since": since,
            "until": until,
            "sort": sort,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)


def list_dead_letters_fields(
    *,
    fields: str,
    job_id: int | None = None,
    queue: str | None = None,
    namespace: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    sort: Literal["-scheduledTime", "scheduledTime"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[dict[str, Any], answers.SparseList]:
    """List failed executions that nobody has dealt with. Each item has the members that `fields` names, and its
    id. Needs the role viewer.
    """
    first = call(
        "listDeadLetters",
        "GET",
        "/api/v1/dead-letters",
        answers.SparseList.model_validate_json,
        query={
            "jobId": job_id,
            "queue": queue,
            "namespace": namespace,
            "since": since,
            "until": until,
            "sort": sort,
            "fields": fields,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)


def redrive_dead_letters(
    *,
    ids: Sequence[int] | Unset | None = UNSET,
    job_id: int | Unset | None = UNSET,
    queue: str | Unset | None = UNSET,
    namespace: str | Unset | None = UNSET,
    since: datetime | Unset | None = UNSET,
    until: datetime | Unset | None = UNSET,
    limit: int | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.EndingBulk]:
    """Run several dead letters again. Needs the role operator."""
    return call(
        "redriveDeadLetters",
        "POST",
        "/api/v1/dead-letters/redrive",
        answers.EndingBulk.model_validate_json,
        body={
            "ids": ids,
            "jobId": job_id,
            "queue": queue,
            "namespace": namespace,
            "since": since,
            "until": until,
            "limit": limit,
        },
        idempotency_key=idempotency_key,
    )


def resolve_dead_letters(
    *,
    note: str,
    ids: Sequence[int] | Unset | None = UNSET,
    job_id: int | Unset | None = UNSET,
    queue: str | Unset | None = UNSET,
    namespace: str | Unset | None = UNSET,
    since: datetime | Unset | None = UNSET,
    until: datetime | Unset | None = UNSET,
    limit: int | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.EndingBulk]:
    """Take several dead letters off the list. Needs the role operator."""
    return call(
        "resolveDeadLetters",
        "POST",
        "/api/v1/dead-letters/resolve",
        answers.EndingBulk.model_validate_json,
        body={
            "ids": ids,
            "jobId": job_id,
            "queue": queue,
            "namespace": namespace,
            "since": since,
            "until": until,
            "limit": limit,
            "note": note,
        },
        idempotency_key=idempotency_key,
    )


def redrive_dead_letter(
    execution_id: int,
    *,
    idempotency_key: str | None = None,
) -> Call[answers.Execution]:
    """Run a dead letter again. Needs the role operator."""
    return call(
        "redriveDeadLetter",
        "POST",
        "/api/v1/dead-letters/{executionId}/redrive",
        answers.Execution.model_validate_json,
        statuses=(202,),
        names={
            "executionId": execution_id,
        },
        idempotency_key=idempotency_key,
    )


def resolve_dead_letter(
    execution_id: int,
    *,
    note: str,
    idempotency_key: str | None = None,
) -> Call[answers.Execution]:
    """Take a dead letter off the list. Needs the role operator."""
    return call(
        "resolveDeadLetter",
        "POST",
        "/api/v1/dead-letters/{executionId}/resolve",
        answers.Execution.model_validate_json,
        names={
            "executionId": execution_id,
        },
        body={
            "note": note,
        },
        idempotency_key=idempotency_key,
    )
