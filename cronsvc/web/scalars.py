"""The small values of the API, read strictly and written one way.

Instants are RFC 3339 with an offset, answered in UTC with `Z`; intervals are ISO 8601 durations or seconds, answered as
durations; priorities are names or numbers (1, 5, 10, 15), answered as names. Each refuses with words that show what
would be right, and each brings its JSON schema.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from cronsvc.domain.job import Priority

_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_DURATION = re.compile(r"P(?:(\d{1,4})W|(?:(\d{1,4})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,7})M)?(?:(\d{1,9})S)?)?)", re.ASCII)
_DAY = 86_400
INSTANT_WORDS = "must be an RFC 3339 time with an offset, such as 2026-01-31T09:00:00Z"
DURATION_WORDS = "must be an ISO 8601 duration such as PT90S, PT20M or P1D, or a whole number of seconds"
PRIORITY_NAMES = {priority.name.lower(): priority for priority in sorted(Priority)}
PRIORITY_WORDS = "must be one of: " + ", ".join(f"{name} ({value:d})" for name, value in PRIORITY_NAMES.items())


def read_instant(value: Any) -> datetime:
    """Return the instant in UTC; ValueError says what an instant looks like."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        raise ValueError(INSTANT_WORDS)
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{INSTANT_WORDS}; {value} is not in the calendar") from None


def write_instant(value: datetime) -> str:
    """RFC 3339 in UTC; microseconds only when there are some."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def read_duration(value: Any) -> int:
    """Return whole seconds; bounds are the field's business. ValueError says what a duration looks like."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None or not any(match.groups()) or (isinstance(value, str) and value.endswith("T")):
        raise ValueError(DURATION_WORDS)
    weeks, days, hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return (weeks * 7 + days) * _DAY + hours * 3600 + minutes * 60 + seconds


def write_duration(seconds: int) -> str:
    """The shortest exact form with days of 24 hours: 90 → PT1M30S, 86400 → P1D."""
    days, rest = divmod(seconds, _DAY)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    date = f"{days}D" if days else ""
    time = "".join(f"{amount}{unit}" for amount, unit in ((hours, "H"), (minutes, "M"), (rest, "S")) if amount)
    if not date and not time:
        return "PT0S"
    return f"P{date}" + (f"T{time}" if time else "")


def read_priority(value: Any) -> Priority:
    """Accept a name or one of the four numbers; ValueError lists them."""
    if isinstance(value, Priority):
        return value
    if isinstance(value, str) and value in PRIORITY_NAMES:
        return PRIORITY_NAMES[value]
    if isinstance(value, int) and not isinstance(value, bool) and value in set(Priority):
        return Priority(value)
    raise ValueError(PRIORITY_WORDS)


def _flag(value: Any) -> Any:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def _count(value: Any) -> Any:
    return int(value) if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,18}", value, re.ASCII) else value


_EXAMPLE_INSTANT = {"type": "string", "format": "date-time", "examples": ["2026-01-31T09:00:00Z"]}

Instant = Annotated[
    datetime,
    BeforeValidator(read_instant),
    PlainSerializer(write_instant, return_type=str),
    WithJsonSchema(_EXAMPLE_INSTANT),
]

EverySeconds = Annotated[
    int,
    BeforeValidator(read_duration),
    PlainSerializer(write_duration, return_type=str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "duration", "examples": ["PT20M"]},
                {"type": "integer", "minimum": 1, "maximum": 366 * _DAY},
            ]
        },
        mode="validation",
    ),
    WithJsonSchema({"type": "string", "format": "duration", "examples": ["PT20M"]}, mode="serialization"),
]

PriorityLevel = Annotated[
    Priority,
    BeforeValidator(read_priority),
    PlainSerializer(lambda value: Priority(value).name.lower(), return_type=str),
    WithJsonSchema({"enum": [*PRIORITY_NAMES, *(int(level) for level in sorted(Priority))]}, mode="validation"),
    WithJsonSchema({"type": "string", "enum": [*PRIORITY_NAMES]}, mode="serialization"),
]

# Query parameters arrive as text; only these spellings count.
QueryFlag = Annotated[bool, BeforeValidator(_flag)]
QueryCount = Annotated[int, BeforeValidator(_count)]
QueryId = Annotated[QueryCount, Field(ge=1, le=2**63 - 1)]

# Where a page of a list goes on, and how many items it has at most.
Cursor = Annotated[str, Field(max_length=1000)]
Limit = Annotated[QueryCount, Field(ge=1, le=200)]
