"""Small things these tests do to a server: write, read back, kill, and wait for an end."""

import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis

from cronsvc.embedded import Embedded

CHECKOUT = Path(__file__).parents[2]
AS_ROOT = os.geteuid() == 0


def remember(url: str, word: str) -> None:
    """Store a word in whichever server this is."""
    if url.startswith("postgresql:"):
        with psycopg.connect(url) as conn:
            conn.execute("CREATE TABLE IF NOT EXISTS words (word text)")
            conn.execute("INSERT INTO words VALUES (%s)", [word])
    else:
        with redis.Redis.from_url(url) as client:
            client.rpush("words", word)


def remembered(url: str) -> list[str]:
    """All words stored so far, in order."""
    if url.startswith("postgresql:"):
        with psycopg.connect(url) as conn:
            return [row[0] for row in conn.execute("SELECT word FROM words ORDER BY ctid")]
    with redis.Redis.from_url(url) as client:
        words: Any = client.lrange("words", 0, -1)
        return [word.decode() for word in words]


def wait_until(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    """Poll until the condition holds; fail the test when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Whether the process has ended; a zombie has (PID 1 of a container may never reap it)."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kill(server: Embedded) -> None:
    """kill -9, and wait until its owner can see the end: a server's threads may outlive its first for a moment."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: server.pid is None)


@dataclass(frozen=True, slots=True)
class Owner:
    """A running owner.py and what it reported."""

    process: subprocess.Popen[str]
    report: dict[str, Any]

    def pids(self) -> list[int]:
        """The pids of both its servers."""
        return [server["pid"] for server in self.report.values()]


def _python_for(user: str | None) -> str:
    """Ours, or the system's same version for a user who may not reach ours (it may be under root's home)."""
    if user is None:
        return sys.executable
    entry = pwd.getpwnam(user)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            subprocess.run([python, "-V"], user=entry.pw_uid, group=entry.pw_gid, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    pytest.skip(f"the user {user} may run no {version} on this machine")


@contextmanager
def owner(folder: Path, *, user: str | None = None, environment: Mapping[str, str] | None = None) -> Iterator[Owner]:
    """Run owner.py on this folder, as this user; it ends with the block."""
    entry = pwd.getpwnam(user) if user else None
    site = Path(psutil.__file__).parents[1]
    process = subprocess.Popen(
        [_python_for(user), "-B", str(Path(__file__).with_name("owner.py")), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env=os.environ | {"PYTHONPATH": f"{CHECKOUT}:{site}"} | dict(environment or {}),
        user=entry.pw_uid if entry else None,
        group=entry.pw_gid if entry else None,
        extra_groups=[] if entry else None,
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert line, f"owner.py ended with {process.wait()}"
        yield Owner(process, json.loads(line))
    finally:
        process.communicate(timeout=30)
