"""Operations on monitoring.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from typing import Literal

from cronsvc.client.calls import Call, call
from cronsvc.client.generated import answers


def get_jobs_status(
    *,
    job_id: int | None = None,
) -> Call[answers.SnapshotAnswer]:
    """What will fire next, and what runs, of all jobs or of one. Needs the role viewer."""
    return call(
        "getJobsStatus",
        "GET",
        "/api/v1/jobs/status",
        answers.SnapshotAnswer.model_validate_json,
        query={
            "jobId": job_id,
        },
    )


def get_jobs_metrics() -> Call[answers.MetricsAnswer]:
    """Numbers for a dashboard, and what is wrong. Needs the role viewer."""
    return call(
        "getJobsMetrics",
        "GET",
        "/api/v1/jobs/metrics",
        answers.MetricsAnswer.model_validate_json,
    )


def get_jobs_history(
    *,
    job_id: int | None = None,
    status: Literal["QUEUED", "RUNNING", "SUCCESS", "FAILED", "SKIPPED", "CANCELLED"] | None = None,
    trigger: Literal["schedule", "manual", "backfill", "dependency", "recovery"] | None = None,
    backfill_id: int | None = None,
    recovery_id: int | None = None,
    cursor: str | None = None,
    limit: int | None = None,
) -> Call[answers.History]:
    """Executions of all jobs, the newest first. Needs the role viewer."""
    return call(
        "getJobsHistory",
        "GET",
        "/api/v1/jobs/history",
        answers.History.model_validate_json,
        query={
            "jobId": job_id,
            "status": status,
            "trigger": trigger,
            "backfillId": backfill_id,
            "recoveryId": recovery_id,
            "cursor": cursor,
            "limit": limit,
        },
    )
