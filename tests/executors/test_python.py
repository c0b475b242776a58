"""PYTHON with real handlers: in the loop, in real children, and what ends them."""

import asyncio
import os
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import uvloop

from cronsvc.domain.execution import Outcome
from cronsvc.errors import ConfigError
from cronsvc.executors.base import ExecutorSettings, NotInstalled
from cronsvc.executors.handler_registry import load_handlers
from cronsvc.executors.python import Python
from tests.executors.attempts import Heard, context, faults, gone, pids_in

MODULE = "tests.support.handlers"
BOTH = pytest.mark.parametrize("suffix", ["", "-sync"])


def python() -> Python:
    return Python(ExecutorSettings(handler_modules=(MODULE,)), installed=())


async def call(name: str, *, heard: Heard | None = None, timeout: float = 60.0, **params: Any) -> Outcome:
    executor = python()
    config = executor.parse({"handler": name, "params": params})
    return await executor.run(config, context(heard=heard, timeout=timeout))


async def test_an_async_handler_runs_here_and_a_plain_one_in_a_child() -> None:
    here = await call("echo", a=1)
    assert here.error is None and here.result == {"params": {"a": 1}, "attempt": 1, "pid": os.getpid()}
    there = await call("echo-sync", a=[1, {"b": None}])
    assert there.error is None and there.result["pid"] != os.getpid()
    assert there.result["params"] == {"a": [1, {"b": None}]}
    assert there.result["at"] == "2026-01-31T09:00:00+00:00"
    assert there.result["key"] == context().idempotency_key


@BOTH
async def test_a_batch_counts_errors_and_goes_on(suffix: str) -> None:
    heard = Heard()
    outcome = await call("sync-users" + suffix, heard=heard, users=250)
    assert outcome.error is None
    assert outcome.result == {
        "processed": 250,
        "succeeded": 248,
        "errors": 2,
        "firstErrors": [
            {"item": "99", "error": "ValueError: user 99 has no address"},
            {"item": "199", "error": "ValueError: user 199 has no address"},
        ],
    }
    assert heard.percents == [
        (40, "100 of 250, 1 errors"),
        (80, "200 of 250, 2 errors"),
        (100, "250 of 250, 2 errors"),
    ]
    assert [(message, level) for message, level, _ in heard.lines] == [
        ("ValueError: user 99 has no address", "error"),
        ("ValueError: user 199 has no address", "error"),
    ]


async def test_a_batch_lists_ten_errors_only() -> None:
    outcome = await call("sync-users", users=2000)
    assert (outcome.result["errors"], len(outcome.result["firstErrors"])) == (20, 10)


@BOTH
@pytest.mark.parametrize(
    ("what", "message", "retryable", "after"),
    [
        ("value", "ValueError: no such", True, None),
        ("permanent", "Permanent: the account is closed", False, None),
        ("retry", "Retry: busy", True, 17.0),
        ("exit", "SystemExit: 3", True, None),
        ("cancel", "CancelledError", True, None),
        ("timeout", "TimeoutError: the partner's, not ours", True, None),
    ],
)
async def test_what_a_handler_raises_is_its_error(
    suffix: str, what: str, message: str, retryable: bool, after: float | None
) -> None:
    outcome = await call("raise" + suffix, what=what)
    assert outcome.error is not None and outcome.error.type == "handler_error"
    assert outcome.error.message.startswith(message)
    assert len(outcome.error.message) <= 2_000 and "\x00" not in outcome.error.message
    assert (outcome.retryable, outcome.retry_after) == (retryable, after)
    assert outcome.excerpt is not None and "_raise" in outcome.excerpt and "\x00" not in outcome.excerpt


@pytest.mark.parametrize(
    ("how", "message"),
    [("exit", "exit code 7"), ("segfault", "signal 11"), ("kill", "signal 9"), ("nonsense", "left its pipe")],
)
async def test_a_child_that_dies_is_an_error_and_no_hang(how: str, message: str) -> None:
    heard = Heard()
    outcome = await call("die", heard=heard, how=how)
    assert outcome.error is not None and outcome.error.type == "handler_died"
    assert message in outcome.error.message and outcome.retryable
    assert [message for message, _, _ in heard.lines] == ["about to die"]


async def test_a_timeout_kills_a_child_that_ignores_sigterm_and_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    outcome = await call("stubborn", timeout=2.5, pids=str(pids))
    assert outcome.error is not None and outcome.error.type == "timeout" and outcome.retryable
    found = await pids_in(pids)
    assert len(found) == 2
    await gone(*found)


async def test_a_cancellation_kills_the_child_and_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    running = asyncio.create_task(call("stubborn", pids=str(pids)))
    found = await pids_in(pids)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await gone(*found)


async def test_a_second_cancellation_does_not_leave_the_child(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    running = asyncio.create_task(call("stubborn", pids=str(pids)))
    found = await pids_in(pids)
    running.cancel()
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await gone(*found)


async def test_what_a_handler_leaves_behind_goes_with_it(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    outcome = await call("lingering", pids=str(pids))
    assert outcome.result == "done"
    await gone(*await pids_in(pids, 1))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
async def test_a_child_dies_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = (
        "import asyncio; from tests.executors.test_python import call;"
        f"asyncio.run(call('stubborn', pids={str(pids)!r}))"
    )
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", script, cwd=Path(__file__).parents[2])
    handler, grandchild = await pids_in(pids)
    worker.kill()
    await worker.wait()
    try:
        await gone(handler)
    finally:
        os.kill(grandchild, 9)  # nobody's business but the handler's


async def test_an_async_handler_is_cancelled_by_its_timeout() -> None:
    heard = Heard()
    outcome = await call("patient", heard=heard, timeout=0.2)
    assert outcome.error is not None and outcome.error.type == "timeout"
    assert (heard.percents, heard.lines) == ([(40, "waiting")], [("waiting", "info", {"user": "ada"})])


async def test_a_chatty_child_neither_waits_nor_floods() -> None:
    heard = Heard()
    outcome = await call("chatty-sync", heard=heard, lines=20_000)
    assert outcome.result == "done"
    assert len(heard.lines) + heard.dropped == 20_000 and heard.dropped > 0
    assert heard.lines[0][0] == "line 0" and heard.lines[-1][0] == "line 19999"
    assert int(heard.percents[-1][0]) == 99


async def test_results_are_json_and_capped() -> None:
    small = await call("large", size=10)
    assert small.result == {"text": "x" * 10, "odd": [1, 2], "nan": "nan", "bytes": "AA=="}
    large = await call("large", size=100_000)
    assert large.error is None and large.result["truncated"] is True and len(large.result["excerpt"]) == 8_192


def test_configs() -> None:
    executor = python()
    assert faults(executor, {}) == {"handler": "is required"}
    assert faults(executor, []) == {"": "must be an object"}
    wrong = faults(executor, {"handler": 5, "params": [1], "parms": {}})
    assert wrong["handler"] == "must be the name of a handler" and "an object" in wrong["params"]
    assert "did you mean params" in wrong["parms"]
    unknown = faults(executor, {"handler": "os:system"})["handler"]
    assert "'os:system'" in unknown and "known: chatty" in unknown
    for name in ("unmarked", f"{MODULE}:unmarked", "tests.support.handlers.unmarked", "__import__"):
        with pytest.raises(NotInstalled) as caught:
            executor.parse({"handler": name})
        assert not caught.value.elsewhere


def test_a_process_without_handlers_cannot_judge() -> None:
    with pytest.raises(NotInstalled) as caught:
        Python(ExecutorSettings(), installed=()).parse({"handler": "echo"})
    assert caught.value.elsewhere


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, "cronsvc.handlers")


async def test_a_handler_by_entry_point() -> None:
    executor = Python(ExecutorSettings(), installed=[entry("other-name", f"{MODULE}:echo_sync")])
    outcome = await executor.run(executor.parse({"handler": "other-name"}), context())
    assert outcome.result["attempt"] == 1


def test_handlers_that_cannot_be_loaded_are_named() -> None:
    assert set(load_handlers([MODULE], installed=[entry("echo", f"{MODULE}:echo")])) >= {"echo", "die"}
    cases: list[tuple[list[str], list[EntryPoint], str]] = [
        (["no.such.module"], [], "no.such.module cannot be imported: ModuleNotFoundError"),
        ([], [entry("x", f"{MODULE}:missing")], "handler x .* cannot be loaded: AttributeError"),
        ([], [entry("x", "os:sep")], "handler x .* is not a function"),
        ([], [entry("x", "os:getcwd")], "handler x .* must take one argument"),
        ([MODULE], [entry("echo", f"{MODULE}:die")], "two handlers are called echo"),
    ]
    for modules, installed, words in cases:
        with pytest.raises(ConfigError, match=words):
            load_handlers(modules, installed=installed)


async def test_the_handler_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    blocks = [block for block in re.findall(r"(?ms)^```python\n(.*?)^```$", readme) if "cronsvc.handlers" in block]
    assert len(blocks) == 2
    modules = tuple(f"handlers_of_the_readme_{number}" for number in range(len(blocks)))
    for module, code in zip(modules, blocks, strict=True):
        (tmp_path / f"{module}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    executor = Python(ExecutorSettings(handler_modules=modules), installed=())
    executor.parse({"handler": "sync-services"})
    outcome = await executor.run(executor.parse({"handler": "sync-users"}), context())
    assert (outcome.result["processed"], outcome.result["succeeded"], outcome.result["errors"]) == (250, 249, 1)
    assert outcome.result["firstErrors"] == [{"item": "99", "error": "ValueError: no address"}]


async def test_children_under_the_loop_of_the_worker(tmp_path: Path) -> None:
    """`cronsvc worker` runs on uvloop, whose pipes are its own."""

    async def all_of_it() -> None:
        assert (await call("echo-sync", a=1)).result["params"] == {"a": 1}
        died = await call("die", how="segfault")
        assert died.error is not None and died.error.type == "handler_died"
        late = await call("stubborn", timeout=2.5, pids=str(tmp_path / "pids"))
        assert late.error is not None and late.error.type == "timeout"

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(all_of_it())

    await asyncio.to_thread(run)
    await gone(*await pids_in(tmp_path / "pids"))
