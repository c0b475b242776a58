"""Which jobs there are for a caller: those of their namespaces; the ids of all others are NotFound alike."""

from cronsvc.domain.job import Job
from cronsvc.errors import Forbidden, NotFound
from cronsvc.services.callers import Caller

GREATEST_ID = 2**63 - 1


def visible(job: Job | None, job_id: int, caller: Caller) -> Job:
    """The job, if there is one and the caller may see it; raises NotFound alike for both."""
    if job is None or not caller.sees(job.definition.namespace):
        raise unknown(job_id)
    return job


def unknown(job_id: int) -> NotFound:
    """What to raise where there is no such job, or none for this caller."""
    return NotFound(f"there is no job {job_id}")


def known(job_id: int) -> int:
    """The id, if the column could hold it; raises NotFound."""
    if not 0 < job_id <= GREATEST_ID:
        raise unknown(job_id)
    return job_id


def allow(namespace: str, caller: Caller) -> None:
    """Raise Forbidden unless the caller reaches the namespace."""
    if not caller.sees(namespace):
        allowed = ", ".join(caller.namespaces or ()) or "none"
        raise Forbidden(f"this key does not reach the namespace {namespace[:63]!r}; it reaches: {allowed}")
