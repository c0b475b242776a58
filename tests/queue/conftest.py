from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from cronsvc.queue import Broker


@pytest.fixture
async def broker(redis_url: str) -> AsyncIterator[Broker]:
    broker = Broker.open(redis_url)
    yield broker
    await broker.close()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """The server as somebody else sees it, to look inside and to break things."""
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client
