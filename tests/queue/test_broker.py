import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from cronsvc.domain.execution import Ticket
from cronsvc.errors import Unavailable
from cronsvc.queue import Broker
from tests.queue.support import ticket
from tests.support.servers import free_port

PRIORITIES = (1, 5, 10, 15)
QUEUED = "saq:cronsvc:default:p2:queued"
INCOMPLETE = "saq:cronsvc:default:p2:incomplete"
BODY = "saq:job:cronsvc:default:p2:"


async def take(broker: Broker, wanted: int = 500, queue: str = "default") -> list[int]:
    """Fetch as a worker would, one priority after the other."""
    fetched = await broker.fetch([broker.lane(queue, priority) for priority in PRIORITIES], wanted)
    return [lane.read(body).ticket.execution_id for lane, body in fetched.bodies]


async def waiting(redis: Redis) -> tuple[int, int, int]:
    """Lengths of the list and the set, and the number of bodies, of the normal lane."""
    return (
        await cast(Awaitable[int], redis.llen(QUEUED)),
        await cast(Awaitable[int], redis.zcard(INCOMPLETE)),
        len(await redis.keys(BODY + "*")),
    )


async def test_fetch_takes_no_more_than_wanted_most_urgent_first_oldest_first(broker: Broker) -> None:
    await broker.push([ticket(n, priority=PRIORITIES[-1 - n % 4]) for n in range(8)])
    assert await take(broker, 3) == [3, 7, 2]
    assert await take(broker, 4) == [6, 1, 5, 0]
    assert await take(broker) == [4]
    assert await take(broker) == []


async def test_a_fetch_leaves_nothing_behind(broker: Broker, redis: Redis) -> None:
    await broker.push([ticket(n) for n in range(3)])
    await take(broker)
    assert await redis.keys() == []


async def test_one_round_trip_a_push_whatever_the_lanes(broker: Broker, redis: Redis) -> None:
    await broker.push([ticket(0)])
    before = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    batch = [ticket(n, priority=PRIORITIES[n % 4], queue=("a", "b")[n % 2]) for n in range(1, 1201)]
    assert await broker.push(batch) == 1200
    assert (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] - before == 3


async def test_pushing_nothing_asks_nobody() -> None:
    assert await Broker.open("unix:///nowhere.sock").push([]) == 0


async def test_a_waiting_ticket_is_refused_and_a_fetched_one_is_not(broker: Broker, redis: Redis) -> None:
    batch = [ticket(1), ticket(2), ticket(1)]
    assert await broker.push(batch) == 2
    for _ in range(20):
        assert await broker.push(batch) == 0
    assert await waiting(redis) == (2, 2, 2)
    assert await broker.push([ticket(1, claim_no=1)]) == 1, "another claim is another ticket"
    assert await take(broker) == [1, 2, 1]
    assert await broker.push(batch) == 2


async def test_the_same_ticket_may_be_pushed_by_many_at_once(broker: Broker, redis: Redis) -> None:
    batch = [ticket(n) for n in range(100)]
    assert sum(await asyncio.gather(*(broker.push(batch) for _ in range(8)))) == 100
    assert await waiting(redis) == (100, 100, 100)


async def test_hand_back_keeps_the_order(broker: Broker) -> None:
    await broker.push([ticket(3), ticket(4)])
    await broker.hand_back([ticket(1), ticket(2)])
    assert await take(broker) == [1, 2, 3, 4]


async def test_prefixes_do_not_meet(broker: Broker, redis_url: str) -> None:
    other = Broker.open(redis_url, prefix="staging")
    await broker.push([ticket(1)])
    assert await take(other) == []
    assert await other.epoch() != await broker.epoch()
    await other.close()


async def test_the_epoch_stays_until_the_server_is_wiped(broker: Broker, redis: Redis) -> None:
    tokens = set(await asyncio.gather(*(broker.epoch() for _ in range(10))))
    await broker.push([ticket(1)])
    await take(broker)
    tokens.add(await broker.epoch())
    assert len(tokens) == 1
    await redis.flushall()
    assert await broker.epoch() not in tokens


async def lose_list(redis: Redis) -> None:
    await redis.delete(QUEUED)


async def lose_set(redis: Redis) -> None:
    await redis.delete(INCOMPLETE)


async def lose_one_of_the_list(redis: Redis) -> None:
    await cast(Awaitable[Any], redis.rpop(QUEUED))


async def lose_one_of_the_set(redis: Redis) -> None:
    await redis.zremrangebyrank(INCOMPLETE, 0, 0)


LOSSES = [lose_list, lose_set, lose_one_of_the_list, lose_one_of_the_set]


@pytest.mark.parametrize("lose", LOSSES)
async def test_a_push_heals_a_lane_that_lost_a_part(
    lose: Callable[[Redis], Awaitable[None]], broker: Broker, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    backlog = [ticket(n) for n in range(1500)]
    await broker.push(backlog)
    before = await broker.epoch()
    await lose(redis)
    await broker.push([ticket(9999)])
    assert await broker.epoch() != before
    assert "lost part of lane cronsvc:default:p2" in caplog.text
    assert await waiting(redis) == (1, 1, 1), "bodies of a lost lane go with it"
    assert await broker.push(backlog) == 1500
    assert await waiting(redis) == (1501, 1501, 1501)
    healed = await broker.epoch()
    await broker.push(backlog)
    assert await broker.epoch() == healed, "once is enough"


@pytest.mark.parametrize("lose", LOSSES)
async def test_a_fetch_notices_a_lane_that_lost_a_part(
    lose: Callable[[Redis], Awaitable[None]], broker: Broker, redis: Redis
) -> None:
    backlog = [ticket(n) for n in range(10)]
    await broker.push([*backlog, ticket(77, priority=15)])
    before = await broker.epoch()
    await lose(redis)
    assert await take(broker) == [77], "the other lanes are as they were"
    assert await broker.epoch() != before
    assert await waiting(redis) == (0, 0, 0)
    assert await broker.push(backlog) == 10
    assert await take(broker) == list(range(10))


async def test_an_evicted_body_is_put_back_by_the_next_push(broker: Broker, redis: Redis) -> None:
    await broker.push([ticket(1), ticket(2)])
    await redis.delete(BODY + "1:0")
    assert await broker.push([ticket(1), ticket(2)]) == 0
    assert await take(broker) == [1, 2]


async def test_a_fetch_without_a_body_changes_the_epoch_and_wedges_nothing(broker: Broker, redis: Redis) -> None:
    await broker.push([ticket(1), ticket(2), ticket(3)])
    before = await broker.epoch()
    await redis.delete(BODY + "1:0", BODY + "3:0")
    assert await take(broker) == [2]
    assert await broker.epoch() != before
    assert await waiting(redis) == (0, 0, 0)
    assert await broker.push([ticket(1), ticket(3)]) == 2


async def test_depths_counts_every_lane_of_the_queues(broker: Broker) -> None:
    await broker.push([ticket(1, priority=1), ticket(2), ticket(3), ticket(4, queue="other")])
    expected = {("default", 1): 1, ("default", 5): 0, ("default", 10): 2, ("default", 15): 0}
    assert await broker.depths(["default"]) == expected
    assert (await broker.depths(["other", "none"]))["other", 10] == 1
    assert await broker.depths([]) == {}


async def test_ping_measures(broker: Broker) -> None:
    assert await broker.ping() > 0


@pytest.fixture
async def limited_url(redis: Redis, redis_url: str) -> AsyncIterator[str]:
    """A user who may run everything but INFO and CONFIG, as on some hosted servers."""
    rules: Any = {"keys": ["*"], "channels": ["*"], "categories": ["+@all"], "commands": ["-info", "-config"]}
    await redis.acl_setuser("limited", enabled=True, passwords=["+pw"], **rules)
    yield redis_url.replace("unix://", "unix://limited@") + "&password=pw"
    await redis.acl_deluser("limited")


async def test_check_is_silent_about_a_good_server(broker: Broker) -> None:
    assert await broker.check() == []


async def test_check_warns_of_eviction(broker: Broker, redis: Redis) -> None:
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        (warning,) = await broker.check()
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")
    assert "allkeys-lru" in warning and "noeviction" in warning


async def test_check_says_what_it_was_not_allowed_to_see(limited_url: str) -> None:
    limited = Broker.open(limited_url)
    notes = await limited.check()
    await limited.close()
    assert ["INFO" in note or "CONFIG" in note for note in notes] == [True, True]


@pytest.mark.parametrize(("version", "fine"), [("6.0.16", False), ("6.2.0", True), ("8.4.0-rc1", True), ("10.0", True)])
async def test_check_warns_of_an_old_server(
    version: str, fine: bool, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def info() -> dict[str, str]:
        return {"redis_version": version, "maxmemory_policy": "noeviction"}

    monkeypatch.setattr(broker, "_info", info)
    assert [version in note for note in await broker.check()] == ([] if fine else [True])


async def everything(broker: Broker, tickets: list[Ticket]) -> list[BaseException | object]:
    calls: list[Awaitable[object]] = [
        broker.push(tickets),
        broker.fetch([broker.lane("default", 10)], 1),
        broker.epoch(),
        broker.ping(),
        broker.check(),
        broker.depths(["default"]),
    ]
    return await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("url", ["unix:///nowhere/at-all.sock", "redis://127.0.0.1:{port}/0"])
async def test_everything_says_unavailable_when_nobody_listens(url: str) -> None:
    broker = Broker.open(url.format(port=free_port()))
    assert {type(answer) for answer in await everything(broker, [ticket(1)])} == {Unavailable}
    await broker.close()


async def test_everything_says_unavailable_when_the_server_hangs() -> None:
    connected: list[asyncio.StreamWriter] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    broker = Broker.open(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}?socket_timeout=0.3")
    async with asyncio.timeout(20):
        answers = await everything(broker, [ticket(1)])
    assert {type(answer) for answer in answers} == {Unavailable}
    await broker.close()
    for writer in connected:
        writer.close()
    server.close()


async def test_a_full_server_refuses_and_stays_consistent(broker: Broker, redis: Redis) -> None:
    await broker.push([ticket(1)])
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(Unavailable, match=r"(?i)memory"):
            await broker.push([ticket(n) for n in range(100)])
    finally:
        await redis.config_set("maxmemory", 0)
    assert await waiting(redis) == (1, 1, 1)
    assert await broker.push([ticket(n) for n in range(100)]) == 99


async def test_a_read_only_replica_is_unavailable_and_left(broker: Broker, redis: Redis) -> None:
    await broker.ping()
    await redis.replicaof("127.0.0.1", str(free_port()))
    try:
        with pytest.raises(Unavailable):
            await broker.push([ticket(1)])
    finally:
        await redis.replicaof("NO", "ONE")
    assert await broker.push([ticket(1)]) == 1


async def test_nothing_of_a_ticket_is_logged(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await broker.push([ticket(123456789)])
        await take(broker)
    assert "123456789" not in caplog.text
