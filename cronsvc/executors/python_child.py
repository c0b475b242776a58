"""The process of a plain `def` handler: started as a script, one attempt, then gone.

It reads one JSON object on standard input and writes JSON lines to the descriptor that this names: `{"progress",
"note"}`, `{"log", "level", "fields"}`, `{"dropped"}`, `{"child"}` for each child to start and `{"fanOut"}` for all of
them (answered by a line on another descriptor), and at last `{"result"}` or `{"error"}`, all of it capped already. What
is said too fast is held back and its oldest lines are dropped, so neither does a chatty handler wait for its worker,
nor does the worker drown. What is said at a human pace leaves at once: it survives whatever kills this process.
"""

import importlib
import json
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

WINDOW_SECONDS = 0.2
LINES_A_WINDOW = 40
MOST_WAITING = 200
LONGEST_CHILD = 100_000


class Pipe:
    """The way to the worker; the reporter of the handler's context."""

    def __init__(self, descriptor: int, replies: int, spell: Callable[[Any], Any], refusal: type[Exception]) -> None:
        self._descriptor = descriptor
        self._replies = os.fdopen(replies, "rb")
        self._refusal = refusal
        self._asking = threading.Lock()
        self._spell = spell
        self._lock = threading.Lock()
        self._window = 0.0
        self._sent = 0
        self._waiting: deque[dict[str, Any]] = deque()
        self._latest: dict[str, Any] | None = None
        self._dropped = 0
        self._late: threading.Thread | None = None

    def progress(self, percent: float, note: str | None) -> None:
        percent = max(0, min(100, int(percent)))
        with self._lock:
            if note is None and self._latest is not None:
                note = self._latest["note"]
            said = {"progress": percent, "note": None if note is None else str(note)[:500]}
            if self._has_room():
                self._send(said)
            else:
                self._latest = said
                self._send_later()

    def log(self, message: str, level: str, fields: Mapping[str, Any]) -> None:
        spelt = self._spell(fields)
        if len(json.dumps(spelt)) > 8_192:
            spelt = {"leftOut": f"{len(spelt)} fields, too long to keep"}
        said = {"log": str(message)[:4_096], "level": str(level), "fields": spelt}
        with self._lock:
            if not self._waiting and self._has_room():
                self._send(said)
                return
            self._waiting.append(said)
            if len(self._waiting) > MOST_WAITING:
                self._waiting.popleft()
                self._dropped += 1
            self._send_later()

    def start(self, children: list[Any], wait: bool, tolerate: int) -> list[int]:
        """Ask the worker to start these children; raises what the handler's world knows as FanOutError."""
        lines = []
        for child in children:
            line = {"job": child.job, "params": child.params, "delay": child.delay_seconds, "key": child.key}
            if len(json.dumps(line)) > LONGEST_CHILD:
                raise self._refusal(f"a child is at most {LONGEST_CHILD} bytes of JSON")
            lines.append({"child": line})
        with self._asking:
            with self._lock:
                for said in [*lines, {"fanOut": {"wait": bool(wait), "tolerate": tolerate}}]:
                    self._send(said)
            answer = json.loads(self._replies.readline() or '{"refused": "the worker is gone"}')
        if "refused" in answer:
            raise self._refusal(answer["refused"])
        return [int(each) for each in answer["ids"]]

    def end(self, said: dict[str, Any]) -> None:
        """Send what waits, and the last word."""
        with self._lock:
            self._send_waiting()
            self._send(said)
            os.close(self._descriptor)
            self._descriptor = -1

    def _has_room(self) -> bool:
        now = time.monotonic()
        if now - self._window > WINDOW_SECONDS:
            self._window, self._sent = now, 0
        self._sent += 1
        return self._sent <= LINES_A_WINDOW

    def _send_later(self) -> None:
        if self._late is None:
            self._late = threading.Thread(target=self._wait_and_send, daemon=True)
            self._late.start()

    def _wait_and_send(self) -> None:
        time.sleep(WINDOW_SECONDS)
        with self._lock:
            self._late = None
            self._send_waiting()

    def _send_waiting(self) -> None:
        if self._dropped:
            self._send({"dropped": self._dropped})
        self._dropped = 0
        while self._waiting:
            self._send(self._waiting.popleft())
        if self._latest is not None:
            self._send(self._latest)
            self._latest = None

    def _send(self, said: dict[str, Any]) -> None:
        if self._descriptor < 0:
            return  # a thread that talks on after the end
        left = memoryview(json.dumps(said).encode() + b"\n")
        while left:
            left = left[os.write(self._descriptor, left) :]


def main() -> int:
    """Make the attempt that standard input describes; the exit code matters to nobody who got the last word."""
    request = json.load(sys.stdin)
    sys.path[:] = request["path"]
    importlib.import_module("cronsvc.executors.launcher").bind(request["owner"])
    handlers = importlib.import_module("cronsvc.handlers")
    jsonable = importlib.import_module("cronsvc.executors.jsonable")
    os.set_inheritable(request["descriptor"], False)
    os.set_inheritable(request["replies"], False)
    os.dup2(2, 1)  # what a handler prints goes where the worker's own errors go
    pipe = Pipe(request["descriptor"], request["replies"], jsonable.jsonable, handlers.FanOutError)
    try:
        function: Any = importlib.import_module(request["module"])
        for name in request["name"].split("."):
            function = getattr(function, name)
        fields = request["context"] | {"scheduled_time": datetime.fromisoformat(request["context"]["scheduled_time"])}
        result = function(handlers.SyncContext(**fields, reporter=pipe, starter=pipe))
        pipe.end({"result": jsonable.capped(result)})
    except BaseException as error:  # noqa: BLE001 — SystemExit too: whatever ends the handler is its answer
        pipe.end({"error": describe(error, handlers)})
        return 1
    return 0


def describe(error: BaseException, handlers: Any) -> dict[str, Any]:
    """An exception of a handler, as both kinds of handlers tell it."""
    after = error.after if isinstance(error, handlers.Retry) else None
    return {
        "name": type(error).__name__,
        "message": _message(error)[:2_000],
        "permanent": isinstance(error, handlers.Permanent),
        "after": after,
        "traceback": _traceback(error)[-16_000:],
    }


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 — a stranger's __str__
        return ""


def _traceback(error: BaseException) -> str:
    """Its traceback from the handler on: our own frame says nothing."""
    frames = error.__traceback__.tb_next if error.__traceback__ is not None else None
    try:
        return "".join(traceback.format_exception(type(error), error, frames, limit=50))
    except Exception:  # noqa: BLE001 — a stranger's __str__, deep inside
        return ""


if __name__ == "__main__":
    sys.exit(main())
