"""Statements on executions whose target ends them later, by a call.

Such a row stays RUNNING under its claim_no, has left its worker (`worker_id` is null, `callback_worker` remembers it)
and is over when nobody has called by `callback_due`. Its end is written by `running.finish`, as every other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import class_row, dict_row

from cronsvc.domain.callback_token import CallbackGrant
from cronsvc.domain.execution import Claimed, Finish, Status, Trigger
from cronsvc.store.pool import Conn
from cronsvc.store.spans import by_key


@dataclass(frozen=True, slots=True)
class Key:
    """What tokens are signed with; `now` is the database's clock in seconds since 1970."""

    id: int
    secret: bytes
    now: float


NEWEST_KEY = """
SELECT id, secret, extract(epoch FROM clock_timestamp())::float8 AS now FROM callback_keys ORDER BY id DESC LIMIT 1
"""


async def newest_key(conn: Conn) -> Key | None:
    """The key that signs; None when somebody has deleted them all."""
    async with conn.cursor(row_factory=class_row(Key)) as cursor:
        return await (await cursor.execute(NEWEST_KEY)).fetchone()


KEY = """
SELECT id, secret, extract(epoch FROM clock_timestamp())::float8 AS now FROM callback_keys WHERE id = %(key_id)s::bigint
"""


async def key(conn: Conn, key_id: int) -> Key | None:
    """The key of this id; None when there is none (any more)."""
    async with conn.cursor(row_factory=class_row(Key)) as cursor:
        return await (await cursor.execute(KEY, {"key_id": key_id})).fetchone()


# Asked again after a lost answer, it does the same again. A row that somebody wants to end does not begin to wait.
AWAIT = """
UPDATE job_executions AS e
   SET worker_id = NULL, callback_worker = coalesce(e.worker_id, e.callback_worker),
       callback_since = coalesce(e.callback_since, clock_timestamp()), callback_heartbeat = t.heartbeat,
       callback_until = least(clock_timestamp() + make_interval(secs => t.timeout), e.deadline_at),
       callback_due = least(clock_timestamp() + make_interval(secs => least(t.heartbeat, t.timeout)), e.deadline_at),
       progress = coalesce(t.progress, e.progress), log_details = coalesce(t.log_details::jsonb, e.log_details)
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[], %(claim_nos)s::int[], %(heartbeats)s::int[],
              %(timeouts)s::int[], %(progress)s::int[], %(log_details)s::text[])
    AS t(job_id, scheduled_time, claim_no, heartbeat, timeout, progress, log_details)
 WHERE e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time AND e.claim_no = t.claim_no
   AND e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'RUNNING' AND e.cancel_requested_at IS NULL
RETURNING e.id
"""


async def begin_to_wait(conn: Conn, finishes: Sequence[Finish]) -> set[int]:
    """Let these attempts leave their worker and wait for their target's call; returns the execution ids written.

    One that is missing has ended or changed hands meanwhile, or somebody asked for its end.
    """
    ordered = sorted(finishes, key=lambda each: (each.job_id, each.scheduled_time))
    rows = await (
        await conn.execute(
            AWAIT,
            {
                **by_key((each.job_id, each.scheduled_time) for each in ordered),
                "claim_nos": [each.claim_no for each in ordered],
                "heartbeats": [each.awaiting.heartbeat_seconds for each in ordered if each.awaiting],
                "timeouts": [each.awaiting.timeout_seconds for each in ordered if each.awaiting],
                "progress": [each.progress for each in ordered],
                "log_details": [each.log_details for each in ordered],
            },
        )
    ).fetchall()
    return {execution_id for (execution_id,) in rows}


@dataclass(frozen=True, slots=True)
class Calling:
    """An execution as one who calls for it has to see it.

    `claimed` is the claim the row is under now. `ended_as` and `ended_with` are outcome and error of the attempt that
    was asked for, if it is over. `is_over`: its end should have come by now.
    """

    claimed: Claimed
    status: Status
    status_reason: str | None
    namespace: str
    awaits: bool
    is_over: bool
    since: datetime | None
    due: datetime | None
    until: datetime | None
    heartbeat_seconds: int | None
    cancel_requested_at: datetime | None
    cancel_requested_by: str | None
    result: Any
    log_details: Any
    definition: Mapping[str, Any] | None
    ended_as: str | None
    ended_with: Mapping[str, Any] | None


COLUMNS = sql.SQL("""
       e.id, e.job_id, e.scheduled_time, e.trigger, e.revision, e.attempt, e.max_attempts, e.claim_no, e.ready_at,
       e.start_time, e.params, extract(epoch FROM e.deadline_at - clock_timestamp())::float8 AS deadline_left,
       e.status, e.status_reason, e.worker_id IS NULL AND e.callback_due IS NOT NULL AND e.status = 'RUNNING' AS awaits,
       coalesce(e.callback_until <= clock_timestamp(), false) AS is_over,
       e.callback_since, e.callback_due, e.callback_until, e.callback_heartbeat, e.cancel_requested_at,
       e.cancel_requested_by, e.result, e.log_details, j.namespace, r.definition
""")

FIND = sql.SQL("""
SELECT {columns}, a.outcome, a.error AS attempt_error
  FROM job_executions AS e JOIN jobs AS j ON j.id = e.job_id
  LEFT JOIN job_revisions AS r ON r.job_id = e.job_id AND r.revision = e.revision
  LEFT JOIN job_attempts AS a ON a.job_id = e.job_id AND a.scheduled_time = e.scheduled_time
        AND a.claim_no = %(claim_no)s::bigint
 WHERE e.job_id = %(job_id)s::bigint AND e.scheduled_time = %(scheduled_time)s::timestamptz
   AND e.id = %(execution_id)s::bigint
""").format(columns=COLUMNS)

FIND_LOCKED = FIND + sql.SQL(" FOR UPDATE OF e")


async def find(conn: Conn, grant: CallbackGrant, *, lock: bool = False) -> Calling | None:
    """The execution of a grant, whatever has become of it; None when its row is gone."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            FIND_LOCKED if lock else FIND,
            {
                "job_id": grant.job_id,
                "scheduled_time": grant.scheduled_time,
                "execution_id": grant.execution_id,
                "claim_no": grant.claim_no,
            },
        )
        row = await cursor.fetchone()
    return None if row is None else _calling(row)


PRESENT = """
SELECT 0, e.id, e.job_id, e.scheduled_time, e.claim_no, 0 FROM job_executions AS e
 WHERE e.id = %(execution_id)s::bigint
"""


async def present_grant(conn: Conn, execution_id: int) -> CallbackGrant | None:
    """What a token for the execution's present claim would grant; None when there is no such execution."""
    row = await (await conn.execute(PRESENT, {"execution_id": execution_id})).fetchone()
    return None if row is None else CallbackGrant(*row)


HEAR = """
UPDATE job_executions AS e
   SET progress = coalesce(%(progress)s::int, e.progress),
       log_details = coalesce(%(log_details)s::text::jsonb, e.log_details),
       callback_due = CASE WHEN e.worker_id IS NULL AND e.cancel_requested_at IS NULL
                           THEN least(clock_timestamp() + make_interval(secs => e.callback_heartbeat), e.callback_until)
                           ELSE e.callback_due END
 WHERE e.job_id = %(job_id)s::bigint AND e.scheduled_time = %(scheduled_time)s::timestamptz
   AND e.claim_no = %(claim_no)s::bigint AND e.status = 'RUNNING'
RETURNING e.callback_due
"""


async def hear(conn: Conn, claimed: Claimed, *, progress: int | None, log_details: str | None) -> datetime | None:
    """A sign of life from the target of a locked row, and what it says; returns when the next one is due.

    None: its worker has not noted yet that it waits. `log_details` is JSON text; None leaves what is there.
    """
    parameters = {
        "job_id": claimed.job_id,
        "scheduled_time": claimed.scheduled_time,
        "claim_no": claimed.claim_no,
        "progress": progress,
        "log_details": log_details,
    }
    row = await (await conn.execute(HEAR, parameters)).fetchone()
    return None if row is None else row[0]


# Whether no worker has it is asked under the lock: here it would lead the planner to the index of all that runs.
SILENT = """
SELECT e.job_id, e.scheduled_time
  FROM job_executions AS e
 WHERE e.status = 'RUNNING' AND e.callback_due IS NOT NULL AND e.callback_due <= (SELECT clock_timestamp())
 ORDER BY e.callback_due LIMIT %(batch)s
"""


async def silent(conn: Conn, *, batch: int) -> list[tuple[int, datetime]]:
    """Keys of up to `batch` executions whose target should have called by now, the longest silent first."""
    rows = await (await conn.execute(SILENT, {"batch": batch})).fetchall()
    return [(job_id, scheduled_time) for job_id, scheduled_time in rows]


STILL_SILENT = sql.SQL("""
SELECT {columns}, NULL AS outcome, NULL AS attempt_error
  FROM unnest(%(job_ids)s::bigint[], %(times)s::timestamptz[]) AS t(job_id, scheduled_time)
  JOIN job_executions AS e ON e.job_id = t.job_id AND e.scheduled_time = t.scheduled_time
  JOIN jobs AS j ON j.id = e.job_id
  LEFT JOIN job_revisions AS r ON r.job_id = e.job_id AND r.revision = e.revision
 WHERE e.scheduled_time BETWEEN %(least)s AND %(greatest)s AND e.status = 'RUNNING' AND e.callback_due IS NOT NULL
   AND e.worker_id IS NULL AND e.callback_due <= clock_timestamp()
 ORDER BY e.job_id, e.scheduled_time
   FOR UPDATE OF e SKIP LOCKED
""").format(columns=COLUMNS)


async def lock_silent(conn: Conn, keys: Sequence[tuple[int, datetime]]) -> list[Calling]:
    """Those of these whose target is silent still, locked until the transaction ends; not one that calls just now."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(STILL_SILENT, by_key(keys))
        return [_calling(row) for row in await cursor.fetchall()]


def _calling(row: Mapping[str, Any]) -> Calling:
    definition = row["definition"] or {}
    retry_on = definition.get("retry_on")
    return Calling(
        claimed=Claimed(
            execution_id=row["id"],
            job_id=row["job_id"],
            scheduled_time=row["scheduled_time"],
            trigger=Trigger(row["trigger"]),
            revision=row["revision"],
            attempt=row["attempt"],
            max_attempts=row["max_attempts"],
            claim_no=row["claim_no"],
            ready_at=row["ready_at"],
            start_time=row["start_time"],
            params=row["params"],
            deadline_left=row["deadline_left"],
            retry_on=None if retry_on is None else tuple(retry_on),
            counted=definition.get("pause_after_failures") is not None,
        ),
        status=Status(row["status"]),
        status_reason=row["status_reason"],
        namespace=row["namespace"],
        awaits=row["awaits"],
        is_over=row["is_over"],
        since=row["callback_since"],
        due=row["callback_due"],
        until=row["callback_until"],
        heartbeat_seconds=row["callback_heartbeat"],
        cancel_requested_at=row["cancel_requested_at"],
        cancel_requested_by=row["cancel_requested_by"],
        result=row["result"],
        log_details=row["log_details"],
        definition=row["definition"],
        ended_as=row["outcome"],
        ended_with=row["attempt_error"],
    )
