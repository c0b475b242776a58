"""Requests are answered under the names that the operator gave, and under no other.

A foreign name that leads here (DNS rebinding, a stray proxy) would make a browser take us for somebody else's site. The
probes answer under any name: what asks them knows an address only.
"""

import re
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from cronsvc.web.problems import MISDIRECTED, Problem, problem_response

_HOST = re.compile(r"([A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)
_PROBES = frozenset({"/health", "/ready", "/metrics"})


class KnownHosts:
    """ASGI middleware. `allowed` are names, or `*.example.com` for all below one; none: any that is well-formed."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self.app = app
        plain = [name.lower().rstrip(".") for name in allowed]
        self._names = frozenset(name for name in plain if not name.startswith("*."))
        self._parents = tuple(name[1:] for name in plain if name.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._knows(Headers(scope=scope).getlist("host"), scope["path"]):
            await self.app(scope, receive, send)
            return
        problem = Problem(MISDIRECTED, "cronsvc does not answer under the name in the Host header.")
        await problem_response(problem, request_id=str(scope.get("cronsvc.request_id", "")))(scope, receive, send)

    def _knows(self, hosts: Sequence[str], path: str) -> bool:
        form = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if form is None:
            return False
        if path in _PROBES or not (self._names or self._parents):
            return True
        name = form[1].lower().rstrip(".")
        return name in self._names or name.endswith(self._parents or ("\0",))
