"""PYTHON: one attempt is one call of a registered handler.

    {"handler": name, "params": {…}}

The params of a trigger or backfill reach the handler: `{"syncType": "full"}` is merged over `params`, while the keys
`handler` and `params` mean those members of the config.

`async def` handlers run in the worker's loop and are cancelled there. Plain ones run in a child process, which a
timeout, a cancellation, a drain or a lost lease ends for real, and whose death by whatever cause is a failed attempt.
What a handler returns is the result, what it raises is the error (`cronsvc/handlers.py` has the two exceptions that
say more).
"""

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cronsvc import handlers
from cronsvc.domain.execution import ErrorDetail, Outcome
from cronsvc.domain.job import merge_params
from cronsvc.errors import FieldError
from cronsvc.executors import python_child
from cronsvc.executors.base import ExecutorSettings, NotInstalled, RunContext
from cronsvc.executors.children import Child, Pipe
from cronsvc.executors.config_faults import PATH, known_names, read_config
from cronsvc.executors.fan_out import Listener, Replies, Starter
from cronsvc.executors.handler_registry import Handler, load_handlers
from cronsvc.executors.jsonable import capped, cut, storable

CHILD = Path(python_child.__file__)
LINE_BYTES = 262_144
LINGER_SECONDS = 2.0  # how long a child may take to leave once it can say no more
RETRY_AFTER_LIMIT_SECONDS = 86_400.0


class PythonConfig(BaseModel):
    """The `config` of a PYTHON job."""

    model_config = ConfigDict(strict=True, extra="forbid")

    handler: str = Field(min_length=1, max_length=200, description="the name of a handler")
    params: dict[str, Any] = Field(default_factory=dict, description="an object; the handler gets it as context.params")


@dataclass(frozen=True, slots=True)
class PreparedHandler:
    """A handler and what to give it."""

    handler: Handler
    params: Mapping[str, Any]


class Python:
    """The job type. `installed` replaces the environment's handler entry points."""

    def __init__(self, settings: ExecutorSettings, *, installed: Iterable[EntryPoint] | None = None) -> None:
        self._handlers = load_handlers(settings.handler_modules, installed=installed)

    def parse(self, config: Mapping[str, Any]) -> PreparedHandler:
        """Find the handler; NotInstalled when this process lacks it, `elsewhere` when it has no handlers at all."""
        read = read_config(PythonConfig, config, kind="PYTHON")
        handler = self._handlers.get(read.handler)
        if handler is None:
            reason = f"there is no handler {read.handler[:100]!r} here; known: {known_names(self._handlers)}"
            raise NotInstalled([FieldError(f"{PATH}.handler", reason)], elsewhere=not self._handlers)
        return PreparedHandler(handler, read.params)

    def merge(self, config: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
        """Members of the config go there; every other key of a run's params is one that the handler gets."""
        ours = {key: value for key, value in params.items() if key in PythonConfig.model_fields}
        theirs = {key: value for key, value in params.items() if key not in ours}
        return merge_params(merge_params(config, ours), {"params": theirs} if theirs else None)

    async def run(self, config: PreparedHandler, context: RunContext) -> Outcome:
        """Call the handler once."""
        try:
            async with asyncio.timeout(context.timeout_seconds) as deadline:
                if config.handler.is_async:
                    return await _call(config, context)
                return await _call_in_child(config, context)
        except TimeoutError:
            if not deadline.expired():
                raise
            return Outcome(
                error=ErrorDetail("timeout", f"the handler did not end within {context.timeout_seconds:g} s")
            )

    async def close(self) -> None:
        """Nothing is kept between attempts."""
        return


async def _call(config: PreparedHandler, context: RunContext) -> Outcome:
    """Run an `async def` handler here."""
    given = handlers.Context(
        **_fields(config, context),
        scheduled_time=context.scheduled_time,
        reporter=context.reporter,
        starter=Starter(context.fan_out),
    )
    try:
        return Outcome(result=capped(await config.handler.function(given)))
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return _failed(python_child.describe(error, handlers))  # the handler cancelled itself
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 — whatever ends the handler is its answer
        return _failed(python_child.describe(error, handlers))


async def _call_in_child(config: PreparedHandler, context: RunContext) -> Outcome:
    """Run a plain handler in a process of its own."""
    pipe, replies = Pipe(limit=LINE_BYTES), Replies()
    try:
        child = Child.start(
            [sys.executable, "-P", CHILD],
            environment=os.environ,
            stdin=_request(config, context, pipe.writing, replies.reading),
            stdout=2,
            stderr=2,
            pass_fds=(pipe.writing, replies.reading),
        )
        try:
            await replies.open()
            last = await _listen(await pipe.open(), context, replies)
            # Either it has said all, or nobody can hear it any more.
            code = None
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    code = await child.ended()
            return last or _died(code)
        finally:
            await child.stop()
    finally:
        pipe.close()
        replies.close()


def _request(config: PreparedHandler, context: RunContext, descriptor: int, replies: int) -> bytes:
    instant = context.scheduled_time.astimezone(UTC).isoformat()
    return json.dumps(
        {
            "owner": os.getpid(),
            "path": sys.path,
            "descriptor": descriptor,
            "replies": replies,
            "module": config.handler.module,
            "name": config.handler.name,
            "context": _fields(config, context) | {"scheduled_time": instant},
        }
    ).encode()


def _fields(config: PreparedHandler, context: RunContext) -> dict[str, Any]:
    return {
        "params": config.params,
        "execution_id": context.execution_id,
        "job_id": context.job_id,
        "job_name": context.job_name,
        "attempt": context.attempt,
        "max_attempts": context.attempt if context.at_most_once else context.max_attempts,
        "at_most_once": context.at_most_once,
        "timeout_seconds": context.timeout_seconds,
        "idempotency_key": context.idempotency_key,
    }


async def _listen(lines: asyncio.StreamReader, context: RunContext, replies: Replies) -> Outcome | None:
    """Pass on what the child says until its last word; None when it ended without one."""
    listener = Listener(context.fan_out)
    while True:
        try:
            line = await lines.readline()
        except ValueError:  # longer than any line of ours: the handler wrote into the pipe
            return None
        if not line:
            return None
        try:
            said = json.loads(line)
            match said:
                case {"result": result}:
                    return Outcome(result=capped(result))
                case {"error": error}:
                    return _failed(error)
                case {"log": message, "level": level, "fields": fields}:
                    context.reporter.log(message, level, fields)
                case {"progress": percent, "note": note}:
                    context.reporter.progress(percent, note)
                case {"child": child}:
                    listener.hear(child)
                case {"fanOut": question}:
                    replies.say(await listener.answer(question))
                case {"dropped": count}:
                    context.reporter.lost(int(count))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # not a line of ours


def _failed(error: Mapping[str, Any]) -> Outcome:
    """The outcome of an exception as `python_child.describe` tells it."""
    message = f"{error['name']}: {error['message']}" if error["message"] else str(error["name"])
    after = error["after"]
    return Outcome(
        error=ErrorDetail("handler_error", storable(cut(message, 2_000))),
        retryable=not error["permanent"],
        retry_after=None if after is None else max(0.0, min(float(after), RETRY_AFTER_LIMIT_SECONDS)),
        excerpt=storable(error["traceback"]) or None,
    )


def _died(code: int | None) -> Outcome:
    how = "left its pipe"
    if code is not None:
        how = f"was ended by signal {-code}" if code < 0 else f"left with exit code {code}"
    return Outcome(error=ErrorDetail("handler_died", f"the handler's process {how} before the handler returned"))
