"""A place in a JSON answer, as people write it: `data.items[0].id`, `$.data["odd name"]`, `data.items.0.id`.

One place, no patterns: no wildcards, slices or filters, so reading it is quick whatever the target sent.
"""

import re
from typing import Any

LONGEST = 500
MOST_STEPS = 32

STEP = re.compile(r"""\.([^.\[\]"'\s][^.\[\]"']*)|\[([0-9]{1,9})\]|\["([^"]*)"\]|\['([^']*)'\]""", re.ASCII)

Steps = tuple[str | int, ...]

MISSING = object()
"""What `found` answers when there is nothing at the place; not the same as a null there."""


def steps_of(text: str) -> Steps | None:
    """The steps that lead there; None when the text is no place. `$` alone, or nothing, is the whole answer."""
    rest = text.removeprefix("$") if text.startswith(("$.", "$[")) or text == "$" else text
    if rest is text and rest and not rest.startswith("["):
        rest = f".{rest}"
    steps: list[str | int] = []
    at = 0
    while at < len(rest):
        match = STEP.match(rest, at)
        if match is None or len(steps) == MOST_STEPS or len(text) > LONGEST:
            return None
        member, number, *quoted = match.groups()
        steps.append(
            int(number) if number is not None else next(each for each in (member, *quoted) if each is not None)
        )
        at = match.end()
    return tuple(steps)


def found(value: Any, steps: Steps) -> Any:
    """What a JSON value holds at the place, or MISSING. A whole number names a member of an object or an item."""
    for step in steps:
        if isinstance(value, dict) and str(step) in value:
            value = value[str(step)]
        elif isinstance(value, list) and str(step).isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return MISSING
    return value
