"""How often anybody may ask: by key or person for what they may do, by address for signing in and bad credentials.

Health, readiness, metrics and static files are never counted. Every counted answer says in `RateLimit` what is left.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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


class Counts(Protocol):
    """Whoever counts."""

    async def hit(self, kind: str, who: str, *, per_minute: int) -> Verdict:
        """Count one more of this kind for somebody, unless the minute is full."""
        ...


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Requests a minute by kind; a kind without a rate is not limited."""

    counts: Counts
    rates: Mapping[str, int]

    async def take(self, request: Request, kind: str, who: str) -> None:
        """Count this request; Refused with 429 when the minute of `who` is full."""
        rate = self.rates.get(kind)
        if rate is None:
            return
        verdict = await self.counts.hit(kind, who, per_minute=rate)
        headers = {
            "RateLimit-Policy": f'"{kind}";q={rate};w=60',
            "RateLimit": f'"{kind}";r={verdict.remaining};t={verdict.reset_seconds}',
        }
        if not verdict.allowed:
            detail = f"At most {rate} {kind.replace('_', ' ')} a minute; try again in {verdict.reset_seconds} seconds."
            raise Refused(TOO_MANY, detail, {**headers, "Retry-After": str(verdict.reset_seconds)})
        request.scope[_STATE] = headers

    async def take_denied(self, request: Request) -> None:
        """Count a credential that was not good, by where it came from."""
        await self.take(request, DENIED, network_of(source_of(request)))

    async def take_sign_in(self, request: Request) -> None:
        """Count somebody who signs in."""
        await self.take(request, SIGN_INS, network_of(source_of(request)))


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
