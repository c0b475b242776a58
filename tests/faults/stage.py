"""Where one crash is played through: a database, a Redis prefix and processes of its own, and a judge of the calls.

The servers and the target are shared by many stages (`Theatre`); a stage is cheap, so each crash gets a fresh one.
Processes are started through a nursery and the launcher, and ended by the object that holds them.
"""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from cronsvc.services.access import Access
from cronsvc.store import partitions
from cronsvc.store.migrations import upgrade
from cronsvc.store.pool import Database
from tests.faults.launcher import LOG
from tests.faults.nursery import ROOT, Nursery
from tests.support.servers import scratch_directory, start_postgres, start_valkey

KILLED = -signal.SIGKILL
TERMINAL = ("SUCCESS", "FAILED", "SKIPPED", "CANCELLED")

# Short, so that a crash is played through in seconds, and long enough that a busy machine loses no lease by itself.
LEASE = {"CRONSVC_LEASE_SECONDS": "3", "CRONSVC_HEARTBEAT_SECONDS": "0.5"}
QUICK = {**LEASE, "CRONSVC_REDISPATCH_SECONDS": "1", "CRONSVC_POLL_SECONDS": "1"}

# Log is kept, so that a base backup that begins in the middle of it all finds what it needs.
SERVER = {"max_connections": "200", "wal_keep_size": "1GB"}

_serial = itertools.count(1)


class Child:
    """One process of ours, once it was told to `go`; `log` is what it wrote."""

    def __init__(self, nursery: Nursery, arguments: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        self.pid = 0
        self._nursery = nursery
        self._arguments = arguments
        self._environment = environment

    @property
    def alive(self) -> bool:
        return self.pid > 0 and self._nursery.code(self.pid) is None

    def go(self) -> None:
        """Begin."""
        self.pid = self._nursery.start(self._arguments, self._environment, self.log)

    def send(self, number: signal.Signals) -> None:
        if self.alive:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once, if it lives."""
        self.send(signal.SIGKILL)

    def ended(self, seconds: float = 90.0) -> int:
        """Wait for the end and return the exit code; killed after the bound. 0 for one that never began."""
        if not self.pid:
            return 0
        code = self._nursery.code(self.pid, seconds)
        if code is None:
            self.send(signal.SIGKILL)
            self._nursery.code(self.pid, 10)
            raise AssertionError(f"{self.log.name} did not end within {seconds:.0f} s:\n{self.tail()}")
        return code

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""


@dataclass
class Stage:
    """One service of its own; `calls()` is what its jobs called."""

    name: str
    database_url: str
    environment: dict[str, str]
    directory: Path
    target: str
    calls_file: Path
    admin_key: str
    nursery: Nursery
    children: list[Child] = field(default_factory=list)

    @property
    def faults_log(self) -> Path:
        return self.directory / "faults.jsonl"

    def start(
        self,
        *command: str,
        fail_points: Sequence[str] = (),
        mutants: Sequence[str] = (),
        standby: bool = False,
        **environment: str,
    ) -> Child:
        """Start a process of this service, through the launcher; one that stands by waits for its `go`."""
        options = [f"--failpoint={text}" for text in fail_points] + [f"--mutant={name}" for name in mutants]
        log = self.directory / f"{command[0]}-{len(self.children)}.log"
        told = self.environment | {LOG: str(self.faults_log)} | environment
        child = Child(self.nursery, [*options, "--", *command], told, log)
        self.children.append(child)
        if not standby:
            child.go()
        return child

    def close(self) -> None:
        """End whatever lives: kindly, so that what it was about to do is done; then the judge looks."""
        for child in self.children:
            child.send(signal.SIGCONT)
            child.send(signal.SIGTERM)
        for child in self.children:
            with contextlib.suppress(AssertionError):
                child.ended(30)

    def kill(self) -> None:
        """The quick way out."""
        for child in self.children:
            child.send(signal.SIGKILL)
            child.ended(10)

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows of a statement, in a transaction of its own."""
        with psycopg.connect(self.database_url, autocommit=True) as conn:
            return conn.execute(statement.encode(), parameters).fetchall()

    def execute(self, statement: str, *parameters: object) -> None:
        with psycopg.connect(self.database_url, autocommit=True) as conn:
            conn.execute(statement.encode(), parameters)

    def define(self, name: str, mode: str, **columns: Any) -> int:
        """A job that calls the target; armed, so that its next fire time stands from the beginning."""
        config = {"url": f"{self.target}/{mode}/{self.name}/{name}", "method": "POST", "data": {"n": 1}}
        columns = {
            "name": name,
            "task_payload": Jsonb({"type": "API_CALL", "config": config}),
            "backoff": Jsonb({"type": "fixed", "delaySeconds": 0}),
            "misfire_grace_seconds": 600,
            "armed_revision": 1,
            "next_fire_time": columns.get("run_at"),
        } | columns
        statement = sql.SQL("INSERT INTO jobs ({}) VALUES ({}) RETURNING id").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(", ").join(map(sql.Placeholder, columns))
        )
        with psycopg.connect(self.database_url, autocommit=True) as conn:
            row = conn.execute(statement, columns).fetchone()
        assert row is not None
        return int(row[0])

    def calls(self, name: str | None = None) -> list[dict[str, Any]]:
        """What the target was sent by this stage's jobs, or by one of them, in order of arrival."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        calls = [call for line in lines if (call := json.loads(line))["e"] == "call"]
        ends = f"/{self.name}/" + (name or "")
        return [call for call in calls if ends in call["path"] and (name is None or call["path"].endswith(ends))]

    def bites(self) -> list[str]:
        """The fail points that were reached."""
        if not self.faults_log.exists():
            return []
        return [json.loads(line)["name"] for line in self.faults_log.read_text().splitlines()]

    def all_terminal(self, count: int) -> Callable[[], bool]:
        """A condition: so many executions, and every one at its end."""
        statement = "SELECT count(*), count(*) FILTER (WHERE status = ANY (%s)) FROM job_executions"
        return lambda: self.query(statement, list(TERMINAL)) == [(count, count)]

    def until(self, condition: Callable[[], bool], what: str, *, seconds: float = 90.0) -> None:
        """Poll a condition; the bound is for a hang and no verdict."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                tails = "\n".join(f"--- {child.log.name}\n{child.tail()}" for child in self.children)
                raise AssertionError(f"{self.name}: {what} did not come true within {seconds:.0f} s\n{tails}")
            time.sleep(0.05)


@dataclass
class Theatre:
    """Servers, target and a migrated database to clone, for any number of stages, one after the other or at once."""

    directory: Path
    postgres_url: str
    redis_url: str
    target: str
    calls_file: Path
    template: str
    admin_key: str
    nursery: Nursery

    @contextmanager
    def stage(self, label: str, **environment: str) -> Iterator[Stage]:
        """A fresh service; whatever of it still lives at the end is killed."""
        name = f"{label.lower().replace('.', '_')}_{os.getpid()}_{next(_serial)}"
        directory = self.directory / name
        directory.mkdir()
        self._administer("CREATE DATABASE {} TEMPLATE {}", name, self.template)
        url = psycopg.conninfo.make_conninfo(self.postgres_url, dbname=name)
        ours = bare_environment() | {
            "DATABASE_URL": url,
            "REDIS_URL": self.redis_url,
            "CRONSVC_REDIS_PREFIX": name,
            "CRONSVC_EGRESS_ALLOW": "127.0.0.0/8",
            "CRONSVC_LOG_FORMAT": "json",
            "CRONSVC_RATE_LIMITS": "off",
            "CRONSVC_POOL_SIZE": "3",
        }
        ours |= environment
        stage = Stage(name, url, ours, directory, self.target, self.calls_file, self.admin_key, self.nursery)
        try:
            yield stage
        finally:
            stage.kill()
            self._administer("DROP DATABASE {} WITH (FORCE)", name)

    def _administer(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.postgres_url, autocommit=True) as conn:
            conn.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextmanager
def theatre() -> Iterator[Theatre]:
    """Servers of our own, and a target."""
    with (
        scratch_directory() as directory,
        start_postgres(directory / "pg", settings=SERVER) as postgres,
        start_valkey(directory / "vk") as valkey,
        theatre_over(directory, postgres.url, valkey.url) as made,
    ):
        yield made


@contextmanager
def theatre_over(directory: Path, postgres_url: str, redis_url: str) -> Iterator[Theatre]:
    """The same on servers that run already; files go into the folder."""
    template = f"template_faults_{os.getpid()}_{next(_serial)}"
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(template)))
    url = psycopg.conninfo.make_conninfo(postgres_url, dbname=template)
    upgrade(url)
    admin_key = asyncio.run(_furnish(url))
    calls_file = directory / "calls.jsonl"
    with target_process(calls_file) as target, contextlib.closing(Nursery()) as nursery:
        try:
            yield Theatre(directory, postgres_url, redis_url, target, calls_file, template, admin_key, nursery)
        finally:
            with psycopg.connect(postgres_url, autocommit=True) as conn:
                conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(template)))


async def _furnish(url: str) -> str:
    """Partitions around now, as a scheduler makes them at its start, and an admin key."""
    now = datetime.now(UTC)
    db = await Database.open(url, application_name="faults-template", max_size=1)
    try:
        async with db.transaction() as conn:
            await partitions.ensure(conn, {partitions.week_of(now + timedelta(days=7 * n)) for n in range(-2, 4)})
        return str(await Access(db).ensure_admin_key("faults"))
    finally:
        await db.close()


@contextmanager
def target_process(calls_file: Path) -> Iterator[str]:
    """A target in a process of its own; its URL."""
    command = [sys.executable, "-m", "tests.faults.target", str(calls_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def bare_environment() -> dict[str, str]:
    """Ours without what a developer's shell may have set for cronsvc itself."""
    own = ("CRONSVC_", "DATABASE_URL", "REDIS_", "DB_", "QUEUE_NAME", "PORT")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}
