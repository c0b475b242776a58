"""COMMAND: one attempt is one run of a program that the operator listed in CRONSVC_COMMANDS.

    {"command": name, "arguments": […], "stdin": text, "environment": {…}, "retryExitCodes": […]}

The operator fixes the program and its first arguments, and says whether jobs may append arguments, give standard input
or set variables, and which. No shell is involved, the environment is minimal, and the program leads a process group
that a timeout, a cancellation, a drain or the worker's death ends. Exit code 0 is success; any other is a failure that
is tried again, or only those in `retryExitCodes` where a job lists them. The last 64 KB of its output are kept.
Values of `environment` may hold `{{secret:name}}`.
"""

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cronsvc.config_values import Command as Allowed
from cronsvc.domain.execution import ErrorDetail, Outcome
from cronsvc.domain.secret_references import filled, names
from cronsvc.errors import FieldError, InvalidInput
from cronsvc.executors import launcher
from cronsvc.executors.base import ExecutorSettings, NotInstalled, RunContext
from cronsvc.executors.children import CHUNK_BYTES, DRAINED_SECONDS, Child, Pipe
from cronsvc.executors.config_faults import PATH, known_names, read_config
from cronsvc.executors.jsonable import storable, tail

LAUNCHER = Path(launcher.__file__)
OUTPUT_BYTES = 65_536
RESULT_OUTPUT_BYTES = 8_192  # of each stream; the result sits in the hot table, the excerpt holds the rest
STDIN_BYTES = 262_144
ARGUMENTS_BYTES = 65_536
MOST_ARGUMENTS = 200


class CommandConfig(BaseModel):
    """The `config` of a COMMAND job."""

    model_config = ConfigDict(strict=True, extra="forbid")

    command: str = Field(min_length=1, description="the name of a command that the operator allows")
    arguments: list[str] = Field(default_factory=list, max_length=MOST_ARGUMENTS, description="a list of strings")
    stdin: str | None = Field(None, max_length=STDIN_BYTES, description=f"text of at most {STDIN_BYTES} characters")
    environment: dict[str, str] = Field(default_factory=dict, description="an object of names, each with a string")
    retry_exit_codes: list[int] | None = Field(
        None, alias="retryExitCodes", max_length=255, description="a list of exit codes, from 1 to 255"
    )


@dataclass(frozen=True, slots=True)
class PreparedCommand:
    """What to run. `retry_exit_codes`: None for all but 0."""

    name: str
    argv: tuple[str, ...]
    stdin: bytes | None
    environment: Mapping[str, str] = field(repr=False)
    retry_exit_codes: frozenset[int] | None


class Command:
    """The job type."""

    role = "admin"  # a program runs as the worker does
    secret_members = ("environment",)

    def __init__(self, settings: ExecutorSettings) -> None:
        self._allowed = settings.commands

    def parse(self, config: Mapping[str, Any]) -> PreparedCommand:
        """Check a config against what the operator grants; NotInstalled: this process lacks the command."""
        read = read_config(CommandConfig, config, kind="COMMAND")
        allowed = self._allowed.get(read.command)
        if allowed is None:
            reason = "COMMAND is off: the operator lists commands in CRONSVC_COMMANDS"
            if self._allowed:
                reason = f"there is no command {read.command[:100]!r} here; known: {known_names(self._allowed)}"
            raise NotInstalled([FieldError(f"{PATH}.command", reason)])
        if faults := [FieldError(f"{PATH}.{name}", fault) for name, fault in _faults(read, allowed)]:
            raise InvalidInput(faults)
        return PreparedCommand(
            name=read.command,
            argv=(*allowed.argv, *read.arguments),
            stdin=None if read.stdin is None else read.stdin.encode(),
            environment=read.environment,
            retry_exit_codes=None if read.retry_exit_codes is None else frozenset(read.retry_exit_codes),
        )

    async def run(self, config: PreparedCommand, context: RunContext) -> Outcome:
        """Run the program once."""
        program = config.argv[0]
        if not os.access(program, os.X_OK):
            reason = f"the program of {config.name} is not there, or may not be run, on this worker"
            return Outcome(error=ErrorDetail("command_unavailable", reason))
        output, errors = Pipe(), Pipe()
        said = _Tail(), _Tail()
        try:
            async with asyncio.timeout(context.timeout_seconds) as deadline:
                if needed := names(config.environment):
                    values = await context.secrets.values(needed)
                    config = replace(config, environment=filled(config.environment, values))
                code = await _run(config, context, (output, errors), said)
        except TimeoutError:
            if not deadline.expired():
                raise
            reason = f"{config.name} did not end within {context.timeout_seconds:g} s"
            return Outcome(error=ErrorDetail("timeout", reason), excerpt=_excerpt(*said))
        except OSError as error:
            reason = f"{config.name} could not be started: {error.strerror}"
            return Outcome(error=ErrorDetail("command_unavailable", reason))
        finally:
            output.close()
            errors.close()
        return _outcome(config, code, *said)

    async def close(self) -> None:
        """Nothing is kept between attempts."""
        return


def _faults(read: CommandConfig, allowed: Allowed) -> list[tuple[str, str]]:
    """What the operator does not grant, and what no program can be given."""
    faults: list[tuple[str, str]] = []
    if read.arguments and not allowed.arguments:
        faults.append(("arguments", f"may not be given for {read.command}: the operator has not allowed it"))
    elif not all(_is_passable(part) for part in read.arguments):
        faults.append(("arguments", "must be valid Unicode without NUL"))
    elif sum(len(part.encode()) + 1 for part in read.arguments) > ARGUMENTS_BYTES:
        faults.append(("arguments", f"must be {ARGUMENTS_BYTES} bytes or fewer altogether"))
    if read.stdin is not None and not allowed.stdin:
        faults.append(("stdin", f"may not be given for {read.command}: the operator has not allowed it"))
    elif read.stdin is not None and not _is_unicode(read.stdin):
        faults.append(("stdin", "must be valid Unicode"))
    for name, value in read.environment.items():
        if name not in allowed.environment:
            known = ", ".join(allowed.environment) or "none"
            faults.append((f"environment.{name[:100]}", f"may not be set for {read.command}; allowed: {known}"))
        elif not _is_passable(value) or len(value) > ARGUMENTS_BYTES:
            faults.append((f"environment.{name}", f"must be at most {ARGUMENTS_BYTES} characters without NUL"))
    if not all(1 <= code <= 255 for code in read.retry_exit_codes or ()):
        faults.append(("retryExitCodes", "must be a list of exit codes, from 1 to 255"))
    return faults


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _is_passable(text: str) -> bool:
    return "\0" not in text and _is_unicode(text)


def _environment(config: PreparedCommand, context: RunContext) -> dict[str, str]:
    """What a program gets of an environment: nothing of the worker's own, which holds its secrets."""
    return {
        "PATH": os.defpath,
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "HOME": "/nonexistent",
        **config.environment,
        "JOB_ID": str(context.job_id),
        "EXECUTION_ID": str(context.execution_id),
        "EXECUTION_ATTEMPT": str(context.attempt),
        "SCHEDULED_TIME": context.scheduled_time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "IDEMPOTENCY_KEY": context.idempotency_key,
    }


async def _run(
    config: PreparedCommand, context: RunContext, pipes: tuple[Pipe, Pipe], said: "tuple[_Tail, _Tail]"
) -> int:
    """Start it, listen, and wait for its end; the exit code, or minus the signal's number."""
    child = Child.start(
        [sys.executable, "-I", "-S", LAUNCHER, str(os.getpid()), *config.argv],
        environment=_environment(config, context),
        stdin=config.stdin,
        stdout=pipes[0].writing,
        stderr=pipes[1].writing,
        directory="/",
    )
    listening: list[asyncio.Task[None]] = []
    try:
        for pipe, end in zip(pipes, said, strict=True):
            listening.append(asyncio.create_task(end.listen(await pipe.open())))
        code = await child.ended()
        # What it left behind was killed with it; only what fled its group could still hold the pipes.
        await asyncio.wait(listening, timeout=DRAINED_SECONDS)
        return code
    finally:
        await child.stop()
        for task in listening:
            task.cancel()


class _Tail:
    """The end of a stream, and how much there was."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self.size = 0

    async def listen(self, stream: asyncio.StreamReader) -> None:
        """Read to the end, keep the last OUTPUT_BYTES."""
        while chunk := await stream.read(CHUNK_BYTES):
            self.size += len(chunk)
            self._kept += chunk
            if len(self._kept) > 2 * OUTPUT_BYTES:
                del self._kept[:-OUTPUT_BYTES]

    def text(self, limit: int) -> str:
        return tail(storable(self._kept[-limit:].decode(errors="replace")), limit)


def _excerpt(output: _Tail, errors: _Tail) -> str | None:
    """Both ends, half of the room for each; None when it said nothing."""
    if not errors.size:
        return output.text(OUTPUT_BYTES) or None
    room = OUTPUT_BYTES // 2 - 20
    return f"{output.text(room)}\n--- stderr ---\n{errors.text(room)}" if output.size else errors.text(OUTPUT_BYTES)


def _outcome(config: PreparedCommand, code: int, output: _Tail, errors: _Tail) -> Outcome:
    result: dict[str, Any] = {
        "exitCode": code,
        "stdout": output.text(RESULT_OUTPUT_BYTES),
        "stderr": errors.text(RESULT_OUTPUT_BYTES),
    }
    if max(output.size, errors.size) > RESULT_OUTPUT_BYTES:
        result["truncated"] = True
    error = None
    if code:
        how = f"left with exit code {code}" if code > 0 else f"was ended by signal {-code}"
        error = ErrorDetail("exit_code" if code > 0 else "signal", f"{config.name} {how}")
    codes = config.retry_exit_codes
    return Outcome(
        error=error,
        retryable=codes is None or code in codes or code < 0,
        result=result,
        excerpt=_excerpt(output, errors),
    )
