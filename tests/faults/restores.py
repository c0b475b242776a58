"""Backups of a running service that wake up elsewhere: silent until somebody confirms, and nothing is sent twice after.

Each play lets a service fire, takes a copy of its database while it does, lets it go on and ends it. Then a scheduler,
a worker and an API start on the copy, in another Postgres cluster, beside the same Redis or one of their own. The
target says what was sent. One more play starts everything again where it was, with an empty Redis: that is no restore.
`python -m tests.faults restores` plays all of them.
"""

import argparse
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from redis import Redis

from cronsvc.embedded import Postgres
from cronsvc.embedded.binaries import find_postgres
from tests.faults.crash_points import Tally, run_plays, table
from tests.faults.stage import QUICK, Child, Stage, Theatre, theatre
from tests.support.servers import free_port, start_postgres

SUCCEEDED = "SELECT scheduled_time FROM job_executions WHERE status = 'SUCCESS' ORDER BY 1"
EXECUTIONS = "SELECT job_id, scheduled_time, status, status_reason, attempt FROM job_executions ORDER BY 1, 2"
FENCED = "SELECT fenced_at IS NOT NULL FROM service_identity"
BEATEN = "SELECT count(*) > 0 FROM schedulers WHERE heartbeat_at > started_at + interval '4 seconds'"

# A day has passed since the backup, as far as the copy can tell.
OLD = "UPDATE service_identity SET noted_at = noted_at - interval '1 day'"

# Five minutes: a machine that was switched on again would have been away for as long.
YOUNG = "UPDATE service_identity SET noted_at = noted_at - interval '5 minutes'"
# And reached by the same name, as in another network: nothing but the installation's own tells it.
SAME_NAME = "UPDATE service_identity SET noted_at = noted_at - interval '5 minutes', addresses = '{}'"

RESTART = "restart"
PRODUCTION = {"CRONSVC_INSTALLATION": "production"}
STAGING = {"CRONSVC_INSTALLATION": "staging"}

# What the original counts up in two minutes; a copy from before it is behind by so much.
TWO_MINUTES = 24


@dataclass(frozen=True, slots=True)
class Restored:
    """A way to a copy. `own_redis`: beside another one than the original's. `reason`: what the fence must say."""

    name: str
    what: str
    take: Callable[[Stage, Path], None]
    start: Callable[[Stage, Path], Any]
    reason: str
    own_redis: bool
    mode: str
    before_start: str = ""
    original: Mapping[str, Any] = field(default_factory=dict)  # more of the environment of its processes
    copy: Mapping[str, Any] = field(default_factory=dict)


def dump(stage: Stage, folder: Path) -> None:
    """`pg_dump`, as a script beside the folder."""
    _run("pg_dump", "--dbname", stage.database_url, "--file", os.fspath(folder) + ".sql")


@contextmanager
def from_dump(stage: Stage, folder: Path) -> Iterator[str]:
    """A new cluster with the dump in a database of the same name."""
    name = str(conninfo_to_dict(stage.database_url)["dbname"])
    with start_postgres(folder) as server:
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        url = make_conninfo(server.url, dbname=name)
        script = os.fspath(folder) + ".sql"
        _run("psql", "--quiet", "-v", "ON_ERROR_STOP=1", "--dbname", url, "--file", script)
        yield url


def base_backup(stage: Stage, folder: Path) -> None:
    """`pg_basebackup` of the whole running cluster, as a data folder for a server of our own."""
    folder.mkdir()
    version = find_postgres_major(stage)
    _run("pg_basebackup", "-d", stage.database_url, "-D", os.fspath(folder / f"pg{version}"), "-c", "fast")
    (folder / ".lock").touch()
    (folder / "password").write_text(str(conninfo_to_dict(stage.database_url)["password"]))
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, "nobody")


def to_recover(stage: Stage, folder: Path) -> None:
    """The same, to be recovered as far as its log goes: that makes a new timeline."""
    base_backup(stage, folder)
    (cluster,) = folder.glob("pg*")
    for name in ("recovery.signal", "postgresql.auto.conf"):
        with (cluster / name).open("a") as file:
            file.write("restore_command = 'false'\n" if name.endswith("conf") else "")
    if os.geteuid() == 0:
        shutil.chown(cluster / "recovery.signal", "nobody")


@contextmanager
def from_base_backup(stage: Stage, folder: Path) -> Iterator[str]:
    """A server on the folder, which recovers as far as it was told."""
    # A recovery refuses to run with less than the original had.
    with Postgres(folder, durable=False, settings={"max_connections": "200"}) as server:
        server.start()
        yield make_conninfo(server.url, dbname=str(conninfo_to_dict(stage.database_url)["dbname"]))


@contextmanager
def at_a_port(stage: Stage, folder: Path) -> Iterator[str]:
    """The same, reached at an address and not through a socket."""
    with Postgres(folder, durable=False, settings={"max_connections": "200"}, port=free_port()) as server:
        server.start()
        yield make_conninfo(server.url, dbname=str(conninfo_to_dict(stage.database_url)["dbname"]))


RESTORES: Sequence[Restored] = (
    Restored(
        "dump", "a dump in another cluster, with the same Redis", dump, from_dump, "other_server", False, "resume"
    ),
    Restored(
        "dump-moved", "a dump in another cluster, with a Redis of its own", dump, from_dump, "other_server", True,
        "skip",
    ),
    Restored(
        "backup", "a base backup, two minutes old, with the same Redis", base_backup, from_base_backup, "went_back",
        False, "skip",
    ),
    Restored(
        "recovery", "recovered to a point in time, with a Redis of its own", to_recover, from_base_backup, "went_back",
        True, "resume",
    ),
    Restored(
        "snapshot", "a base backup of yesterday, with a Redis of its own", base_backup, from_base_backup, "went_back",
        True, "skip", before_start=OLD,
    ),
    Restored(
        "young", "a snapshot, five minutes old, at another address, with a Redis of its own", base_backup, at_a_port,
        "other_address", True, "skip", before_start=YOUNG,
    ),
    Restored(
        "folder", "a copied data folder, seconds old, with the same Redis", base_backup, from_base_backup,
        "other_address", False, "resume",
    ),
    Restored(
        "staging", "five minutes old, under the same address, in another installation", base_backup, from_base_backup,
        "other_installation", True, "resume", before_start=SAME_NAME, original=PRODUCTION, copy=STAGING,
    ),
)  # fmt: skip


def play_restore(house: Theatre, restored: Restored) -> float:
    """Play one; AssertionError when anything is sent too early, twice or not. Returns the seconds until the fence."""
    with ExitStack() as stack:
        stage = stack.enter_context(house.stage(f"restore-{restored.name}", **QUICK))
        folder = stage.directory / "copy"
        stage.directory.chmod(0o711)
        done = _original(stage, restored, folder)
        url = stack.enter_context(restored.start(stage, folder))
        copied = {instant for (instant,) in _ask(url, SUCCEEDED)}
        assert copied <= done, "the copy knows of a success that the original does not"
        if restored.before_start:
            with psycopg.connect(url, autocommit=True) as conn:
                conn.execute(restored.before_start.encode())
        before, sent = _ask(url, EXECUTIONS), len(stage.calls())
        told = {"DATABASE_URL": url, **restored.copy}
        if restored.own_redis:
            told["CRONSVC_REDIS_PREFIX"] = f"{stage.name}_own"
        woke = time.monotonic()
        for role in ("scheduler", "worker"):
            stage.start(role, **told)
        port = free_port()
        api = stage.start("api", "--host", "127.0.0.1", "--port", str(port), **told)
        stage.until(lambda: _ask(url, FENCED) == [(True,)], "the fence")
        seconds = time.monotonic() - woke
        stage.until(lambda: _ask(url, BEATEN) == [(True,)], "a scheduler that has gone on for a while")
        stage.until(lambda: not api.alive or '"ready"' in api.tail(), "the API listening")
        assert len(stage.calls()) == sent, "the copy has sent something"
        assert _ask(url, EXECUTIONS) == before, "the copy has written executions"
        assert _ask(url, "SELECT fence_reason FROM service_identity") == [(restored.reason,)]
        _shows_what_would_fire(stage, port, copied)
        answer = _call(stage, port, "POST", "/restore/confirm", {"mode": restored.mode})
        confirmed = _ask(url, "SELECT released_at FROM service_identity")[0][0]
        assert answer["mode"] == restored.mode
        goes_on = "SELECT count(*) >= 2 FROM job_executions WHERE status = 'SUCCESS' AND scheduled_time > %s"
        stage.until(lambda: _ask(url, goes_on, confirmed) == [(True,)], "fires after the confirmation")
        stage.close()
        _judge(restored, url, copied, stage.calls()[sent:], confirmed)
        return seconds


def play_restart(house: Theatre) -> float:
    """Everything is killed and starts again, and Redis knows nothing: it fires, and nobody has to confirm anything.

    Returns the seconds until it does.
    """
    with house.stage("restart", **QUICK) as stage:
        folder = stage.directory / "own"
        stage.directory.chmod(0o711)
        _define(stage)
        base_backup(stage, folder)  # nobody has been here: it is no copy of anything
        seconds, count = 0.0, 0
        for life in ("first", "second", "third"):
            with from_base_backup(stage, folder) as url:
                woke = time.monotonic()
                told: dict[str, Any] = {"DATABASE_URL": url, "CRONSVC_REDIS_PREFIX": f"{stage.name}_{life}"}
                processes = [stage.start(role, **told) for role in ("scheduler", "worker")]
                stage.until(partial(_has_fired, url, count + 3), f"fires in its {life} life")
                seconds = time.monotonic() - woke
                _end(processes)
                count = len(_ask(url, SUCCEEDED))
                assert _ask(url, "SELECT count(*) FROM audit_log WHERE entity = 'service'") == [(0,)], "it was fenced"
        return seconds


def _define(stage: Stage) -> None:
    """The job of every play, which fires each second."""
    ((start,),) = stage.query("SELECT date_trunc('second', clock_timestamp()) + interval '3 seconds'")
    stage.define("steady", "ok", every_seconds=1, anchor=start, next_fire_time=start, misfire_policy="fire_all")


def _has_fired(url: str, times: int) -> bool:
    return len(_ask(url, SUCCEEDED)) >= times


def _original(stage: Stage, restored: Restored, folder: Path) -> set[datetime]:
    """Fire, take the copy meanwhile, go on, and end; returns the instants that succeeded."""
    _define(stage)
    processes = [stage.start(role, **restored.original) for role in ("scheduler", "worker")]
    stage.until(lambda: len(stage.query(SUCCEEDED)) >= 3, "three fires")
    restored.take(stage, folder)
    here = len(stage.query(SUCCEEDED))
    if restored.reason == "went_back" and not restored.own_redis:
        stage.execute(f"UPDATE service_identity SET generation = generation + {TWO_MINUTES}")
        stage.until(lambda: _remembered(stage) >= TWO_MINUTES, "Redis remembering it")
    stage.until(lambda: len(stage.query(SUCCEEDED)) >= here + 3, "three fires after the copy was taken")
    _end(processes)
    return {instant for (instant,) in stage.query(SUCCEEDED)}


def _end(processes: Sequence[Child]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.ended(30)


def _remembered(stage: Stage) -> int:
    """The highest generation that Redis has for this stage."""
    ((lineage,),) = stage.query("SELECT lineage::text FROM service_identity")
    key = f"saq:{stage.environment['CRONSVC_REDIS_PREFIX']}:generations"
    with Redis.from_url(stage.environment["REDIS_URL"]) as client:
        score: Any = client.zscore(key, lineage)
    return -1 if score is None else int(score)


def _shows_what_would_fire(stage: Stage, port: int, copied: set[datetime]) -> None:
    """The API names the job and the first instants that it owes: those after what the copy knows to be done."""
    shown = _call(stage, port, "GET", "/restore", None)
    assert shown["state"] == "fenced" and shown["reason"] is not None, shown
    (owing,) = shown["wouldFire"]["jobs"]
    assert (owing["jobName"], shown["wouldFire"]["overdueJobs"]) == ("steady", 1)
    runs = [datetime.fromisoformat(text) for text in owing["runs"]]
    assert runs and owing["fires"] >= len(runs)
    assert not set(runs) & copied, "it shows what is done"
    assert runs[0] == datetime.fromisoformat(owing["overdueSince"])


def _judge(
    restored: Restored, url: str, copied: set[datetime], calls: Sequence[dict[str, Any]], confirmed: datetime
) -> None:
    """What was sent after the confirmation, against what was sent before the backup and what the mode promises."""
    instants = [datetime.fromisoformat(call["scheduled"]) for call in calls]
    assert len(set(instants)) == len(instants), "an instant was sent twice"
    assert not set(instants) & copied, "what the copy knows to be done was sent again"
    rows: dict[datetime, str] = dict(_ask(url, "SELECT scheduled_time, status FROM job_executions"))
    assert set(instants) <= set(rows), "something was sent that has no row"
    if restored.mode == "skip":
        # An instant between the moment that was settled and the opening of the fence is on time.
        assert all((confirmed - instant).total_seconds() < 2.0 for instant in instants), "skipped, and yet sent"
    else:
        ended = {instant for instant, status in rows.items() if status == "SUCCESS"}
        every = int((max(ended) - min(ended)).total_seconds()) + 1
        assert len(ended) == every, f"{every - len(ended)} instants that were owed did not run"


def _call(stage: Stage, port: int, method: str, path: str, body: Any) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Authorization": f"Bearer {stage.admin_key}", "Content-Type": "application/json"}
    try:
        connection.request(method, f"/api/v1{path}", body=None if body is None else json.dumps(body), headers=headers)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        assert answer.status == 200, f"{method} {path}: {answer.status} {content}"
        return content
    finally:
        connection.close()


def _ask(url: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as conn:
        return conn.execute(statement.encode(), parameters or None).fetchall()


def find_postgres_major(stage: Stage) -> int:
    ((number,),) = stage.query("SELECT current_setting('server_version_num')::int / 10000")
    return int(number)


def _run(name: str, *arguments: str) -> None:
    """One of the programs that come with our Postgres."""
    binary = find_postgres().with_name(name)
    done = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{name}: {done.stderr[-1000:]}"


def play_all(house: Theatre, *, times: int = 1, names: Sequence[str] = (), side_by_side: int = 2) -> list[Tally]:
    """Play each of them, or those named, so many times; nothing is raised, faults are in the tallies."""
    plays = [(Tally(each.name, each.what), partial(play_restore, house, each)) for each in RESTORES]
    plays.append(
        (Tally(RESTART, "no copy: all starts again where it was, Redis is empty"), partial(play_restart, house))
    )
    chosen = [(tally, play) for tally, play in plays if not names or tally.name in names]
    return run_plays(chosen, times=times, side_by_side=side_by_side)


def main(arguments: Sequence[str]) -> int:
    """`restores [--times N] [NAME…]`; 1 when anything was sent that must not be, or not sent."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults restores")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--side-by-side", type=int, default=2)
    parser.add_argument("names", nargs="*", help="restores; none: all")
    given = parser.parse_args(list(arguments))
    known = {*(each.name for each in RESTORES), RESTART}
    if unknown := set(given.names) - known:
        parser.error(f"no such restore: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    with theatre() as house:
        tallies = play_all(house, times=given.times, names=given.names, side_by_side=given.side_by_side)
    print(table(tallies, ("restore", "copy", "silent until confirmed", "wake to fence, median / most (s)")))
    faults = [f"{each.name}: {fault}" for each in tallies for fault in each.faults]
    print("\n".join(faults), file=sys.stderr)
    return 1 if faults else 0
