"""One act on many jobs, each with a result of its own.

Promises: at most MOST_ITEMS jobs; each is a transaction and an audit entry of its own, with every check that the act
alone would meet, so one that is refused keeps no other from being done. Whoever dies on the way leaves those before it
done. When Postgres is away, or MOST_SECONDS are over, the rest is not tried and says so: repeating those is safe.
Tried out, each goes through its checks and is taken back.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Generic, TypeVar

from cronsvc.errors import CronsvcError, InvalidInput, Unavailable
from cronsvc.services.access import Caller
from cronsvc.services.bulk_pausing import EVERYTHING, JobSelector, chosen_by
from cronsvc.store import job_batches
from cronsvc.store.effects import tried_out
from cronsvc.store.pool import Database

MOST_ITEMS = 1000
MOST_SECONDS = 15.0  # then no other item is begun: a client is waiting, and so is whoever stops this process
_BATCH = 500

T = TypeVar("T")
R = TypeVar("R")


class NotTried(Unavailable):
    """The request has taken its time before this item's turn came: nothing of it was done."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T, R]):
    """What came of one item: a result (None where it was only tried out), or the error that refused it."""

    item: T
    result: R | None = None
    error: CronsvcError | None = None


class Bulk:
    """Acts on many jobs of one database, for one process."""

    def __init__(self, db: Database, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._monotonic = monotonic

    async def select(self, selector: JobSelector, caller: Caller) -> list[int]:
        """The ids of the live jobs that match, in order. InvalidInput: nothing is said, or more than 1,000 match."""
        if selector == EVERYTHING:
            raise InvalidInput.of("selector", "is empty: say which jobs by tags, namespace, group, queue or namePrefix")
        chosen = chosen_by(selector, caller)
        found: list[int] = []
        while chosen is not None:
            async with self._db.statements() as conn:
                after_id = found[-1] if found else 0
                rows = await job_batches.batch(conn, chosen, after_id=after_id, limit=_BATCH)
            found += [job_id for job_id, _ in rows]
            if len(found) > MOST_ITEMS:
                raise InvalidInput.of("selector", f"matches more than {MOST_ITEMS} jobs; narrow it and do it in parts")
            if len(rows) < _BATCH:
                break
        return found

    async def each(
        self, items: Sequence[T], act: Callable[[T], Awaitable[R]], *, dry_run: bool = False
    ) -> list[Outcome[T, R]]:
        """Do `act` with every item, one after the other; the outcomes are in their order."""
        outcomes: list[Outcome[T, R]] = []
        away: Unavailable | None = None
        end = self._monotonic() + MOST_SECONDS
        for item in items:
            if away is None and self._monotonic() > end:
                away = NotTried(f"not tried: the items before it took {MOST_SECONDS:.0f} seconds; send it again")
            if away is None:
                outcome = await _one(item, act, dry_run=dry_run)
                away = outcome.error if isinstance(outcome.error, Unavailable) else None
            else:
                outcome = Outcome(item, error=away)
            outcomes.append(outcome)
        return outcomes


async def _one(item: T, act: Callable[[T], Awaitable[R]], *, dry_run: bool) -> Outcome[T, R]:
    result: R | None = None
    try:
        with tried_out() if dry_run else nullcontext():
            result = await act(item)
    except CronsvcError as error:
        return Outcome(item, error=error)
    return Outcome(item, result)
