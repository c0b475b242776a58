"""One request that does the same to many: what its items count as, and what a repetition of it gets.

Each item counts against the minute of its kind as it would alone; those that find no room are answered like it, too,
and a request none of whose items finds room is refused as a whole. From the first item that was not tried on, none is.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from cronsvc.errors import CronsvcError, Unavailable
from cronsvc.services.bulk import Outcome
from cronsvc.web.problems import TOO_MANY, Refused
from cronsvc.web.replaying import leave_unfinished
from cronsvc.web.routing import Call

T = TypeVar("T")
R = TypeVar("R")


async def each(
    call: Call, items: Sequence[T], act: Callable[[T], Awaitable[R]], *, kind: str, dry_run: bool
) -> list[Outcome[T, R]]:
    """Do `act` with every item that there is room for; the outcomes are in the order of the items."""
    limits, room, refused = call.services.rate_limits, len(items), None
    if limits is not None and items:
        room, refused = await limits.take_items(call.request, kind, call.caller.actor, len(items))
        if refused is not None and not room:
            raise refused
    outcomes = await call.services.bulk.each(items[:room], act, dry_run=dry_run)
    outcomes += [Outcome(item, error=refused) for item in items[room:]]
    undone = first_undone(outcomes)
    if undone is not None:
        item = outcomes[undone].item
        which = f", job {item}" if isinstance(item, int) else ""
        words = f"was carried out in part: of {len(items)} items, not from the one at index {undone} on{which}"
        leave_unfinished(call.request, words)
    return outcomes


def first_undone(outcomes: Sequence[Outcome[T, R]]) -> int | None:
    """The index of the first item that was not tried; None: all were."""
    return next((place for place, outcome in enumerate(outcomes) if _is_undone(outcome.error)), None)


def _is_undone(error: CronsvcError | None) -> bool:
    """Whether it was no fault of the item: there was no room or no time for it, or Postgres was away."""
    return isinstance(error, Unavailable) or (isinstance(error, Refused) and error.kind is TOO_MANY)
