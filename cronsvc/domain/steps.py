"""Going through instants by a step from each to the next one: some of them in order, or the latest at once."""

from collections.abc import Callable
from datetime import datetime, timedelta

Step = Callable[[datetime], datetime | None]

_ONE_SECOND = timedelta(seconds=1)


def between(step: Step, after: datetime, until: datetime, limit: int) -> list[datetime]:
    """Return the instants t with after < t <= until in order, at most `limit` of them."""
    found: list[datetime] = []
    instant = step(after) if limit > 0 else None
    while instant is not None and instant <= until:
        found.append(instant)
        if len(found) >= limit:
            break
        instant = step(instant)
    return found


def latest(step: Step, after: datetime, until: datetime) -> datetime | None:
    """Return the latest instant t with after < t <= until; None when there is none.

    Halves the stretch that can hold it, so a year of an every-second job costs some thirty steps, not thirty million.
    """
    end = until
    found = step(after)
    if found is None or found > end:
        return None
    # `found` is an instant and there is none in (end, until]. Instants are whole seconds apart.
    while end - found >= _ONE_SECOND:
        middle = found + (end - found) / 2
        later = step(middle)
        if later is None or later > end:
            end = middle
        else:
            found = later
    return found
