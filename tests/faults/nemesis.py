"""Who hurts the service: a seeded sequence of faults with quiet between them, each written down with its proof.

A smoke run does a fixed list in order. A long run deals a shuffled deck until the time is over; a quarter of its faults
comes with a second one on top, and a third is aimed at the moment just before an instant, where elections go wrong.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from random import Random

from tests.faults.fault import Bite, Fault, Field
from tests.faults.faults import CATALOGUE
from tests.faults.missing import MissingError
from tests.faults.waiting import until_just_before_a_second

AIMED_SHARE = 0.3
DOUBLE_SHARE = 0.25
AIM_SECONDS = 0.2

# What may lie on top of a fault, by how its kind begins: each needs parts of the service that the first leaves alone.
COMPANIONS: Mapping[str, Sequence[str]] = {
    "wire_scheduler": ("F3", "F11-worker-redis-refuse", "F11-worker-pg-refuse"),
    "wire_worker": ("F1", "F11-scheduler-pg-refuse", "F11-scheduler-redis-refuse"),
    "wire_api": ("F1", "F3", "F8", "F9", "F11-worker-pg-refuse", "F11-scheduler-redis-refuse"),
    "wire_all": ("F1", "F3"),
    "sink_": ("F1", "F8", "F11-scheduler-pg-refuse"),
    "scheduler_killed": ("F3", "F11-worker-redis-refuse", "F11-worker-pg-refuse"),
    "worker_": ("F1", "F11-scheduler-pg-refuse", "F11-worker-redis-refuse"),
    "redis_f": ("F1", "F3"),
}


def companions(fault: Fault) -> Sequence[str]:
    """The faults that may overlap this one; none for those that stop or need the whole of it."""
    return next((names for start, names in COMPANIONS.items() if fault.kind.startswith(start)), ())


class Nemesis:
    def __init__(self, field: Field, random: Random, *, quiet: tuple[float, float]) -> None:
        self._field = field
        self._random = random
        self._quiet = quiet

    def in_order(self, names: Sequence[str]) -> None:
        """Each of these once, with as much quiet after it as its recovery takes to be seen."""
        for name in names:
            self.strike(CATALOGUE[name])
            time.sleep(CATALOGUE[name].settle)

    def until(self, end: float, names: Sequence[str]) -> None:
        """Deal the deck again and again until `end`; a fault that would not be over by then is left out."""
        for name in self._deck(names):
            fault = CATALOGUE[name]
            if time.time() > end:
                return
            if time.time() + fault.hold + 20.0 > end:
                time.sleep(1.0)
                continue
            if self._random.random() < AIMED_SHARE:
                until_just_before_a_second(AIM_SECONDS)
            second = None
            if (others := companions(fault)) and self._random.random() < DOUBLE_SHARE:
                second = CATALOGUE[self._random.choice(others)]
            self.strike(fault, second)
            time.sleep(self._random.uniform(*self._quiet))

    def strike(self, fault: Fault, second: Fault | None = None) -> None:
        """Hurt, hold, heal and write it down. A fault that could not even begin did not bite, and says so."""
        bite, begun = Bite(), time.time()
        skipped = ""
        try:
            with ExitStack() as stack:
                stack.enter_context(fault.body(self._field, bite))
                if second is not None:
                    self.strike(second)
                time.sleep(fault.hold)
        except MissingError as reason:
            skipped = str(reason)
        except Exception as error:  # the run goes on; the report says that this fault was none
            bite.prove(False, error=f"{type(error).__name__}: {error}")
        if skipped:
            self._field.ground.recorder.write("skipped", fault=fault.name, reason=skipped)
            return
        start, heal = bite.start or begun, bite.heal or time.time()
        self._field.ground.recorder.write(
            "nemesis",
            fault=fault.name,
            kind=bite.kind or fault.kind,
            start=start,
            heal=max(start, heal),
            bit=bite.bit,
            evidence=bite.evidence,
        )

    def _deck(self, names: Sequence[str]) -> Iterator[str]:
        while True:
            deck = list(names)
            self._random.shuffle(deck)
            yield from deck
