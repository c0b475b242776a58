"""What waits for what, as people see it: the jobs around a job, and the children of an execution.

A job of another namespace is not there: names of what a caller may not see are in no answer.
"""

from dataclasses import dataclass
from datetime import datetime

from cronsvc.domain.dependencies import Mode, Upstream, read_depends_on
from cronsvc.domain.execution import Execution, Status
from cronsvc.errors import NotFound
from cronsvc.services.access import Caller
from cronsvc.services.paging import IdSort, Page, check_limit, page_of
from cronsvc.store import children, dependencies, executions, jobs
from cronsvc.store.dependencies import DownstreamRow
from cronsvc.store.pool import Database

GREATEST_ID = 2**63 - 1
MOST_DOWNSTREAM = 500


@dataclass(frozen=True, slots=True)
class Waits:
    """A job that another waits for, and how it must end. `ended_at`: its end is in the open round of `all`."""

    job_id: int
    job_name: str
    upstream: Upstream
    ended_at: datetime | None = None
    is_met: bool | None = None


@dataclass(frozen=True, slots=True)
class Waiter:
    """A job that waits for another one's end."""

    job_id: int
    job_name: str
    mode: Mode
    upstream: Upstream


@dataclass(frozen=True, slots=True)
class Around:
    """What a job waits for (`mode` None: nothing), and who waits for it."""

    mode: Mode | None
    upstream: tuple[Waits, ...]
    downstream: tuple[Waiter, ...]


@dataclass(frozen=True, slots=True)
class Children:
    """Some children of an execution, and how many of all are in which status."""

    page: Page[Execution]
    counts: dict[str, int]


class Dependencies:
    """The dependencies of one database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def around(self, job_id: int, caller: Caller) -> Around:
        """What a job waits for, and who waits for it. NotFound: there is no such job, or not for this caller."""
        async with self._db.statements() as conn:
            job = await jobs.find(conn, job_id) if 0 < job_id <= GREATEST_ID else None
            if job is None or not caller.sees(job.definition.namespace):
                raise NotFound(f"there is no job {job_id}")
            above = await dependencies.upstreams(conn, job_id)
            below = await dependencies.downstreams(conn, job_id, most=MOST_DOWNSTREAM)
        wanted = job.definition.depends_on
        upstream = [
            Waits(row.job_id, row.job_name, said, row.ended_at, row.is_met)
            for row in above
            if wanted is not None and (said := wanted.upstream(row.job_id)) is not None
        ]
        downstream = [waiter for row in below if (waiter := _waiter(row, job_id)) is not None]
        return Around(None if wanted is None else wanted.mode, tuple(upstream), tuple(downstream))

    async def children(
        self,
        execution_id: int,
        caller: Caller,
        *,
        status: Status | None = None,
        sort: IdSort = IdSort.OLDEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Children:
        """The children of an execution, in the order they were started or the other way, that the caller sees.

        NotFound: there is no such execution.
        """
        kind = f"children/{execution_id}"
        edge = sort.edge(kind, cursor)
        async with self._db.statements() as conn:
            parent = await executions.find(conn, execution_id) if 0 < execution_id <= GREATEST_ID else None
            if parent is None or not caller.sees(parent.namespace):
                raise NotFound(f"there is no execution {execution_id}")
            found = await children.page(
                conn,
                execution_id,
                namespaces=caller.namespaces,
                status=status and status.value,
                edge=edge,
                limit=check_limit(limit) + 1,
            )
            counts = await children.counts(conn, execution_id, namespaces=caller.namespaces)
        return Children(page_of(found, limit, lambda each: sort.cursor(kind, each.id)), counts)


def _waiter(row: DownstreamRow, job_id: int) -> Waiter | None:
    """A downstream; None for one that cannot be read, and waits for nothing as long."""
    try:
        wanted = read_depends_on(row.depends_on)
    except ValueError:
        return None
    said = wanted.upstream(job_id)
    return None if said is None else Waiter(row.job_id, row.job_name, wanted.mode, said)
