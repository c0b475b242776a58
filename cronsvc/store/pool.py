"""Connections to Postgres, with the session settings our promises rest on.

`idle_in_transaction_session_timeout` is what frees the locks of a frozen process, `client_connection_check_interval`
those of a killed one whose backend is busy; TCP keepalive does neither. Through a pooler in transaction mode start-up
options cannot be sent: `pooler=True` leaves them to `ALTER ROLE … SET` and turns prepared statements off.
Every way of not reaching the server leaves here as `errors.Unavailable`.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from cronsvc.errors import Unavailable, Unstorable

Conn = AsyncConnection[TupleRow]

# InternalError: a session that the server ended (a frozen client's), or one that became read-only in a failover.
_AWAY = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.InternalError,
    PoolTimeout,
    PoolClosed,
    TooManyRequests,
)

SESSION: Mapping[str, str] = {
    "TimeZone": "UTC",
    "statement_timeout": "10s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "4s",
    "client_connection_check_interval": "500ms",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}

CLIENT: Mapping[str, Any] = {
    "connect_timeout": 3,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


def connection_settings(*, application_name: str, pooler: bool) -> dict[str, Any]:
    """Keyword arguments for `connect`: the same for the pool and for the one connection that listens."""
    settings: dict[str, Any] = dict(CLIENT) | {"application_name": application_name, "autocommit": True}
    if pooler:
        settings["prepare_threshold"] = None
    else:
        settings["options"] = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
    return settings


class Database:
    """A pool of connections. Services begin transactions here; nobody else does."""

    def __init__(self, pool: "AsyncConnectionPool[Conn]") -> None:
        self._pool = pool

    @classmethod
    async def open(
        cls, url: str, *, application_name: str, min_size: int = 1, max_size: int = 10, pooler: bool = False
    ) -> "Database":
        """Start the pool; connections are made in the background, so this succeeds while Postgres is down."""
        pool: AsyncConnectionPool[Conn] = AsyncConnectionPool(
            url,
            kwargs=connection_settings(application_name=application_name, pooler=pooler),
            min_size=min_size,
            max_size=max_size,
            timeout=5.0,
            max_idle=300.0,
            # Give up soon and let the next caller ask again: the pool's own waits double without a bound, and a
            # server that is back after a minute would stay unseen for another.
            reconnect_timeout=1.0,
            open=False,
        )
        await pool.open(wait=False)
        return cls(pool)

    async def close(self) -> None:
        """Close every connection; waits at most two seconds for those in use."""
        await self._pool.close(timeout=2.0)

    @asynccontextmanager
    async def statements(self) -> AsyncIterator[Conn]:
        """A connection on which each statement is a transaction of its own: one round trip instead of three."""
        try:
            async with self._pool.connection() as conn:
                yield conn
        except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded, UnicodeEncodeError) as error:
            raise Unstorable(f"Postgres: {first_line(error)}") from error
        except _AWAY as error:
            raise Unavailable(f"Postgres: {first_line(error)}") from error

    @asynccontextmanager
    async def transaction(self, *, actor: str | None = None, source: str | None = None) -> AsyncIterator[Conn]:
        """One transaction. `actor` and `source` are what the audit triggers will write for its changes."""
        async with self.statements() as conn, conn.transaction():
            if actor is not None:
                await conn.execute(
                    "SELECT set_config('cronsvc.actor', %s, true), set_config('cronsvc.source', %s, true)",
                    (actor, source or ""),
                )
            yield conn


def first_line(error: BaseException) -> str:
    """The first line of a driver's message; later lines may quote the statement."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
