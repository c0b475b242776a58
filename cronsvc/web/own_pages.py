"""Which paths are our own pages: where a login or a button may lead back to, and nothing another site could choose.

They are read off the route table, so that a new page is one of them from its first day.
"""

import re
from collections.abc import Iterable

from cronsvc.services.access import Role
from cronsvc.web.routing import Door, Route

FIRST = "/"

_ID = r"\d{1,19}"
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"


class OwnPages:
    """The pages that somebody who is signed in can open."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        shown = (route for route in routes if route.door is Door.PAGE and route.method == "GET")
        paths = {_pattern(route.path) for route in shown if isinstance(route.access, Role)}
        self._path = re.compile("|".join(sorted({FIRST, *paths})), re.ASCII)

    def __contains__(self, path: str) -> bool:
        return self._path.fullmatch(path) is not None

    def or_first(self, path: str) -> str:
        """The path if it is one of our own pages, else the first one."""
        return path if path in self else FIRST


def _pattern(path: str) -> str:
    """A route's path as a pattern: ids are digits, names what names may be."""
    parts = re.split(r"\{(\w+)\}", path)
    spelt = [re.escape(part) if n % 2 == 0 else (_ID if part.endswith("Id") else _NAME) for n, part in enumerate(parts)]
    return "".join(spelt)
