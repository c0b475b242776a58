"""Faults of processes: killed, frozen, stopped kindly, under a clock that lies; and targets that mistreat a worker."""

import threading
import time
from contextlib import contextmanager
from pathlib import Path

from tests.faults.clocks import LIBRARY, SKEW_SECONDS, lying, skew
from tests.faults.fault import HOLDERS, Bite, Field, Steps
from tests.faults.missing import MissingError
from tests.faults.procs import Proc
from tests.faults.workload import HOSTILE


@contextmanager
def kill_scheduler(field: Field, bite: Bite) -> Steps:
    proc = field.holder()
    bite.start = time.time()
    code = proc.kill9()
    bite.prove(code == -9, target=proc.name, code=code)
    yield
    proc.start()


@contextmanager
def kill_all_schedulers(field: Field, bite: Bite) -> Steps:
    """Nobody ticks: instants become misfires, and the policies decide."""
    codes = [proc.kill9() for proc in field.ground.of("scheduler")]
    bite.prove(set(codes) == {-9}, codes=codes)
    yield
    for proc in field.ground.of("scheduler"):
        proc.start()


@contextmanager
def freeze_scheduler(field: Field, bite: Bite) -> Steps:
    """Stop the holder of the lock in the middle of its tick; Postgres has to take the lock away from it."""
    proc = _freeze_holder(field, bite)
    begun = bite.start = time.time()
    try:
        while time.time() - begun < 8.0 and _holds(field, proc):
            time.sleep(0.05)
        held = time.time() - begun
        bite.prove(held > 2.0, target=proc.name, held_seconds=round(held, 2))
        yield
    finally:
        proc.thaw()


def _freeze_holder(field: Field, bite: Bite) -> Proc:
    for _ in range(20):
        proc = field.holder()
        proc.freeze()
        time.sleep(0.02)  # what was on its way to the server arrives
        if _holds(field, proc):
            return proc
        proc.thaw()
    raise RuntimeError("no scheduler could be caught with its lock")


def _holds(field: Field, proc: Proc) -> bool:
    rows = field.ground.sql(HOLDERS, field.ground.variant == "unlocked")
    return any(name.endswith(f":{proc.pid}") for (name,) in rows)


@contextmanager
def kill_worker(field: Field, bite: Bite) -> Steps:
    proc, identity, running = field.busy_worker()
    bite.start = time.time()
    code = proc.kill9()
    bite.prove(code == -9 and running > 0, target=proc.name, worker=identity, running=running)
    yield
    proc.start()


@contextmanager
def freeze_worker(field: Field, bite: Bite) -> Steps:
    """Stop a worker for two leases and let it go on: what it held is somebody else's by then."""
    proc, identity, running = field.busy_worker()
    bite.start = time.time()
    proc.freeze()
    try:
        yield
    finally:
        proc.thaw()
    lost = field.ground.sql("SELECT count(*) FROM job_attempts WHERE worker_id = %s AND outcome = 'lost'", identity)
    bite.prove(lost[0][0] > 0, target=proc.name, worker=identity, running=running, lost=lost[0][0])


@contextmanager
def kill_api(field: Field, bite: Bite) -> Steps:
    """Kill the API while four callers change jobs; whatever they were told is compared with the audit log."""
    (proc,) = field.ground.of("api")
    outcomes: list[str] = []
    stop = threading.Event()

    def change(job: int) -> None:
        while not stop.is_set():
            asked = field.user.ask(job, "description", None, "PATCH", f"/jobs/{job}", {"description": "{op}"})
            outcomes.append(asked[0])

    callers = [threading.Thread(target=change, args=(job,)) for job in field.jobs["F"] * 2]
    for caller in callers:
        caller.start()
    time.sleep(field.random.uniform(0.3, 0.5))
    bite.start = time.time()
    code = proc.kill9()
    stop.set()
    for caller in callers:
        caller.join()
    counts = {word: outcomes.count(word) for word in ("ok", "fail", "unknown")}
    bite.prove(code == -9 and counts["unknown"] > 0, code=code, **counts)
    yield
    proc.start()
    field.ground.until(lambda: field.user.health() == 200, seconds=30, what="the API again")


@contextmanager
def roll(field: Field, bite: Bite) -> Steps:
    """Stop each process kindly and start it again, one after the other: a deploy."""
    codes = {}
    for proc in field.ground.procs.values():
        codes[proc.name] = proc.term(30.0)
        proc.start()
        time.sleep(1.5)
    bite.prove(set(codes.values()) == {0}, codes=codes)
    yield


@contextmanager
def skew_clocks(field: Field, bite: Bite) -> Steps:
    """One scheduler lives 90 s ahead and one worker 90 s behind, then both step back over each other."""
    if LIBRARY is None:
        raise MissingError("libfaketime is not installed: apt-get install faketime")
    scheduler, worker = (
        field.random.choice(field.ground.of("scheduler")),
        field.random.choice(field.ground.of("worker")),
    )
    files = {proc.name: field.ground.folder / f"clock-{proc.name}" for proc in (scheduler, worker)}
    _lie(files[scheduler.name], SKEW_SECONDS)
    _lie(files[worker.name], -SKEW_SECONDS)
    for proc in (scheduler, worker):
        proc.term()
        proc.start(**lying(FAKETIME_TIMESTAMP_FILE=str(files[proc.name]), FAKETIME_NO_CACHE="1"))
    try:
        yield
        skews = {proc.name: skew(proc) for proc in (scheduler, worker)}
        _lie(files[scheduler.name], -SKEW_SECONDS)
        _lie(files[worker.name], SKEW_SECONDS)
        time.sleep(4.0)
        bite.prove(all(abs(skew) > 60 for skew in skews.values()), skews=skews)
    finally:
        for proc in (scheduler, worker):
            proc.term()
            proc.start()


def _lie(file: Path, seconds: int) -> None:
    unfinished = file.with_suffix(".new")
    unfinished.write_text(f"{seconds:+d}\n")
    unfinished.replace(file)


@contextmanager
def mistreat(field: Field, bite: Bite) -> Steps:
    """Run a job against each hostile target."""
    before = field.ground.sql("SELECT coalesce(max(id), 0) FROM job_executions")[0][0]
    answers = [field.user.call("POST", f"/jobs/{job}/trigger", {}) for job in field.jobs["H"]]
    yield
    names = ", ".join(mode for mode in HOSTILE)
    ended = field.ground.sql(
        "SELECT count(*) FROM job_executions WHERE id > %s AND job_id = ANY (%s) AND attempt > 0",
        before,
        field.jobs["H"],
    )
    bite.prove(
        ended[0][0] >= len(field.jobs["H"]), targets=names, asked=[status for status, _ in answers], ran=ended[0][0]
    )
