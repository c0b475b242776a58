"""/api/v1/executions and the triggers: making and reading executions."""

from typing import Any

from starlette.responses import Response

from cronsvc.domain.execution import Execution
from cronsvc.errors import InvalidInput
from cronsvc.services.paging import Page
from cronsvc.services.triggering import FIELD, Triggered
from cronsvc.web.answers import answer
from cronsvc.web.fields import listed
from cronsvc.web.mapping import execution_answer, execution_detail, progress_answer
from cronsvc.web.page_models import ExecutionsQuery
from cronsvc.web.routing import Call
from cronsvc.web.run_models import (
    ExecutionAnswer,
    ExecutionList,
    ExecutionListQuery,
    ExecutionQuery,
    ExecutionSort,
    JobExecutionListQuery,
    JobExecutionSort,
    TriggerByNameIn,
    TriggeredAnswer,
    TriggerIn,
    TriggerParams,
)


async def trigger_job(call: Call) -> Response:
    """Run a job once, now. Works for paused jobs too."""
    body: TriggerIn = call.body
    return await _trigger(call, call.id_in_path("jobId"), body.params)


async def trigger_by_name(call: Call) -> Response:
    """Run the job of this name once, now."""
    body: TriggerByNameIn = call.body
    job_id = await call.services.jobs.id_of(body.name, call.caller, namespace=body.namespace)
    return await _trigger(call, job_id, body.params)


async def trigger_named(call: Call) -> Response:
    """Run the job of the name in the path once, now; the whole body is its params."""
    body: TriggerParams = call.body
    name = call.request.path_params["name"]
    begun = await _begun(call, await call.services.jobs.id_of(name, call.caller), body.root or None)
    told = TriggeredAnswer(
        **execution_answer(begun.execution).model_dump(),
        success=True,
        message=f"{name} triggered successfully",
        timestamp=begun.execution.queued_at,
    )
    return answer(told, status=202, headers=_where(begun))


async def _trigger(call: Call, job_id: int, params: dict[str, Any] | None) -> Response:
    begun = await _begun(call, job_id, params)
    return answer(execution_answer(begun.execution), status=202, headers=_where(begun))


async def _begun(call: Call, job_id: int, params: dict[str, Any] | None) -> Triggered:
    keys = call.request.headers.getlist(FIELD)
    if not keys:
        return Triggered(await call.services.jobs.trigger(job_id, call.caller, params=params), replayed=False)
    if len(keys) > 1:
        raise InvalidInput.of(FIELD, "is given twice; give it once")
    return await call.services.jobs.trigger_once(job_id, call.caller, key=keys[0], params=params)


async def list_executions(call: Call) -> Response:
    """Executions of all jobs, the newest first."""
    query: ExecutionListQuery = call.query
    if query.job_id is not None and "sort" in query.model_fields_set:
        raise InvalidInput.of("sort", "does not go with jobId; /jobs/{jobId}/executions?sort= has that")
    oldest_first = query.sort is ExecutionSort.OLDEST
    return _listed(await found_executions(call, query, limit=query.limit, oldest_first=oldest_first), query.fields)


async def found_executions(
    call: Call, query: ExecutionQuery | ExecutionsQuery, *, limit: int, oldest_first: bool = False
) -> Page[Execution]:
    """A page of the executions that match a filter, the newest first unless told."""
    return await call.services.executions.list(
        call.caller,
        job_id=query.job_id,
        status=query.status,
        trigger=query.trigger,
        backfill_id=query.backfill_id,
        recovery_id=query.recovery_id,
        oldest_first=oldest_first,
        cursor=query.cursor,
        limit=limit,
    )


async def list_job_executions(call: Call) -> Response:
    """Executions of one job, live or deleted, the latest first."""
    query: JobExecutionListQuery = call.query
    page = await call.services.executions.list(
        call.caller,
        job_id=call.id_in_path("jobId"),
        status=query.status,
        trigger=query.trigger,
        oldest_first=query.sort is JobExecutionSort.EARLIEST,
        cursor=query.cursor,
        limit=query.limit,
    )
    return _listed(page, query.fields)


async def get_execution(call: Call) -> Response:
    """One execution with its attempts."""
    execution, attempts = await call.services.executions.get(call.id_in_path("executionId"), call.caller)
    return answer(execution_detail(execution, attempts))


async def get_progress(call: Call) -> Response:
    """How far an execution is and what it says, while it runs and afterwards."""
    execution, _ = await call.services.executions.get(call.id_in_path("executionId"), call.caller)
    return answer(progress_answer(execution))


def _where(begun: Triggered) -> dict[str, str]:
    replayed = {"Idempotent-Replayed": "true"} if begun.replayed else {}
    return {"Location": f"/api/v1/executions/{begun.execution.id}"} | replayed


def _listed(page: Page[Execution], fields: str | None) -> Response:
    items = [execution_answer(item) for item in page.items]
    return listed(ExecutionList(items=items, next_cursor=page.next_cursor), items, ExecutionAnswer, fields)
