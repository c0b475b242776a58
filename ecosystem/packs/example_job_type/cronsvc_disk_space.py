"""DISK_SPACE: a job type that fails while a disk is too full. Copy this file to begin one of your own.

{"path": "/var/lib/postgresql", "leastFreePercent": 10}
"""

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cronsvc.domain.execution import ErrorDetail, Outcome
from cronsvc.errors import FieldError, InvalidInput
from cronsvc.executors.base import ExecutorSettings, RunContext


@dataclass(frozen=True, slots=True)
class Check:
    path: str
    least_free_percent: float


class DiskSpace:
    def __init__(self, settings: ExecutorSettings) -> None:
        """Made once a process; `settings` is what the operator grants to job types."""

    def parse(self, config: Mapping[str, Any]) -> Check:
        """Called when a job is saved and again in the worker: name every bad field, touch nothing outside."""
        path, percent = config.get("path"), config.get("leastFreePercent", 10)
        faults: list[FieldError] = []
        if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
            faults.append(FieldError("taskPayload.config.path", "must be an absolute path"))
        if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
            faults.append(FieldError("taskPayload.config.leastFreePercent", "must be a number from 0 to 100"))
        faults += [
            FieldError(f"taskPayload.config.{name}", "is not a setting of DISK_SPACE")
            for name in config
            if name not in ("path", "leastFreePercent")
        ]
        if faults:
            raise InvalidInput(faults)
        return Check(str(path), float(percent))

    async def run(self, config: Check, context: RunContext) -> Outcome:
        """One attempt. cronsvc has a timeout around it, tries again if it says so, and writes down what it returns."""
        try:
            usage = await asyncio.to_thread(shutil.disk_usage, config.path)
        except OSError as error:
            return Outcome(error=ErrorDetail("disk_unreadable", f"{config.path}: {error.strerror}"), retryable=False)
        free = 100 * usage.free / usage.total
        context.log("measured", path=config.path, freePercent=round(free, 1))
        await context.progress(100)
        result = {"freePercent": round(free, 1), "freeBytes": usage.free}
        if free < config.least_free_percent:
            words = f"{config.path} has {free:.1f} % left, less than {config.least_free_percent:g} %"
            return Outcome(error=ErrorDetail("disk_full", words), result=result)
        return Outcome(result=result)

    async def close(self) -> None:
        """Called once at the end; there is nothing to let go of."""
