"""/api/v1/executions/{id}/cancel and /retry, and /api/v1/dead-letters."""

from starlette.responses import Response

from cronsvc.domain.execution import Execution
from cronsvc.services.dead_letters import Bulk, Wanted
from cronsvc.services.ending import Item
from cronsvc.web.answers import answer
from cronsvc.web.ending_models import (
    BulkAnswer,
    BulkItem,
    CancelIn,
    DeadLetterQuery,
    DeadLettersIn,
    DeadLetterSort,
    ResolveIn,
    ResolveManyIn,
)
from cronsvc.web.fields import listed
from cronsvc.web.mapping import execution_answer
from cronsvc.web.problems import problem_of
from cronsvc.web.routing import Call
from cronsvc.web.run_models import ExecutionAnswer, ExecutionList


async def cancel_execution(call: Call) -> Response:
    """Cancel what waits at once; ask the worker to stop what runs."""
    body: CancelIn = call.body
    execution = await call.services.endings.cancel(call.id_in_path("executionId"), call.caller, note=body.note)
    return _accepted(execution)


async def retry_execution(call: Call) -> Response:
    """Let a finished execution run again, as the same execution."""
    return _accepted(await call.services.endings.retry(call.id_in_path("executionId"), call.caller))


async def list_dead_letters(call: Call) -> Response:
    """Failed executions that nobody has dealt with, the latest scheduled time first."""
    query: DeadLetterQuery = call.query
    page = await call.services.dead_letters.list(
        call.caller,
        Wanted(query.job_id, query.queue, query.namespace, query.since, query.until),
        earliest_first=query.sort is DeadLetterSort.EARLIEST,
        cursor=query.cursor,
        limit=query.limit,
    )
    items = [execution_answer(item) for item in page.items]
    return listed(ExecutionList(items=items, next_cursor=page.next_cursor), items, ExecutionAnswer, query.fields)


async def redrive_dead_letter(call: Call) -> Response:
    """Let a dead letter run again."""
    return _accepted(await call.services.dead_letters.redrive(call.id_in_path("executionId"), call.caller))


async def redrive_dead_letters(call: Call) -> Response:
    """Let several dead letters run again."""
    body: DeadLettersIn = call.body
    return _bulk(
        await call.services.dead_letters.redrive_many(call.caller, ids=body.ids, wanted=_wanted(body), limit=body.limit)
    )


async def resolve_dead_letter(call: Call) -> Response:
    """Take a dead letter off the list, with a note."""
    body: ResolveIn = call.body
    resolved = await call.services.dead_letters.resolve(call.id_in_path("executionId"), call.caller, note=body.note)
    return answer(execution_answer(resolved))


async def resolve_dead_letters(call: Call) -> Response:
    """Take several dead letters off the list, with one note."""
    body: ResolveManyIn = call.body
    return _bulk(
        await call.services.dead_letters.resolve_many(
            call.caller, note=body.note, ids=body.ids, wanted=_wanted(body), limit=body.limit
        )
    )


def _wanted(body: DeadLettersIn) -> Wanted:
    return Wanted(body.job_id, body.queue, body.namespace, body.since, body.until)


def _accepted(execution: Execution) -> Response:
    headers = {"Location": f"/api/v1/executions/{execution.id}"}
    return answer(execution_answer(execution), status=202, headers=headers)


def _bulk(bulk: Bulk) -> Response:
    items = [_item(item) for item in bulk.items]
    return answer(BulkAnswer(items=items, done=sum(item.done for item in items), more=bulk.more))


def _item(item: Item) -> BulkItem:
    problem = None if item.refused is None else problem_of(item.refused)
    return BulkItem(
        id=item.id,
        done=item.execution is not None,
        problem=None if problem is None else problem.kind.type,
        detail=None if problem is None else problem.detail,
    )
