"""`python -m tests.faults smoke|nightly|release|calm`, and `check FOLDER` for a run that is over.

    smoke     a fixed list of faults, less than three minutes; exit code 1 when anything contradicts a promise
    nightly   30 minutes of everything, then short runs through pgbouncer, without advisory locks, on a small disk, and
              with a Postgres whose clock is set forwards and back
    release   three seeds of two hours, then the same short runs
    calm      no fault at all, for `--duration` seconds

    crash-points, mutants, restores     the deterministic plays; each has options of its own, see its --help

Options: --seed N, --out FOLDER, --duration SECONDS, --only F1,F8 (these, in order), --variant V, --mutant M7 (again).
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tests.faults import crash_points, restores
from tests.faults.check import check
from tests.faults.faults import SMOKE, VARIANT_FAULTS, long_run
from tests.faults.history import load
from tests.faults.missing import MissingError
from tests.faults.mutants import run as mutants
from tests.faults.record import read
from tests.faults.report import markdown, timeline
from tests.faults.run import Plan, repro, run

ELSEWHERE = {"crash-points": crash_points.main, "mutants": mutants.main, "restores": restores.main}
VARIANTS = ("pooled", "unlocked", "disk", "clock")


def main(arguments: Sequence[str]) -> int:
    """Run what was asked, one after the other; returns the exit code."""
    if arguments and arguments[0] in ELSEWHERE:
        return ELSEWHERE[arguments[0]](arguments[1:])
    options = _parser().parse_args(list(arguments))
    if options.what == "check":
        return judge(options.folder)
    out = options.out or Path(tempfile.mkdtemp(prefix="cronsvc-faults-"))
    code = 0
    for number, plan in enumerate(_plans(options)):
        folder = out / f"{number}-{plan.name}-{plan.variant}-{plan.seed}"
        print(f"{repro(plan)}\n  in {folder}", flush=True)
        begun = time.monotonic()
        try:
            run(plan, folder)
        except MissingError as reason:
            print(f"  skipped: {reason}")
            continue
        code |= judge(folder)
        print(f"  took {time.monotonic() - begun:.0f} s", flush=True)
    return code


def judge(folder: Path) -> int:
    """Check a finished run, write its report beside it, and say what matters; 1 when there is a violation."""
    history = load(folder)
    violations = check(history)
    (folder / "report.md").write_text(markdown(history, violations, read(folder, "skipped")))
    (folder / "timeline.svg").write_text(timeline(history))
    print((folder / "report.md").read_text())
    if violations:
        print(f"{len(violations)} violations; again: {history.meta['repro']}", file=sys.stderr)
    return 1 if violations else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    kinds = parser.add_subparsers(dest="what", required=True)
    for name in ("smoke", "nightly", "release", "calm"):
        kind = kinds.add_parser(name)
        kind.add_argument("--seed", type=int, default=None)
        kind.add_argument("--out", type=Path, default=None)
        kind.add_argument("--duration", type=float, default=None)
        kind.add_argument("--only", type=lambda text: tuple(text.split(",")), default=None)
        kind.add_argument("--variant", choices=("plain", *VARIANTS), default=None)
        kind.add_argument("--mutant", action="append", default=[])
    kinds.add_parser("check").add_argument("folder", type=Path)
    return parser


def _plans(options: argparse.Namespace) -> Iterator[Plan]:
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    if options.what in ("smoke", "calm") or options.only or options.variant:
        yield _short(options, seed)
        return
    hours = {"nightly": (1, 1800.0), "release": (3, 7200.0)}
    runs, seconds = hours[options.what]
    plan = Plan(options.what, seed, options.duration or seconds, long_run(), False, mutants=options.mutant)
    for number in range(runs):
        yield replace(plan, seed=seed + number)
    for variant in VARIANTS:
        yield _variant(variant, seed, options.mutant)


def _short(options: argparse.Namespace, seed: int) -> Plan:
    if options.variant and not options.only:
        return _variant(options.variant, seed, options.mutant)
    faults = () if options.what == "calm" else options.only or SMOKE
    return Plan(
        options.what,
        seed,
        options.duration or (60.0 if options.what == "calm" else 30.0),
        faults,
        True,
        variant=options.variant or "plain",
        mutants=options.mutant,
        quiet=(3.0, 3.0),
        edits_every=3.0,
        skewed=options.what == "smoke",
    )


def _variant(variant: str, seed: int, mutants: Sequence[str]) -> Plan:
    plan = Plan("nightly", seed, 60.0, VARIANT_FAULTS[variant], True, variant, mutants, quiet=(8.0, 8.0))
    # What people change is logged by the host's clock: with two clocks nobody could say which instants it concerns.
    return replace(plan, edits_every=0.0) if variant == "clock" else plan


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
