"""Routes of packs: what other packages mount beside ours.

A pack names, in the entry-point group `cronsvc.routes`, a sequence of `Route`s. They go through the one door that ours
go through: a role is needed unless the route says PUBLIC, the body is read and checked after that, the OpenAPI document
shows them. Each pack has a place of its own, `/api/v1/packs/<name of the entry point>`, and never ours. A pack that
cannot be loaded, or declares a route that is unprotected or undocumented, stops the process at start with a sentence
that names it.
"""

import re
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points

from cronsvc.errors import ConfigError
from cronsvc.services.access import Role
from cronsvc.web.routing import PUBLIC, Door, Route, UndocumentedRouteError, UnprotectedRouteError, check_routes

GROUP = "cronsvc.routes"
PREFIX = "/api/v1/packs"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}", re.ASCII)


def load_routes(*, installed: Iterable[EntryPoint] | None = None) -> tuple[Route, ...]:
    """Every route of every installed pack. ConfigError: a pack cannot be loaded, or its routes cannot be mounted.

    `installed` replaces what the environment offers.
    """
    routes: list[Route] = []
    origins: dict[str, str] = {}
    for entry_point in entry_points(group=GROUP) if installed is None else installed:
        name, origin = entry_point.name, entry_point.value
        # The same distribution may be found twice on sys.path (an editable install beside a wheel): that is no clash.
        if origins.get(name) == origin:
            continue
        if name in origins:
            raise ConfigError(f"two packs mount routes as {name}: {origins[name]} and {origin}; uninstall one of them")
        origins[name] = origin
        routes += _routes_of(entry_point)
    return tuple(routes)


def _routes_of(entry_point: EntryPoint) -> Sequence[Route]:
    """Load the routes of one pack and hold them to the rules."""
    label = f"routes of the pack {entry_point.name} ({entry_point.value})"
    if not _NAME.fullmatch(entry_point.name):
        raise ConfigError(f"{label}: its name must be lower-case letters, digits and hyphens, for it is part of a path")
    try:
        loaded = entry_point.load()
    except Exception as error:
        # A pack is somebody else's code: whatever its import raises, the operator needs its name.
        raise ConfigError(f"{label} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(loaded, list | tuple) or not all(isinstance(route, Route) for route in loaded):
        raise ConfigError(f"{label}: it must name a list or tuple of cronsvc.web.routing.Route")
    try:
        check_routes(loaded)
    except (UnprotectedRouteError, UndocumentedRouteError, ValueError) as error:
        raise ConfigError(f"{label}: {error}") from error
    own = f"{PREFIX}/{entry_point.name}"
    for route in loaded:
        if route.path != own and not route.path.startswith(f"{own}/"):
            raise ConfigError(f"{label}: {route.path} must begin with {own}")
        if route.door is not Door.API or not (isinstance(route.access, Role) or route.access is PUBLIC):
            raise ConfigError(f"{label}: {route.method} {route.path} must be for a role, or PUBLIC, and speak JSON")
    return loaded
