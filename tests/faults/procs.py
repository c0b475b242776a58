"""Processes that are ours to hurt: each in a session of its own, its output in a file, known by the pid we started.

A signal is only ever sent to the object that holds the child, so a pid that was given to a stranger is never hit.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from tests.faults.record import Recorder

ROOT = Path(__file__).parents[2]


class Proc:
    """One named process that may be started again under the same name, each time as a new child."""

    def __init__(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path, recorder: Recorder
    ) -> None:
        self.name = name
        self.role = name.split("-")[0]
        self.log = log
        self.environment = dict(environment)
        self.arguments = list(arguments)
        self.frozen = False
        self._recorder = recorder
        self._child: subprocess.Popen[bytes] | None = None
        self._ending = False  # whether the end of the present child is the harness's doing
        self._kindly = False  # whether that was by SIGTERM
        self._noted = True  # whether its end has been written down

    def start(self, **environment: str) -> None:
        """Start it, with these variables beside its own; without effect while it runs."""
        if self.alive:
            return
        self.note_if_dead()
        with self.log.open("ab") as output:
            self._child = subprocess.Popen(
                self.arguments,
                env=self.environment | environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._ending = self._kindly = self._noted = self.frozen = False
        self._recorder.write("procs", event="start", proc=self.name, pid=self._child.pid)

    @property
    def pid(self) -> int:
        return 0 if self._child is None else self._child.pid

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def returncode(self) -> int | None:
        return None if self._child is None else self._child.poll()

    def kill9(self) -> int:
        """End it at once, whatever it does, and return its exit code."""
        self._send(signal.SIGKILL, ending=True)
        return self.wait(10.0)

    def term(self, seconds: float = 40.0) -> int:
        """Ask it to stop and wait; killed after `seconds`, which the exit code then says."""
        self.ask_to_stop()
        return self.wait(seconds)

    def ask_to_stop(self) -> None:
        """Send SIGTERM, once."""
        self.thaw()
        if self.alive and not self._kindly:
            self._kindly = True
            self._send(signal.SIGTERM, ending=True)

    def freeze(self) -> None:
        self._send(signal.SIGSTOP, ending=False)
        self.frozen = True

    def thaw(self) -> None:
        if self.frozen:
            self._send(signal.SIGCONT, ending=False)
            self.frozen = False

    def wait(self, seconds: float) -> int:
        if self._child is None:
            return 0
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self.note_if_dead()
        return self._child.returncode

    def note_if_dead(self) -> None:
        """Write its end down, once, and whether anybody asked for it."""
        if self._noted or self._child is None or (code := self._child.poll()) is None:
            return
        self._noted = True
        self._recorder.write(
            "procs",
            event="exit",
            proc=self.name,
            pid=self._child.pid,
            code=code,
            expected=self._ending,
            kindly=self._kindly,
        )

    def cpu_seconds(self) -> float:
        """User and system time of the present child; 0 when there is none."""
        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return times.user + times.system

    def _send(self, number: signal.Signals, *, ending: bool) -> None:
        if self._child is not None and self.alive:
            self._ending = self._ending or ending
            self._child.send_signal(number)


class Sampler:
    """A thread that writes down, each second, what every process costs, and how late the host itself is."""

    def __init__(self, processes: Callable[[], Sequence[Proc]], recorder: Recorder) -> None:
        self._processes = processes
        self._recorder = recorder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            worst = 0.0
            for _ in range(10):
                asked = time.monotonic()
                if self._stop.wait(0.1):
                    return
                worst = max(worst, time.monotonic() - asked - 0.1)
            self._recorder.write("stalls", late=round(worst, 4), load=os.getloadavg()[0])
            for proc in self._processes():
                self._sample(proc)

    def _sample(self, proc: Proc) -> None:
        proc.note_if_dead()
        if not proc.alive:
            return
        try:
            rss = psutil.Process(proc.pid).memory_info().rss
        except psutil.Error:
            return
        size = proc.log.stat().st_size if proc.log.exists() else 0
        self._recorder.write(
            "samples", proc=proc.name, pid=proc.pid, cpu=proc.cpu_seconds(), rss=rss, log=size, frozen=proc.frozen
        )


def cronsvc_command(role: str, mutants: Sequence[str]) -> list[str]:
    """The command line of one process type; with mutants it goes through the launcher that weakens a guard."""
    if not mutants:
        return [sys.executable, "-m", "cronsvc", role]
    weakened = [part for name in mutants for part in ("--mutant", name)]
    return [sys.executable, "-m", "tests.faults.launcher", *weakened, "--", role]
