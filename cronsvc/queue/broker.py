"""Everything a process says to Redis about tickets: one Broker per process, connected on first use.

Whatever goes wrong with Redis (down, loading, out of memory, read-only, refusing writes, refusing us) is one thing to a
caller: errors.Unavailable, within the timeouts of connection.py. Pushing again is always right.
"""

import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from cronsvc.domain.execution import Ticket
from cronsvc.errors import Unavailable
from cronsvc.queue.connection import block_seconds, open_redis
from cronsvc.queue.lane import LEVELS, Lane
from cronsvc.queue.scripts import PUSH_LIMIT, Fetched, Scripts, new_epoch

logger = logging.getLogger("cronsvc.queue")

OLDEST_VERSION = (6, 2)
NUDGE_SECONDS = 5  # how long an unread nudge stays in Redis


class Broker:
    """Pushes tickets, and fetches them for a TicketWorker."""

    def __init__(self, redis: Redis, *, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._epoch_key = f"saq:{prefix}:epoch"
        self._generations_key = f"saq:{prefix}:generations"
        self._scripts = Scripts(redis, epoch_key=self._epoch_key)
        self._lanes: dict[tuple[str, int], Lane] = {}
        self.block_seconds = block_seconds(redis)

    @classmethod
    def open(cls, url: str, *, prefix: str = "cronsvc") -> "Broker":
        """A broker for this URL. Connects later; ConfigError when the URL cannot be read."""
        return cls(open_redis(url), prefix=prefix)

    async def push(self, tickets: Sequence[Ticket]) -> int:
        """Let these tickets wait for a worker, one round trip per 500; returns how many did not wait already.

        Unavailable means that any part of them may be waiting now; pushing all of them again is right.
        """
        return await self._push(tickets, front=False)

    async def hand_back(self, tickets: Sequence[Ticket]) -> None:
        """Put fetched tickets back at the head of their lanes. Unavailable: they are gone until pushed again."""
        await self._push(tickets, front=True)

    async def fetch(self, lanes: Sequence[Lane], wanted: int) -> Fetched:
        """Take at most `wanted` tickets, the first lanes first. Unavailable: some may have left Redis unseen."""
        async with self._reaching():
            fetched = await self._scripts.fetch(lanes, min(wanted, PUSH_LIMIT))
        _report_lost(fetched.reset)
        if fetched.lost:
            logger.warning("Redis lost the bodies of %d tickets (evicted?): new epoch", fetched.lost)
        return fetched

    async def wait_for_bell(self, lanes: Sequence[Lane], own_bell: str) -> None:
        """Sleep until one of these lanes may hold a ticket or this worker is nudged, at most `block_seconds`."""
        async with self._reaching():
            bells = [own_bell, *(lane.bell for lane in lanes)]
            await cast(Awaitable[Any], self._redis.blpop(bells, timeout=self.block_seconds))

    async def nudge(self, own_bell: str) -> None:
        """End a wait_for_bell of the worker with this bell."""
        async with self._reaching(), self._redis.pipeline(transaction=True) as pipe:
            pipe.lpush(own_bell, 1)
            pipe.expire(own_bell, NUDGE_SECONDS)
            await pipe.execute()

    async def epoch(self) -> str:
        """The token that changes when Redis was wiped or a lane had lost something: then push everything that waits."""
        async with self._reaching(), self._redis.pipeline(transaction=True) as pipe:
            pipe.set(self._epoch_key, new_epoch(), nx=True)
            pipe.get(self._epoch_key)
            _, token = await pipe.execute()
        return token.decode() if isinstance(token, bytes) else str(token)

    async def generations(self) -> dict[str, int]:
        """How far each lineage of the database was seen to be; empty after a wipe."""
        async with self._reaching():
            kept = await self._redis.zrange(self._generations_key, 0, -1, withscores=True)
        return {(name.decode() if isinstance(name, bytes) else str(name)): int(score) for name, score in kept}

    async def remember_generation(self, lineage: str, generation: int) -> None:
        """Keep this one unless a higher one is kept already."""
        async with self._reaching():
            await self._redis.zadd(self._generations_key, {lineage: generation}, gt=True)

    async def ping(self) -> float:
        """Seconds that one round trip takes."""
        started = time.perf_counter()
        async with self._reaching():
            await cast(Awaitable[bool], self._redis.ping())
        return time.perf_counter() - started

    async def depths(self, queues: Collection[str]) -> dict[tuple[str, int], int]:
        """How many tickets wait, by (queue, priority), zeros included."""
        lanes = [self.lane(queue, priority) for queue in queues for priority in LEVELS]
        if not lanes:
            return {}
        async with self._reaching(), self._redis.pipeline(transaction=False) as pipe:
            for lane in lanes:
                pipe.llen(lane.queued)
            lengths = await pipe.execute()
        return {(lane.queue, lane.priority): length for lane, length in zip(lanes, lengths, strict=True)}

    async def check(self) -> list[str]:
        """What an operator should know about this server, in words; empty when all is well."""
        async with self._reaching():
            await cast(Awaitable[bool], self._redis.ping())
            info = await self._info()
            policy = info.get("maxmemory_policy") or await self._configured("maxmemory-policy")
        notes = []
        version = str(info.get("redis_version", ""))
        if not version:
            notes.append("Redis does not tell its version (INFO is not allowed here); cronsvc needs 6.2 or newer.")
        elif tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < OLDEST_VERSION:
            notes.append(f"Redis {version} is too old: cronsvc needs 6.2 or newer.")
        if policy is None:
            notes.append("Redis hides its maxmemory-policy (CONFIG is not allowed here); it should be noeviction.")
        elif policy != "noeviction":
            notes.append(
                f"maxmemory-policy is {policy}: Redis may evict waiting tickets, which delays their jobs until they "
                "are pushed again. Set it to noeviction."
            )
        return notes

    async def close(self) -> None:
        """Disconnect. Nothing waits in this process, so nothing is lost."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    def lane(self, queue: str, priority: int) -> Lane:
        """The lane of this queue and priority (1, 5, 10 or 15)."""
        lane = self._lanes.get((queue, priority))
        if lane is None:
            lane = Lane(self._redis, prefix=self._prefix, queue=queue, priority=priority)
            self._lanes[queue, priority] = lane
        return lane

    def own_bell(self, worker: str) -> str:
        """The key of a doorbell that only this worker listens to."""
        return f"saq:{self._prefix}:bell:{worker}"

    async def _push(self, tickets: Sequence[Ticket], *, front: bool) -> int:
        added = 0
        for start in range(0, len(tickets), PUSH_LIMIT):
            groups: dict[Lane, list[Ticket]] = {}
            for ticket in tickets[start : start + PUSH_LIMIT]:
                groups.setdefault(self.lane(ticket.queue, ticket.priority), []).append(ticket)
            async with self._reaching():
                pushed = await self._scripts.push(groups, front=front)
            _report_lost(pushed.reset)
            added += pushed.added
        return added

    async def _info(self) -> Mapping[str, Any]:
        try:
            return cast(Mapping[str, Any], await self._redis.info())
        except ResponseError:
            return {}

    async def _configured(self, name: str) -> str | None:
        try:
            return cast(str | None, (await self._redis.config_get(name)).get(name))
        except ResponseError:
            return None

    @asynccontextmanager
    async def _reaching(self) -> AsyncIterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            if isinstance(error, ReadOnlyError):
                # a failover left us on a replica: reconnect, so that the name resolves to the new master
                await self._redis.connection_pool.disconnect(inuse_connections=False)
            raise Unavailable(f"Redis: {error or type(error).__name__}") from error


def _report_lost(lanes: Sequence[Lane]) -> None:
    for lane in lanes:
        logger.warning("Redis lost part of lane %s: lane reset, new epoch", lane.name)
