"""JSON Schema in words a person reads in a table: the type with links to other schemas, the bounds, the default."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

_MOST_WORDS = 8  # an enumeration with more values is shown in its own place
_RANGES = (("minimum", "maximum", ""), ("minLength", "maxLength", " characters"), ("minItems", "maxItems", " items"))
_WIDTHS = (2**31 - 1, 2**63 - 1)  # how wide a column is; nobody comes there
_OTHER_BOUNDS = (("exclusiveMinimum", "above {}"), ("exclusiveMaximum", "below {}"), ("pattern", "matches `{}`"))
_FORMATS = {"date-time": "instant (RFC 3339)", "date": "date", "binary": "the file as it is"}


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a type's name. `anchor`: the schema it leads to; `is_value`: a value as it stands in JSON."""

    text: str
    anchor: str | None = None
    is_value: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """A member of an object, or a parameter. `bounds`: what a value must keep to, each in words."""

    name: str
    type: tuple[Part, ...]
    is_required: bool
    bounds: tuple[str, ...]
    default: str | None
    description: str

    def said(self, description: str) -> "Field":
        """The field with these words, if there are any."""
        return replace(self, description=description) if description else self


@dataclass(frozen=True, slots=True)
class Schema:
    """A named schema: an object with fields, or an enumeration with values."""

    anchor: str
    title: str
    description: str
    fields: tuple[Field, ...]
    values: tuple[str, ...]


def anchor_of(name: str) -> str:
    """Where a schema is on the page."""
    return f"schema-{name}"


def schema_of(name: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """Return what is shown of a named schema."""
    return Schema(
        anchor_of(name),
        str(schema.get("title", name)),
        str(schema.get("description", "")),
        fields_of(schema, definitions),
        tuple(_json(value) for value in schema.get("enum", ())),
    )


def fields_of(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> tuple[Field, ...]:
    """Return the members of an object's schema; none for anything else."""
    required = set(schema.get("required", ()))
    return tuple(
        Field(
            name=name,
            type=type_of(one, definitions),
            is_required=name in required,
            bounds=tuple(_bounds(one)),
            default=_json(one["default"]) if one.get("default") is not None else None,
            description=_description(one, definitions),
        )
        for name, one in schema.get("properties", {}).items()
    )


def type_of(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> tuple[Part, ...]:
    """Return the type of a value, as pieces to write one after the other."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        found = definitions.get(name, {})
        if "enum" in found and len(found["enum"]) <= _MOST_WORDS:
            return _one_of(found["enum"])
        return (Part(str(found.get("title", name)), anchor_of(name)),)
    for branches in ("anyOf", "oneOf"):
        if branches in schema:
            return _joined([type_of(each, definitions) for each in schema[branches]])
    if "const" in schema:
        return (Part(_json(schema["const"]), is_value=True),)
    if "enum" in schema:
        return _one_of(schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        return (Part("list of "), *type_of(schema.get("items", {}), definitions))
    if kind == "object":
        inner = schema.get("additionalProperties")
        return (
            (Part("object of "), *type_of(inner, definitions))
            if isinstance(inner, dict) and inner
            else (Part("object"),)
        )
    if kind == "string":
        return (Part(_FORMATS.get(schema.get("format", ""), "text")),)
    return (Part({"integer": "whole number", "boolean": "true or false", None: "any value"}.get(kind, str(kind))),)


def _one_of(values: list[Any]) -> tuple[Part, ...]:
    return _joined([(Part(_json(value), is_value=True),) for value in values])


def _joined(types: list[tuple[Part, ...]]) -> tuple[Part, ...]:
    parts: list[Part] = []
    for number, pieces in enumerate(types):
        if number:
            parts.append(Part(" or "))
        parts += pieces
    return tuple(parts)


def _branches(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The schema, and what it offers to choose from: a bound stands at either."""
    yield schema
    for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _branches(branch)


def _bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    for branch in _branches(schema):
        for low, high, unit in _RANGES:
            least, most = branch.get(low), branch.get(high)
            if most in _WIDTHS:
                most = None
            if least is not None and most is not None:
                yield f"{least} to {most}{unit}"
            elif least is not None:
                yield f"at least {least}{unit}"
            elif most is not None:
                yield f"at most {most}{unit}"
        for key, words in _OTHER_BOUNDS:
            if key in branch:
                yield words.format(branch[key])


def _description(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    words = next((branch["description"] for branch in _branches(schema) if "description" in branch), "")
    examples = next((branch["examples"] for branch in _branches(schema) if "examples" in branch), ())
    shown = ", ".join(f"`{_json(example)}`" for example in examples)
    return f"{words}{'; ' if words and shown else ''}{f'such as {shown}' if shown else ''}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
