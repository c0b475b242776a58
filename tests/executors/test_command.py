"""COMMAND with real programs: what a job may decide, what it may not, and what ends a program."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from cronsvc.config import load_settings
from cronsvc.config_values import Command as Allowed
from cronsvc.domain.execution import Outcome
from cronsvc.errors import ConfigError
from cronsvc.executors.base import ExecutorSettings, NotInstalled
from cronsvc.executors.command import OUTPUT_BYTES, Command
from tests.executors.attempts import context, faults, gone, pids_in
from tests.executors.secrets import attempt_with

SHELL = "/bin/sh"
ALLOWED = {
    "echo": Allowed(argv=("/bin/echo", "first"), arguments=True),
    "fixed": Allowed(argv=("/bin/echo", "only")),
    "cat": Allowed(argv=("/bin/cat",), stdin=True),
    "env": Allowed(argv=("/usr/bin/env",), environment=("TARGET",)),
    "exit": Allowed(argv=(SHELL, "-c", 'exit "$0"'), arguments=True),
    "shell": Allowed(argv=(SHELL, "-c"), arguments=True),  # no operator should; tests may
    "python": Allowed(argv=(sys.executable, "-c"), arguments=True),
    "missing": Allowed(argv=("/nowhere/program",)),
    "not-a-program": Allowed(argv=("/etc/passwd",)),
}


def command() -> Command:
    return Command(ExecutorSettings(commands=ALLOWED))


async def run(name: str, *arguments: str, timeout: float = 60.0, **config: Any) -> Outcome:
    executor = command()
    given = {"command": name, **({"arguments": list(arguments)} if arguments else {}), **config}
    return await executor.run(executor.parse(given), context(timeout=timeout))


async def test_a_program_with_arguments() -> None:
    outcome = await run("echo", "second", "third one")
    assert outcome.error is None
    assert outcome.result == {"exitCode": 0, "stdout": "first second third one\n", "stderr": ""}
    assert outcome.excerpt == "first second third one\n"


@pytest.mark.parametrize(
    "argument", ["; id", "$(id)", "`id`", "| id", "&& id", "\n id", "' \"", "-e", "*", "${PATH}", "\\", "%s", "ä€😀"]
)
async def test_no_shell_reads_an_argument(argument: str) -> None:
    outcome = await run("echo", "--", argument)
    assert outcome.result["stdout"] == f"first -- {argument}\n"


async def test_what_the_operator_has_not_granted_is_refused() -> None:
    executor = command()
    refused = faults(
        executor, {"command": "fixed", "arguments": ["more"], "stdin": "text", "environment": {"LD_PRELOAD": "/tmp/x"}}
    )
    assert set(refused) == {"arguments", "stdin", "environment.LD_PRELOAD"}
    assert (
        "the operator has not allowed it" in refused["arguments"]
        and "allowed: none" in refused["environment.LD_PRELOAD"]
    )
    assert (
        "allowed: TARGET" in faults(executor, {"command": "env", "environment": {"PATH": "/tmp"}})["environment.PATH"]
    )
    assert "environment.TARGET" in faults(executor, {"command": "env", "environment": {"TARGET": "a\x00b"}})
    assert "NUL" in faults(executor, {"command": "echo", "arguments": ["a\x00b"]})["arguments"]
    assert "arguments" in faults(executor, {"command": "echo", "arguments": ["\ud800"]})
    assert "arguments" in faults(executor, {"command": "echo", "arguments": ["x" * 70_000]})
    assert "arguments" in faults(executor, {"command": "echo", "arguments": "x"})
    assert "retryExitCodes" in faults(executor, {"command": "echo", "retryExitCodes": [0]})
    assert "did you mean command" in faults(executor, {"comand": "echo"})["comand"]
    for name in ("/bin/echo", "ECHO", "../echo", "echo ", "rm"):
        with pytest.raises(NotInstalled) as caught:
            executor.parse({"command": name})
        assert not caught.value.elsewhere


def test_it_is_off_unless_commands_are_listed() -> None:
    assert "COMMAND is off" in faults(Command(ExecutorSettings()), {"command": "echo"})["command"]


async def test_the_environment_is_minimal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRONSVC_CANARY", "secret-of-the-worker")
    outcome = await run("env", environment={"TARGET": "a=b c"})
    seen = dict(line.partition("=")[::2] for line in outcome.result["stdout"].splitlines())
    assert set(seen) <= {
        "PATH", "LC_ALL", "TZ", "HOME", "TARGET", "JOB_ID", "EXECUTION_ID", "EXECUTION_ATTEMPT", "SCHEDULED_TIME",
        "IDEMPOTENCY_KEY", "LC_CTYPE",
    }  # fmt: skip
    assert seen["TARGET"] == "a=b c" and seen["SCHEDULED_TIME"] == "2026-01-31T09:00:00Z"
    assert seen["IDEMPOTENCY_KEY"] == context().idempotency_key


async def test_standard_input() -> None:
    text = "ä" * 100_000
    outcome = await run("cat", stdin=text)
    assert outcome.excerpt is not None and outcome.excerpt == "ä" * (OUTPUT_BYTES // 2)
    assert outcome.result["truncated"] is True and outcome.result["stdout"] == "ä" * 4_096
    assert (await run("cat")).result["stdout"] == ""  # none given: at its end at once


@pytest.mark.parametrize(
    ("code", "codes", "retryable"),
    [("0", None, True), ("1", None, True), ("75", [75], True), ("1", [75], False), ("1", [], False)],
)
async def test_exit_codes(code: str, codes: list[int] | None, retryable: bool) -> None:
    given: dict[str, Any] = {} if codes is None else {"retryExitCodes": codes}
    outcome = await run("exit", code, **given)
    if code == "0":
        assert outcome.error is None
    else:
        assert outcome.error is not None and outcome.error.type == "exit_code"
        assert outcome.error.message == f"exit left with exit code {code}" and outcome.retryable is retryable
        assert outcome.result["exitCode"] == int(code)


async def test_the_ends_of_both_streams_are_kept() -> None:
    script = (
        "import sys; sys.stdout.write('o' * 300_000 + 'END'); sys.stderr.write('\\0\\udc80' * 3 + 'ERR'); sys.exit(2)"
    )
    script = script.replace("'\\0\\udc80' * 3", "chr(0) * 3")
    outcome = await run("python", script)
    assert outcome.error is not None and outcome.excerpt is not None
    output, _, errors = outcome.excerpt.partition("\n--- stderr ---\n")
    assert output.endswith("oEND") and errors == "\ufffd\ufffd\ufffdERR"
    assert len(outcome.excerpt.encode()) <= OUTPUT_BYTES
    assert outcome.result["stdout"].endswith("oEND") and len(outcome.result["stdout"]) == 8_192


async def test_a_signal_that_was_not_ours() -> None:
    outcome = await run("shell", "kill -SEGV $$")
    assert outcome.error is not None and (outcome.error.type, outcome.retryable) == ("signal", True)


def stubborn(pids: Path) -> str:
    return f"trap '' TERM; sleep 600 & echo said; echo $$ $! > {pids}; while :; do wait; done"


async def test_a_timeout_kills_the_whole_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    outcome = await run("shell", stubborn(pids), timeout=1.5)
    assert outcome.error is not None and outcome.error.type == "timeout" and outcome.excerpt == "said\n"
    await gone(*await pids_in(pids))


async def test_a_cancellation_kills_the_whole_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    running = asyncio.create_task(run("shell", stubborn(pids)))
    found = await pids_in(pids)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await gone(*found)


async def test_a_program_has_a_moment_after_sigterm(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    script = f"trap 'echo cleaned > {kept}; exit 0' TERM; echo $$ 0 > {tmp_path}/pids; while :; do sleep 0.02; done"
    running = asyncio.create_task(run("shell", script))
    await pids_in(tmp_path / "pids")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert kept.read_text() == "cleaned\n"


async def test_a_daemon_that_flees_holds_up_nobody(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys; p = subprocess.Popen(['/bin/sleep', '600'], start_new_session=True);"
        "print(p.pid); sys.stdout.flush()"
    )
    outcome = await run("python", script, timeout=30)
    assert outcome.error is None
    os.kill(int(outcome.result["stdout"]), 9)


async def test_a_program_that_is_not_there() -> None:
    outcome = await run("missing")
    assert outcome.error is not None and outcome.error.type == "command_unavailable" and outcome.retryable


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
async def test_a_program_dies_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        "import asyncio; from tests.executors.test_command import run, stubborn; from pathlib import Path;"
        f"asyncio.run(run('shell', stubborn(Path({str(pids)!r}))))"
    )
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=Path(__file__).parents[2])
    program, sleeper = await pids_in(pids)
    worker.kill()
    await worker.wait()
    try:
        await gone(program)
    finally:
        os.kill(sleeper, 9)


@pytest.mark.parametrize(
    "value",
    [
        "echo=/bin/echo", '["/bin/echo"]', '{"a": ["/bin/echo"]}', '{"a": {"argv": []}}', '{"a": {"argv": ["echo"]}}',
        '{"a": {"argv": ["/bin/echo"], "shell": true}}', '{"a b": {"argv": ["/bin/echo"]}}',
        '{"a": {"argv": ["/bin/echo"], "environment": ["A=B"]}}', '{"a": {"argv": ["/bin/echo"], "arguments": "yes"}}',
    ],
)  # fmt: skip
def test_a_list_of_commands_that_cannot_be_meant(value: str) -> None:
    with pytest.raises(ConfigError, match="CRONSVC_COMMANDS: "):
        load_settings({"CRONSVC_COMMANDS": value})


async def test_a_variable_from_a_secret() -> None:
    executor = command()
    parsed = executor.parse({"command": "env", "environment": {"TARGET": "to {{secret:token}}"}})
    given, _ = attempt_with(token="hunter22")
    outcome = await executor.run(parsed, given)
    assert "TARGET=to hunter22\n" in outcome.result["stdout"]
    assert "hunter22" not in repr(parsed)
