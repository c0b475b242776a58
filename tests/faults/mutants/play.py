"""A story on a stage, recorded as a history: its jobs, its faults, the target's calls and the database's last word."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.faults import collect
from tests.faults.history import History
from tests.faults.stage import Child, Stage

CANARY = "canary-1c9e-tell-nobody"
LONG = 60.0
NEVER = 10**10  # the period of a job that fires once


class Play:
    """One run of a scenario; `mutants` are in every process it starts."""

    def __init__(self, stage: Stage, mutants: Sequence[str]) -> None:
        self.stage = stage
        self.mutants = mutants
        self._jobs: list[dict[str, Any]] = []
        self._faults: list[dict[str, Any]] = []
        self._samples: list[dict[str, Any]] = []
        self._stalls: list[dict[str, Any]] = []
        self._lingering: list[str] = []
        self._is_sealed = False
        self._begun = time.time()

    def start(self, role: str, *, fail_points: Sequence[str] = (), standby: bool = False, **environment: Any) -> Child:
        """Start a process of this type, weakened if this is the weakened run."""
        return self.stage.start(role, fail_points=fail_points, mutants=self.mutants, standby=standby, **environment)

    def up(self, *, schedulers: int = 1, workers: int = 1) -> None:
        """Wait until so many have registered, so that no instant of a story is late because a start was slow."""
        counts = "SELECT (SELECT count(*) FROM schedulers), (SELECT count(*) FROM workers)"
        self.stage.until(lambda: self.stage.query(counts) == [(schedulers, workers)], "the processes up")

    def job(self, letter: str, mode: str, first: datetime, *, every: int = NEVER, runs: int = 1, **columns: Any) -> int:
        """A job of the checker's class `letter` that fires `runs` times from `first` on, every so many seconds."""
        when: dict[str, Any] = {"run_at": first}
        if runs > 1:
            when = {"every_seconds": every, "anchor": first, "max_runs": runs, "next_fire_time": first}
        id_ = self.stage.define(f"{letter}{len(self._jobs)}", mode, **when | columns)
        self.expect(id_, letter, first, every=every, **columns)
        return id_

    def expect(self, id_: int, letter: str, first: datetime, *, every: int = NEVER, **columns: Any) -> None:
        """Tell the checker what a job owes."""
        phase = round(first.timestamp())
        self._jobs.append(
            {
                "id": id_,
                "class": letter,
                "period": every,
                "phase": phase,
                "overlap": columns.get("overlap_policy", "allow"),
                "grace": columns.get("misfire_grace_seconds", 600),
                "max_attempts": columns.get("max_attempts", 3),
                "invoke": phase - 0.6,
                "done": phase - 0.6,
            }
        )

    def coming(self, seconds: float) -> datetime:
        """The first whole second that is at least so far ahead, by the database's clock."""
        ((instant,),) = self.stage.query(
            "SELECT date_trunc('second', clock_timestamp() + make_interval(secs => %s) + interval '1 second')",
            float(seconds),
        )
        found: datetime = instant.astimezone(UTC)
        return found

    def ended(self, *, rows: int, at_most: float = 60.0) -> None:
        """Wait until so many executions have ended. A weakened run is given up after `at_most` seconds.

        What is not over then the checker will see; 60 s are for a busy machine.
        """
        seconds = at_most if self.mutants else 60.0
        with contextlib.suppress(AssertionError):
            self.stage.until(self.stage.all_terminal(rows), "the end of the play", seconds=seconds)

    @contextmanager
    def fault(self, kind: str) -> Iterator[dict[str, Any]]:
        """A fault for the checker; the block sets `bit` (and `start`, if it is not now)."""
        row: dict[str, Any] = {"fault": "play", "kind": kind, "start": time.time(), "bit": False, "evidence": {}}
        yield row
        row["heal"] = time.time()
        self._faults.append(row)

    def bite_at(self, point: str) -> float:
        """Wait for a fail point to be reached; when it was."""
        self.stage.until(lambda: point in self.stage.bites(), f"fail point {point}")
        for line in self.stage.faults_log.read_text().splitlines():
            if (said := json.loads(line))["name"] == point:
                return float(said["at"])
        raise AssertionError("unreachable")

    def sample(self, child: Child, seconds: float) -> None:
        """Watch what a process costs for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            times = psutil.Process(child.pid).cpu_times()
            self._samples.append(
                {
                    "t": time.time(),
                    "proc": child.log.stem,
                    "pid": child.pid,
                    "cpu": times.user + times.system,
                    "rss": 0,
                    "log": child.log.stat().st_size,
                    "frozen": False,
                }
            )
            time.sleep(0.5)

    def look_for_lingering(self) -> None:
        """Write down locks and transactions that nobody needs any more; twice, because one look may meet a tick."""
        self._lingering = [words for (words,) in self.stage.query(collect.LINGERING)]
        time.sleep(0.3)
        again = {words for (words,) in self.stage.query(collect.LINGERING)}
        self._lingering = [words for words in self._lingering if words in again]

    def sealed(self, *, at_most: float = 30.0) -> None:
        """Wait until every audit entry that waited for its place has been dealt with; the chain is looked at then."""
        seconds = at_most if self.mutants else 30.0
        with contextlib.suppress(AssertionError):
            self.stage.until(lambda: self.stage.query(collect.UNSEALED) == [(0,)], "the seals", seconds=seconds)
        self._is_sealed = True

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Measure how late the host itself is."""
        done = threading.Event()

        def watch() -> None:
            while not done.is_set():
                asked = time.monotonic()
                done.wait(0.1)
                late = time.monotonic() - asked - 0.1
                if late > 0.02:
                    self._stalls.append({"t": time.time(), "late": late})

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def history(self, *, calm: bool) -> History:
        """What happened, for the checker; nothing runs any more. `calm`: the whole of it counts as a quiet window."""
        stage = self.stage
        calls = [json.loads(line) for line in stage.calls_file.read_text().splitlines()]
        numbers = {call["n"] for call in stage.calls()}
        last = max(call["phase"] for call in self._jobs) if self._jobs else 0
        newest: float | None = stage.query(
            "SELECT extract(epoch FROM max(scheduled_time))::float8 FROM job_executions"
        )[0][0]
        end = max(last, newest or 0.0)
        return History(
            meta={"workload_start": self._begun - LONG if calm else end, "workload_end": end},
            jobs=self._jobs,
            faults=self._faults,
            sink=[row for row in calls if row["n"] in numbers],
            executions=self._rows(collect.EXECUTIONS),
            attempts=self._rows(collect.ATTEMPTS),
            audit=self._rows(collect.AUDIT),
            revisions=dict(stage.query(collect.REVISIONS)),
            gaps=stage.query("SELECT count(*) FROM cronsvc_v1.gaps")[0][0],
            lingering=self._lingering,
            samples=self._samples,
            stalls=self._stalls,
            leaks=self._leaks(),
            audit_ids=[id_ for (id_,) in stage.query(collect.AUDIT_IDS)] if self._is_sealed else [],
            chain=self._rows(collect.CHAIN) if self._is_sealed else [],
        )

    def _leaks(self) -> list[str]:
        """Where the canary turned up: logs, rows, attempts."""
        found = [
            f"{path.name} has it" for path in self.stage.directory.glob("*.log") if CANARY in path.read_text("latin-1")
        ]
        for table in ("job_executions", "job_attempts"):
            if self.stage.query(f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE %s", f"%{CANARY}%") != [(0,)]:
                found.append(f"{table} has it")
        return found

    def _rows(self, statement: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.stage.database_url, row_factory=dict_row) as conn:
            return conn.execute(statement.encode()).fetchall()


class Copy:
    """A database made from another one as a restore beside it would be."""

    def __init__(self, original: str) -> None:
        self._source = str(conninfo_to_dict(original)["dbname"])
        self._name = f"{self._source}_copy"
        self._administer_by = make_conninfo(original, dbname="postgres")
        self.url = make_conninfo(original, dbname=self._name)

    @contextmanager
    def made(self) -> Iterator[None]:
        """There for the block; nobody may be connected to the original when it begins."""
        self._administer("CREATE DATABASE {} TEMPLATE {}", self._name, self._source)
        try:
            yield
        finally:
            self._administer("DROP DATABASE {} WITH (FORCE)", self._name)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as conn:
            return conn.execute(statement.encode()).fetchall()

    def _administer(self, statement: str, *names: str) -> None:
        with psycopg.connect(self._administer_by, autocommit=True) as conn:
            conn.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def payload(**config: Any) -> Jsonb:
    """A task payload with this configuration of an API_CALL."""
    return Jsonb({"type": "API_CALL", "config": config})
