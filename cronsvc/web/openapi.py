"""The OpenAPI 3.1 document, assembled from the route table and the pydantic models.

Nothing is written twice: a route that exists is documented, with its role, its models, every way it can fail, and the
curl example that a test runs.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from cronsvc.services.access import Role
from cronsvc.web import problems
from cronsvc.web.curl_examples import Example, load_examples
from cronsvc.web.openapi_links import links_of, things_of
from cronsvc.web.problems import ProblemKind
from cronsvc.web.routing import TOKEN_IN_PATH, Door, Route
from cronsvc.web.service_models import ProblemAnswer

Mode = Literal["validation", "serialization"]
Schemas = Mapping[tuple[type[BaseModel], Mode], Mapping[str, Any]]

_BOUNDS: Mapping[str, str] = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_NAME = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
_ETAG = r"^(\*|\"[0-9]{1,18}\")$"
_PATH_TEXTS = {
    **dict.fromkeys(("name", "calendarName", "namespace"), _NAME),
    "keyId": "^[0-9A-Za-z]{8}$",
    "token": "^cbt_[0-9A-Za-z_-]{98}$",
}
_REFERENCE = "#/components/schemas/{model}"
_DESCRIPTION = (
    "Cron as a service on Postgres: define jobs, and every instant they fire, or do not fire, becomes a row. "
    "Send an API key, or a token (JWT) of an issuer that the operator named, as `Authorization: Bearer <key>`. "
    "Times are RFC 3339 in UTC. Lists are paged with `cursor` and `limit`. Errors are RFC 9457 problem documents."
)


def openapi_document(routes: Sequence[Route], *, version: str) -> dict[str, Any]:
    """Return the whole document for the API routes of the table."""
    documented = [route for route in routes if route.door is Door.API]
    schemas, definitions = _schemas(documented)
    paths: dict[str, dict[str, Any]] = {}
    examples = load_examples()
    things = things_of(documented)
    for route in documented:
        operation = _operation(route, schemas)
        links = links_of(route, things, documented)
        if links:
            operation["responses"][str(route.status)]["links"] = links
        if route.name in examples:
            _show(operation, examples[route.name])
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    tags = list(dict.fromkeys(route.tag for route in documented))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cronsvc",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in tags],
        "security": [{"apiKey": []}],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "apiKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key made by `cronsvc keys create`, or a JWT of an issuer that is configured",
                },
                "callbackToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The last part of the path of X-Cronsvc-Callback-Url: good for one attempt",
                },
            },
        },
    }


def _schemas(routes: Sequence[Route]) -> tuple[Schemas, dict[str, Any]]:
    wanted: dict[tuple[type[BaseModel], Mode], None] = {(ProblemAnswer, "serialization"): None}
    for route in routes:
        for model in (route.answer, *(model for _, model in route.other_answers)):
            if model:
                wanted[(model, "serialization")] = None
        if route.body:
            wanted[(route.body, "validation")] = None
    references, whole = models_json_schema(list(wanted), by_alias=True, ref_template=_REFERENCE)
    return {(model, mode): references[(model, mode)] for model, mode in wanted}, whole.get("$defs", {})


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": route.name, "summary": route.summary, "tags": [route.tag]}
    if isinstance(route.access, Role):
        operation["description"] = f"Needs the role {route.access.value}."
        operation["x-cronsvc-role"] = route.access.value
        if route.takes_callback_token:
            operation["description"] += " Or the callback token of the execution."
            operation["security"] = [{"apiKey": []}, {"callbackToken": []}]
    elif route.access is TOKEN_IN_PATH:
        operation["description"] = "The token in the path is the whole credential."
        operation["security"] = [{}]  # OpenAPI has no word for a credential in a path
    else:
        operation["security"] = []
    parameters = [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)]
    if parameters:
        operation["parameters"] = parameters
    if route.body:
        content = {"schema": schemas[(route.body, "validation")]}
        media = ["application/json"] + (["application/merge-patch+json"] if route.method == "PATCH" else [])
        operation["requestBody"] = {
            "required": not route.body_optional,
            "content": dict.fromkeys(media, content),
        }
    if route.takes_file:
        file = {route.takes_file: {"schema": {"type": "string", "format": "binary"}}}
        operation["requestBody"] = {"required": True, "content": file}
    operation["responses"] = _responses(route, schemas)
    return operation


def _show(operation: dict[str, Any], example: Example) -> None:
    operation["x-codeSamples"] = [{"lang": "Shell", "label": "curl", "source": example.command}]
    if example.body is not None:
        content = operation["requestBody"]["content"]
        operation["requestBody"]["content"] = {
            media: {**described, "example": example.body} for media, described in content.items()
        }


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _path_schema(name, route.path),
        }
        for name in path_names(route.path)
    ]


def _path_schema(name: str, path: str) -> dict[str, Any]:
    """What may stand in a path: ids are numbers, but those of keys; the rest is text of a known form."""
    if name in _PATH_TEXTS and not path.startswith("/api/v1/jobs/"):  # jobs have names of any letters
        return {"type": "string", "pattern": _PATH_TEXTS[name]}
    if name.endswith("Id"):
        return {"type": "integer", "format": "int64", "minimum": 1, "maximum": 2**63 - 1}
    return {"type": "string", "minLength": 1, "maxLength": 255}


def path_names(path: str) -> list[str]:
    """The names of the parameters in a path, in order."""
    return re.findall(r"\{(\w+)\}", path)


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = route.query.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    required = set(schema.get("required", ()))
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _plain(one, definitions)}
        for name, one in schema["properties"].items()
    ]


def _plain(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A query parameter is never null, and its schema stands alone: drop the null branch, resolve references."""
    branches = [branch for branch in schema.get("anyOf", [schema]) if branch.get("type") != "null"]
    found: dict[str, Any] = dict(branches[0])
    if "$ref" in found:
        found = dict(definitions[found["$ref"].rsplit("/", 1)[-1]])
    if schema.get("default") is not None:
        found["default"] = schema["default"]
    found.pop("title", None)
    # What pydantic checks after a reader of its text, it writes in words of its own.
    return {_BOUNDS.get(name, name): value for name, value in found.items()}


def _header_parameters(route: Route) -> list[dict[str, Any]]:
    given: list[tuple[str, str, dict[str, Any]]] = []
    if route.takes_if_match:
        words = 'The revision this change was made from, as the ETag said: `"7"`. Another revision answers 412.'
        given.append(("If-Match", words, {"type": "string", "pattern": _ETAG}))
    if route.takes_idempotency_key:
        words = "The same key again within 24 hours gets the answer of the first request, and changes nothing."
        schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}
        given.append(("Idempotency-Key", words, schema))
    return [
        {"name": name, "in": "header", "required": False, "description": words, "schema": schema}
        for name, words, schema in given
    ]


def _responses(route: Route, schemas: Schemas) -> dict[str, Any]:
    success = _described(route.summary, route.answer, schemas)
    if route.gives_files:
        success["content"] = {media: {"schema": {"type": "string"}} for media in route.gives_files}
    headers: dict[str, Any] = {}
    if route.gives_etag:
        headers["ETag"] = {"description": "The revision, quoted", "schema": {"type": "string"}}
    if route.status == 201:
        headers["Location"] = {"description": "Where the new thing is", "schema": {"type": "string"}}
    if route.takes_idempotency_key:
        headers["Idempotent-Replayed"] = {
            "description": "`true` when an earlier request with the same key had done it",
            "schema": {"type": "string"},
        }
    if headers:
        success["headers"] = headers
    responses: dict[str, Any] = {str(route.status): success}
    for status, model in route.other_answers:
        other = _described(route.summary, model, schemas)
        if status == route.status:  # one status, two documents
            content = [answer["content"]["application/json"] for answer in (success, other)]
            content[0]["schema"] = {"anyOf": [each["schema"] for each in content]}
        else:
            responses[str(status)] = other
    for kind in sorted(problems_of(route), key=lambda kind: kind.status):
        # Another answer with the same status (readiness says 503 with its own document) stays as it is.
        responses.setdefault(
            str(kind.status),
            {
                "description": kind.title,
                "content": {problems.MEDIA_TYPE: {"schema": schemas[(ProblemAnswer, "serialization")]}},
            },
        )
    return responses


def _described(description: str, model: type[BaseModel] | None, schemas: Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {"description": description}
    if model:
        found["content"] = {"application/json": {"schema": schemas[(model, "serialization")]}}
    return found


def problems_of(route: Route) -> set[ProblemKind]:
    """Every way this route can fail: what follows from its shape, and what it declares."""
    found = {problems.UNEXPECTED, *route.problems}
    if isinstance(route.access, Role):
        found |= {problems.UNAUTHENTICATED, problems.FORBIDDEN, problems.UNAVAILABLE, problems.TOO_MANY}
    elif route.access is TOKEN_IN_PATH:
        found |= {problems.UNAUTHENTICATED, problems.UNAVAILABLE, problems.TOO_MANY}
    if route.query:
        found.add(problems.INVALID)
    if route.takes_file:
        found |= {problems.INVALID, problems.TOO_LARGE, problems.MEDIA, problems.TOO_SLOW}
    if route.body:
        found |= {problems.INVALID, problems.MALFORMED, problems.TOO_LARGE, problems.MEDIA, problems.TOO_SLOW}
    if path_names(route.path):
        found.add(problems.NOT_FOUND)
    if route.takes_if_match:
        found |= {problems.PRECONDITION, problems.INVALID}
    if route.takes_idempotency_key:
        found |= {problems.CONFLICT, problems.INVALID}
    return found
