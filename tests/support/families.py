"""Job types whose attempts start children."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cronsvc.domain.execution import ErrorDetail, Outcome
from cronsvc.executors.base import RunContext
from cronsvc.handlers import Child
from cronsvc.store.pool import Database
from tests.support.job_types import Answer, Scripted
from tests.support.rows import fetch


class Parent(Scripted):
    """An attempt of a job with `{"children": …}` in its config starts them; others answer with `answer`."""

    def __init__(
        self,
        wanted: Callable[[], Sequence[Child]],
        *,
        wait: bool = True,
        tolerate: int = 0,
        answer: Answer | None = None,
        then: Outcome | None = None,
    ) -> None:
        super().__init__(answer)
        self._wanted = wanted
        self._wait = wait
        self._tolerate = tolerate
        self._then = then
        self.ids: list[list[int]] = []

    async def run(self, config: Mapping[str, Any], context: RunContext) -> Outcome:
        if "children" not in config:
            return await super().run(config, context)
        assert context.fan_out is not None
        self.calls.append(context)
        self.ids.append(await context.fan_out.start(self._wanted(), wait=self._wait, tolerate=self._tolerate))
        return self._then or Outcome(result={"started": len(self.ids[-1])})


FAILED = Outcome(error=ErrorDetail("invalid_config", "no"), retryable=False)


async def family(db: Database, parent_id: int) -> tuple[Any, ...]:
    """(status, reason, held, progress) of a parent, and the statuses of its children with how many have them."""
    ((status, reason, held, progress),) = await fetch(
        db, "SELECT status, status_reason, held, progress FROM job_executions WHERE id = %s", parent_id
    )
    counts = await fetch(
        db, "SELECT status, count(*) FROM job_executions WHERE parent_id = %s GROUP BY 1 ORDER BY 1", parent_id
    )
    return status, reason, held, progress, dict(counts)
