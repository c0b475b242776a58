"""A service under everything that may happen to it, in random order, against real Postgres: what the README promises.

`MACHINE_PROFILE=nightly` looks much longer and at other programs each time; without it the programs are always
the same.
"""

import asyncio
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from cronsvc.errors import Conflict
from cronsvc.store.pool import Database
from tests.support import clock
from tests.support.machine import Service
from tests.support.machine_mutants import MUTANTS, Program
from tests.support.machine_world import START, World, tables_to_empty

NIGHTLY = os.environ.get("MACHINE_PROFILE") == "nightly"
LOOK = settings(
    max_examples=2000 if NIGHTLY else 30,
    stateful_step_count=80 if NIGHTLY else 40,
    derandomize=not NIGHTLY,
    deadline=None,
    database=None,
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


class Place:
    """A database with a clock, and the loop in which everything on it runs."""

    def __init__(self, runner: asyncio.Runner, db: Database, tables: list[str]) -> None:
        self._runner = runner
        self._db = db
        self._tables = tables

    def service(self) -> Service:
        return Service(self._runner, World(self._db, self._tables))

    def carry_out(self, program: Program) -> None:
        """Run one program to its quiet end, as hypothesis would."""
        state = self.service()
        try:
            program(state)
            state.heal()
        finally:
            self._runner.run(state.world.end())


@pytest.fixture
def place(database_url: str) -> Iterator[Place]:
    clock.install(database_url, START)
    with asyncio.Runner() as runner:
        db = runner.run(Database.open(database_url, application_name="cronsvc-machine", min_size=4, max_size=12))
        try:
            yield Place(runner, db, runner.run(tables_to_empty(db)))
        finally:
            runner.run(db.close())


@pytest.mark.slow  # half a minute; a failure takes longer, for hypothesis looks for a shorter program then
@pytest.mark.timeout(7200 if NIGHTLY else 600)
def test_the_promises_hold_whatever_happens(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("ERROR", "cronsvc")  # what is lost and stale is told a thousand times here
    run_state_machine_as_test(place.service, settings=LOOK)  # type: ignore[arg-type]


def test_the_programs_below_pass_without_a_defect(place: Place) -> None:
    for _, program in MUTANTS.values():
        place.carry_out(program)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_are_caught(place: Place, mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine can fail: each defect turns it red, or makes the service itself fall over."""
    mutate, program = MUTANTS[mutant]
    mutate(monkeypatch)
    with pytest.raises((AssertionError, Conflict)):
        place.carry_out(program)
