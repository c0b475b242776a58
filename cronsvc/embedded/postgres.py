"""Postgres: a cluster made once for its major version, a database `cronsvc`, and the running server."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from cronsvc.embedded import process
from cronsvc.embedded.binaries import find_postgres, reachable, version
from cronsvc.embedded.errors import EmbeddedError
from cronsvc.embedded.server import Embedded

OLDEST_MAJOR = 14
SOCKET_PORT = 5432  # only part of the socket's file name while there is no TCP

SETTINGS = {
    "max_connections": "100",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "jit": "off",  # compiling our short statements would cost more than running them
    "client_connection_check_interval": "500ms",  # a client that vanished frees its locks in the middle of a statement
}
# Commits still reach the kernel before they are confirmed: they survive a kill -9 of the server, not a power cut.
FAST_SETTINGS = {"fsync": "off", "full_page_writes": "off"}


class Postgres(Embedded):
    """A Postgres server on unix sockets; on 127.0.0.1 as well when it has a port."""

    name = "postgres"
    stop_signals = (signal.SIGINT, signal.SIGQUIT)  # fast shutdown, then immediate

    def __init__(
        self,
        data_dir: Path,
        *,
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
        port: int | None = None,
        user: str = "nobody",
    ) -> None:
        super().__init__(data_dir, port=port, user=user)
        self._durable = durable
        self._cluster = data_dir  # named by the major version once that is known
        self._settings = SETTINGS | ({} if durable else FAST_SETTINGS) | dict(settings or {})

    @property
    def url(self) -> str:
        """For psycopg and for SQLAlchemy: the latter reads a socket's folder only from the query."""
        login = f"cronsvc:{self._password_file.read_text()}"
        if self._port is not None:
            return f"postgresql://{login}@127.0.0.1:{self._port}/cronsvc"
        return f"postgresql://{login}@/cronsvc?host={quote(str(self._folder.sockets), safe='/')}&port={SOCKET_PORT}"

    @property
    def _password_file(self) -> Path:
        return self._folder.path / "password"

    def _prepare(self) -> None:
        if not self._password_file.exists() or self._password_file.stat().st_size == 0:
            with os.fdopen(self._folder.open("password", os.O_WRONLY), "w") as file:
                file.write(secrets.token_hex(16))

    def _start_server(self) -> subprocess.Popen[bytes]:
        binary = reachable(find_postgres(), self._folder)
        major = int(version(binary, self._folder).split()[2].split(".")[0])
        self._cluster = self._folder.path / f"pg{major}"
        if not self._cluster.exists():
            self._refuse_other_versions(major)
            self._make_cluster(binary, major)
        return self._serve(binary)

    def _refuse_other_versions(self, major: int) -> None:
        if major < OLDEST_MAJOR:
            raise EmbeddedError(
                f"Postgres {major} is too old, {OLDEST_MAJOR} is the oldest that will do: set DATABASE_URL"
            )
        for other in self._folder.path.glob("pg[0-9]*"):
            raise EmbeddedError(
                f"{other} was made by Postgres {other.name[2:]} and this is Postgres {major}: install that version "
                f"again, or dump the data there and restore it in another data folder"
            )

    def _make_cluster(self, binary: Path, major: int) -> None:
        """All steps or nothing: the cluster gets its name only when it is whole."""
        unfinished = self._folder.path / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        # The builtin provider sorts the same whatever C library there is, today and after an upgrade.
        builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if major >= 17 else []
        sync = [] if self._durable else ["--no-sync"]
        options = ["--username=cronsvc", f"--pwfile={self._password_file}", "--auth=scram-sha-256", "--encoding=UTF8"]
        initdb = [str(binary.with_name("initdb")), f"--pgdata={unfinished}", "--locale=C", *options, *builtin, *sync]
        self._run([*initdb, "--no-instructions"])
        single = [str(binary), "--single", "-D", str(unfinished), "-c", "exit_on_error=on", "-c", "log_checkpoints=off"]
        self._run([*single, "postgres"], script="CREATE DATABASE cronsvc\n")
        unfinished.rename(self._cluster)

    def _serve(self, binary: Path) -> subprocess.Popen[bytes]:
        """Start the postmaster in the foreground, past any lock file that a dead one left.

        Postgres believes any pid in its lock files that is alive, such as a zombie that nobody reaps or an unrelated
        process after a reboot, and would refuse to start for ever. Deleting postmaster.pid would lose the shared
        memory key that keeps two servers off one cluster, so the stale pid is excused through the variable that
        pg_ctl uses for its own parent.
        """
        stale = process.end_leftover(self._cluster / "postmaster.pid", str(self._cluster), signal.SIGINT)
        for lock in self._folder.sockets.glob(".s.PGSQL.*"):
            lock.unlink(missing_ok=True)
        where = {
            "unix_socket_directories": str(self._folder.sockets),
            "listen_addresses": "" if self._port is None else "127.0.0.1",
            "port": str(self._socket_port),
        }
        settings = [part for name, value in (where | self._settings).items() for part in ("-c", f"{name}={value}")]
        return self._spawn(
            [str(binary), "-D", str(self._cluster), *settings],
            self.stop_signals[0],
            environment={} if stale is None else {"PG_GRANDPARENT_PID": str(stale)},
        )

    @property
    def _socket_port(self) -> int:
        return SOCKET_PORT if self._port is None else self._port

    def _answers(self, pid: int) -> bool:
        """The status line says `ready` once recovery is over; connecting proves that the socket is there."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        if len(lines) < 8 or lines[0] != str(pid) or lines[7].strip() != "ready":
            return False
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(os.fspath(self._folder.sockets / f".s.PGSQL.{self._socket_port}"))
            except OSError:
                return False
        return True

    def _worth_another_try(self, complaint: str) -> bool:
        """After a kill -9 of the postmaster its sessions end by themselves, each at the end of its statement."""
        return "shared memory block" in complaint and "still in use" in complaint
