"""cronsvc_v1.gaps: each kind of hole is in it, and nothing that only looks like one.

The ledger is written by the services; the holes are made by what no service does, deleting a row.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cronsvc.domain.schedule import Schedule
from cronsvc.services.backfilling import advance_backfills
from cronsvc.services.backfills import Wish
from cronsvc.services.history import History
from cronsvc.services.upkeep import drop_partitions, prune
from cronsvc.store import partitions
from cronsvc.store.pool import Database
from tests.support.control import ALICE, Desk, definition
from tests.support.ledger import AHEAD, START, Ledger, minute
from tests.support.rows import define, fetch


@pytest.fixture
async def ledger(db: Database) -> Ledger:
    job_id = await define(
        db,
        cron_expression="* * * * *",
        next_fire_time=START,
        armed_revision=1,
        misfire_policy="skip",
        misfire_grace_seconds=30,
        task_payload='{"type": "CALL", "config": {"url": "https://example.com/"}}',
    )
    return Ledger(db, Desk(db), job_id)


Plant = Callable[[Ledger], Awaitable[None]]


async def a_run(ledger: Ledger) -> None:
    await ledger.run(0, 3)
    await ledger.lose(2)


async def two_runs_in_a_row(ledger: Ledger) -> None:
    await ledger.run(0, 4)
    await ledger.lose(2)
    await ledger.lose(3)


async def a_single_misfire(ledger: Ledger) -> None:
    await ledger.tick(0)
    await ledger.tick(4)  # minutes 1 to 3 came too late
    await ledger.lose(2)


async def a_range(ledger: Ledger) -> None:
    await ledger.tick(0)
    await ledger.tick(100)
    await ledger.lose(1)


async def the_run_before_a_range(ledger: Ledger) -> None:
    await ledger.run(0, 1)
    await ledger.tick(100)
    await ledger.lose(1)


async def the_run_before_a_pause(ledger: Ledger) -> None:
    await ledger.run(0, 2)
    await a_pause_from(ledger, 3)
    await ledger.lose(2)


async def a_run_with_a_manual_one_beside_it(ledger: Ledger) -> None:
    await ledger.run(0, 3)
    await ledger.sql(
        "INSERT INTO job_executions (job_id, scheduled_time, trigger, status) VALUES (%s, %s, 'manual', 'SUCCESS')",
        ledger.job_id,
        minute(2) + timedelta(microseconds=1),
    )
    await ledger.lose(2)


async def the_last_run_before_an_edit(ledger: Ledger) -> None:
    await ledger.run(0, 2)
    await an_edit(ledger, "*/5 * * * *", 3)
    await ledger.tick(5)
    await ledger.lose(2)


async def a_run_among_pruned_ones(ledger: Ledger) -> None:
    await ledger.run(0, 5)
    await ledger.lose(3)
    await ledger.end_all()
    await ledger.sql(
        "UPDATE job_executions SET status = 'FAILED' WHERE scheduled_time IN (%s, %s)", minute(0), minute(4)
    )
    await ledger.sql("""UPDATE jobs SET retention = '{"keepCompleted": 1, "keepFailed": null, "days": 90}'""")
    assert await prune(ledger.db) == 2


HOLES: dict[Plant, list[tuple[int, int]]] = {
    # what is lost: the missing minute, and the one that knows of it
    a_run: [(2, 3)],
    two_runs_in_a_row: [(3, 4)],  # each row knows of one; minute 3 knew of minute 2
    a_single_misfire: [(2, 3)],
    a_range: [(99, 100)],
    the_run_before_a_range: [(1, 2)],
    the_run_before_a_pause: [(2, 3)],
    a_run_with_a_manual_one_beside_it: [(2, 3)],
    the_last_run_before_an_edit: [(2, 5)],
    a_run_among_pruned_ones: [(3, 4)],
}


@pytest.mark.parametrize("plant", HOLES, ids=lambda plant: plant.__name__)
async def test_a_hole_is_seen(ledger: Ledger, plant: Plant) -> None:
    await plant(ledger)
    assert await ledger.gaps() == [(minute(missing), minute(seen)) for missing, seen in HOLES[plant]]


async def a_quiet_day(ledger: Ledger) -> None:
    await ledger.run(0, 4)


async def a_misfire_range(ledger: Ledger) -> None:
    await ledger.tick(0)
    await ledger.tick(100)
    await ledger.tick(101)


async def single_misfires(ledger: Ledger) -> None:
    await ledger.tick(0)
    await ledger.tick(9)


async def a_pause_from(ledger: Ledger, first: int) -> None:
    await ledger.desk.jobs.pause(ledger.job_id, ALICE)
    await ledger.sql("UPDATE jobs SET next_fire_time = %s WHERE id = %s", minute(first), ledger.job_id)
    await ledger.desk.jobs.resume(ledger.job_id, ALICE)


async def a_pause(ledger: Ledger) -> None:
    """Resuming accounts for every minute up to the real now, and the next tick goes on from there."""
    await ledger.run(0, 2)
    await a_pause_from(ledger, 3)
    await ledger.tick(AHEAD)


async def an_edit(ledger: Ledger, expression: str, after: int) -> None:
    """A change of the schedule by SQL, counted from a minute."""
    await ledger.sql(
        "UPDATE jobs SET cron_expression = %s, next_fire_time = %s, armed_revision = revision + 1 WHERE id = %s",
        expression,
        minute(after),
        ledger.job_id,
    )


async def an_edit_of_the_schedule(ledger: Ledger) -> None:
    await ledger.run(0, 2)
    await an_edit(ledger, "*/5 * * * *", 10)
    await ledger.tick(20)
    await an_edit(ledger, "* * * * *", 30)
    await ledger.tick(33)


async def an_edit_by_the_api(ledger: Ledger) -> None:
    await ledger.run(0, 2)
    job = await ledger.desk.jobs.create(definition(schedule=Schedule(cron_expression="* * * * *")), ALICE)
    await ledger.sql("UPDATE jobs SET next_fire_time = %s WHERE id = %s", minute(0), job.id)
    changed = replace(job.definition, schedule=Schedule(cron_expression="*/7 * * * *"))
    await ledger.desk.jobs.replace(job.id, changed, ALICE)  # records everything up to now first
    await ledger.tick(AHEAD)
    await ledger.desk.jobs.delete(job.id, ALICE)


async def an_inactive_stretch(ledger: Ledger) -> None:
    await ledger.run(0, 2)
    await ledger.sql("UPDATE jobs SET is_active = false WHERE id = %s", ledger.job_id)
    await ledger.sql("UPDATE jobs SET is_active = true WHERE id = %s", ledger.job_id)
    await ledger.tick(AHEAD)


async def manual_runs_between(ledger: Ledger) -> None:
    for number in range(3):
        await ledger.tick(number)
        await ledger.desk.jobs.trigger(ledger.job_id, ALICE)
    await ledger.tick(3)


async def a_manual_run_before_the_first(ledger: Ledger) -> None:
    await ledger.sql(
        "INSERT INTO job_executions (job_id, scheduled_time, trigger, status) VALUES (%s, %s, 'manual', 'SUCCESS')",
        ledger.job_id,
        minute(-2) + timedelta(microseconds=1),
    )
    await ledger.run(0, 2)


async def pruned_by_number(ledger: Ledger) -> None:
    await ledger.run(0, 5)
    await ledger.end_all()
    await ledger.sql("""UPDATE jobs SET retention = '{"keepCompleted": 2, "keepFailed": null, "days": 90}'""")
    assert await prune(ledger.db) == 4
    await ledger.tick(6)


async def pruned_between_what_stays(ledger: Ledger) -> None:
    """Successes go and a failure among them stays: the rows that stay are chained anew."""
    await ledger.run(0, 5)
    await ledger.end_all()
    await ledger.sql("UPDATE job_executions SET status = 'FAILED' WHERE scheduled_time = %s", minute(2))
    await ledger.sql("""UPDATE jobs SET retention = '{"keepCompleted": 1, "keepFailed": null, "days": 90}'""")
    assert await prune(ledger.db) == 4
    await ledger.tick(6)


async def pruned_ranges(ledger: Ledger) -> None:
    await ledger.tick(0)
    await ledger.tick(100)
    await ledger.tick(101)
    await ledger.end_all()
    done = await History(ledger.db).clean_up(ALICE, grace_period_hours=0)
    assert done.deleted
    await ledger.tick(102)


async def dropped_by_age(ledger: Ledger) -> None:
    """The oldest row that is left names one whose week is gone."""
    old = datetime.combine(partitions.week_of(START) - timedelta(weeks=6), datetime.min.time(), UTC)
    await ledger.sql("UPDATE jobs SET next_fire_time = %s, cron_expression = '0 0 * * *', armed_revision = 2", old)
    await ledger.sql("UPDATE jobs SET misfire_grace_seconds = 31622400")
    await ledger.tick(0)
    await ledger.end_all()
    assert await drop_partitions(ledger.db, retention_days=21)
    ((left,),) = await fetch(ledger.db, "SELECT count(*) FROM job_executions WHERE previous_time IS NOT NULL")
    assert left > 14


async def the_first_row_of_all(ledger: Ledger) -> None:
    """What lies before the first row that is left cannot be told from what retention forgot; `explain` can."""
    await ledger.run(0, 3)
    await ledger.lose(0)


async def backfilled_inside_a_range(ledger: Ledger) -> None:
    """The instant that the range row sits on, too: the range moves on."""
    await ledger.tick(0)
    await ledger.tick(100)
    await ledger.desk.backfills.start(ledger.job_id, Wish(minute(1), minute(3)), ALICE)
    await advance_backfills(ledger.db, ledger.desk.dispatcher)
    ((started,),) = await fetch(ledger.db, "SELECT count(*) FROM job_executions WHERE trigger = 'backfill'")
    assert started
    await ledger.tick(101)


async def backfilled_before_the_first(ledger: Ledger) -> None:
    await ledger.run(0, 2)
    await ledger.sql(
        "INSERT INTO job_executions (job_id, scheduled_time, trigger, status) VALUES (%s, %s, 'backfill', 'SUCCESS')",
        ledger.job_id,
        minute(-9),
    )


async def the_end_of_max_runs(ledger: Ledger) -> None:
    await ledger.sql("UPDATE jobs SET max_runs = 3, armed_revision = revision + 1 WHERE id = %s", ledger.job_id)
    await ledger.run(0, 5)


async def another_job_at_the_same_minutes(ledger: Ledger) -> None:
    await define(ledger.db, cron_expression="*/2 * * * *", next_fire_time=START, armed_revision=1)
    await ledger.run(0, 5)


ACCOUNTED_FOR: list[Plant] = [
    a_quiet_day,
    a_misfire_range,
    single_misfires,
    a_pause,
    an_edit_of_the_schedule,
    an_edit_by_the_api,
    an_inactive_stretch,
    manual_runs_between,
    a_manual_run_before_the_first,
    pruned_by_number,
    pruned_between_what_stays,
    pruned_ranges,
    dropped_by_age,
    the_first_row_of_all,
    backfilled_inside_a_range,
    backfilled_before_the_first,
    the_end_of_max_runs,
    another_job_at_the_same_minutes,
]


@pytest.mark.parametrize("plant", ACCOUNTED_FOR, ids=lambda plant: plant.__name__)
async def test_what_is_accounted_for_is_no_hole(ledger: Ledger, plant: Plant) -> None:
    await plant(ledger)
    ((rows,),) = await fetch(ledger.db, "SELECT count(*) FROM job_executions")
    assert rows > 0
    assert await ledger.gaps() == []
