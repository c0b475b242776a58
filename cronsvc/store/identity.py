"""Which database this is, written down in itself; the statements behind the fence of a restored one.

`service_identity` has one row, made when a scheduler or worker first starts here: a template or a freshly migrated
database has none and is nobody yet. The hot statements ask `cronsvc_fenced()` themselves; these here look closer.
"""

from dataclasses import fields
from datetime import datetime

from psycopg.errors import UndefinedColumn, UndefinedTable
from psycopg.rows import dict_row

from cronsvc.domain.fence import FenceReason, Identity, address_of
from cronsvc.store.pool import Conn

READ = """
SELECT s.lineage::text AS lineage, s.generation, s.database_oid, s.database_name, s.system_identifier, s.timeline,
       s.server_start, s.fenced_at, s.fence_reason AS reason, s.fence_detail AS detail, s.released_at, s.released_by,
       s.release_mode, cronsvc_database_oid() AS present_oid, current_database()::text AS present_name,
       p.system_identifier AS present_identifier, p.timeline AS present_timeline,
       pg_postmaster_start_time() AS present_start,
       extract(epoch FROM clock_timestamp() - s.noted_at)::float8 AS silent_seconds, s.installation, s.addresses,
       extract(epoch FROM clock_timestamp())::bigint AS present_seconds, cronsvc_data_folder() AS folder
  FROM service_identity AS s, cronsvc_server() AS p
"""


async def read(conn: Conn) -> Identity | None:
    """What is written down beside what is; None when no service has started here yet."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        row = await (await cursor.execute(READ)).fetchone()
    if row is None:
        return None
    row["reason"] = None if row["reason"] is None else FenceReason(row["reason"])
    row["present_address"] = address_of(
        host=conn.info.host, port=conn.info.port, database=conn.info.dbname, folder=row["folder"]
    )
    return Identity(**{each.name: row[each.name] for each in fields(Identity)})


INSTALLATION = "SELECT installation FROM service_identity"


async def installation(conn: Conn) -> str | None:
    """What this database's operator calls it; None when nobody has said, or before the migration that asks."""
    try:
        row = await (await conn.execute(INSTALLATION)).fetchone()
    except (UndefinedTable, UndefinedColumn):
        return None
    return None if row is None else row[0]


# `NOT cronsvc_fenced()` written out, for statements that run all the time: a call costs some 80 microseconds.
OPEN = """NOT EXISTS (SELECT FROM service_identity AS own
                    WHERE own.fenced_at IS NOT NULL OR own.server_start IS DISTINCT FROM pg_postmaster_start_time()
                       OR own.database_oid IS DISTINCT FROM
                          (SELECT d.oid::bigint FROM pg_database AS d WHERE d.datname = current_database()))"""

FENCED = "SELECT cronsvc_fenced()"


async def fenced(conn: Conn) -> bool:
    """Whether nothing may be sent: it is fenced, or nobody has looked since the server started."""
    row = await (await conn.execute(FENCED)).fetchone()
    return row is not None and bool(row[0])


ADOPT = """
INSERT INTO service_identity (database_oid, database_name, system_identifier, timeline, server_start)
SELECT cronsvc_database_oid(), current_database(), p.system_identifier, p.timeline, pg_postmaster_start_time()
  FROM cronsvc_server() AS p
    ON CONFLICT (singleton) DO NOTHING
"""


async def adopt(conn: Conn) -> None:
    """A service starts here for the first time: write down where it is."""
    await conn.execute(ADOPT)


# The server is the one that was looked at: a statement that arrives after yet another start changes nothing.
CLEAR = """
UPDATE service_identity AS s
   SET server_start = pg_postmaster_start_time(), timeline = coalesce(p.timeline, s.timeline),
       system_identifier = coalesce(s.system_identifier, p.system_identifier), database_name = current_database()
  FROM cronsvc_server() AS p
 WHERE s.fenced_at IS NULL AND s.lineage = %(lineage)s::uuid AND s.generation >= %(generation)s
   AND s.server_start IS DISTINCT FROM pg_postmaster_start_time()
   AND pg_postmaster_start_time() = %(present_start)s AND s.database_oid = cronsvc_database_oid()
"""


async def clear(conn: Conn, identity: Identity) -> bool:
    """The server started again and is the same; False when somebody else was faster or it changed once more."""
    return (
        await conn.execute(
            CLEAR,
            {
                "lineage": identity.lineage,
                "generation": identity.generation,
                "present_start": identity.present_start,
            },
        )
    ).rowcount == 1


FENCE = """
UPDATE service_identity SET fenced_at = clock_timestamp(), fence_reason = %(reason)s, fence_detail = %(detail)s
 WHERE fenced_at IS NULL AND lineage = %(lineage)s::uuid
"""


async def fence(conn: Conn, *, lineage: str, reason: FenceReason, detail: str) -> bool:
    """From the commit on nothing fires, is dispatched or is claimed; False when it was fenced before."""
    parameters = {"reason": reason.value, "detail": detail, "lineage": lineage}
    return (await conn.execute(FENCE, parameters)).rowcount == 1


# By the count and not by the clock is it told what went back: a clock may be set. The timeline as well: of a standby
# that was promoted it shows only some time after the look that cleared it.
NOTE = """
UPDATE service_identity
   SET generation = generation + 1, noted_at = clock_timestamp(),
       timeline = coalesce((SELECT p.timeline FROM cronsvc_server() AS p), timeline)
 WHERE NOT cronsvc_fenced() AND lineage = %(lineage)s::uuid
   AND (noted_at <= clock_timestamp() - interval '5 seconds' OR noted_at > clock_timestamp())
RETURNING generation
"""


async def note(conn: Conn, *, lineage: str) -> int | None:
    """Count the generation up if its five seconds are over; returns the new one."""
    row = await (await conn.execute(NOTE, {"lineage": lineage})).fetchone()
    return None if row is None else int(row[0])


# While it is open, and only then, an address becomes a known one. Those of a month ago are forgotten.
SETTLE_IN = """
UPDATE service_identity AS s
   SET installation = coalesce(s.installation, %(installation)s),
       addresses = (SELECT jsonb_object_agg(a.key, a.value)
                      FROM (SELECT e.key, e.value
                              FROM jsonb_each(s.addresses || jsonb_build_object(
                                       %(address)s::text, extract(epoch FROM clock_timestamp())::bigint)) AS e
                             WHERE e.value::bigint > extract(epoch FROM clock_timestamp() - interval '30 days')
                             ORDER BY e.value::bigint DESC LIMIT 16) AS a)
 WHERE NOT cronsvc_fenced() AND s.lineage = %(lineage)s::uuid
"""


async def settle_in(conn: Conn, *, lineage: str, address: str, installation: str | None) -> None:
    """Remember where a process has reached it, and the name, unless it has one."""
    await conn.execute(SETTLE_IN, {"lineage": lineage, "address": address, "installation": installation})


LOCK = "SELECT FROM service_identity FOR UPDATE"


async def lock(conn: Conn) -> None:
    """Keep the row as it is until the transaction ends; ask whether it is fenced only after that."""
    await conn.execute(LOCK)


RELEASE = """
UPDATE service_identity AS s
   SET lineage = gen_random_uuid(), generation = 0, noted_at = clock_timestamp(),
       database_oid = cronsvc_database_oid(), database_name = current_database(),
       system_identifier = p.system_identifier, timeline = p.timeline, server_start = pg_postmaster_start_time(),
       fenced_at = NULL, fence_reason = NULL, fence_detail = NULL, addresses = '{}', installation = %(installation)s,
       released_at = clock_timestamp(), released_by = %(by)s, release_mode = %(mode)s
  FROM cronsvc_server() AS p
"""


async def release(conn: Conn, *, by: str, mode: str, installation: str | None) -> None:
    """This is who we are from now on; where we are reached, the processes write down as they come."""
    await conn.execute(RELEASE, {"by": by, "mode": mode, "installation": installation})


OVERDUE_IDS = """
SELECT id FROM jobs
 WHERE next_fire_time <= %(until)s AND id > %(after_id)s
   AND is_active AND deleted_at IS NULL AND paused_at IS NULL AND quarantine_reason IS NULL
 ORDER BY id LIMIT %(batch)s
"""


async def overdue_ids(conn: Conn, *, until: datetime, after_id: int, batch: int) -> list[int]:
    """Jobs that owe an instant, by id."""
    parameters = {"until": until, "after_id": after_id, "batch": batch}
    return [id_ for (id_,) in await (await conn.execute(OVERDUE_IDS, parameters)).fetchall()]


CANCEL_WAITING = """
WITH waiting AS (
    SELECT job_id, scheduled_time FROM job_executions
     WHERE status = 'QUEUED' AND created_at <= %(until)s
     ORDER BY job_id, scheduled_time LIMIT %(batch)s FOR UPDATE
)
UPDATE job_executions AS e
   SET status = 'CANCELLED', status_reason = 'restore', dispatch_at = NULL, held = NULL, end_time = clock_timestamp()
  FROM waiting AS w
 WHERE e.job_id = w.job_id AND e.scheduled_time = w.scheduled_time AND e.status = 'QUEUED'
"""


async def cancel_waiting(conn: Conn, *, until: datetime, batch: int) -> int:
    """Cancel up to `batch` of what has been QUEUED since before `until`; returns how many."""
    return (await conn.execute(CANCEL_WAITING, {"until": until, "batch": batch})).rowcount


SPEND_BUDGETS = """
UPDATE job_executions SET max_attempts = attempt WHERE status = 'RUNNING' AND attempt < max_attempts AND attempt > 0
"""


async def spend_budgets(conn: Conn) -> int:
    """What runs by its row gets no further attempt: found lost it is FAILED, `lost`. Returns how many rows."""
    return (await conn.execute(SPEND_BUDGETS)).rowcount
