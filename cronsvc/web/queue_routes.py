"""The part of the route table about queues, many jobs at once, and the calls of dashboards.

Its paths under `/jobs` have fixed words: they stand before `/jobs/{jobId}`.
"""

from cronsvc.services.access import Role
from cronsvc.web import bulk_handlers, monitoring_handlers, problems, queue_handlers
from cronsvc.web.bulk_models import BulkAnswer, BulkIn
from cronsvc.web.job_models import PauseIn
from cronsvc.web.monitoring_models import HistoryAnswer, MetricsAnswer, SnapshotAnswer, SnapshotQuery
from cronsvc.web.queue_models import (
    JobsChanged,
    PauseJobsIn,
    QueueAnswer,
    QueueIn,
    QueueList,
    QueueQuery,
    ResumeJobsIn,
)
from cronsvc.web.routing import Route
from cronsvc.web.run_models import ExecutionQuery

V1 = "/api/v1"
VIEWER, OPERATOR, ADMIN = Role.VIEWER, Role.OPERATOR, Role.ADMIN

MANY_JOBS_ROUTES = (
    Route(
        "POST",
        f"{V1}/jobs/bulk",
        OPERATOR,
        bulk_handlers.change_jobs,
        "changeJobs",
        "Create, update, pause, resume, trigger or delete many jobs, each with a result of its own",
        "jobs",
        body=BulkIn,
        answer=BulkAnswer,
        takes_idempotency_key=True,
    ),
    Route(
        "POST",
        f"{V1}/jobs/pause",
        OPERATOR,
        queue_handlers.pause_jobs,
        "pauseJobs",
        "Pause all jobs, or those that a selector names",
        "jobs",
        body=PauseJobsIn,
        body_optional=True,
        answer=JobsChanged,
        takes_idempotency_key=True,
        problems=(problems.CONFLICT,),
    ),
    Route(
        "POST",
        f"{V1}/jobs/resume",
        OPERATOR,
        queue_handlers.resume_jobs,
        "resumeJobs",
        "Resume all jobs, or those that a selector names",
        "jobs",
        body=ResumeJobsIn,
        body_optional=True,
        answer=JobsChanged,
        takes_idempotency_key=True,
        problems=(problems.CONFLICT,),
    ),
    Route(
        "GET",
        f"{V1}/jobs/status",
        VIEWER,
        monitoring_handlers.snapshot,
        "getJobsStatus",
        "What will fire next, and what runs, of all jobs or of one",
        "monitoring",
        query=SnapshotQuery,
        answer=SnapshotAnswer,
        problems=(problems.NOT_FOUND,),
    ),
    Route(
        "GET",
        f"{V1}/jobs/metrics",
        VIEWER,
        monitoring_handlers.metrics,
        "getJobsMetrics",
        "Numbers for a dashboard, and what is wrong",
        "monitoring",
        answer=MetricsAnswer,
    ),
    Route(
        "GET",
        f"{V1}/jobs/history",
        VIEWER,
        monitoring_handlers.history,
        "getJobsHistory",
        "Executions of all jobs, the newest first",
        "monitoring",
        query=ExecutionQuery,
        answer=HistoryAnswer,
        problems=(problems.NOT_FOUND,),
    ),
)

QUEUE_ROUTES = (
    Route(
        "GET",
        f"{V1}/queues",
        VIEWER,
        queue_handlers.list_queues,
        "listQueues",
        "List queues",
        "queues",
        query=QueueQuery,
        answer=QueueList,
    ),
    Route(
        "GET",
        f"{V1}/queues/{{name}}",
        VIEWER,
        queue_handlers.get_queue,
        "getQueue",
        "Read a queue",
        "queues",
        answer=QueueAnswer,
    ),
    Route(
        "PUT",
        f"{V1}/queues/{{name}}",
        ADMIN,
        queue_handlers.put_queue,
        "putQueue",
        "Make a queue, or set both its limits",
        "queues",
        body=QueueIn,
        answer=QueueAnswer,
    ),
    Route(
        "PATCH",
        f"{V1}/queues/{{name}}",
        ADMIN,
        queue_handlers.patch_queue,
        "patchQueue",
        "Change limits of a queue",
        "queues",
        body=QueueIn,
        answer=QueueAnswer,
    ),
    Route(
        "POST",
        f"{V1}/queues/{{name}}/pause",
        OPERATOR,
        queue_handlers.pause_queue,
        "pauseQueue",
        "Begin nothing of a queue",
        "queues",
        body=PauseIn,
        body_optional=True,
        answer=QueueAnswer,
        takes_idempotency_key=True,
    ),
    Route(
        "POST",
        f"{V1}/queues/{{name}}/resume",
        OPERATOR,
        queue_handlers.resume_queue,
        "resumeQueue",
        "Let a queue go on",
        "queues",
        answer=QueueAnswer,
        takes_idempotency_key=True,
    ),
)
