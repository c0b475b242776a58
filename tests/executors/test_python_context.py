"""What a handler is told of the attempts it has."""

from dataclasses import replace

import pytest

from cronsvc.executors.base import ExecutorSettings
from cronsvc.executors.python import Python
from tests.executors.attempts import context


@pytest.mark.parametrize("name", ["limits", "limits-sync"])
@pytest.mark.parametrize(
    ("attempt", "most", "budget", "told"),
    [
        (1, 3, 3, [1, 3, False]),
        (1, 1, 1, [1, 1, True]),
        (2, 2, 1, [2, 2, True]),  # run again by hand
        (1, 3, 1, [1, 1, True]),  # its row would allow three, its definition one
    ],
)
async def test_whoever_runs_at_most_once_is_at_the_last_attempt(
    name: str, attempt: int, most: int, budget: int, told: list[object]
) -> None:
    executor = Python(ExecutorSettings(handler_modules=("tests.support.handlers",)), installed=())
    given = replace(context(), attempt=attempt, max_attempts=most, budget=budget)
    assert (await executor.run(executor.parse({"handler": name}), given)).result == told
