"""Whether the process lives and what it can reach, asked often and by anybody, so asked of Postgres rarely."""

import asyncio
import time
from collections.abc import Callable

import structlog

from cronsvc.services.status import Readiness, StatusReader

log = structlog.get_logger("cronsvc.web")

_FRESH_SECONDS = 1.0


class Probe:
    """One per application. Readiness is measured at most once a second, whoever and however many ask."""

    def __init__(self, status: StatusReader, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._status = status
        self._monotonic = monotonic
        self._started = monotonic()
        self._lock = asyncio.Lock()
        self._known: tuple[float, Readiness] | None = None

    @property
    def uptime_seconds(self) -> float:
        """Seconds since the application was made."""
        return round(self._monotonic() - self._started, 3)

    async def readiness(self) -> Readiness:
        """The state of what cronsvc stands on, at most a second old."""
        async with self._lock:
            if self._known is None or self._monotonic() - self._known[0] >= _FRESH_SECONDS:
                found = await self._status.ready()
                self._say(found)
                self._known = (self._monotonic(), found)
            return self._known[1]

    def _say(self, found: Readiness) -> None:
        """Log a change of what is wrong: the words name servers and users, which the public answer does not."""
        before = self._known[1].problems if self._known else ()
        if found.problems != before:
            log.warning("readiness_changed", ready=found.ok, problems=list(found.problems))
