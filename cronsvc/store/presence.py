"""Who is alive: one heartbeat row for each worker and scheduler process.

The lease of everything a worker runs is its process's: one write each heartbeat, not one for each execution.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from cronsvc.store.pool import Conn

REGISTER_WORKER = """
INSERT INTO workers (id, name, version, queues, concurrency, lease_until)
VALUES (%(id)s, %(name)s, %(version)s, %(queues)s, %(concurrency)s, clock_timestamp() + %(lease)s::interval)
    ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until
"""


async def register_worker(
    conn: Conn, *, process_id: UUID, name: str, version: str, queues: Sequence[str], concurrency: int, lease: timedelta
) -> None:
    """A worker process begins, with its first lease. Asking again, after an answer was lost, is the same."""
    await conn.execute(
        REGISTER_WORKER,
        {
            "id": process_id,
            "name": name,
            "version": version,
            "queues": list(queues),
            "concurrency": concurrency,
            "lease": lease,
        },
    )


BEAT = """
UPDATE workers SET heartbeat_at = clock_timestamp(), lease_until = clock_timestamp() + %(lease)s::interval,
       running = %(running)s, state = %(state)s
 WHERE id = %(id)s AND state IN ('active', 'draining')
"""


async def beat(conn: Conn, *, process_id: UUID, lease: timedelta, running: int, draining: bool) -> bool:
    """Renew the lease. False: this worker was declared lost, what it ran belongs to others now."""
    state = "draining" if draining else "active"
    return (
        await conn.execute(BEAT, {"id": process_id, "lease": lease, "running": running, "state": state})
    ).rowcount == 1


SERVE = "UPDATE workers SET queues = %(queues)s::text[] WHERE id = %(id)s AND state IN ('active', 'draining')"


async def serve(conn: Conn, *, process_id: UUID, queues: Sequence[str]) -> bool:
    """Write down, for people, which queues a worker serves from now on; False when it is not registered."""
    return (await conn.execute(SERVE, {"id": process_id, "queues": list(queues)})).rowcount == 1


STOP_WORKER = "UPDATE workers SET state = 'stopped', running = 0 WHERE id = %(id)s AND state IN ('active', 'draining')"


async def stop_worker(conn: Conn, *, process_id: UUID) -> None:
    """A worker process ends by itself; whatever it could not finish is rescued at once."""
    await conn.execute(STOP_WORKER, {"id": process_id})


LOSE_WORKERS = """
UPDATE workers SET state = 'lost'
 WHERE state IN ('active', 'draining') AND lease_until < clock_timestamp()
   AND pg_postmaster_start_time() < clock_timestamp() - %(grace)s::interval
RETURNING id
"""


async def lose_workers(conn: Conn, *, grace: timedelta) -> list[UUID]:
    """Declare lost every worker whose lease has run out.

    `grace`: after a start of Postgres itself nobody could renew a lease, so the living get this long to come back.
    """
    rows = await (await conn.execute(LOSE_WORKERS, {"grace": grace})).fetchall()
    return [id_ for (id_,) in rows]


BEAT_SCHEDULER = """
INSERT INTO schedulers (id, name, version) VALUES (%(id)s, %(name)s, %(version)s)
ON CONFLICT (id) DO UPDATE SET heartbeat_at = clock_timestamp()
"""


async def beat_scheduler(conn: Conn, *, process_id: UUID, name: str, version: str) -> None:
    """A scheduler is alive; nothing depends on this row but the people who look at it."""
    await conn.execute(BEAT_SCHEDULER, {"id": process_id, "name": name, "version": version})


FORGET_SCHEDULER = "DELETE FROM schedulers WHERE id = %(id)s"


async def forget_scheduler(conn: Conn, *, process_id: UUID) -> None:
    """A scheduler process ends."""
    await conn.execute(FORGET_SCHEDULER, {"id": process_id})


PRUNE_WORKERS = """
DELETE FROM workers w
 WHERE w.state IN ('stopped', 'lost') AND w.heartbeat_at < clock_timestamp() - interval '1 day'
   AND NOT EXISTS (SELECT FROM job_executions e WHERE e.worker_id = w.id AND e.status = 'RUNNING')
"""

PRUNE_SCHEDULERS = "DELETE FROM schedulers WHERE heartbeat_at < clock_timestamp() - interval '1 hour'"


async def prune(conn: Conn) -> int:
    """Forget processes that ended long ago and hold nothing; returns how many."""
    return (await conn.execute(PRUNE_WORKERS)).rowcount + (await conn.execute(PRUNE_SCHEDULERS)).rowcount
