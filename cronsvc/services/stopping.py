"""One attempt in progress in this process, and the three ways to end it early.

A request to cancel comes from a person: the attempt is cancelled and gets a grace to clean up, then its slot goes on
without it. A lapse means that the lease is gone: stop, write nothing. A drain means that the process ends: what stops
now is released. In each case a result that is there already counts.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from cronsvc.domain.execution import Claimed, ErrorDetail, Finish, Outcome
from cronsvc.domain.finish import after_cancel, after_release

_log = logging.getLogger("cronsvc.running")

ABANDONED = ErrorDetail(
    "cancelled", "the attempt did not stop when it was cancelled; it was left behind and may still run"
)

# How long a drain, whose own time is over, waits for a cancelled attempt to clean up.
_DRAIN_SECONDS = 1.0


class Run:
    """The attempt that `task` makes for `claimed`; `decide` says what its outcome becomes when nobody interferes."""

    def __init__(self, claimed: Claimed, task: "asyncio.Task[Outcome]", decide: Callable[[Outcome], Finish]) -> None:
        self.claimed = claimed
        self._task = task
        self._decide = decide
        self._left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._cancelling: asyncio.Task[None] | None = None
        self._lapsed = False

    async def end(self) -> Finish | None:
        """Wait until the attempt has ended or is left behind; None when the row is no longer ours to write.

        Cancelling this is the drain.
        """
        try:
            await asyncio.wait((self._task, self._left), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_DRAIN_SECONDS)
        if self._task.done() and not self._task.cancelled():
            return self._after(self._task.result())
        if self._lapsed:
            return None
        if self._cancelling is None:
            return after_release(self.claimed)
        return after_cancel(self.claimed, None if self._task.done() else ABANDONED)

    def _after(self, outcome: Outcome) -> Finish:
        if self._cancelling is not None and outcome.error is not None:
            return after_cancel(self.claimed, outcome.error)  # stopped by us, whatever words it found for that
        return self._decide(outcome)

    def lapse(self) -> None:
        """The lease is gone."""
        self._lapsed = True
        self._task.cancel()

    def cancel(self, grace: timedelta) -> None:
        """Somebody wants it to end. Asking again changes nothing, nor does asking when it has just ended."""
        if self._cancelling is None and not self._task.done():
            self._cancelling = asyncio.get_running_loop().create_task(self._cancel(grace.total_seconds()))

    async def _cancel(self, seconds: float) -> None:
        _log.info("cancelling execution %s", self.claimed.execution_id)
        self._task.cancel()
        _, stuck = await asyncio.wait({self._task}, timeout=seconds)
        if not stuck or self._lapsed:
            return
        who = (self.claimed.execution_id, self.claimed.claim_no)
        _log.error("execution %s (claim %s) did not stop within %g s and is left behind", *who, seconds)
        self._left.set_result(None)
        await asyncio.wait({self._task})  # this keeps the task in sight, and says once what becomes of its end
        _log.warning("late end of execution %s (claim %s) discarded: it was cancelled", *who)
