"""/api/v1/executions and the triggers: making and reading executions."""

from starlette.responses import Response

from cronsvc.domain.execution import Execution
from cronsvc.services.paging import Page
from cronsvc.web.answers import answer
from cronsvc.web.mapping import execution_answer, execution_detail
from cronsvc.web.routing import Call
from cronsvc.web.run_models import (
    ExecutionList,
    ExecutionQuery,
    JobExecutionQuery,
    TriggerByNameIn,
    TriggerIn,
)


async def trigger_job(call: Call) -> Response:
    """Run a job once, now. Works for paused jobs too."""
    body: TriggerIn = call.body
    execution = await call.services.jobs.trigger(call.id_in_path("jobId"), call.caller, params=body.params)
    return _accepted(execution)


async def trigger_by_name(call: Call) -> Response:
    """Run the job of this name once, now."""
    body: TriggerByNameIn = call.body
    execution = await call.services.jobs.trigger_by_name(
        body.name, call.caller, params=body.params, namespace=body.namespace
    )
    return _accepted(execution)


async def list_executions(call: Call) -> Response:
    """Executions of all jobs, the newest first."""
    query: ExecutionQuery = call.query
    page = await call.services.executions.list(
        call.caller,
        job_id=query.job_id,
        status=query.status,
        trigger=query.trigger,
        cursor=query.cursor,
        limit=query.limit,
    )
    return _listed(page)


async def list_job_executions(call: Call) -> Response:
    """Executions of one job, live or deleted, the latest first."""
    query: JobExecutionQuery = call.query
    page = await call.services.executions.list(
        call.caller,
        job_id=call.id_in_path("jobId"),
        status=query.status,
        trigger=query.trigger,
        cursor=query.cursor,
        limit=query.limit,
    )
    return _listed(page)


async def get_execution(call: Call) -> Response:
    """One execution with its attempts."""
    execution, attempts = await call.services.executions.get(call.id_in_path("executionId"), call.caller)
    return answer(execution_detail(execution, attempts))


def _accepted(execution: Execution) -> Response:
    headers = {"Location": f"/api/v1/executions/{execution.id}"}
    return answer(execution_answer(execution), status=202, headers=headers)


def _listed(page: Page[Execution]) -> Response:
    return answer(ExecutionList(items=[execution_answer(item) for item in page.items], next_cursor=page.next_cursor))
