"""The verdict: a pure function over a run's history. What it may call a violation is listed in INVARIANTS.

It knows the promises, not the code: no part of cronsvc is imported here or in what this imports. A finding is either a
defect of cronsvc or one of the harness; there is no third kind, and none is forgiven because a fault was near unless
the promise itself says so.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.faults import check_calls, check_itself, check_service
from tests.faults.history import TERMINAL, History
from tests.faults.oracle import Expected, expected
from tests.faults.record import Row

# Rounding of clocks between a statement's reading and ours.
MOMENT = 0.002

# Rows of one statement are written within so many seconds.
SAME_LOOK = 0.05


@dataclass(frozen=True)
class Violation:
    invariant: str
    words: str


INVARIANTS: Mapping[str, str] = {
    "I0": "one row an instant",
    "I1": "every due instant has a row, and skips are allowed ones",
    "I2": "no row for an instant that nobody named",
    "I3": "no call without a row",
    "I4": "never early",
    "I5": "calls, attempts and budget agree",
    "I6": "at most once is at most once",
    "I7": "one idempotency key an execution",
    "I8": "everything ends",
    "I9": "a status says what happened",
    "I10": "no stale worker overwrites a newer result",
    "I11": "no two run where one may",
    "I12": "buffered runs keep their order",
    "I13": "no storm after an outage",
    "I14": "on time while nothing is wrong",
    "I15": "recovery within the promised time",
    "I16": "every fault bit",
    "I17": "every change is audited, once, with its effect",
    "I18": "no secret leaves",
    "I19": "nothing is left locked or open",
    "I20": "no exit, no spin, no silence, no leak",
}


def check(history: History) -> list[Violation]:
    """Everything that contradicts a promise; empty for a good run."""
    checks: Sequence[Callable[[History], Iterator[tuple[str, str]]]] = (
        unique_rows,
        expected_rows,
        ended_rows,
        fenced_rows,
        leases,
        order,
        storms,
        *check_calls.CHECKS,
        *check_service.CHECKS,
        *check_itself.CHECKS,
    )
    return [Violation(name, words) for each in checks for name, words in each(history)]


def unique_rows(history: History) -> Iterator[tuple[str, str]]:
    counts = Counter((row["job"], row["sched"]) for row in history.executions)
    for (job, instant), count in counts.items():
        if count > 1:
            yield "I0", f"job {job} has {count} rows for {instant:.0f}"
    if history.gaps:
        yield "I1", f"cronsvc_v1.gaps has {history.gaps} rows"


def expected_rows(history: History) -> Iterator[tuple[str, str]]:
    """Every instant that the definitions name, against the rows; all of it by our own oracle."""
    rows_of: dict[int, list[Row]] = defaultdict(list)
    for row in history.executions:
        if row["trigger"] == "schedule":
            rows_of[row["job"]].append(row)
    until = history.meta["workload_end"] + 1.0  # the last instant is one
    for job in history.jobs:
        if job["class"] == "H":
            continue
        ops = [op for op in history.ops if op["job"] == job["id"]]
        owed = expected(job, ops, until=until)
        rows = rows_of[job["id"]]
        yield from _missing(job, owed, rows)
        for row in rows:
            named = {second for second in owed.may if row["sched"] <= second <= (row["skipped_until"] or row["sched"])}
            if not named:
                yield "I2", f"job {job['id']} has a row for {row['sched']:.3f}, which nothing names"
            elif row["status"] == "SKIPPED" and (why := _wrong_skip(job, row, named, owed)):
                yield "I1", f"job {job['id']} skipped {row['sched']:.0f} ({row['reason']}): {why}"


def _missing(job: Row, owed: Expected, rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    covered = {round(row["sched"]) for row in rows if row["sched"] == round(row["sched"])}
    for row in rows:
        if row["skipped_until"] is not None:
            covered |= set(range(round(row["sched"]), round(row["skipped_until"]) + 1))
    for second in sorted(owed.must - covered):
        yield "I1", f"job {job['id']} ({job['class']}) has no row for {second}"


def _wrong_skip(job: Row, row: Row, named: set[int], owed: Expected) -> str:
    """Why this instant should have run; empty when the job's policy lets it be skipped."""
    late = row["created"] - row["sched"]
    match row["reason"]:
        case "overlap":
            return "" if job["overlap"] == "skip" else "its policy is not to skip"
        case "misfire":
            return "" if late >= job["grace"] - MOMENT else f"it was seen only {late:.1f} s late"
        case "paused":
            # A pause that ends within the second of an instant decides it either way.
            return "it was certainly not paused" if named <= owed.live else ""
        case other:
            return f"nothing here is skipped for {other}"


def ended_rows(history: History) -> Iterator[tuple[str, str]]:
    for row in history.executions:
        if row["status"] not in TERMINAL:
            yield "I8", f"execution {row['id']} of job {row['job']} is still {row['status']}"


def fenced_rows(history: History) -> Iterator[tuple[str, str]]:
    """Attempts of one execution follow each other, and the row says what the last of them said."""
    outcomes = {"SUCCESS": {"success"}, "FAILED": {"error", "timeout", "lost", "released"}}
    for row in history.executions:
        attempts = history.attempts_of.get(row["id"], [])
        for earlier, later in pairwise(attempts):
            before = later["start"] is not None and later["start"] < earlier["end"] - MOMENT
            if before and not history.came_twice(later["start"], earlier["end"]):
                words = f"claim {later['claim_no']} began before claim {earlier['claim_no']} had ended"
                yield "I10", f"execution {row['id']}: {words}"
        last = attempts[-1] if attempts else None
        if last is None or row["status"] not in outcomes:
            continue
        if last["claim_no"] != row["claim_no"]:
            words = f"its row is at claim {row['claim_no']}, its last attempt was {last['claim_no']}"
            yield "I10", f"execution {row['id']}: {words}"
        elif last["outcome"] not in outcomes[row["status"]]:
            yield "I10", f"execution {row['id']} is {row['status']}, its last attempt ended as {last['outcome']}"


def leases(history: History) -> Iterator[tuple[str, str]]:
    """Where one run at a time is allowed, the spans between claim and end, by the database's clock, never meet."""
    alone = history.of_class("BG")
    spans: dict[int, list[tuple[float, float, int]]] = defaultdict(list)
    for row in history.attempts:
        if row["job"] in alone and row["start"] is not None:
            spans[row["job"]].append((row["start"], row["end"], row["execution"]))
    for job, found in spans.items():
        for earlier, later in pairwise(sorted(found)):
            if later[0] < earlier[1] - MOMENT and not history.came_twice(later[0], earlier[1]):
                yield "I11", f"job {job}: executions {earlier[2]} and {later[2]} were both held at {later[0]:.3f}"


def order(history: History) -> Iterator[tuple[str, str]]:
    for job in history.of_class("G"):
        firsts: dict[int, tuple[float, float]] = {}
        for call in history.calls:
            if call.job == job:
                firsts.setdefault(call.execution, (call.begin, call.scheduled))
        for earlier, later in pairwise(sorted(firsts.values())):
            if later[1] < earlier[1]:
                yield "I12", f"job {job} ran {later[1]:.0f} after {earlier[1]:.0f}"


def storms(history: History) -> Iterator[tuple[str, str]]:
    """Of the instants that one look found too late, a job that wants the latest only runs no more than one.

    When it looked is not on record: after the latest instant it wrote had come, on slow wires seconds before it wrote.
    """
    for job in history.of_class("E"):
        grace = history.job_of[job]["grace"]
        rows = sorted((row for row in history.executions if row["job"] == job), key=lambda row: row["created"])
        looks: list[list[Row]] = []
        for row in rows:
            if not looks or row["created"] - looks[-1][-1]["created"] > SAME_LOOK:
                looks.append([])
            looks[-1].append(row)
        for look in looks:
            latest = max(row["sched"] for row in look)
            late = [row for row in look if row["status"] != "SKIPPED" and latest - row["sched"] > grace]
            if len(late) > 1:
                yield "I13", f"job {job} caught up on {len(late)} misfires at {look[0]['created']:.3f}"
