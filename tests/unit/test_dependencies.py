"""What an end means to a job that waits for it: conditions, rounds, and a JSON form that is read strictly."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from cronsvc.domain.dependencies import (
    Cause,
    DependencyError,
    DependsOn,
    Ended,
    Mode,
    Upstream,
    When,
    decide,
    depends_on_json,
    judge,
    read_depends_on,
)
from cronsvc.domain.execution import Status

RESULT = {"summary": {"errors": 3, "ok": True, "name": "x", "none": None}, "rows": [{"n": 1}, {"n": 2.0}]}


def condition(**said: Any) -> Upstream:
    return read_depends_on({"on": [{"jobId": 1, "condition": said}]}).on[0]


@pytest.mark.parametrize(
    ("said", "is_met"),
    [
        ({"path": "summary.errors", "equals": 3}, True),
        ({"path": "summary.errors", "equals": 3.0}, True),
        ({"path": "summary.errors", "equals": "3"}, False),
        ({"path": "summary.ok", "equals": True}, True),
        ({"path": "summary.ok", "equals": 1}, False),
        ({"path": "summary.none", "equals": None}, True),
        ({"path": "summary.none", "exists": True}, True),
        ({"path": "summary.none", "exists": False}, False),
        ({"path": "summary.missing", "exists": False}, True),
        ({"path": "summary.missing", "equals": None}, False),
        ({"path": "summary.missing", "notEquals": 1}, False),
        ({"path": "summary.name", "notEquals": "y"}, True),
        ({"path": "summary.name", "in": ["x", None]}, True),
        ({"path": "summary.name", "in": ["y"]}, False),
        ({"path": "rows.1.n", "equals": 2}, True),
        ({"path": "rows.2.n", "exists": True}, False),
        ({"path": "rows.-1", "exists": True}, False),
        ({"path": "rows.n", "exists": True}, False),
        ({"path": "summary.errors", "greaterThan": 2, "lessThan": 4}, True),
        ({"path": "summary.errors", "greaterThan": 2, "lessThan": 3}, False),
        ({"path": "summary.name", "greaterThan": 0}, False),
        ({"path": "summary.ok", "greaterThan": 0}, False),
        ({"exists": True}, True),
    ],
)
def test_conditions(said: dict[str, Any], is_met: bool) -> None:
    verdict = judge(condition(**said), Status.SUCCESS, RESULT)
    assert verdict.is_met is is_met
    assert (verdict.why is None) is is_met


@given(some.recursive(some.none() | some.booleans() | some.floats() | some.text(), lambda x: some.lists(x)))
def test_no_result_makes_a_condition_fail_to_answer(result: Any) -> None:
    for said in ({"path": "0.1", "greaterThan": 1}, {"in": ["a", 1]}, {"equals": None}, {"lessThan": 0.5}):
        assert judge(condition(**said), Status.SUCCESS, result).is_met in (True, False)


@pytest.mark.parametrize(
    ("given_", "field"),
    [
        (None, ""),
        ([], ""),
        ({}, "on"),
        ({"on": []}, "on"),
        ({"on": [{"jobId": 1}] * 21}, "on"),
        ({"on": [{"jobId": n} for n in range(1, 22)]}, "on"),
        ({"on": [{"jobId": 1}, {"jobId": 1}]}, "on[1]"),
        ({"mode": "most", "on": [{"jobId": 1}]}, "mode"),
        ({"on": [{"jobId": 1}], "more": 1}, "more"),
        ({"on": ["x"]}, "on[0]"),
        ({"on": [{}]}, "on[0]"),
        ({"on": [{"jobId": True}]}, "on[0].jobId"),
        ({"on": [{"jobId": 0}]}, "on[0].jobId"),
        ({"on": [{"job": ""}]}, "on[0].job"),
        ({"on": [{"jobId": 1, "when": None}]}, "on[0].when"),
        ({"on": [{"jobId": 1, "condition": {"path": "a"}}]}, "on[0].condition"),
        ({"on": [{"jobId": 1, "condition": {"path": "a." * 20, "exists": True}}]}, "on[0].condition.path"),
        ({"on": [{"jobId": 1, "condition": {"path": "a..b", "exists": True}}]}, "on[0].condition.path"),
        ({"on": [{"jobId": 1, "condition": {"exists": 1}}]}, "on[0].condition.exists"),
        ({"on": [{"jobId": 1, "condition": {"equals": {}}}]}, "on[0].condition.equals"),
        ({"on": [{"jobId": 1, "condition": {"equals": "x" * 1001}}]}, "on[0].condition.equals"),
        ({"on": [{"jobId": 1, "condition": {"equals": float("nan")}}]}, "on[0].condition.equals"),
        ({"on": [{"jobId": 1, "condition": {"in": list(range(51))}}]}, "on[0].condition.in"),
        ({"on": [{"jobId": 1, "condition": {"lessThan": True}}]}, "on[0].condition.lessThan"),
    ],
)
def test_what_means_nothing_is_named(given_: Any, field: str) -> None:
    with pytest.raises(DependencyError) as refused:
        read_depends_on(given_)
    assert refused.value.field == field


def test_the_json_form_comes_back() -> None:
    said = {
        "mode": "any",
        "on": [{"jobId": 7, "when": "failure", "condition": {"path": "a.0", "exists": True, "in": [1, None, "x"]}}],
    }
    assert depends_on_json(read_depends_on(said)) == said
    assert depends_on_json(read_depends_on({"on": [{"job": "x"}]})) == {
        "mode": "all",
        "on": [{"job": "x", "when": "success"}],
    }


def ended(end_id: int, job_id: int, status: Status = Status.SUCCESS) -> Ended:
    return Ended(end_id, 100 + end_id, job_id, status)


@given(some.lists(some.sampled_from([1, 2, 3]), max_size=30), some.integers(0, 30))
def test_rounds_are_the_same_however_the_ends_are_cut(jobs: list[int], cut: int) -> None:
    """And every end of a round is newer than those of the round before."""
    wanted = DependsOn((Upstream(1), Upstream(2)))
    ends = [ended(n, job_id) for n, job_id in enumerate(jobs)]
    whole, left = decide(wanted, ends, {})
    first, between = decide(wanted, ends[:cut], {})
    second, after = decide(wanted, ends[cut:], between)
    assert first + second == whole
    assert after == left
    used = [sorted(cause.end.end_id for cause in each.causes) for each in whole]
    assert all(before[-1] < later[0] for before, later in itertools.pairwise(used))
    assert all({cause.end.job_id for cause in each.causes} == {1, 2} for each in whole)


def test_a_round_uses_the_latest_end_of_each_and_runs_only_if_all_are_met() -> None:
    wanted = DependsOn((Upstream(1), Upstream(2, when=When.FAILURE)))
    failed, better = ended(1, 1, Status.FAILED), ended(2, 1)
    ((decision,), left) = decide(wanted, [failed, better, ended(3, 2, Status.FAILED)], {})
    assert (decision.causes[0].end, decision.runs, left) == (better, True, {})
    ((decision,), _) = decide(wanted, [failed, ended(3, 2)], {})
    assert not decision.runs


def test_any_decides_on_each_end_by_itself() -> None:
    wanted = DependsOn((Upstream(1), Upstream(2)), Mode.ANY)
    decisions, left = decide(wanted, [ended(1, 1), ended(2, 2, Status.FAILED), ended(3, 9)], {})
    assert [each.runs for each in decisions] == [True, False]
    assert left == {}


def test_an_end_of_a_job_no_longer_waited_for_leaves_the_round() -> None:
    wanted = DependsOn((Upstream(1), Upstream(2)))
    _, waiting = decide(wanted, [ended(1, 1)], {})
    assert list(waiting) == [1]
    assert isinstance(waiting[1], Cause)
    decisions, left = decide(DependsOn((Upstream(2), Upstream(3))), [ended(2, 2)], waiting)
    assert (decisions, list(left)) == ([], [2])
