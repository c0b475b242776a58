"""The client is what the OpenAPI document says: every operation, every field, every type."""

import copy
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cronsvc.client import AsyncClient, Call, Client, Paged, answers, requests
from cronsvc.client.errors import BY_STATUS, ApiError
from cronsvc.client.generated import index
from cronsvc.client.parts import AsyncPart, Listing, Operation, SyncPart
from cronsvc.client.shapes import Answer, Part, api_name
from cronsvc.web.problems import PROBLEMS
from tests.tools.client_models import Models
from tests.tools.generate_client import FOLDER, document, generate

DOCUMENT = document()


def files() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.py"))}


def test_the_generated_files_are_up_to_date() -> None:
    made, there = generate(DOCUMENT), files()
    stale = sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))
    assert not stale, f"run `python -m tests.tools.generate_client`: {stale}"


def test_generating_twice_gives_the_same() -> None:
    assert generate(DOCUMENT) == generate(copy.deepcopy(DOCUMENT))


def add_field(source: dict[str, Any]) -> None:
    source["components"]["schemas"]["MeAnswer"]["properties"]["shoeSize"] = {"type": "integer"}


def drop_field(source: dict[str, Any]) -> None:
    del source["components"]["schemas"]["MeAnswer"]["properties"]["actor"]


def change_type(source: dict[str, Any]) -> None:
    source["components"]["schemas"]["JobAnswer"]["properties"]["name"] = {"type": "integer"}


def add_parameter(source: dict[str, Any]) -> None:
    source["paths"]["/api/v1/jobs"]["get"]["parameters"].append(
        {"name": "owner", "in": "query", "required": False, "schema": {"type": "string"}}
    )


def add_operation(source: dict[str, Any]) -> None:
    source["paths"]["/api/v1/zoo"] = {"get": source["paths"]["/api/v1/me"]["get"] | {"operationId": "getZoo"}}


def add_word(source: dict[str, Any]) -> None:
    source["components"]["schemas"]["Status"]["enum"].append("LATE")


@pytest.mark.parametrize("change", [add_field, drop_field, change_type, add_parameter, add_operation, add_word])
def test_a_changed_document_makes_the_files_stale(change: Callable[[dict[str, Any]], None]) -> None:
    source = copy.deepcopy(DOCUMENT)
    change(source)
    assert generate(source) != files()


def test_an_operation_of_no_known_shape_is_refused() -> None:
    source = copy.deepcopy(DOCUMENT)
    answer = source["paths"]["/api/v1/me"]["get"]["responses"]["200"]["content"]["application/json"]
    answer["schema"] = {"anyOf": [answer["schema"], {"$ref": "#/components/schemas/StatusAnswer"}]}
    with pytest.raises(ValueError, match="getMe has answers of more than one shape"):
        generate(source)


def methods() -> Iterator[tuple[str, str, Operation[..., Any] | Listing[..., Any, Any]]]:
    for group, one in vars(Client("http://127.0.0.1")).items():
        if isinstance(one, SyncPart):
            for kind in type(one).__mro__:
                for name, value in vars(kind).items():
                    if isinstance(value, Operation | Listing):
                        yield group, name, value


def sample(parameter: inspect.Parameter) -> object:
    """Something that can stand for an argument that has to be given."""
    annotation = str(parameter.annotation)
    return 7 if annotation == str(int) else b"x" if annotation == str(bytes) else "x"


def test_every_operation_of_the_document_has_a_method_that_asks_for_it() -> None:
    documented = {
        operation["operationId"]: (method.upper(), path)
        for path, operations in DOCUMENT["paths"].items()
        for method, operation in operations.items()
    }
    asked = {}
    for _, _, method in methods():
        needed = {
            name: sample(each)
            for name, each in inspect.signature(method.describe).parameters.items()
            if each.default is inspect.Parameter.empty
        }
        positional = [needed.pop(name) for name, each in _positional(method.describe) if name in needed]
        made = method.describe(*positional, **needed)
        call: Call[Any] = made.first if isinstance(made, Paged) else made
        asked[call.operation] = (call.method, call.path)
        template = documented[call.operation][1].split("/")
        same = [a for a, b in zip(template, call.path.split("/"), strict=True) if not a.startswith("{") and a != b]
        assert call.method == documented[call.operation][0] and not same
        keyed = any(each["name"] == "Idempotency-Key" for each in _operation(call.operation).get("parameters", ()))
        assert call.has_key is keyed, call.operation
        assert not keyed or call.repeatable
    assert asked.keys() == documented.keys()


def _positional(function: Callable[..., Any]) -> list[tuple[str, inspect.Parameter]]:
    found = inspect.signature(function).parameters.items()
    return [(name, each) for name, each in found if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]


def _operation(name: str) -> dict[str, Any]:
    return next(
        operation
        for operations in DOCUMENT["paths"].values()
        for operation in operations.values()
        if operation["operationId"] == name
    )


def test_every_parameter_and_every_field_of_a_body_can_be_given() -> None:
    sources: dict[str, str] = {}
    for _, _, method in methods():
        source = inspect.getsource(method.describe)
        name = re.findall(r'(?m)^        "(\w+)",$', source)[0]
        sources[name] = sources.get(name, "") + source
    for operations in DOCUMENT["paths"].values():
        for operation in operations.values():
            source = sources[operation["operationId"]]
            names = {each["name"] for each in operation.get("parameters", ()) if each["in"] in ("path", "query")}
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            schema = DOCUMENT["components"]["schemas"].get(body.get("$ref", "").rpartition("/")[2], {})
            fields = schema.get("properties", {})
            names |= {name for name, field in fields.items() if not field.get("readOnly")}
            assert not [name for name in names if f'"{name}": ' not in source], operation["operationId"]
            headers = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "header"}
            assert ("If-Match" in headers) is ("if_match=if_match" in source)


def test_both_clients_have_the_same_methods() -> None:
    sync, later = Client("http://127.0.0.1"), AsyncClient("http://127.0.0.1")
    groups_of = {name: one for name, one in vars(sync).items() if isinstance(one, SyncPart)}
    assert groups_of.keys() == {name for name, one in vars(later).items() if isinstance(one, AsyncPart)}
    for name, one in groups_of.items():
        assert type(one).__mro__[1] is type(getattr(later, name)).__mro__[1]
    assert index.Jobs.create.__doc__ is not None and "role operator" in index.Jobs.create.__doc__


MODELS = Models(DOCUMENT)


def _schema_shape(schema: dict[str, Any]) -> object:
    """What a schema allows, without its bounds and words: comparable with what pydantic says of our model."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        if name in MODELS.enumerations:
            return "string"
        return "object" if MODELS.is_open(name) else MODELS.names[name]
    if "anyOf" in schema:
        return frozenset(map(_schema_shape, schema["anyOf"]))
    kind = schema.get("type", "string" if "enum" in schema or "const" in schema else "any")
    if kind == "array":
        return ("array", _schema_shape(schema.get("items", {})))
    return (kind, schema["format"]) if schema.get("format") in ("date", "date-time", "duration") else kind


def _type_shape(kind: Any) -> object:
    """The same of a type in Python."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _type_shape(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return frozenset(map(_type_shape, arguments))
    if origin is tuple:
        return ("array", _type_shape(arguments[0]))
    simple = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "NoneType": "null"}
    simple |= {"dict": "object", "Any": "any", "Literal": "string"}
    times = {"datetime": ("string", "date-time"), "date": ("string", "date"), "timedelta": ("string", "duration")}
    name = getattr(origin or kind, "__name__", str(origin or kind).rpartition(".")[2])
    return times.get(name) or simple.get(name, name)


@pytest.mark.parametrize("schema", MODELS.answer_models)
def test_a_model_has_the_fields_and_types_of_its_schema(schema: str) -> None:
    model: type[Answer] = getattr(answers, MODELS.names[schema])
    documented = DOCUMENT["components"]["schemas"][schema]
    fields = {api_name(name): field for name, field in model.model_fields.items()}
    assert fields.keys() == documented["properties"].keys()
    for name, field in fields.items():
        assert _type_shape(field.annotation) == _schema_shape(documented["properties"][name]), name
        assert field.is_required() is (name in documented["required"])


@pytest.mark.parametrize("schema", MODELS.request_models)
def test_a_part_has_the_fields_of_its_schema(schema: str) -> None:
    model: type[Part] = getattr(requests, MODELS.names[schema])
    documented = DOCUMENT["components"]["schemas"][schema]
    needed = {api_name(name) for name, field in model.model_fields.items() if field.is_required()}
    assert {api_name(name) for name in model.model_fields} == documented["properties"].keys()
    assert needed == set(documented.get("required", ()))


def test_the_problems_of_the_service_have_a_class() -> None:
    statuses = {problem.status for problem in PROBLEMS.values()}
    without = {405, 408, 415, 421}  # what this client never causes: a plain ApiError says enough
    assert statuses - BY_STATUS.keys() <= without
    assert all(issubclass(kind, ApiError) for kind in BY_STATUS.values())
