"""Children: started so that they end with us, stopped kindly, and found again when an earlier owner left one behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from cronsvc.embedded.folder import Account

LAUNCHER = Path(__file__).with_name("launcher.py")
LEFTOVER_SECONDS = 15.0


def spawn(
    command: Sequence[str],
    *,
    account: Account | None,
    death_signal: signal.Signals,
    log: int,
    environment: Mapping[str, str] | None = None,
    standard_input: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a child that gets `death_signal` when this *thread* ends; its output goes to the descriptor `log`.

    A process group of its own keeps the terminal's Ctrl-C away from it: the owner decides when it stops.
    """
    uid, gid = (account.uid, account.gid) if account else (-1, -1)
    binding = [str(os.getpid()), str(int(death_signal)), str(uid), str(gid)]
    return subprocess.Popen(  # noqa: S603 binaries that we chose, no shell
        [sys.executable, "-I", "-S", str(LAUNCHER), *binding, *command],
        stdin=standard_input,
        stdout=log,
        stderr=log,
        cwd="/",
        env=bare_environment() | dict(environment or {}),
        process_group=0,
    )


def bare_environment() -> dict[str, str]:
    """What a server needs of our environment: not our secrets, nor PG* and LC_* variables that would steer it."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def end(process: subprocess.Popen[bytes], signals: Sequence[signal.Signals], *, patience: float) -> None:
    """Send each signal in turn, waiting up to `patience` seconds after each, and SIGKILL last; then it is gone."""
    for number in (*signals, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def end_leftover(pid_file: Path, argument: str, stop_signal: signal.Signals) -> int | None:
    """End the server that outlived an earlier owner of this folder; the pid that its pid file names, if any.

    Only for the holder of the folder's lock. Only a process with `argument` (our folder) on its command line is ours
    to end: the pid may belong to anybody by now. On Linux this meets at most a server that is already stopping.
    """
    try:
        pid = int(pid_file.read_text().split()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return None
    try:
        leftover = psutil.Process(pid)
        if argument in leftover.cmdline():
            leftover.send_signal(stop_signal)
            if not _gone_within(leftover, LEFTOVER_SECONDS):
                leftover.kill()
                _gone_within(leftover, LEFTOVER_SECONDS)
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # a zombie raises NoSuchProcess too; a stranger may deny
        pass
    return pid


def _gone_within(process: psutil.Process, seconds: float) -> bool:
    """A zombie counts as gone: PID 1 of many containers never reaps, so waiting for the pid would be for ever."""
    deadline = time.monotonic() + seconds
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
