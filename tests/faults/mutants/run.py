"""Play every mutant's story twice, with the guard and without, and let the checker judge both.

`python -m tests.faults mutants [--times N] [NAME…]`: exit code 1 when a guarded run is not green, or a mutant is not
red in its invariant. A mutant that stays green is a defect of the harness.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.faults.check import Violation, check
from tests.faults.mutants.play import Play
from tests.faults.mutants.scenarios import MUTANTS, Mutant
from tests.faults.stage import Theatre, theatre


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checker said of both runs, or what kept one of them from being played."""

    mutant: Mutant
    guarded: Sequence[Violation]
    weakened: Sequence[Violation]
    seconds: float
    trouble: str = ""

    @property
    def caught(self) -> bool:
        return (
            not self.trouble and not self.guarded and any(each.invariant == self.mutant.red for each in self.weakened)
        )

    def words(self) -> str:
        """Why this verdict is not what it should be, or what gave the mutant away."""
        if self.trouble:
            return self.trouble
        if self.guarded:
            return "with the guard: " + "; ".join(f"{each.invariant} {each.words}" for each in self.guarded)
        found = [each.words for each in self.weakened if each.invariant == self.mutant.red]
        others = sorted({each.invariant for each in self.weakened})
        return found[0] if found else f"{self.mutant.red} stays green; red: {', '.join(others) or 'none'}"


def play(house: Theatre, mutant: Mutant, *, weakened: bool) -> list[Violation]:
    """Tell the story once and return what the checker says."""
    with house.stage(mutant.name, **mutant.environment) as stage:
        if weakened:
            for statement in mutant.sql:
                stage.execute(statement)
        story = Play(stage, [mutant.name] if weakened else [])
        with story.watched():
            mutant.tell(story)
        stage.close()
        return check(story.history(calm=mutant.calm))


def judge(house: Theatre, mutant: Mutant) -> Verdict:
    """Both runs of one mutant; nothing is raised."""
    begun = time.monotonic()
    try:
        guarded = play(house, mutant, weakened=False)
        weakened = play(house, mutant, weakened=True)
    except Exception as error:  # one story that cannot be told must not end the others
        return Verdict(mutant, (), (), time.monotonic() - begun, f"{type(error).__name__}: {error}")
    return Verdict(mutant, guarded, weakened, time.monotonic() - begun)


def judge_all(house: Theatre, names: Sequence[str] = (), *, side_by_side: int = 2) -> list[Verdict]:
    """Both runs of every mutant, or of those named."""
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    with ThreadPoolExecutor(side_by_side) as threads:
        return list(threads.map(lambda mutant: judge(house, mutant), chosen))


def table(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as markdown."""
    lines = ["| mutant | guard | red in | verdict | seconds |", "|---|---|---|---|---|"]
    for each in verdicts:
        caught = f"caught: {each.words()}" if each.caught else f"**NOT CAUGHT**: {each.words()[:1500]}"
        lines.append(
            f"| {each.mutant.name} | {each.mutant.guard} | {each.mutant.red} | {caught} | {each.seconds:.0f} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults mutants")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--side-by-side", type=int, default=2)
    parser.add_argument("names", nargs="*", help="mutants; none: all")
    given = parser.parse_args(list(arguments))
    known = [mutant.name for mutant in MUTANTS]
    if unknown := set(given.names) - set(known):
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    verdicts: list[Verdict] = []
    with theatre() as house:
        for _ in range(given.times):
            verdicts += judge_all(house, given.names, side_by_side=given.side_by_side)
    print(table(verdicts))
    missed = [each for each in verdicts if not each.caught]
    print(f"\n{len(verdicts) - len(missed)} of {len(verdicts)} caught", file=sys.stderr)
    return 1 if missed else 0
