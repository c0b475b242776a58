"""Sign-ins that failed, counted by where they came from, so that nobody tries keys by the thousand on the form.

In memory and per process: a key has 256 bits of chance, so this saves work, it does not guard a secret.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address

MOST_FAILURES = 10
WINDOW_SECONDS = 60.0
MOST_SOURCES = 4096


class Throttle:
    """At most MOST_FAILURES failures of one source in WINDOW_SECONDS; then it waits until the window is over."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        # Source -> (failures, when its window ends). The oldest window is first.
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_seconds(self, source: str | None) -> int:
        """How long this source has to wait before it may try again; 0: not at all."""
        if source is None:
            return 0  # a Unix socket: everybody would wait for everybody
        count, end = self._failures.get(network_of(source), (0, 0.0))
        left = end - self._monotonic()
        return int(left) + 1 if count >= MOST_FAILURES and left > 0 else 0

    def failed(self, source: str | None) -> None:
        """Count a failure, where it has an address."""
        if source is None:
            return
        name, now = network_of(source), self._monotonic()
        count, end = self._failures.get(name, (0, 0.0))
        if end <= now:
            self._failures.pop(name, None)
            count, end = 0, now + WINDOW_SECONDS
        self._failures[name] = (count + 1, end)
        while len(self._failures) > MOST_SOURCES:
            self._failures.popitem(last=False)


def network_of(source: str | None) -> str:
    """Whom an address stands for: itself, or of IPv6 the /64 that one customer has."""
    try:
        address = ip_address(source or "")
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address), 64), strict=False))
    return str(address)
