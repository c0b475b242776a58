"""What a run leaves behind: JSON lines in one folder, each with the host's time, written by any thread."""

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

Row = Mapping[str, Any]


class Recorder:
    """Appends rows to `<name>.jsonl`; every row is on its way to the disk before `write` returns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, TextIO] = {}
        self._guard = threading.Lock()

    def write(self, name: str, /, **row: Any) -> None:
        line = json.dumps({"t": time.time(), **row}) + "\n"
        with self._guard:
            if name not in self._files:
                self._files[name] = (self.folder / f"{name}.jsonl").open("a", buffering=1)
            self._files[name].write(line)

    def close(self) -> None:
        with self._guard:
            for file in self._files.values():
                file.close()
            self._files.clear()


def read(folder: Path, name: str) -> list[Row]:
    """The rows of one file, in order; a last line that was cut is left out."""
    path = folder / f"{name}.jsonl"
    if not path.exists():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows
