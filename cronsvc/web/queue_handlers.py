"""/api/v1/queues, and pausing or resuming many jobs at once."""

from starlette.responses import Response

from cronsvc.services.bulk_pausing import BulkChange, JobSelector
from cronsvc.services.queues import QueueState
from cronsvc.web.answers import answer
from cronsvc.web.job_models import PauseAnswer, PauseIn
from cronsvc.web.queue_models import (
    JobsChanged,
    PauseJobsIn,
    QueueAnswer,
    QueueIn,
    QueueList,
    QueueQuery,
    ResumeJobsIn,
    SelectorIn,
)
from cronsvc.web.routing import Call


async def list_queues(call: Call) -> Response:
    """Queues in order of name."""
    query: QueueQuery = call.query
    page = await call.services.queues.list(
        call.caller, is_paused=query.is_paused, sort=query.sort, cursor=query.cursor, limit=query.limit
    )
    return answer(QueueList(items=[_queue(item) for item in page.items], next_cursor=page.next_cursor))


async def get_queue(call: Call) -> Response:
    """One queue."""
    return answer(_queue(await call.services.queues.get(_name(call), call.caller)))


async def put_queue(call: Call) -> Response:
    """Set both limits of a queue, which is made if there is none of this name."""
    body: QueueIn = call.body
    limits = {"concurrency": body.concurrency, "rate_per_minute": body.rate_per_minute}
    return answer(_queue(await call.services.queues.set_limits(_name(call), limits, call.caller, create=True)))


async def patch_queue(call: Call) -> Response:
    """Set the limits that are given."""
    body: QueueIn = call.body
    limits = {name: value for name, value in body.model_dump().items() if name in body.model_fields_set}
    return answer(_queue(await call.services.queues.set_limits(_name(call), limits, call.caller)))


async def pause_queue(call: Call) -> Response:
    """Begin nothing of a queue until it is resumed, or until `until`. What runs goes on."""
    body: PauseIn = call.body
    return answer(_queue(await call.services.queues.pause(_name(call), call.caller, note=body.note, until=body.until)))


async def resume_queue(call: Call) -> Response:
    """Let a queue go on; what waits is dispatched at once."""
    return answer(_queue(await call.services.queues.resume(_name(call), call.caller)))


async def pause_jobs(call: Call) -> Response:
    """Hold back all jobs, or those that the selector names."""
    body: PauseJobsIn = call.body
    change = await call.services.bulk_pausing.pause(_selector(body), call.caller, note=body.note, until=body.until)
    return _changed(change, "paused")


async def resume_jobs(call: Call) -> Response:
    """Let all jobs fire again, or those that the selector names, whoever paused them."""
    body: ResumeJobsIn = call.body
    return _changed(await call.services.bulk_pausing.resume(_selector(body), call.caller), "resumed")


def _name(call: Call) -> str:
    name: str = call.request.path_params["name"]
    return name


def _queue(state: QueueState) -> QueueAnswer:
    queue, load, pause = state.queue, state.load, state.pause
    return QueueAnswer(
        name=queue.name,
        paused=None if pause is None else PauseAnswer(by=pause.by, at=pause.at, note=pause.note, until=pause.until),
        concurrency=queue.concurrency,
        rate_per_minute=queue.rate_per_minute,
        waiting=load.waiting,
        running=load.running,
        oldest_waiting_seconds=load.oldest_seconds,
        workers=load.workers,
        created_at=queue.created_at,
    )


def _selector(body: SelectorIn) -> JobSelector:
    return JobSelector(
        tags=None if body.tags is None else tuple(body.tags),
        namespace=body.namespace,
        group=body.group,
        queue=body.queue,
        name_prefix=body.name_prefix,
        job_ids=None if body.job_ids is None else tuple(body.job_ids),
    )


def _changed(change: BulkChange, word: str) -> Response:
    jobs = "job" if change.matched == 1 else "jobs"
    message = f"{change.changed} of {change.matched} matching {jobs} {word}"
    rest = change.matched - change.changed
    if rest:
        message += f"; {rest} {'was' if rest == 1 else 'were'} already"
    return answer(JobsChanged(success=True, message=message, matched=change.matched, changed=change.changed))
