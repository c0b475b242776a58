"""/api/v1/jobs/{status,metrics,history}: what dashboards ask for."""

from starlette.responses import Response

from cronsvc.web import monitoring_models as models
from cronsvc.web.answers import answer
from cronsvc.web.mapping import execution_answer
from cronsvc.web.routing import Call
from cronsvc.web.run_handlers import found_executions
from cronsvc.web.run_models import ExecutionQuery

RECENT_SHOWN = 20


async def snapshot(call: Call) -> Response:
    """What will fire next, and what runs: of all jobs, or of one."""
    query: models.SnapshotQuery = call.query
    found = await call.services.monitoring.snapshot(call.caller, job_id=query.job_id)
    recent = await call.services.executions.list(call.caller, job_id=query.job_id, limit=RECENT_SHOWN)
    counts = found.counts
    return answer(
        models.SnapshotAnswer(
            success=True,
            data=models.Snapshot(
                repeatable_jobs=[
                    models.RepeatableJob(
                        id=job.id,
                        name=job.name,
                        key=f"{job.namespace}/{job.name}",
                        cron=job.cron_expression,
                        every=None if job.every_seconds is None else job.every_seconds * 1000,
                        tz=job.timezone,
                        next=round(job.next_fire_time.timestamp() * 1000),
                    )
                    for job in found.repeating
                ],
                counts=models.JobCounts(
                    active=counts.active,
                    waiting=counts.waiting,
                    completed=counts.completed,
                    failed=counts.failed,
                    complete=counts.complete,
                ),
                active_jobs=[
                    models.ActiveJob(
                        id=str(run.id),
                        name=run.job_name,
                        job_id=run.job_id,
                        data=dict(run.params or {}),
                        progress=run.progress or 0,
                        start_time=run.start_time,
                    )
                    for run in found.active
                ],
            ),
            queue_stats=models.QueueStats(
                waiting=counts.waiting,
                active=counts.active,
                completed=counts.completed,
                failed=counts.failed,
                delayed=found.delayed,
            ),
            recent_jobs=[
                models.RecentJob(
                    id=run.id,
                    job_id=run.job_id,
                    name=run.job_name,
                    status=run.status,
                    progress=run.progress,
                    scheduled_time=run.scheduled_time,
                    start_time=run.start_time,
                    end_time=run.end_time,
                )
                for run in recent.items
            ],
        )
    )


async def metrics(call: Call) -> Response:
    """Numbers for a dashboard, and what is wrong in words."""
    found = await call.services.monitoring.metrics(call.caller)
    counts = found.counts
    return answer(
        models.MetricsAnswer(
            success=True,
            data=models.Metrics(
                active=counts.active,
                waiting=counts.waiting,
                delayed=found.delayed,
                completed=counts.completed,
                failed=counts.failed,
                dead_letter=found.dead_letters,
                complete=counts.complete,
                failure_rate=round(counts.failure_rate, 4),
                average_duration_ms=None if found.average_ms is None else round(found.average_ms, 3),
                oldest_waiting_seconds=found.oldest_waiting_seconds,
                workers=found.workers,
                schedulers=found.schedulers,
                queues=[
                    models.QueueMetrics(
                        name=queue.name,
                        is_paused=queue.pause is not None,
                        waiting=load.waiting,
                        active=load.running,
                        workers=load.workers,
                    )
                    for queue, load in found.queues
                ],
                is_healthy=not found.problems,
                problems=list(found.problems),
            ),
        )
    )


async def history(call: Call) -> Response:
    """Executions, the newest first, in the envelope of dashboards."""
    query: ExecutionQuery = call.query
    page = await found_executions(call, query, limit=query.limit)
    items = [execution_answer(item) for item in page.items]
    return answer(models.HistoryAnswer(success=True, data=items, next_cursor=page.next_cursor))
