"""Three backups of a running service wake up elsewhere, with real servers and processes.

`python -m tests.faults restores` plays all of them.
"""

import pytest

from tests.faults.crash_points import table
from tests.faults.restores import RESTORES, play_all
from tests.faults.stage import theatre

# What only a look at the database's own numbers tells, what only its timeline does, and what only its address does.
QUICK = ("dump-moved", "recovery", "young")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_restored_backup_sends_nothing_until_somebody_confirms() -> None:
    with theatre() as house:
        tallies = play_all(house, names=QUICK)
    faults = [f"{each.name}: {fault}" for each in tallies for fault in each.faults]
    assert not faults, "\n".join([table(tallies), *faults])
    assert all(each.seconds for each in tallies)


def test_every_restore_has_a_name_of_its_own() -> None:
    names = [each.name for each in RESTORES]
    assert len(set(names)) == len(names)
    assert set(QUICK) <= set(names)
