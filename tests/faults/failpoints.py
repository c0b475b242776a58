"""Places where a process of cronsvc can be made to die, freeze, fail or wait, without a hook in its code.

A fail point is a named place: before or after a call of one function (a seam), or before or after the commit of the
transaction in which it was called. `arm` replaces the seam in this process by a wrapper. A seam that is gone, or lost
a parameter that its fail point looks at, is an error at the start, so a refactoring cannot disarm one silently; the
crash-point table shows that each is still reached.

When one is reached it first appends a line to the log (and syncs it), then acts: the log is the proof that it bit.
"""

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cronsvc.errors import Unavailable
from tests.faults.seams import Call, Seam, SeamError

# ---- what happens at a fail point


@dataclass(slots=True)
class Trigger:
    """`action` at the `nth` time (None: each time); `log` is the file of those that were reached."""

    name: str
    nth: int | None
    action: str
    seconds: float
    log: Path | None
    seen: int = 0

    async def reached(self) -> None:
        """The place is reached: act, if it is the time."""
        self.seen += 1
        if self.nth is not None and self.seen != self.nth:
            return
        self._say()
        match self.action:
            case "kill9":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "raise":
                raise Unavailable(f"fail point {self.name}")
            case "hang":
                await asyncio.Event().wait()
            case "sleep":
                await asyncio.sleep(self.seconds)

    def _say(self) -> None:
        if self.log is None:
            return
        line = {"name": self.name, "pid": os.getpid(), "monotonic": time.monotonic(), "at": time.time()}
        descriptor = os.open(self.log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
        try:
            os.write(descriptor, (json.dumps({**line, "action": self.action}) + "\n").encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


_TEXT = re.compile(r"([A-Za-z0-9_.]+)(?::(\d+|\*))?=(kill9|stop|raise|hang|sleep)(?:\((\d+(?:\.\d+)?)\))?")


def parse(text: str, log: Path | None) -> Trigger:
    """`NAME[:n]=kill9|stop|raise|hang|sleep(seconds)`; n counts from 1, `*` is every time. SeamError: not that."""
    match = _TEXT.fullmatch(text)
    if match is None or (match[3] == "sleep") != (match[4] is not None):
        raise SeamError(f"{text!r} does not read NAME[:n]=kill9|stop|raise|hang|sleep(seconds)")
    if match[1] not in POINTS:
        raise SeamError(f"there is no fail point {match[1]!r}; there are {', '.join(sorted(POINTS))}")
    nth = None if match[2] == "*" else int(match[2] or 1)
    return Trigger(match[1], nth, match[3], float(match[4] or 0), log)


def arm(trigger: Trigger) -> None:
    """Put a fail point into this process. SeamError: its seam is not what it was."""
    POINTS[trigger.name].install(trigger)


# ---- kinds of fail points


def _always(_: Call) -> bool:
    return True


def _found(result: Any) -> bool:
    return bool(result)


@dataclass(frozen=True, slots=True)
class Before:
    """Just before a call of the seam, if `when` its arguments."""

    seam: Seam
    when: Callable[[Call], bool] = _always

    def install(self, trigger: Trigger) -> None:
        async def around(function: Any, call: Call, args: Any, kwargs: Any) -> Any:
            if self.when(call):
                await trigger.reached()
            return await function(*args, **kwargs)

        self.seam.wrap(around)


@dataclass(frozen=True, slots=True)
class After:
    """Just after a call of the seam, if its result is something and `when` its arguments."""

    seam: Seam
    when: Callable[[Call], bool] = _always
    result: Callable[[Any], bool] = _found

    def install(self, trigger: Trigger) -> None:
        async def around(function: Any, call: Call, args: Any, kwargs: Any) -> Any:
            answer = await function(*args, **kwargs)
            if self.result(answer) and self.when(call):
                await trigger.reached()
            return answer

        self.seam.wrap(around)


TRANSACTION = Seam("cronsvc.store.pool", "Database.transaction", ("actor",))
Marks = dict[Any, list[tuple[Trigger, bool]]]


def _watched(original: Callable[..., Any], marks: Marks, callers: list[tuple[Trigger, bool]]) -> Callable[..., Any]:
    """`Database.transaction` that looks, at its end, for what was marked on its connection."""

    @asynccontextmanager
    async def transaction(self: Any, *, actor: str | None = None, source: str | None = None) -> AsyncIterator[Any]:
        here: list[tuple[Trigger, bool]] = []
        async with original(self, actor=actor, source=source) as conn:
            marks[conn] = here
            try:
                yield conn
            finally:
                del marks[conn]
            if actor is not None and actor.startswith("key:"):
                here += callers
            for trigger, committed in here:
                if not committed:
                    await trigger.reached()
        for trigger, committed in here:
            if committed:
                await trigger.reached()

    return transaction


def _watch() -> tuple[Marks, list[tuple[Trigger, bool]]]:
    """Watch the ends of transactions, once in a process."""
    holder, name = TRANSACTION.owner()
    original = vars(holder)[name]
    if not hasattr(original, "watched"):
        marks: Marks = {}
        callers: list[tuple[Trigger, bool]] = []
        watched: Any = _watched(original, marks, callers)
        watched.watched = (marks, callers)
        setattr(holder, name, watched)
        original = watched
    found: tuple[Marks, list[tuple[Trigger, bool]]] = original.watched
    return found


@dataclass(frozen=True, slots=True)
class AtCommit:
    """Before or after the commit of a transaction in which the seam was called, `when` its arguments, with a result.

    The seam's connection is its parameter `conn`. A call outside of a transaction is none of its business.
    """

    seam: Seam
    committed: bool
    when: Callable[[Call], bool] = _always
    result: Callable[[Any], bool] = _found

    def install(self, trigger: Trigger) -> None:
        marks, _ = _watch()

        async def around(function: Any, call: Call, args: Any, kwargs: Any) -> Any:
            answer = await function(*args, **kwargs)
            if call["conn"] in marks and self.result(answer) and self.when(call):
                marks[call["conn"]].append((trigger, self.committed))
            return answer

        self.seam.wrap(around)


@dataclass(frozen=True, slots=True)
class AtCallersCommit:
    """Before or after the commit of whatever a caller with an API key has asked for."""

    committed: bool

    def install(self, trigger: Trigger) -> None:
        _watch()[1].append((trigger, self.committed))


@dataclass(frozen=True, slots=True)
class Sent:
    """The request of an API_CALL has left this process, all of it, and nothing of the answer was read."""

    seam: Seam

    def install(self, trigger: Trigger) -> None:
        async def around(function: Any, call: Call, args: Any, kwargs: Any) -> Any:
            response, transport = call["self"], call["connection"].transport
            # The body has a task of its own, and the transport a buffer: both are through when the kernel has it all.
            while response._writer is not None or transport.get_write_buffer_size():  # noqa: ASYNC110 nobody tells
                await asyncio.sleep(0)
            await trigger.reached()
            return await function(*args, **kwargs)

        self.seam.wrap(around)


# ---- the table


def _has_rows(call: Call) -> bool:
    return any(plan.rows for _, plan in call["planned"])


def _has_jobs(answer: Any) -> bool:
    return bool(answer[0])


def _has_bodies(answer: Any) -> bool:
    return bool(answer.bodies)


def _anything(_: Any) -> bool:
    return True


ANSWER = Seam("aiohttp.client_reqrep", "ClientResponse.start", ("connection",))
TAKE_DUE = Seam("cronsvc.store.ticks", "take_due")
ADVANCE = Seam("cronsvc.store.ticks", "advance", ("conn", "planned"))
PUSH = Seam("cronsvc.queue.broker", "Broker.push", ("tickets",))
FETCH = Seam("cronsvc.queue.broker", "Broker.fetch")
CLAIM = Seam("cronsvc.store.running", "claim", ("conn", "admitted"))
FINISH = Seam("cronsvc.store.running", "finish", ("conn", "finishes"))
REDISPATCH = Seam("cronsvc.store.dispatches", "redispatch", ("conn",))
BACKFILL_ADVANCE = Seam("cronsvc.store.backfills", "advance", ("conn", "started"))
RELEASE_OVERLAP = Seam("cronsvc.store.admission", "release_overlap", ("conn",))
RELEASE_LIMIT = Seam("cronsvc.store.admission", "release_limit", ("conn",))
PAUSE_FAILING = Seam("cronsvc.store.failures", "pause_failing", ("conn",))
END_OVERDUE = Seam("cronsvc.store.failures", "end_overdue", ("conn",))

FORGET_ENDS = Seam("cronsvc.store.dependencies", "forget", ("conn", "ends"))
ADOPT = Seam("cronsvc.store.children", "adopt", ("conn",))
BEGIN_TO_WAIT = Seam("cronsvc.store.callbacks", "begin_to_wait", ("conn", "finishes"))
LOCK_SILENT = Seam("cronsvc.store.callbacks", "lock_silent", ("conn",))
RELEASE_WINDOW = Seam("cronsvc.store.window_holds", "release", ("conn", "released"))
SEAL = Seam("cronsvc.store.audit_chain", "seal", ("conn",))
RELEASE_FENCE = Seam("cronsvc.store.identity", "release", ("conn",))
RESEAL = Seam("cronsvc.store.secrets", "reseal", ("conn",))
KEEP_ANSWER = Seam("cronsvc.store.request_keys", "keep", ("conn", "answer"))

Point = Before | After | AtCommit | AtCallersCommit | Sent

POINTS: Mapping[str, Point] = {
    # a scheduler's tick
    "tick.locked": After(TAKE_DUE, result=_has_jobs),
    "S1": After(TAKE_DUE, result=_has_jobs),
    "S2": AtCommit(ADVANCE, False, when=_has_rows, result=_anything),
    "S3": AtCommit(ADVANCE, True, when=_has_rows, result=_anything),
    "S4": After(PUSH, when=lambda call: bool(call["tickets"]), result=_anything),
    # a worker's attempt
    "W1": After(FETCH, result=_has_bodies),
    "claim.before": Before(CLAIM),
    "W2": After(CLAIM),
    "W3": Sent(ANSWER),
    "http.sent": Sent(ANSWER),
    "W4": Before(FINISH),
    "W5": After(FINISH),
    # rescue and dispatch
    "R1": After(FINISH),
    "redispatch.before_commit": AtCommit(REDISPATCH, False),
    "redispatch.committed": AtCommit(REDISPATCH, True),
    # the API
    "A1": AtCallersCommit(False),
    "api.after_mutate": AtCallersCommit(False),
    "api.committed": AtCallersCommit(True),
    # the other transactions of schedulers and workers
    "backfill.before_commit": AtCommit(
        BACKFILL_ADVANCE, False, when=lambda call: call["started"] > 0, result=_anything
    ),
    "backfill.committed": AtCommit(BACKFILL_ADVANCE, True, when=lambda call: call["started"] > 0, result=_anything),
    "overlap.before_commit": AtCommit(RELEASE_OVERLAP, False),
    "overlap.committed": AtCommit(RELEASE_OVERLAP, True),
    "limit.before_commit": AtCommit(RELEASE_LIMIT, False),
    "limit.committed": AtCommit(RELEASE_LIMIT, True),
    "admitted.before_commit": AtCommit(CLAIM, False, when=lambda call: bool(call.get("admitted"))),
    "admitted.committed": AtCommit(CLAIM, True, when=lambda call: bool(call.get("admitted"))),
    "pause.before_commit": AtCommit(PAUSE_FAILING, False),
    "pause.committed": AtCommit(PAUSE_FAILING, True),
    "deadline.before_commit": AtCommit(END_OVERDUE, False),
    "deadline.committed": AtCommit(END_OVERDUE, True),
    "dependents.before_commit": AtCommit(FORGET_ENDS, False, result=_anything),
    "dependents.committed": AtCommit(FORGET_ENDS, True, result=_anything),
    "children.before_commit": AtCommit(ADOPT, False, result=_anything),
    "children.committed": AtCommit(ADOPT, True, result=_anything),
    # a statement by itself is its own transaction
    "callback.before_commit": Before(BEGIN_TO_WAIT),
    "callback.committed": After(BEGIN_TO_WAIT),
    "silence.before_commit": AtCommit(LOCK_SILENT, False),
    "silence.committed": AtCommit(LOCK_SILENT, True),
    "window.before_commit": AtCommit(RELEASE_WINDOW, False, result=_anything),
    "window.committed": AtCommit(RELEASE_WINDOW, True, result=_anything),
    "seal.before_commit": AtCommit(SEAL, False, result=lambda done: done.sealed > 0),
    "seal.committed": AtCommit(SEAL, True, result=lambda done: done.sealed > 0),
    # and of people
    "confirm.before_commit": AtCommit(RELEASE_FENCE, False, result=_anything),
    "confirm.committed": AtCommit(RELEASE_FENCE, True, result=_anything),
    "rotation.before_commit": AtCommit(RESEAL, False),
    "rotation.committed": AtCommit(RESEAL, True),
    "replay.kept": After(KEEP_ANSWER, result=_anything),
}
