"""Start a process of cronsvc with fail points and mutants in it: the plain command line with neither.

    python -m tests.faults.launcher [--failpoint NAME[:n]=ACTION]… [--mutant M7]… -- scheduler|worker|api …

CRONSVC_FAULTS_LOG names the file in which reached fail points are noted; it is taken out of the environment before
cronsvc looks at it. Exit code 3: a seam is not what it was.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

LOG = "CRONSVC_FAULTS_LOG"
BROKEN_SEAM = 3


def main(arguments: Sequence[str]) -> None:
    """Patch, then be `cronsvc`."""
    log = os.environ.pop(LOG, "")
    parser = argparse.ArgumentParser(prog="python -m tests.faults.launcher")
    parser.add_argument("--failpoint", action="append", default=[])
    parser.add_argument("--mutant", action="append", default=[])
    parser.add_argument("command", nargs="+")
    given = parser.parse_args(list(arguments))
    if given.failpoint or given.mutant:
        _patch(given.failpoint, given.mutant, Path(log) if log else None)
    from cronsvc.cli import main as cronsvc

    sys.argv = ["cronsvc", *given.command]
    cronsvc()


def _patch(fail_points: Sequence[str], mutants: Sequence[str], log: Path | None) -> None:
    """Plain processes do not even import this."""
    from tests.faults import failpoints
    from tests.faults.mutants.guards import apply
    from tests.faults.seams import SeamError

    try:
        # Mutants first: a fail point wraps what is there.
        for name in mutants:
            apply(name)
        for text in fail_points:
            failpoints.arm(failpoints.parse(text, log))
    except SeamError as error:
        print(f"launcher: {error}", file=sys.stderr)
        sys.exit(BROKEN_SEAM)


if __name__ == "__main__":
    main(sys.argv[1:])
