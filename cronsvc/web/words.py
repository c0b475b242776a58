"""Times and states as a person reads them on the page."""

from datetime import UTC, datetime, timedelta

_MARKS = {"SUCCESS": "✓", "FAILED": "✕", "RUNNING": "▶", "QUEUED": "…", "SKIPPED": "–", "CANCELLED": "⊘"}
_CLASSES = {"SUCCESS": "good", "FAILED": "bad", "RUNNING": "busy", "QUEUED": "wait"}
_OUTCOMES = {"success": "good", "error": "bad", "timeout": "bad", "lost": "bad"}


def moment(when: datetime) -> str:
    """An instant in UTC to the second, such as `2026-01-31 09:00:00 UTC`."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def relative(when: datetime, now: datetime) -> str:
    """How far away an instant is, in its two largest units: `in 2 h 5 min`, `3 min ago`, `now`."""
    seconds = (when - now).total_seconds()
    if abs(seconds) < 1:
        return "now"
    length = span(timedelta(seconds=int(abs(seconds))))
    return f"in {length}" if seconds > 0 else f"{length} ago"


def span(length: timedelta) -> str:
    """A length of time in at most two units, rounded down; milliseconds below one second."""
    seconds = int(length.total_seconds())
    if seconds < 1:
        return f"{max(0, int(length.total_seconds() * 1000))} ms"
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    parts: list[str] = []
    for name, size in units:
        amount, seconds = divmod(seconds, size)
        if amount or parts:
            parts.append(f"{amount} {name}" if amount else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part)


def seconds_span(seconds: float) -> str:
    """`span` of a number of seconds."""
    return span(timedelta(seconds=max(0.0, seconds)))


def took(milliseconds: int | None) -> str:
    """A duration with the precision that matters: `84 ms`, `2.4 s`, `3 min 5 s`; a dash for none."""
    if milliseconds is None:
        return "–"
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    return span(timedelta(milliseconds=milliseconds))


def status_mark(status: str) -> str:
    """A sign beside the word, so that colour is never the only difference."""
    return _MARKS.get(status, "·")


def status_class(status: str) -> str:
    """The style of a status badge."""
    return _CLASSES.get(status, "idle")


def outcome_class(outcome: str) -> str:
    """The style of an attempt's badge."""
    return _OUTCOMES.get(outcome, "idle")
