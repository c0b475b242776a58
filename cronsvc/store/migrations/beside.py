"""What a migration does beside a service that goes on: long work that keeps no table locked.

Each of these leaves the migration's transaction, so use them before anything else in a migration. They may be cut off
anywhere and be run again: what is there already is left as it is.
"""

from typing import Any

import psycopg
from alembic import op

STRETCH = 10_000

# An unfinished index keeps its name; nobody reads it, everybody who writes keeps it up.
UNFINISHED = "SELECT FROM pg_index WHERE indexrelid = to_regclass('public.' || %s) AND NOT indisvalid"


def build_index(name: str, definition: str) -> None:
    """`CREATE INDEX CONCURRENTLY` unless there is one; waits up to ten minutes for transactions that are open."""
    with op.get_context().autocommit_block():
        conn = _connection()
        if conn.execute(UNFINISHED, (name,)).fetchone() is not None:
            conn.execute(f"DROP INDEX CONCURRENTLY public.{name}".encode())
        conn.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} {definition}".encode())
        _reset(conn)


def in_stretches(statement: str) -> None:
    """Run a statement again and again, each time a transaction.

    It takes `after` and `most`, works on at most so many rows with ids beyond `after` and answers the last, or null.
    """
    with op.get_context().autocommit_block():
        conn, after = _connection(), 0
        while True:
            row = conn.execute(statement.encode(), {"after": after, "most": STRETCH}).fetchone()
            if row is None or row[0] is None:
                break
            after = row[0]
        _reset(conn)


def _connection() -> psycopg.Connection[Any]:
    """The driver's own connection, with no time set by the role or the database to cut it short."""
    conn = op.get_bind().connection.driver_connection
    assert isinstance(conn, psycopg.Connection)
    conn.execute("SET statement_timeout = 0")
    conn.execute("SET lock_timeout = '10min'")
    return conn


def _reset(conn: psycopg.Connection[Any]) -> None:
    conn.execute("RESET statement_timeout")
    conn.execute("RESET lock_timeout")
