"""Micro-batches: nobody waits for a timer, nobody is forgotten."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from cronsvc.services.batching import MicroBatch


async def test_callers_of_one_turn_share_a_batch_and_later_ones_the_next() -> None:
    batches: list[list[int]] = []
    begun, gate = asyncio.Event(), asyncio.Event()

    async def run(items: Sequence[int]) -> Sequence[int]:
        batches.append(list(items))
        begun.set()
        await gate.wait()
        return [item * 10 for item in items]

    batch: MicroBatch[int, int] = MicroBatch(run)
    first = [batch.submit(n) for n in (1, 2, 3)]
    await begun.wait()
    later = [batch.submit(n) for n in (4, 5)]
    gate.set()
    assert await asyncio.gather(*first, *later) == [10, 20, 30, 40, 50]
    assert batches == [[1, 2, 3], [4, 5]]


@pytest.mark.parametrize("lanes", [1, 2])
async def test_a_submit_at_any_moment_is_answered(lanes: int) -> None:
    """Also in the turn in which the last drain has looked and its task has not ended yet."""
    pace = random.Random(5)

    async def run(items: Sequence[int]) -> Sequence[int]:
        for _ in range(pace.randrange(3)):
            await asyncio.sleep(0)
        return items

    batch: MicroBatch[int, int] = MicroBatch(run, max_batch=3, lanes=lanes)

    async def caller(seed: int) -> None:
        steps = random.Random(seed)
        for n in range(100):
            assert await batch.submit(n) == n
            for _ in range(steps.randrange(4)):
                await asyncio.sleep(0)

    async with asyncio.timeout(60):
        await asyncio.gather(*(caller(seed) for seed in range(4)))
        await batch.flush()


async def test_a_failure_reaches_every_caller_of_its_batch_and_no_other() -> None:
    async def run(items: Sequence[int]) -> Sequence[int]:
        if 0 in items:
            raise ValueError("no zero")
        return items

    batch: MicroBatch[int, int] = MicroBatch(run, max_batch=2)
    answers = await asyncio.gather(*(batch.submit(n) for n in (0, 1, 2, 3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ValueError, ValueError, int, int]
