"""The checker, proven on histories made by hand: a good one has no violation, and each invariant can be broken."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.faults.check import INVARIANTS, check
from tests.faults.hand_made import (
    END,
    Break,
    T,
    chain_of,
    doubled,
    early_by_the_database,
    fault,
    first,
    history,
    job,
    late_calls,
    later_lease,
    op,
    relinked,
    samples,
    second_call,
    storm,
    with_attempt,
    with_call,
    with_row,
    without,
)
from tests.faults.oracle import expected
from tests.faults.record import Row

RED: Mapping[str, tuple[str, Break]] = {
    "two rows for an instant": ("I0", doubled),
    "a missing row": ("I1", lambda rows: without(rows, first(rows, "A", after=2))),
    "a gap in the chain": ("I1", lambda rows: replace(rows, gaps=1)),
    "a skip that its policy does not know": (
        "I1",
        lambda rows: with_row(rows, first(rows, "A"), status="SKIPPED", reason="overlap"),
    ),
    "a misfire that was in time": (
        "I1",
        lambda rows: with_row(rows, first(rows, "E"), status="SKIPPED", reason="misfire"),
    ),
    "a pause that never was": ("I1", lambda rows: with_row(rows, first(rows, "F"), status="SKIPPED", reason="paused")),
    "a row between two instants": ("I2", lambda rows: with_row(rows, first(rows, "A"), sched=T + 3.0)),
    "a call without a row": ("I3", lambda rows: without(rows, first(rows, "A"))),
    "an early call": ("I4", lambda rows: with_call(rows, first(rows, "A"), t=first(rows, "A")["sched"] - 0.001)),
    "an early call by the database's clock": ("I4", early_by_the_database),
    "more calls than attempts": ("I5", lambda rows: second_call(rows, first(rows, "A"), attempt=2, fence=2)),
    "two calls for one attempt": (
        "I5",
        lambda rows: second_call(with_row(rows, first(rows, "A"), attempt=2), first(rows, "A"), fence=2),
    ),
    "more attempts than allowed": ("I5", lambda rows: with_row(rows, first(rows, "A"), attempt=4)),
    "a second call of at most one": (
        "I6",
        lambda rows: second_call(with_row(rows, first(rows, "D"), attempt=2), first(rows, "D"), attempt=2, fence=2),
    ),
    "a key that changed": (
        "I7",
        lambda rows: second_call(
            with_row(rows, first(rows, "A"), attempt=2), first(rows, "A"), attempt=2, fence=2, key="other"
        ),
    ),
    "a row that never ended": ("I8", lambda rows: with_row(rows, first(rows, "A"), status="QUEUED")),
    "a success that nobody saw": ("I9", lambda rows: with_call(rows, first(rows, "A"), end_status=500)),
    "a failure that succeeded": (
        "I9",
        lambda rows: with_row(
            with_attempt(rows, first(rows, "A"), outcome="error"), first(rows, "A"), status="FAILED", reason="error"
        ),
    ),
    "a loss without a cause": ("I9", lambda rows: with_attempt(rows, first(rows, "A"), outcome="lost", end=T + 9.0)),
    "a stale result": ("I10", lambda rows: with_row(rows, first(rows, "A"), claim_no=2)),
    "a result that the last attempt did not bring": (
        "I10",
        lambda rows: with_attempt(rows, first(rows, "A"), outcome="error"),
    ),
    "an attempt begun before the last had ended": (
        "I10",
        lambda rows: replace(
            with_row(rows, first(rows, "A"), claim_no=2, attempt=2),
            attempts=[*rows.attempts, {**rows.attempts[0], "claim_no": 2, "attempt": 2}],
        ),
    ),
    "two leases at a time": ("I11", later_lease),
    "two runs at the target": (
        "I11",
        lambda rows: with_call(rows, first(rows, "B"), end_t=first(rows, "B", after=1)["sched"] + 1.0),
    ),
    "runs out of order": (
        "I12",
        lambda rows: with_call(rows, first(rows, "G"), t=first(rows, "G", after=1)["sched"] + 1.0, end_t=END + 1.0),
    ),
    "two misfires at once": ("I13", storm),
    "late for no reason": ("I14", late_calls),
    "a slow recovery": (
        "I15",
        lambda rows: replace(
            with_call(rows, first(rows, "A", after=2), t=first(rows, "A", after=2)["sched"] + 2.5),
            faults=[fault("scheduler_killed", 5.5, 8.0)],
        ),
    ),
    "a fault that did not bite": ("I16", lambda rows: replace(rows, faults=[fault("api_killed", 5, 6, bit=False)])),
    "too few faults": ("I16", lambda rows: replace(rows, meta={**rows.meta, "least_faults": 7})),
    "a change without an audit row": ("I17", lambda rows: replace(rows, ops=[op("description", None, 3)])),
    "an audit row for what was refused": (
        "I17",
        lambda rows: replace(
            rows,
            ops=[op("description", None, 3, "fail")],
            audit=[*rows.audit, {"at": T + 3, "action": "update", "job": 6, "marker": "op-1"}],
            revisions={**rows.revisions, "6": 2},
        ),
    ),
    "a revision that nobody audited": ("I17", lambda rows: replace(rows, revisions={**rows.revisions, "1": 2})),
    "an entry that was changed after its seal": ("I17", lambda rows: relinked(rows, 3, text="job 3, and more")),
    "an entry that is gone": ("I17", lambda rows: relinked(rows, 3, text=None)),
    "a place that is gone": (
        "I17",
        lambda rows: replace(rows, chain=[each for each in rows.chain if each["place"] != 3]),
    ),
    "an entry that was never sealed": ("I17", lambda rows: replace(rows, audit_ids=[*rows.audit_ids, 99])),
    "an entry that was sealed twice": (
        "I17",
        lambda rows: replace(rows, chain=chain_of(["job 1", "job 2", "job 1"], [1, 2, 1]), audit_ids=[1, 2]),
    ),
    "a verdict that says broken": (
        "I17",
        lambda rows: replace(rows, verdict={"intact": False, "checked": 6, "broken": {"place": 2}}),
    ),
    "a verdict that did not look": ("I17", lambda rows: replace(rows, verdict={**rows.verdict, "checked": 2})),
    "a self check that was red": (
        "I1",
        lambda rows: replace(rows, self_checks=[{"who": "api-1", "words": "1 instants have no row"}]),
    ),
    "a fence without a restore": (
        "I15",
        lambda rows: replace(rows, fences=[{"t": T + 4, "words": "it is some 40 s of service behind"}]),
    ),
    "a secret in a log": ("I18", lambda rows: replace(rows, leaks=["worker-1.log has the header of a call"])),
    "a lock that was left": ("I19", lambda rows: replace(rows, lingering=["cronsvc-scheduler: idle for 9 s, 1 locks"])),
    "an exit that nobody asked for": (
        "I20",
        lambda rows: replace(rows, procs=[{"event": "exit", "proc": "worker-1", "code": 1, "expected": False}]),
    ),
    "an unkind end": (
        "I20",
        lambda rows: replace(
            rows, procs=[{"event": "exit", "proc": "worker-1", "code": 1, "expected": True, "kindly": True}]
        ),
    ),
    "a spin while Redis is away": (
        "I20",
        lambda rows: replace(rows, faults=[fault("redis_killed", 1, 10)], samples=samples("worker-1", cpu=0.2)),
    ),
    "silence while Postgres is away": (
        "I20",
        lambda rows: replace(rows, faults=[fault("pg_away", 0, 40)], samples=samples("worker-1", seconds=40)),
    ),
    "a target that hangs a worker": (
        "I20",
        lambda rows: with_row(
            replace(rows, jobs=[*rows.jobs, job(9, "H", 0, name="H-drip")]), first(rows, "A"), job=9, end=T + 9.0
        ),
    ),
    "a target that bloats a worker": (
        "I20",
        lambda rows: replace(rows, faults=[fault("hostile_targets", 1, 8)], samples=samples("worker-1", rss=1.5)),
    ),
    "a leak of memory": ("I20", lambda rows: replace(rows, samples=samples("worker-1", seconds=300, rss=3.0))),
}


def test_a_good_history_has_no_violation() -> None:
    assert check(history()) == []


def test_a_clock_that_was_ahead_and_set_back_names_no_call_early() -> None:
    """The database had shown those instants before: the host's clock, and the one it shows now, are no judges."""
    steps = [{"begun": T + at, "done": T + at, "ahead": ahead} for at, ahead in ((-9.0, 60), (-8.0, -30))]
    assert not [each for each in check(replace(history(), clock=steps)) if each.invariant == "I4"]
    assert history(clock=steps).reached(T + 0.0) == T + 52.0
    assert history(clock=steps).reached(T + 90.0) == T + 60.0


def test_every_invariant_can_be_broken() -> None:
    assert {invariant for invariant, _ in RED.values()} == set(INVARIANTS)


@pytest.mark.parametrize("what", RED)
def test_it_is_seen(what: str) -> None:
    invariant, spoil = RED[what]
    found = {violation.invariant for violation in check(spoil(history()))}
    assert invariant in found


@pytest.mark.parametrize(
    ("ops", "must", "only_may"),
    [
        ([], {T + 5, T + 10, T + 15}, set()),
        ([op("end", T + 10, 2)], {T + 5, T + 10}, set()),
        ([op("end", T + 10, 2, "unknown")], {T + 5, T + 10}, {T + 15}),
        ([op("end", T + 10, 2, "fail")], {T + 5, T + 10, T + 15}, set()),
        # The edit and the instant are too close to each other to say which came first.
        ([op("period", 4, 9.8)], {T + 5, T + 12, T + 16}, {T + 10}),
        # What was asked and not answered may still come, even after a later answer.
        (
            [op("period", 4, 6, "unknown"), op("period", 5, 7, number=2)],
            {T + 5},
            {T + 8, T + 10, T + 12, T + 15, T + 16},
        ),
        # But not for ever: the third operation is out of its reach.
        ([op("period", 4, -20, "unknown"), op("period", 5, 1, number=2)], {T + 5, T + 10, T + 15}, set()),
    ],
)
def test_the_oracle_demands_what_is_certain_and_allows_what_is_possible(
    ops: list[Row], must: set[int], only_may: set[int]
) -> None:
    found = expected(job(6, "F", 5, invoke=T, done=T + 0.1), ops, until=T + 18)
    assert found.must == must
    assert found.may - found.must - {T} == only_may


def test_an_instant_in_a_pause_is_neither_surely_live_nor_a_must_to_run() -> None:
    found = expected(job(6, "F", 5), [op("paused", True, 7), op("paused", False, 12, number=2)], until=T + 18)
    assert (found.paused, found.live) == ({T + 10}, {T, T + 5, T + 15})
    assert {T + 5, T + 10, T + 15} <= found.must
