"""Which instants a job owes, by a scan over every second: nothing here is cronsvc's, so both may not be wrong together.

People edited some jobs while the service was being hurt. What an operation changed is known to hold only outside its
own span, and after an operation of unknown outcome either of two values may hold. An instant that is named by every
possible definition is a *must*; one that is named by some of them is a *may*.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# An operation takes effect somewhere in its transaction; instants this close to its span belong to either side.
EDGE = 0.5

# What was asked and never answered may still have been on its way for so long: a statement's bound, and some more.
LATE = 15.0

Row = Mapping[str, Any]


@dataclass
class Expected:
    """Instants as whole seconds since 1970. `paused`: certainly paused then; `live`: certainly not."""

    must: set[int] = field(default_factory=set)
    may: set[int] = field(default_factory=set)
    paused: set[int] = field(default_factory=set)
    live: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Change:
    """A field gets `value` somewhere between `begins` and `ends`; if not `sure`, perhaps not at all, or later."""

    begins: float
    ends: float
    value: Any
    sure: bool


class Timeline:
    """The values that one field of a job may have at an instant."""

    def __init__(self, initial: Any, changes: Sequence[Change]) -> None:
        self._initial = initial
        self._changes = sorted(changes, key=lambda change: change.begins)

    def at(self, instant: float) -> set[Any]:
        values = {self._initial}
        doubtful: list[Change] = []
        for change in self._changes:
            if change.begins - EDGE > instant:
                break
            if change.sure and change.ends + EDGE < instant:
                values = {change.value} | {other.value for other in doubtful if other.ends + LATE > change.begins}
            else:
                values = values | {change.value}
            if not change.sure:
                doubtful.append(change)
        return values


def expected(job: Row, ops: Sequence[Row], *, until: float) -> Expected:
    """What `job` owes up to `until`, given the operations on it that were not refused."""
    found = Expected()
    periods = Timeline(job["period"], changes(ops, "period"))
    pauses = Timeline(False, changes(ops, "paused"))
    ends = Timeline(math.inf, changes(ops, "end"))
    created, known = job["invoke"], job["done"]
    for second in range(math.floor(created - EDGE), math.ceil(until)):
        if second >= until:
            break
        named = {second % period == job["phase"] % period for period in periods.at(second)}
        alive = {second <= end for end in ends.at(second)}
        if True not in named or True not in alive:
            continue
        found.may.add(second)
        if second > known + EDGE and named == alive == {True}:
            found.must.add(second)
        paused = pauses.at(second)
        if paused == {True}:
            found.paused.add(second)
        elif paused == {False}:
            found.live.add(second)
    return found


def changes(ops: Sequence[Row], name: str) -> list[Change]:
    return [
        Change(op["invoke"], op["done"], op["value"], op["outcome"] == "ok")
        for op in ops
        if op["field"] == name and op["outcome"] != "fail"
    ]
