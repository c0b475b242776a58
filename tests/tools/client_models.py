"""The generated models: words (enumerations), answers, and the parts that requests are made of."""

from collections.abc import Iterable, Mapping
from typing import Any

from tests.tools.client_names import member, model_names
from tests.tools.client_types import Schema, Types, quoted, references

HIDDEN = {("KeyCreated", "key")}
"""What a model holds and does not show when it is printed."""


class Models:
    """The schemas of a document, sorted by what they are for."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.schemas: Mapping[str, Schema] = document["components"]["schemas"]
        self.names = model_names(self.schemas)
        self.enumerations = frozenset(name for name, schema in self.schemas.items() if "enum" in schema)
        self.received = Types(self.names, self.enumerations, sent=False)
        self.sent = Types(self.names, self.enumerations, sent=True)
        answered, asked, versioned = set[str](), set[str](), set[str]()
        for operation in (each for methods in document["paths"].values() for each in methods.values()):
            for answer in operation["responses"].values():
                answered |= references(answer.get("content"))
                if "ETag" in answer.get("headers", {}):
                    versioned |= references(answer.get("content"))
            # A body itself becomes arguments; what it speaks of becomes models.
            for body in references(operation.get("requestBody")):
                asked |= references(self.schemas[body])
        answered.discard("ProblemAnswer")
        self.answer_models = self._ordered(answered)
        self.request_models = self._ordered(asked)
        self.versioned = {name for name in versioned if "revision" in self.schemas[name]["properties"]}
        both = set(self.answer_models) & set(self.request_models)
        if both:
            raise ValueError(f"a model is used both ways, its defaults would be wrong one way: {sorted(both)}")

    def is_open(self, schema: str) -> bool:
        """Whether the schema is an object that nothing is said about."""
        return self.schemas[schema].get("type") == "object" and "properties" not in self.schemas[schema]

    def words(self, header: str) -> str:
        """The module of enumerations."""
        lines = [f'"""The words of the API.\n\n{header}\n"""\n', "from typing import Literal", ""]
        lines += ["from cronsvc.client.shapes import Open", ""]
        for schema in sorted(self.enumerations, key=self.names.__getitem__):
            lines += [f"{self.names[schema]} = Open[", "    Literal["]
            lines += [f"        {quoted(word)}," for word in self.schemas[schema]["enum"]]
            lines += ["    ]", "]"]
        return "\n".join(lines) + "\n"

    def answers(self, header: str) -> str:
        """The module of what comes back."""
        blocks = []
        for schema in self.answer_models:
            base = "Versioned" if schema in self.versioned else "Answer"
            blocks.append(_class(self.names[schema], base, self.schemas[schema], self._received_fields(schema)))
        return _module(
            "What the service answers with.", header, blocks, "shapes", ("Answer", "Open", "Versioned"), self
        )

    def requests(self, header: str) -> str:
        """The module of parts of requests."""
        blocks = [
            _class(self.names[schema], "Part", self.schemas[schema], self._sent_fields(schema))
            for schema in self.request_models
        ]
        return _module("Parts of what is sent.", header, blocks, "shapes", ("Part",), self)

    def _received_fields(self, schema: str) -> list[str]:
        fields = []
        required = set(self.schemas[schema].get("required", ()))
        for name, field in self.schemas[schema].get("properties", {}).items():
            kind = self.received.of(field)
            if name not in required:
                kind = kind if kind.endswith("| None") else f"{kind} | None"
            shown = " = Field(repr=False)" if (schema, name) in HIDDEN else ""
            fields += _field(member(name), kind, shown or ("" if name in required else " = None"))
        return fields

    def _sent_fields(self, schema: str) -> list[str]:
        fields = []
        required = set(self.schemas[schema].get("required", ()))
        for name, field in self.schemas[schema].get("properties", {}).items():
            kind = self.sent.of(field)
            if name in required:
                fields += _field(member(name), kind, "")
                continue
            default = field.get("default", _empty(field))
            if default is None and not kind.endswith("| None") and kind != "Any":
                kind = f"{kind} | None"
            fields += _field(member(name), kind, f" = {quoted(default)}")
        return fields

    def _ordered(self, roots: Iterable[str]) -> list[str]:
        """The object models that these need, each after those it speaks of."""
        found: dict[str, None] = {}
        under_way = set[str]()

        def add(schema: str) -> None:
            if schema in found or schema in self.enumerations or self.is_open(schema):
                return
            if schema in under_way:
                raise ValueError(f"{schema} speaks of itself")
            under_way.add(schema)
            for each in sorted(references(self.schemas[schema])):
                add(each)
            found[schema] = None

        for root in sorted(roots):
            add(root)
        return list(found)


def _empty(field: Schema) -> object:
    """What stands for an absent value that the document gives no default for."""
    return {"array": (), "object": {}}.get(str(field.get("type")))


def _field(name: str, kind: str, default: str) -> list[str]:
    line = f"    {name}: {kind}{default}"
    if len(line) <= 120:
        return [line]
    opened, _, inner = line.partition("Literal[")
    words, _, end = inner.partition("]")
    return [f"{opened}Literal[", *(f"        {word}," for word in words.split(", ")), f"    ]{end}"]


def _class(name: str, base: str, schema: Schema, fields: list[str]) -> str:
    lines = [f"class {name}({base}):"]
    description = " ".join(str(schema.get("description", "")).split())
    if description:
        lines += [f"    {line}" for line in docstring(description)] + ([""] if fields else [])
    elif not fields:
        lines.append("    pass")
    return "\n".join([*lines, *fields])


def docstring(text: str) -> list[str]:
    """The text as a docstring, in lines of some 110 characters."""
    lines, line = [], '"""'
    for word in text.replace("\\", "\\\\").replace('"""', "'''").split():
        if len(line) + len(word) > 110:
            lines.append(line.rstrip())
            line = ""
        line += f"{word} "
    line = line.rstrip()
    if not lines:
        return [f'{line} """' if line.endswith('"') else f'{line}"""']
    return [*lines, line, '"""']


def _module(says: str, header: str, blocks: list[str], shapes: str, bases: tuple[str, ...], models: Models) -> str:
    body = "\n\n\n".join(blocks)
    words = sorted(name for name in map(models.names.__getitem__, models.enumerations) if uses(body, name))
    lines = [f'"""{says}\n\n{header}\n"""\n']
    lines += imports(body)
    used = [base for base in bases if uses(body, base)]
    if used:
        lines.append(f"from cronsvc.client.{shapes} import {', '.join(used)}")
    if words:
        lines += ["from cronsvc.client.generated.words import (", *(f"    {word}," for word in words), ")"]
        lines[-len(words) - 3 :] = _sorted_imports(lines[-len(words) - 3 :])
    return "\n".join(lines) + "\n\n\n" + body + "\n"


def _sorted_imports(lines: list[str]) -> list[str]:
    """`generated` stands before `shapes`."""
    return [*lines[1:], lines[0]] if lines[0].startswith("from cronsvc.client.shapes") else lines


def uses(body: str, name: str) -> bool:
    """Whether the text has the word."""
    return name in set("".join(char if char.isalnum() or char == "_" else " " for char in body).split())


def imports(body: str) -> list[str]:
    """The lines that bring what the text names from the standard library."""
    lines = []
    for module, names in (
        ("collections.abc", ("Mapping", "Sequence")),
        ("datetime", ("date", "datetime", "timedelta")),
        ("typing", ("Any", "Literal")),
    ):
        used = [name for name in names if uses(body, name)]
        if used:
            lines.append(f"from {module} import {', '.join(used)}")
    if " = Field(" in body:
        lines += ["", "from pydantic import Field"]
    return [*lines, ""] if lines else []
