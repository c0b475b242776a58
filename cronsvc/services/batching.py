"""Many callers, one statement.

While one statement is in flight, later callers pile up for the next: no timer, so an idle service adds no latency and
a busy one gets large batches. Results come back in the order of the items; an exception reaches its whole batch.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class MicroBatch(Generic[Item, Result]):
    """`await batch.submit(item)`; `run` gets the items piled up so far and returns one result each.

    `lanes` is how many statements may be in flight at once: two hide the wait for a commit behind the next batch.
    """

    def __init__(
        self, run: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], *, max_batch: int = 500, lanes: int = 1
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._lanes = lanes
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._open_lanes = 0
        self._drains: set[asyncio.Task[None]] = set()

    def submit(self, item: Item) -> "asyncio.Future[Result]":
        """Queue one item; the future brings its result."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        if self._open_lanes < self._lanes:
            self._open_lanes += 1
            task = loop.create_task(self._drain())
            self._drains.add(task)
            task.add_done_callback(self._drains.discard)
        return future

    async def flush(self) -> None:
        """Wait until nothing is queued or in flight."""
        while self._drains:
            await asyncio.wait(self._drains)

    async def _drain(self) -> None:
        try:
            await asyncio.sleep(0)  # let every caller of this turn of the loop join the first batch
            while self._waiting:
                batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
                await self._run_batch(batch)
        finally:
            # In the same step as the last look at `_waiting`: the task itself ends a turn later, and whoever submits
            # in between must open a lane of its own.
            self._open_lanes -= 1

    async def _run_batch(self, batch: "list[tuple[Item, asyncio.Future[Result]]]") -> None:
        try:
            results = await self._run([item for item, _ in batch])
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 — whatever the statement raised belongs to its callers
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
