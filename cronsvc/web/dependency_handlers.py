"""What waits for what: /jobs/{jobId}/dependencies, /executions/{executionId}/children."""

from starlette.responses import Response

from cronsvc.domain.dependencies import DependsOn, Upstream, depends_on_json
from cronsvc.services.dependencies import Around
from cronsvc.web.answers import answer
from cronsvc.web.dependency_models import ChildQuery, DependenciesAnswer, DownstreamState, UpstreamState
from cronsvc.web.mapping import execution_answer
from cronsvc.web.routing import Call
from cronsvc.web.run_models import ChildList


async def get_dependencies(call: Call) -> Response:
    """What a job waits for, and who waits for it."""
    return answer(_around(await call.services.dependencies.around(call.id_in_path("jobId"), call.caller)))


async def list_children(call: Call) -> Response:
    """The executions that an execution has started, in that order."""
    query: ChildQuery = call.query
    found = await call.services.dependencies.children(
        call.id_in_path("executionId"),
        call.caller,
        status=query.status,
        sort=query.sort,
        cursor=query.cursor,
        limit=query.limit,
    )
    items = [execution_answer(each) for each in found.page.items]
    return answer(ChildList(items=items, next_cursor=found.page.next_cursor, counts=found.counts))


def _around(around: Around) -> DependenciesAnswer:
    return DependenciesAnswer(
        mode=around.mode,
        upstream=[
            UpstreamState(
                job_id=each.job_id,
                job_name=each.job_name,
                when=each.upstream.when,
                condition=_condition(each.upstream),
                ended_at=each.ended_at,
                is_met=each.is_met,
            )
            for each in around.upstream
        ],
        downstream=[
            DownstreamState(
                job_id=each.job_id,
                job_name=each.job_name,
                mode=each.mode,
                when=each.upstream.when,
                condition=_condition(each.upstream),
            )
            for each in around.downstream
        ],
    )


def _condition(upstream: Upstream) -> dict[str, object] | None:
    (said,) = depends_on_json(DependsOn((upstream,)))["on"]
    condition: dict[str, object] | None = said.get("condition")
    return condition
