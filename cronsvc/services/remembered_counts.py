"""Counts that cost too much to be taken each time: remembered for a while, as long as they are far from a limit.

A process remembers the count that it took last, and what it has let through since. What others add meanwhile it does
not see: so nearer to the limit than `margin` it counts every time, and `margin` is more than they can add in `seconds`.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_NAMES = 10_000


class RememberedCounts:
    """What one process remembers, by name; at most MOST_NAMES of them."""

    def __init__(self, *, seconds: float, margin: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._margin = margin
        self._monotonic = monotonic
        # Name -> (the count with what was let through since, when it was taken). The oldest is first.
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def let_through(self, name: str, most: int) -> bool:
        """Count one more where it is sure to be below `most`; False: count for real, and `remember`."""
        count, taken = self._counts.get(name, (most, 0.0))
        if count + 1 > most - self._margin or self._monotonic() - taken > self._seconds:
            return False
        self._counts[name] = (count + 1, taken)
        return True

    def remember(self, name: str, count: int) -> None:
        """Take note of a count that was taken right now."""
        self._counts.pop(name, None)
        self._counts[name] = (count, self._monotonic())
        while len(self._counts) > MOST_NAMES:
            self._counts.popitem(last=False)
