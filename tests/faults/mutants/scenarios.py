"""The shortest story for each guard: green with the guard, and red in a named invariant without it.

Every story is the same code in both runs; only the processes differ, and for M1 and M11 the unique key. Where the
guard of the original design has another shape here, `adapted` says how.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from psycopg.types.json import Jsonb
from redis import Redis

from cronsvc.domain.execution import Ticket
from cronsvc.queue import Broker
from tests.faults.clocks import lying
from tests.faults.mutants.play import CANARY, Copy, Play, payload
from tests.faults.stage import QUICK
from tests.support.servers import free_port, start_valkey

NO_UNIQUE_KEY = ("ALTER TABLE job_executions DROP CONSTRAINT job_executions_pkey",)
DEFAULTS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Mutant:
    """`red`: the invariant that must see it. `sql`: weakens the database. `calm`: nothing is wrong in its story."""

    name: str
    guard: str
    red: str
    tell: Callable[[Play], None]
    sql: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: QUICK)
    calm: bool = False
    adapted: str = ""


def job_put_back(play: Play) -> None:
    """Three fires; then somebody puts the job's row back to what it was before them, as from a backup."""
    play.start("scheduler")
    play.start("worker")
    play.up()
    first = play.coming(1)
    last = first + timedelta(seconds=2)
    job = play.job("A", "ok", first, every=1, runs=3, max_runs=None, end_at=last)
    play.ended(rows=3)
    before = "next_fire_time = %s, last_fire_time = NULL, fire_count = 0"
    play.stage.execute(f"UPDATE jobs SET {before} WHERE id = %s", first, job)
    play.stage.until(
        lambda: play.stage.query("SELECT next_fire_time IS NULL FROM jobs") == [(True,)], "the cursor past the end"
    )
    play.stage.until(
        lambda: play.stage.query("SELECT count(*) FROM job_executions WHERE status = 'QUEUED'") == [(0,)], "the end"
    )


def ticket_twice(play: Play) -> None:
    """While a worker runs an execution, its ticket comes again to another one."""
    play.start("scheduler")
    for _ in range(2):
        play.start("worker", CRONSVC_WORKER_CONCURRENCY="1")
    play.up(workers=2)
    play.job("A", "slow", play.coming(0))
    play.stage.until(lambda: len(play.stage.calls()) == 1, "the first call")
    ((id_, job, instant, queue, priority),) = play.stage.query(
        "SELECT id, job_id, scheduled_time, queue, priority FROM job_executions"
    )
    asyncio.run(_push(play, Ticket(id_, job, instant, 0, queue, priority)))
    play.ended(rows=1)
    time.sleep(1.5)  # what the second ticket brings comes within its own call


async def _push(play: Play, ticket: Ticket) -> None:
    environment = play.stage.environment
    broker = Broker.open(environment["REDIS_URL"], prefix=environment["CRONSVC_REDIS_PREFIX"])
    try:
        assert await broker.push([ticket]) == 1
    finally:
        await broker.close()


def frozen_worker(play: Play) -> None:
    """A worker freezes with an answer in its hand, another does the work again, the first one wakes."""
    play.start("scheduler")
    frozen = play.start("worker", fail_points=["W4=stop"])
    other = play.start("worker", standby=True)
    play.up()
    play.job("A", "refuse-first", play.coming(0))
    with play.fault("worker_frozen") as fault:
        fault["start"] = play.bite_at("W4")
        fault["bit"] = True
        other.go()
        play.ended(rows=1)
        frozen.send(signal.SIGCONT)
        said = (b"stale result", b"were stopped", b"attempts stopped")
        play.stage.until(lambda: any(words in frozen.log.read_bytes() for words in said), "the worker awake")
        time.sleep(1.0)  # its one late statement


def calm(play: Play) -> None:
    """Three fires, and nothing disturbs any."""
    play.start("scheduler")
    play.start("worker")
    play.up()
    play.job("A", "ok", play.coming(1), every=1, runs=3)
    play.ended(rows=3)
    play.look_for_lingering()


def slow_commits(play: Play) -> None:
    """Two fires, and between their rows and the commit a moment passes."""
    play.start("scheduler", fail_points=["S2:*=sleep(0.3)"])
    play.start("worker")
    play.up()
    play.job("A", "ok", play.coming(1), every=1, runs=2)
    play.ended(rows=2)


def wiped_redis(play: Play) -> None:
    """A ticket waits for a worker, and Redis loses everything."""
    _lost_ticket(play, lambda redis, prefix: redis.delete(*redis.scan_iter(f"saq:{prefix}:*")))


def lost_list(play: Play) -> None:
    """A ticket waits for a worker, and Redis loses the list, but not the sorted set beside it."""
    _lost_ticket(play, lambda redis, prefix: redis.delete(f"saq:{prefix}:default:p2:queued"))


def _lost_ticket(play: Play, lose: Callable[[Redis, str], object]) -> None:
    prefix = play.stage.environment["CRONSVC_REDIS_PREFIX"]
    play.start("scheduler")
    worker = play.start("worker", standby=True)
    play.up(workers=0)
    play.job("A", "ok", play.coming(0))
    with Redis.from_url(play.stage.environment["REDIS_URL"]) as redis, play.fault("redis_wiped") as fault:
        play.stage.until(lambda: redis.llen(f"saq:{prefix}:default:p2:queued") == 1, "the ticket in Redis")
        fault["bit"] = bool(lose(redis, prefix))
    worker.go()
    play.ended(rows=1, at_most=8)


def fast_hosts(play: Play) -> None:
    """Every host's clock is a minute ahead of the database's."""
    fast: dict[str, Any] = lying(FAKETIME="+60s")
    assert fast, "libfaketime is not installed: apt-get install faketime"
    play.start("scheduler", **fast)
    play.start("worker", **fast)
    play.up()
    play.job("H", "ok", play.coming(2), every=1, runs=3)
    play.ended(rows=3)


def failing_once(play: Play) -> None:
    """A job that runs at most once fails."""
    play.start("scheduler")
    play.start("worker")
    play.job("D", "fail", play.coming(0), max_attempts=1)
    play.ended(rows=1)


def broken_connection(play: Play) -> None:
    """The target closes a kept connection just as it is used for the second call."""
    play.start("scheduler")
    play.start("worker")
    play.up()
    url = f"{play.stage.target}/cut/{play.stage.name}/A0"
    play.job("A", "cut", play.coming(1), every=1, runs=2, task_payload=payload(url=url, method="GET"))
    play.ended(rows=2)


def frozen_holder(play: Play) -> None:
    """A scheduler freezes with the locks of a tick in its hands; another one is there."""
    frozen = play.start("scheduler", fail_points=["tick.locked=stop"])
    play.start("worker")
    other = play.start("scheduler", standby=True)
    play.up()
    play.job("A", "ok", play.coming(1), every=1, runs=3)
    with play.fault("scheduler_frozen") as fault:
        fault["start"] = play.bite_at("tick.locked")
        fault["bit"] = True
        other.go()
        time.sleep(max(0.0, fault["start"] + 8.5 - time.time()))  # the freeze itself: longer than the promise
        frozen.send(signal.SIGCONT)
    play.ended(rows=3)


def two_at_once(play: Play) -> None:
    """Two schedulers, the advisory locks switched off, both in the middle of a tick for the same instant."""
    for _ in range(2):
        play.start("scheduler", fail_points=["tick.locked=sleep(1)"], CRONSVC_ADVISORY_LOCKS="false")
    play.start("worker")
    play.up(schedulers=2)
    play.job("A", "ok", play.coming(1))
    play.stage.until(lambda: bool(play.stage.bites()), "a scheduler in its tick")
    time.sleep(3.0)  # both ticks end within a second of each other
    play.ended(rows=1, at_most=4)


def redis_down(play: Play) -> None:
    """Redis is gone for a while, and nobody may burn a core over it."""
    with start_valkey(play.stage.directory / "vk", port=free_port()) as valkey:
        worker = play.start("worker", REDIS_URL=valkey.url)
        play.stage.until(lambda: play.stage.query("SELECT count(*) FROM workers") == [(1,)], "the worker")
        with contextlib.suppress(PermissionError):  # or a machine that is busy otherwise hides a spin
            os.setpriority(os.PRIO_PROCESS, worker.pid, -10)
        with play.fault("redis_killed") as fault:
            valkey.stop(kill=True)
            fault["bit"] = valkey.pid is None
            play.sample(worker, 6.0)
        valkey.start()
        play.stage.close()


def secret_in_a_url(play: Play) -> None:
    """A call whose URL carries a token cannot be made."""
    play.start("scheduler")
    play.start("worker")
    url = f"http://127.0.0.1:{free_port()}/hook?token={CANARY}"
    play.job("D", "ok", play.coming(0), max_attempts=1, task_payload=payload(url=url))
    play.ended(rows=1)


def long_outage(play: Play) -> None:
    """No scheduler for half a minute; the job wants the latest of what it missed, and no more."""
    first, last = play.coming(-40), play.coming(-10)
    play.job("E", "ok", first, every=1, runs=99, max_runs=None, end_at=last, misfire_grace_seconds=3)
    play.start("scheduler")
    play.start("worker")
    play.stage.until(
        lambda: play.stage.query("SELECT next_fire_time IS NULL FROM jobs") == [(True,)], "the cursor past the end"
    )
    play.stage.until(
        lambda: play.stage.query("SELECT count(*) FROM job_executions WHERE status IN ('QUEUED', 'RUNNING')") == [(0,)],
        "every execution at its end",
    )


def busy_handler(play: Play) -> None:
    """A handler computes for longer than a lease; nothing is wrong with anybody."""
    params = {"file": os.fspath(play.stage.calls_file), "stage": play.stage.name, "seconds": 6.0}
    play.stage.calls_file.touch()
    task = {"type": "PYTHON", "config": {"handler": "burn", "params": params}}
    play.start("scheduler")
    modules: dict[str, Any] = {"CRONSVC_HANDLER_MODULES": "tests.faults.handlers", "CRONSVC_WORKER_CONCURRENCY": "1"}
    for _ in range(2):
        play.start("worker", **modules)
    play.up(workers=2)
    play.job("G", "ok", play.coming(0), task_payload=Jsonb(task))
    play.ended(rows=1)
    play.stage.until(lambda: _burnt(play), "the handler's end", seconds=15)


def copied_database(play: Play) -> None:
    """A copy of the database wakes beside its original, with the same Redis and the same targets, and owes a run."""
    play.start("scheduler")
    play.start("worker")
    play.up()
    play.job("A", "ok", play.coming(1), every=1, runs=2)
    play.ended(rows=2)
    play.stage.close()
    play.stage.define("A1", "ok", run_at=play.coming(0))  # only the copy gets to it, so nobody expects it here
    copy = Copy(play.stage.database_url)
    with copy.made():
        play.start("scheduler", DATABASE_URL=copy.url)
        play.start("worker", DATABASE_URL=copy.url)
        looked = "SELECT fenced_at IS NOT NULL FROM service_identity"
        play.stage.until(lambda: len(play.stage.calls()) > 2 or copy.query(looked) == [(True,)], "a look or a call")
        beaten = "SELECT count(*) > 0 FROM schedulers WHERE heartbeat_at > started_at"
        play.stage.until(lambda: copy.query(beaten) == [(True,)], "the copy's scheduler at work")
        play.stage.close()


def audited_job(play: Play) -> None:
    """A job is defined and edited, and a scheduler gives what the log says of it places in its chain."""
    play.start("scheduler")
    play.start("worker")
    play.up()
    job = play.job("A", "ok", play.coming(1))
    play.stage.execute("UPDATE jobs SET description = 'edited' WHERE id = %s", job)
    play.ended(rows=1)
    play.sealed()


def _burnt(play: Play) -> bool:
    lines = play.stage.calls_file.read_text()
    return all(f'"e": "end", "n": {call["n"]}' in lines for call in play.stage.calls())


MUTANTS: Sequence[Mutant] = (
    Mutant(
        "M1", "the unique key (job_id, scheduled_time)", "I0", job_put_back, NO_UNIQUE_KEY,
        adapted="row locks keep two ticks apart as well, so the second write comes from a job whose row was put back",
    ),
    Mutant("M2", "the claim's look at status and claim_no", "I5", ticket_twice),
    Mutant("M3", "the fence of a finish", "I10", frozen_worker),
    Mutant(
        "M4", "tickets leave after the commit", "I14", slow_commits, environment=DEFAULTS, calm=True,
        adapted="a claim needs the committed row, so an early ticket starts nothing (I3 holds): it is lost, and late",
    ),
    Mutant("M5", "dispatching again", "I8", wiped_redis),
    Mutant(
        "M6", "the database's clock", "I4", fast_hosts,
        adapted="three guards stand here, the plan's clock, the wait before the commit and the claim's: all three go",
    ),
    Mutant(
        "M7", "one call an attempt", "I6", failing_once,
        adapted="SAQ's retries cannot run anything again here (a claim is needed), so the attempt itself is repeated",
    ),
    Mutant("M7b", "the HTTP client sends nothing twice", "I5", broken_connection),
    Mutant("M8", "a lane that lost its list starts afresh", "I8", lost_list),
    Mutant("M9", "idle_in_transaction_session_timeout", "I15", frozen_holder),
    Mutant(
        "M10", "transaction-scoped advisory locks", "I19", calm,
        adapted="our own pool leaks a session's lock as pgbouncer would, so no pooler is needed to see it",
    ),
    Mutant("M11", "unique key and row locks, should the advisory lock fail", "I0", two_at_once, NO_UNIQUE_KEY),
    Mutant("M12", "the pause between two tries to reach Redis", "I20", redis_down),
    Mutant("M13", "reasons in our own words", "I18", secret_in_a_url),
    Mutant("M14", "the bound on catching up", "I13", long_outage),
    Mutant(
        "M15", "plain handlers run in a process of their own", "I9", busy_handler,
        adapted="the lease is the process's and its loop beats for it; a lease lost by the job's own work is a loss"
        " without a cause (I9): the overlap at the target is then on record, which I11 allows",
    ),
    Mutant("M16", "the fence of a copied database", "I3", copied_database),
    Mutant("M17", "an entry leaves the queue of the audit log with a place in its chain", "I17", audited_job),
)  # fmt: skip
