"""The schema's history: plain SQL files, run in order by alembic.

`upgrade` may be raced by any number of replicas: one works, the others wait for it and then find nothing to do. The
lock is held on another connection than the one that migrates, because a lock on alembic's own would open a transaction
under its feet; it is tried again and again rather than waited for in a statement, whose snapshot `CREATE INDEX
CONCURRENTLY` would wait for in turn. All of it works through a pooler in transaction mode, but for an index that takes
longer than the role's statements may: that is told, and asks for Postgres itself. There is no downgrade: every
migration leaves a schema on which the previous release still runs, so a rollback of the code needs none of the schema.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from cronsvc.errors import Unavailable

HEAD = "0020"
"""The revision this release was written for; a test holds it equal to the newest file in `versions/`."""

LOCK_WAIT_SECONDS = 600.0
LOCK_RETRY_SECONDS = 0.1
CONNECT_SECONDS = 5

TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('cronsvc'), hashtext('migrations'))"

# The holder idles in its transaction for as long as the other connection works.
LET_HOLDER_IDLE = "SET LOCAL idle_in_transaction_session_timeout = 0"

VERSION_TABLE = "SELECT to_regclass('public.alembic_version')"

VERSION = "SELECT version_num FROM public.alembic_version"


def current(database_url: str) -> str | None:
    """The revision this database is at; None when cronsvc never migrated it. Unavailable: no Postgres there."""
    try:
        with _connect(database_url) as conn:
            return _current(conn)
    except psycopg.OperationalError as error:
        raise Unavailable(_sentence(error)) from error


@dataclass(frozen=True, slots=True)
class Found:
    """What a database is. `version` as the server tells it, such as 18.1; `major` of it; `revision` as `current`."""

    version: str
    major: int
    revision: str | None


def inspect(database_url: str) -> Found:
    """Look at a server without changing anything. Unavailable: no Postgres there."""
    try:
        with _connect(database_url) as conn:
            version = conn.info.parameter_status("server_version") or "?"
            return Found(version.split()[0], conn.info.server_version // 10_000, _current(conn))
    except psycopg.OperationalError as error:
        raise Unavailable(_sentence(error)) from error


def is_ahead(revision: str) -> bool:
    """Whether a newer release has migrated this far: its schema still serves us, and is not ours to change."""
    return revision > HEAD


def upgrade(database_url: str) -> str:
    """Bring the schema to HEAD and return the revision it is at: HEAD, or a newer release's.

    Blocks: from an event loop use `asyncio.to_thread`. Unavailable: Postgres cannot be reached, or somebody else keeps
    a table or the migrations locked; nothing of the interrupted step remains.
    """
    revision = current(database_url)
    if revision is not None and revision >= HEAD:
        return revision
    try:
        with _lock(database_url):
            _run_alembic(database_url)
            with _connect(database_url) as conn:
                return _current(conn) or HEAD
    except (psycopg.OperationalError, psycopg.errors.LockNotAvailable) as error:
        raise Unavailable(_sentence(error)) from error


def _run_alembic(database_url: str) -> None:
    from alembic import command  # noqa: PLC0415 a second of imports, needed only when there is something to do
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415
    from sqlalchemy import create_engine, exc, pool  # noqa: PLC0415

    # SQLAlchemy refuses `postgres://` and does not decode a socket's folder; libpq reads every form there is.
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: _connect(database_url, autocommit=False), poolclass=pool.NullPool
    )
    config = Config()
    config.set_main_option("script_location", "cronsvc.store:migrations")
    config.attributes["engine"] = engine
    try:
        command.upgrade(config, "head")
    except CommandError:
        with _connect(database_url) as conn:
            revision = _current(conn)
        if revision is None or not is_ahead(revision):  # else: a newer release won the race
            raise
    except exc.DBAPIError as error:
        if isinstance(error.orig, psycopg.Error):
            raise error.orig from error
        raise
    finally:
        engine.dispose()


@contextmanager
def _lock(database_url: str) -> Iterator[None]:
    """Be the only one who migrates this database; the kernel's closing of our socket frees it if we die."""
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    with _connect(database_url) as conn:
        while True:
            with conn.transaction():
                conn.execute(LET_HOLDER_IDLE)
                row = conn.execute(TRY_LOCK).fetchone()
                if row is not None and row[0]:
                    yield
                    return
            if time.monotonic() > deadline:
                raise Unavailable(f"another process has been migrating this database for {LOCK_WAIT_SECONDS:.0f} s")
            time.sleep(LOCK_RETRY_SECONDS)


def _connect(database_url: str, *, autocommit: bool = True) -> psycopg.Connection:
    return psycopg.connect(
        database_url,
        autocommit=autocommit,
        prepare_threshold=None,
        connect_timeout=CONNECT_SECONDS,
        application_name="cronsvc-migrate",
    )


def _current(conn: psycopg.Connection) -> str | None:
    exists = conn.execute(VERSION_TABLE).fetchone()
    if exists is None or exists[0] is None:
        return None
    row = conn.execute(VERSION).fetchone()
    return None if row is None else str(row[0])


def _sentence(error: psycopg.Error) -> str:
    return "Postgres: " + (str(error).strip() or type(error).__name__).splitlines()[0]
