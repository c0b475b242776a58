"""The database's clock as one transaction sees it."""

from datetime import datetime

from cronsvc.store.pool import Conn

BEGAN = "SELECT transaction_timestamp()"


async def began(conn: Conn) -> datetime:
    """When the present transaction began: before anything that it has looked at or written."""
    row = await (await conn.execute(BEGAN)).fetchone()
    assert row is not None
    instant: datetime = row[0]
    return instant
