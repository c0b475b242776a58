"""Which instants a backfill takes, in which order, and what a recovery makes of the policies."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronsvc.domain.backfill import (
    Backfill,
    BackfillStatus,
    Counts,
    Direction,
    Ledger,
    Mode,
    Present,
    Window,
    by_policy,
    starts,
)
from cronsvc.domain.execution import Status
from cronsvc.domain.job import MisfirePolicy
from cronsvc.domain.schedule import Schedule, fires_between

START = datetime(2026, 3, 28, 20, tzinfo=UTC)  # with a change of the clock in London inside most windows
HOUR = timedelta(hours=1)
SCHEDULES = (
    Schedule(cron_expression="*/7 * * * *", timezone="Europe/London"),
    Schedule(cron_expression="30 1 * * *", timezone="Europe/London"),
    Schedule(cron_expression="*/20 * 3 * * *", timezone="Europe/London"),  # thousands, then nothing for a day
    Schedule(cron_expression="0 4 1 * *"),
    Schedule(every_seconds=41),
    Schedule(run_at=START + 5 * HOUR),
)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(SCHEDULES),
    st.integers(0, 40),
    st.integers(0, 80 * 3600),
    st.sampled_from(list(Direction)),
    st.integers(3, 300),
)
def test_steps_of_any_size_name_each_instant_of_the_window_once_and_in_order(
    schedule: Schedule, first: int, length: int, direction: Direction, size: int
) -> None:
    start = START + first * HOUR
    end = start + timedelta(seconds=length)
    window = Window(schedule, start, end, direction, Mode.MISSING)
    expected = fires_between(schedule, start - timedelta(microseconds=1), end, 10**6)
    if direction is Direction.NEWEST:
        expected.reverse()
    found: list[datetime] = []
    reached = None
    while instants := window.instants_after(reached, size):
        assert len(instants) <= size
        found += instants
        reached = instants[-1]
    assert found == expected


def test_both_ends_belong_to_the_window() -> None:
    hourly = Schedule(cron_expression="0 * * * *")
    for direction in Direction:
        window = Window(hourly, START, START + 2 * HOUR, direction, Mode.ALL)
        assert sorted(window.instants_after(None, 10)) == [START, START + HOUR, START + 2 * HOUR]


def present(status: Status, reason: str | None = None, until: datetime | None = None) -> Present:
    return Present(START, status, reason, until)


@pytest.mark.parametrize(
    ("row", "modes"),
    [
        (None, {Mode.MISSING, Mode.ALL, Mode.MISSED}),
        (present(Status.SKIPPED, "misfire"), {Mode.MISSING, Mode.ALL, Mode.MISSED}),
        (present(Status.SKIPPED, "paused"), {Mode.MISSING, Mode.ALL}),
        (present(Status.SUCCESS), {Mode.ALL}),
        (present(Status.FAILED, "error"), {Mode.ALL}),
        (present(Status.CANCELLED, "user"), {Mode.ALL}),
        (present(Status.QUEUED), set()),
        (present(Status.RUNNING), set()),
    ],
)
def test_what_each_mode_runs(row: Present | None, modes: set[Mode]) -> None:
    assert {mode for mode in Mode if starts(mode, row, None)} == modes


def test_an_instant_inside_a_range_takes_the_ranges_reason() -> None:
    instants = [START + n * HOUR for n in range(5)]
    for reason, missed in (("misfire", [0, 1, 2, 3, 4]), ("paused", [3, 4])):
        ledger = Ledger((present(Status.SKIPPED, reason, START + 2 * HOUR),))
        found = [at for at, _, runs in ledger.runs(Mode.MISSED, instants) if runs]
        assert found == [instants[n] for n in missed]
        assert all(runs for _, _, runs in ledger.runs(Mode.MISSING, instants))


def test_pruned_instants_run_only_when_all_are_asked_for() -> None:
    instants = [START + n * HOUR for n in range(4)]
    ledger = Ledger(pruned=((instants[1], instants[2]),))
    assert [runs for _, _, runs in ledger.runs(Mode.MISSING, instants)] == [True, False, False, True]
    assert [runs for _, _, runs in ledger.runs(Mode.MISSED, instants)] == [True, False, False, True]
    assert all(runs for _, _, runs in ledger.runs(Mode.ALL, instants))


def test_policies_choose_the_latest() -> None:
    missing = [START + n * HOUR for n in range(5)]
    assert list(by_policy(MisfirePolicy.SKIP, 100, missing)) == []
    assert list(by_policy(MisfirePolicy.FIRE_ONCE, 100, missing)) == missing[-1:]
    assert list(by_policy(MisfirePolicy.FIRE_ALL, 2, missing)) == missing[-2:]
    assert list(by_policy(MisfirePolicy.FIRE_ALL, 100, missing)) == missing
    assert list(by_policy(MisfirePolicy.FIRE_ONCE, 1, [])) == []


def backfill(status: BackfillStatus, final: dict[str, int] | None = None) -> Backfill:
    return Backfill(
        id=1,
        job_id=1,
        job_name="job",
        namespace="default",
        recovery_id=None,
        revision=1,
        window_from=START,
        window_to=START,
        mode=Mode.MISSING,
        direction=Direction.OLDEST,
        max_parallel=1,
        params=None,
        note=None,
        status=status,
        reached=None,
        exhausted=False,
        planned=20,
        started=9,
        left_alone=3,
        final_counts=final,
        created_by="x",
        created_at=START,
        finished_at=None,
    )


@pytest.mark.parametrize("status", list(BackfillStatus))
def test_the_counts_add_up_to_what_was_planned(status: BackfillStatus) -> None:
    by_status = {"QUEUED": 2, "RUNNING": 1, "SUCCESS": 3, "FAILED": 2, "CANCELLED": 1}
    counts = backfill(status).counts(by_status)
    ahead = 8
    if status is BackfillStatus.CANCELLED:
        assert counts == Counts(20, 2, 1, 3, 2, 3, 1 + ahead)
    else:
        assert counts == Counts(20, 2 + ahead, 1, 3, 2, 3, 1)
    parts = counts.waiting + counts.running + counts.succeeded + counts.failed + counts.skipped + counts.cancelled
    assert parts == counts.planned == 20


def test_what_was_written_down_at_the_end_counts_and_not_what_is_left_of_it() -> None:
    assert backfill(BackfillStatus.FINISHED, {"SUCCESS": 9}).counts({}).succeeded == 9
    assert Counts(1, 2, 3, 4, 5, 6, 7) + Counts(1, 1, 1, 1, 1, 1, 1) == Counts(2, 3, 4, 5, 6, 7, 8)
