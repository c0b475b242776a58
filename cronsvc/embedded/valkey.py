"""Valkey (or Redis, its elder): an append-only file, a unix socket, and nothing ever evicted."""

import os
import signal
import socket
import subprocess
from pathlib import Path
from urllib.parse import quote

from cronsvc.embedded import process
from cronsvc.embedded.binaries import find_valkey, reachable
from cronsvc.embedded.server import Embedded

ANSWER_SECONDS = 2.0


class Valkey(Embedded):
    """A Valkey server on a unix socket; on 127.0.0.1 as well, without a password, when it has a port (for tests)."""

    name = "valkey"
    stop_signals = (signal.SIGTERM,)

    def __init__(self, data_dir: Path, *, port: int | None = None, user: str = "nobody") -> None:
        super().__init__(data_dir, port=port, user=user)

    @property
    def url(self) -> str:
        """As redis-py reads it."""
        if self._port is not None:
            return f"redis://127.0.0.1:{self._port}/0"
        return f"unix://{quote(str(self._socket))}?db=0"

    @property
    def _socket(self) -> Path:
        return self._folder.sockets / "valkey.sock"

    def _prepare(self) -> None:
        """Nothing: an empty folder is all it needs."""

    def _start_server(self) -> subprocess.Popen[bytes]:
        binary = reachable(find_valkey(), self._folder)
        folder = str(self._folder.path)
        pid_file = self._folder.path / "valkey.pid"
        process.end_leftover(pid_file, folder, self.stop_signals[0])
        options = {
            "dir": folder,
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "port": str(self._port or 0),
            "bind": "127.0.0.1",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "pidfile": str(pid_file),
            "set-proc-title": "no",  # the command line must go on naming the folder: a leftover is known by it
            "daemonize": "no",
            "loglevel": "warning",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        return self._spawn([str(binary), *arguments], self.stop_signals[0])

    def _answers(self, pid: int) -> bool:
        """A raw PING: a client library would sleep before it tries again. While loading, the answer is an error."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(ANSWER_SECONDS)
            try:
                client.connect(os.fspath(self._socket))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
            except OSError:
                return False
