"""How often anybody may ask: by key or person for what they may do, by address for signing in and bad credentials.

Health, readiness, metrics and static files are never counted. Every counted answer says in `RateLimit` what is left.
What is done with many jobs counts as often as it would alone. Where there is no address (a Unix socket) nothing is
counted by it: everybody would share one minute.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from cronsvc.queue.rate_limits import Verdict
from cronsvc.web.auth import source_of
from cronsvc.web.problems import TOO_MANY, Refused
from cronsvc.web.throttle import network_of

READS, WRITES, TRIGGERS, SIGN_INS, DENIED = "reads", "writes", "triggers", "sign_ins", "denied"
_SIGN_IN_ROUTES = frozenset({"pageLogin", "pageSignedIn"})
_TRIGGER_ENDS = ("/trigger", "/backfill", "/retry", "/redrive", "/recoveries")
_STATE = "cronsvc.rate_limit"
MOST_KNOWN = 20_000


class Counts(Protocol):
    """Whoever counts."""

    async def hit(self, kind: str, who: str, *, per_minute: int, cost: int = 1) -> Verdict:
        """Count `cost` more of this kind for somebody, all or none; 0 only looks whether there is room for one."""
        ...


class Known:
    """Credentials that were good once, as hashes: the MOST_KNOWN that came last."""

    def __init__(self) -> None:
        self._hashes: OrderedDict[bytes, None] = OrderedDict()

    def add(self, credential: str) -> None:
        """Remember one."""
        name = _hash(credential)
        self._hashes[name] = None
        self._hashes.move_to_end(name)
        while len(self._hashes) > MOST_KNOWN:
            self._hashes.popitem(last=False)

    def __contains__(self, credential: str) -> bool:
        return _hash(credential) in self._hashes


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Requests a minute by kind; a kind without a rate is not limited."""

    counts: Counts
    rates: Mapping[str, int]
    known: Known = field(default_factory=Known)

    async def take(self, request: Request, kind: str, who: str) -> None:
        """Count this request; Refused with 429 when the minute of `who` is full."""
        rate = self.rates.get(kind)
        if rate is None:
            return
        verdict = await self.counts.hit(kind, who, per_minute=rate)
        if not verdict.allowed:
            raise _refused(kind, verdict)
        request.scope[_STATE] = _said(kind, verdict)

    async def take_items(self, request: Request, kind: str, who: str, items: int) -> tuple[int, Refused | None]:
        """Count the items of one request, as many as there is room for: how many, and what to tell the others."""
        rate = self.rates.get(kind)
        if kind == WRITES:
            items -= 1  # the request has been counted as one
        counted = items
        if rate is not None and items > 0:
            verdict = await self.counts.hit(kind, who, per_minute=rate, cost=items)
            request.scope[_STATE] = _said(kind, verdict)
            if not verdict.allowed:
                counted = verdict.remaining
                if counted:
                    verdict = await self.counts.hit(kind, who, per_minute=rate, cost=counted)
                    counted = counted if verdict.allowed else 0  # else another request was faster
                request.scope[_STATE] = _said(kind, replace(verdict, remaining=0))
                return counted + (kind == WRITES), _refused(kind, verdict)
        return counted + (kind == WRITES), None

    async def look_denied(self, request: Request, credential: str) -> None:
        """Refused where too many bad credentials have come from this address, unless this one was good before."""
        source, rate = source_of(request), self.rates.get(DENIED)
        if source is None or rate is None or credential in self.known:
            return
        verdict = await self.counts.hit(DENIED, network_of(source), per_minute=rate, cost=0)
        if not verdict.allowed:
            raise _refused(DENIED, verdict)

    async def take_denied(self, request: Request) -> None:
        """Count a credential that was not good, by where it came from."""
        await self.take_by_address(request, DENIED)

    async def take_sign_in(self, request: Request) -> None:
        """Count somebody who signs in."""
        await self.take_by_address(request, SIGN_INS)

    async def take_by_address(self, request: Request, kind: str) -> None:
        """Count this request by where it came from."""
        source = source_of(request)
        if source is not None:
            await self.take(request, kind, network_of(source))


def _said(kind: str, verdict: Verdict) -> Mapping[str, str]:
    return {
        "RateLimit-Policy": f'"{kind}";q={verdict.limit};w=60',
        "RateLimit": f'"{kind}";r={verdict.remaining};t={verdict.reset_seconds}',
    }


def _refused(kind: str, verdict: Verdict) -> Refused:
    limit, seconds = verdict.limit, verdict.reset_seconds
    detail = f"At most {limit} {kind.replace('_', ' ')} a minute; try again in {seconds} seconds."
    headers = _said(kind, replace(verdict, remaining=0))
    return Refused(TOO_MANY, detail, {**headers, "Retry-After": str(seconds)})


def _hash(credential: str) -> bytes:
    return hashlib.sha256(credential.encode("utf-8", "surrogatepass")).digest()


def kind_of(method: str, path: str) -> str:
    """What a route counts as."""
    if method in ("GET", "HEAD"):
        return READS
    return TRIGGERS if path.endswith(_TRIGGER_ENDS) else WRITES


def signs_in(name: str) -> bool:
    """Whether this route takes a credential from a form or from an identity provider."""
    return name in _SIGN_IN_ROUTES


def tell(request: Request, response: Response) -> None:
    """Say in the answer what is left."""
    for name, value in request.scope.get(_STATE, {}).items():
        response.headers.setdefault(name, value)
