"""Waiting for a condition instead of sleeping for a verdict."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(
    condition: Callable[[], Awaitable[bool]], *, seconds: float = 60.0, what: str = "the condition"
) -> None:
    """Poll until `condition` holds; fails the test after `seconds`, which is a bound and no verdict."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not await condition():
        assert loop.time() < end, f"{what} did not come true within {seconds:.0f} s"
        await asyncio.sleep(0.02)
