"""What job types need time to say of a config: asked before a request begins its transaction, and holding nothing.

What is found goes with the faults that the transaction finds, so that all are named at once. An edit in between does no
harm: it was asked the same of what it wrote, and an attempt with a config that is no good after all fails for good.
"""

from collections.abc import Callable, Mapping

from cronsvc.domain.job import Job, JobDefinition
from cronsvc.errors import FieldError
from cronsvc.executors.base import Executor
from cronsvc.executors.options import examined, merged
from cronsvc.services.callers import Caller
from cronsvc.services.job_validation import MAX_CONFIG_BYTES, MAX_PARAMS_BYTES, json_fault
from cronsvc.store import jobs
from cronsvc.store.pool import Database

GREATEST_ID = 2**63 - 1

Executors = Mapping[str, Executor]


async def of_definition(definition: JobDefinition, executors: Executors) -> list[FieldError]:
    """The faults of a definition."""
    payload = definition.task_payload
    if json_fault(payload.config, MAX_CONFIG_BYTES) is not None:
        return []  # the check of the payload says so
    return await examined(executors.get(payload.type), payload.config)


async def of_edit(
    db: Database,
    job_id: int,
    change: Callable[[JobDefinition], JobDefinition],
    caller: Caller,
    executors: Executors,
    *,
    if_revision: int | None,
) -> list[FieldError]:
    """The faults of what `change` makes of a job; none where the edit is refused for another reason."""
    job = await _seen(db, job_id, caller)
    if job is None or if_revision not in (None, job.revision):
        return []
    return await of_definition(change(job.definition), executors)


async def of_params(
    db: Database, job_id: int, params: object, caller: Caller, executors: Executors
) -> list[FieldError]:
    """The faults of a job's config with these params over it."""
    if not params or not isinstance(params, Mapping) or json_fault(params, MAX_PARAMS_BYTES) is not None:
        return []
    job = await _seen(db, job_id, caller)
    if job is None:
        return []
    payload = job.definition.task_payload
    executor = executors.get(payload.type)
    return await examined(executor, merged(executor, payload.config, params))


async def _seen(db: Database, job_id: int, caller: Caller) -> Job | None:
    if not 0 < job_id <= GREATEST_ID:
        return None
    async with db.statements() as conn:
        job = await jobs.find(conn, job_id)
    return job if job is not None and caller.sees(job.definition.namespace) else None
