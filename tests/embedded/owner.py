"""A process that owns embedded servers, for tests that kill it, oppose it, or run it as another user.

Usage: python owner.py <folder>. It prints one JSON line, {"postgres": {"pid", "url"}, "valkey": …} or {"refused": why},
and ends when its standard input does.
"""

import json
import sys
from pathlib import Path

from cronsvc.embedded import EmbeddedError, postgres, valkey


def main(folder: Path) -> None:
    """Own both servers until told to end."""
    try:
        with (
            postgres(folder / "postgres", durable=False, wait=False) as database,
            valkey(folder / "valkey", wait=False) as doorbell,
        ):
            database.ready()
            doorbell.ready()
            report = {server.name: {"pid": server.pid, "url": server.url} for server in (database, doorbell)}
            print(json.dumps(report), flush=True)
            sys.stdin.read()
    except EmbeddedError as error:
        print(json.dumps({"refused": str(error)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
