"""Logins with the roles of sql/roles.sql, so that tests can be what each process is in a careful deployment."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

ROLES = ("cronsvc_api", "cronsvc_scheduler", "cronsvc_worker", "cronsvc_auditor")
PASSWORD = "of a test"

ROLES_SQL = Path(__file__).parents[2] / "sql/roles.sql"


@contextmanager
def logins(database_url: str, *, again: bool = False) -> Iterator[dict[str, str]]:
    """The database's URL for each role; logins and roles are gone after the block, for they belong to the server."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")  # as Postgres 14 has it
        for _ in range(2 if again else 1):  # again, as after an upgrade
            conn.execute(ROLES_SQL.read_bytes())
        for role in ROLES:
            conn.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}").format(
                    sql.Identifier(f"{role}_login"), sql.Literal(PASSWORD), sql.Identifier(role)
                )
            )
    yield {role: make_conninfo(database_url, user=f"{role}_login", password=PASSWORD) for role in ROLES}
    with psycopg.connect(database_url, autocommit=True) as conn:
        for role in ROLES:
            name = sql.Identifier(f"{role}_login")
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (f"{role}_login",)
            )
            conn.execute(sql.SQL("DROP ROLE {}").format(name))
            conn.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
            conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def grant(database_url: str, what: str, role: str) -> None:
    """As the owner: give a role what `sql/roles.sql` does not. `{database}` in `what` is this one's name."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        database = sql.Identifier(conn.info.dbname).as_string(conn)
        to = sql.Identifier(role).as_string(conn)
        conn.execute(f"GRANT {what.format(database=database)} TO {to}".encode())
