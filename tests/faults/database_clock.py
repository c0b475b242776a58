"""A Postgres whose own clock can be stepped: every process of it under libfaketime, which reads one file.

The host's clock, the receiver's and those of cronsvc stay right, so a step shows what follows from the database's clock
alone: it is the one that says what is due.
"""

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from cronsvc.embedded import Postgres
from tests.faults.clocks import LIBRARY, lying
from tests.faults.missing import MissingError
from tests.faults.record import Recorder

NEEDED = "libfaketime is not installed: apt-get install faketime"


@dataclass
class Clock:
    """The file that says by how many seconds the clock is ahead; each step is written down."""

    file: Path
    recorder: Recorder
    ahead: int = 0

    def step(self, seconds: int) -> None:
        """From now on it is this much later, or earlier, than it was."""
        self.ahead += seconds
        unfinished = self.file.with_suffix(".new")
        unfinished.write_text(f"{self.ahead:+d}\n")
        unfinished.chmod(0o644)
        begun = time.time()
        unfinished.replace(self.file)
        self.recorder.write("clock", begun=begun, done=time.time(), ahead=self.ahead)

    def now(self) -> float:
        """What the database reads now."""
        return time.time() + self.ahead


class SteppedPostgres(Postgres):
    """A server that lives by `clock`. MissingError without libfaketime."""

    def __init__(self, data_dir: Path, *, port: int, settings: Mapping[str, str], clock: Clock) -> None:
        if LIBRARY is None:
            raise MissingError(NEEDED)
        super().__init__(data_dir, port=port, settings=settings)
        self._clock = clock
        clock.step(0)

    def _spawn(
        self,
        command: Sequence[str],
        death_signal: Signals,
        *,
        environment: Mapping[str, str] | None = None,
        standard_input: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        # By `env`, after the account was changed: the library shares semaphores with what it finds itself in.
        told = lying(FAKETIME_TIMESTAMP_FILE=str(self._clock.file), FAKETIME_NO_CACHE="1")
        lies = ["/usr/bin/env", *(f"{name}={value}" for name, value in told.items())]
        return super()._spawn([*lies, *command], death_signal, environment=environment, standard_input=standard_input)
