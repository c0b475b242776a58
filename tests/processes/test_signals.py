"""Signals: a drain is asked for, hurried and bounded, even when the loop hangs. Each case is a process of its own."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PROGRAM = """
import asyncio, sys, time
from cronsvc.processes import signals
signals.GRACE_BEYOND_DRAIN = 0.5
signals.HURRY_SECONDS = 0.5

async def main(stop):
    print("up", flush=True)
    try:
        await stop.wait()
        print("draining", flush=True)
        {drain}
    except asyncio.CancelledError:
        print("hurried", flush=True)
        {hurried}
    print("drained", flush=True)

signals.run_until_stopped(main, drain_seconds={drain_seconds})
print("left", flush=True)
"""


@contextmanager
def program(*, drain: str, hurried: str = "raise", drain_seconds: float = 60) -> Iterator["subprocess.Popen[str]"]:
    code = PROGRAM.format(drain=drain, hurried=hurried, drain_seconds=drain_seconds)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ended(process: "subprocess.Popen[str]") -> tuple[int, list[str], str]:
    """Exit code, further lines, standard error."""
    out, err = process.communicate(timeout=30)
    return process.returncode, out.split(), err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_drains_and_leaves_with_0(number: signal.Signals) -> None:
    with program(drain="await asyncio.sleep(0)") as process:
        process.send_signal(number)
        assert ended(process) == (0, ["draining", "drained", "left"], "")


def test_a_second_signal_cancels_the_drain() -> None:
    with program(drain="await asyncio.sleep(3600)") as process:
        process.send_signal(signal.SIGTERM)
        assert said(process) == "draining"
        process.send_signal(signal.SIGINT)
        assert ended(process) == (0, ["hurried", "left"], "")


def test_a_drain_beyond_its_limit_ends_the_process() -> None:
    with program(drain="await asyncio.sleep(3600)", drain_seconds=0) as process:
        process.send_signal(signal.SIGTERM)
        code, lines, err = ended(process)
        assert (code, lines) == (1, ["draining"])
        assert "drain_exceeded" in err


def test_a_hanging_loop_is_ended_too() -> None:
    with program(drain="time.sleep(3600)", drain_seconds=0) as process:
        process.send_signal(signal.SIGTERM)
        code, lines, _ = ended(process)
        assert (code, lines) == (1, ["draining"])


def test_a_second_signal_shortens_the_limit() -> None:
    with program(drain="time.sleep(3600)", drain_seconds=3600) as process:
        process.send_signal(signal.SIGTERM)
        assert said(process) == "draining"
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code, lines, _ = ended(process)
        assert (code, lines) == (1, [])
        assert time.monotonic() - began < 20  # of 3600


def test_a_third_signal_ends_the_process_at_once() -> None:
    with program(drain="await asyncio.sleep(3600)", hurried="time.sleep(3600)", drain_seconds=3600) as process:
        process.send_signal(signal.SIGTERM)
        assert said(process) == "draining"
        process.send_signal(signal.SIGTERM)
        assert said(process) == "hurried"
        process.send_signal(signal.SIGTERM)
        code, _, err = ended(process)
        assert code == 1 and ("third signal" in err or "exceeded" in err)
