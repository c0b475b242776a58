"""How a migration runs its SQL file."""

from importlib.resources import files

from alembic import op


def run_file(name: str, *, lock_timeout: str = "5s") -> None:
    """Run `sql/<name>` as it stands, in the migration's transaction.

    `lock_timeout` gives up instead of queueing every reader of a busy table behind us; 0 for statements that must wait.
    The driver's own connection: SQLAlchemy would take a colon in the SQL for a parameter.
    """
    statements = files("cronsvc.store.migrations").joinpath("sql", name).read_text(encoding="utf-8")
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    # Other sessions' defaults must not leak into what the file creates, nor ours cut it short.
    connection.execute(f"SET LOCAL lock_timeout = '{lock_timeout}'; SET LOCAL statement_timeout = 0")
    connection.execute("SET LOCAL search_path = public")
    connection.execute(statements)
