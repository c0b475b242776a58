"""Handlers that start children: asked in the worker's loop, or over pipes from a process of their own."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from cronsvc.errors import InvalidInput
from cronsvc.executors.base import ExecutorSettings
from cronsvc.executors.python import Python
from cronsvc.handlers import Child
from tests.executors.attempts import context

MODULES = ("tests.support.handlers",)


class Nursery:
    """Starts nothing, and remembers what was asked."""

    def __init__(self, refuses: str | None = None) -> None:
        self.asked: list[tuple[list[Child], bool, int]] = []
        self._refuses = refuses

    async def start(self, wanted: Sequence[Child], *, wait: bool, tolerate: int) -> list[int]:
        self.asked.append((list(wanted), wait, tolerate))
        if self._refuses is not None:
            raise InvalidInput.of("children[0].job", self._refuses)
        return list(range(1, len(wanted) + 1))


@pytest.mark.parametrize("name", ["fan-out", "fan-out-sync"])
@pytest.mark.parametrize("count", [0, 3, 10_000])
async def test_a_handler_starts_children_and_learns_their_ids(name: str, count: int) -> None:
    executor, nursery = Python(ExecutorSettings(handler_modules=MODULES)), Nursery()
    params: dict[str, Any] = {"child": "child", "services": list(range(count)), "wait": True}
    config = executor.parse({"handler": name, "params": params})
    outcome = await executor.run(config, replace(context(), fan_out=nursery))
    assert outcome.error is None, outcome
    ((wanted, wait, tolerate),) = nursery.asked
    assert wanted == [Child("child", {"service": n}) for n in range(count)]
    assert (wait, tolerate) == (True, 0)
    if count < 100:  # a longer result is capped
        assert outcome.result == {"children": list(range(1, count + 1))}


@pytest.mark.parametrize("name", ["fan-out", "fan-out-sync"])
@pytest.mark.parametrize("nursery", [Nursery("there is no such job"), None])
async def test_a_refusal_is_the_handlers_error(name: str, nursery: Nursery | None) -> None:
    executor = Python(ExecutorSettings(handler_modules=MODULES))
    config = executor.parse({"handler": name, "params": {"child": "x", "services": [1]}})
    outcome = await executor.run(config, replace(context(), fan_out=nursery))
    assert outcome.error is not None
    words = "cannot be started here" if nursery is None else "children[0].job: there is no such job"
    assert outcome.error.type == "handler_error"
    assert "FanOutError" in outcome.error.message and words in outcome.error.message
