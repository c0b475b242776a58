"""/api/v1/jobs/bulk: one act on many jobs. Every job goes through the same service as it would alone."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from cronsvc.domain.job import JobDefinition
from cronsvc.errors import CronsvcError, FieldError, InvalidInput
from cronsvc.services.bulk import NotTried, Outcome
from cronsvc.services.bulk_pausing import JobSelector
from cronsvc.web import job_document
from cronsvc.web.answers import answer
from cronsvc.web.bulk_models import BulkAction, BulkAnswer, BulkIn, BulkItem, ItemProblem
from cronsvc.web.job_models import JobIn
from cronsvc.web.many import each
from cronsvc.web.mapping import definition_of
from cronsvc.web.problems import problem_of
from cronsvc.web.rate_limits import TRIGGERS, WRITES
from cronsvc.web.routing import Call
from cronsvc.web.service_models import FieldProblem
from cronsvc.web.validation import read_model

_STATUS: Mapping[BulkAction, int] = {BulkAction.CREATE: 201, BulkAction.TRIGGER: 202, BulkAction.DELETE: 204}
# What may be said with each act, beyond which jobs it is for.
_OPTIONS: Mapping[BulkAction, frozenset[str]] = {
    BulkAction.CREATE: frozenset({"jobs"}),
    BulkAction.UPDATE: frozenset({"patch"}),
    BulkAction.PAUSE: frozenset({"note", "until"}),
    BulkAction.RESUME: frozenset({"catchUp"}),
    BulkAction.TRIGGER: frozenset({"params"}),
    BulkAction.DELETE: frozenset(),
}
_NEEDED: Mapping[BulkAction, str] = {BulkAction.CREATE: "jobs", BulkAction.UPDATE: "patch"}


@dataclass(frozen=True, slots=True)
class _Done:
    """The job that an item was about, and the execution that it began."""

    job_id: int | None
    execution_id: int | None = None


async def change_jobs(call: Call) -> Response:
    """Do one act with many jobs, and say what came of each."""
    body: BulkIn = call.body
    _check(body, call.document)
    kind = TRIGGERS if body.action is BulkAction.TRIGGER else WRITES
    outcomes: Sequence[Outcome[Any, _Done]]
    if body.action is BulkAction.CREATE:
        outcomes = await each(call, body.jobs or (), _creating(call), kind=kind, dry_run=body.dry_run)
    else:
        outcomes = await each(call, await _ids(call, body), _acting(call, body), kind=kind, dry_run=body.dry_run)
    items = [_item(body.action, index, outcome) for index, outcome in enumerate(outcomes)]
    failed = sum(item.problem is not None for item in items)
    return answer(
        BulkAnswer(
            action=body.action,
            dry_run=body.dry_run,
            matched=len(items),
            succeeded=len(items) - failed,
            failed=failed,
            items=items,
        )
    )


def _check(body: BulkIn, document: Mapping[str, Any]) -> None:
    """Raise InvalidInput for members that do not go with the act, and for those it cannot do without."""
    given = {name for name, value in document.items() if value is not None} - {"action", "dryRun"}
    allowed = _OPTIONS[body.action]
    creates = body.action is BulkAction.CREATE
    if not creates:
        allowed |= {"jobIds", "selector"}
    bad = [FieldError(name, f"does not go with {body.action.value}; leave it out") for name in sorted(given - allowed)]
    needed = _NEEDED.get(body.action)
    if needed is not None and needed not in given:
        bad.append(FieldError(needed, f"is required to {body.action.value} jobs"))
    if not creates and len(given & {"jobIds", "selector"}) != 1:
        bad.append(FieldError("jobIds", "say which jobs by jobIds or by selector, one of the two"))
    if bad:
        raise InvalidInput(bad)


async def _ids(call: Call, body: BulkIn) -> list[int]:
    if body.job_ids is not None:
        return list(dict.fromkeys(body.job_ids))
    assert body.selector is not None  # _check
    selector = JobSelector(
        tags=None if body.selector.tags is None else tuple(body.selector.tags),
        namespace=body.selector.namespace,
        group=body.selector.group,
        queue=body.selector.queue,
        name_prefix=body.selector.name_prefix,
    )
    return await call.services.bulk.select(selector, call.caller)


def _creating(call: Call) -> Callable[[dict[str, Any]], Awaitable[_Done]]:
    async def create(document: dict[str, Any]) -> _Done:
        definition = definition_of(read_model(JobIn, document), namespace=call.caller.home)
        return _Done((await call.services.jobs.create(definition, call.caller)).id)

    return create


def _acting(call: Call, body: BulkIn) -> Callable[[int], Awaitable[_Done]]:
    jobs, caller = call.services.jobs, call.caller

    async def act(job_id: int) -> _Done:
        match body.action:
            case BulkAction.UPDATE:
                await _patch(call, job_id, body.patch or {})
            case BulkAction.PAUSE:
                await jobs.pause(job_id, caller, note=body.note, until=body.until)
            case BulkAction.RESUME:
                await jobs.resume(job_id, caller, catch_up=bool(body.catch_up))
            case BulkAction.TRIGGER:
                return _Done(job_id, (await jobs.trigger(job_id, caller, params=body.params)).id)
            case BulkAction.DELETE:
                await jobs.delete(job_id, caller)
        return _Done(job_id)

    return act


async def _patch(call: Call, job_id: int, patch: dict[str, Any]) -> None:
    job = await call.services.jobs.get(job_id, call.caller)
    expected = job_document.expected_revision(None, job_document.check_patch(job, patch), job)

    def change(definition: JobDefinition) -> JobDefinition:
        return definition_of(job_document.apply_patch(definition, patch), namespace=definition.namespace)

    await call.services.jobs.edit(job_id, change, call.caller, if_revision=expected)


def _item(action: BulkAction, index: int, outcome: Outcome[Any, _Done]) -> BulkItem:
    job_id = outcome.item if isinstance(outcome.item, int) else None
    if outcome.error is not None:
        status, said = item_problem(outcome.error)
        return BulkItem(index=index, job_id=job_id, status=status, execution_id=None, problem=said)
    done = outcome.result
    return BulkItem(
        index=index,
        job_id=job_id if done is None else done.job_id,
        status=_STATUS.get(action, 200),
        execution_id=None if done is None else done.execution_id,
        problem=None,
    )


def item_problem(error: CronsvcError) -> tuple[int, ItemProblem]:
    """The status that the act alone would have answered with, and what it would have said."""
    problem = problem_of(error)
    errors = [FieldProblem(field=fault.field, reason=fault.reason) for fault in problem.errors]
    detail = str(error) if isinstance(error, NotTried) else problem.detail
    said = ItemProblem(type=problem.kind.type, title=problem.kind.title, detail=detail, errors=errors)
    return problem.kind.status, said
