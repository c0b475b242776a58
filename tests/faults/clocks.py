"""Clocks that lie: libfaketime under chosen processes. Monotonic time is left alone, as it is when a host is set."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.faults.procs import Proc

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
SKEW_SECONDS = 90

# In runs whose hosts disagree: one scheduler lives in the future, one worker in the past.
SKEWED = {"scheduler-2": SKEW_SECONDS, "worker-2": -SKEW_SECONDS}


def lying(**how: str) -> dict[str, str]:
    """The environment of a process whose clock lies, `how` being libfaketime's own variables."""
    if LIBRARY is None:
        return {}
    # Python waits for locks on the monotonic clock: faked, it could hang. The name of the switch changed over time.
    return {"LD_PRELOAD": str(LIBRARY), "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", **how}


def skew(proc: Proc) -> float:
    """Seconds by which a living process's clock is wrong: what a child under the same library reads; 0 without it."""
    if not proc.alive or b"libfaketime" not in Path(f"/proc/{proc.pid}/maps").read_bytes():
        return 0.0
    pairs = [pair.partition(b"=") for pair in Path(f"/proc/{proc.pid}/environ").read_bytes().split(b"\0") if pair]
    told = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"],
        env={os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return round(float(told) - time.time(), 1)
