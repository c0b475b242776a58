"""Rows that go: keep-last-N, a job's own days, clean-ups and dropped weeks; counted once, and no gap left behind."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from cronsvc.domain.execution import Trigger
from cronsvc.domain.job import Retention
from cronsvc.domain.schedule import Schedule
from cronsvc.errors import InvalidInput, NotFound
from cronsvc.services.history import History
from cronsvc.services.scheduling import Scheduling
from cronsvc.services.upkeep import drop_partitions, prune
from cronsvc.store import partitions, pruning
from cronsvc.store.pool import Database
from tests.support.control import ALICE, RED, Desk, definition
from tests.support.rows import define, fetch, one

START = datetime.combine(datetime.now(UTC).date() - timedelta(days=3), time(6), UTC)
STATUSES = {"s": "SUCCESS", "f": "FAILED", "k": "SKIPPED", "c": "CANCELLED", "q": "QUEUED", "r": "RUNNING"}
GAPS = "SELECT missing_time FROM cronsvc_v1.gaps"


def minute(n: int) -> datetime:
    return START + timedelta(minutes=n)


async def ran(db: Database, pattern: str, *, start: datetime = START, **columns: Any) -> int:
    """A job whose schedule recorded these, a minute apart; each took as many seconds as its place says, in two."""
    job_id = await define(db, cron_expression="* * * * *", armed_revision=1, **columns)
    await record(db, job_id, pattern, start=start)
    return job_id


async def record(db: Database, job_id: int, pattern: str, *, start: datetime = START) -> None:
    for n, letter in enumerate(pattern):
        at = start + timedelta(minutes=n)
        status = STATUSES[letter]
        over = status not in ("QUEUED", "RUNNING")
        tries = 2 if letter in "sf" else 0
        await fetch(
            db,
            "INSERT INTO job_executions (job_id, scheduled_time, previous_time, status, attempt, start_time, end_time,"
            " created_at) SELECT id, %s, last_fire_time, %s, %s, %s, %s, %s FROM jobs WHERE id = %s RETURNING 1",
            *(at, status, tries, at if tries else None, at + timedelta(seconds=n) if over else None, at, job_id),
        )
        for claim_no in range(tries):
            await fetch(
                db,
                "INSERT INTO job_attempts (job_id, scheduled_time, claim_no, execution_id, attempt, outcome)"
                " VALUES (%s, %s, %s, 0, %s, 'success') RETURNING 1",
                *(job_id, at, claim_no + 1, claim_no + 1),
            )
        await fetch(
            db,
            "UPDATE jobs SET last_fire_time = %s::timestamptz, next_fire_time = %s::timestamptz + interval '1 minute'"
            " WHERE id = %s RETURNING 1",
            *(at, at, job_id),
        )


async def left(db: Database, job_id: int, *, start: datetime = START) -> str:
    """What is left, as it was written."""
    letters = {status: letter for letter, status in STATUSES.items()}
    rows = await fetch(
        db, "SELECT scheduled_time, status FROM job_executions WHERE job_id = %s ORDER BY scheduled_time", job_id
    )
    found = {round((at - start) / timedelta(minutes=1)): letters[status] for at, status in rows}
    return "".join(found.get(n, ".") for n in range(max(found) + 1)) if found else ""


async def kept(db: Database, job_id: int) -> tuple[int, ...]:
    """success, failed, skipped, cancelled, attempts, ms in the statistics of rows that are gone."""
    return await one(
        db,
        "SELECT coalesce(sum(success), 0)::int, coalesce(sum(failed), 0)::int, coalesce(sum(skipped), 0)::int,"
        " coalesce(sum(cancelled), 0)::int, coalesce(sum(attempts), 0)::int, coalesce(sum(duration_ms_sum), 0)::int"
        " FROM job_statistics WHERE job_id = %s",
        job_id,
    )


def keeping(completed: int | None = None, failed: int | None = None, days: int = 90) -> str:
    values = {"keepCompleted": completed, "keepFailed": failed, "days": days}
    return "{" + ", ".join(f'"{key}": {"null" if value is None else value}' for key, value in values.items()) + "}"


@pytest.mark.parametrize(
    ("pattern", "retention", "expected"),
    [
        ("ssssssss", keeping(3), ".....sss"),
        ("fsfsfsfs", keeping(2), "f.f.fsfs"),
        ("fsfsfsfs", keeping(None, 2), ".s.sfsfs"),
        ("fsfsfsfs", keeping(1, 1), "......fs"),
        ("sskcsqrsss", keeping(1), "..kc.qr..s"),  # never an unfinished one; what was skipped or cancelled is no count
        ("sss", keeping(0, 0), "..s"),  # the instant that the next one will name stays
        ("sss", keeping(), "sss"),
        ("sss", keeping(10), "sss"),
    ],
)
async def test_the_newest_so_many_stay(db: Database, pattern: str, retention: str, expected: str) -> None:
    job_id = await ran(db, pattern, retention=retention)
    other = await ran(db, "ssss")
    gone = expected.count(".")
    assert await prune(db, batch=3) == gone
    assert await left(db, job_id) == expected and await left(db, other) == "ssss"
    assert await fetch(db, GAPS) == []
    pruned = [(n, pattern[n]) for n, letter in enumerate(expected) if letter == "."]
    success = [n for n, letter in pruned if letter == "s"]
    counts = (len(success), len(pruned) - len(success), 0, 0, 2 * len(pruned), 1000 * sum(success))
    assert await kept(db, job_id) == counts
    orphans = (
        "SELECT count(*) FROM job_attempts AS a LEFT JOIN job_executions AS e USING (job_id, scheduled_time)"
        " WHERE e.id IS NULL"
    )
    assert await one(db, orphans) == (0,)
    assert await prune(db) == 0


async def test_what_was_lost_is_still_missing_after_pruning(db: Database) -> None:
    """Chaining past pruned rows must not hide a row that something else deleted."""
    job_id = await ran(db, "fsssssfss", retention=keeping(1))
    await fetch(
        db, "DELETE FROM job_executions WHERE job_id = %s AND scheduled_time = %s RETURNING 1", job_id, minute(3)
    )
    assert await fetch(db, GAPS) == [(minute(3),)]
    assert await prune(db) == 5
    assert await left(db, job_id) == "f.....f.s"
    assert await fetch(db, GAPS) == [(minute(3),)]


async def test_a_range_of_skipped_instants_goes_as_one_and_leaves_no_gap(db: Database) -> None:
    job_id = await ran(db, "fk", retention=keeping(days=2))
    until = minute(5)
    await fetch(
        db,
        "UPDATE job_executions SET skipped_until = %s WHERE job_id = %s AND status = 'SKIPPED' RETURNING 1",
        until,
        job_id,
    )
    await fetch(db, "UPDATE jobs SET last_fire_time = %s WHERE id = %s RETURNING 1", until, job_id)
    await record(db, job_id, "ss", start=minute(6))
    assert await left(db, job_id) == "fk....ss"
    # The failure is looked at by somebody and stays: what was skipped must go from behind it.
    await fetch(
        db, "UPDATE job_executions SET end_time = now() WHERE job_id = %s AND status = 'FAILED' RETURNING 1", job_id
    )
    assert await prune(db) == 2
    assert await left(db, job_id) == "f......s"
    assert await fetch(db, GAPS) == []
    assert await kept(db, job_id) == (1, 0, 1, 0, 2, 0)
    assert await one(db, "SELECT min(first_time), max(last_time) FROM job_statistics") == (minute(1), minute(6))


async def test_upkeeps_and_clean_ups_that_race_count_each_row_once(db: Database) -> None:
    jobs = [await ran(db, "fs" * 20, retention=keeping(3, 2)) for _ in range(3)]
    history = History(db)
    pruning = [asyncio.ensure_future(prune(db, batch=7)) for _ in range(3)]
    cleaning = [asyncio.ensure_future(history.clean_up(ALICE)) for _ in range(2)]
    gone = sum([await each for each in pruning]) + sum([(await each).deleted for each in cleaning])
    assert gone == 3 * 39
    for job_id in jobs:
        assert await left(db, job_id) == "." * 39 + "s"
        assert await kept(db, job_id) == (19, 20, 0, 0, 78, 1000 * sum(range(1, 39, 2)))
    assert await fetch(db, GAPS) == []


async def test_a_crash_before_the_commit_changes_nothing(db: Database) -> None:
    job_id = await ran(db, "ssss", retention=keeping(1))

    class Crash(Exception):
        pass

    with pytest.raises(Crash):
        async with db.transaction() as conn:
            await pruning.lock(conn)
            found = await pruning.surplus(conn, after_id=0, jobs=10, rows=10)
            assert await pruning.forget(conn, found.keys) == 3
            raise Crash
    assert await left(db, job_id) == "ssss" and await kept(db, job_id) == (0, 0, 0, 0, 0, 0)
    assert await prune(db) == 3
    assert await kept(db, job_id) == (3, 0, 0, 0, 6, 3000)


async def test_a_row_that_begins_again_meanwhile_stays(db: Database) -> None:
    job_id = await ran(db, "fff", retention=keeping(None, 0))
    async with db.transaction() as conn:
        await pruning.lock(conn)
        found = await pruning.surplus(conn, after_id=0, jobs=10, rows=10)
        await fetch(db, "UPDATE job_executions SET status = 'QUEUED' WHERE scheduled_time = %s RETURNING 1", minute(0))
        assert await pruning.forget(conn, found.keys) == 1
    assert await left(db, job_id) == "q.f"
    assert await fetch(db, GAPS) == []


async def test_nothing_pruned_fires_again(db: Database) -> None:
    """The retention trap: an instant without a row is not an instant that is due."""
    desk = Desk(db)
    job = await desk.jobs.create(
        definition(schedule=Schedule(cron_expression="* * * * *"), retention=Retention(1, 1, 90)), ALICE
    )
    await record(db, job.id, "ssssss")
    assert await prune(db) == 5
    now = minute(6)
    await fetch(
        db, "UPDATE jobs SET description = 'edited', timezone = 'Europe/Paris' WHERE id = %s RETURNING 1", job.id
    )
    await fetch(
        db, "UPDATE jobs SET next_fire_time = %s WHERE id = %s RETURNING 1", minute(0), job.id
    )  # a hand set it back
    assert (await Scheduling(db, desk.dispatcher).tick(now=now)).fired == 1
    assert await left(db, job.id) == ".....sq"
    assert await fetch(db, GAPS) == []


async def test_a_manual_run_goes_too(db: Database) -> None:
    job_id = await ran(db, "ss", retention=keeping(1))
    await fetch(
        db,
        "INSERT INTO job_executions (job_id, scheduled_time, trigger, status, end_time)"
        " VALUES (%s, %s, 'manual', 'SUCCESS', now()) RETURNING 1",
        *(job_id, minute(0) + timedelta(seconds=30.5)),
    )
    assert await prune(db) == 2
    assert await left(db, job_id) == ".s"
    rows = await fetch(db, "SELECT trigger, success FROM job_statistics ORDER BY trigger")
    assert rows == [("manual", 1), ("schedule", 1)]


async def test_a_jobs_own_days(db: Database) -> None:
    two = await ran(db, "fkcsqs", retention=keeping(days=2))
    four = await ran(db, "fkcsqs", retention=keeping(days=4))
    plain = await ran(db, "fkcsqs")
    assert await prune(db) == 4
    assert [await left(db, each) for each in (two, four, plain)] == ["....qs", "fkcsqs", "fkcsqs"]
    assert await kept(db, two) == (1, 1, 1, 1, 4, 3000)
    assert await prune(db, now=datetime.now(UTC) + timedelta(days=400)) == 4  # 90 days are the operator's to decide


async def test_a_retention_that_means_nothing_keeps_everything(db: Database) -> None:
    values = ['{"keepCompleted": "all", "days": "x"}', '{"keepCompleted": -5}', '{"keepFailed": 1e30}', "[]", '"x"']
    jobs = [await ran(db, "sss", retention=value) for value in values]
    bounded = await ran(db, "sss", retention=keeping(1))
    await prune(db, batch=2)
    assert [await left(db, each) for each in jobs] == ["sss", "..s", "sss", "sss", "sss"]
    assert await left(db, bounded) == "..s"


async def test_a_deleted_job_is_pruned_like_any_other(db: Database) -> None:
    job_id = await ran(db, "ssss", retention=keeping(2), deleted_at=datetime.now(UTC), is_active=False)
    assert await prune(db) == 2
    assert await left(db, job_id) == "..ss"


# ---- weeks


async def weeks_ago(db: Database, weeks: int) -> datetime:
    """The start of a week in the past, with a partition made for it."""
    monday = partitions.week_of(datetime.now(UTC)) - timedelta(weeks=weeks)
    async with db.transaction() as conn:
        await partitions.ensure(conn, {monday})
    return datetime.combine(monday, time(), UTC)


async def test_a_dropped_week_is_kept_in_the_statistics_once(db: Database) -> None:
    old = await weeks_ago(db, 20)
    newer = await weeks_ago(db, 10)
    job_id = await ran(db, "fsk", start=old)
    await record(db, job_id, "ss", start=newer)
    results = await asyncio.gather(*(drop_partitions(db, retention_days=90) for _ in range(3)))
    dropped = [name for names in results for name in names]
    assert sorted(dropped) == sorted(f"{parent}_{old:%Y%m%d}" for parent in partitions.PARENTS)
    assert await left(db, job_id, start=newer) == "ss"
    assert await kept(db, job_id) == (1, 1, 1, 0, 4, 1000)
    assert await fetch(db, GAPS) == []
    assert await drop_partitions(db, retention_days=90) == []


async def test_a_week_with_unfinished_rows_stays_uncounted(db: Database) -> None:
    old = await weeks_ago(db, 20)
    job_id = await ran(db, "sq", start=old)
    assert await drop_partitions(db, retention_days=90) == []
    assert await kept(db, job_id) == (0, 0, 0, 0, 0, 0)
    await fetch(
        db, "UPDATE job_executions SET status = 'SUCCESS', end_time = now() WHERE status = 'QUEUED' RETURNING 1"
    )
    assert len(await drop_partitions(db, retention_days=90)) == 2
    assert (await kept(db, job_id))[0] == 2


async def test_whose_days_decide_about_weeks(db: Database) -> None:
    old = await weeks_ago(db, 6)
    await ran(db, "s", start=old)
    assert await drop_partitions(db, retention_days=90) == []
    long = await define(db, retention=keeping(days=60))
    assert await drop_partitions(db, retention_days=30) == []  # one job asks for more than the operator
    await fetch(db, "UPDATE jobs SET retention = %s WHERE id = %s RETURNING 1", keeping(days=90), long)
    assert len(await drop_partitions(db, retention_days=30)) == 2  # the default is what the operator says
    assert (await one(db, "SELECT sum(success)::int FROM job_statistics")) == (1,)


# ---- clean-ups by hand


async def test_a_clean_up_takes_what_ended_before_the_grace_period(db: Database) -> None:
    job_id = await ran(db, "sfkcqrss", retention=keeping())
    await fetch(db, "UPDATE job_executions SET end_time = now() WHERE scheduled_time = %s RETURNING 1", minute(6))
    history = History(db)
    done = await history.clean_up(ALICE, grace_period_hours=24)
    assert (done.deleted, done.more) == (4, False)
    assert await left(db, job_id) == "....qrss"
    assert await fetch(db, GAPS) == []
    rows = await fetch(
        db, "SELECT actor, source, entity, (after->>'deleted')::int FROM audit_log WHERE action = 'cleanup'"
    )
    assert rows == [("key:alice", "10.1.2.3", "executions", 4)]
    assert (await history.clean_up(ALICE, grace_period_hours=24 * 30)).deleted == 0
    assert len(await fetch(db, "SELECT 1 FROM audit_log WHERE action = 'cleanup'")) == 1


async def test_a_clean_up_stays_in_the_callers_namespaces(db: Database) -> None:
    mine, foreign = await ran(db, "sss", namespace="red"), await ran(db, "sss")
    assert (await History(db).clean_up(RED)).deleted == 2
    assert [await left(db, mine), await left(db, foreign)] == ["..s", "sss"]


async def test_a_clean_up_is_bounded_and_says_so(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cronsvc.services.history._BATCH", 2)
    job_id = await ran(db, "ssssss")
    history = History(db, most_batches=2)
    assert [(each.deleted, each.more) for each in [await history.clean_up(ALICE) for _ in range(2)]] == [
        (4, True),
        (1, False),
    ]
    assert await left(db, job_id) == ".....s"
    for hours in (-1, 10**9):
        with pytest.raises(InvalidInput):
            await history.clean_up(ALICE, grace_period_hours=hours)


# ---- statistics


def totals(days: Sequence[Any]) -> Mapping[str, int]:
    names = ("success", "failed", "skipped", "cancelled", "attempts", "duration_ms_sum")
    return {name: sum(getattr(day, name) for day in days) for name in names}


async def test_statistics_are_the_same_before_and_after_the_rows_went(db: Database) -> None:
    job_id = await ran(db, "sfkcssfq", start=datetime.combine(START.date(), time(23, 57), UTC))
    history = History(db)
    _, _, before = await history.statistics(job_id, ALICE)
    assert [(each.day, each.trigger) for each in before] == [
        (START.date(), Trigger.SCHEDULE),
        (START.date() + timedelta(days=1), Trigger.SCHEDULE),
    ]
    assert (before[0].success, before[0].failed, before[0].skipped, before[0].cancelled) == (1, 1, 1, 0)
    assert (before[1].duration_ms_min, before[1].duration_ms_max) == (4000, 5000)
    view = (
        "SELECT day, trigger, success, attempts, duration_ms_max FROM cronsvc_v1.statistics"
        " WHERE job_id = %s ORDER BY day"
    )
    seen = await fetch(db, view, job_id)
    assert seen == [(each.day, each.trigger, each.success, each.attempts, each.duration_ms_max) for each in before]
    assert (await history.clean_up(ALICE)).deleted == 7
    assert (await history.statistics(job_id, ALICE))[2] == before
    assert await fetch(db, view, job_id) == seen
    await record(db, job_id, "s", start=minute(900))
    _, _, after = await history.statistics(job_id, ALICE)
    assert totals(after)["success"] == totals(before)["success"] + 1


async def test_the_days_of_statistics_are_bounded(db: Database) -> None:
    job_id = await ran(db, "s")
    history = History(db)
    day = START.date()
    first, last, found = await history.statistics(job_id, ALICE)
    assert (last - first).days == 29 and len(found) == 1
    assert (await history.statistics(job_id, ALICE, first=day, last=day))[2] == found
    assert (await history.statistics(job_id, ALICE, last=day - timedelta(days=1)))[2] == []
    assert (await history.statistics(job_id, ALICE, first=day + timedelta(days=1)))[2] == []
    ranges = [(day, day - timedelta(days=1)), (date(2020, 1, 1), date(2021, 1, 1))]
    for first, last in ranges:
        with pytest.raises(InvalidInput):
            await history.statistics(job_id, ALICE, first=first, last=last)
    for unseen in (job_id + 1, 0, 2**70):
        with pytest.raises(NotFound):
            await history.statistics(unseen, ALICE)
    with pytest.raises(NotFound):
        await history.statistics(job_id, RED)
