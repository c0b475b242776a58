"""T4 of a firing: the ends of attempts, written in batches behind the slots' backs.

A slot waits for one commit, its claim's, and not for two. What one end brings spoils no other: a batch that Postgres or
JSON refuses is written one by one, and an end that is refused alone is written in our words only.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from cronsvc.domain.execution import ErrorDetail, Finish
from cronsvc.domain.retry import LONGEST_PAUSE_SECONDS
from cronsvc.errors import Unavailable
from cronsvc.services.batching import MicroBatch
from cronsvc.services.callback_waits import begin_to_wait
from cronsvc.services.failing import finish_steering
from cronsvc.store import running
from cronsvc.store.pool import Database
from cronsvc.tasks import cancelled

_log = logging.getLogger("cronsvc.running")

# Ends that wait to be written: beyond this, slots wait with them.
MOST_UNWRITTEN = 500

# A retry nearer than this is announced to the schedulers, whose poll might come later.
_NEAR_SECONDS = 5.0


Write = Callable[[Sequence[Finish]], Awaitable[set[int]]]


class Ends:
    """The ends of one worker process on their way to Postgres."""

    def __init__(self, db: Database) -> None:
        self._db = db
        # Two lanes: while one statement waits for its commit, the next batch is on its way.
        self._finishes: MicroBatch[Finish, bool | None] = MicroBatch(self._finish, lanes=2)
        # Ends that may pause their job wait for its row: they must not hold up the others.
        self._steering: MicroBatch[Finish, bool | None] = MicroBatch(self._finish_steering)
        # Attempts that do not end yet: their targets will call.
        self._waits: MicroBatch[Finish, bool | None] = MicroBatch(self._begin_to_wait)
        self._writes: set[asyncio.Task[None]] = set()

    def write_later(self, finish: Finish, decided: Callable[[bool], None]) -> None:
        """Write an end in the background. `decided` is called with whether Postgres has spoken: written, or fenced."""
        write = asyncio.get_running_loop().create_task(self._write(finish, decided))
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)

    async def write(self, finish: Finish) -> bool:
        """Write an end now, once; False when the fence refused it. Unavailable: Postgres did not say which."""
        return bool(await (self._steering if finish.steers_job else self._finishes).submit(finish))

    async def room(self) -> None:
        """Wait while too many ends are unwritten."""
        while len(self._writes) > MOST_UNWRITTEN:
            await asyncio.wait(self._writes, return_when=asyncio.FIRST_COMPLETED)

    async def flush(self, seconds: float) -> bool:
        """Wait until every end is written; False when Postgres did not take them all in that time."""
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        while self._writes and (left := until - clock()) > 0:  # again: an end may have come while we waited for others
            await asyncio.wait(self._writes, timeout=left)
        for write in self._writes:
            write.cancel()
        return not self._writes

    async def _write(self, finish: Finish, decided: Callable[[bool], None]) -> None:
        """Until Postgres takes it or the fence refuses it; a drain that ends first leaves it to T5."""
        spoken, delay = False, 0.1
        try:
            while not spoken and not cancelled():
                written = await self._submit(finish)
                spoken = written is not None
                if not spoken:
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, 2.0)
                elif not written and finish.awaiting is None:  # else its target has called before we could note that
                    _log.warning(
                        "stale result of execution %s (claim %s) discarded: the row belongs to another claim now",
                        finish.execution_id,
                        finish.claim_no,
                    )
        finally:
            decided(spoken)

    async def _submit(self, finish: Finish) -> bool | None:
        try:
            if finish.awaiting is not None:
                return await self._waits.submit(finish)
            return await (self._steering if finish.steers_job else self._finishes).submit(finish)
        except Unavailable as error:
            _log.warning("cannot write the end of execution %s yet: %s", finish.execution_id, error)
            return None

    async def _finish(self, finishes: Sequence[Finish]) -> Sequence[bool | None]:
        return await self._one_way_or_another(finishes, self._finish_all)

    async def _finish_steering(self, finishes: Sequence[Finish]) -> Sequence[bool | None]:
        return await self._one_way_or_another(finishes, self._steer_all)

    async def _one_way_or_another(self, finishes: Sequence[Finish], write: Write) -> Sequence[bool | None]:
        """Write a batch: True is written, False fenced, None to be tried again."""
        try:
            ids = await write(finishes)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 — a value that JSON or Postgres refuses; the rows must end all the same
            if len(finishes) > 1:
                return [await self._alone(finish, write) for finish in finishes]
            _log.error("the end of execution %s cannot be stored as it is: %s", finishes[0].execution_id, error)
            ids = await write([_bare(finishes[0])])
        return [finish.execution_id in ids for finish in finishes]

    async def _alone(self, finish: Finish, write: Write) -> bool | None:
        try:
            return (await self._one_way_or_another([finish], write))[0]
        except Unavailable:
            return None

    async def _finish_all(self, finishes: Sequence[Finish]) -> set[int]:
        near = any(f.retry_seconds is not None and f.retry_seconds < _NEAR_SECONDS for f in finishes)
        async with self._db.statements() as conn:
            written = await running.finish(conn, finishes)
            if near:
                await running.wake_schedulers(conn)
        return written

    async def _begin_to_wait(self, finishes: Sequence[Finish]) -> Sequence[bool | None]:
        return await self._one_way_or_another(finishes, self._wait_all)

    async def _wait_all(self, finishes: Sequence[Finish]) -> set[int]:
        return await begin_to_wait(self._db, finishes)

    async def _steer_all(self, finishes: Sequence[Finish]) -> set[int]:
        return await finish_steering(self._db, finishes)


def _bare(finish: Finish) -> Finish:
    """The same end in our words alone; a success stays one and says what became of its result."""
    note = None if finish.result is None else {"unstorable": "the result holds what cannot be stored"}
    error = None if finish.error is None else ErrorDetail("unstorable", "what the attempt reported cannot be stored")
    seconds = finish.retry_seconds
    if seconds is not None and not seconds <= LONGEST_PAUSE_SECONDS:  # a NaN fails this too
        seconds = LONGEST_PAUSE_SECONDS
    return replace(
        finish,
        result=note,
        error=error,
        attempt_error=None,
        retry_seconds=seconds,
        http_status=None,
        excerpt=None,
        progress=None,
        log_details=None,
    )
