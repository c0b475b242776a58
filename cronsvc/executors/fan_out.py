"""How a handler's process asks its worker to start children, and is answered.

An `async def` handler asks right here. A plain one sits in a process of its own and writes a line for each child and
one that ends the list; what it gets back comes through a pipe of its own.
"""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cronsvc.errors import CronsvcError
from cronsvc.handlers import Child, FanOutError

MOST_ASKED = 10_000


class FanOut(Protocol):
    """Starts children of one attempt's execution."""

    async def start(self, wanted: Sequence[Child], *, wait: bool, tolerate: int) -> list[int]:
        """The ids of the children, in order; raises a CronsvcError when none could be started."""
        ...


@dataclass(frozen=True, slots=True)
class Starter:
    """What an `async def` handler's context asks."""

    fan_out: FanOut | None

    async def start(self, wanted: Sequence[Child], wait: bool, tolerate: int) -> list[int]:
        """`FanOut.start` in words of the handler's world."""
        if self.fan_out is None:
            raise FanOutError("children cannot be started here")
        try:
            return await self.fan_out.start(wanted, wait=wait, tolerate=tolerate)
        except CronsvcError as error:
            raise FanOutError(str(error)) from error


@dataclass(slots=True)
class Listener:
    """The questions of one child process, and their answers."""

    fan_out: FanOut | None
    asked: list[Child] = field(default_factory=list)

    def hear(self, child: Mapping[str, Any]) -> None:
        """One child of the list that is under way; more than could be started are not kept."""
        if len(self.asked) <= MOST_ASKED:
            self.asked.append(Child(child["job"], child["params"], child["delay"], child["key"]))

    async def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """What to say to the list that has just ended."""
        asked, self.asked = self.asked, []
        try:
            starter = Starter(self.fan_out)
            return {"ids": await starter.start(asked, bool(question["wait"]), question["tolerate"])}
        except FanOutError as error:
            return {"refused": str(error)}


class Replies:
    """A pipe to a child process; `reading` is the descriptor to give it. Nothing here waits for its reader."""

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()
        self._transport: asyncio.WriteTransport | None = None

    async def open(self) -> None:
        """Begin to write; call it after the child was started."""
        self._close_reading()
        file, self._writing = os.fdopen(self._writing, "wb", 0), -1
        self._transport, _ = await asyncio.get_running_loop().connect_write_pipe(asyncio.BaseProtocol, file)

    def say(self, answer: Mapping[str, Any]) -> None:
        """One line; a child that is gone does not hear it."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(json.dumps(answer).encode() + b"\n")

    def close(self) -> None:
        """Let go of both ends."""
        self._close_reading()
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1
        if self._transport is not None and not self._transport.is_closing():  # else the child closed it
            self._transport.abort()

    def _close_reading(self) -> None:
        if self.reading >= 0:
            os.close(self.reading)
            self.reading = -1
