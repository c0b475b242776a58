"""Operations on queues.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from datetime import datetime
from typing import Literal

from cronsvc.client.calls import UNSET, Call, Paged, Unset, call
from cronsvc.client.generated import answers


def list_queues(
    *,
    is_paused: bool | None = None,
    sort: Literal["name", "-name"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[answers.Queue, answers.QueueList]:
    """List queues. Needs the role viewer."""
    first = call(
        "listQueues",
        "GET",
        "/api/v1/queues",
        answers.QueueList.model_validate_json,
        query={
            "isPaused": is_paused,
            "sort": sort,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)


def get_queue(
    name: str,
) -> Call[answers.Queue]:
    """Read a queue. Needs the role viewer."""
    return call(
        "getQueue",
        "GET",
        "/api/v1/queues/{name}",
        answers.Queue.model_validate_json,
        names={
            "name": name,
        },
    )


def put_queue(
    name: str,
    *,
    concurrency: int | Unset | None = UNSET,
    rate_per_minute: int | Unset | None = UNSET,
) -> Call[answers.Queue]:
    """Make a queue, or set both its limits. Needs the role admin."""
    return call(
        "putQueue",
        "PUT",
        "/api/v1/queues/{name}",
        answers.Queue.model_validate_json,
        names={
            "name": name,
        },
        body={
            "concurrency": concurrency,
            "ratePerMinute": rate_per_minute,
        },
    )


def patch_queue(
    name: str,
    *,
    concurrency: int | Unset | None = UNSET,
    rate_per_minute: int | Unset | None = UNSET,
) -> Call[answers.Queue]:
    """Change limits of a queue. Needs the role admin."""
    return call(
        "patchQueue",
        "PATCH",
        "/api/v1/queues/{name}",
        answers.Queue.model_validate_json,
        names={
            "name": name,
        },
        body={
            "concurrency": concurrency,
            "ratePerMinute": rate_per_minute,
        },
    )


def pause_queue(
    name: str,
    *,
    note: str | Unset | None = UNSET,
    until: datetime | Unset | None = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.Queue]:
    """Begin nothing of a queue. Needs the role operator."""
    return call(
        "pauseQueue",
        "POST",
        "/api/v1/queues/{name}/pause",
        answers.Queue.model_validate_json,
        names={
            "name": name,
        },
        body={
            "note": note,
            "until": until,
        },
        idempotency_key=idempotency_key,
    )


def resume_queue(
    name: str,
    *,
    idempotency_key: str | None = None,
) -> Call[answers.Queue]:
    """Let a queue go on. Needs the role operator."""
    return call(
        "resumeQueue",
        "POST",
        "/api/v1/queues/{name}/resume",
        answers.Queue.model_validate_json,
        names={
            "name": name,
        },
        idempotency_key=idempotency_key,
    )
