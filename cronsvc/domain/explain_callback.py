"""What a row says while it waits for its target's call: since when, and when silence ends it. Pure."""

from collections.abc import Iterator
from typing import Any

from cronsvc.domain.evidence import Step, moment
from cronsvc.domain.execution import Execution


def waiting_words(execution: Execution) -> str:
    """What it waits for, as the end of a sentence."""
    since, due, until = execution.callback_since, execution.callback_due, execution.callback_until
    words = "it waits for the target's call"
    words += "" if since is None else f" since {moment(since)}"
    words += "" if due is None else f", heartbeat due {moment(due)}"
    return words + ("" if until is None else f", end due {moment(until)}")


def callback_steps(execution: Execution) -> Iterator[Step]:
    """Who has the work now, and until when it may be silent."""
    if not execution.awaits_callback:
        return
    says = f"Attempt {execution.attempt} was sent"
    says += "" if execution.start_time is None else f" at {moment(execution.start_time)}"
    says += f"; the target answered 202 and works on by itself: {waiting_words(execution)}. No worker is held by it."
    facts: dict[str, Any] = {
        "attempt": execution.attempt,
        "at": execution.start_time,
        "since": execution.callback_since,
        "heartbeat_due": execution.callback_due,
        "end_due": execution.callback_until,
    }
    yield Step("callback", says, facts)
