"""What a fault is: a context that hurts on entering and heals on leaving, and that proves that it bit."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import psycopg

from tests.faults.api_user import ApiUser
from tests.faults.ground import Ground
from tests.faults.procs import Proc

# Schedulers that are in the middle of a tick, by the locks or, without locks, by the transaction they have open.
HOLDERS = """
SELECT DISTINCT a.application_name FROM pg_stat_activity a
 WHERE a.application_name LIKE 'cronsvc-scheduler%%' AND a.state <> 'idle'
   AND (EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory' AND l.objid < 64) OR %s)
   AND a.xact_start IS NOT NULL
"""


@dataclass
class Field:
    """What faults work with: the service, somebody who uses it, and dice."""

    ground: Ground
    user: ApiUser
    random: Random
    jobs: dict[str, list[int]]

    def holder(self, *, seconds: float = 10.0) -> Proc:
        """The scheduler that is in the middle of a tick right now; RuntimeError if none is seen in that time."""
        unlocked = self.ground.variant == "unlocked"
        end = time.monotonic() + seconds
        with psycopg.connect(self.ground.postgres.url, autocommit=True, application_name="faults") as conn:
            while time.monotonic() < end:
                for (name,) in conn.execute(HOLDERS, (unlocked,)).fetchall():
                    for proc in self.ground.of("scheduler"):
                        if proc.alive and not proc.frozen and name.endswith(f":{proc.pid}"):
                            return proc
        raise RuntimeError("no scheduler was seen in a tick")

    def busy_worker(self, *, seconds: float = 10.0) -> tuple[Proc, str, int]:
        """A worker that runs something, its id, and how much it runs; RuntimeError if none does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rows = self.ground.sql(
                "SELECT w.name, w.id::text, count(*) FROM job_executions e JOIN workers w ON w.id = e.worker_id"
                " WHERE e.status = 'RUNNING' AND w.state = 'active' GROUP BY 1, 2 ORDER BY 3 DESC"
            )
            for name, identity, count in rows:
                for proc in self.ground.of("worker"):
                    if proc.alive and not proc.frozen and name.endswith(f":{proc.pid}"):
                        return proc, identity, count
            time.sleep(0.05)
        raise RuntimeError("no worker was seen at work")

    def server_log(self, server: Any, words: str) -> int:
        """How often these words stand in the log of one of our servers."""
        text = (server.data_dir / f"{server.name}.log").read_text(errors="replace")
        return len(re.findall(words, text))

    def said(self, proc: Proc, words: str) -> int:
        return proc.log.read_text(errors="replace").count(words)


@dataclass
class Bite:
    """The proof. `bit` is what it comes to; `start` and `heal` are when exactly, if the fault knows better."""

    bit: bool = False
    start: float | None = None
    heal: float | None = None
    kind: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)

    def prove(self, holds: bool, **evidence: Any) -> None:
        self.bit = holds
        self.evidence |= json.loads(json.dumps(evidence, default=str))


Body = Callable[[Field, Bite], AbstractContextManager[None]]
Steps = Iterator[None]


@dataclass(frozen=True)
class Fault:
    """`name` is the F-number, `kind` what the checker knows it by, `hold` how long it lasts in seconds.

    `settle` is how long it must be left alone afterwards for its recovery to be measured.
    """

    name: str
    kind: str
    hold: float
    body: Body
    settle: float = 3.0
