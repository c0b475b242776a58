"""`python -m tests.bench [fires|executions|lateness|fleet …] [--rounds N]`: medians, and ratios to the plain way."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable

import uvloop

from tests.bench import executions, fires, fleet_lateness, lateness
from tests.bench.ground import Ground, ground, median

Measure = Callable[[], Awaitable[float]]


async def compare(name: str, ours: Measure, reference: Measure, rounds: int) -> None:
    """Run both in turn, so that a drifting machine drifts for both, and print medians and the ratio of the pairs."""
    pairs = [(await ours(), await reference()) for _ in range(rounds)]
    mine, plain = (median([pair[side] for pair in pairs]) for side in (0, 1))
    ratio = median([a / b for a, b in pairs])
    spread = f"{min(a for a, _ in pairs):,.0f}..{max(a for a, _ in pairs):,.0f}"
    print(f"{name:<28} {mine:>8,.0f}/s  ({spread})   plain {plain:>7,.0f}/s   x{ratio:.1f}", flush=True)


async def run(chosen: list[str], rounds: int, at: Ground) -> None:
    if "fires" in chosen:
        await compare("fires", lambda: fires.ours(at), lambda: fires.reference(at), rounds)
    if "executions" in chosen:
        for concurrency in (5, 50):
            await compare(
                f"executions, concurrency {concurrency}",
                lambda n=concurrency: executions.ours(at, concurrency=n, count=10_000),  # type: ignore[misc]
                lambda n=concurrency: executions.reference(at, concurrency=n, count=2_000),  # type: ignore[misc]
                rounds,
            )
    if "lateness" in chosen:
        late = [await lateness.ours(at) for _ in range(rounds)]
        p50, p99 = (median([each[side] for each in late]) for side in (0, 1))
        print(f"{'lateness at 100 fires/s':<28} p50 {p50:.1f} ms   p99 {p99:.1f} ms", flush=True)
    if "fleet" in chosen:
        p50, p99 = fleet_lateness.ours()
        print(f"{'lateness, 2 + 2 processes':<28} p50 {p50:.1f} ms   p99 {p99:.1f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names = ["fires", "executions", "lateness", "fleet"]
    parser.add_argument("measures", nargs="*", metavar="fires|executions|lateness|fleet", default=names)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if unknown := set(arguments.measures) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    with ground() as at, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(arguments.measures, arguments.rounds, at))


if __name__ == "__main__":
    main()
