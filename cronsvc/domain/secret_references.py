"""`{{secret:name}}`: where a config names a secret, and the config with values in their place.

Only texts are looked at, never the names of members. A value is put in once: what a secret's own value spells is not
read again, so a secret cannot lead to another one.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
NAME_RULE = "is 1 to 63 letters, digits or _.- and starts with a letter or digit"
REFERENCE = re.compile(r"\{\{ *secret:([^{}]*)\}\}")

Place = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A secret that a config names. `place` leads there; its last part is the name of a member when `is_key`."""

    name: str
    place: Place
    is_key: bool = False

    @property
    def is_well_formed(self) -> bool:
        """Whether a secret could have this name."""
        return NAME.fullmatch(self.name) is not None


def references(value: Any, place: Place = ()) -> Iterator[Reference]:
    """Every reference in a JSON value, those in names of members too, where no value is ever put."""
    if isinstance(value, str):
        for match in REFERENCE.finditer(value):
            yield Reference(match.group(1).strip(), place)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            below = (*place, str(key))
            for match in REFERENCE.finditer(str(key)):
                yield Reference(match.group(1).strip(), below, is_key=True)
            yield from references(each, below)
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from references(each, (*place, str(number)))


def names(value: Any) -> frozenset[str]:
    """The secrets whose values `filled` would put in."""
    return frozenset(each.name for each in references(value) if not each.is_key)


def filled(value: Any, secrets: Mapping[str, str], *, spell: Callable[[str], str] = str) -> Any:
    """The JSON value with every reference replaced by its secret, written as `spell` says; KeyError: one is missing."""
    if isinstance(value, str):
        return REFERENCE.sub(lambda match: spell(secrets[match.group(1).strip()]), value)
    if isinstance(value, Mapping):
        return {key: filled(each, secrets, spell=spell) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [filled(each, secrets, spell=spell) for each in value]
    return value
