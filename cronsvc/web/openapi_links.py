"""Links of the OpenAPI document: where to go on from what an operation has made.

Nothing is listed by hand. What a route under `/things/{thingId}` answers with is a thing; a route that answers with a
thing it has made, or set up by name, links to everything there is under that path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from cronsvc.web.models import api_names
from cronsvc.web.routing import Door, Route


@dataclass(frozen=True, slots=True)
class Thing:
    """What lives at a path that ends in one parameter, and the member of its document that goes there."""

    path: str
    model: type[BaseModel]
    parameter: str
    member: str

    def is_in(self, answer: type[BaseModel]) -> bool:
        """Whether that answer is this thing, told in full or in short."""
        return issubclass(answer, self.model) or issubclass(self.model, answer)


def things_of(routes: Sequence[Route]) -> list[Thing]:
    """Every kind of thing that has a path of its own."""
    found: dict[str, Thing] = {}
    for route in routes:
        folder, _, last = route.path.rpartition("/")
        if route.door is not Door.API or route.answer is None or "{" in folder or not last.startswith("{"):
            continue
        parameter = last[1:-1]
        members = api_names(route.answer)
        member = parameter if parameter in members else "id" if parameter.endswith("Id") else None
        if member in members and route.path not in found:
            found[route.path] = Thing(route.path, route.answer, parameter, member)
    return list(found.values())


def links_of(route: Route, things: Sequence[Thing], routes: Sequence[Route]) -> Mapping[str, Any]:
    """The links of a route's success by name: one for each operation on what it has made; empty for most routes."""
    if route.answer is None or not _makes(route):
        return {}
    for thing in things:
        if thing.is_in(route.answer):
            return {
                other.name: {
                    "operationId": other.name,
                    "parameters": {
                        name: f"$response.body#/{member}" for name, member in _values(route, other, thing).items()
                    },
                }
                for other in routes
                if other.door is Door.API and other is not route and _is_under(other.path, thing.path)
            }
    return {}


def _values(route: Route, other: Route, thing: Thing) -> dict[str, str]:
    """Members of the answer by the parameter they go to: the thing's own, and what both ask for in the query."""
    queries = [set(api_names(each.query)) if each.query else set() for each in (route, other)]
    both = set.intersection(*queries, api_names(thing.model))
    return {thing.parameter: thing.member, **{name: name for name in sorted(both)}}


def _makes(route: Route) -> bool:
    return (route.method == "POST" and route.status in (201, 202)) or (
        route.method == "PUT" and route.path.endswith("}") and not route.path.endswith("Id}")
    )


def _is_under(path: str, of_thing: str) -> bool:
    rest = path.removeprefix(of_thing)
    return path.startswith(of_thing) and rest[:1] in ("", "/") and "{" not in rest
