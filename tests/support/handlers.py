"""Handlers for tests of PYTHON jobs: listed as a module, as an operator would."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cronsvc.handlers import Child, Context, Permanent, Retry, Summary, SyncContext, handler


@handler("echo")
async def echo(context: Context) -> dict[str, Any]:
    return {"params": dict(context.params), "attempt": context.attempt, "pid": os.getpid()}


@handler("echo-sync")
def echo_sync(context: SyncContext) -> dict[str, Any]:
    return {
        "params": dict(context.params),
        "attempt": context.attempt,
        "key": context.idempotency_key,
        "at": context.scheduled_time,
        "pid": os.getpid(),
    }


@handler("sync-users")
async def sync_users(context: Context) -> Summary:
    """Seed 001: batches, progress, errors of single users that stop nothing."""

    async def sync_user(user: int) -> None:
        if user % 100 == 99:
            raise ValueError(f"user {user} has no address")

    return await context.batch(range(context.params["users"]), size=100).each(sync_user)


@handler("sync-users-sync")
def sync_users_sync(context: SyncContext) -> Summary:
    batch = context.batch(range(context.params["users"]), size=100)
    for users in batch:
        for user in users:
            with batch.item(user):
                if user % 100 == 99:
                    raise ValueError(f"user {user} has no address")
    return batch.summary()


@handler("raise")
async def raise_(context: Context) -> None:
    _raise(context.params["what"])


@handler("raise-sync")
def raise_sync(context: SyncContext) -> None:
    _raise(context.params["what"])


def _raise(what: str) -> None:
    match what:
        case "value":
            raise ValueError("no such \x00 user" + "!" * 5_000)
        case "permanent":
            raise Permanent("the account is closed")
        case "retry":
            raise Retry("busy", after=17)
        case "exit":
            sys.exit(3)
        case "cancel":
            raise asyncio.CancelledError
        case "timeout":
            raise TimeoutError("the partner's, not ours")


@handler("die")
def die(context: SyncContext) -> None:
    context.log("about to die")
    match context.params["how"]:
        case "exit":
            os._exit(7)
        case "segfault":
            ctypes.string_at(0)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "nonsense":
            for descriptor in range(3, 20):
                try:
                    os.write(descriptor, b"x" * 400_000 + b"\n")
                except OSError:
                    continue
            time.sleep(600)


@handler("stubborn")
def stubborn(context: SyncContext) -> None:
    """Ignores SIGTERM, has a child of its own, and never ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(context.params["pids"]).write_text(f"{os.getpid()} {grandchild.pid}")
    while True:
        time.sleep(600)


@handler("patient")
async def patient(context: Context) -> str:
    """Says something and waits to be cancelled."""
    await context.progress(40, "waiting")
    context.log("waiting", user="ada")
    await asyncio.Event().wait()
    return "never"


@handler("chatty-sync")
def chatty_sync(context: SyncContext) -> str:
    for number in range(context.params["lines"]):
        context.log(f"line {number}")
        context.progress(100 * number / context.params["lines"])
    return "done"


@handler("chatty")
async def chatty(context: Context) -> str:
    for number in range(context.params["lines"]):
        context.log(f"line {number}", number=number)
        await context.progress(100 * number / context.params["lines"])
    return "done"


@handler("large")
def large(context: SyncContext) -> Any:
    return {"text": "x" * context.params["size"], "odd": {1, 2}, "nan": float("nan"), "bytes": b"\x00"}


@handler("lingering")
def lingering(context: SyncContext) -> str:
    """Returns, but leaves a process behind that holds every descriptor."""
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False)
    Path(context.params["pids"]).write_text(str(left.pid))
    return "done"


@handler("threads")
async def threads(context: Context) -> str:
    """Says something in a thread that the handler started."""
    await asyncio.to_thread(context.log, "from a thread")
    return "done"


def unmarked(context: Context) -> None:
    raise AssertionError("nobody may name this")


@handler("limits")
async def limits(context: Context) -> list[object]:
    return [context.attempt, context.max_attempts, context.at_most_once]


@handler("limits-sync")
def limits_sync(context: SyncContext) -> list[object]:
    return [context.attempt, context.max_attempts, context.at_most_once]


@handler("fan-out")
async def fan_out(context: Context) -> dict[str, Any]:
    """Start a child of job `child` for each of `services`, and wait for them if asked."""
    wanted = [Child(context.params["child"], {"service": each}) for each in context.params["services"]]
    return {"children": await context.fan_out(wanted, wait=context.params.get("wait", False))}


@handler("fan-out-sync")
def fan_out_sync(context: SyncContext) -> dict[str, Any]:
    wanted = [Child(context.params["child"], {"service": each}) for each in context.params["services"]]
    return {"children": context.fan_out(wanted, wait=context.params.get("wait", False))}
