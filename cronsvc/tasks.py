"""What every endless loop here has to know: that it was asked to end, and when to speak of what it waits for.

Before Python 3.12 `asyncio.wait_for` forgets a cancellation that arrives in the same turn as its result, and libraries
wait by it. A loop that relies on CancelledError alone may then run for ever; it asks this as well.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager


def cancelled() -> bool:
    """Whether the running task was asked to end, even if the exception that said so got lost on the way."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@contextmanager
def alone(kind: type[Exception]) -> Iterator[None]:
    """Of a group that a TaskGroup made, an error of this kind leaves by itself, so that a door can show it."""
    try:
        yield
    except BaseExceptionGroup as group:
        found: BaseException | None = group.subgroup(kind)
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        if found is None:
            raise
        raise found from None


class Reminder:
    """When to say what is wrong: at once, and again every `seconds` for as long as it lasts.

    An outage that is announced once looks like a process that hangs, to whoever opens the log half a minute later.
    """

    def __init__(self, seconds: float = 20.0) -> None:
        self._seconds = seconds
        self._said: float | None = None

    def due(self) -> bool:
        """Something is wrong: whether to say so now."""
        now = time.monotonic()
        if self._said is not None and now - self._said < self._seconds:
            return False
        self._said = now
        return True

    def over(self) -> bool:
        """Nothing is wrong: whether something was."""
        was, self._said = self._said is not None, None
        return was
