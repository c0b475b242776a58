"""Connections to Postgres, with the session settings our promises rest on.

`idle_in_transaction_session_timeout` is what frees the locks of a frozen process, `client_connection_check_interval`
those of a killed one whose backend is busy; TCP keepalive does neither. Through a pooler in transaction mode start-up
options cannot be sent: `pooler=True` leaves them to `ALTER ROLE … SET` and turns prepared statements off.
A caller's namespaces (`reach`) go with each transaction where row-level security binds our role, and the fence of a
request that has a key (`effects`) with each that changes something for a caller.
Every way of not reaching the server leaves here as `errors.Unavailable`; so does a right that our role lacks.
"""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from cronsvc.errors import Conflict, Unavailable, Unstorable
from cronsvc.store import effects, origin, reach

_log = logging.getLogger("cronsvc.database")

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

# A plan for any parameters locks every partition, an old one that is being dropped included, whatever it prunes then.
SESSION: Mapping[str, str] = {
    "plan_cache_mode": "force_custom_plan",
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


# A setting that is not said is left as it is.
SAY = """
SELECT set_config('cronsvc.' || t.name, t.value, true)
  FROM (VALUES ('actor', %(actor)s::text), ('source', %(source)s::text), ('request_id', %(request_id)s::text),
               ('namespaces', %(namespaces)s::text)) AS t(name, value)
 WHERE t.value IS NOT NULL
"""
NOTHING_SAID: Mapping[str, str | None] = {"actor": None, "source": None, "request_id": None, "namespaces": None}

REGRANT = "run sql/roles.sql of this release again, as the owner of the tables"

WALLED = "SELECT row_security_active(to_regclass('public.jobs'))"


class Database:
    """A pool of connections. Services begin transactions here; nobody else does."""

    def __init__(self, pool: "AsyncConnectionPool[Conn]") -> None:
        self._pool = pool
        self._walled: bool | None = None  # whether row-level security binds our role; None: nobody has asked yet

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
        """A connection on which each statement is a transaction of its own: one round trip instead of three.

        Where policies bind our role, statements of a caller are one transaction, which says what the caller reaches.
        """
        async with self._connection() as conn:
            said = await self._reach(conn)
            if said is None:
                yield conn
                return
            async with conn.transaction():
                await conn.execute(SAY, said)
                yield conn

    @asynccontextmanager
    async def transaction(self, *, actor: str | None = None, source: str | None = None) -> AsyncIterator[Conn]:
        """One transaction. `actor` and `source` are what the audit triggers will write for its changes."""
        async with self._connection() as conn:
            said = dict(await self._reach(conn) or {})
            if actor is not None:
                said |= {"actor": actor, "source": source or "", "request_id": origin.request_id()}
            async with conn.transaction():
                if said:
                    await conn.execute(SAY, {**NOTHING_SAID, **said})
                claim = None if actor is None else await effects.enter(conn)
                yield conn
                if actor is not None:
                    effects.leave()
            if claim is not None:
                claim.took_effect = True  # committed

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Conn]:
        try:
            async with self._pool.connection() as conn:
                yield conn
        except psycopg.errors.IntegrityConstraintViolation as error:  # what a trigger refuses, in its words
            raise Conflict(first_line(error)) from error
        except psycopg.IntegrityError as error:  # a constraint that no statement expected to meet
            _log.warning("Postgres refused a change: %s", first_line(error))
            raise Conflict(first_line(error)) from error
        except psycopg.errors.InsufficientPrivilege as error:
            # Not what a policy or a trigger refuses: a role that lacks a grant, mostly one of a later release.
            if not (error.diag.source_function or "").startswith("aclcheck_error"):
                raise
            raise Unavailable(f"Postgres: {first_line(error)}; {REGRANT}") from error
        except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded, UnicodeEncodeError) as error:
            raise Unstorable(f"Postgres: {first_line(error)}") from error
        except _AWAY as error:
            raise Unavailable(f"Postgres: {first_line(error)}") from error

    async def _reach(self, conn: Conn) -> dict[str, str | None] | None:
        """What the next transaction has to say for the policies; None where none binds us, or nobody asks."""
        namespaces = reach.present()
        if namespaces is None or self._walled is False:
            return None
        if self._walled is None:
            row = await (await conn.execute(WALLED)).fetchone()
            self._walled = None if row is None else row[0]
        return {**NOTHING_SAID, "namespaces": namespaces} if self._walled else None


def first_line(error: BaseException) -> str:
    """The first line of a driver's message; later lines may quote the statement."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
