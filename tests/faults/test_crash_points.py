"""The crash-point table once over: real processes killed at named points, every row exact afterwards.

`python -m tests.faults crash-points --times 20` plays it as often as the promise says.
"""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.faults.crash_acts import ACTS
from tests.faults.crash_points import TABLE, Tally, play_all, table
from tests.faults.failpoints import POINTS, parse
from tests.faults.nursery import ROOT
from tests.faults.seams import SeamError
from tests.faults.stage import Theatre, theatre_over
from tests.support.servers import Embedded, scratch_directory

# One of each kind; the command plays them all.
QUICK_ACTS = ("overlap.committed", "admitted.committed", "pause.before_commit", "A1.edit.before", "A1.trigger.after")


@pytest.fixture(scope="module")
def house(postgres_server: Embedded, valkey_server: Embedded) -> Iterator[Theatre]:
    with scratch_directory() as directory, theatre_over(directory, postgres_server.url, valkey_server.url) as made:
        yield made


def exact(tallies: list[Tally]) -> bool:
    faults = [f"{each.name}: {fault}" for each in tallies for fault in each.faults]
    assert not faults, "\n".join([table(tallies), *faults])
    return all(each.seconds for each in tallies)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_kill_at_each_point_of_a_firing_leaves_exactly_what_it_must(house: Theatre) -> None:
    assert exact(play_all(house, times=1, names=[crash.point for crash in TABLE]))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_kill_around_other_commits_loses_and_repeats_nothing(house: Theatre) -> None:
    assert exact(play_all(house, times=1, names=QUICK_ACTS))


def test_each_fail_point_fits_the_code_as_it_is() -> None:
    """In a process of its own, because arming patches what it names; without a trigger the CLI is itself."""
    armed = [f"--failpoint={name}=raise" for name in POINTS]
    command = [sys.executable, "-m", "tests.faults.launcher", *armed, "--", "version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_seam_that_is_gone_ends_the_start_loudly() -> None:
    program = (
        "import sys; from cronsvc.store import ticks; del ticks.take_due;"
        "from tests.faults.launcher import main; main(['--failpoint=S1=kill9', '--', 'version'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3
    assert "there is no cronsvc.store.ticks.take_due any more" in done.stderr


def test_every_fail_point_is_played_by_some_line_of_the_table() -> None:
    played = {crash.point for crash in TABLE} | {act.name for act in ACTS}
    # The same places under the names that the random runs use.
    twins = {"tick.locked": "S1", "http.sent": "W3", "claim.before": "W1"}
    by_request = {"A1", "api.after_mutate", "api.committed", "confirm.before_commit", "confirm.committed"}
    assert {twins.get(name, name) for name in POINTS} - by_request <= played
    assert {act.name.split(".")[2] for act in ACTS if act.name.startswith("A1.")} == {"before", "after"}


@pytest.mark.parametrize("text", ["S1", "S1=explode", "nowhere=kill9", "S1=sleep", "S1=kill9(3)", "S1:0.5=stop"])
def test_a_fail_point_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(SeamError):
        parse(text, None)


def test_a_fail_point_says_when_and_how_often() -> None:
    trigger = parse("W3:2=sleep(0.5)", None)
    assert (trigger.name, trigger.nth, trigger.action, trigger.seconds) == ("W3", 2, "sleep", 0.5)
    assert parse("W3:*=raise", None).nth is None
    assert parse("W3=stop", None).nth == 1
