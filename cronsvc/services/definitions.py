"""Definitions of jobs as executions pinned them, read once by a worker process for as many attempts as use them."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from cronsvc.domain.execution import ErrorDetail
from cronsvc.domain.job import JobDefinition
from cronsvc.services.batching import MicroBatch
from cronsvc.store import running
from cronsvc.store.pool import Database
from cronsvc.store.rows import definition_from_json


class Definitions:
    """Revisions never change, so a worker keeps the ones it used last."""

    def __init__(self, db: Database, *, most: int = 5000) -> None:
        self._db = db
        self._most = most
        self._kept: OrderedDict[tuple[int, int], JobDefinition | ErrorDetail] = OrderedDict()
        self._batch: MicroBatch[tuple[int, int], JobDefinition | ErrorDetail] = MicroBatch(self._fetch)

    async def get(self, job_id: int, revision: int) -> JobDefinition | ErrorDetail:
        """The definition an execution pinned, or why there is none that can be run."""
        key = (job_id, revision)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = await self._batch.submit(key)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return kept

    async def _fetch(self, keys: Sequence[tuple[int, int]]) -> Sequence[JobDefinition | ErrorDetail]:
        async with self._db.statements() as conn:
            found = await running.definitions(conn, sorted(set(keys)))
        return [_readable(found.get(key)) for key in keys]


def _readable(row: Mapping[str, Any] | None) -> JobDefinition | ErrorDetail:
    if row is None:
        return ErrorDetail("invalid_config", "the revision this execution pinned is gone")
    try:
        return definition_from_json(row)
    except ValueError as error:
        return ErrorDetail("invalid_config", f"the job's definition cannot be read: {error}")
