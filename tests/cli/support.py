"""The command line as a person has it: a process of its own, with an environment of its own."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

PATIENCE = 60.0


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Nothing of ours from the outside: what the system needs, and what the test gives."""
    kept = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | dict(given)


def cronsvc(*arguments: str, **given: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "cronsvc", *arguments],
        env=environment(given),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


@dataclass
class Running:
    """A command that runs on; its lines so far."""

    process: "subprocess.Popen[str]"
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)

    def wait_for(self, condition: Callable[[], bool], *, seconds: float = PATIENCE) -> None:
        """Poll until the condition holds; fails with the command's output when it ended or was too slow."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None or condition(), f"it ended: {self.told()}"
            assert time.monotonic() < deadline, f"not within {seconds} s: {self.told()}"
            time.sleep(0.02)

    def printed(self, part: str) -> str | None:
        """The first line of standard output with this part in it."""
        return next((line for line in self.out if part in line), None)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def told(self) -> str:
        """All it said, for a failure's message."""
        return "\n".join([f"exit code {self.process.poll()}", *self.out, *self.err])


@contextmanager
def running(*arguments: str, **given: str) -> Iterator[Running]:
    """Start a command, collect what it says, and make sure that it is gone afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cronsvc", *arguments],
        env=environment(given),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    command = Running(process)
    readers = [
        threading.Thread(target=_collect, args=(stream, lines), daemon=True)
        for stream, lines in ((process.stdout, command.out), (process.stderr, command.err))
    ]
    for reader in readers:
        reader.start()
    try:
        yield command
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for reader in readers:
            reader.join(5)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _collect(stream: IO[str] | None, lines: list[str]) -> None:
    assert stream is not None
    for line in iter(stream.readline, ""):
        lines.append(line.rstrip("\n"))
