"""A service as an operator runs it: servers, process types as real processes, and a receiver that nobody can fool.

Everything is started here, so everything may be ended here, by pid. Signals, outages and wipes are the tests' to send.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from cronsvc.store.migrations import upgrade
from tests.support.servers import Embedded, scratch_directory, start_postgres, start_valkey


class Process:
    """One process of ours with its output in a file."""

    def __init__(self, name: str, arguments: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                arguments, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        if self.alive:
            self._popen.send_signal(number)

    def wait(self, seconds: float = 40.0) -> int:
        """Wait for the end and return the exit code; killed after the bound, so that no test leaves one behind."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            return self._popen.wait()

    def cpu_seconds(self) -> float:
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system

    def output(self) -> str:
        return self.log.read_text(errors="replace")


@dataclass
class Fleet:
    """The parts of one running service. `start("worker")` adds a process of that type."""

    directory: Path
    postgres: Embedded
    valkey: Embedded
    receiver_url: str
    calls_file: Path
    environment: dict[str, str]
    processes: list[Process] = field(default_factory=list)

    def start(self, *arguments: str, **environment: str) -> Process:
        name = f"{arguments[0]}-{len(self.processes)}"
        command = [sys.executable, "-m", "cronsvc", *arguments]
        process = Process(name, command, self.environment | environment, self.directory / f"{name}.log")
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """End whatever still lives, kindly first."""
        for process in self.processes:
            process.signal(signal.SIGTERM)
        for process in self.processes:
            process.wait()

    def calls(self) -> list[dict[str, Any]]:
        """What the receiver was sent, in order of arrival."""
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()]

    def logs(self) -> str:
        return "\n".join(f"--- {process.name}\n{process.output()[-4000:]}" for process in self.processes)


@contextmanager
def fleet() -> Iterator[Fleet]:
    """Migrated servers and a receiver; the process types are the caller's to start."""
    with (
        scratch_directory() as directory,
        start_postgres(directory / "pg") as postgres,
        start_valkey(directory / "vk") as valkey,
        receiver(directory) as (url, calls_file),
    ):
        upgrade(postgres.url)
        environment = _bare_environment() | {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": valkey.url,
            "CRONSVC_EGRESS_ALLOW": "127.0.0.0/8",
            "CRONSVC_LOG_FORMAT": "json",
        }
        running = Fleet(directory, postgres, valkey, url, calls_file, environment)
        try:
            yield running
        finally:
            running.stop()


@contextmanager
def receiver(directory: Path) -> Iterator[tuple[str, Path]]:
    """A receiver process: its URL and the file of its calls."""
    calls_file = directory / "calls.jsonl"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.receiver", str(calls_file)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            yield f"http://127.0.0.1:{port}", calls_file
        finally:
            process.kill()


def _bare_environment() -> dict[str, str]:
    """Ours without the variables that a developer's shell may set for cronsvc itself."""
    ours = ("CRONSVC_", "DATABASE_URL", "REDIS_", "DB_", "QUEUE_NAME", "PORT")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def wait_until(condition: Any, *, seconds: float, what: str) -> None:
    """Poll a synchronous condition; the bound is for a hang, not a verdict on speed."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not come true within {seconds:.0f} s"
        time.sleep(0.1)
