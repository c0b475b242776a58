"""A chore or a round of the scheduler that keeps failing says so and goes on."""

import asyncio
import logging
from typing import Any, cast

import pytest

from cronsvc.config import Settings
from cronsvc.errors import Unavailable
from cronsvc.processes import scheduler
from cronsvc.services.dispatch import Dispatcher
from cronsvc.services.fence import Fence
from cronsvc.services.scheduling import Scheduling
from cronsvc.services.self_check import SelfCheck
from cronsvc.services.settling import MOST_ENDS
from cronsvc.store.listen import Doorbell
from cronsvc.store.pool import Database
from tests.processes.test_worker_queues import settings_for


class _Fails:
    """Fails so often, then works and says so."""

    def __init__(self, times: int, error: Exception) -> None:
        self.batches: list[int] = []
        self.worked = asyncio.Event()
        self._left = times
        self._error = error

    async def __call__(self, *args: Any, batch: int = 0, **options: Any) -> int:
        self.batches.append(batch)
        if self._left:
            self._left -= 1
            raise self._error
        self.worked.set()
        return 0


class _Open:
    """A fence that holds nothing back."""

    async def holds(self) -> bool:
        return False


@pytest.fixture
def loop() -> scheduler._Loop:
    doorbell = Doorbell("postgresql://", application_name="test")
    settings = Settings()
    fence = cast(Fence, _Open())
    return scheduler._Loop(
        cast(Scheduling, None), cast(Dispatcher, None), cast(Database, None), doorbell, settings, fence
    )


async def until_it_works(chore: Any, act: _Fails) -> None:
    task = asyncio.create_task(chore)
    try:
        async with asyncio.timeout(10):
            done = asyncio.create_task(act.worked.wait())
            await asyncio.wait([task, done], return_when=asyncio.FIRST_COMPLETED)
        assert done.done(), "the chore has ended"
        await asyncio.sleep(0)
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize(("times", "said"), [(2, 0), (3, 1), (9, 1)])
async def test_a_chore_that_keeps_failing_is_named(times: int, said: int, caplog: pytest.LogCaptureFixture) -> None:
    act = _Fails(times, Unavailable("no answer"))
    with caplog.at_level(logging.INFO, "cronsvc.scheduler"):
        await until_it_works(scheduler._every("deadlines", 0, act), act)
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert warnings == ["chore 'deadlines' has failed 3 times in a row: no answer"] * said


async def test_a_defect_of_one_chore_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    act = _Fails(4, RuntimeError("a defect"))
    with caplog.at_level(logging.INFO, "cronsvc.scheduler"):
        await until_it_works(scheduler._every("audit", 0, act), act)
    (warning,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert warning.getMessage() == "chore 'audit' has failed 3 times in a row: a defect"
    assert warning.exc_info is not None  # and where


async def test_a_defect_of_the_self_check_leaves_the_api_running(monkeypatch: pytest.MonkeyPatch) -> None:
    act = _Fails(2, RuntimeError("a defect"))
    monkeypatch.setattr("cronsvc.services.self_check.EVERY_SECONDS", 0)
    check = SelfCheck(cast(Database, None))
    monkeypatch.setattr(check, "look", act)
    await until_it_works(check.keep(asyncio.Event()), act)


@pytest.mark.parametrize("error", [Unavailable("no answer"), RuntimeError("a defect")])
async def test_ends_that_cannot_be_acted_on_are_tried_in_smaller_batches(
    error: Exception, loop: scheduler._Loop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    act = _Fails(10, error)
    monkeypatch.setattr(scheduler, "settle_ends", act)
    monkeypatch.setattr(scheduler, "ENDS_SECONDS", 0)
    with caplog.at_level(logging.WARNING, "cronsvc.scheduler"):
        await until_it_works(loop._settle_ends(), act)
    assert act.batches[:4] == [MOST_ENDS, MOST_ENDS // 2, MOST_ENDS // 4, MOST_ENDS // 8]
    assert act.batches[9:11] == [1, 1]
    assert [each.getMessage() for each in caplog.records] == [f"chore 'ends' has failed 3 times in a row: {error}"]


@pytest.mark.parametrize("error", [Unavailable("no answer"), RuntimeError("no answer")])
async def test_backfills_that_keep_failing_are_named(
    error: Exception, loop: scheduler._Loop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    act = _Fails(3, error)
    monkeypatch.setattr(scheduler, "advance_backfills", act)
    monkeypatch.setattr(scheduler, "BACKFILL_SECONDS", 0)
    with caplog.at_level(logging.WARNING, "cronsvc.scheduler"):
        await until_it_works(loop._advance_backfills(), act)
    assert [each.getMessage() for each in caplog.records] == [
        "chore 'backfills' has failed 3 times in a row: no answer"
    ]


async def test_a_defect_met_by_a_round_does_not_end_the_scheduler(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fails, tick = _Fails(2, RuntimeError("a defect")), Scheduling.tick

    async def ticking(self: Scheduling) -> Any:
        await fails()
        return await tick(self)

    monkeypatch.setattr(Scheduling, "tick", ticking)
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(scheduler.run_scheduler(settings_for(database_url, redis_url), stop, ready=ready))
    try:
        with caplog.at_level(logging.INFO, "cronsvc.scheduler"):
            async with asyncio.timeout(30):
                working = asyncio.create_task(ready.wait())
                await asyncio.wait([running, working], return_when=asyncio.FIRST_COMPLETED)
        assert working.done(), "the scheduler has ended"
    finally:
        stop.set()
        async with asyncio.timeout(30):
            await running
    (error,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert error.getMessage() == "a round of the scheduler failed and is tried again: a defect"
    assert error.exc_info is not None
    assert "scheduler is ticking again" in caplog.messages
