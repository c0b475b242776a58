"""Budgets and breakers of hosts: whether a call may begin, for how long it is held otherwise, and what its end means.

    closed ── failures in a row, or a person ──▶ open ── its time is over: the next call is the probe ──▶ half_open
      ▲                                           ▲ ◀──────────────── the probe fails ──────────────────────┘ │
      └──────────── a person resets it ───────────┴───────────── the probe succeeds ──────────────────────────┘

Pure: instants come in as seconds that have gone by. What is held comes back spread out, so that a thousand held calls
are not a thousand claims a second; a free place, a breaker that closes and a person's reset let them go sooner.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from cronsvc.domain.execution import Outcome

LONGEST_HOLD_SECONDS = 300.0  # and as much again, spread
PLACE_SECONDS = 1.0  # how long to wait for somebody else's call, and for a probe
RETURNS_PER_SECOND = 50.0  # of what a breaker holds

HOST_ERRORS = frozenset({"connect", "tls", "timeout", "protocol", "lost"})
"""Error types that speak against the host, unless the request had no time to leave; nor does another server's word."""


class HoldReason(StrEnum):
    """Why an execution waits for a host."""

    RATE = "rate"  # as many calls have begun as its budget allows in a second or a minute
    CONCURRENCY = "concurrency"  # as many calls run as it may have at a time
    BREAKER = "breaker"  # it is not to be called now


class BreakerState(StrEnum):
    """See the drawing."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class HostRule:
    """A host that somebody has settings for. None: no such limit; `breaker_failures` None: opened by hand only."""

    host: str
    calls_per_second: int | None = None
    calls_per_minute: int | None = None
    max_concurrent: int | None = None
    breaker_failures: int | None = None
    breaker_open_seconds: int = 30
    state: BreakerState = BreakerState.CLOSED
    failures: int = 0

    @property
    def is_counted(self) -> bool:
        """Whether each call has to ask, because others' calls decide about it."""
        limits = (self.calls_per_second, self.calls_per_minute, self.max_concurrent)
        return limits != (None, None, None) or self.state is not BreakerState.CLOSED


@dataclass(frozen=True, slots=True)
class HostUse:
    """What a host has to bear now. `second_left` and `minute_left`: seconds until the budget has room again.

    `open_left`: seconds that the breaker stays open; None: until somebody resets it. `waiting`: calls held at present.
    """

    running: int = 0
    in_second: int = 0
    in_minute: int = 0
    second_left: float = 0.0
    minute_left: float = 0.0
    waiting: int = 0
    open_left: float | None = 0.0
    probe_runs: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """A call that may not begin, and after how many seconds to ask again."""

    reason: HoldReason
    seconds: float


@dataclass(frozen=True, slots=True)
class Go:
    """A call that may begin. `is_probe`: it tries a host that was not called for a while."""

    is_probe: bool = False


class Budget:
    """What is left of one host while the calls of a batch ask, one after the other."""

    def __init__(self, rule: HostRule, use: HostUse) -> None:
        self._rule = rule
        self._use = use
        self._state = rule.state

    def ask(self) -> Go | Hold:
        """May one more call begin?"""
        held = self._breaker() or self._limits()
        if held is not None:
            self._use = replace(self._use, waiting=self._use.waiting + 1)
            return held
        use = self._use
        self._use = replace(use, running=use.running + 1, in_second=use.in_second + 1, in_minute=use.in_minute + 1)
        if self._state is BreakerState.CLOSED:
            return Go()
        self._state, self._use = BreakerState.HALF_OPEN, replace(self._use, probe_runs=True)
        return Go(is_probe=True)

    def _breaker(self) -> Hold | None:
        spread = self._use.waiting / RETURNS_PER_SECOND
        if self._state is BreakerState.OPEN and (left := self._use.open_left) != 0.0:
            return _hold(HoldReason.BREAKER, LONGEST_HOLD_SECONDS if left is None else left, spread)
        if self._state is BreakerState.HALF_OPEN and self._use.probe_runs:
            return _hold(HoldReason.BREAKER, PLACE_SECONDS, spread)
        return None

    def _limits(self) -> Hold | None:
        rule, use = self._rule, self._use
        if rule.max_concurrent is not None and use.running >= rule.max_concurrent:
            return _hold(HoldReason.CONCURRENCY, PLACE_SECONDS, PLACE_SECONDS * use.waiting / rule.max_concurrent)
        # Those that were told to wait come first, each in a place of its own.
        if rule.calls_per_minute is not None and use.in_minute >= rule.calls_per_minute:
            return _hold(HoldReason.RATE, use.minute_left, use.waiting * 60 / rule.calls_per_minute)
        if rule.calls_per_second is not None and use.in_second >= rule.calls_per_second:
            return _hold(HoldReason.RATE, use.second_left, use.waiting / rule.calls_per_second)
        return None


def _hold(reason: HoldReason, seconds: float, spread: float) -> Hold:
    """A hold of so many seconds, and of more by the place behind others.

    Bounded, and whose place is beyond the bound begins at its front again: a herd never comes back in one second.
    """
    longest = LONGEST_HOLD_SECONDS
    return Hold(reason, min(max(seconds, 0.05), longest) + (spread if spread <= longest else spread % longest))


def failed(outcome: Outcome) -> bool | None:
    """Whether a call speaks against its host; None: it says nothing of it."""
    if outcome.elsewhere:
        return False  # it answered: with a redirect
    if outcome.error is None:
        return False
    if outcome.unsent:
        return None
    if outcome.http_status is not None:
        return outcome.http_status >= 500
    return True if outcome.error.type in HOST_ERRORS else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a call as its host's breaker sees it. `is_old`: it began before the breaker changed its state."""

    failed: bool
    is_probe: bool = False
    is_old: bool = False


def after_call(rule: HostRule, verdict: Verdict) -> HostRule:
    """The host after the end of a call; the same value when that changes nothing."""
    match rule.state:
        case BreakerState.HALF_OPEN if verdict.is_probe:
            state = BreakerState.OPEN if verdict.failed else BreakerState.CLOSED
            return replace(rule, state=state, failures=rule.failures + 1 if verdict.failed else 0)
        case BreakerState.CLOSED if not verdict.is_old:
            if not verdict.failed:
                return replace(rule, failures=0)
            failures = rule.failures + 1
            opens = rule.breaker_failures is not None and failures >= rule.breaker_failures
            return replace(rule, state=BreakerState.OPEN if opens else rule.state, failures=failures)
    return rule
