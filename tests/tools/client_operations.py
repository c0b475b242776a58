"""The generated operations: a function for each, in a module for each tag, and the groups that both clients have.

An operation that has two answers becomes two functions: `dryRun` is `…_dry_run`, and a list with `fields` is
`…_fields`, whose items are plain objects. A list is over all its pages, its `limit` being the `page_size`.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic.alias_generators import to_snake

from tests.tools.client_models import Models, docstring, imports, uses
from tests.tools.client_names import class_name, method_name, module_name, parameter, snake
from tests.tools.client_types import Schema, quoted

FIELDS_OF = {"JobPatch": "JobDocument"}
"""Bodies that the document leaves open, because what is left out of them matters, and what they may hold."""

REPEATABLE = ("previewSchedule", "completeExecution")
"""POSTs without a key that do no more the second time: one changes nothing, a callback token speaks for one attempt.

`completeExecutionById` is none of them: with an API key it ends whichever attempt is there when it arrives.
"""

_LISTED = ("items", "nextCursor")


@dataclass(frozen=True)
class Variant:
    """One function: an operation, or one of the two ways to use it."""

    suffix: str
    answers: Mapping[int, Any]  # by status: a schema, or None for no content
    left_out: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    needed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Function:
    """A function that was made, and how the group knows it."""

    module: str
    name: str
    method: str
    lists: bool
    text: str


class Operations:
    """Every function of a document."""

    def __init__(self, document: Mapping[str, Any], models: Models) -> None:
        self.models = models
        self.tags: dict[str, list[Function]] = {}
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                for variant in self._variants(operation):
                    made = self._function(path, method.upper(), operation, variant)
                    self.tags.setdefault(operation["tags"][0], []).append(made)
        self.tags = {tag: _told_apart(tag, functions) for tag, functions in self.tags.items()}

    def modules(self, header: str) -> dict[str, str]:
        """The module of each tag."""
        return {f"{module_name(tag)}.py": self._module(tag, functions, header) for tag, functions in self.tags.items()}

    def index(self, header: str) -> str:
        """The module of groups, and of what both clients have."""
        tags = sorted(self.tags)
        lines = [f'"""The operations in groups, as both clients have them.\n\n{header}\n"""\n']
        lines += ["from cronsvc.client.generated import (", *(f"    {module_name(tag)}," for tag in tags), ")"]
        lines += [
            "from cronsvc.client.parts import AsyncPart, Listing, Operation, Sends, SendsLater, SyncPart",
            "",
        ]
        for tag in tags:
            name = class_name(tag)
            lines += ["", f"class _{name}:", f'    """Operations on {tag}."""', ""]
            for function in self.tags[tag]:
                kind = "Listing" if function.lists else "Operation"
                lines.append(f"    {function.method} = {kind}({function.module}.{function.name})")
            lines += ["", "", f"class {name}(_{name}, SyncPart):", '    """For the sync client."""', ""]
            lines += ["", f"class Async{name}(_{name}, AsyncPart):", '    """For the async client."""', ""]
        for prefix, sends, says in (("Sync", "Sends", "sync"), ("Async", "SendsLater", "async")):
            lines += ["", f"class {prefix}Groups:", f'    """What the {says} client can do."""', ""]
            lines.append(f"    def __init__(self, client: {sends}) -> None:")
            group = "Async" if prefix == "Async" else ""
            lines += [f"        self.{module_name(tag)} = {group}{class_name(tag)}(client)" for tag in tags]
            lines.append("")
        return "\n".join(lines)

    def _variants(self, operation: Schema) -> list[Variant]:
        answers = _answers(operation)
        branches = [(status, one) for status, schema in answers.items() for one in _branches(schema)]
        queries = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
        if "fields" in queries:
            (sparse,) = [pair for pair in branches if _name(pair[1]) == "SparseList"]
            (whole,) = [pair for pair in branches if pair is not sparse]
            return [
                Variant("", dict([whole]), left_out=("fields",)),
                Variant("_fields", dict([sparse]), needed=("fields",)),
            ]
        different = {str(schema) for _, schema in branches}
        if "dryRun" in queries | set(self._body_fields(operation)) and len(different) > 1:
            (plan,) = [pair for pair in branches if "Plan" in _name(pair[1])]
            (done,) = [pair for pair in branches if pair is not plan]
            return [
                Variant("", dict([done]), left_out=("dryRun",)),
                Variant("_dry_run", dict([plan]), left_out=("dryRun",), fixed={"dryRun": True}),
            ]
        if len(different) > 1 and not all(name == "str" for name in map(self._answer_type, dict(branches).values())):
            raise ValueError(f"{operation['operationId']} has answers of more than one shape: {sorted(different)}")
        return [Variant("", answers)]

    def _function(self, path: str, method: str, operation: Schema, variant: Variant) -> Function:
        name = to_snake(operation["operationId"]) + variant.suffix
        answer = next(iter(variant.answers.values()))
        item = self._item(answer) if operation["operationId"].startswith("list") or self._is_paged(operation) else None
        arguments = _Arguments()
        self._add_parameters(arguments, operation, variant, lists=item is not None)
        self._add_body(arguments, operation, variant)
        kind = self._answer_type(answer)
        returns = f"Call[{kind}]" if item is None else f"Paged[{item}, {kind}]"
        lines = [f"def {name}({arguments.signature()}) -> {returns}:", *self._words(operation, variant)]
        lines += ["    return call(" if item is None else "    first = call("]
        lines += [f"        {part}," for part in (quoted(operation["operationId"]), quoted(method), quoted(path))]
        lines.append(f"        {self._reader(answer)},")
        if list(variant.answers) != [200]:
            statuses = ", ".join(map(str, variant.answers))
            lines.append(f"        statuses=({statuses}{',' if len(variant.answers) == 1 else ''}),")
        lines += arguments.passed()
        if operation["operationId"] in REPEATABLE:
            lines.append("        is_repeatable=True,")
        lines.append("    )")
        if item is not None:
            lines.append("    return Paged(first)")
        method_of = method_name(operation["operationId"], operation["tags"][0]) + variant.suffix
        return Function(module_name(operation["tags"][0]), name, method_of, item is not None, "\n".join(lines))

    def _add_parameters(self, arguments: "_Arguments", operation: Schema, variant: Variant, *, lists: bool) -> None:
        for each in operation.get("parameters", ()):
            name, place = each["name"], each["in"]
            kind = self.models.sent.of(each["schema"], module="words")
            if name in variant.fixed:
                arguments.query.append((name, repr(variant.fixed[name])))
            elif name in variant.left_out:
                continue
            elif place == "path":
                arguments.positional.append(f"{parameter(name)}: {kind}")
                arguments.names.append((name, parameter(name)))
            elif place == "query":
                own = "page_size" if lists and name == "limit" else parameter(name)
                is_needed = each["required"] or name in variant.needed
                # A query knows no null, so None is free to say that nothing is asked.
                arguments.keywords.append((own, kind if is_needed else f"{kind} | None", None if is_needed else "None"))
                arguments.query.append((name, own))
            elif name == "If-Match":
                arguments.last.append(("if_match", "str | None", "None"))
            elif name == "Idempotency-Key":
                arguments.last.append(("idempotency_key", "str | None", "None"))
            else:
                raise ValueError(f"{operation['operationId']} takes {name} in the {place}")

    def _add_body(self, arguments: "_Arguments", operation: Schema, variant: Variant) -> None:
        body = operation.get("requestBody")
        if body is None:
            return
        media, content = next(iter(body["content"].items()))
        if media != "application/json":
            arguments.keywords.insert(0, ("content", "bytes", None))
            arguments.content_type = media
            return
        schema = _name(content["schema"])
        if schema not in FIELDS_OF and self.models.is_open(schema):
            arguments.keywords.insert(0, ("document", "Mapping[str, Any]", None) if body["required"] else _DOCUMENT)
            arguments.takes_document = True
            return
        arguments.has_body = True
        needed = set() if schema in FIELDS_OF else set(self.models.schemas[schema].get("required", ()))
        taken = {name for name, _, _ in arguments.keywords} | {own for _, own in arguments.names}
        for name, each in self._body_fields(operation).items():
            if name in variant.fixed:
                arguments.body.append((name, repr(variant.fixed[name])))
            elif name not in variant.left_out:
                own = f"new_{snake(name)}" if parameter(name) in taken else parameter(name)
                kind = self.models.sent.of(each, module="?")
                arguments.give(own, self._placed(kind), needed=name in needed)
                arguments.body.append((name, own))

    def _body_fields(self, operation: Schema) -> dict[str, Schema]:
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" not in content:
            return {}
        name = _name(content["application/json"]["schema"])
        properties = self.models.schemas[FIELDS_OF.get(name, name)].get("properties", {})
        return {name: schema for name, schema in properties.items() if not schema.get("readOnly")}

    def _placed(self, kind: str) -> str:
        """Models of requests and enumerations live in different modules."""
        for schema in self.models.enumerations:
            kind = _replace_word(kind, f"?.{self.models.names[schema]}", f"words.{self.models.names[schema]}")
        return kind.replace("?.", "requests.")

    def _answer_type(self, schema: Any) -> str:
        if schema is None:
            return "None"
        if "$ref" not in schema:
            return self.models.received.of(schema)
        name = _name(schema)
        return "dict[str, Any]" if self.models.is_open(name) else f"answers.{self.models.names[name]}"

    def _reader(self, schema: Any) -> str:
        kind = self._answer_type(schema)
        by_kind = {"None": "nothing", "dict[str, Any]": "any_object", "str": "text"}
        return by_kind.get(kind, f"{kind}.model_validate_json")

    def _is_paged(self, operation: Schema) -> bool:
        return any(each["name"] == "cursor" for each in operation.get("parameters", ()))

    def _item(self, schema: Any) -> str | None:
        """The type of the items, if this is the page of a list."""
        if schema is None or "$ref" not in schema:
            return None
        properties = self.models.schemas[_name(schema)].get("properties", {})
        if not all(name in properties for name in _LISTED):
            return None
        items = properties["items"]["items"]
        return self._answer_type(items) if "$ref" in items else self.models.received.of(items)

    def _words(self, operation: Schema, variant: Variant) -> list[str]:
        text = str(operation["summary"]).rstrip(".") + "."
        if variant.suffix == "_dry_run":
            text = f"Say what this would do, and do nothing: {text[0].lower()}{text[1:]}"
        if variant.suffix == "_fields":
            text = f"{text} Each item has the members that `fields` names, and its id."
        role = operation.get("x-cronsvc-role")
        if role:
            text = f"{text} Needs the role {role}."
        return [f"    {line}" for line in docstring(text)]

    def _module(self, tag: str, functions: list[Function], header: str) -> str:
        body = "\n\n\n".join(function.text for function in functions)
        lines = [f'"""Operations on {tag}.\n\n{header}\n"""\n', *imports(body)]
        names = [name for name in _TYPES if uses(body, name)]
        names += ["any_object"] * ("        any_object," in body) + ["call"]
        names += [name for name in ("nothing", "text") if f"        {name}," in body]
        lines.append(f"from cronsvc.client.calls import {', '.join(names)}")
        modules = [name for name in ("answers", "requests", "words") if f"{name}." in body]
        if modules:
            lines.append(f"from cronsvc.client.generated import {', '.join(modules)}")
        return "\n".join(lines) + f"\n\n\n{body}\n"


_DOCUMENT = ("document", "Mapping[str, Any] | None", "None")
_TYPES = ("UNSET", "Call", "Paged", "Unset")


def _told_apart(tag: str, functions: list[Function]) -> list[Function]:
    """The functions with names of their own: `getX` and `listX` would both be `x`, and keep their whole names."""
    often = Counter(function.method for function in functions)
    told = [replace(each, method=each.name) if often[each.method] > 1 else each for each in functions]
    if len({each.method for each in told}) < len(told):
        raise ValueError(f"two operations of {tag!r} have one name: choose one in METHOD_NAMES")
    return told


class _Arguments:
    """The arguments of one function, and what becomes of them."""

    def __init__(self) -> None:
        self.positional: list[str] = []
        self.keywords: list[tuple[str, str, str | None]] = []
        self.last: list[tuple[str, str, str | None]] = []
        self.names: list[tuple[str, str]] = []
        self.query: list[tuple[str, str]] = []
        self.body: list[tuple[str, str]] = []
        self.has_body = False
        self.takes_document = False
        self.content_type: str | None = None

    def give(self, name: str, kind: str, *, needed: bool) -> None:
        if not needed:
            kind = f"{kind.removesuffix(' | None')} | Unset" + (" | None" if kind.endswith(" | None") else "")
        self.keywords.append((name, kind, None if needed else "UNSET"))

    def signature(self) -> str:
        required = [each for each in self.keywords if each[2] is None]
        optional = [each for each in self.keywords if each[2] is not None]
        keywords = [
            f"{name}: {kind}" + ("" if default is None else f" = {default}")
            for name, kind, default in (*required, *optional, *self.last)
        ]
        parts = [*self.positional, *(["*", *keywords] if keywords else [])]
        return "\n" + "".join(f"    {part},\n" for part in parts) if parts else ""

    def passed(self) -> list[str]:
        lines = []
        for name, pairs, always in (
            ("names", self.names, False),
            ("query", self.query, False),
            ("body", self.body, self.has_body),
        ):
            if pairs:
                lines += [
                    f"        {name}={{",
                    *(f"            {quoted(key)}: {own}," for key, own in pairs),
                    "        },",
                ]
            elif always:
                lines.append(f"        {name}={{}},")
        if self.takes_document:
            lines.append("        body=document,")
        if self.content_type is not None:
            lines += ["        content=content,", f"        content_type={quoted(self.content_type)},"]
        return lines + [f"        {name}={name}," for name, _, _ in self.last]


def _answers(operation: Schema) -> dict[int, Any]:
    """The documents of success by status; problems are none. None: an answer without content."""
    found: dict[int, Any] = {}
    for status, response in operation["responses"].items():
        content = response.get("content")
        if content is None:
            found[int(status)] = None
        elif "application/problem+json" not in content:
            found[int(status)] = next(iter(content.values()))["schema"]
    return found


def _branches(schema: Any) -> list[Any]:
    return list(schema["anyOf"]) if schema is not None and "anyOf" in schema else [schema]


def _name(schema: Any) -> str:
    return str(schema.get("$ref", "")).rsplit("/", 1)[-1] if schema else ""


def _replace_word(text: str, word: str, other: str) -> str:
    parts = text.split(word)
    joined = parts[0]
    for part in parts[1:]:
        joined += (word if part[:1].isalnum() or part[:1] == "_" else other) + part
    return joined
