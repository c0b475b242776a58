"""An instant that comes while a job is being edited belongs to the old definition or to the new, never to neither."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cronsvc.domain.schedule import Schedule
from cronsvc.services import jobs as service
from cronsvc.services.scheduling import settle
from cronsvc.store.pool import Database
from tests.support.control import ALICE, Desk, definition
from tests.support.rows import fetch, one
from tests.support.waiting import until

FAR = datetime(2031, 5, 1, 12, tzinfo=UTC)


async def _clock(db: Database) -> datetime:
    instant: datetime = (await one(db, "SELECT clock_timestamp()"))[0]
    return instant


async def test_an_instant_between_settling_and_the_new_definition_is_not_lost(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(db)
    every_second = definition(schedule=Schedule(cron_expression="* * * * * *"))
    job = await desk.jobs.create(every_second, ALICE)
    settled: list[datetime] = []

    async def slow_settle(*args: Any, **options: Any) -> Any:
        tickets = await settle(*args, **options)
        settled.append(await _clock(db))

        async def a_second_later() -> bool:
            return (await _clock(db)).replace(microsecond=0) > settled[0]

        await until(a_second_later, what="the next instant")
        return tickets

    monkeypatch.setattr(service, "settle", slow_settle)
    edited = definition(schedule=Schedule(cron_expression="* * * * * *", end_at=FAR))
    changed = await desk.jobs.replace(job.id, edited, ALICE)
    recorded = [time for (time,) in await fetch(db, "SELECT scheduled_time FROM job_executions")]
    assert changed.next_fire_time is not None and job.next_fire_time is not None
    # Every second from the first instant on has a row, or is the cursor.
    accounted = sorted({*recorded, changed.next_fire_time})
    assert accounted[0] == job.next_fire_time
    assert accounted[-1] - accounted[0] == timedelta(seconds=len(accounted) - 1)
    assert changed.next_fire_time <= settled[0] + timedelta(seconds=1)
