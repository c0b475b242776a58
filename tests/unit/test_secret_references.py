"""`{{secret:name}}` in JSON: found everywhere, filled once."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronsvc.domain.secret_references import Reference, filled, names, references


def test_references_are_found_with_their_places() -> None:
    config = {"headers": {"X": "Bearer {{secret:a}}"}, "list": ["{{secret:b}} and {{ secret:c }}"], "{{secret:d}}": 1}
    assert list(references(config)) == [
        Reference("a", ("headers", "X")),
        Reference("b", ("list", "0")),
        Reference("c", ("list", "0")),
        Reference("d", ("{{secret:d}}",), is_key=True),
    ]
    assert names(config) == {"a", "b", "c"}


@pytest.mark.parametrize("text", ["{secret:a}", "{{secrets:a}}", "{{secret:a}", "{{ secret :a}}", "{{secret:{{a}"])
def test_what_is_no_reference(text: str) -> None:
    assert list(references(text)) == []


@pytest.mark.parametrize("name", ["", "a b", "-a", "ä", "a" * 64, "a/b"])
def test_names_that_no_secret_has(name: str) -> None:
    (reference,) = references(f"{{{{secret:{name}}}}}")
    assert not reference.is_well_formed


def test_a_value_is_put_in_once_and_its_text_is_not_read_again() -> None:
    assert filled({"a": "x{{secret:one}}y"}, {"one": "{{secret:two}}", "two": "no"}) == {"a": "x{{secret:two}}y"}


def test_a_value_is_put_in_as_it_is_whatever_it_spells() -> None:
    assert filled("{{secret:one}}", {"one": r"\1\g<0>"}) == r"\1\g<0>"
    assert filled("{{secret:one}}", {"one": "a&b"}, spell=lambda value: quote(value, safe="")) == "a%26b"


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        filled("{{secret:one}}", {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_what_names_no_secret_stays_as_it_is(value: Any) -> None:
    if not names(value):
        assert filled(value, {}) == value
