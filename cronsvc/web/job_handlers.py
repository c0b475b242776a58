"""/api/v1/jobs: defining, reading, changing, steering and trying out jobs."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from starlette.responses import Response

from cronsvc.domain.job import Job, JobDefinition
from cronsvc.domain.schedule import describe
from cronsvc.errors import InvalidInput
from cronsvc.services.preview import preview
from cronsvc.web import job_document
from cronsvc.web.answers import answer
from cronsvc.web.edit_models import EditQuery, edit_plan
from cronsvc.web.fields import listed
from cronsvc.web.job_models import (
    JobAnswer,
    JobIn,
    JobList,
    JobQuery,
    PageQuery,
    PauseIn,
    ResumeIn,
    RevisionAnswer,
    RevisionList,
)
from cronsvc.web.mapping import definition_answer, definition_of, job_answer, schedule_of
from cronsvc.web.routing import Call
from cronsvc.web.schedule_models import InWindow, PreviewAnswer, PreviewIn, UpcomingAnswer, UpcomingQuery


async def create_job(call: Call) -> Response:
    """Define a job."""
    body: JobIn = call.body
    definition = definition_of(body, namespace=call.caller.home)
    job = await call.services.jobs.create(definition, call.caller)
    return with_etag(job, status=201, location=f"/api/v1/jobs/{job.id}")


async def list_jobs(call: Call) -> Response:
    """List jobs by name; with `jobId` answer with that one job in the list's shape."""
    query: JobQuery = call.query
    if query.job_id is not None:
        if query.model_fields_set - {"job_id", "limit", "fields"}:
            raise InvalidInput.of("jobId", "names one job; leave the other filters out")
        only = [job_answer(await call.services.jobs.get(query.job_id, call.caller))]
        return listed(JobList(items=only, next_cursor=None), only, JobAnswer, query.fields)
    page = await call.services.jobs.list(
        call.caller,
        name=query.name,
        tag=query.tag,
        group=query.group,
        template_id=query.template_id,
        queue=query.queue,
        is_active=query.is_active,
        namespace=query.namespace,
        sort=query.sort,
        cursor=query.cursor,
        limit=query.limit,
    )
    items = [job_answer(job) for job in page.items]
    return listed(JobList(items=items, next_cursor=page.next_cursor), items, JobAnswer, query.fields)


async def get_job(call: Call) -> Response:
    """Read one job."""
    return with_etag(await call.services.jobs.get(call.id_in_path("jobId"), call.caller))


async def replace_job(call: Call) -> Response:
    """Put a whole new definition in the place of the old one; what is left out gets its default."""
    jobs, caller = call.services.jobs, call.caller
    job = await jobs.get(call.id_in_path("jobId"), caller)
    body, revision = job_document.replacement(job, call.document)
    expected = job_document.expected_revision(_if_match(call), revision, job)
    definition = definition_of(body, namespace=job.definition.namespace)
    return await _edited(call, job, lambda _: definition, expected)


async def patch_job(call: Call) -> Response:
    """Change the members that the patch names. Without If-Match it is laid over whatever revision is newest."""
    jobs, caller, patch = call.services.jobs, call.caller, call.document
    job = await jobs.get(call.id_in_path("jobId"), caller)
    expected = job_document.expected_revision(_if_match(call), job_document.check_patch(job, patch), job)

    def change(definition: JobDefinition) -> JobDefinition:
        return definition_of(job_document.apply_patch(definition, patch), namespace=definition.namespace)

    return await _edited(call, job, change, expected)


async def _edited(
    call: Call, job: Job, change: Callable[[JobDefinition], JobDefinition], expected: int | None
) -> Response:
    """Make the edit, or with `dryRun` say what it would do."""
    query: EditQuery = call.query
    if query.dry_run:
        found = await call.services.rehearsals.rehearse(job.id, change, call.caller, if_revision=expected)
        return answer(edit_plan(found))
    return with_etag(await call.services.jobs.edit(job.id, change, call.caller, if_revision=expected))


async def delete_job(call: Call) -> Response:
    """Take a job away. Its executions stay readable."""
    job_id = call.id_in_path("jobId")
    expected = None
    if _if_match(call) is not None:
        expected = job_document.expected_revision(
            _if_match(call), None, await call.services.jobs.get(job_id, call.caller)
        )
    await call.services.jobs.delete(job_id, call.caller, if_revision=expected)
    return Response(status_code=204)


async def pause_job(call: Call) -> Response:
    """Hold a job: it fires nothing until it is resumed, or until `until`."""
    body: PauseIn = call.body
    return with_etag(
        await call.services.jobs.pause(call.id_in_path("jobId"), call.caller, note=body.note, until=body.until)
    )


async def resume_job(call: Call) -> Response:
    """Let a paused job fire again, from now on or (`catchUp`) with what the pause held back."""
    body: ResumeIn = call.body
    return with_etag(await call.services.jobs.resume(call.id_in_path("jobId"), call.caller, catch_up=body.catch_up))


async def upcoming(call: Call) -> Response:
    """The next instants of a job, by the same function that fires it."""
    query: UpcomingQuery = call.query
    job_id = call.id_in_path("jobId")
    times = await call.services.jobs.upcoming(job_id, call.caller, count=query.count)
    job = await call.services.jobs.get(job_id, call.caller)
    concerned = await call.services.windows.concerning(job, times)
    inside = [
        InWindow(
            fire_time=instant,
            window_id=opening.window.id,
            name=opening.window.name,
            during=opening.window.during,
            until=opening.end,
        )
        for instant, opening in concerned.items()
    ]
    return answer(
        UpcomingAnswer(fire_times=list(times), description=describe(job.definition.schedule), in_windows=inside)
    )


async def list_revisions(call: Call) -> Response:
    """Every definition a job has had, the newest first."""
    query: PageQuery = call.query
    page = await call.services.jobs.revisions(
        call.id_in_path("jobId"), call.caller, cursor=query.cursor, limit=query.limit, sort=query.sort
    )
    items = [
        RevisionAnswer(
            revision=item.revision,
            definition=definition_answer(item.definition),
            actor=item.actor,
            created_at=item.created_at,
        )
        for item in page.items
    ]
    return answer(RevisionList(items=items, next_cursor=page.next_cursor))


async def preview_schedule(call: Call) -> Response:
    """What a schedule would do, without making a job."""
    body: PreviewIn = call.body
    after = body.after or datetime.now(UTC)
    schedule = schedule_of(body)
    if schedule.calendar is not None:
        namespace = body.namespace or call.caller.home
        days = await call.services.calendars.closed_days(namespace, schedule.calendar, call.caller)
        schedule = replace(schedule, closed_days=days)
    # A thousand instants of a rare schedule take a while; other requests must not wait for them.
    found = await asyncio.to_thread(preview, schedule, after=after, count=body.count)
    return answer(PreviewAnswer(fire_times=list(found.fire_times), description=found.description))


def with_etag(job: Job, *, status: int = 200, location: str | None = None) -> Response:
    """A job, with the tag that a change of it can name."""
    headers = {"ETag": job_document.etag_of(job)} | ({"Location": location} if location else {})
    return answer(job_answer(job), status=status, headers=headers)


def _if_match(call: Call) -> str | None:
    values = call.request.headers.getlist("if-match")
    return ", ".join(values) if values else None
