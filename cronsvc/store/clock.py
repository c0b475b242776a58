"""The database's clock, which decides everything that has to do with time."""

from datetime import datetime
from typing import LiteralString

from cronsvc.store.pool import Conn

NOW = "SELECT clock_timestamp()"

BEGAN = "SELECT transaction_timestamp()"


async def now(conn: Conn) -> datetime:
    """What the clock says at this moment."""
    return await _ask(conn, NOW)


async def began(conn: Conn) -> datetime:
    """When the present transaction began: before anything that it has looked at or written."""
    return await _ask(conn, BEGAN)


async def _ask(conn: Conn, statement: LiteralString) -> datetime:
    row = await (await conn.execute(statement)).fetchone()
    assert row is not None
    instant: datetime = row[0]
    return instant
