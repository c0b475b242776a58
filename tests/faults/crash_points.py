"""The crash-point table: a process is killed at a named point, the service goes on, and every row is exact.

Each line kills -9 there, lets a process that stood by take over, and compares what is left with what must be left: the
rows, the attempts, the calls that reached the target, and the end of a job with three attempts and of one with one.
`python -m tests.faults crash-points --times 20` plays each line as often and prints the table.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from tests.faults.crash_acts import ACTS
from tests.faults.stage import KILLED, QUICK, Child, Stage, Theatre, theatre

RETRY, ONCE = "retry", "once"


@dataclass(frozen=True, slots=True)
class Left:
    """What a crash must leave of one execution: tries, the attempt numbers the target saw, the end, the outcomes."""

    attempts: int
    calls: tuple[int, ...]
    status: str
    reason: str | None
    outcomes: tuple[str, ...]


DONE = Left(1, (1,), "SUCCESS", None, ("success",))
AGAIN_UNSENT = Left(2, (2,), "SUCCESS", None, ("lost", "success"))
AGAIN = Left(2, (1, 2), "SUCCESS", None, ("lost", "success"))
# Nobody can know after a kill -9 whether the target was called, so a job that runs at most once is told `lost`.
LOST_UNSENT = Left(1, (), "FAILED", "lost", ("lost",))
LOST = Left(1, (1,), "FAILED", "lost", ("lost",))


@dataclass(frozen=True, slots=True)
class Crash:
    """One line of the table. `mode`: how the target answers. `play` kills, restarts and returns the moment of death."""

    point: str
    what: str
    mode: str
    retry: Left
    once: Left
    play: Callable[[Stage, "Crash"], float]


@dataclass(slots=True)
class Tally:
    """What became of one line: how often it was exact, how long from the kill to the end, and what was not."""

    name: str
    what: str
    seconds: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def kill_scheduler(stage: Stage, crash: Crash) -> float:
    """The scheduler dies at the point; another takes over."""
    victim = stage.start("scheduler", fail_points=[f"{crash.point}=kill9"])
    heir = stage.start("scheduler", standby=True)
    stage.start("worker")
    return _succeed([victim], [heir])


def kill_workers(stage: Stage, crash: Crash) -> float:
    """A worker for each job dies at the point; a third takes over."""
    stage.start("scheduler")
    victims = [
        stage.start("worker", fail_points=[f"{crash.point}=kill9"], CRONSVC_WORKER_QUEUES=queue)
        for queue in (RETRY, ONCE)
    ]
    heir = stage.start("worker", standby=True)
    return _succeed(victims, [heir])


def kill_rescuer(stage: Stage, crash: Crash) -> float:
    """A worker dies with both requests under way, then the scheduler that rescues them, at the point."""
    rescuer = stage.start("scheduler", fail_points=[f"{crash.point}=kill9"])
    worker = stage.start("worker", fail_points=["W3:2=kill9"])
    heirs = [stage.start("scheduler", standby=True), stage.start("worker", standby=True)]
    return _succeed([worker, rescuer], heirs)


def _succeed(victims: Sequence[Child], heirs: Sequence[Child]) -> float:
    for victim in victims:
        code = victim.ended()
        assert code == KILLED, f"{victim.log.name} ended with {code} and was not killed:\n{victim.tail()}"
    died = time.monotonic()
    for heir in heirs:
        heir.go()
    return died


TABLE: Sequence[Crash] = (
    Crash("S1", "due jobs selected and locked", "ok", DONE, DONE, kill_scheduler),
    Crash("S2", "rows and cursor written, before COMMIT", "ok", DONE, DONE, kill_scheduler),
    Crash("S3", "after COMMIT, before the push", "ok", DONE, DONE, kill_scheduler),
    Crash("S4", "after the push", "ok", DONE, DONE, kill_scheduler),
    Crash("W1", "ticket left Redis, before the claim", "ok", DONE, DONE, kill_workers),
    Crash("W2", "claimed, before the request", "ok", AGAIN_UNSENT, LOST_UNSENT, kill_workers),
    Crash("W3", "request sent, no answer", "hold-first", AGAIN, LOST, kill_workers),
    Crash("W4", "answer read, before the result's commit", "ok", AGAIN, LOST, kill_workers),
    Crash("W5", "result committed, ticket not finished", "ok", DONE, DONE, kill_workers),
    Crash("R1", "rescued, before anything is pushed", "hold-first", AGAIN, LOST, kill_rescuer),
    Crash("redispatch.before_commit", "dispatched again, before COMMIT", "hold-first", AGAIN, LOST, kill_rescuer),
    Crash("redispatch.committed", "dispatched again, before the push", "hold-first", AGAIN, LOST, kill_rescuer),
)


def play(house: Theatre, crash: Crash) -> float:
    """Play one line once; AssertionError when anything is not exact. Returns the seconds from the kill to the end."""
    with house.stage(crash.point, **QUICK) as stage:
        instant = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
        for kind, most in ((RETRY, 3), (ONCE, 1)):
            stage.define(kind, crash.mode, run_at=instant, max_attempts=most, queue=kind)
        died = crash.play(stage, crash)
        stage.until(stage.all_terminal(2), "both executions at their end")
        seconds = time.monotonic() - died
        stage.close()
        assert crash.point in stage.bites()
        for kind, expected in ((RETRY, crash.retry), (ONCE, crash.once)):
            found = left(stage, kind)
            assert found == expected, f"the {kind} job: {found} instead of {expected}"
        check_cursors(stage)
        return seconds


def left(stage: Stage, name: str) -> Left:
    """What is left of the one execution of this job; AssertionError unless there is exactly one."""
    rows = stage.query(
        "SELECT e.id, e.attempt, e.claim_no, e.status, e.status_reason FROM job_executions AS e"
        " JOIN jobs AS j ON j.id = e.job_id WHERE j.name = %s",
        name,
    )
    assert len(rows) == 1, f"{name} has {len(rows)} rows"
    ((id_, attempt, claim_no, status, reason),) = rows
    assert claim_no == attempt, f"{name}: {claim_no} claims for {attempt} attempts"
    tries = stage.query("SELECT outcome FROM job_attempts WHERE execution_id = %s ORDER BY claim_no", id_)
    calls = stage.calls(name)
    assert {call["execution"] for call in calls} <= {id_}
    assert len({call["key"] for call in calls}) <= 1, f"{name}: the key changed between attempts"
    return Left(
        attempt, tuple(call["attempt"] for call in calls), status, reason, tuple(outcome for (outcome,) in tries)
    )


def check_cursors(stage: Stage) -> None:
    """Each job has fired once and its cursor says so; no instant is missing, nothing is left to do or to deliver."""
    cursors: list[Any] = stage.query(
        "SELECT DISTINCT j.next_fire_time IS NULL, j.last_fire_time = j.run_at, j.fire_count FROM jobs AS j"
    )
    assert cursors == [(True, True, 1)], cursors
    assert stage.query("SELECT * FROM cronsvc_v1.gaps") == []
    assert stage.query("SELECT count(*) FROM job_executions WHERE dispatch_at IS NOT NULL") == [(0,)]


def play_all(house: Theatre, *, times: int, names: Sequence[str] = (), side_by_side: int = 3) -> list[Tally]:
    """Play every line (or those named) so many times; nothing is raised, faults are in the tallies."""
    crashes = [(Tally(crash.point, crash.what), partial(play, house, crash)) for crash in TABLE]
    acts = [(Tally(act.name, act.what), partial(act.play, house)) for act in ACTS]
    chosen = [each for each in (*crashes, *acts) if not names or each[0].name in names]
    return run_plays(chosen, times=times, side_by_side=side_by_side)


def run_plays(plays: Sequence[tuple[Tally, Callable[[], float]]], *, times: int, side_by_side: int) -> list[Tally]:
    """Play each so many times, some side by side; what is raised goes into its tally."""
    with ThreadPoolExecutor(side_by_side) as threads:
        repeated = [each for each in plays for _ in range(times)]
        list(threads.map(lambda each: _tally(each[0], times, each[1]), repeated))
    return [tally for tally, _ in plays]


def _tally(tally: Tally, times: int, once: Callable[[], float]) -> None:
    try:
        tally.seconds.append(once())
    except Exception as error:  # a fault of one line must not end the others
        tally.faults.append(f"{type(error).__name__}: {error}")
    if len(tally.seconds) + len(tally.faults) == times > 1:
        print(f"{tally.name}: {len(tally.seconds)} of {times}", flush=True)


HEADS = ("point", "killed", "exact", "kill to end, median / most (s)")


def table(tallies: Sequence[Tally], heads: Sequence[str] = HEADS) -> str:
    """The table as markdown."""
    lines = [f"| {' | '.join(heads)} |", "|---|---|---|---|"]
    for each in tallies:
        played = len(each.seconds) + len(each.faults)
        took = f"{statistics.median(each.seconds):.1f} / {max(each.seconds):.1f}" if each.seconds else "–"
        lines.append(f"| {each.name} | {each.what} | {len(each.seconds)} of {played} | {took} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """`crash-points [--times N] [--side-by-side N] [NAME…]`; 1 when anything was not exact."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults crash-points")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--side-by-side", type=int, default=3)
    parser.add_argument("names", nargs="*", help="lines of the table; none: all")
    given = parser.parse_args(list(arguments))
    known = {crash.point for crash in TABLE} | {act.name for act in ACTS}
    if unknown := set(given.names) - known:
        parser.error(f"no such line: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    began = time.monotonic()
    with theatre() as house:
        tallies = play_all(house, times=given.times, names=given.names, side_by_side=given.side_by_side)
    print(table(tallies))
    faults = [f"{each.name}: {fault}" for each in tallies for fault in each.faults]
    print(f"\n{sum(len(each.seconds) for each in tallies)} crashes exact, {len(faults)} not;", end=" ")
    print(f"{time.monotonic() - began:.0f} s")
    print("\n".join(faults), file=sys.stderr)
    return 1 if faults else 0
