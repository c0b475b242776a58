"""Statements that count the jobs of a namespace."""

from cronsvc.store.pool import Conn

LOCK_CLASS = 0x6A6F6273  # "jobs"

COUNT = """
SELECT count(*) FROM (SELECT FROM jobs WHERE namespace = %(namespace)s::text AND deleted_at IS NULL
                       LIMIT %(most)s::bigint) AS found
"""


async def count(conn: Conn, namespace: str, *, most: int) -> int:
    """How many live jobs a namespace has, counted up to `most`."""
    row = await (await conn.execute(COUNT, {"namespace": namespace, "most": most})).fetchone()
    return 0 if row is None else int(row[0])


HOLD = "SELECT pg_advisory_xact_lock(%(class)s::integer, hashtext(%(namespace)s::text))"


async def hold(conn: Conn, namespace: str) -> None:
    """Keep others who ask for this from creating jobs in the namespace until the transaction ends."""
    await conn.execute(HOLD, {"class": LOCK_CLASS, "namespace": namespace})
