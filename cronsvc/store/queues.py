"""The named queues there are. A job that names a new one adds it, by the trigger on `jobs`."""

from cronsvc.store.pool import Conn

NAMES = "SELECT name FROM queues ORDER BY name"


async def names(conn: Conn) -> list[str]:
    """Every queue, in order of name."""
    rows = await (await conn.execute(NAMES)).fetchall()
    return [name for (name,) in rows]
