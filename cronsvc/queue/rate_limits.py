"""Counting requests in Redis, so that all processes of the API share one count; in memory while Redis is away.

The window slides over the last minute. Redis being slow or gone never fails a request: from then on, for some seconds,
each process counts for itself, in windows that stand still. What is counted is named by a hash.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cronsvc.queue.connection import open_redis

_log = structlog.get_logger("cronsvc.queue")

WINDOW_SECONDS = 60.0
PATIENCE_SECONDS = 0.25  # for one count; then the request has waited long enough
AWAY_SECONDS = 5.0  # before Redis is asked again
MOST_KEPT = 20_000  # counts in memory; beyond that the oldest window is forgotten


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it was allowed, how many are left of how many, and in how many seconds there is room again."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int


class RateLimiter:
    """Counts for one process of the API."""

    def __init__(self, redis: Redis, *, prefix: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._monotonic = monotonic
        self._windows = Windows(monotonic=monotonic)
        self._away_until = 0.0
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=f"{prefix}:limits",
            connection_pool=redis.connection_pool,  # type: ignore[arg-type]
        )
        self._sliding = SlidingWindowCounterRateLimiter(storage)

    @classmethod
    def open(cls, url: str, *, prefix: str = "cronsvc") -> "RateLimiter":
        """A limiter on this Redis. Connects later; ConfigError when the URL cannot be read."""
        return cls(open_redis(url), prefix=prefix)

    async def hit(self, kind: str, who: str, *, per_minute: int, cost: int = 1) -> Verdict:
        """Count `cost` more of this kind for somebody, all or none; 0 only looks whether there is room for one."""
        name = hashlib.sha256(who.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        if self._monotonic() >= self._away_until:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    return await self._shared(kind, name, per_minute, cost)
            except (RedisError, OSError, TimeoutError) as error:
                self._away_until = self._monotonic() + AWAY_SECONDS
                _log.warning("rate_limits_counted_here", reason=type(error).__name__, seconds=AWAY_SECONDS)
        return self._windows.hit(f"{kind}:{name}", per_minute, cost)

    async def _shared(self, kind: str, name: str, per_minute: int, cost: int) -> Verdict:
        item = RateLimitItemPerMinute(per_minute)
        if cost:
            allowed = await self._sliding.hit(item, kind, name, cost=cost)
        else:
            allowed = await self._sliding.test(item, kind, name)
        stats = await self._sliding.get_window_stats(item, kind, name)
        seconds = max(1, min(round(stats.reset_time - time.time() + 0.5), int(WINDOW_SECONDS)))
        return Verdict(allowed, per_minute, _left(stats.remaining, cost, allowed=allowed), seconds)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


class Windows:
    """Counts in memory, each for a minute from its first, at most MOST_KEPT of them."""

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        # Name -> (count, when its window ends). The oldest window is first.
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def hit(self, name: str, limit: int, cost: int = 1) -> Verdict:
        """Count `cost` more, all or none; 0 only looks whether there is room for one."""
        now = self._monotonic()
        count, end = self._counts.get(name, (0, 0.0))
        if end <= now:
            self._counts.pop(name, None)
            count, end = 0, now + WINDOW_SECONDS
        allowed = count + max(cost, 1) <= limit
        if cost:
            count += cost if allowed else 0
            self._counts[name] = (count, end)
        while len(self._counts) > MOST_KEPT:
            self._counts.popitem(last=False)
        return Verdict(allowed, limit, _left(limit - count, cost, allowed=allowed), int(end - now) + 1)

    def __len__(self) -> int:
        return len(self._counts)


def _left(remaining: int, cost: int, *, allowed: bool) -> int:
    """How many more there is room for; of a refusal fewer than were asked for."""
    return remaining if allowed else max(0, min(remaining, cost - 1))
