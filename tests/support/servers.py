"""Servers for tests: fast ones from the embedded wheels, each caller with its own folder, socket and data.

Under pytest-xdist every worker process starts its own (some 0.9 s), so nothing is shared between workers.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cronsvc.embedded import Embedded, Postgres, Valkey

__all__ = ["Embedded", "free_port", "scratch_directory", "scratch_root", "start_postgres", "start_valkey"]


_MEMORY, _MEMORY_WANTED = Path("/dev/shm"), 4 * 1024**3


def scratch_root() -> Path:
    """Where servers keep what no test needs afterwards: in memory if there is enough of it.

    Cloning a database there takes 20 ms, on an ordinary disk 250 ms: a third of the whole run.
    """
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _MEMORY_WANTED:
        return _MEMORY
    return Path("/tmp")


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A new folder with a short path (pytest's are too long for a socket), gone after the block."""
    directory = Path(tempfile.mkdtemp(prefix="cs-", dir=scratch_root()))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def start_postgres(data_dir: Path, *, settings: Mapping[str, str] | None = None, port: int | None = None) -> Embedded:
    """A running Postgres on this folder that does not sync to disk; use it in a `with`, or `close()` it."""
    return _started(Postgres(data_dir, settings=settings, durable=False, port=port), data_dir)


def start_valkey(data_dir: Path, *, port: int | None = None) -> Embedded:
    """A running Valkey on this folder; use it in a `with`, or `close()` it."""
    return _started(Valkey(data_dir, port=port), data_dir)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _started(server: Embedded, data_dir: Path) -> Embedded:
    _make_passable(data_dir)
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    return server


def _make_passable(data_dir: Path) -> None:
    """Let the user that root's servers run as walk through the temporary folders above: Python makes them 0700."""
    for parent in data_dir.parents:
        temporary = any(parent != root and parent.is_relative_to(root) for root in (Path("/tmp"), _MEMORY))
        if os.geteuid() == 0 and temporary and parent.exists() and parent.stat().st_uid == 0:
            parent.chmod(parent.stat().st_mode | 0o011)
