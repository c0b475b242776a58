"""Crashes at a chosen statement: the connection dies before it, or right after the commit that it belonged to."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest


class Fuse:
    """Counts statements; `blown` once the chosen one was reached."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.seen = 0
        self.blown = False

    def reached(self) -> bool:
        """One more; whether it is the one to die at."""
        self.seen += 1
        if self.blown or self.seen <= self.at:
            return False
        self.blown = True
        return True


@contextmanager
def dying_at_statement(number: int) -> Iterator[Fuse]:
    """Statement `number` (0 is the first) and its transaction are lost."""
    fuse, execute = Fuse(number), psycopg.AsyncCursor.execute

    async def fragile(self: Any, *args: Any, **options: Any) -> Any:
        if fuse.reached():
            raise psycopg.OperationalError("the connection died")
        return await execute(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.AsyncCursor, "execute", fragile)
        yield fuse


@contextmanager
def dying_after_commit(number: int) -> Iterator[Fuse]:
    """Transaction `number` is committed, and whoever began it never learns."""
    fuse, leave = Fuse(number), psycopg.AsyncTransaction.__aexit__

    async def fragile(self: Any, *failure: Any) -> Any:
        answer = await leave(self, *failure)
        if failure[0] is None and fuse.reached():
            raise psycopg.OperationalError("the connection died")
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.AsyncTransaction, "__aexit__", fragile)
        yield fuse
