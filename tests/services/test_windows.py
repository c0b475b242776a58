"""Maintenance windows: what is due inside is skipped or held, and what is held goes exactly once, after the end."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from cronsvc.domain.job import OverlapPolicy
from cronsvc.domain.maintenance import During, Selector
from cronsvc.domain.schedule import Schedule, jitter
from cronsvc.errors import Conflict, CronsvcError, Forbidden, InvalidInput, NotFound, PreconditionFailed
from cronsvc.services.admission import release_held
from cronsvc.services.scheduling import Scheduling
from cronsvc.services.windows import Windows, release_windows
from cronsvc.store import dispatches, ticks
from cronsvc.store.maintenance import WindowFields, WindowRow
from cronsvc.store.pool import Database
from tests.support.control import ALICE, RED, Desk, definition
from tests.support.crashes import dying_after_commit, dying_at_statement
from tests.support.rows import define, fetch, one
from tests.support.waiting import until

START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=2)
MINUTE = timedelta(minutes=1)
END = START + 10 * MINUTE


def window(**fields: Any) -> WindowFields:
    plain = WindowFields("upgrade", During.HOLD, Selector(), starts_at=START, ends_at=END)
    return replace(plain, **fields)


async def made(db: Database, **fields: Any) -> WindowRow:
    return await Windows(db).create(window(**fields), ALICE)


async def armed(db: Database, at: datetime = START, **columns: Any) -> int:
    plain = {"cron_expression": "* * * * *", "armed_revision": 1, "next_fire_time": at}
    return await define(db, **plain | columns)


def scheduling(db: Database, **options: Any) -> Scheduling:
    return Scheduling(db, Desk(db).dispatcher, **options)


async def rows(db: Database, job_id: int) -> list[tuple[int, str, str | None, str | None]]:
    """Minutes after START, status, reason, held."""
    assert not await fetch(db, "SELECT * FROM cronsvc_v1.gaps")
    found = await fetch(
        db,
        "SELECT scheduled_time, status, status_reason, held FROM job_executions WHERE job_id = %s ORDER BY 1",
        job_id,
    )
    return [(int((at - START) / MINUTE), *rest) for at, *rest in found]


async def test_skip_leaves_rows_with_the_name_of_the_window(db: Database) -> None:
    job_id = await armed(db, START - MINUTE)
    found = await made(db, during=During.SKIP)
    one_by_one = scheduling(db)
    for minute in (-1, 0, 9, 10):
        await one_by_one.tick(now=START + minute * MINUTE)
    ledger = await rows(db, job_id)
    assert (ledger[0], ledger[1], ledger[-2], ledger[-1]) == (
        (-1, "QUEUED", None, None),
        (0, "SKIPPED", "maintenance", None),
        (9, "SKIPPED", "maintenance", None),
        (10, "QUEUED", None, None),
    )
    details = await fetch(
        db, "SELECT DISTINCT log_details, window_id FROM job_executions WHERE status_reason = 'maintenance'"
    )
    assert details == [({"window": "upgrade", "windowId": found.id}, found.id)]


async def test_hold_waits_for_the_end_and_goes_spread_out(db: Database) -> None:
    jobs = [await armed(db, cron_expression="5 * * * *", next_fire_time=START + 5 * MINUTE) for _ in range(30)]
    found = await made(db, spread_seconds=300)
    desk = Desk(db)
    tick = await Scheduling(db, desk.dispatcher).tick(now=START + 5 * MINUTE)
    assert (tick.fired, desk.tickets) == (30, [])
    held = await fetch(
        db, "SELECT job_id, status, held, dispatch_at, ready_at, window_id FROM job_executions ORDER BY 1"
    )
    assert held == [
        (job_id, "QUEUED", "maintenance", None, END + jitter(job_id, START + 5 * MINUTE, 300), found.id)
        for job_id in jobs
    ]
    assert await release_windows(db, now=END - MINUTE) == 0
    ready = sorted(row[4] for row in held)
    assert await release_windows(db, now=ready[14]) == 15
    assert await one(db, "SELECT count(*) FROM job_executions WHERE held IS NULL AND dispatch_at IS NOT NULL") == (15,)
    assert await release_windows(db, now=ready[-1]) == 15
    async with db.transaction() as conn:
        tickets = await dispatches.redispatch(conn, batch=100, redispatch=MINUTE)
    assert sorted(ticket.job_id for ticket in tickets) == jobs


async def test_the_scheduler_knows_when_to_look(db: Database) -> None:
    await armed(db)
    await made(db)
    planner = scheduling(db)
    await planner.tick(now=START)
    due = await planner.seconds_until_due()
    assert due.release is not None and due.release > 60 and not due.held and due.dispatch is None


async def test_ending_a_window_early_lets_everything_go_at_once(db: Database) -> None:
    job_id = await armed(db)
    found = await made(db)
    planner = scheduling(db)
    await planner.tick(now=START + MINUTE)
    ended = await Windows(db).cancel(found.id, ALICE)
    assert (ended.cancelled_by, ended.held) == ("key:alice", 2)
    assert (await planner.seconds_until_due()).release == pytest.approx(0, abs=60)
    assert await release_windows(db) == 2
    await planner.tick(now=START + 2 * MINUTE)
    assert [row[1:] for row in await rows(db, job_id)] == [("QUEUED", None, None)] * 3
    assert await Windows(db).cancel(found.id, ALICE) == replace(ended, held=0)
    with pytest.raises(Conflict, match="cancelled"):
        await Windows(db).replace(found.id, window(), ALICE)


async def test_a_tick_under_way_and_the_end_of_its_window_do_not_miss_each_other(db: Database) -> None:
    """The end waits for the tick's commit, and then finds the row that it held."""
    await armed(db)
    found = await made(db)
    async with db.transaction() as conn:
        jobs, judged = await ticks.take_due(conn, batch=10, rotation=0, locks=False, now=START)
        assert judged is not None
        planner = scheduling(db)
        planned = await planner._plan(conn, jobs, judged)
        ending = asyncio.create_task(Windows(db).cancel(found.id, ALICE))

        async def waits() -> bool:
            return bool(await fetch(db, "SELECT FROM pg_locks WHERE NOT granted"))

        await until(waits, seconds=10, what="the end waits for the tick")
        await planner._record(conn, planned, judged)
    assert (await ending).held == 1
    assert await release_windows(db) == 1


async def test_windows_that_overlap(db: Database) -> None:
    """One that skips wins while both are open; what is held stays until no window concerns it."""
    job_id = await armed(db)
    await made(db)
    later = await made(db, name="network", starts_at=START + 5 * MINUTE, ends_at=END + 20 * MINUTE)
    await made(db, name="never mind", during=During.SKIP, starts_at=START + 7 * MINUTE, ends_at=START + 8 * MINUTE)
    planner = scheduling(db)
    for minute in range(9):
        await planner.tick(now=START + minute * MINUTE)
    assert [row[1] for row in await rows(db, job_id)] == ["QUEUED"] * 7 + ["SKIPPED"] + ["QUEUED"]
    ends = await fetch(
        db, "SELECT DISTINCT ready_at, count(*) FROM job_executions WHERE held IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    assert ends == [(END, 5), (END + 20 * MINUTE, 3)]
    assert await release_windows(db, now=END) == 5
    kept = await fetch(db, "SELECT DISTINCT held, window_id, ready_at FROM job_executions WHERE ready_at > %s", END)
    assert kept == [("maintenance", later.id, END + 20 * MINUTE)]
    assert await release_windows(db, now=END + 20 * MINUTE) == 8
    assert await one(db, "SELECT count(*) FROM job_executions WHERE held IS NULL AND status = 'QUEUED'") == (8,)


async def test_coalescing_keeps_the_latest_of_each_job(db: Database) -> None:
    job_id = await armed(db)
    await made(db, coalesce=True)
    planner = scheduling(db)
    await planner.tick(now=START + MINUTE)
    await planner.tick(now=START + 3 * MINUTE)
    assert await rows(db, job_id) == [
        (0, "SKIPPED", "maintenance", None),
        (1, "CANCELLED", "replaced", None),
        (2, "SKIPPED", "maintenance", None),
        (3, "QUEUED", None, "maintenance"),
    ]


@pytest.mark.parametrize(
    ("policy", "statuses"),
    [
        (OverlapPolicy.ALLOW, ["QUEUED", "QUEUED", "QUEUED"]),
        (OverlapPolicy.SKIP, ["QUEUED", "SKIPPED", "SKIPPED"]),
        (OverlapPolicy.BUFFER_ONE, ["QUEUED", "SKIPPED", "SKIPPED"]),
        (OverlapPolicy.BUFFER_ALL, ["QUEUED", "QUEUED", "QUEUED"]),
        (OverlapPolicy.CANCEL_OTHER, ["CANCELLED", "CANCELLED", "QUEUED"]),
        (OverlapPolicy.TERMINATE_OTHER, ["CANCELLED", "CANCELLED", "QUEUED"]),
    ],
)
async def test_overlap_policies_hold_inside_and_after(db: Database, policy: OverlapPolicy, statuses: list[str]) -> None:
    job_id = await armed(db, overlap_policy=policy.value)
    await made(db)
    desk = Desk(db)
    planner = Scheduling(db, desk.dispatcher)
    for minute in range(3):
        await planner.tick(now=START + minute * MINUTE)
    assert [row[1] for row in await rows(db, job_id)] == statuses
    await release_windows(db, now=END)
    await release_held(db, desk.dispatcher)
    free = await fetch(db, "SELECT 1 FROM job_executions WHERE status = 'QUEUED' AND held IS NULL")
    assert len(free) == (3 if policy is OverlapPolicy.ALLOW else 1)
    waiting = await fetch(db, "SELECT held FROM job_executions WHERE held IS NOT NULL")
    assert waiting == ([("overlap",)] * 2 if policy is OverlapPolicy.BUFFER_ALL else [])


async def test_what_runs_is_not_stopped_for_what_is_held(db: Database) -> None:
    job_id = await armed(db, START - MINUTE, overlap_policy="terminate_other")
    await made(db)
    planner = scheduling(db)
    await planner.tick(now=START - MINUTE)
    async with db.transaction() as conn:
        await conn.execute("UPDATE job_executions SET status = 'RUNNING', attempt = 1, dispatch_at = NULL")
    await planner.tick(now=START)
    assert await rows(db, job_id) == [(-1, "RUNNING", None, None), (0, "QUEUED", None, "maintenance")]


async def test_selectors(db: Database) -> None:
    jobs = {
        "tagged": await armed(db, tags=["db", "nightly"]),
        "queued": await armed(db, queue="heavy"),
        "both": await armed(db, queue="heavy", tags=["db", "nightly", "other"]),
        "one of two tags": await armed(db, queue="heavy", tags=["db"]),
        "elsewhere": await armed(db, namespace="red", tags=["db"], queue="heavy"),
    }
    await made(db, selector=Selector("default", ("db", "other"), "heavy"), during=During.SKIP)
    await made(db, selector=Selector("red"), during=During.SKIP)
    await scheduling(db).tick(now=START)
    skipped = await fetch(db, "SELECT job_id FROM job_executions WHERE status = 'SKIPPED' ORDER BY 1")
    assert skipped == [(jobs["both"],), (jobs["elsewhere"],)]


async def test_one_that_recurs_and_an_instant_seen_late(db: Database) -> None:
    """A window is about when things run: what is recorded while it is open is inside, however old."""
    job_id = await armed(db, START - MINUTE, misfire_grace_seconds=3600)
    cron = f"{START.minute} {START.hour} * * *"
    await made(db, starts_at=None, ends_at=None, cron_expression=cron, duration_seconds=120, during=During.SKIP)
    planner = scheduling(db)
    await planner.tick(now=START + MINUTE)
    await planner.tick(now=START + 2 * MINUTE)
    assert [row[1] for row in await rows(db, job_id)] == ["SKIPPED", "SKIPPED", "SKIPPED", "QUEUED"]


async def test_many_schedulers_hold_and_release_once(db: Database) -> None:
    jobs = [await armed(db) for _ in range(40)]
    await made(db, spread_seconds=60)
    replicas = [scheduling(db, batch=7, advisory_locks=False) for _ in range(5)]
    await asyncio.gather(*(replica.tick(now=START) for replica in replicas for _ in range(10)))
    assert await one(db, "SELECT count(*), count(DISTINCT job_id) FROM job_executions WHERE held = 'maintenance'") == (
        40,
        40,
    )
    late = END + 2 * MINUTE
    while sum(await asyncio.gather(*(release_windows(db, batch=7, now=late) for _ in range(5)))):
        pass
    assert await one(db, "SELECT count(*) FROM job_executions WHERE held IS NULL AND dispatches = 0") == (len(jobs),)


async def test_a_crash_at_any_statement_neither_loses_nor_repeats(db: Database) -> None:
    """Hold, end, release: whoever comes next finds the old state or the new one."""
    jobs = [await armed(db, overlap_policy=policy) for policy in ("allow", "skip", "buffer_all")]
    await made(db)
    planner = scheduling(db)
    crashes = 0
    for dying in (dying_at_statement, dying_after_commit):
        for number in range(40):
            with dying(number) as fuse:
                try:
                    await planner.tick(now=START)
                    await release_windows(db, now=END)
                except (CronsvcError, psycopg.Error):
                    crashes += 1
            if not fuse.blown:
                break
    assert crashes > 8
    await planner.tick(now=START)
    await release_windows(db, now=END)
    found = await fetch(db, "SELECT job_id, held, dispatch_at IS NOT NULL FROM job_executions ORDER BY 1")
    assert found == [(jobs[0], None, True), (jobs[1], "overlap", False), (jobs[2], "overlap", False)]


async def test_what_a_change_of_a_window_does_to_what_it_holds(db: Database) -> None:
    await armed(db)
    found = await made(db)
    await scheduling(db).tick(now=START)
    longer = await Windows(db).replace(found.id, window(ends_at=END + 30 * MINUTE), ALICE, if_revision=1)
    assert (longer.revision, longer.held) == (2, 1)
    await release_windows(db, now=START + 2 * MINUTE)
    assert await one(db, "SELECT held, ready_at FROM job_executions") == ("maintenance", END + 30 * MINUTE)


async def test_upcoming_says_what_lies_in_a_window(db: Database) -> None:
    desk = Desk(db)
    job = await desk.jobs.create(definition(schedule=Schedule(cron_expression="* * * * *")), ALICE)
    found = await made(db)
    instants = [START + n * MINUTE for n in range(-1, 12)]
    concerned = await Windows(db).concerning(job, instants)
    assert list(concerned) == instants[1:11] and {each.window.id for each in concerned.values()} == {found.id}
    assert (
        await Windows(db).concerning(replace(job, definition=replace(job.definition, tags=("x",))), instants)
        == concerned
    )


async def test_people_define_and_read_windows(db: Database) -> None:
    windows = Windows(db)
    with pytest.raises(InvalidInput, match="endsAt: lies after startsAt"):
        await windows.create(window(ends_at=START), ALICE)
    with pytest.raises(InvalidInput, match="endsAt: lies ahead"):
        await windows.create(window(starts_at=START - timedelta(days=2), ends_at=START - timedelta(days=1)), ALICE)
    with pytest.raises(InvalidInput, match="durationSeconds"):
        await windows.create(window(duration_seconds=60), ALICE)
    with pytest.raises(InvalidInput, match="cronExpression"):
        await windows.create(window(cron_expression="nonsense", duration_seconds=60), ALICE)
    with pytest.raises(Forbidden):
        await windows.create(window(), RED)
    mine = await windows.create(window(selector=Selector("red")), RED)
    everybody = await windows.create(window(reason="new disks"), ALICE)
    hidden = await windows.create(window(selector=Selector("default")), ALICE)
    assert [each.id for each in (await windows.list(RED)).items] == [everybody.id, mine.id]
    with pytest.raises(NotFound):
        await windows.get(hidden.id, RED)
    with pytest.raises(Forbidden):
        await windows.cancel(everybody.id, RED)
    with pytest.raises(PreconditionFailed):
        await windows.replace(mine.id, window(selector=Selector("red")), RED, if_revision=9)
    await windows.cancel(mine.id, RED)
    assert [each.id for each in (await windows.list(RED)).items] == [everybody.id]
    assert [each.id for each in (await windows.list(RED, standing=False)).items] == [everybody.id, mine.id]
    actions = await fetch(
        db, "SELECT action, actor, namespace FROM audit_log WHERE entity = 'maintenance_window' ORDER BY id"
    )
    assert actions[0] == ("create", "key:red", "red") and actions[-1] == ("cancel", "key:red", "red")
