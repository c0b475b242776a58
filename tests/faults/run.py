"""One run from the first server to the last read: workload, nemesis, quiesce, and everything written into a folder."""

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.faults import faults
from tests.faults.api_user import ApiUser, Editor
from tests.faults.clocks import SKEWED, skew
from tests.faults.collect import final_read, look_at_itself, quiesce
from tests.faults.fault import Field
from tests.faults.ground import Ground, ground
from tests.faults.history import seconds_of
from tests.faults.nemesis import Nemesis
from tests.faults.procs import Sampler
from tests.faults.record import Recorder
from tests.faults.workload import HOSTILE, documents, hostile_document

WARM_UP_SECONDS = 8.0
END_AHEAD_SECONDS = 10.0  # an end before the next instant would be refused: longer than any period
QUIESCE_SECONDS = 90.0


@dataclass(frozen=True)
class Plan:
    """What to run. Without `faults` it is calm for `seconds`; in order it ends with the last one, else by the clock."""

    name: str
    seed: int
    seconds: float
    faults: Sequence[str]
    in_order: bool
    variant: str = "plain"
    mutants: Sequence[str] = ()
    quiet: tuple[float, float] = (8.0, 12.0)
    edits_every: float = 5.0  # 0: nobody edits anything
    skewed: bool = False  # one scheduler and one worker have clocks that are wrong all the time


def run(plan: Plan, folder: Path) -> None:
    """Do it and leave the files of the run in `folder`, which must be empty."""
    folder.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(folder)
    try:
        with ground(
            folder, recorder, seed=plan.seed, variant=plan.variant, mutants=plan.mutants, skewed=plan.skewed
        ) as service:
            service.start_all()
            _work(plan, service, recorder)
            final_read(service)
    finally:
        recorder.close()


def _work(plan: Plan, service: Ground, recorder: Recorder) -> None:
    user = ApiUser(service.api_port, service.admin_key, recorder)
    sampler = Sampler(lambda: list(service.procs.values()), recorder)
    sampler.start()
    try:
        jobs = _define(service, user, recorder)
        started = time.time()
        time.sleep(WARM_UP_SECONDS)
        editor = Editor(user, jobs["F"], seed=plan.seed, every=plan.edits_every)
        if plan.edits_every:
            editor.start()
        dice = random.Random(plan.seed)
        nemesis = Nemesis(Field(service, user, dice, jobs), dice, quiet=plan.quiet)
        end = started + plan.seconds
        if plan.in_order:
            nemesis.in_order(plan.faults)
        elif plan.faults:
            nemesis.until(end, plan.faults)
        time.sleep(max(0.0, end - time.time()))
        if plan.edits_every:
            editor.close()
        look_at_itself(service)  # while every schedule still names instants
        ended = _end_all(user, [job for letter, ids in jobs.items() if letter != "H" for job in ids])
        quiesce(service, until=ended, seconds=QUIESCE_SECONDS)
    finally:
        sampler.close()
    skews = {name: skew(service.procs[name]) for name in SKEWED} if service.skewed else {}
    _describe(plan, service.folder, started=started, ended=ended, skews=skews)


def _define(service: Ground, user: ApiUser, recorder: Recorder) -> dict[str, list[int]]:
    """Create every job through the API; returns their ids by class."""
    jobs: dict[str, list[int]] = {}
    url = f"http://127.0.0.1:{service.sink.port}"
    bodies = [*documents(url), *(("H", hostile_document(url, mode)) for mode in HOSTILE)]
    for letter, body in bodies:
        invoke = time.time()
        status, answer = user.call("POST", "/jobs", body)
        if status != 201:
            raise RuntimeError(f"a job of class {letter} was refused: {status} {answer}")
        jobs.setdefault(letter, []).append(answer["id"])
        recorder.write("jobs", **_job_row(letter, body, answer, invoke))
    return jobs


def _job_row(letter: str, body: dict[str, Any], answer: dict[str, Any], invoke: float) -> dict[str, Any]:
    by_interval = "every" in body
    seconds = body["every"] if by_interval else body["cronExpression"].split()[0].partition("/")[2]
    return {
        "id": answer["id"],
        "class": letter,
        "name": body["name"],
        "period": int(seconds or 0),
        # A cron expression counts from the full minute; an interval from an anchor that its first instant shows.
        "phase": round(seconds_of(answer["nextFireTime"])) if by_interval else 0,
        "overlap": body.get("overlapPolicy", "allow"),
        "grace": body.get("misfireGraceSeconds", 60),
        "max_attempts": body.get("maxAttempts", 3),
        "invoke": invoke,
        "done": time.time(),
    }


def _end_all(user: ApiUser, jobs: Sequence[int]) -> float:
    """Give every job the same last instant, a little ahead, through the API; returns it."""
    ended = float(int(time.time() + END_AHEAD_SECONDS))
    while True:
        body = {"endAt": datetime.fromtimestamp(ended, UTC).isoformat().replace("+00:00", "Z")}
        for job in reversed(jobs):
            user.insist(job, "end", ended, "PATCH", f"/jobs/{job}", body)
        if time.time() + 1.0 < ended:
            return ended
        ended = float(int(time.time() + 2 * END_AHEAD_SECONDS))  # the API was slow: a later end, for all of them


def _describe(plan: Plan, folder: Path, *, started: float, ended: float, skews: dict[str, float]) -> None:
    meta = {
        "name": plan.name,
        "seed": plan.seed,
        "variant": plan.variant,
        "mutants": list(plan.mutants),
        "faults": list(plan.faults),
        "least_faults": len(plan.faults) if plan.in_order else 0,
        "seconds": plan.seconds,
        "skews": skews,
        "workload_start": started,
        "workload_end": ended,
        "read": time.time(),
        "repro": repro(plan),
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))


def repro(plan: Plan) -> str:
    """The command line that runs this again."""
    parts = [f"python -m tests.faults {plan.name} --seed {plan.seed} --duration {plan.seconds:g}"]
    if plan.variant != "plain":
        parts.append(f"--variant {plan.variant}")
    if plan.in_order and plan.faults and plan.faults != faults.SMOKE and plan.variant == "plain":
        parts.append(f"--only {','.join(plan.faults)}")
    return " ".join([*parts, *(f"--mutant {name}" for name in plan.mutants)])
