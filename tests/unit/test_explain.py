"""Every verdict on an instant, from evidence alone, and what the clock has to do with it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cronsvc.domain.evidence import (
    Verdict,
)
from cronsvc.domain.explain import explain
from tests.support.evidence import AT, HOLE, MADE, RAN, TOMORROW, attempt, row, seconds, step, with_row
from tests.unit.explain_absence_cases import ABSENCE_CASES
from tests.unit.explain_cases import ROW_CASES

CASES = ROW_CASES | ABSENCE_CASES


@pytest.mark.parametrize("name", CASES)
def test_verdict(name: str) -> None:
    evidence, verdict, summary, what, says = CASES[name]
    explanation = explain(evidence)
    assert explanation.verdict is verdict, explanation
    assert summary in explanation.summary, explanation.summary
    assert any(says in each.says for each in explanation.steps if each.what == what), explanation.steps
    assert "hush" not in repr(explanation.steps)  # no configuration in the facts


def test_every_verdict_has_a_case() -> None:
    assert {verdict for _, verdict, *_ in CASES.values()} == set(Verdict)


def test_facts_split_the_lateness() -> None:
    facts = step(explain(RAN), "lateness").facts
    assert (facts["late_seconds"], facts["recorded_late_seconds"], facts["waited_seconds"]) == (2.5, 0.5, 2.0)
    jittered = with_row(
        row(start_time=AT + seconds(12)), attempts=(attempt(queued_at=AT + seconds(10), start_time=AT + seconds(12)),)
    )
    assert step(explain(jittered), "lateness").facts["held_back_seconds"] == 9.5


def test_the_nearest_instants_do_not_come_before_the_job() -> None:
    found = explain(replace(HOLE, at=MADE + seconds(1)))
    assert (found.before, found.after) == (None, datetime(2026, 6, 2, 9, tzinfo=UTC))
    found = explain(RAN)
    assert (found.before, found.after) == (AT - timedelta(days=1), TOMORROW)
    assert found.execution is not None and found.execution.id == 40
