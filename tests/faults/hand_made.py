"""Histories made by hand: twenty good seconds, and the ways in which each of them can be spoilt."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tests.faults.history import History
from tests.faults.record import Row

T = 1_800_000_000  # divisible by 60
END = T + 20

Break = Callable[[History], History]


def job(number: int, letter: str, period: int, **fields: Any) -> Row:
    overlap = {"B": "skip", "G": "buffer_all"}.get(letter, "allow")
    return {
        "id": number,
        "class": letter,
        "period": period,
        "phase": 0,
        "overlap": overlap,
        "grace": 3 if letter == "E" else 600,
        "max_attempts": 1 if letter == "D" else 3,
        "invoke": T - 0.2,
        "done": T - 0.1,
    } | fields


JOBS = (job(1, "A", 2), job(2, "B", 5), job(4, "D", 4), job(5, "E", 1), job(6, "F", 5), job(7, "G", 5))


def history(**fields: Any) -> History:
    """Twenty good seconds of six jobs, every call answered after 100 ms."""
    executions, attempts, sink = [], [], []
    instants = [(each, second) for each in JOBS for second in range(T + 2, END + 1) if second % each["period"] == 0]
    for number, (each, second) in enumerate(instants, start=1):
        executions.append(execution(number, each, float(second)))
        attempts.append(attempt(number, each, float(second)))
        sink += call(number, each, float(second))
    meta = {"workload_start": T, "workload_end": END, "repro": "again", "least_faults": 0}
    good = History(
        meta=meta,
        jobs=JOBS,
        sink=sink,
        executions=executions,
        attempts=attempts,
        audit=[{"at": T, "action": "create", "job": each["id"], "marker": None} for each in JOBS],
        revisions={str(each["id"]): 1 for each in JOBS},
        audit_ids=[each["id"] for each in JOBS],
        chain=chain_of([f"job {each['id']}" for each in JOBS], [each["id"] for each in JOBS]),
        verdict={"intact": True, "checked": len(JOBS), "broken": None},
    )
    # Instants so close to the creation are nobody's to demand.
    return replace(good, jobs=[{**each, "invoke": T + 1.0, "done": T + 1.1} for each in JOBS], **fields)


def execution(number: int, of: Row, second: float) -> dict[str, Any]:
    return {
        "id": number,
        "job": of["id"],
        "sched": second,
        "trigger": "schedule",
        "status": "SUCCESS",
        "reason": None,
        "attempt": 1,
        "max_attempts": of["max_attempts"],
        "claim_no": 1,
        "created": second,
        "start": second + 0.01,
        "end": second + 0.12,
        "skipped_until": None,
        "worker": "w",
    }


def attempt(number: int, of: Row, second: float) -> dict[str, Any]:
    return {
        "execution": number,
        "job": of["id"],
        "attempt": 1,
        "claim_no": 1,
        "outcome": "success",
        "worker": "w",
        "start": second + 0.01,
        "end": second + 0.12,
    }


def call(number: int, of: Row, second: float) -> list[dict[str, Any]]:
    begin = {
        "e": "call",
        "n": number,
        "t": second + 0.02,
        "execution": number,
        "job": of["id"],
        "attempt": 1,
        "fence": 1,
        "key": f"key-{number}",
        "scheduled": second,
    }
    return [begin, {"e": "end", "n": number, "t": second + 0.11, "how": "answered", "status": 200}]


def chain_of(texts: Sequence[str], entries: Sequence[int]) -> list[Row]:
    """The places of a whole chain over these entries."""
    links: list[Row] = []
    before = bytes(32)
    for place, (text, entry) in enumerate(zip(texts, entries, strict=True), start=1):
        before = hashlib.sha256(before + text.encode()).digest()
        links.append({"place": place, "entry": entry, "hash": before.hex(), "text": text})
    return links


def relinked(rows: History, place: int, **fields: Any) -> History:
    """One place of the chain, changed."""
    changed = [{**link, **fields} if link["place"] == place else link for link in rows.chain]
    return replace(rows, chain=changed)


def fault(kind: str, start: float, heal: float, **fields: Any) -> Row:
    return {"fault": "F", "kind": kind, "start": T + start, "heal": T + heal, "bit": True, "evidence": {}} | fields


def first(rows: History, letter: str, *, after: int = 0) -> Row:
    (number,) = rows.of_class(letter)
    return [row for row in rows.executions if row["job"] == number][after]


def with_row(rows: History, row: Row, **fields: Any) -> History:
    changed = [{**each, **fields} if each["id"] == row["id"] else each for each in rows.executions]
    return replace(rows, executions=changed)


def with_attempt(rows: History, row: Row, **fields: Any) -> History:
    changed = [{**each, **fields} if each["execution"] == row["id"] else each for each in rows.attempts]
    return replace(rows, attempts=changed)


def with_call(rows: History, row: Row, **fields: Any) -> History:
    """The receiver's lines for this execution, changed; `end_…` goes to the second of them."""
    ends = {name.removeprefix("end_"): value for name, value in fields.items() if name.startswith("end_")}
    begins = {name: value for name, value in fields.items() if not name.startswith("end_")}
    changed = [
        {**line, **(begins if line["e"] == "call" else ends)} if line["n"] == row["id"] else line for line in rows.sink
    ]
    return replace(rows, sink=changed)


def second_call(rows: History, row: Row, **fields: Any) -> History:
    extra = call(row["id"], rows.job_of[row["job"]], row["sched"] + 0.3)
    return replace(rows, sink=[*rows.sink, *({**line, "n": 9000, **fields} for line in extra)])


def samples(proc: str, *, cpu: float = 0.0, seconds: int = 12, log: int = 0, rss: float = 1.0) -> list[Row]:
    return [
        {
            "t": T + second,
            "proc": proc,
            "pid": 1,
            "cpu": cpu * second,
            "rss": int(100e6 * (1 + (rss - 1) * second / seconds)),
            "log": log * second,
            "frozen": False,
        }
        for second in range(seconds)
    ]


def op(field: str, value: Any, at: float, outcome: str = "ok", number: int = 1) -> Row:
    return {
        "id": number,
        "job": 6,
        "field": field,
        "value": value,
        "invoke": T + at,
        "done": T + at + 0.1,
        "outcome": outcome,
    }


def early_by_the_database(rows: History) -> History:
    """Its clock was set back before anything ran: what the host takes for due the database had never shown."""
    step = {"begun": T - 5.0, "done": T - 5.0, "ahead": -60}
    return replace(rows, clock=[step])


def doubled(rows: History) -> History:
    return replace(rows, executions=[*rows.executions, {**first(rows, "A"), "id": 9000}])


def without(rows: History, row: Row) -> History:
    return replace(rows, executions=[each for each in rows.executions if each["id"] != row["id"]])


def later_lease(rows: History) -> History:
    """The second run of a job that forbids overlap is claimed while the first still holds its lease."""
    return with_attempt(rows, first(rows, "B"), end=first(rows, "B", after=1)["sched"] + 1.0)


def storm(rows: History) -> History:
    found = rows
    for after in range(3, 11):
        found = with_row(found, first(rows, "E", after=after), created=T + 12.0)
    return found


def late_calls(rows: History) -> History:
    found = rows
    for row in rows.executions:
        if row["job"] in rows.of_class("ADE"):
            found = with_call(found, row, t=row["sched"] + 2.5, end_t=row["sched"] + 2.6)
    return replace(found, meta={**rows.meta, "workload_start": T - 10})
