"""Starts processes of cronsvc at the cost of a fork: all is imported once, here, before there is a loop or a thread.

It reads one JSON line a process (arguments of the launcher, environment, log) and answers with its pid, later with its
exit code. A process whose environment must be there from its first moment (LD_PRELOAD) is executed anew. All of them
die with the nursery, and the nursery when its standard input is closed.
"""

import ctypes
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PR_SET_PDEATHSIG = 1
IMPORTED = (
    "cronsvc.cli",
    "cronsvc.processes.api",
    "cronsvc.processes.scheduler",
    "cronsvc.processes.worker",
    "cronsvc.executors.registry",
    "aiohttp",
    "uvloop",
    "tests.faults.launcher",
    "tests.faults.failpoints",
    "tests.faults.mutants.guards",
)


class Nursery:
    """The caller's side; any thread may start and wait."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.faults.nursery"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._codes: dict[int, int] = {}
        self._born: list[int] = []
        self._news = threading.Condition()
        self._births = threading.Lock()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> int:
        """Start a process and return its pid."""
        assert self._process.stdin is not None
        wish = {"arguments": list(arguments), "environment": dict(environment), "log": os.fspath(log)}
        with self._births:
            self._process.stdin.write(json.dumps(wish) + "\n")
            with self._news:
                assert self._news.wait_for(lambda: self._born, timeout=60), "the nursery is silent"
                return self._born.pop()

    def code(self, pid: int, seconds: float = 0.0) -> int | None:
        """The exit code of a process, as Popen has it; None while it lives, after waiting so long."""
        with self._news:
            self._news.wait_for(lambda: pid in self._codes, timeout=seconds)
            return self._codes.get(pid)

    def close(self) -> None:
        """End whatever lives."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._listener.join()
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            with self._news:
                if "code" in said:
                    self._codes[said["pid"]] = said["code"]
                else:
                    self._codes.pop(said["pid"], None)  # of an earlier process that had the same number
                    self._born.append(said["pid"])
                self._news.notify_all()


def main() -> None:
    """Serve until standard input ends."""
    for name in IMPORTED:
        importlib.import_module(name)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    living: set[int] = set()
    text = b""
    while True:
        ready, _, _ = select.select([0, reader], [], [])
        if reader in ready:
            os.read(reader, 4096)
            _reap(living)
        if 0 in ready:
            piece = os.read(0, 65_536)
            if not piece:
                break
            *lines, text = (text + piece).split(b"\n")
            for line in lines:
                living.add(pid := _bear(json.loads(line)))
                _say(pid=pid)
    for pid in living:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _reap(living: set[int]) -> None:
    for pid in tuple(living):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            living.discard(pid)
            _say(pid=pid, code=os.waitstatus_to_exitcode(status))


def _say(**said: int) -> None:
    os.write(1, (json.dumps(said) + "\n").encode())


def _bear(wish: Mapping[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(wish["log"], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
        for descriptor, goal in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
            os.dup2(descriptor, goal)
        if "LD_PRELOAD" in wish["environment"]:
            command = [sys.executable, "-m", "tests.faults.launcher", *wish["arguments"]]
            os.execve(sys.executable, command, wish["environment"])
        os.environ.clear()
        os.environ.update(wish["environment"])
        sys.modules["tests.faults.launcher"].main(wish["arguments"])
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
