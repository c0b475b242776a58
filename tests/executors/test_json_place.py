"""Places in JSON as people write them."""

from typing import Any

import pytest

from cronsvc.executors.json_place import MISSING, found, steps_of

DATA = {"data": {"items": [{"id": 7}, {"id": None}], "odd name": 1, "a.b": 2}, "0": "zero", "list": [[1, 2]]}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("data.items[0].id", 7),
        ("$.data.items[0].id", 7),
        ("data.items.0.id", 7),
        ('data["odd name"]', 1),
        ("$['data']['a.b']", 2),
        ("data.odd name", 1),
        ("[0]", "zero"),
        ("list[0][1]", 2),
        ("data.items[1].id", None),
        ("data.items[2]", MISSING),
        ("data.items.x", MISSING),
        ("nothing", MISSING),
        ("$", DATA),
        ("", DATA),
    ],
)
def test_places(place: str, value: Any) -> None:
    steps = steps_of(place)
    assert steps is not None
    assert found(DATA, steps) == value or found(DATA, steps) is value


@pytest.mark.parametrize("text", ["a..b", "a.", ".a", "a[", "a[x]", "a[-1]", "a[*]", " a", "$x.", "a" * 501, "a]"])
def test_what_is_no_place(text: str) -> None:
    assert steps_of(text) is None


def test_a_deep_place_is_refused() -> None:
    assert steps_of(".".join("a" * 33)) is None
    assert steps_of(".".join("a" * 32)) is not None
