"""Templates: what values make of a document, what is refused, and what a later revision does to an edited one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronsvc.domain.templates import MOST_BYTES, Parameter, ParameterType, carried_over, faults, filled_in, rendered
from cronsvc.errors import InvalidInput

WHO = Parameter("who", ParameterType.STRING)
COUNT = Parameter("count", ParameterType.INTEGER, 3)
TAGS = Parameter("tags", ParameterType.ARRAY, [])


def test_values_take_their_places() -> None:
    document = {
        "name": "sync ${who}",
        "maxAttempts": "${count}",
        "tags": "${tags}",
        "taskPayload": {"config": {"data": ["${who}", 7, None, "$${who} of ${count}"], "${who}": "kept"}},
    }
    assert rendered(document, {"who": "acme", "count": 5, "tags": ["a"]}) == {
        "name": "sync acme",
        "maxAttempts": 5,
        "tags": ["a"],
        "taskPayload": {"config": {"data": ["acme", 7, None, "${who} of 5"], "${who}": "kept"}},
    }


@given(st.text(), st.text())
def test_a_value_is_never_looked_through(one: str, other: str) -> None:
    value = f"{one}${{other}}$${{other}}{{{{secret:x}}}}\\1"
    assert rendered({"a": "-${who}-", "b": "${who}"}, {"who": value, "other": other}) == {"a": f"-{value}-", "b": value}


def test_what_cannot_be_a_template() -> None:
    bad = faults(
        [WHO, WHO, Parameter("1", ParameterType.STRING), Parameter("n", ParameterType.INTEGER, "3"), TAGS, COUNT],
        {"name": "${nobody} ${who}", "description": "all of ${tags}", "tags": ["${n}", "${1}"]},
    )
    assert {(each.field, each.reason.split(";")[0][:30]) for each in bad} == {
        ("parameters.1.name", "is declared twice"),
        ("parameters.2.name", "is 1 to 63 letters, digits or "),
        ("parameters.3.default", "must be a whole number"),
        ("definition.name", "has ${nobody}, which is no par"),
        ("definition.description", "tags is a list, which no text "),
        ("parameters.5", "count is used nowhere in the d"),
    }


@pytest.mark.parametrize(
    ("kind", "good", "wrong"),
    [
        ("string", "", 1),
        ("integer", 0, 1.0),
        ("integer", -1, True),
        ("number", 1.5, "1.5"),
        ("boolean", False, 0),
        ("object", {}, []),
        ("array", [], {}),
    ],
)
def test_types(kind: str, good: Any, wrong: Any) -> None:
    parameter = Parameter("x", ParameterType(kind))
    assert filled_in([parameter], {"x": good}) == {"x": good}
    for bad in (wrong, None):
        with pytest.raises(InvalidInput) as refused:
            filled_in([parameter], {"x": bad})
        assert [each.field for each in refused.value.errors] == ["values.x"]


def test_defaults_choices_and_unknown_values() -> None:
    size = Parameter("size", ParameterType.INTEGER, 1, choices=(1, 2))
    assert filled_in([WHO, size], {"who": "x"}) == {"who": "x", "size": 1}
    with pytest.raises(InvalidInput) as refused:
        filled_in([WHO, size], {"size": 3, "wo": "x"})
    assert {each.field for each in refused.value.errors} == {"values.who", "values.size", "values.wo"}


def test_a_template_cannot_be_made_to_swell() -> None:
    with pytest.raises(InvalidInput, match="bytes"):
        rendered({"x": ["${who}"] * 100}, {"who": "x" * (MOST_BYTES // 50)})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2),
    lambda each: st.lists(each, max_size=2) | st.dictionaries(st.sampled_from("abc"), each, max_size=3),
    max_leaves=6,
)


@given(JSON, JSON)
def test_what_nobody_touched_becomes_what_the_template_says(old: Any, new: Any) -> None:
    assert same(carried_over(old, new, old), (new, []))
    assert same(carried_over(old, old, new), (new, []))
    assert same(carried_over(old, new, new), (new, []))


def same(one: object, other: object) -> bool:
    return repr(one) == repr(other) or one == other


def test_edits_stay_where_the_template_did_not_change() -> None:
    old = {"cron": "1", "tags": ["a"], "config": {"url": "u", "method": "GET", "gone": 1}}
    new = {"cron": "2", "tags": ["a"], "config": {"url": "v", "method": "GET", "more": 1}}
    edited = {"cron": "1", "tags": ["a", "b"], "config": {"url": "u", "method": "POST", "gone": 1, "own": 1}}
    assert carried_over(old, new, edited) == (
        {"cron": "2", "tags": ["a", "b"], "config": {"url": "v", "method": "POST", "own": 1, "more": 1}},
        [],
    )


def test_where_both_changed_it_says_so() -> None:
    old = {"cron": "1", "config": {"url": "u", "gone": 1, "kept": 1}}
    new = {"cron": "2", "config": {"url": "v", "kept": 2, "more": 1}}
    edited = {"cron": "3", "config": {"url": "v", "gone": 2, "more": 2}}
    found, conflicts = carried_over(old, new, edited)
    assert sorted(conflicts) == ["config.gone", "config.kept", "config.more", "cron"]
    assert found == new
