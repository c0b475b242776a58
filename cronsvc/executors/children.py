"""Child processes that end when they should.

A child leads a session of its own. `stop` ends it and everything it started that stayed in its group: SIGTERM, a
moment, SIGKILL. When the child ends by itself, what is left of its group is killed too. It is reaped only after that,
so a signal of ours can never meet a stranger that was given the same number. A thread waits for each child: no event
loop's child watcher is involved, and a child is reaped even when nobody waits for it any more.
"""

import asyncio
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

PATIENCE_SECONDS = 0.5  # from SIGTERM to SIGKILL: a drain and a lost lease leave no more
DRAINED_SECONDS = 0.5  # how long a pipe may stay open after the group is gone
CHUNK_BYTES = 65_536


class Child:
    """One running child. Made by `start`; whoever starts one must `stop` it, ended or not."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._reaped = False
        self._ended = asyncio.Event()
        threading.Thread(target=self._watch, name=f"child-{process.pid}", daemon=True).start()

    @classmethod
    def start(
        cls,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        stdin: bytes | None = None,
        stdout: int = subprocess.DEVNULL,
        stderr: int = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
        directory: str | None = None,
    ) -> "Child":
        """Start a command; `stdin` is all it can read there. OSError: it cannot be started."""
        with tempfile.TemporaryFile() as given:  # a file, so that nobody has to feed a pipe
            if stdin:
                given.write(stdin)
                given.seek(0)
            process = subprocess.Popen(  # noqa: S603 the operator's commands and our own interpreter, no shell
                [str(part) for part in command],
                stdin=given if stdin else subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=dict(environment),
                cwd=directory,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ended(self) -> int:
        """Wait for its end; the exit code, or minus the signal's number."""
        await self._ended.wait()
        return int(self._process.returncode)

    async def stop(self) -> None:
        """End it and its group if it still runs; a second cancellation only makes that quicker."""
        if self._ended.is_set():
            return
        try:
            self._signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._ended.wait()
        finally:
            self._signal(signal.SIGKILL)
        with suppress(TimeoutError):  # one that hangs inside the kernel is the watching thread's to reap
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._ended.wait()

    def _signal(self, number: signal.Signals) -> None:
        with self._lock:
            if not self._reaped:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, number)

    def _watch(self) -> None:
        """In a thread: wait for the end, kill what is left of the group while the pid is still ours, reap, tell."""
        if hasattr(os, "waitid"):
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            self._signal(signal.SIGKILL)
            with self._lock:
                self._process.wait()
                self._reaped = True
        else:  # macOS before Python 3.13
            self._process.wait()
            self._reaped = True
        with suppress(RuntimeError):  # the loop is gone, and whoever waited with it
            self._loop.call_soon_threadsafe(self._ended.set)


class Pipe:
    """The reading end of a pipe from a child, and the descriptor to give it."""

    def __init__(self, *, limit: int = CHUNK_BYTES) -> None:
        reading, self.writing = os.pipe()
        self._file = os.fdopen(reading, "rb", 0)
        self._reader = asyncio.StreamReader(limit=limit)
        self._transport: asyncio.ReadTransport | None = None

    async def open(self) -> asyncio.StreamReader:
        """Begin to read; call it after the child was started."""
        self.close_writing()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._reader), self._file
        )
        self._transport = transport
        return self._reader

    def close_writing(self) -> None:
        """Close our copy of the writing end, or the pipe would never end."""
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    def close(self) -> None:
        """Let go of both ends."""
        self.close_writing()
        if self._transport is None:
            self._file.close()
        else:
            self._transport.close()
