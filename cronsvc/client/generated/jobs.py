"""Operations on jobs.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Literal

from cronsvc.client.calls import UNSET, Call, Paged, Unset, call, nothing
from cronsvc.client.generated import answers, requests, words


def change_jobs(
    *,
    action: words.BulkAction,
    jobs: Sequence[Mapping[str, Any]] | Unset | None = UNSET,
    job_ids: Sequence[int] | Unset | None = UNSET,
    selector: requests.BulkSelectorIn | Mapping[str, Any] | Unset | None = UNSET,
    patch: Mapping[str, Any] | Unset | None = UNSET,
    params: Mapping[str, Any] | Unset | None = UNSET,
    note: str | Unset | None = UNSET,
    until: datetime | Unset | None = UNSET,
    catch_up: bool | Unset | None = UNSET,
    dry_run: bool | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.Bulk]:
    """Create, update, pause, resume, trigger or delete many jobs, each with a result of its own. Needs the role
    operator.
    """
    return call(
        "changeJobs",
        "POST",
        "/api/v1/jobs/bulk",
        answers.Bulk.model_validate_json,
        body={
            "action": action,
            "jobs": jobs,
            "jobIds": job_ids,
            "selector": selector,
            "patch": patch,
            "params": params,
            "note": note,
            "until": until,
            "catchUp": catch_up,
            "dryRun": dry_run,
        },
        idempotency_key=idempotency_key,
    )


def pause_jobs(
    *,
    tags: Sequence[str] | Unset = UNSET,
    namespace: str | Unset = UNSET,
    group: str | Unset = UNSET,
    queue: str | Unset = UNSET,
    name_prefix: str | Unset = UNSET,
    job_ids: Sequence[int] | Unset = UNSET,
    note: str | Unset | None = UNSET,
    until: datetime | Unset | None = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.JobsChanged]:
    """Pause all jobs, or those that a selector names. Needs the role operator."""
    return call(
        "pauseJobs",
        "POST",
        "/api/v1/jobs/pause",
        answers.JobsChanged.model_validate_json,
        body={
            "tags": tags,
            "namespace": namespace,
            "group": group,
            "queue": queue,
            "namePrefix": name_prefix,
            "jobIds": job_ids,
            "note": note,
            "until": until,
        },
        idempotency_key=idempotency_key,
    )


def resume_jobs(
    *,
    tags: Sequence[str] | Unset = UNSET,
    namespace: str | Unset = UNSET,
    group: str | Unset = UNSET,
    queue: str | Unset = UNSET,
    name_prefix: str | Unset = UNSET,
    job_ids: Sequence[int] | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.JobsChanged]:
    """Resume all jobs, or those that a selector names. Needs the role operator."""
    return call(
        "resumeJobs",
        "POST",
        "/api/v1/jobs/resume",
        answers.JobsChanged.model_validate_json,
        body={
            "tags": tags,
            "namespace": namespace,
            "group": group,
            "queue": queue,
            "namePrefix": name_prefix,
            "jobIds": job_ids,
        },
        idempotency_key=idempotency_key,
    )


def create_job(
    *,
    name: str,
    task_payload: requests.TaskPayloadIn | Mapping[str, Any],
    description: str | Unset = UNSET,
    namespace: str | Unset | None = UNSET,
    tags: Sequence[str] | Unset = UNSET,
    group: str | Unset | None = UNSET,
    cron_expression: str | Unset | None = UNSET,
    every: timedelta | str | int | Unset | None = UNSET,
    run_at: datetime | Unset | None = UNSET,
    timezone: str | Unset = UNSET,
    start_at: datetime | Unset | None = UNSET,
    end_at: datetime | Unset | None = UNSET,
    calendar: str | Unset | None = UNSET,
    calendar_rule: words.CalendarRule | Unset = UNSET,
    max_runs: int | Unset | None = UNSET,
    jitter_seconds: int | Unset = UNSET,
    misfire_policy: words.MisfirePolicy | Unset = UNSET,
    misfire_grace_seconds: int | Unset = UNSET,
    misfire_cap: int | Unset = UNSET,
    overlap_policy: words.OverlapPolicy | Unset = UNSET,
    max_concurrency: int | Unset | None = UNSET,
    concurrency_key: str | Unset | None = UNSET,
    queue: str | Unset | None = UNSET,
    priority: Literal["critical", "high", "normal", "low", 1, 5, 10, 15] | Unset = UNSET,
    max_attempts: int | Unset = UNSET,
    backoff: requests.BackoffIn | Mapping[str, Any] | Unset = UNSET,
    retry_on: Sequence[str] | Unset | None = UNSET,
    timeout_seconds: int | Unset = UNSET,
    deadline_seconds: int | Unset | None = UNSET,
    pause_after_failures: int | Unset | None = UNSET,
    depends_on: requests.DependsOnIn | Mapping[str, Any] | Unset | None = UNSET,
    retention: requests.RetentionIn | Mapping[str, Any] | Unset = UNSET,
    is_active: bool | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.Job]:
    """Create a job. Needs the role operator."""
    return call(
        "createJob",
        "POST",
        "/api/v1/jobs",
        answers.Job.model_validate_json,
        statuses=(201,),
        body={
            "name": name,
            "description": description,
            "namespace": namespace,
            "tags": tags,
            "group": group,
            "cronExpression": cron_expression,
            "every": every,
            "runAt": run_at,
            "timezone": timezone,
            "startAt": start_at,
            "endAt": end_at,
            "calendar": calendar,
            "calendarRule": calendar_rule,
            "maxRuns": max_runs,
            "jitterSeconds": jitter_seconds,
            "misfirePolicy": misfire_policy,
            "misfireGraceSeconds": misfire_grace_seconds,
            "misfireCap": misfire_cap,
            "overlapPolicy": overlap_policy,
            "maxConcurrency": max_concurrency,
            "concurrencyKey": concurrency_key,
            "queue": queue,
            "priority": priority,
            "maxAttempts": max_attempts,
            "backoff": backoff,
            "retryOn": retry_on,
            "timeoutSeconds": timeout_seconds,
            "deadlineSeconds": deadline_seconds,
            "pauseAfterFailures": pause_after_failures,
            "dependsOn": depends_on,
            "retention": retention,
            "taskPayload": task_payload,
            "isActive": is_active,
        },
        idempotency_key=idempotency_key,
    )


def list_jobs(
    *,
    job_id: int | None = None,
    name: str | None = None,
    tag: str | None = None,
    group: str | None = None,
    template_id: int | None = None,
    queue: str | None = None,
    is_active: bool | None = None,
    namespace: str | None = None,
    sort: Literal["-id", "id", "name", "-name", "updatedAt", "-updatedAt"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[answers.Job, answers.JobList]:
    """List jobs. Needs the role viewer."""
    first = call(
        "listJobs",
        "GET",
        "/api/v1/jobs",
        answers.JobList.model_validate_json,
        query={
            "jobId": job_id,
            "name": name,
            "tag": tag,
            "group": group,
            "templateId": template_id,
            "queue": queue,
            "isActive": is_active,
            "namespace": namespace,
            "sort": sort,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)


def list_jobs_fields(
    *,
    fields: str,
    job_id: int | None = None,
    name: str | None = None,
    tag: str | None = None,
    group: str | None = None,
    template_id: int | None = None,
    queue: str | None = None,
    is_active: bool | None = None,
    namespace: str | None = None,
    sort: Literal["-id", "id", "name", "-name", "updatedAt", "-updatedAt"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[dict[str, Any], answers.SparseList]:
    """List jobs. Each item has the members that `fields` names, and its id. Needs the role viewer."""
    first = call(
        "listJobs",
        "GET",
        "/api/v1/jobs",
        answers.SparseList.model_validate_json,
        query={
            "jobId": job_id,
            "name": name,
            "tag": tag,
            "group": group,
            "templateId": template_id,
            "queue": queue,
            "isActive": is_active,
            "namespace": namespace,
            "sort": sort,
            "fields": fields,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)


def trigger_job_by_name(
    *,
    name: str,
    namespace: str | Unset | None = UNSET,
    params: Mapping[str, Any] | Unset | None = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.Execution]:
    """Run the job of a name once, now. Needs the role operator."""
    return call(
        "triggerJobByName",
        "POST",
        "/api/v1/jobs/trigger",
        answers.Execution.model_validate_json,
        statuses=(202,),
        body={
            "name": name,
            "namespace": namespace,
            "params": params,
        },
        idempotency_key=idempotency_key,
    )


def trigger_named_job(
    name: str,
    *,
    document: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> Call[answers.Triggered]:
    """Run the job of a name once, now, with the body as its params. Needs the role operator."""
    return call(
        "triggerNamedJob",
        "POST",
        "/api/v1/jobs/trigger/{name}",
        answers.Triggered.model_validate_json,
        statuses=(202,),
        names={
            "name": name,
        },
        body=document,
        idempotency_key=idempotency_key,
    )


def cleanup_jobs(
    *,
    grace_period_hours: int | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.Cleanup]:
    """Delete executions that ended long ago. Needs the role operator."""
    return call(
        "cleanupJobs",
        "POST",
        "/api/v1/jobs/cleanup",
        answers.Cleanup.model_validate_json,
        body={
            "gracePeriodHours": grace_period_hours,
        },
        idempotency_key=idempotency_key,
    )


def get_job(
    job_id: int,
) -> Call[answers.Job]:
    """Read a job. Needs the role viewer."""
    return call(
        "getJob",
        "GET",
        "/api/v1/jobs/{jobId}",
        answers.Job.model_validate_json,
        names={
            "jobId": job_id,
        },
    )


def replace_job(
    job_id: int,
    *,
    name: str,
    task_payload: requests.TaskPayloadIn | Mapping[str, Any],
    description: str | Unset = UNSET,
    namespace: str | Unset | None = UNSET,
    tags: Sequence[str] | Unset = UNSET,
    group: str | Unset | None = UNSET,
    cron_expression: str | Unset | None = UNSET,
    every: timedelta | str | int | Unset | None = UNSET,
    run_at: datetime | Unset | None = UNSET,
    timezone: str | Unset = UNSET,
    start_at: datetime | Unset | None = UNSET,
    end_at: datetime | Unset | None = UNSET,
    calendar: str | Unset | None = UNSET,
    calendar_rule: words.CalendarRule | Unset = UNSET,
    max_runs: int | Unset | None = UNSET,
    jitter_seconds: int | Unset = UNSET,
    misfire_policy: words.MisfirePolicy | Unset = UNSET,
    misfire_grace_seconds: int | Unset = UNSET,
    misfire_cap: int | Unset = UNSET,
    overlap_policy: words.OverlapPolicy | Unset = UNSET,
    max_concurrency: int | Unset | None = UNSET,
    concurrency_key: str | Unset | None = UNSET,
    queue: str | Unset | None = UNSET,
    priority: Literal["critical", "high", "normal", "low", 1, 5, 10, 15] | Unset = UNSET,
    max_attempts: int | Unset = UNSET,
    backoff: requests.BackoffIn | Mapping[str, Any] | Unset = UNSET,
    retry_on: Sequence[str] | Unset | None = UNSET,
    timeout_seconds: int | Unset = UNSET,
    deadline_seconds: int | Unset | None = UNSET,
    pause_after_failures: int | Unset | None = UNSET,
    depends_on: requests.DependsOnIn | Mapping[str, Any] | Unset | None = UNSET,
    retention: requests.RetentionIn | Mapping[str, Any] | Unset = UNSET,
    is_active: bool | Unset = UNSET,
    revision: int | Unset | None = UNSET,
    if_match: str | None = None,
) -> Call[answers.Job]:
    """Replace a job's definition, or (dryRun) say what that would do. Needs the role operator."""
    return call(
        "replaceJob",
        "PUT",
        "/api/v1/jobs/{jobId}",
        answers.Job.model_validate_json,
        names={
            "jobId": job_id,
        },
        body={
            "name": name,
            "description": description,
            "namespace": namespace,
            "tags": tags,
            "group": group,
            "cronExpression": cron_expression,
            "every": every,
            "runAt": run_at,
            "timezone": timezone,
            "startAt": start_at,
            "endAt": end_at,
            "calendar": calendar,
            "calendarRule": calendar_rule,
            "maxRuns": max_runs,
            "jitterSeconds": jitter_seconds,
            "misfirePolicy": misfire_policy,
            "misfireGraceSeconds": misfire_grace_seconds,
            "misfireCap": misfire_cap,
            "overlapPolicy": overlap_policy,
            "maxConcurrency": max_concurrency,
            "concurrencyKey": concurrency_key,
            "queue": queue,
            "priority": priority,
            "maxAttempts": max_attempts,
            "backoff": backoff,
            "retryOn": retry_on,
            "timeoutSeconds": timeout_seconds,
            "deadlineSeconds": deadline_seconds,
            "pauseAfterFailures": pause_after_failures,
            "dependsOn": depends_on,
            "retention": retention,
            "taskPayload": task_payload,
            "isActive": is_active,
            "revision": revision,
        },
        if_match=if_match,
    )


def replace_job_dry_run(
    job_id: int,
    *,
    name: str,
    task_payload: requests.TaskPayloadIn | Mapping[str, Any],
    description: str | Unset = UNSET,
    namespace: str | Unset | None = UNSET,
    tags: Sequence[str] | Unset = UNSET,
    group: str | Unset | None = UNSET,
    cron_expression: str | Unset | None = UNSET,
    every: timedelta | str | int | Unset | None = UNSET,
    run_at: datetime | Unset | None = UNSET,
    timezone: str | Unset = UNSET,
    start_at: datetime | Unset | None = UNSET,
    end_at: datetime | Unset | None = UNSET,
    calendar: str | Unset | None = UNSET,
    calendar_rule: words.CalendarRule | Unset = UNSET,
    max_runs: int | Unset | None = UNSET,
    jitter_seconds: int | Unset = UNSET,
    misfire_policy: words.MisfirePolicy | Unset = UNSET,
    misfire_grace_seconds: int | Unset = UNSET,
    misfire_cap: int | Unset = UNSET,
    overlap_policy: words.OverlapPolicy | Unset = UNSET,
    max_concurrency: int | Unset | None = UNSET,
    concurrency_key: str | Unset | None = UNSET,
    queue: str | Unset | None = UNSET,
    priority: Literal["critical", "high", "normal", "low", 1, 5, 10, 15] | Unset = UNSET,
    max_attempts: int | Unset = UNSET,
    backoff: requests.BackoffIn | Mapping[str, Any] | Unset = UNSET,
    retry_on: Sequence[str] | Unset | None = UNSET,
    timeout_seconds: int | Unset = UNSET,
    deadline_seconds: int | Unset | None = UNSET,
    pause_after_failures: int | Unset | None = UNSET,
    depends_on: requests.DependsOnIn | Mapping[str, Any] | Unset | None = UNSET,
    retention: requests.RetentionIn | Mapping[str, Any] | Unset = UNSET,
    is_active: bool | Unset = UNSET,
    revision: int | Unset | None = UNSET,
    if_match: str | None = None,
) -> Call[answers.EditPlan]:
    """Say what this would do, and do nothing: replace a job's definition, or (dryRun) say what that would do.
    Needs the role operator.
    """
    return call(
        "replaceJob",
        "PUT",
        "/api/v1/jobs/{jobId}",
        answers.EditPlan.model_validate_json,
        names={
            "jobId": job_id,
        },
        query={
            "dryRun": True,
        },
        body={
            "name": name,
            "description": description,
            "namespace": namespace,
            "tags": tags,
            "group": group,
            "cronExpression": cron_expression,
            "every": every,
            "runAt": run_at,
            "timezone": timezone,
            "startAt": start_at,
            "endAt": end_at,
            "calendar": calendar,
            "calendarRule": calendar_rule,
            "maxRuns": max_runs,
            "jitterSeconds": jitter_seconds,
            "misfirePolicy": misfire_policy,
            "misfireGraceSeconds": misfire_grace_seconds,
            "misfireCap": misfire_cap,
            "overlapPolicy": overlap_policy,
            "maxConcurrency": max_concurrency,
            "concurrencyKey": concurrency_key,
            "queue": queue,
            "priority": priority,
            "maxAttempts": max_attempts,
            "backoff": backoff,
            "retryOn": retry_on,
            "timeoutSeconds": timeout_seconds,
            "deadlineSeconds": deadline_seconds,
            "pauseAfterFailures": pause_after_failures,
            "dependsOn": depends_on,
            "retention": retention,
            "taskPayload": task_payload,
            "isActive": is_active,
            "revision": revision,
        },
        if_match=if_match,
    )


def patch_job(
    job_id: int,
    *,
    name: str | Unset = UNSET,
    description: str | Unset = UNSET,
    namespace: str | Unset | None = UNSET,
    tags: Sequence[str] | Unset = UNSET,
    group: str | Unset | None = UNSET,
    cron_expression: str | Unset | None = UNSET,
    every: timedelta | str | int | Unset | None = UNSET,
    run_at: datetime | Unset | None = UNSET,
    timezone: str | Unset = UNSET,
    start_at: datetime | Unset | None = UNSET,
    end_at: datetime | Unset | None = UNSET,
    calendar: str | Unset | None = UNSET,
    calendar_rule: words.CalendarRule | Unset = UNSET,
    max_runs: int | Unset | None = UNSET,
    jitter_seconds: int | Unset = UNSET,
    misfire_policy: words.MisfirePolicy | Unset = UNSET,
    misfire_grace_seconds: int | Unset = UNSET,
    misfire_cap: int | Unset = UNSET,
    overlap_policy: words.OverlapPolicy | Unset = UNSET,
    max_concurrency: int | Unset | None = UNSET,
    concurrency_key: str | Unset | None = UNSET,
    queue: str | Unset | None = UNSET,
    priority: Literal["critical", "high", "normal", "low", 1, 5, 10, 15] | Unset = UNSET,
    max_attempts: int | Unset = UNSET,
    backoff: requests.BackoffIn | Mapping[str, Any] | Unset = UNSET,
    retry_on: Sequence[str] | Unset | None = UNSET,
    timeout_seconds: int | Unset = UNSET,
    deadline_seconds: int | Unset | None = UNSET,
    pause_after_failures: int | Unset | None = UNSET,
    depends_on: requests.DependsOnIn | Mapping[str, Any] | Unset | None = UNSET,
    retention: requests.RetentionIn | Mapping[str, Any] | Unset = UNSET,
    task_payload: requests.TaskPayloadIn | Mapping[str, Any] | Unset = UNSET,
    is_active: bool | Unset = UNSET,
    revision: int | Unset | None = UNSET,
    if_match: str | None = None,
) -> Call[answers.Job]:
    """Change parts of a job's definition, or (dryRun) say what that would do. Needs the role operator."""
    return call(
        "patchJob",
        "PATCH",
        "/api/v1/jobs/{jobId}",
        answers.Job.model_validate_json,
        names={
            "jobId": job_id,
        },
        body={
            "name": name,
            "description": description,
            "namespace": namespace,
            "tags": tags,
            "group": group,
            "cronExpression": cron_expression,
            "every": every,
            "runAt": run_at,
            "timezone": timezone,
            "startAt": start_at,
            "endAt": end_at,
            "calendar": calendar,
            "calendarRule": calendar_rule,
            "maxRuns": max_runs,
            "jitterSeconds": jitter_seconds,
            "misfirePolicy": misfire_policy,
            "misfireGraceSeconds": misfire_grace_seconds,
            "misfireCap": misfire_cap,
            "overlapPolicy": overlap_policy,
            "maxConcurrency": max_concurrency,
            "concurrencyKey": concurrency_key,
            "queue": queue,
            "priority": priority,
            "maxAttempts": max_attempts,
            "backoff": backoff,
            "retryOn": retry_on,
            "timeoutSeconds": timeout_seconds,
            "deadlineSeconds": deadline_seconds,
            "pauseAfterFailures": pause_after_failures,
            "dependsOn": depends_on,
            "retention": retention,
            "taskPayload": task_payload,
            "isActive": is_active,
            "revision": revision,
        },
        if_match=if_match,
    )


def patch_job_dry_run(
    job_id: int,
    *,
    name: str | Unset = UNSET,
    description: str | Unset = UNSET,
    namespace: str | Unset | None = UNSET,
    tags: Sequence[str] | Unset = UNSET,
    group: str | Unset | None = UNSET,
    cron_expression: str | Unset | None = UNSET,
    every: timedelta | str | int | Unset | None = UNSET,
    run_at: datetime | Unset | None = UNSET,
    timezone: str | Unset = UNSET,
    start_at: datetime | Unset | None = UNSET,
    end_at: datetime | Unset | None = UNSET,
    calendar: str | Unset | None = UNSET,
    calendar_rule: words.CalendarRule | Unset = UNSET,
    max_runs: int | Unset | None = UNSET,
    jitter_seconds: int | Unset = UNSET,
    misfire_policy: words.MisfirePolicy | Unset = UNSET,
    misfire_grace_seconds: int | Unset = UNSET,
    misfire_cap: int | Unset = UNSET,
    overlap_policy: words.OverlapPolicy | Unset = UNSET,
    max_concurrency: int | Unset | None = UNSET,
    concurrency_key: str | Unset | None = UNSET,
    queue: str | Unset | None = UNSET,
    priority: Literal["critical", "high", "normal", "low", 1, 5, 10, 15] | Unset = UNSET,
    max_attempts: int | Unset = UNSET,
    backoff: requests.BackoffIn | Mapping[str, Any] | Unset = UNSET,
    retry_on: Sequence[str] | Unset | None = UNSET,
    timeout_seconds: int | Unset = UNSET,
    deadline_seconds: int | Unset | None = UNSET,
    pause_after_failures: int | Unset | None = UNSET,
    depends_on: requests.DependsOnIn | Mapping[str, Any] | Unset | None = UNSET,
    retention: requests.RetentionIn | Mapping[str, Any] | Unset = UNSET,
    task_payload: requests.TaskPayloadIn | Mapping[str, Any] | Unset = UNSET,
    is_active: bool | Unset = UNSET,
    revision: int | Unset | None = UNSET,
    if_match: str | None = None,
) -> Call[answers.EditPlan]:
    """Say what this would do, and do nothing: change parts of a job's definition, or (dryRun) say what that would
    do. Needs the role operator.
    """
    return call(
        "patchJob",
        "PATCH",
        "/api/v1/jobs/{jobId}",
        answers.EditPlan.model_validate_json,
        names={
            "jobId": job_id,
        },
        query={
            "dryRun": True,
        },
        body={
            "name": name,
            "description": description,
            "namespace": namespace,
            "tags": tags,
            "group": group,
            "cronExpression": cron_expression,
            "every": every,
            "runAt": run_at,
            "timezone": timezone,
            "startAt": start_at,
            "endAt": end_at,
            "calendar": calendar,
            "calendarRule": calendar_rule,
            "maxRuns": max_runs,
            "jitterSeconds": jitter_seconds,
            "misfirePolicy": misfire_policy,
            "misfireGraceSeconds": misfire_grace_seconds,
            "misfireCap": misfire_cap,
            "overlapPolicy": overlap_policy,
            "maxConcurrency": max_concurrency,
            "concurrencyKey": concurrency_key,
            "queue": queue,
            "priority": priority,
            "maxAttempts": max_attempts,
            "backoff": backoff,
            "retryOn": retry_on,
            "timeoutSeconds": timeout_seconds,
            "deadlineSeconds": deadline_seconds,
            "pauseAfterFailures": pause_after_failures,
            "dependsOn": depends_on,
            "retention": retention,
            "taskPayload": task_payload,
            "isActive": is_active,
            "revision": revision,
        },
        if_match=if_match,
    )


def delete_job(
    job_id: int,
    *,
    if_match: str | None = None,
) -> Call[None]:
    """Delete a job; its executions stay. Needs the role operator."""
    return call(
        "deleteJob",
        "DELETE",
        "/api/v1/jobs/{jobId}",
        nothing,
        statuses=(204,),
        names={
            "jobId": job_id,
        },
        if_match=if_match,
    )


def trigger_job(
    job_id: int,
    *,
    params: Mapping[str, Any] | Unset | None = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.Execution]:
    """Run a job once, now. Needs the role operator."""
    return call(
        "triggerJob",
        "POST",
        "/api/v1/jobs/{jobId}/trigger",
        answers.Execution.model_validate_json,
        statuses=(202,),
        names={
            "jobId": job_id,
        },
        body={
            "params": params,
        },
        idempotency_key=idempotency_key,
    )


def pause_job(
    job_id: int,
    *,
    note: str | Unset | None = UNSET,
    until: datetime | Unset | None = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.Job]:
    """Pause a job. Needs the role operator."""
    return call(
        "pauseJob",
        "POST",
        "/api/v1/jobs/{jobId}/pause",
        answers.Job.model_validate_json,
        names={
            "jobId": job_id,
        },
        body={
            "note": note,
            "until": until,
        },
        idempotency_key=idempotency_key,
    )


def resume_job(
    job_id: int,
    *,
    catch_up: bool | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.Job]:
    """Resume a paused job. Needs the role operator."""
    return call(
        "resumeJob",
        "POST",
        "/api/v1/jobs/{jobId}/resume",
        answers.Job.model_validate_json,
        names={
            "jobId": job_id,
        },
        body={
            "catchUp": catch_up,
        },
        idempotency_key=idempotency_key,
    )


def list_upcoming(
    job_id: int,
    *,
    count: int | None = None,
) -> Call[answers.Upcoming]:
    """The next fire times of a job. Needs the role viewer."""
    return call(
        "listUpcoming",
        "GET",
        "/api/v1/jobs/{jobId}/upcoming",
        answers.Upcoming.model_validate_json,
        names={
            "jobId": job_id,
        },
        query={
            "count": count,
        },
    )


def get_job_statistics(
    job_id: int,
    *,
    from_: date | None = None,
    to: date | None = None,
) -> Call[answers.Statistics]:
    """How a job's executions ended, day by day. Needs the role viewer."""
    return call(
        "getJobStatistics",
        "GET",
        "/api/v1/jobs/{jobId}/statistics",
        answers.Statistics.model_validate_json,
        names={
            "jobId": job_id,
        },
        query={
            "from": from_,
            "to": to,
        },
    )


def list_revisions(
    job_id: int,
    *,
    sort: Literal["-id", "id"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[answers.Revision, answers.RevisionList]:
    """Every definition a job has had. Needs the role viewer."""
    first = call(
        "listRevisions",
        "GET",
        "/api/v1/jobs/{jobId}/revisions",
        answers.RevisionList.model_validate_json,
        names={
            "jobId": job_id,
        },
        query={
            "sort": sort,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)


def explain_job(
    job_id: int,
    *,
    at: str | None = None,
) -> Call[answers.Explanation]:
    """Why a job did or did not run at an instant. Needs the role viewer."""
    return call(
        "explainJob",
        "GET",
        "/api/v1/jobs/{jobId}/explain",
        answers.Explanation.model_validate_json,
        names={
            "jobId": job_id,
        },
        query={
            "at": at,
        },
    )


def get_job_dependencies(
    job_id: int,
) -> Call[answers.Dependencies]:
    """What a job waits for, and who waits for it. Needs the role viewer."""
    return call(
        "getJobDependencies",
        "GET",
        "/api/v1/jobs/{jobId}/dependencies",
        answers.Dependencies.model_validate_json,
        names={
            "jobId": job_id,
        },
    )


def list_groups(
    *,
    name: str | None = None,
    namespace: str | None = None,
    sort: Literal["name", "-name"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[answers.Group, answers.GroupList]:
    """List groups of jobs, with what there is of each. Needs the role viewer."""
    first = call(
        "listGroups",
        "GET",
        "/api/v1/groups",
        answers.GroupList.model_validate_json,
        query={
            "name": name,
            "namespace": namespace,
            "sort": sort,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)
