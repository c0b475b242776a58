"""Invariants on side effects: what the receiver was sent, against what the rows say of it."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from tests.faults.history import Call, History
from tests.faults.record import Row

Findings = Iterator[tuple[str, str]]

# What may leave a worker's work in doubt: a fault of a worker, of its wires or of Postgres. A worker that is declared
# lost is found at most a lease and a round of the rescuers after the fault, and the fault may have begun that long ago.
DOUBT_SECONDS = 16.0
DOUBTLESS = ("scheduler_", "api_", "redis_", "hostile_", "wire_scheduler", "wire_api", "wire_worker_redis")


def accounted(history: History) -> Findings:
    """Each call has a row, is not early, and no row was called more often than it says."""
    rows = {row["id"]: row for row in history.executions}
    for execution, calls in history.calls_of.items():
        row = rows.get(execution)
        if row is None:
            yield "I3", f"execution {execution} was called and has no row"
            continue
        early = row["sched"] - min(call.reached for call in calls)
        if early > 0:
            yield "I4", f"execution {execution} was called {early * 1000:.1f} ms early"
        if len(calls) > row["attempt"]:
            yield "I5", f"execution {execution} was called {len(calls)} times in {row['attempt']} attempts"
        if len({call.attempt for call in calls}) != len(calls):
            yield "I5", f"execution {execution}: two calls for one attempt"
        if len({call.fence for call in calls}) != len(calls):
            yield "I5", f"execution {execution}: two calls under one claim"
        if row["max_attempts"] == 1 and len(calls) > 1:
            yield "I6", f"execution {execution} may be called once and was called {len(calls)} times"
        if len({call.key for call in calls}) > 1 or None in {call.key for call in calls}:
            yield "I7", f"execution {execution} came with several idempotency keys, or none"
    for row in history.executions:
        if row["attempt"] > row["max_attempts"]:
            yield "I5", f"execution {row['id']} had {row['attempt']} attempts of {row['max_attempts']}"


def truthful(history: History) -> Findings:
    """SUCCESS means a 2xx for the last attempt; a failure means there was none; `lost` has a cause."""
    for row in history.executions:
        if row["trigger"] != "schedule":
            continue
        last = [call for call in history.calls_of.get(row["id"], []) if call.attempt == row["attempt"]]
        good = [call for call in last if call.succeeded]
        if row["status"] == "SUCCESS" and not good:
            yield "I9", f"execution {row['id']} is SUCCESS and nobody saw its last attempt succeed"
        if row["status"] == "FAILED" and row["reason"] != "lost" and good and not _in_doubt(history, good[0]):
            yield "I9", f"execution {row['id']} is FAILED({row['reason']}) and its last attempt was answered with 2xx"
    for attempt in history.attempts:
        if attempt["outcome"] == "lost" and not _cause(history, attempt):
            yield "I9", f"execution {attempt['execution']}: attempt {attempt['attempt']} was lost and nothing was wrong"


def _in_doubt(history: History, call: Call) -> bool:
    end = call.end or call.begin
    return any(not fault["kind"].startswith(DOUBTLESS) for fault in history.near(call.begin, end, slack=1.0))


def _cause(history: History, attempt: Row) -> bool:
    """Whether something happened that can take a worker's work away, or the target itself mistreats its callers."""
    calls = [call for call in history.calls_of.get(attempt["execution"], []) if call.attempt == attempt["attempt"]]
    if history.job_of[attempt["job"]]["class"] == "H" and any(not call.succeeded for call in calls):
        return True
    begin = attempt["start"] if attempt["start"] is not None else attempt["end"]
    near = history.near(begin, attempt["end"], slack=DOUBT_SECONDS)
    return any(not fault["kind"].startswith(DOUBTLESS) for fault in near)


def no_overlap(history: History) -> Findings:
    """At the target, two runs of a job that forbids it may meet only after a lease was lost, and that is on record."""
    alone = history.of_class("BG")
    calls: dict[int, list[Call]] = defaultdict(list)
    for call in history.calls:
        if call.job in alone:
            calls[call.job].append(call)
    for job, found in calls.items():
        for earlier, later in pairwise(found):
            if earlier.end is not None and later.begin >= earlier.end - 0.005:
                continue
            outcome = _outcome(history, earlier)
            if outcome == "lost" or any(
                fault["kind"].startswith(("sink_", "worker_")) for fault in history.near(earlier.begin, later.begin)
            ):
                continue
            # A call that its worker gave up (its timeout) ends here a moment after it ended there.
            if outcome in ("timeout", "error") and earlier.end is not None and later.begin >= earlier.end - 0.2:
                continue
            yield "I11", f"job {job}: executions {earlier.execution} and {later.execution} met at the target"


def _outcome(history: History, call: Call) -> str | None:
    for row in history.attempts_of.get(call.execution, []):
        if row["claim_no"] == call.fence:
            return str(row["outcome"])
    return None


CHECKS: Sequence[Callable[[History], Findings]] = (accounted, truthful, no_overlap)
