"""Handlers for plays: one computes without a pause and notes it like a target, one starts children and waits."""

import json
import os
import time

from cronsvc.handlers import Child, Context, SyncContext, handler


@handler("burn")
def burn(context: SyncContext) -> None:
    """Keep a core busy for so many seconds."""
    number = time.monotonic_ns()
    scheduled = context.scheduled_time.isoformat()
    row = {"path": f"/burn/{context.params['stage']}/{context.job_name}", "execution": context.execution_id}
    row |= {"job": context.job_id, "attempt": context.attempt, "fence": context.attempt}
    _note(context, e="call", n=number, key=context.idempotency_key, scheduled=scheduled, **row)
    end = time.monotonic() + context.params["seconds"]
    while time.monotonic() < end:
        sum(range(10_000))
    _note(context, e="end", n=number, how="answered", status=200)


@handler("parent")
async def parent(context: Context) -> None:
    """Start three children of the job `child` and end with them."""
    await context.fan_out([Child("child")] * 3, wait=True)


def _note(context: SyncContext, **row: object) -> None:
    descriptor = os.open(context.params["file"], os.O_APPEND | os.O_WRONLY)
    try:
        os.write(descriptor, (json.dumps({"t": time.time(), **row}) + "\n").encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
