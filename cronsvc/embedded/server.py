"""The life of one embedded server: launch, ready, restart, stop, close. What a server *is*, its subclass knows."""

import os
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Self

from cronsvc.embedded import process
from cronsvc.embedded.errors import EmbeddedError
from cronsvc.embedded.folder import Folder, take

START_SECONDS = 60.0
STOP_SECONDS = 8.0
POLL_SECONDS = 0.01
LARGEST_LOG = 5_000_000
LOG_LINES_SHOWN = 8


class InterruptedStartError(Exception):
    """stop() was called while the server was starting."""


class Embedded(ABC):
    """One server on one data folder. Making the object touches nothing; `close()`, or leaving its `with`, ends it.

    Everything is started from one thread of the object's own, because the kernel ties a child to the *thread* that
    started it (PR_SET_PDEATHSIG): this one lasts as long as the object does, whoever calls.
    """

    name: ClassVar[str]
    stop_signals: ClassVar[Sequence[signal.Signals]]

    def __init__(self, data_dir: Path, *, port: int | None, user: str) -> None:
        self._data_dir = data_dir
        self._port = port
        self._user = user
        self._taken: Folder | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False
        self._interrupt = threading.Event()
        self._guard = threading.RLock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"embedded-{self.name}")
        self._started: Future[None] | None = None

    def __enter__(self) -> Self:
        """Promise the close only: the server is started by `launch()`."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect, from `launch()` on; the same after every restart. It contains the password."""

    @property
    def data_dir(self) -> Path:
        """The server's folder, absolute; known from `launch()` on."""
        return self._folder.path

    @property
    def pid(self) -> int | None:
        """The process id of the running server; None while there is none."""
        running = self._process
        return running.pid if running and running.poll() is None else None

    def launch(self) -> None:
        """Take the folder and begin to start the server, returning at once; without effect while it runs.

        EmbeddedError: the folder cannot be had. Every other failure is told by `ready()`.
        """
        with self._guard:
            if self.pid is not None or (self._started and not self._started.done()):
                return
            if self._taken is None:
                self._taken = take(self._data_dir, user=self._user)
                self._prepare()
            self._wanted = True
            self._interrupt.clear()
            self._started = self._thread.submit(self._bring_up)

    def ready(self) -> None:
        """Wait until the launched server answers. EmbeddedError: it does not, and why."""
        if self._started is None:
            raise RuntimeError("ready() comes after launch()")
        try:
            self._started.result()
        except InterruptedStartError:
            raise EmbeddedError(f"{self.name} was stopped while it was starting") from None

    def start(self) -> None:
        """Launch the server and wait until it answers."""
        self.launch()
        self.ready()

    def stop(self, *, kill: bool = False) -> None:
        """End the server, kindly or with SIGKILL, and keep the folder; `start()` brings it back on the same url."""
        with self._guard:
            self._wanted = False
            self._interrupt.set()
            if self._started:
                self._started.exception()  # waits; a failure of the start was ready()'s to tell
            if self._process:
                process.end(self._process, () if kill else self.stop_signals, patience=STOP_SECONDS)

    def restart_if_dead(self) -> bool:
        """Start the server again if it died by itself or did not start; True if that was so, and now it answers.

        False while it runs, while it is starting, and after `stop()`. EmbeddedError: it cannot be started.
        """
        with self._guard:
            starting = self._started is not None and not self._started.done()
            if not self._wanted or starting or self.pid is not None:
                return False
            self.launch()
        self.ready()
        return True

    def close(self) -> None:
        """Stop the server and give the folder up; the object is of no more use."""
        with self._guard:
            self.stop()
            self._thread.shutdown()
            if self._taken:
                self._taken.release()
                self._taken = None

    @property
    def _folder(self) -> Folder:
        if self._taken is None:
            raise RuntimeError(f"{self.name} was not launched, or is closed")
        return self._taken

    @property
    def _log(self) -> Path:
        return self._folder.path / f"{self.name}.log"

    @abstractmethod
    def _prepare(self) -> None:
        """Make what must exist before anything starts, such as the password in the url."""

    @abstractmethod
    def _start_server(self) -> subprocess.Popen[bytes]:
        """Start the server's process, after whatever the folder still needs."""

    @abstractmethod
    def _answers(self, pid: int) -> bool:
        """Whether this process is the server that answers now."""

    def _worth_another_try(self, complaint: str) -> bool:
        """Whether the log says that the server left for a reason that passes by itself."""
        return False

    def _bring_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        if self._log_size() > LARGEST_LOG:
            self._log.unlink()
        while True:
            log_start = self._log_size()
            self._process = self._start_server()
            while self._process.poll() is None and time.monotonic() < deadline:
                if self._answers(self._process.pid):
                    return
                self._pause()
            left = self._process.returncode
            process.end(self._process, self.stop_signals, patience=STOP_SECONDS)
            complaint = self._complaint(log_start)
            if left is None or time.monotonic() > deadline or not self._worth_another_try(complaint):
                outcome = f"no answer within {START_SECONDS:.0f} s" if left is None else f"exit code {left}"
                raise EmbeddedError(f"{self.name} did not start ({outcome}); {self._log} says:\n{complaint}")
            self._pause()

    def _spawn(
        self,
        command: Sequence[str],
        death_signal: signal.Signals,
        *,
        environment: Mapping[str, str] | None = None,
        standard_input: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        """Start a child as the folder's account, with our log as its output."""
        log = self._folder.open(self._log.name, os.O_WRONLY | os.O_APPEND)
        try:
            return process.spawn(
                command,
                account=self._folder.account,
                death_signal=death_signal,
                log=log,
                environment=environment,
                standard_input=standard_input,
            )
        finally:
            os.close(log)

    def _run(self, command: Sequence[str], *, script: str = "") -> None:
        """Run a step of the preparation to its end, as the folder's account; `script` is its standard input."""
        log_start = self._log_size()
        step = self._spawn(command, signal.SIGTERM, standard_input=subprocess.PIPE)
        try:
            if step.stdin:
                step.stdin.write(script.encode())  # a line or two: the pipe takes it whole
                step.stdin.close()
            while step.poll() is None:
                self._pause()
        finally:
            process.end(step, (signal.SIGTERM,), patience=STOP_SECONDS)
        if step.returncode:
            raise EmbeddedError(
                f"{Path(command[0]).name} failed with exit code {step.returncode}; {self._log} says:\n"
                f"{self._complaint(log_start)}"
            )

    def _pause(self) -> None:
        if self._interrupt.wait(POLL_SECONDS):
            raise InterruptedStartError

    def _log_size(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0

    def _complaint(self, log_start: int) -> str:
        with self._log.open("rb") as log:
            log.seek(log_start)
            return "\n".join(log.read().decode(errors="replace").splitlines()[-LOG_LINES_SHOWN:])
