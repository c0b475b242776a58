"""Regular expressions of strangers on texts of strangers, in bounded time.

Python's `re` may take ages on an unlucky pair, and on a pattern alone just to read it, and holds the interpreter
meanwhile. So both happen in a process of its own (some 15 ms) that is killed after SECONDS, and nowhere else.
"""

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

from cronsvc.executors import launcher, matching_child
from cronsvc.executors.children import Child

SECONDS = 1.0

LAUNCHER = Path(launcher.__file__)
CHILD = Path(matching_child.__file__)


class NotAPattern(ValueError):
    """This is no regular expression; the message says why, as Python does."""


async def matches(pattern: str, text: str) -> bool | None:
    """Whether the pattern is found in the text; None when that was not known in time. Raises NotAPattern."""
    with tempfile.TemporaryFile() as words:
        child = Child.start(
            [sys.executable, "-I", "-S", LAUNCHER, str(os.getpid()), sys.executable, "-I", "-S", CHILD],
            environment={},
            stdin=json.dumps({"pattern": pattern, "text": text}).encode(),
            stdout=words.fileno(),
            directory="/",
        )
        try:
            async with asyncio.timeout(SECONDS):
                code = await child.ended()
        except TimeoutError:
            return None
        finally:
            await child.stop()
        if code == matching_child.NO_PATTERN:
            words.seek(0)
            raise NotAPattern(words.read(1000).decode(errors="replace"))
        return {matching_child.FOUND: True, matching_child.NOT_FOUND: False}.get(code)
