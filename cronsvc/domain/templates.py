"""Templates: a job's document with named parameters in its texts, and the document that values make of it.

`${name}` in a text stands for a parameter, `$${name}` for these very characters. A text that is nothing but `${name}`
becomes the value as it is, of whatever type; within a longer text the value is written out. Values are put in once and
never looked through, names of members never: so a value can neither bring a parameter with it nor change the shape of
the document. Nothing is evaluated.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cronsvc.errors import FieldError, InvalidInput

MOST_PARAMETERS = 50
MOST_BYTES = 256 * 1024  # of a rendered document

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}", re.ASCII)
_PLACE = re.compile(r"\$(\$?)\{([^{}]*)\}")


class ParameterType(StrEnum):
    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    OBJECT = "object"
    ARRAY = "array"


_WORDS: Mapping[ParameterType, str] = {
    ParameterType.STRING: "text",
    ParameterType.INTEGER: "a whole number",
    ParameterType.NUMBER: "a number",
    ParameterType.BOOLEAN: "true or false",
    ParameterType.OBJECT: "an object",
    ParameterType.ARRAY: "a list",
}
_WHOLE_ONLY = frozenset({ParameterType.OBJECT, ParameterType.ARRAY})


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a template asks for. `default` None: it must be given. `choices`: one of these, where there are any."""

    name: str
    type: ParameterType
    default: Any = None
    description: str = ""
    choices: tuple[Any, ...] = ()

    @property
    def is_required(self) -> bool:
        """Whether a value must be given."""
        return self.default is None

    def fault(self, value: Any) -> str | None:
        """What is wrong with a value, or None."""
        if not _is_of(self.type, value):
            return f"must be {_WORDS[self.type]}"
        if self.choices and not any(_same(value, each) for each in self.choices):
            return "must be one of: " + ", ".join(json.dumps(each, ensure_ascii=False) for each in self.choices)
        return None


@dataclass(frozen=True, slots=True)
class TemplateFields:
    """What a person defines. `namespace` None: for all of them. `definition` is a job's document with parameters."""

    name: str
    namespace: str | None
    parameters: tuple[Parameter, ...]
    definition: Mapping[str, Any]
    description: str = ""


@dataclass(frozen=True, slots=True)
class TemplateUse:
    """How a job came from a template: the revision, and what was given with it."""

    template_id: int
    revision: int
    values: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)


def faults(parameters: Sequence[Parameter], definition: Mapping[str, Any]) -> list[FieldError]:
    """What is wrong with parameters and the places where they are used, whatever their values."""
    bad: list[FieldError] = []
    if len(parameters) > MOST_PARAMETERS:
        bad.append(FieldError("parameters", f"declares at most {MOST_PARAMETERS}"))
    known: dict[str, Parameter] = {}
    for number, each in enumerate(parameters[:MOST_PARAMETERS]):
        where = f"parameters.{number}"
        if _NAME.fullmatch(each.name) is None:
            bad.append(FieldError(f"{where}.name", "is 1 to 63 letters, digits or _ and starts with a letter"))
        if each.name in known:
            bad.append(FieldError(f"{where}.name", "is declared twice"))
        known[each.name] = each
        if any(not _is_of(each.type, choice) for choice in each.choices):
            bad.append(FieldError(f"{where}.choices", f"each must be {_WORDS[each.type]}"))
        elif each.default is not None and (fault := each.fault(each.default)) is not None:
            bad.append(FieldError(f"{where}.default", fault))
    used = set()
    for place, name, whole in _places(definition):
        parameter = known.get(name)
        used.add(name)
        if parameter is None:
            declared = ", ".join(known) or "none"
            bad.append(FieldError(place, f"has ${{{name[:63]}}}, which is no parameter; declared: {declared}"))
        elif parameter.type in _WHOLE_ONLY and not whole:
            bad.append(
                FieldError(place, f"{name} is {_WORDS[parameter.type]}, which no text can hold: let it stand alone")
            )
    bad += [
        FieldError(f"parameters.{number}", f"{each.name} is used nowhere in the definition")
        for number, each in enumerate(parameters[:MOST_PARAMETERS])
        if each.name not in used
    ]
    return bad


def filled_in(parameters: Sequence[Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """A value for each parameter; InvalidInput names everything that is missing, unknown or of another type."""
    known = {each.name: each for each in parameters}
    bad = [
        FieldError(f"values.{name[:63]}", f"is no parameter of this template; known: {', '.join(known) or 'none'}")
        for name in values
        if name not in known
    ]
    found: dict[str, Any] = {}
    for name, parameter in known.items():
        value = values.get(name)
        if value is None and parameter.is_required:
            bad.append(FieldError(f"values.{name}", f"is required: {_WORDS[parameter.type]}"))
        elif value is None:
            found[name] = parameter.default
        elif (fault := parameter.fault(value)) is not None:
            bad.append(FieldError(f"values.{name}", fault))
        else:
            found[name] = value
    if bad:
        raise InvalidInput(bad)
    return found


def rendered(definition: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The document with a value in each place; InvalidInput when that would be larger than MOST_BYTES."""
    lengths = {name: len(json.dumps(value, ensure_ascii=False).encode()) for name, value in values.items()}
    size = len(json.dumps(definition, ensure_ascii=False).encode())
    size += sum(lengths[name] for _, name, _ in _places(definition))
    if size > MOST_BYTES:
        raise InvalidInput.of("values", f"make a document of {size} bytes; at most {MOST_BYTES} are possible")
    return {key: _put(each, values) for key, each in definition.items()}


def _put(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        whole = _PLACE.fullmatch(value)
        if whole is not None and not whole[1]:
            return values[whole[2]]
        return _PLACE.sub(lambda match: f"${{{match[2]}}}" if match[1] else _text(values[match[2]]), value)
    if isinstance(value, Mapping):
        return {key: _put(each, values) for key, each in value.items()}
    if isinstance(value, list):
        return [_put(each, values) for each in value]
    return value


def _places(value: Any, path: str = "definition") -> Iterator[tuple[str, str, bool]]:
    """(where, parameter, does it stand alone?) of every place in the texts of a document."""
    if isinstance(value, str):
        whole = _PLACE.fullmatch(value) is not None
        for match in _PLACE.finditer(value):
            if not match[1]:
                yield path, match[2], whole
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _places(each, f"{path}.{key}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _places(each, f"{path}.{number}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _is_of(kind: ParameterType, value: Any) -> bool:
    match kind:
        case ParameterType.STRING:
            return isinstance(value, str)
        case ParameterType.BOOLEAN:
            return isinstance(value, bool)
        case ParameterType.INTEGER:
            return isinstance(value, int) and not isinstance(value, bool)
        case ParameterType.NUMBER:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ParameterType.OBJECT:
            return isinstance(value, Mapping)
        case ParameterType.ARRAY:
            return isinstance(value, list)


class _Absent:
    """Stands where a document has no such member."""


_ABSENT = _Absent()


def carried_over(old: Any, new: Any, present: Any, path: str = "") -> tuple[Any, list[str]]:
    """What becomes of `present` when what it was made from changes from `old` to `new`; and where both have changed.

    All three are JSON. Objects are taken member by member, anything else as a whole. Where somebody has changed what
    `new` changes too, it becomes as in `new`, and the place is in the list.
    """
    if _same(old, new) or _same(present, new):
        return present, []
    if not all(isinstance(each, Mapping) for each in (old, new, present)):
        return new, ([] if _same(old, present) else [path])
    merged, conflicts = dict(present), []
    for key in dict.fromkeys((*old, *new)):
        had, has, now = (each.get(key, _ABSENT) for each in (old, new, present))
        value, more = carried_over(had, has, now, f"{path}.{key}" if path else key)
        conflicts += more
        if value is _ABSENT:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged, conflicts


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: Python takes 1 and true for the same."""
    if one is _ABSENT or other is _ABSENT:
        return one is other
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
