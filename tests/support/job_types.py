"""Job types for tests, in place of the installed ones: their `run` is what a test wants to watch."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from cronsvc.domain.execution import ErrorDetail, Outcome
from cronsvc.executors.base import RunContext

Answer = Callable[[RunContext], Outcome]


class Scripted:
    """Answers each attempt with `answer`, and keeps what it was asked."""

    def __init__(self, answer: Answer | None = None) -> None:
        self._answer = answer or (lambda _context: Outcome(result={"ok": True}))
        self.calls: list[RunContext] = []
        self.configs: list[Mapping[str, Any]] = []

    def parse(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        return config

    async def run(self, config: Mapping[str, Any], context: RunContext) -> Outcome:
        self.calls.append(context)
        self.configs.append(config)
        return self._answer(context)

    async def close(self) -> None:
        return


class Held(Scripted):
    """Attempts that stay in `run` until `release` is set; `started` tells that one began."""

    def __init__(self, outcome: Outcome | None = None) -> None:
        super().__init__()
        self._outcome = outcome or Outcome(result={"ok": True})
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = 0

    async def run(self, config: Mapping[str, Any], context: RunContext) -> Outcome:
        self.calls.append(context)
        self.started.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self._outcome


def failing(type_: str = "http_status", *, retryable: bool = True) -> Answer:
    return lambda _context: Outcome(error=ErrorDetail(type_, "it failed"), retryable=retryable)
