import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis
from saq.job import Job, Status
from saq.queue.redis import RedisQueue

from cronsvc.domain.execution import Ticket
from cronsvc.domain.job import Priority
from cronsvc.queue import Broker
from cronsvc.queue.connection import open_redis
from cronsvc.queue.lane import LEVELS, Lane, PoisonError
from tests.queue.support import ticket

ids = st.integers(0, 2**63 - 1)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-11))])


def lane(queue: str = "default", priority: int = 10) -> Lane:
    return Lane(open_redis("redis://nowhere.invalid"), prefix="cronsvc", queue=queue, priority=priority)


def test_every_priority_has_a_lane_and_the_most_urgent_comes_first() -> None:
    assert [(priority, LEVELS[priority]) for priority in sorted(Priority)] == [(1, 0), (5, 1), (10, 2), (15, 3)]
    assert lane("mail", 1).name == "cronsvc:mail:p0"


@given(
    st.builds(
        Ticket,
        execution_id=ids,
        job_id=ids,
        claim_no=st.integers(0, 2**31 - 1),
        # a day inside the edges: other time zones must stay representable
        scheduled_time=st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=zones),
        queue=st.just("default"),
        priority=st.just(10),
    )
)
def test_a_ticket_survives_its_body_exactly(original: Ticket) -> None:
    there = lane()
    job = there.read(there.body(original).encode())
    assert job.ticket == original
    assert job.ticket.scheduled_time.tzinfo is UTC
    assert job.key == f"{original.execution_id}:{original.claim_no}"


def test_saq_reads_a_body_as_the_job_it_would_have_written() -> None:
    there = lane('a\\b"ü', 1)
    original = ticket(5, claim_no=3, queue=there.queue, priority=1)
    stock: RedisQueue = RedisQueue(open_redis("redis://nowhere.invalid"), name=there.name)
    expected = Job(
        function="run",
        kwargs={"execution_id": 5, "job_id": 7, "scheduled_time": 1_772_366_400_000_000, "claim_no": 3},
        queue=stock,
        key="5:3",
        timeout=0,
        heartbeat=0,
        retries=1,
        ttl=-1,
        status=Status.QUEUED,
    )
    read = stock.deserialize(there.body(original))
    again = stock.deserialize(stock.serialize(expected))
    assert read is not None and again is not None
    for field in dataclasses.fields(Job):
        assert getattr(read, field.name) == getattr(expected, field.name) == getattr(again, field.name), field.name


async def test_stock_saq_finds_a_pushed_ticket(broker: Broker, redis: Redis, redis_url: str) -> None:
    await broker.push([ticket(1), ticket(2)])
    async with Redis.from_url(redis_url) as client:
        stock: RedisQueue = RedisQueue(client, name="cronsvc:default:p2")
        assert await stock.count("queued") == await stock.count("incomplete") == 2
        job = await stock.dequeue(timeout=1)
        assert job is not None and job.kwargs is not None
        assert (job.key, job.function, job.kwargs["execution_id"], job.timeout) == ("1:0", "run", 1, 0)


def changed(**changes: Any) -> str:
    """A good body with some fields replaced; None removes one."""
    fields = json.loads(lane().body(ticket(1)))
    fields.update(changes)
    return json.dumps({name: value for name, value in fields.items() if value is not None})


def with_identity(**changes: Any) -> str:
    return changed(kwargs=json.loads(lane().body(ticket(1)))["kwargs"] | changes)


def test_the_helpers_of_the_next_test_keep_a_good_body_good() -> None:
    assert lane().read(changed()).ticket == lane().read(with_identity()).ticket == ticket(1)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not json",
        "[1]",
        "null",
        "12",
        "[" * 100_000,
        "\xff\xfe",
        changed(queue="cronsvc:other:p2"),
        changed(queue=None),
        changed(function="rm"),
        changed(function=None),
        changed(kwargs=None),
        changed(kwargs=[1]),
        changed(a_field_of_tomorrow=1),
        changed(status="no such status"),
        with_identity(execution_id="1; DROP TABLE jobs"),
        with_identity(execution_id=2**63),
        with_identity(execution_id=True),
        with_identity(claim_no=1.5),
        with_identity(claim_no=2**31),
        with_identity(job_id=None),
        with_identity(scheduled_time=2**62),
        with_identity(scheduled_time="2026-01-01"),
    ],
)
def test_anything_else_is_poison(body: str) -> None:
    with pytest.raises(PoisonError):
        lane().read(body.encode("latin-1"))
