"""What the docs page shows, read off the OpenAPI document and the route table: sections, operations, fields.

The page and the document cannot disagree, because there is nothing here that the document does not say, but who may
call the pages, which are not in it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cronsvc.services.access import Role
from cronsvc.web.curl_examples import Example, load_examples
from cronsvc.web.openapi import problems_of
from cronsvc.web.problems import MEDIA_TYPE, ProblemKind
from cronsvc.web.routing import PUBLIC, TOKEN_IN_PATH, Door, Route
from cronsvc.web.schema_words import Field, Part, Schema, fields_of, schema_of, type_of

PAGES = "pages"


@dataclass(frozen=True, slots=True)
class Body:
    """What an operation reads. `fields` is empty for a file."""

    media: tuple[str, ...]
    is_required: bool
    type: tuple[Part, ...]
    description: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A success, or another answer with a document of its own."""

    status: str
    media: str
    type: tuple[Part, ...]
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `who`: what a caller needs."""

    id: str
    method: str
    path: str
    summary: str
    who: str
    parameters: tuple[tuple[str, Field], ...]
    body: Body | None
    answers: tuple[Answer, ...]
    problems: tuple[ProblemKind, ...]
    example: Example | None


@dataclass(frozen=True, slots=True)
class Section:
    """The operations of one tag."""

    name: str
    operations: tuple[Operation, ...]

    @property
    def anchor(self) -> str:
        """Where it is on the page."""
        return f"section-{self.name.replace(' ', '-')}"


class Reference:
    """The content of the docs page; each part is made when it is first asked for."""

    def __init__(self, routes: Sequence[Route], document: Mapping[str, Any]) -> None:
        self._routes = routes
        self._document = document
        self.html: str | None = None  # the page, kept by who rendered it

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """What programs call: tags in the order of the table, within them by path, a whole before its parts."""
        made: dict[str, list[Operation]] = {route.tag: [] for route in self._routes if route.door is Door.API}
        for route in sorted(self._routes, key=lambda route: route.path):
            if route.door is Door.API:
                made[route.tag].append(self._operation(route))
        return tuple(Section(name, tuple(operations)) for name, operations in made.items())

    @cached_property
    def pages(self) -> Section:
        """What browsers open."""
        return Section(
            PAGES,
            tuple(
                _page(route) for route in sorted(self._routes, key=lambda route: route.path) if route.door is Door.PAGE
            ),
        )

    @cached_property
    def schemas(self) -> tuple[Schema, ...]:
        """The documents that bodies and answers are made of, by name."""
        found = (schema_of(name, schema, self._definitions) for name, schema in self._definitions.items())
        return tuple(sorted(found, key=lambda schema: schema.title.lower()))

    @property
    def _definitions(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._document["components"]["schemas"]
        return found

    def _operation(self, route: Route) -> Operation:
        said = self._document["paths"][route.path][route.method.lower()]
        return Operation(
            id=route.name,
            method=route.method,
            path=route.path,
            summary=route.summary,
            who=who_may(route),
            parameters=tuple(_parameters(said.get("parameters", ()), self._definitions)),
            body=self._body(said.get("requestBody")),
            answers=tuple(self._answers(said["responses"])),
            problems=tuple(sorted(problems_of(route), key=lambda kind: kind.status)),
            example=load_examples().get(route.name),
        )

    def _body(self, said: Mapping[str, Any] | None) -> Body | None:
        if said is None:
            return None
        first = next(iter(said["content"].values()))["schema"]
        model = self._definitions.get(first.get("$ref", "").rpartition("/")[2], {})
        return Body(
            tuple(said["content"]),
            bool(said.get("required")),
            type_of(first, self._definitions),
            model.get("description", ""),
            fields_of(model, self._definitions),
        )

    def _answers(self, responses: Mapping[str, Any]) -> Iterator[Answer]:
        for status, response in responses.items():
            content = {media: each for media, each in response.get("content", {}).items() if media != MEDIA_TYPE}
            headers = tuple((name, each["description"]) for name, each in response.get("headers", {}).items())
            if not content and not status.startswith("2"):
                continue  # a problem, listed with the others
            if not content:
                yield Answer(status, "", (Part("nothing"),), headers)
            for media, each in content.items():
                yield Answer(status, media, type_of(each["schema"], self._definitions), headers)


def who_may(route: Route) -> str:
    """What a caller of a route needs, as a sentence."""
    if route.access is PUBLIC:
        return "Needs no key."
    if route.access is TOKEN_IN_PATH:
        return "Needs the callback token in the path, and no key."
    assert isinstance(route.access, Role), "create_app has refused everything else"
    above = "" if route.access is Role.ADMIN else " or above"
    token = ", or the callback token of the execution" if route.takes_callback_token else ""
    return f"Needs the role {route.access.value}{above}{token}."


def _parameters(said: Iterable[Mapping[str, Any]], definitions: Mapping[str, Any]) -> Iterator[tuple[str, Field]]:
    for parameter in said:
        whole = {"type": "object", "properties": {parameter["name"]: parameter["schema"]}}
        if parameter["required"]:
            whole["required"] = [parameter["name"]]
        for field in fields_of(whole, definitions):
            yield parameter["in"], field.said(parameter.get("description", ""))


def _page(route: Route) -> Operation:
    return Operation(
        id=route.name,
        method=route.method,
        path=route.path,
        summary=route.summary,
        who=who_may(route),
        parameters=(),
        body=None,
        answers=(),
        problems=(),
        example=load_examples().get(route.name),
    )
