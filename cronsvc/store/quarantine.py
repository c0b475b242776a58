"""Setting jobs aside that nobody can plan. A trigger of the table writes that, and its end, to the audit log."""

from cronsvc.store.pool import Conn

# Who the audit log says has done it.
ACTOR = "cronsvc:scheduler"

SPEAK = "SELECT set_config('cronsvc.actor', %(actor)s::text, true), set_config('cronsvc.source', '', true)"

QUARANTINE = """
UPDATE jobs SET quarantine_reason = %(reason)s WHERE id = %(job_id)s AND quarantine_reason IS NULL
"""


async def quarantine(conn: Conn, job_id: int, reason: str) -> None:
    """Set a job aside that cannot be planned, inside a transaction; an edit of its schedule brings it back."""
    await conn.execute(SPEAK, {"actor": ACTOR})
    await conn.execute(QUARANTINE, {"job_id": job_id, "reason": reason})
