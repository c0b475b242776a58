"""The catalogue: what may go wrong, by number, and which of it each kind of run does in which order."""

from collections.abc import Mapping, Sequence

from tests.faults import faults_processes as processes
from tests.faults import faults_servers as servers
from tests.faults import faults_wires as wires
from tests.faults.fault import Fault

CATALOGUE: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("F1", "scheduler_killed", 3.0, processes.kill_scheduler),
        Fault("F1b", "scheduler_all_killed", 8.0, processes.kill_all_schedulers),
        Fault("F2", "scheduler_frozen", 5.0, processes.freeze_scheduler),
        Fault("F3", "worker_killed", 4.0, processes.kill_worker),
        Fault("F4", "worker_frozen", 20.0, processes.freeze_worker),
        Fault("F5", "api_killed", 1.0, processes.kill_api),
        Fault("F6a", "pg_stopped", 5.0, servers.stop_postgres_at_once, settle=7.0),
        Fault("F6b", "pg_killed", 5.0, servers.kill_postgres, settle=7.0),
        Fault("F6c", "pg_away", 40.0, servers.stop_postgres_at_once, settle=7.0),
        Fault("F7", "redis_killed", 5.0, servers.kill_redis, settle=8.0),
        Fault("F7b", "redis_away", 40.0, servers.kill_redis, settle=8.0),
        Fault("F8", "redis_flushed", 0.0, servers.flush_redis, settle=8.0),
        Fault("F9", "redis_partial", 0.0, servers.lose_lists, settle=8.0),
        Fault("F10", "redis_full", 6.0, servers.fill_redis, settle=8.0),
        Fault("F10b", "redis_refusing", 6.0, servers.refuse_writes, settle=8.0),
        Fault("F10c", "redis_unwritable", 6.0, servers.unwritable_redis, settle=8.0),
        *(
            Fault(f"F11-{role}-{server}-{mode}", f"wire_{role}_{server}_{mode}", hold, wires.wire(role, server, mode))
            for role, server in (
                ("scheduler", "pg"),
                ("worker", "pg"),
                ("api", "pg"),
                ("scheduler", "redis"),
                ("worker", "redis"),
            )
            for mode, hold in (("refuse", 6.0), ("blackhole", 15.0), ("one_way", 15.0))
        ),
        *(
            Fault(f"F11-worker-sink-{mode}", f"sink_{mode}", 8.0, wires.wire("worker", "sink", mode))
            for mode in wires.MODES
        ),
        Fault(
            "F11-one-worker-pg", "wire_worker_pg_one", 15.0, wires.wire("worker", "pg", "blackhole", all_of_role=False)
        ),
        Fault(
            "F11-one-scheduler-pg",
            "wire_scheduler_pg_one",
            15.0,
            wires.wire("scheduler", "pg", "one_way", all_of_role=False),
        ),
        Fault("F12", "wire_all_slow", 8.0, wires.slow(latency=0.3, rate=0.0)),
        Fault("F12b", "wire_all_thin", 8.0, wires.slow(latency=0.0, rate=10_000.0)),
        Fault("F13", "wire_all_deaf", 3.0, wires.deaf_commit),
        Fault("F14", "pg_locked", 8.0, servers.lock_executions, settle=7.0),
        Fault("F15", "clock_skewed", 12.0, processes.skew_clocks),
        Fault("F15b-ahead", "pg_clock_ahead", 10.0, servers.step_clock(90)),
        Fault("F15b-back", "pg_clock_back", 10.0, servers.step_clock(-180)),
        # The clock is right again, and until it has passed the latest instant that it had shown nothing new is due.
        Fault("F15b-right", "pg_clock_right", 10.0, servers.step_clock(90), settle=90.0),
        Fault("F16", "pg_full", 10.0, servers.fill_disk, settle=15.0),
        Fault("F17", "rolling", 0.0, processes.roll),
        Fault("F20", "hostile_targets", 7.0, processes.mistreat),
    )
}

# In this order, each with a pause after it. Short, and yet each promise about takeover is measured once.
SMOKE: Sequence[str] = ("F1", "F8", "F2", "F6b", "F13", "F3", "F5", "F20", "F9", "F7")

VARIANT_FAULTS: Mapping[str, Sequence[str]] = {
    "clock": ("F15b-ahead", "F15b-back", "F15b-right"),
    "disk": ("F16", "F1", "F16"),
    "pooled": ("F1", "F2", "F6b", "F13", "F3", "F8", "F11-scheduler-pg-refuse"),
    "unlocked": ("F1", "F2", "F8", "F13", "F3", "F17"),
}


def long_run() -> list[str]:
    """What a nightly run draws from: everything that needs no server of another kind."""
    return [name for name in CATALOGUE if name != "F16" and not name.startswith("F15b")]
