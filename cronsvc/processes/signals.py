"""SIGTERM and SIGINT: the first asks for a drain, the second hurries it, the third ends the process there and then.

A thread watches over the drain, because a loop that hangs cannot: whatever happens, the process is gone `limit_seconds`
after the first signal. The handlers only write a byte and wake the loop, so they are safe wherever they interrupt.
"""

import asyncio
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Self

from cronsvc import events

SIGNALS = (signal.SIGTERM, signal.SIGINT)
HURRY_SECONDS = 3.0
EXCEEDED_EXIT = 1
GRACE_BEYOND_DRAIN = 7.0


class StopSignals:
    """A context in which the two signals mean `stop`; made in the main thread, inside the running loop.

    `hurry` is called in the loop at the second signal. Signals that come before the block or after it act as usual.
    """

    def __init__(self, *, limit_seconds: float, hurry: Callable[[], object] | None = None) -> None:
        self.stop = asyncio.Event()
        self._limit_seconds = limit_seconds
        self._hurry = hurry
        self._loop = asyncio.get_running_loop()
        self._count = 0
        self._reader, self._writer = os.pipe()
        self._previous: dict[signal.Signals, Any] = {}
        self._watchdog = threading.Thread(target=self._watch, name="drain-watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._watchdog.start()
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._received)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        os.close(self._writer)  # the watchdog reads the end of the pipe, and leaves
        self._watchdog.join()
        os.close(self._reader)

    def _received(self, _number: int, _frame: FrameType | None) -> None:
        os.write(self._writer, b".")
        self._count += 1
        self._loop.call_soon_threadsafe(self._tell, self._count)

    def _tell(self, count: int) -> None:
        self.stop.set()
        if count == 2 and self._hurry is not None:
            self._hurry()

    def _watch(self) -> None:
        deadline: float | None = None
        signals = 0
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([self._reader], [], [], left)
            if not readable:
                self._end(f"the drain exceeded its limit: {signals} signal(s)")
            if not os.read(self._reader, 1):
                return
            signals += 1
            if signals == 1:
                deadline = time.monotonic() + self._limit_seconds
            elif signals == 2:
                deadline = min(deadline or 0.0, time.monotonic() + HURRY_SECONDS)
            else:
                self._end("a third signal")

    def _end(self, why: str) -> None:
        # Not through logging: the thread that hangs may hold its lock.
        os.write(2, f"cronsvc: {events.DRAIN_EXCEEDED}: {why}; leaving at once\n".encode())
        os._exit(EXCEEDED_EXIT)


def run_until_stopped(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]], *, drain_seconds: float) -> None:
    """Run `main(stop)` in a loop of its own until it returns; signals set `stop`, a second one cancels `main`.

    `drain_seconds` is how long its work may take to finish; the process is ended some seconds later whatever happens.
    """

    async def guarded() -> None:
        task = asyncio.current_task()
        assert task is not None
        with StopSignals(limit_seconds=drain_seconds + GRACE_BEYOND_DRAIN, hurry=task.cancel) as signals:
            try:
                await main(signals.stop)
            except asyncio.CancelledError:
                if not signals.stop.is_set():
                    raise

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(guarded())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it exists (not on Windows, not on PyPy), else asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 it may not exist
    except ImportError:
        return None
    return uvloop.new_event_loop
