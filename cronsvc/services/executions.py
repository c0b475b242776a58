"""Executions as people see them: a deleted job's stay readable, those of foreign namespaces do not exist."""

from collections.abc import Sequence

from cronsvc.domain.execution import Attempt, Execution, Status, Trigger
from cronsvc.errors import NotFound
from cronsvc.services.access import Caller
from cronsvc.services.paging import (
    Page,
    check_limit,
    id_cursor,
    page_of,
    read_id_cursor,
    read_time_cursor,
    time_cursor,
)
from cronsvc.store import executions, jobs
from cronsvc.store.executions import Wanted
from cronsvc.store.pool import Database

GREATEST_ID = 2**63 - 1


class Executions:
    """The executions of one database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def list(
        self,
        caller: Caller,
        *,
        job_id: int | None = None,
        status: Status | None = None,
        trigger: Trigger | None = None,
        backfill_id: int | None = None,
        recovery_id: int | None = None,
        oldest_first: bool = False,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Execution]:
        """Executions by id; with `job_id` those of one job by scheduled time. The latest first, unless told otherwise.

        NotFound: there never was such a job, or not for this caller.
        """
        wanted = Wanted(status, trigger, backfill_id, recovery_id)
        if job_id is not None:
            return await self._list_of_job(caller, job_id, wanted, oldest_first, cursor, limit)
        kind = "executions id" if oldest_first else "executions"
        beyond = read_id_cursor(kind, cursor)
        async with self._db.statements() as conn:
            found = await executions.page(
                conn,
                namespaces=caller.namespaces,
                wanted=wanted,
                beyond_id=beyond,
                ascending=oldest_first,
                limit=check_limit(limit) + 1,
            )
        return page_of(found, limit, lambda each: id_cursor(kind, each.id))

    async def _list_of_job(
        self,
        caller: Caller,
        job_id: int,
        wanted: Wanted,
        oldest_first: bool,
        cursor: str | None,
        limit: int,
    ) -> Page[Execution]:
        kind = f"executions/{job_id}" + (" scheduledTime" if oldest_first else "")
        beyond = read_time_cursor(kind, cursor)
        async with self._db.statements() as conn:
            namespace = await jobs.namespace_of(conn, job_id) if 0 < job_id <= GREATEST_ID else None
            if namespace is None or not caller.sees(namespace):
                raise NotFound(f"there is no job {job_id}")
            found = await executions.page_of_job(
                conn,
                job_id,
                wanted=wanted,
                beyond=None if beyond is None else beyond[0],
                ascending=oldest_first,
                limit=check_limit(limit) + 1,
            )
        return page_of(found, limit, lambda each: time_cursor(kind, each.scheduled_time, each.id))

    async def latest(self, job_ids: Sequence[int], caller: Caller) -> dict[int, Execution]:
        """The latest execution of each of these jobs that has one and that the caller may see, by job id."""
        async with self._db.statements() as conn:
            return await executions.latest(conn, job_ids, namespaces=caller.namespaces)

    async def get(self, execution_id: int, caller: Caller) -> tuple[Execution, tuple[Attempt, ...]]:
        """One execution and its finished attempts, in the order they were made."""
        async with self._db.statements() as conn:
            found = await executions.find(conn, execution_id) if 0 < execution_id <= GREATEST_ID else None
            if found is None or not caller.sees(found.namespace):
                raise NotFound(f"there is no execution {execution_id}")
            return found, await executions.attempts(conn, found.job_id, found.scheduled_time)
