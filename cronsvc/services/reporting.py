"""What running attempts say of themselves, written while they run: progress and log lines.

Saying something costs an attempt no wait: it goes into its `Report`, and one statement at a time takes along what all
attempts of this process have said since, at most every WRITE_SECONDS. It is written behind the fence and only while
the row is RUNNING; the last words travel in the Finish, in the statement that ends the attempt. So whatever the order
in which Postgres gets the two, what stands in the row at the end is what the attempt said last.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypedDict

from cronsvc.domain.execution import Claimed
from cronsvc.errors import Unavailable
from cronsvc.executors.jsonable import cut, jsonable, storable
from cronsvc.store import reports
from cronsvc.store.pool import Database

_log = logging.getLogger("cronsvc.reporting")

WRITE_SECONDS = 0.5
MOST_LINES = 200
MOST_BYTES = 65_536
MESSAGE_BYTES = 4_096
FIELDS_BYTES = 4_096
NOTE_BYTES = 500
LEVELS = frozenset({"debug", "info", "warning", "error"})


class LastWords(TypedDict):
    """The part of a Finish that a report fills."""

    progress: int | None
    log_details: str | None


class Report:
    """What one attempt has said so far; the reporter of its RunContext. `changed` is called whenever there is news."""

    def __init__(self, claimed: Claimed, changed: "Callable[[Report], None]") -> None:
        self.claimed = claimed
        self.loop = asyncio.get_running_loop()
        self._changed = changed
        self._progress: int | None = None
        self._note: str | None = None
        self._lines: deque[str] = deque()
        self._sizes: deque[int] = deque()
        self._bytes = 0
        self._dropped = 0
        self._has_unwritten_lines = False
        self.is_closed = False

    def progress(self, percent: float, note: str | None) -> None:
        """See `executors.base.Reporter`."""
        self._progress = max(0, min(100, int(percent)))
        if note is not None:
            self._note = storable(cut(str(note), NOTE_BYTES))
            self._has_unwritten_lines = True
        self._changed(self)

    def log(self, message: str, level: str, fields: Mapping[str, Any]) -> None:
        """See `executors.base.Reporter`. The oldest lines go when there are too many, and are counted."""
        line = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": level if level in LEVELS else "info",
            "message": storable(cut(str(message), MESSAGE_BYTES)),
        }
        more = {name: value for name, value in jsonable(fields).items() if name not in line}
        text = json.dumps(more, ensure_ascii=False)
        if len(text) > FIELDS_BYTES:
            more = {"leftOut": f"{len(more)} fields, too long to keep"}
        self._add(json.dumps(line | more, ensure_ascii=False))
        self._changed(self)

    def lost(self, count: int) -> None:
        """See `executors.base.Reporter`."""
        self._dropped += count
        self._has_unwritten_lines = True
        self._changed(self)

    def restore(self, details: Any) -> None:
        """Go on from what the row says, if this attempt said it: another process may have written it."""
        lines = details.get("lines") if isinstance(details, Mapping) else None
        if not isinstance(lines, list) or details.get("attempt") != self.claimed.attempt:
            return
        note, dropped = details.get("note"), details.get("dropped")
        self._note = note if isinstance(note, str) else None
        self._dropped = dropped if isinstance(dropped, int) else 0
        for line in lines:
            self._add(json.dumps(line, ensure_ascii=False))
        self._has_unwritten_lines = False

    def _add(self, line: str) -> None:
        self._lines.append(line)
        self._sizes.append(len(line.encode()) + 2)
        self._bytes += self._sizes[-1]
        while len(self._lines) > MOST_LINES or self._bytes > MOST_BYTES:
            self._lines.popleft()
            self._bytes -= self._sizes.popleft()
            self._dropped += 1
        self._has_unwritten_lines = True

    def close(self) -> LastWords:
        """The last words, for the Finish; what is said later is not heard."""
        self.is_closed = True
        said = self._lines or self._dropped or self._note is not None
        return {"progress": self._progress, "log_details": self._details() if said else None}

    def news(self) -> reports.Said:
        """What to write now; the lines only if there are new ones."""
        details = self._details() if self._has_unwritten_lines else None
        self._has_unwritten_lines = False
        claimed = self.claimed
        return reports.Said(claimed.job_id, claimed.scheduled_time, claimed.claim_no, self._progress, details)

    def keep(self) -> None:
        """What `news` gave was not written: give it again."""
        self._has_unwritten_lines = bool(self._lines or self._dropped or self._note is not None)

    def _details(self) -> str:
        """`{"attempt", "note"?, "lines": […], "dropped"}`; the attempt, for a later one begins anew."""
        note = "" if self._note is None else f'"note": {json.dumps(self._note, ensure_ascii=False)}, '
        head = f'{{"attempt": {self.claimed.attempt}, {note}"lines": ['
        return head + ", ".join(self._lines) + f'], "dropped": {self._dropped}}}'


class Reports:
    """The reports of one process, and their way into the rows."""

    def __init__(self, db: Database, *, pause: float = WRITE_SECONDS) -> None:
        self._db = db
        self._pause = pause
        self._changed: dict[Report, None] = {}
        self._writing: asyncio.Task[None] | None = None
        self._is_away = False

    def open(self, claimed: Claimed) -> Report:
        """A report for one attempt."""
        return Report(claimed, self._note)

    def _note(self, report: Report) -> None:
        if report.is_closed:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # said in a thread that a handler started
            report.loop.call_soon_threadsafe(self._note, report)
            return
        self._changed[report] = None
        if self._writing is None:
            self._writing = loop.create_task(self._write_on(), name="reports")

    async def _write_on(self) -> None:
        """Write until nobody has said anything new for one pause."""
        try:
            while self._changed:
                # What has ended goes with its Finish.
                news = [report for report in self._changed if not report.is_closed]
                self._changed.clear()
                if news:
                    await self._write(news)
                await asyncio.sleep(self._pause)
        finally:
            self._writing = None

    async def _write(self, news: list[Report]) -> None:
        said = [report.news() for report in news]
        try:
            async with self._db.statements() as conn:
                await reports.write(conn, said)
            self._is_away = False
        except Unavailable as error:
            if not self._is_away:
                _log.warning("progress and log lines wait for Postgres: %s", error)
            self._is_away = True
            for report in news:
                report.keep()
                self._changed[report] = None
        except Exception:  # noqa: BLE001 — reporting goes on for the attempts to come, whatever one of these said
            _log.exception("progress and log lines of %s attempts were not written", len(news))
