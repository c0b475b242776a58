"""A finished run as values: what was recorded, read back from its folder. The checker sees nothing else.

All times are seconds since 1970. Postgres, the receiver and the harness share the host's clock, which no fault touches,
but for the runs in which Postgres' own is set: `clock` has its steps, and `reached` tells what it had shown by when.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.faults.record import Row, read

TERMINAL = frozenset({"SUCCESS", "FAILED", "SKIPPED", "CANCELLED"})


@dataclass(frozen=True)
class Call:
    """One request as the receiver saw it. `end` and `status` are None when it never ended there."""

    begin: float
    end: float | None
    execution: int
    job: int
    attempt: int
    fence: int
    key: str | None
    scheduled: float
    how: str
    status: int | None
    reached: float  # the latest instant that the database's clock had shown when it began

    @property
    def succeeded(self) -> bool:
        return self.how == "answered" and self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True)
class History:
    """`executions`, `attempts`, `audit`, `revisions`, `lingering` are the database's last word; the rest is ours.

    `chain`: the places of the audit log with the text that each hash is of, `audit_ids` what should be there, `verdict`
    what the API says of it. `self_checks` and `fences`: what the service thought was wrong with itself.
    """

    meta: Row
    jobs: Sequence[Row]
    ops: Sequence[Row] = ()
    faults: Sequence[Row] = ()
    sink: Sequence[Row] = ()
    executions: Sequence[Row] = ()
    attempts: Sequence[Row] = ()
    audit: Sequence[Row] = ()
    revisions: Mapping[str, int] = field(default_factory=dict)
    lingering: Sequence[str] = ()
    gaps: int = 0
    procs: Sequence[Row] = ()
    samples: Sequence[Row] = ()
    stalls: Sequence[Row] = ()
    clock: Sequence[Row] = ()
    leaks: Sequence[str] = ()
    audit_ids: Sequence[int] = ()
    chain: Sequence[Row] = ()
    verdict: Row = field(default_factory=dict)
    self_checks: Sequence[Row] = ()
    fences: Sequence[Row] = ()

    @cached_property
    def calls(self) -> list[Call]:
        """Every request that the receiver got, in order of arrival."""
        ends = {row["n"]: row for row in self.sink if row["e"] == "end"}
        found = []
        for row in self.sink:
            if row["e"] != "call":
                continue
            end = ends.get(row["n"])
            found.append(
                Call(
                    begin=row["t"],
                    end=end["t"] if end else None,
                    execution=row["execution"],
                    job=row["job"],
                    attempt=row["attempt"],
                    fence=row["fence"],
                    key=row["key"],
                    scheduled=seconds_of(row["scheduled"]),
                    how=end["how"] if end else "open",
                    status=end["status"] if end else None,
                    reached=self.reached(row["t"]),
                )
            )
        return sorted(found, key=lambda call: call.begin)

    def reached(self, moment: float) -> float:
        """The latest instant that the database's clock had shown at this moment of the host's."""
        highest, ahead = -math.inf, 0.0
        for step in self.clock:
            if step["begun"] > moment:
                break
            highest, ahead = max(highest, step["done"] + ahead), step["ahead"]
        return max(highest, moment + ahead)

    def came_twice(self, begin: float, end: float) -> bool:
        """Whether a span of the database's clock touches time that came twice: there, later may be called earlier."""
        return any(
            each["evidence"]["database_start"] <= end and each["evidence"]["database_heal"] >= begin
            for each in self.faults
            if each["kind"] == "pg_clock_back"
        )

    @cached_property
    def calls_of(self) -> dict[int, list[Call]]:
        found: dict[int, list[Call]] = defaultdict(list)
        for call in self.calls:
            found[call.execution].append(call)
        return found

    @cached_property
    def attempts_of(self) -> dict[int, list[Row]]:
        """By execution, in the order of their claims."""
        found: dict[int, list[Row]] = defaultdict(list)
        for row in sorted(self.attempts, key=lambda row: row["claim_no"]):
            found[row["execution"]].append(row)
        return found

    @cached_property
    def job_of(self) -> dict[int, Row]:
        return {job["id"]: job for job in self.jobs}

    def of_class(self, letters: str) -> set[int]:
        """The ids of the jobs of these classes."""
        return {job["id"] for job in self.jobs if job["class"] in letters}

    def near(self, begin: float, end: float, *, slack: float = 0.0, but: str = "") -> list[Row]:
        """The faults that touch this span, `slack` seconds around it, except those whose kind begins with `but`."""
        return [
            fault
            for fault in self.faults
            if any(start - slack <= end and heal + slack >= begin for start, heal in _spans(fault))
            and not (but and fault["kind"].startswith(but))
        ]

    def stall(self, begin: float, end: float) -> float:
        """How late the host itself was in a span: the sum of what its sleeps overslept by more than 20 ms."""
        return sum(max(0.0, float(row["late"]) - 0.02) for row in self.stalls if begin - 1 <= row["t"] <= end + 1)


def _spans(fault: Row) -> Iterator[tuple[float, float]]:
    """When a fault was, by the host's clock, and by the database's where that is another."""
    yield fault["start"], fault["heal"]
    if "database_start" in fault["evidence"]:
        yield fault["evidence"]["database_start"], fault["evidence"]["database_heal"]


def seconds_of(text: str | float | None) -> float:
    """An RFC 3339 instant as seconds; 0 for none."""
    if text is None:
        return 0.0
    return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else float(text)


def load(folder: Path) -> History:
    """Read a run's folder."""
    last: dict[str, Any] = json.loads((folder / "db.json").read_text())
    return History(
        meta=json.loads((folder / "meta.json").read_text()),
        jobs=read(folder, "jobs"),
        ops=read(folder, "ops"),
        faults=read(folder, "nemesis"),
        sink=read(folder, "sink"),
        procs=read(folder, "procs"),
        samples=read(folder, "samples"),
        stalls=read(folder, "stalls"),
        clock=read(folder, "clock"),
        self_checks=[*read(folder, "self_checks"), *last.pop("self_checks", ())],
        **last,
    )
