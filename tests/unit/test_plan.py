"""Planning is pure: every due instant is in the plan once, whatever the policy, the budget or the interruptions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronsvc.domain.execution import Reason
from cronsvc.domain.job import MisfirePolicy, OverlapPolicy
from cronsvc.domain.plan import MOST_SINGLE_SKIPS, DueJob, Firing, Plan, Skip, Unfinished, plan
from cronsvc.domain.schedule import Schedule, fires_between

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTELY = Schedule(cron_expression="* * * * *")


def due(schedule: Schedule = MINUTELY, cursor: datetime = T0, **changes: object) -> DueJob:
    job = DueJob(
        id=7,
        revision=1,
        schedule=schedule,
        cursor=cursor,
        armed=True,
        last_fire_time=None,
        fire_count=0,
        max_runs=None,
        jitter_seconds=0,
        misfire_policy=MisfirePolicy.FIRE_ONCE,
        misfire_grace_seconds=60,
        misfire_cap=100,
        overlap_policy=OverlapPolicy.ALLOW,
        queue="default",
        priority=10,
        max_attempts=3,
    )
    return replace(job, **changes)  # type: ignore[arg-type]


def minutes(*numbers: float) -> list[datetime]:
    return [T0 + timedelta(minutes=number) for number in numbers]


def firings(planned: Plan) -> list[datetime]:
    return [row.scheduled_time for row in planned.rows if isinstance(row, Firing)]


def skips(planned: Plan) -> list[Skip]:
    return [row for row in planned.rows if isinstance(row, Skip)]


def test_an_instant_fires_when_the_clock_reaches_it_and_not_before() -> None:
    early = plan(due(), T0 - timedelta(microseconds=1))
    assert early.rows == () and early.next_fire_time == T0
    on_time = plan(due(), T0)
    assert firings(on_time) == [T0]
    assert on_time.next_fire_time == T0 + timedelta(minutes=1) and on_time.last_fire_time == T0


def test_within_the_grace_each_late_instant_fires() -> None:
    planned = plan(due(misfire_grace_seconds=600), T0 + timedelta(minutes=3))
    assert firings(planned) == minutes(0, 1, 2, 3) and not skips(planned)


@pytest.mark.parametrize(
    ("policy", "cap", "ran"),
    [
        (MisfirePolicy.SKIP, 100, []),
        (MisfirePolicy.FIRE_ONCE, 100, [9]),
        (MisfirePolicy.FIRE_ALL, 100, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (MisfirePolicy.FIRE_ALL, 3, [7, 8, 9]),
    ],
)
def test_misfires_follow_the_policy_and_every_instant_has_a_row(
    policy: MisfirePolicy, cap: int, ran: list[int]
) -> None:
    now = T0 + timedelta(minutes=10)  # minute 10 is on time, minute 9 is exactly the grace late: a misfire
    planned = plan(due(misfire_policy=policy, misfire_cap=cap), now)
    assert firings(planned) == minutes(*ran, 10)
    assert [row.scheduled_time for row in skips(planned)] == minutes(*(n for n in range(10) if n not in ran))
    assert all(row.reason is Reason.MISFIRE for row in skips(planned))


def test_a_long_outage_is_one_range_row() -> None:
    now = T0 + timedelta(days=30)
    planned = plan(due(), now)
    (row,) = skips(planned)
    assert row.scheduled_time == T0 and row.until == now - timedelta(minutes=2)
    assert firings(planned) == [now - timedelta(minutes=1), now]
    assert planned.next_fire_time == now + timedelta(minutes=1)


def test_as_many_misfires_as_fit_have_single_rows() -> None:
    now = T0 + timedelta(minutes=MOST_SINGLE_SKIPS + 1)
    planned = plan(due(), now)
    assert len(skips(planned)) == MOST_SINGLE_SKIPS and all(row.until is None for row in skips(planned))


def test_rows_name_the_instant_before_them() -> None:
    planned = plan(due(last_fire_time=T0 - timedelta(minutes=1)), T0 + timedelta(days=2))
    previous = T0 - timedelta(minutes=1)
    for row in planned.rows:
        assert row.previous == previous
        previous = (row.until if isinstance(row, Skip) else None) or row.scheduled_time
    assert planned.last_fire_time == previous


def test_overlap_skip_runs_one_at_a_time() -> None:
    job = due(overlap_policy=OverlapPolicy.SKIP, misfire_grace_seconds=600)
    free = plan(job, T0 + timedelta(minutes=2))
    assert firings(free) == minutes(0)
    assert [(row.scheduled_time, row.reason) for row in skips(free)] == [(t, Reason.OVERLAP) for t in minutes(1, 2)]
    assert not firings(plan(job, T0, unfinished=Unfinished(running=True)))


RUNNING = Unfinished(running=True)
WAITING = Unfinished(queued=True)
HELD = Unfinished(running=True, held=True)
NONE = Unfinished()


@pytest.mark.parametrize(
    ("policy", "unfinished", "verdicts", "replaces"),
    [
        # for three due instants: R runs, H is held, S is skipped
        (OverlapPolicy.ALLOW, RUNNING, "RRR", False),
        (OverlapPolicy.SKIP, NONE, "RSS", False),
        (OverlapPolicy.SKIP, WAITING, "SSS", False),
        (OverlapPolicy.BUFFER_ONE, NONE, "RHS", False),
        (OverlapPolicy.BUFFER_ONE, RUNNING, "HSS", False),
        (OverlapPolicy.BUFFER_ONE, HELD, "SSS", False),
        (OverlapPolicy.BUFFER_ALL, NONE, "RHH", False),
        (OverlapPolicy.BUFFER_ALL, HELD, "HHH", False),
        (OverlapPolicy.CANCEL_OTHER, NONE, "SSR", False),
        (OverlapPolicy.CANCEL_OTHER, WAITING, "SSR", True),
        (OverlapPolicy.CANCEL_OTHER, RUNNING, "SSH", True),
        (OverlapPolicy.TERMINATE_OTHER, NONE, "SSR", False),
        (OverlapPolicy.TERMINATE_OTHER, RUNNING, "SSR", True),
    ],
)
def test_overlap_policies(policy: OverlapPolicy, unfinished: Unfinished, verdicts: str, replaces: bool) -> None:
    job = due(overlap_policy=policy, misfire_grace_seconds=600)
    planned = plan(job, T0 + timedelta(minutes=2), unfinished=unfinished)
    told = "".join("S" if isinstance(row, Skip) else "H" if row.held else "R" for row in planned.rows)
    assert (told, planned.replaces) == (verdicts, replaces)
    assert planned.last_fire_time == T0 + timedelta(minutes=2)


def test_max_runs_ends_the_schedule_with_its_last_run() -> None:
    planned = plan(due(max_runs=5, fire_count=3, misfire_grace_seconds=600), T0 + timedelta(minutes=5))
    assert firings(planned) == minutes(0, 1)
    assert planned.next_fire_time is None and planned.last_fire_time == minutes(1)[0]


def test_a_spent_budget_fires_nothing() -> None:
    planned = plan(due(max_runs=3, fire_count=3), T0 + timedelta(minutes=5))
    assert planned.rows == () and planned.next_fire_time is None


def test_an_unarmed_job_begins_strictly_after_its_edit() -> None:
    planned = plan(due(cursor=T0, armed=False), T0)
    assert planned.rows == () and planned.next_fire_time == T0 + timedelta(minutes=1)


def test_nothing_at_or_before_the_last_recorded_instant_fires_again() -> None:
    job = due(cursor=T0 - timedelta(hours=1), armed=False, last_fire_time=T0)
    assert firings(plan(job, T0 + timedelta(minutes=1))) == minutes(1)


def test_a_cursor_between_two_instants_moves_to_the_next() -> None:
    """Somebody set it by SQL: a plan without rows must not leave the job due for ever."""
    planned = plan(due(cursor=T0 + timedelta(seconds=10)), T0 + timedelta(seconds=20))
    assert planned.rows == () and planned.next_fire_time == T0 + timedelta(minutes=1)


def test_a_one_shot_fires_once_and_is_over() -> None:
    planned = plan(due(Schedule(run_at=T0)), T0 + timedelta(seconds=5))
    assert firings(planned) == [T0] and planned.next_fire_time is None


def test_jitter_delays_the_run_and_not_the_identity() -> None:
    (row,) = plan(due(jitter_seconds=30), T0).rows
    assert isinstance(row, Firing) and row.scheduled_time == T0
    assert timedelta(0) <= row.delay <= timedelta(seconds=30)
    assert plan(due(jitter_seconds=30), T0).rows == (row,)


SCHEDULES = st.sampled_from(
    [
        MINUTELY,
        Schedule(cron_expression="*/7 * * * *", timezone="Australia/Lord_Howe"),
        Schedule(cron_expression="30 2 * * *", timezone="America/New_York"),
        Schedule(cron_expression="*/20 * * * * *"),
        Schedule(every_seconds=90),
    ]
)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    schedule=SCHEDULES,
    policy=st.sampled_from(list(MisfirePolicy)),
    cap=st.integers(1, 8),
    grace=st.integers(1, 900),
    length=st.integers(0, 6 * 3600),
    cuts=st.lists(st.integers(0, 6 * 3600), max_size=5),
)
def test_every_due_instant_is_covered_once_however_often_planning_is_interrupted(
    schedule: Schedule, policy: MisfirePolicy, cap: int, grace: int, length: int, cuts: list[int]
) -> None:
    """Restarts and outages cut a stretch of time into ticks, anywhere: the ledger has no hole and no double."""
    start = datetime(2026, 3, 8, 5, 0, tzinfo=UTC)  # two hours before New York's gap
    (first,) = fires_between(schedule, start, start + timedelta(days=2), 1)
    end = start + timedelta(seconds=length)
    job = due(schedule, first, misfire_policy=policy, misfire_cap=cap, misfire_grace_seconds=grace)
    covered: list[datetime] = []
    for now in [*sorted(start + timedelta(seconds=cut) for cut in cuts if cut <= length), end]:
        planned = plan(job, now)
        for row in planned.rows:
            until = (row.until if isinstance(row, Skip) else None) or row.scheduled_time
            covered += fires_between(schedule, row.scheduled_time - timedelta(microseconds=1), until, 10_000)
        assert planned.next_fire_time is not None
        job = replace(
            job,
            cursor=planned.next_fire_time,
            last_fire_time=planned.last_fire_time,
            fire_count=job.fire_count + planned.fires,
        )
    assert covered == fires_between(schedule, start, end, 100_000)
    assert job.cursor > end
