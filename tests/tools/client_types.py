"""The Python type of a JSON schema, as text."""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_SIMPLE = {"integer": "int", "number": "float", "boolean": "bool", "string": "str", "null": "None"}
_FORMATS = {"date-time": "datetime", "date": "date", "duration": "timedelta", "binary": "bytes"}


class Types:
    """Types of one document. `sent`: wider, because a caller may give what the wire has as well."""

    def __init__(self, names: Mapping[str, str], enumerations: frozenset[str], *, sent: bool) -> None:
        self.names = names
        self.enumerations = enumerations
        self.sent = sent

    def of(self, schema: Schema, *, module: str = "") -> str:
        """The type; models are named within `module`."""
        if "$ref" in schema:
            return self._reference(schema["$ref"].rsplit("/", 1)[-1], module)
        if "const" in schema or "enum" in schema:
            words = [schema["const"]] if "const" in schema else schema["enum"]
            literal = f"Literal[{', '.join(quoted(word) for word in words)}]"
            return literal if self.sent else f"Open[{literal}]"
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return " | ".join(dict.fromkeys(self.of(branch, module=module) for branch in schema[key]))
        kind = schema.get("type")
        if kind == "array":
            inner = self.of(schema.get("items", {}), module=module)
            return f"Sequence[{inner}]" if self.sent else f"tuple[{inner}, ...]"
        if kind == "object":
            more = schema.get("additionalProperties")
            inner = self.of(more, module=module) if isinstance(more, Mapping) and more else "Any"
            return f"{'Mapping' if self.sent else 'dict'}[str, {inner}]"
        if kind == "string" and schema.get("format") in _FORMATS:
            found = _FORMATS[schema["format"]]
            return "timedelta | str" if found == "timedelta" and self.sent else found
        if kind is None and not set(schema) - {"title", "description", "default", "examples", "readOnly"}:
            return "Any"
        if kind not in _SIMPLE:
            raise ValueError(f"there is no type for {schema}")
        return _SIMPLE[kind]

    def _reference(self, schema: str, module: str) -> str:
        name = f"{module}.{self.names[schema]}" if module else self.names[schema]
        is_part = self.sent and schema not in self.enumerations
        return f"{name} | Mapping[str, Any]" if is_part else name


def quoted(value: object) -> str:
    """A Python literal as ruff writes it."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


def references(schema: Any) -> set[str]:
    """The names of the schemas that this one speaks of."""
    if isinstance(schema, Mapping):
        here = {schema["$ref"].rsplit("/", 1)[-1]} if isinstance(schema.get("$ref"), str) else set()
        return here.union(*(references(value) for value in schema.values()))
    if isinstance(schema, list):
        return set[str]().union(*(references(value) for value in schema))
    return set()
