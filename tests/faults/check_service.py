"""Invariants on the service as a whole: lateness, recovery, audit, secrets, leftovers, and what its processes cost."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from tests.faults.history import Call, History
from tests.faults.oracle import Timeline, changes
from tests.faults.record import Row

Findings = Iterator[tuple[str, str]]

QUIET_P99_SECONDS = 1.0
SETTLE_SECONDS = 6.0  # from a fault's recovery to what is called quiet again
WARM_UP_SECONDS = 3.0
SHORTEST_QUIET_SECONDS = 3.0

# Promise 9 at default settings, in seconds. What each is measured from and to: `recovery`.
BOUNDS: Mapping[str, float] = {
    "scheduler_killed": 2.0,
    "scheduler_frozen": 6.0,
    "worker_killed": 15.0,
    "worker_frozen": 15.0,
    "redis_flushed": 10.0,
    "redis_partial": 10.0,
    "redis_killed": 10.0,
    "redis_full": 10.0,
    "redis_refusing": 10.0,
    "redis_unwritable": 10.0,
    "redis_away": 10.0,
    "pg_killed": 5.0,
    "pg_stopped": 5.0,
    "pg_locked": 5.0,
    "pg_away": 5.0,
    "pg_full": 15.0,
}

# Faults during which nobody may spin, leave or fall silent.
OUTAGES = ("pg_killed", "pg_stopped", "redis_killed", "pg_away", "redis_away")
MOST_CPU = 0.10
MOST_SILENCE_SECONDS = 30.0
MOST_GROWTH = 1.5
WARM_SECONDS = 60.0
HOSTILE_TIMEOUT_SECONDS = 4.0
MOST_BLOAT = 20 << 20


def quiet_windows(history: History) -> list[tuple[float, float]]:
    """The spans in which nothing is wrong and everything had time to recover."""
    edges = sorted(
        (fault["start"], fault["heal"] + SETTLE_SECONDS + (BOUNDS.get(fault["kind"], 10.0))) for fault in history.faults
    )
    windows, at = [], history.meta["workload_start"] + WARM_UP_SECONDS
    for begin, end in [*edges, (history.meta["workload_end"], math.inf)]:
        if begin - at >= SHORTEST_QUIET_SECONDS:
            windows.append((at, begin))
        at = max(at, end)
    return windows


def first_calls(history: History, letters: str) -> list[Call]:
    """The first call of each execution of these classes, in order of arrival."""
    jobs, seen, found = history.of_class(letters), set(), []
    for call in history.calls:
        if call.job in jobs and call.execution not in seen:
            seen.add(call.execution)
            found.append(call)
    return found


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def quiet_lateness(history: History) -> Findings:
    if history.clock:
        return  # late by which clock?
    late, stall = [], 0.0
    windows = quiet_windows(history)
    for call in first_calls(history, "ACDE"):
        if any(begin <= call.scheduled < end for begin, end in windows):
            late.append(call.begin - call.scheduled)
    stall = max((row["late"] for row in history.stalls), default=0.0)
    if late and (p99 := percentile(late, 0.99)) > QUIET_P99_SECONDS + stall:
        yield "I14", f"p99 of {len(late)} quiet calls was {p99:.2f} s late"


def recovery(history: History, fault: Row) -> float | None:
    """Seconds until a fault was overcome; None when another fault makes it meaningless, or nothing was there to see.

    A scheduler: how late the latest fire of the next moments was. A worker: from its end to the next attempt of what it
    held. Redis: from the loss to the start of the last that waited then, or from its return. Postgres: from its return
    to the first fire.
    """
    kind, start, heal = fault["kind"], fault["start"], fault["heal"]
    if kind not in BOUNDS or not _undisturbed(history, fault):
        return None
    match kind.partition("_")[0]:
        case "scheduler":
            begin, end = start - 0.5, start + _REACH[kind]
            late = [c.begin - c.scheduled for c in first_calls(history, "AE") if begin <= c.scheduled <= end]
            return max(late, default=None)
        case "worker":
            return _next_attempts(history, fault)
        case "redis":
            since = start if start == heal else heal
            waited = [
                call.begin - since
                for call in first_calls(history, "ACDE")
                if start - 10.0 <= call.scheduled <= since < call.begin
            ]
            return max(waited, default=None)
        case _:
            first = [call.begin - heal for call in first_calls(history, "AE") if call.begin > heal]
            return min(first, default=None)


# Seconds after its start in which a scheduler's end or freeze can make a fire late, and after which it is another's.
_REACH: Mapping[str, float] = {"scheduler_killed": 3.0, "scheduler_frozen": 10.0}


def _undisturbed(history: History, fault: Row) -> bool:
    """Whether nothing else was wrong for as long as the recovery may take; the API is no worker's concern."""
    kind = fault["kind"]
    end = fault["start"] + _REACH[kind] if kind in _REACH else fault["heal"] + BOUNDS[kind] - 2.5
    if kind == "worker_killed":
        end = fault["start"] + BOUNDS[kind]
    others = [other for other in history.near(fault["start"] - 1.0, end) if other is not fault]
    apart = ("api_", "hostile_") if kind.startswith("worker_") else ()
    return all(other["kind"].startswith(apart) for other in others)


def _next_attempts(history: History, fault: Row) -> float | None:
    """The longest wait for the attempt after one that was lost with this worker, or for its end if it was the last."""
    waits = []
    for attempts in history.attempts_of.values():
        for number, attempt in enumerate(attempts):
            held = attempt["start"] is not None and attempt["start"] <= fault["start"] + 0.5
            if attempt["outcome"] != "lost" or not held or attempt["end"] < fault["start"]:
                continue
            after = attempts[number + 1]["start"] if number + 1 < len(attempts) else attempt["end"]
            waits.append((after or attempt["end"]) - fault["start"])
    return max(waits, default=None)


def slow_recoveries(history: History) -> Findings:
    for fault in history.faults:
        if not fault["bit"]:
            yield "I16", f"{fault['fault']} {fault['kind']} did not bite: {fault['evidence']}"
            continue
        seconds = recovery(history, fault)
        if seconds is None:
            continue
        bound = BOUNDS[fault["kind"]] + history.stall(fault["start"], fault["heal"] + BOUNDS[fault["kind"]])
        if seconds > bound:
            yield (
                "I15",
                f"{fault['fault']} {fault['kind']} at {fault['start']:.1f}: {seconds:.2f} s, promised {bound:.1f}",
            )
    for proc, seconds in history.meta.get("skews", {}).items():
        if abs(seconds) < 60.0:
            yield "I16", f"the clock of {proc} was wrong by {seconds:.0f} s only"
    wanted = history.meta.get("least_faults", 0)
    if len(history.faults) < wanted:
        yield "I16", f"only {len(history.faults)} of {wanted} faults were tried"


def audited(history: History) -> Findings:
    """Operations and audit rows, one to one; and each revision with its audit row."""
    written = Counter((row["action"], row["marker"]) for row in history.audit if row["marker"])
    by_job: dict[int, list[Row]] = defaultdict(list)
    for op in history.ops:
        by_job[op["job"]].append(op)
    for op in history.ops:
        action = {"period": "update", "description": "update", "paused": "pause"}.get(op["field"])
        if action is None or (op["field"] == "paused" and op["value"] is not True):
            continue
        count = written[action, f"op-{op['id']}"]
        allowed = {"ok": {1}, "fail": {0}, "unknown": {0, 1}}[op["outcome"]]
        if action == "pause" and True in Timeline(False, changes(by_job[op["job"]], "paused")).at(op["invoke"] - 0.001):
            allowed = allowed | {0}  # it was paused already
        if count not in allowed:
            yield "I17", f"operation {op['id']} ({op['field']}, {op['outcome']}) has {count} audit rows"
    changed = Counter(row["job"] for row in history.audit if row["action"] in ("create", "update", "delete"))
    for job, revisions in history.revisions.items():
        if changed[int(job)] != revisions:
            yield "I17", f"job {job} has {revisions} revisions and {changed[int(job)]} audited changes"


def leaks(history: History) -> Findings:
    for place in history.leaks:
        yield "I18", place
    for left in history.lingering:
        yield "I19", left


def exits(history: History) -> Findings:
    for row in history.procs:
        if row["event"] == "exit" and not row["expected"]:
            yield "I20", f"{row['proc']} ended by itself with code {row['code']}"
        elif row["event"] == "exit" and row.get("kindly") and row["code"] != 0:
            yield "I20", f"{row['proc']} was asked to stop and left with code {row['code']}"


def costs(history: History) -> Findings:
    """CPU and silence while a dependency is away."""
    samples = samples_of(history)
    for fault in history.faults:
        if fault["kind"] not in OUTAGES:
            continue
        for proc, rows in samples.items():
            spent = cpu_share(rows, fault["start"] + 1.0, fault["heal"])
            if spent is not None and spent > MOST_CPU:
                yield "I20", f"{proc} used {spent:.0%} of a core while {fault['kind']}"
            silence = longest_silence(rows, fault["start"], fault["heal"])
            if silence > MOST_SILENCE_SECONDS and not proc.startswith("api"):
                yield "I20", f"{proc} said nothing for {silence:.0f} s while {fault['kind']}"


def growth(history: History) -> Findings:
    for proc, rows in samples_of(history).items():
        lives: dict[int, list[Row]] = defaultdict(list)
        for row in rows:
            lives[row["pid"]].append(row)
        for life in lives.values():
            warm = [row["rss"] for row in life if row["t"] >= life[0]["t"] + WARM_SECONDS]
            if len(warm) >= 2 * WARM_SECONDS and warm[-1] > MOST_GROWTH * warm[0]:
                yield "I20", f"{proc} grew from {warm[0] >> 20} to {warm[-1] >> 20} MB"


def hostility(history: History) -> Findings:
    """A hostile target holds a worker no longer than the job's timeout, and does not fill its memory."""
    jobs = history.of_class("H")
    for row in history.executions:
        if row["job"] in jobs and row["start"] is not None and row["end"] is not None:
            lasted = row["end"] - row["start"] - history.stall(row["start"], row["end"])
            if lasted > HOSTILE_TIMEOUT_SECONDS + 1.0:
                yield "I20", f"{history.job_of[row['job']]['name']} held a worker for {lasted:.1f} s"
    for fault in history.faults:
        if fault["kind"] != "hostile_targets":
            continue
        for proc, rows in samples_of(history).items():
            held = [row["rss"] for row in rows if fault["start"] - 2 <= row["t"] <= fault["heal"] + 2]
            if proc.startswith("worker") and held and max(held) - held[0] > MOST_BLOAT:
                yield "I20", f"{proc} took {(max(held) - held[0]) >> 20} MB more for hostile targets"


def samples_of(history: History) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in history.samples:
        found[row["proc"]].append(row)
    return found


def cpu_share(rows: Sequence[Row], begin: float, end: float) -> float | None:
    """Cores used in a span by one life of a process; None when it was not alive for at least three seconds of it."""
    within = [row for row in rows if begin <= row["t"] <= end and not row["frozen"]]
    if not within or within[-1]["pid"] != within[0]["pid"] or within[-1]["t"] - within[0]["t"] < 3.0:
        return None
    return float((within[-1]["cpu"] - within[0]["cpu"]) / (within[-1]["t"] - within[0]["t"]))


def longest_silence(rows: Sequence[Row], begin: float, end: float) -> float:
    """The longest span inside an outage in which the log of a living process did not grow."""
    longest, since, size = 0.0, None, None
    for row in rows:
        if not begin <= row["t"] <= end or row["frozen"]:
            continue
        if since is None or row["log"] != size:
            since, size = row["t"], row["log"]
        longest = max(longest, row["t"] - since)
    return longest


CHECKS: Sequence[Callable[[History], Findings]] = (
    quiet_lateness,
    slow_recoveries,
    audited,
    leaks,
    exits,
    costs,
    growth,
    hostility,
)
