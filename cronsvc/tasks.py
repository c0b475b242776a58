"""One fact about asyncio that every endless loop here has to know.

Before Python 3.12 `asyncio.wait_for` forgets a cancellation that arrives in the same turn as its result, and libraries
wait by it. A loop that relies on CancelledError alone may then run for ever; it asks this as well.
"""

import asyncio


def cancelled() -> bool:
    """Whether the running task was asked to end, even if the exception that said so got lost on the way."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
