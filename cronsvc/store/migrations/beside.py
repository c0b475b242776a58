"""What a migration does beside a service that goes on: long work that keeps no table locked.

Each of these leaves the migration's transaction, so use them before anything else in a migration. They may be cut off
anywhere and be run again: what is there already is left as it is. Nothing that they set outlives them on a connection
that others get: through a pooler they set nothing beyond a transaction.
"""

from typing import Any

import psycopg
from alembic import op

from cronsvc.errors import Unavailable

STRETCH = 10_000

# An unfinished index keeps its name; nobody reads it, everybody who writes keeps it up.
UNFINISHED = "SELECT FROM pg_index WHERE indexrelid = to_regclass('public.' || %s) AND NOT indisvalid"

# For this transaction: no time that the role or the database sets cuts it short.
UNHURRIED = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '10min'"


def build_index(name: str, definition: str) -> None:
    """`CREATE INDEX CONCURRENTLY` unless there is one; waits up to ten minutes for transactions that are open.

    Through a pooler the role's own limits stay. Unavailable: they have cut it short.
    """
    with op.get_context().autocommit_block():
        conn = _connection()
        is_direct = _is_direct(conn)
        if is_direct:
            conn.execute("SET statement_timeout = 0")
            conn.execute("SET lock_timeout = '10min'")
        try:
            if conn.execute(UNFINISHED, (name,)).fetchone() is not None:
                conn.execute(f"DROP INDEX CONCURRENTLY public.{name}".encode())
            conn.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} {definition}".encode())
        except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable) as error:
            if is_direct:
                raise
            raise Unavailable(
                f"the index {name} was cut short by a time limit, which cannot be lifted through a pooler: run "
                f"`cronsvc migrate` once with the address of Postgres itself"
            ) from error
        if is_direct:
            conn.execute("RESET statement_timeout")
            conn.execute("RESET lock_timeout")


def validate(table: str, constraint: str) -> None:
    """Check the rows that were there before a `NOT VALID` constraint, while they can be written."""
    with op.get_context().autocommit_block():
        conn = _connection()
        with conn.transaction():
            conn.execute(UNHURRIED)
            conn.execute(f"ALTER TABLE public.{table} VALIDATE CONSTRAINT {constraint}".encode())


def in_stretches(statement: str) -> None:
    """Run a statement again and again, each time a transaction.

    It takes `after` and `most`, works on at most so many rows with ids beyond `after` and answers the last, or null.
    """
    with op.get_context().autocommit_block():
        conn, after = _connection(), 0
        while True:
            with conn.transaction():
                conn.execute(UNHURRIED)
                row = conn.execute(statement.encode(), {"after": after, "most": STRETCH}).fetchone()
            if row is None or row[0] is None:
                break
            after = row[0]


def _connection() -> psycopg.Connection[Any]:
    """The driver's own connection."""
    conn = op.get_bind().connection.driver_connection
    assert isinstance(conn, psycopg.Connection)
    return conn


def _is_direct(conn: psycopg.Connection[Any]) -> bool:
    """Whether the other end is Postgres itself: a pooler greets with a number of its own for the backend."""
    row = conn.execute("SELECT pg_backend_pid()").fetchone()
    return row is not None and row[0] == conn.info.backend_pid
