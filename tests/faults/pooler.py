"""pgbouncer in transaction mode in front of our Postgres, where the machine has it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from cronsvc.store.pool import SESSION
from tests.faults.missing import MissingError
from tests.faults.waiting import until_listening
from tests.support.servers import free_port

BINARY = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")

CONFIG = """
[databases]
cronsvc = host=127.0.0.1 port={upstream} dbname=cronsvc
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {users}
admin_users = cronsvc
pool_mode = transaction
default_pool_size = 20
max_client_conn = 200
server_login_retry = 1
server_check_delay = 5
ignore_startup_parameters = extra_float_digits
logfile = {log}
pidfile = {pid}
"""


@contextmanager
def pooler(url: str, folder: Path) -> Iterator[int]:
    """The port of a pgbouncer of ours for this database, for the length of the block. MissingError: none is installed.

    The session settings that a pooler cannot pass on are set on the role, as the README tells operators.
    """
    if BINARY is None:
        raise MissingError("pgbouncer is not installed: apt-get install pgbouncer")
    parts = urlsplit(url)
    _set_on_role(url, parts.username or "")
    folder.mkdir(mode=0o755)
    port = free_port()
    users = folder / "users.txt"
    users.write_text(f'"{parts.username}" "{parts.password}"\n')
    config = folder / "pgbouncer.ini"
    config.write_text(
        CONFIG.format(
            upstream=parts.port, port=port, users=users, log=folder / "pgbouncer.log", pid=folder / "pgbouncer.pid"
        )
    )
    as_other = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    if as_other:
        shutil.chown(folder, "nobody", "nogroup")
        for file in (users, config):
            shutil.chown(file, "nobody", "nogroup")
    child = subprocess.Popen([BINARY, "-q", str(config)], start_new_session=True, stdin=subprocess.DEVNULL, **as_other)  # type: ignore[call-overload]
    try:
        until_listening(port, seconds=10)
        yield port
    finally:
        child.kill()
        child.wait()


def _set_on_role(url: str, role: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        for name, value in SESSION.items():
            conn.execute(
                sql.SQL("ALTER ROLE {} SET {} = {}").format(
                    sql.Identifier(role), sql.Identifier(name), sql.Literal(value)
                )
            )
