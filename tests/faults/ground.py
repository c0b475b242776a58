"""The whole service of a run: servers that are ours, process types as real processes, and a wire between each two.

    scheduler-1, scheduler-2, worker-1, worker-2, api-1  ──edge──▶  Postgres (fsync on), Valkey (append-only), the sink

Nothing here is destructive; what is, asks `prove_postgres` or `prove_valkey` first.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from redis import Redis

from cronsvc.embedded import Postgres, Valkey
from cronsvc.store.migrations import upgrade
from tests.faults.clocks import LIBRARY, SKEWED, lying
from tests.faults.database_clock import Clock, SteppedPostgres
from tests.faults.missing import MissingError
from tests.faults.pooler import pooler
from tests.faults.procs import ROOT, Proc, cronsvc_command
from tests.faults.proxy import Edge, Wires
from tests.faults.record import Recorder
from tests.support.servers import free_port

# What a service is made of; two cores carry no more of it calmly.
ROLES = ("scheduler-1", "scheduler-2", "worker-1", "worker-2", "api-1")
SLOTS = 10


@dataclass
class Ground:
    """One running service. `variant`: plain, pooled (pgbouncer), unlocked (no advisory locks), disk, or clock."""

    folder: Path
    recorder: Recorder
    wires: Wires
    postgres: Postgres
    valkey: Valkey
    sink: Edge
    variant: str
    mutants: Sequence[str]
    skewed: bool = False
    admin_key: str = ""
    api_port: int = 0
    procs: dict[str, Proc] = field(default_factory=dict)
    clock: Clock | None = None

    def of(self, role: str) -> list[Proc]:
        return [proc for proc in self.procs.values() if proc.role == role]

    def sql(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask Postgres past every wire; psycopg.OperationalError while it is away."""
        with psycopg.connect(self.postgres.url, autocommit=True, connect_timeout=3, application_name="faults") as conn:
            cursor = conn.execute(query.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def redis(self) -> "Redis":
        """A client of our Valkey, past every wire; close it."""
        return Redis.from_url(self.valkey.url, socket_timeout=5, socket_connect_timeout=3)

    def prove_postgres(self) -> int:
        """The pid of our postmaster; RuntimeError unless the server that answers is the one we started."""
        pid = self.postgres.pid
        (directory,) = self.sql("SHOW data_directory")[0]
        named = int((Path(directory) / "postmaster.pid").read_text().split()[0])
        if pid is None or pid != named or not Path(directory).is_relative_to(self.postgres.data_dir):
            raise RuntimeError(f"the Postgres on {directory} is not ours")
        return pid

    def prove_valkey(self) -> int:
        """The pid of our Valkey; RuntimeError unless the server that answers is the one we started."""
        with self.redis() as client:
            info = client.info("server")
            directory = client.config_get("dir")["dir"]
        if self.valkey.pid != info["process_id"] or Path(directory) != self.valkey.data_dir:
            raise RuntimeError(f"the Redis on {directory} is not ours")
        return int(info["process_id"])

    def start_all(self) -> None:
        """Start every process and wait until all of them serve."""
        for name in ROLES:
            self.procs[name].start()
        self.until(self._all_present, seconds=60, what="every process")

    def until(self, holds: Callable[[], bool], *, seconds: float, what: str) -> None:
        """Poll; RuntimeError after `seconds`, which is a bound and no verdict."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise RuntimeError(f"{what} did not come true within {seconds:.0f} s; see {self.folder / 'logs'}")
            time.sleep(0.1)

    def stop_all(self) -> None:
        """End what still lives, all at once and kindly."""
        for proc in self.procs.values():
            proc.ask_to_stop()
        for proc in self.procs.values():
            proc.term()

    def _all_present(self) -> bool:
        for proc in self.procs.values():
            if not proc.alive:
                raise RuntimeError(f"{proc.name} did not start: {proc.log.read_text()[-400:]}")
        living = self.sql(
            "SELECT (SELECT count(*) FROM workers WHERE state = 'active') + (SELECT count(*) FROM schedulers)"
        )
        return living == [(4,)] and "ready" in self.procs["api-1"].log.read_text()


def environment_of(ground: Ground, name: str) -> dict[str, str]:
    """What one process is told: the edges that are its own, and the defaults of an operator otherwise."""
    postgres, valkey = ground.wires.edges[f"{name}>pg"], ground.wires.edges[f"{name}>redis"]
    login = urlsplit(ground.postgres.url).netloc.rpartition("@")[0]
    bare = ("CRONSVC_", "DATABASE_URL", "REDIS_", "DB_", "QUEUE_NAME", "PORT", "PG")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(bare)}
    told = {
        "DATABASE_URL": f"postgresql://{login}@127.0.0.1:{postgres.port}/cronsvc",
        "REDIS_URL": f"redis://127.0.0.1:{valkey.port}/0",
        "CRONSVC_EGRESS_ALLOW": "127.0.0.0/8",
        "CRONSVC_LOG_FORMAT": "json",
        "CRONSVC_WORKER_CONCURRENCY": str(SLOTS),
        "CRONSVC_HOST": "127.0.0.1",
        "CRONSVC_RATE_LIMITS": "off",
        "PORT": str(ground.api_port),
    }
    if ground.variant == "pooled":
        told["CRONSVC_POOLER"] = "transaction"
    if ground.variant == "unlocked":
        told["CRONSVC_ADVISORY_LOCKS"] = "false"
    if ground.skewed and name in SKEWED:
        told |= lying(FAKETIME=f"{SKEWED[name]:+d}")
    return kept | told


@contextmanager
def ground(
    folder: Path,
    recorder: Recorder,
    *,
    seed: int,
    variant: str = "plain",
    mutants: Sequence[str] = (),
    skewed: bool = False,
) -> Iterator[Ground]:
    """Servers, wires and a sink, with the processes ready to be started; everything is gone after the block."""
    logs = folder / "logs"
    logs.mkdir()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="csf-", dir="/tmp")))
        scratch.chmod(0o711)
        if variant == "disk":
            stack.enter_context(small_disk(scratch / "pg"))
        clock = Clock(scratch / "clock", recorder) if variant == "clock" else None
        postgres = stack.enter_context(_postgres(scratch / "pg", variant, clock))
        valkey = stack.enter_context(Valkey(scratch / "vk", port=free_port()))
        postgres.launch()
        valkey.launch()
        postgres.ready()
        valkey.ready()
        upgrade(postgres.url)
        wires = stack.enter_context(Wires(seed))
        sink_port = stack.enter_context(_sink(folder, seed))
        found = Ground(
            folder,
            recorder,
            wires,
            postgres,
            valkey,
            wires.add("sink", ("127.0.0.1", sink_port)),
            variant,
            mutants,
            skewed and LIBRARY is not None,
            api_port=free_port(),
            clock=clock,
        )
        database = _port_of(postgres.url)
        if variant == "pooled":
            database = stack.enter_context(pooler(postgres.url, scratch / "pgbouncer"))
        for name in ROLES:
            wires.add(f"{name}>pg", ("127.0.0.1", database))
            wires.add(f"{name}>redis", ("127.0.0.1", _port_of(valkey.url)))
            environment = environment_of(found, name)
            command = cronsvc_command(name.split("-")[0], mutants)
            found.procs[name] = Proc(name, command, environment, logs / f"{name}.log", recorder)
        stack.callback(_keep_server_logs, found)
        stack.callback(found.stop_all)
        found.admin_key = _admin_key(found)
        yield found


def _postgres(data_dir: Path, variant: str, clock: Clock | None) -> Postgres:
    if clock is not None:
        return SteppedPostgres(data_dir, port=free_port(), settings=settings_of(variant), clock=clock)
    return Postgres(data_dir, port=free_port(), settings=settings_of(variant))


def settings_of(variant: str) -> dict[str, str]:
    """Server settings of a variant; on the small disk the write-ahead log must not take all of it."""
    return {"max_wal_size": "64MB", "min_wal_size": "32MB", "wal_recycle": "off"} if variant == "disk" else {}


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """A file system of its own for a data folder. MissingError where mounting is not allowed."""
    path.mkdir(mode=0o755)
    asked = ["mount", "-t", "tmpfs", "-o", "size=320m,mode=0755", "tmpfs", str(path)]
    if subprocess.run(asked, capture_output=True).returncode:
        raise MissingError("mounting a small disk is not allowed here: run as root")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=False)


@contextmanager
def _sink(folder: Path, seed: int) -> Iterator[int]:
    with (folder / "logs/sink.log").open("ab") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.sink", str(folder / "sink.jsonl"), str(seed)],
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=ROOT,
            text=True,
            start_new_session=True,
        )
    try:
        assert child.stdout is not None
        yield int(child.stdout.readline())
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def _admin_key(found: Ground) -> str:
    environment = found.procs["api-1"].environment | {"DATABASE_URL": found.postgres.url}
    command = [sys.executable, "-m", "cronsvc", "keys", "create", "--name", "faults", "--role", "admin"]
    return subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _keep_server_logs(found: Ground) -> None:
    for server in (found.postgres, found.valkey):
        source = server.data_dir / f"{server.name}.log"
        if source.exists():
            (found.folder / "logs" / source.name).write_bytes(source.read_bytes())


def _port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port
