"""The checker sees what it is there to see: a few mutants in full, and every one of them still fits the code.

`python -m tests.faults mutants` plays them all.
"""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.faults.mutants.guards import GUARDS, apply
from tests.faults.mutants.run import judge_all, table
from tests.faults.mutants.scenarios import MUTANTS
from tests.faults.nursery import ROOT
from tests.faults.seams import SeamError
from tests.faults.stage import Theatre, theatre_over
from tests.support.servers import Embedded, scratch_directory

# Short stories, one each for the plan, the claim, the attempt, Redis, the fence and the audit log.
QUICK = ("M2", "M7", "M8", "M14", "M16", "M17")


@pytest.fixture(scope="module")
def house(postgres_server: Embedded, valkey_server: Embedded) -> Iterator[Theatre]:
    with scratch_directory() as directory, theatre_over(directory, postgres_server.url, valkey_server.url) as made:
        yield made


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_weakened_guard_turns_its_invariant_red(house: Theatre) -> None:
    verdicts = judge_all(house, QUICK)
    assert all(each.caught for each in verdicts), table(verdicts)


# Each in a child of its own: what one weakens must not hide from the next.
EACH = """
import os, sys
from tests.faults.mutants.guards import GUARDS, apply
import cronsvc.services.fence, cronsvc.services.running, cronsvc.services.scheduling
import cronsvc.queue.hub, cronsvc.executors.api_call
for name in GUARDS:
    if os.fork() == 0:
        apply(name)
        os._exit(0)
    if os.wait()[1] != 0:
        sys.exit(f"{name} does not apply")
"""


def test_each_mutant_still_finds_the_guard_it_weakens() -> None:
    done = subprocess.run(
        [sys.executable, "-c", EACH], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_mutant_has_its_story_and_the_unknown_is_refused() -> None:
    assert [mutant.name for mutant in MUTANTS] == list(GUARDS)
    with pytest.raises(SeamError):
        apply("M99")
