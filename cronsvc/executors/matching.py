"""Regular expressions of strangers on texts of strangers, in bounded time.

Python's `re` may take ages on an unlucky pair and holds the interpreter meanwhile, so it runs in a process of its own
(some 15 ms) that is killed after SECONDS.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from cronsvc.executors import launcher, matching_child
from cronsvc.executors.children import Child

SECONDS = 1.0

LAUNCHER = Path(launcher.__file__)
CHILD = Path(matching_child.__file__)


async def matches(pattern: str, text: str) -> bool | None:
    """Whether the pattern is found in the text; None when that was not known in time."""
    child = Child.start(
        [sys.executable, "-I", "-S", LAUNCHER, str(os.getpid()), sys.executable, "-I", "-S", CHILD],
        environment={},
        stdin=json.dumps({"pattern": pattern, "text": text}).encode(),
        directory="/",
    )
    try:
        async with asyncio.timeout(SECONDS):
            return {matching_child.FOUND: True, matching_child.NOT_FOUND: False}.get(await child.ended())
    except TimeoutError:
        return None
    finally:
        await child.stop()
