"""What a definition depends on, as it is to be stored: each job by its id, and there.

Circles and chains that are too long are refused by the table's triggers, which also SQL meets; here every bad member
is named at once.
"""

from dataclasses import replace

from cronsvc.domain.dependencies import DependencyError, DependsOn, Upstream, checked
from cronsvc.domain.job import JobDefinition
from cronsvc.errors import FieldError, InvalidInput
from cronsvc.store import dependencies
from cronsvc.store.pool import Conn


async def with_upstreams(conn: Conn, definition: JobDefinition) -> JobDefinition:
    """The definition with the jobs it depends on looked up; InvalidInput names those that are not there."""
    wanted = definition.depends_on
    if wanted is None:
        return definition
    known = await dependencies.named(
        conn,
        definition.namespace,
        names=[each.job for each in wanted.on if each.job is not None],
        ids=[each.job_id for each in wanted.on if each.job_id is not None],
    )
    by_name = {name: job_id for job_id, name in known.items()}
    bad: list[FieldError] = []
    found: list[Upstream] = []
    for place, each in enumerate(wanted.on):
        job_id = each.job_id if each.job is None else by_name.get(each.job)
        if job_id in known:
            found.append(replace(each, job_id=job_id, job=None))
        elif each.job is None:
            reason = f"there is no job {each.job_id} in namespace {definition.namespace!r}"
            bad.append(FieldError(f"dependsOn.on[{place}].jobId", reason))
        else:
            reason = f"there is no job named {each.job[:100]!r} in namespace {definition.namespace!r}"
            bad.append(FieldError(f"dependsOn.on[{place}].job", reason))
    if bad:
        raise InvalidInput(bad)
    try:
        return replace(definition, depends_on=checked(DependsOn(tuple(found), wanted.mode)))
    except DependencyError as error:
        raise InvalidInput.of(f"dependsOn.{error.field}", error.reason) from None
