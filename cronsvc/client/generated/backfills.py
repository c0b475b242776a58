"""Operations on backfills.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from cronsvc.client.calls import UNSET, Call, Paged, Unset, call
from cronsvc.client.generated import answers, requests


def backfill_job(
    job_id: int,
    *,
    from_: datetime,
    to: datetime,
    mode: Literal["missing", "all"] | Unset = UNSET,
    order: Literal["oldest", "newest"] | Unset = UNSET,
    max_parallel: int | Unset = UNSET,
    params: Mapping[str, Any] | Unset | None = UNSET,
    note: str | Unset | None = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.Backfill]:
    """Run a past window of a job, or (dryRun) say what would run. Needs the role operator."""
    return call(
        "backfillJob",
        "POST",
        "/api/v1/jobs/{jobId}/backfill",
        answers.Backfill.model_validate_json,
        statuses=(202,),
        names={
            "jobId": job_id,
        },
        body={
            "from": from_,
            "to": to,
            "mode": mode,
            "order": order,
            "maxParallel": max_parallel,
            "params": params,
            "note": note,
        },
        idempotency_key=idempotency_key,
    )


def backfill_job_dry_run(
    job_id: int,
    *,
    from_: datetime,
    to: datetime,
    mode: Literal["missing", "all"] | Unset = UNSET,
    order: Literal["oldest", "newest"] | Unset = UNSET,
    max_parallel: int | Unset = UNSET,
    params: Mapping[str, Any] | Unset | None = UNSET,
    note: str | Unset | None = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.BackfillPlan]:
    """Say what this would do, and do nothing: run a past window of a job, or (dryRun) say what would run. Needs
    the role operator.
    """
    return call(
        "backfillJob",
        "POST",
        "/api/v1/jobs/{jobId}/backfill",
        answers.BackfillPlan.model_validate_json,
        names={
            "jobId": job_id,
        },
        body={
            "from": from_,
            "to": to,
            "mode": mode,
            "order": order,
            "maxParallel": max_parallel,
            "params": params,
            "dryRun": True,
            "note": note,
        },
        idempotency_key=idempotency_key,
    )


def list_backfills(
    *,
    job_id: int | None = None,
    recovery_id: int | None = None,
    status: Literal["running", "paused", "finished", "cancelled"] | None = None,
    sort: Literal["-id", "id"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[answers.Backfill, answers.BackfillList]:
    """List backfills. Needs the role viewer."""
    first = call(
        "listBackfills",
        "GET",
        "/api/v1/backfills",
        answers.BackfillList.model_validate_json,
        query={
            "jobId": job_id,
            "recoveryId": recovery_id,
            "status": status,
            "sort": sort,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)


def get_backfill(
    backfill_id: int,
) -> Call[answers.Backfill]:
    """Read a backfill and how far it is. Needs the role viewer."""
    return call(
        "getBackfill",
        "GET",
        "/api/v1/backfills/{backfillId}",
        answers.Backfill.model_validate_json,
        names={
            "backfillId": backfill_id,
        },
    )


def cancel_backfill(
    backfill_id: int,
    *,
    idempotency_key: str | None = None,
) -> Call[answers.Backfill]:
    """Cancel a backfill; what runs ends. Needs the role operator."""
    return call(
        "cancelBackfill",
        "POST",
        "/api/v1/backfills/{backfillId}/cancel",
        answers.Backfill.model_validate_json,
        names={
            "backfillId": backfill_id,
        },
        idempotency_key=idempotency_key,
    )


def pause_backfill(
    backfill_id: int,
    *,
    idempotency_key: str | None = None,
) -> Call[answers.Backfill]:
    """Start no further instant of a backfill. Needs the role operator."""
    return call(
        "pauseBackfill",
        "POST",
        "/api/v1/backfills/{backfillId}/pause",
        answers.Backfill.model_validate_json,
        names={
            "backfillId": backfill_id,
        },
        idempotency_key=idempotency_key,
    )


def resume_backfill(
    backfill_id: int,
    *,
    idempotency_key: str | None = None,
) -> Call[answers.Backfill]:
    """Go on with a paused backfill. Needs the role operator."""
    return call(
        "resumeBackfill",
        "POST",
        "/api/v1/backfills/{backfillId}/resume",
        answers.Backfill.model_validate_json,
        names={
            "backfillId": backfill_id,
        },
        idempotency_key=idempotency_key,
    )


def recover(
    *,
    from_: datetime,
    to: datetime,
    selector: requests.SelectorIn | Mapping[str, Any],
    order: Literal["oldest", "newest"] | Unset = UNSET,
    max_parallel: int | Unset = UNSET,
    max_total: int | Unset = UNSET,
    note: str | Unset | None = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.Recovery]:
    """Replay what an outage kept from running, or (dryRun) say what would run. Needs the role operator."""
    return call(
        "recover",
        "POST",
        "/api/v1/recoveries",
        answers.Recovery.model_validate_json,
        statuses=(202,),
        body={
            "from": from_,
            "to": to,
            "selector": selector,
            "order": order,
            "maxParallel": max_parallel,
            "maxTotal": max_total,
            "note": note,
        },
        idempotency_key=idempotency_key,
    )


def recover_dry_run(
    *,
    from_: datetime,
    to: datetime,
    selector: requests.SelectorIn | Mapping[str, Any],
    order: Literal["oldest", "newest"] | Unset = UNSET,
    max_parallel: int | Unset = UNSET,
    max_total: int | Unset = UNSET,
    note: str | Unset | None = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.RecoveryPlan]:
    """Say what this would do, and do nothing: replay what an outage kept from running, or (dryRun) say what would
    run. Needs the role operator.
    """
    return call(
        "recover",
        "POST",
        "/api/v1/recoveries",
        answers.RecoveryPlan.model_validate_json,
        body={
            "from": from_,
            "to": to,
            "selector": selector,
            "order": order,
            "maxParallel": max_parallel,
            "maxTotal": max_total,
            "dryRun": True,
            "note": note,
        },
        idempotency_key=idempotency_key,
    )


def list_recoveries(
    *,
    status: Literal["running", "paused", "finished", "cancelled"] | None = None,
    sort: Literal["-id", "id"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[answers.Recovery, answers.RecoveryList]:
    """List recoveries. Needs the role viewer."""
    first = call(
        "listRecoveries",
        "GET",
        "/api/v1/recoveries",
        answers.RecoveryList.model_validate_json,
        query={
            "status": status,
            "sort": sort,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)


def get_recovery(
    recovery_id: int,
) -> Call[answers.Recovery]:
    """Read a recovery and how far it is. Needs the role viewer."""
    return call(
        "getRecovery",
        "GET",
        "/api/v1/recoveries/{recoveryId}",
        answers.Recovery.model_validate_json,
        names={
            "recoveryId": recovery_id,
        },
    )


def cancel_recovery(
    recovery_id: int,
    *,
    idempotency_key: str | None = None,
) -> Call[answers.Recovery]:
    """Cancel the backfills of a recovery. Needs the role operator."""
    return call(
        "cancelRecovery",
        "POST",
        "/api/v1/recoveries/{recoveryId}/cancel",
        answers.Recovery.model_validate_json,
        names={
            "recoveryId": recovery_id,
        },
        idempotency_key=idempotency_key,
    )
