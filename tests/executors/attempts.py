"""Attempts without a Runner: a context whose reporter keeps what it hears."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cronsvc.errors import InvalidInput
from cronsvc.executors.base import Executor, RunContext
from tests.support.waiting import until


class Heard:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []
        self.percents: list[tuple[float, str | None]] = []
        self.dropped = 0

    def progress(self, percent: float, note: str | None) -> None:
        self.percents.append((percent, note))

    def log(self, message: str, level: str, fields: Mapping[str, Any]) -> None:
        self.lines.append((message, level, dict(fields)))

    def lost(self, count: int) -> None:
        self.dropped += count


def context(*, timeout: float = 60.0, max_attempts: int = 3, heard: Heard | None = None) -> RunContext:
    return RunContext(
        execution_id=42,
        job_id=7,
        job_name="a job",
        scheduled_time=datetime(2026, 1, 31, 9, tzinfo=UTC),
        attempt=1,
        max_attempts=max_attempts,
        claim_no=1,
        timeout_seconds=timeout,
        reporter=heard or Heard(),
    )


def faults(executor: Executor, config: Any) -> dict[str, str]:
    """What `parse` says is wrong, by field below `taskPayload.config`."""
    try:
        executor.parse(config)
    except InvalidInput as error:
        return {each.field.removeprefix("taskPayload.config").lstrip("."): each.reason for each in error.errors}
    raise AssertionError("the config was accepted")


def is_running(pid: int) -> bool:
    """False for a zombie too: nobody may reap an orphan in a container."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(*pids: int) -> None:
    async def all_gone() -> bool:
        return not any(is_running(pid) for pid in pids)

    await until(all_gone, seconds=20, what=f"the end of {pids}")


def _words(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


async def pids_in(path: Path, count: int = 2) -> list[int]:
    """The pids that a child writes there once it runs."""

    async def written() -> bool:
        return len(_words(path)) == count

    await until(written, what="the child's own word that it runs")
    return [int(pid) for pid in _words(path)]
