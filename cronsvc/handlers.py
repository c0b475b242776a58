"""For people who write PYTHON jobs: the decorator, what a handler is given, and the two ways to fail on purpose.

    @handler("sync-users")
    async def sync_users(context: Context) -> dict[str, object]:
        users = await find_users(context.params["syncType"])
        return await context.batch(users, size=100).each(sync_user)

A handler takes the context and returns its result: anything that is JSON, 64 KB of it. `async def` runs in the worker's
event loop and must not block it. A plain `def` gets a SyncContext and runs in a process of its own, which a timeout or
a cancellation ends for real. An exception is a failure that is tried again while attempts are left, unless it is
Permanent.

This module imports nothing of cronsvc, so that handlers import next to nothing with it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypedDict, TypeVar

MARK = "__cronsvc_handler__"
MOST_FIRST_ERRORS = 10
ERROR_CHARACTERS = 500

Function = TypeVar("Function", bound=Callable[..., Any])
Item = TypeVar("Item")


class Permanent(Exception):
    """Fail for good: no further attempt can help."""


class Retry(Exception):
    """Fail and be tried again, not before `after` seconds have passed (None: the job's own backoff decides)."""

    def __init__(self, message: str = "", *, after: float | None = None) -> None:
        super().__init__(message or "the handler asked to be tried again")
        self.after = after


class FanOutError(Exception):
    """The children cannot be started, and none of them was."""


@dataclass(frozen=True, slots=True)
class Child:
    """An execution to start: of the job with this id, or this name in the handler's namespace.

    `params` are laid over that job's config, as a trigger's are. It is ready after `delay_seconds`. `key` tells it
    apart from its siblings when the handler is tried again: the same key is started once. Without one its place counts,
    so a handler must then start its children in the same order each time.
    """

    job: int | str
    params: dict[str, Any] | None = None
    delay_seconds: float = 0.0
    key: str | None = None


def handler(name: str) -> Callable[[Function], Function]:
    """Let PYTHON jobs name this function, once its module is listed in CRONSVC_HANDLER_MODULES."""

    def mark(function: Function) -> Function:
        setattr(function, MARK, name)
        return function

    return mark


class Reporter(Protocol):
    """Where a context sends what it is told."""

    def progress(self, percent: float, note: str | None) -> None: ...

    def log(self, message: str, level: str, fields: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The attempt that a handler is asked to make."""

    params: Mapping[str, Any]
    execution_id: int
    job_id: int
    job_name: str
    scheduled_time: datetime  # aware, UTC
    attempt: int  # 1 for the first
    max_attempts: int  # the last one that may be made, earlier rounds included
    timeout_seconds: float
    idempotency_key: str  # the same for every attempt of this execution
    reporter: Reporter = field(repr=False, compare=False)
    starter: Any = field(default=None, repr=False, compare=False)
    at_most_once: bool = False  # no other attempt follows, and an unknown effect is told as `lost`

    def log(self, message: str, level: str = "info", **fields: Any) -> None:
        """Add a line to the execution's log (`debug`, `info`, `warning` or `error`); at most 200 lines are kept."""
        self.reporter.log(message, level, fields)


class Context(_Attempt):
    """What an `async def` handler is given."""

    __slots__ = ()

    async def progress(self, percent: float, note: str | None = None) -> None:
        """Show how far it is, from 0 to 100; gives way to others once."""
        self.reporter.progress(percent, note)
        await asyncio.sleep(0)

    def batch(
        self, items: Iterable[Item] | AsyncIterable[Item], *, size: int = 100, total: int | None = None
    ) -> "Batch[Item]":
        """Go through the items `size` at a time. `total` is for progress, where the items do not know their number."""
        return Batch(self.reporter, items, size, total)

    async def fan_out(self, children: Iterable[Child], *, wait: bool = False, tolerate: int = 0) -> list[int]:
        """Start children, at most 10,000 in all, and return their execution ids; FanOutError: none was started.

        With `wait` this execution stays RUNNING when the handler has returned, without a worker, until its children
        have ended: SUCCESS, or FAILED if more than `tolerate` of them did not succeed.
        """
        ids: list[int] = await self.starter.start(list(children), wait, tolerate)
        return ids


class SyncContext(_Attempt):
    """What a plain `def` handler is given, in its own process."""

    __slots__ = ()

    def progress(self, percent: float, note: str | None = None) -> None:
        """Show how far it is, from 0 to 100."""
        self.reporter.progress(percent, note)

    def batch(self, items: Iterable[Item], *, size: int = 100, total: int | None = None) -> "SyncBatch[Item]":
        """Go through the items `size` at a time. `total` is for progress, where the items do not know their number."""
        return SyncBatch(self.reporter, items, size, total)

    def fan_out(self, children: Iterable[Child], *, wait: bool = False, tolerate: int = 0) -> list[int]:
        """As Context.fan_out."""
        ids: list[int] = self.starter.start(list(children), wait, tolerate)
        return ids


class FirstError(TypedDict):
    item: str
    error: str


class Summary(TypedDict):
    """What became of the items of a batch; a good result for a handler."""

    processed: int
    succeeded: int
    errors: int
    firstErrors: list[FirstError]


class _Tally:
    """Counts items and their errors, and reports progress after each batch."""

    def __init__(self, reporter: Reporter, items: object, size: int, total: int | None) -> None:
        if size < 1:
            raise ValueError("a batch holds at least one item")
        self._reporter = reporter
        self._size = size
        self._total = len(items) if total is None and isinstance(items, Sized) else total
        self._processed = 0
        self._errors = 0
        self._first: list[FirstError] = []

    @contextlib.contextmanager
    def item(self, item: object) -> Iterator[None]:
        """Count one item; an exception inside the block is counted as its error and goes no further.

        Permanent and Retry speak of the whole execution and do go further.
        """
        try:
            yield
        except (Permanent, Retry):
            raise
        except Exception as error:  # noqa: BLE001 — that one item's error does not stop the others is the purpose
            self._errors += 1
            if len(self._first) < MOST_FIRST_ERRORS:
                message = f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS]
                self._first.append({"item": str(item)[:ERROR_CHARACTERS], "error": message})
                self._reporter.log(message, "error", {"item": str(item)[:ERROR_CHARACTERS]})
        self._processed += 1

    def summary(self) -> Summary:
        """What has become of the items so far."""
        return {
            "processed": self._processed,
            "succeeded": self._processed - self._errors,
            "errors": self._errors,
            "firstErrors": list(self._first),
        }

    def _show(self) -> None:
        errors = f", {self._errors} errors" if self._errors else ""
        if self._total:
            percent = min(100.0, 100.0 * self._processed / self._total)
            self._reporter.progress(percent, f"{self._processed} of {self._total}{errors}")
        elif self._total is None:
            self._reporter.log(f"{self._processed} processed{errors}", "info", {})


class Batch(_Tally, Generic[Item]):
    """Items, a batch at a time: `await batch.each(work)`, or by hand where a whole batch is one piece of work:

    async for users in context.batch(everybody, size=100):
        for user in users:
            with batch.item(user): ...
    """

    def __init__(
        self, reporter: Reporter, items: Iterable[Item] | AsyncIterable[Item], size: int, total: int | None
    ) -> None:
        super().__init__(reporter, items, size, total)
        self._items = items

    async def each(self, work: Callable[[Item], Awaitable[object]]) -> Summary:
        """Do the work for every item, one after the other; an item's error is counted and does not stop the rest."""
        async for items in self:
            for item in items:
                with self.item(item):
                    await work(item)
        return self.summary()

    async def __aiter__(self) -> AsyncIterator[list[Item]]:
        items: list[Item] = []
        async for item in _async(self._items):
            items.append(item)
            if len(items) == self._size:
                yield items
                items = []
                await self._shown()
        if items:
            yield items
            await self._shown()

    async def _shown(self) -> None:
        self._show()
        await asyncio.sleep(0)


class SyncBatch(_Tally, Generic[Item]):
    """As Batch, for a plain `def` handler: `batch.each(work)`, or `for users in batch:`."""

    def __init__(self, reporter: Reporter, items: Iterable[Item], size: int, total: int | None) -> None:
        super().__init__(reporter, items, size, total)
        self._items = items

    def each(self, work: Callable[[Item], object]) -> Summary:
        """Do the work for every item, one after the other; an item's error is counted and does not stop the rest."""
        for items in self:
            for item in items:
                with self.item(item):
                    work(item)
        return self.summary()

    def __iter__(self) -> Iterator[list[Item]]:
        items: list[Item] = []
        for item in self._items:
            items.append(item)
            if len(items) == self._size:
                yield items
                items = []
                self._show()
        if items:
            yield items
            self._show()


async def _async(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[Item]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
