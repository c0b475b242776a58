"""Faults of the servers: ended without warning, locked, full, wiped. Each proves first that the server is ours."""

import contextlib
import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from redis import Redis
from redis.exceptions import RedisError

from tests.faults.fault import Bite, Body, Field, Steps
from tests.faults.missing import MissingError

ENOUGH_WAITING = 50
CRASHED = "was not properly shut down"


@contextmanager
def kill_postgres(field: Field, bite: Bite) -> Steps:
    """kill -9 of the postmaster."""
    with _postgres_away(field, bite, signal.SIGKILL):
        yield


@contextmanager
def stop_postgres_at_once(field: Field, bite: Bite) -> Steps:
    """An immediate shutdown: sessions are cut, nothing is written out."""
    with _postgres_away(field, bite, signal.SIGQUIT):
        yield


@contextmanager
def _postgres_away(field: Field, bite: Bite, number: signal.Signals) -> Steps:
    postgres = field.ground.postgres
    before = field.server_log(postgres, CRASHED)
    pid = field.ground.prove_postgres()
    bite.start = time.time()
    os.kill(pid, number)
    while postgres.pid is not None:
        time.sleep(0.01)
    postgres.stop()
    try:
        yield
    finally:
        postgres.start()
        bite.heal = time.time()
    after = field.server_log(postgres, CRASHED)
    bite.prove(after > before, signal=number.name, crashes=after - before)


@contextmanager
def lock_executions(field: Field, bite: Bite) -> Steps:
    """Somebody's migration holds the busiest table."""
    field.ground.prove_postgres()
    words = "canceling statement due to lock timeout"
    before = field.server_log(field.ground.postgres, words)
    with psycopg.connect(field.ground.postgres.url, application_name="faults") as conn:
        conn.execute("LOCK TABLE job_executions IN ACCESS EXCLUSIVE MODE")
        bite.start = time.time()
        yield
        conn.rollback()
    bite.heal = time.time()
    after = field.server_log(field.ground.postgres, words)
    bite.prove(after > before, lock_timeouts=after - before)


@contextmanager
def fill_disk(field: Field, bite: Bite) -> Steps:
    """No block is left for the write-ahead log; when there is room again the server may have to be started anew."""
    if field.ground.variant != "disk":
        raise MissingError("Postgres has no disk of its own in this run")
    postgres = field.ground.postgres
    field.ground.prove_postgres()
    before = field.server_log(postgres, "No space left on device")
    filler = Path(postgres.data_dir) / "filler"
    bite.start = time.time()
    try:
        with filler.open("wb") as file, contextlib.suppress(OSError):
            while True:
                os.write(file.fileno(), bytes(1 << 16))
        yield
    finally:
        filler.unlink()
        if postgres.pid is None:
            postgres.stop()
            postgres.start()
        bite.heal = time.time()
    after = field.server_log(postgres, "No space left on device")
    bite.prove(after > before, refusals=after - before)


def step_clock(seconds: int) -> Body:
    """Postgres' own clock is set, as by hand or by an NTP daemon that had been away."""

    @contextmanager
    def body(field: Field, bite: Bite) -> Steps:
        clock = field.ground.clock
        if clock is None:
            raise MissingError("Postgres' clock cannot be set in this run")
        field.ground.prove_postgres()
        reads = "SELECT extract(epoch FROM clock_timestamp())::float8"
        bite.start, before = time.time(), float(field.ground.sql(reads)[0][0])
        clock.step(seconds)
        bite.heal, after = time.time(), float(field.ground.sql(reads)[0][0])
        # By the database's clock the fault lasts for all of the time that was left out, or came twice.
        bite.prove(
            abs(after - before - seconds) < 5.0,
            stepped=round(after - before, 1),
            database_start=min(before, after),
            database_heal=max(before, after),
        )
        yield

    return body


@contextmanager
def kill_redis(field: Field, bite: Bite) -> Steps:
    """kill -9; what was pushed in the last second may be gone from its file."""
    valkey = field.ground.valkey
    before = field.ground.prove_valkey()
    bite.start = time.time()
    valkey.stop(kill=True)
    try:
        yield
    finally:
        valkey.start()
        bite.heal = time.time()
    bite.prove(field.ground.prove_valkey() != before, before=before, after=valkey.pid)


@contextmanager
def flush_redis(field: Field, bite: Bite) -> Steps:
    """FLUSHALL while tickets wait."""
    waiting = _gather_tickets(field)
    with field.ground.redis() as client:
        bite.start = time.time()
        client.flushall()
    bite.heal = bite.start
    _let_go(field)
    bite.prove(waiting > 0, waiting=waiting)
    yield


@contextmanager
def lose_lists(field: Field, bite: Bite) -> Steps:
    """The lists of waiting tickets are gone, and what Redis believes of them stays."""
    waiting = _gather_tickets(field)
    with field.ground.redis() as client:
        bite.start = time.time()
        lists = [key for key in client.scan_iter("saq:*:queued") if client.llen(key)]
        client.delete(*lists) if lists else None
        left = sum(client.zcard(key) for key in client.scan_iter("saq:*:incomplete"))
    bite.heal = bite.start
    _let_go(field)
    bite.prove(waiting > 0 and left > 0, waiting=waiting, left=left)
    yield


def _gather_tickets(field: Field) -> int:
    """Keep the workers from Redis until tickets wait there; returns how many do."""
    field.ground.prove_valkey()
    field.ground.wires.set(field.ground.wires.named("worker", ">redis"), "refuse")
    end = time.monotonic() + 8.0
    with field.ground.redis() as client:
        while True:
            waiting = sum(int(client.llen(key)) for key in client.scan_iter("saq:*:queued"))
            if waiting >= ENOUGH_WAITING or time.monotonic() > end:
                return waiting
            time.sleep(0.05)


def _let_go(field: Field) -> None:
    field.ground.wires.set(field.ground.wires.named("worker", ">redis"), "pass")


@contextmanager
def fill_redis(field: Field, bite: Bite) -> Steps:
    """Out of memory: every write is refused."""
    with _redis_set(field, bite, "maxmemory", "1mb", "0"):
        yield


@contextmanager
def refuse_writes(field: Field, bite: Bite) -> Steps:
    """A Redis that has too few replicas refuses to write, as one does whose disk is full."""
    with _redis_set(field, bite, "min-replicas-to-write", "1", "0"):
        yield


@contextmanager
def unwritable_redis(field: Field, bite: Bite) -> Steps:
    """Its folder cannot be written, so a snapshot fails and every write is refused: MISCONF."""
    valkey = field.ground.valkey
    field.ground.prove_valkey()
    mode = valkey.data_dir.stat().st_mode
    with field.ground.redis() as client:
        valkey.data_dir.chmod(0o555)
        try:
            client.config_set("save", "3600 1000000")
            client.bgsave()
            _until_saved(client, "err")
            bite.start = time.time()
            refused = ""
            try:
                client.set("faults:probe", 1)
            except RedisError as error:
                refused = str(error)
            yield
        finally:
            valkey.data_dir.chmod(mode)
            client.config_set("save", "")
            bite.heal = time.time()
    said = sum(field.said(proc, "cannot push tickets") for proc in field.ground.of("scheduler"))
    bite.prove("MISCONF" in refused and said > 0, refused=refused[:60], said=said)


def _until_saved(client: Redis, status: str) -> None:
    end = time.monotonic() + 5.0
    while time.monotonic() < end:
        info: Any = client.info("persistence")
        if not info["rdb_bgsave_in_progress"] and info["rdb_last_bgsave_status"] == status:
            return
        time.sleep(0.05)
    raise RuntimeError(f"no snapshot ended as {status}")


@contextmanager
def _redis_set(field: Field, bite: Bite, name: str, value: str, after: str) -> Steps:
    field.ground.prove_valkey()
    with field.ground.redis() as client:
        client.config_set(name, value)
        bite.start = time.time()
        try:
            refused = ""
            try:
                client.set("faults:probe", 1)
            except RedisError as error:
                refused = str(error)
            yield
        finally:
            client.config_set(name, after)
            bite.heal = time.time()
    said = sum(field.said(proc, "cannot push tickets") for proc in field.ground.of("scheduler"))
    bite.prove(bool(refused) and said > 0, refused=refused[:60], said=said)
