"""Schedules in words, for people: never exact enough to compute with, never wrong on purpose, never failing.

cron-descriptor writes the sentences. Where it is known to say something else than what cronsvc does (two restricted
day fields that must both match, L, W and # beside other days, steps taken only once) the expression
itself is shown instead.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from cron_descriptor import ExpressionDescriptor, Options  # type: ignore[import-untyped]  # ships no py.typed

from cronsvc.domain import cron
from cronsvc.domain.cron_syntax import CronSyntaxError, split_fields

_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


CALENDAR_RULES: Mapping[str, str] = {
    "skip": "skipping",
    "next": "moved to the next working day on",
    "previous": "moved to the previous working day on",
}
"""What a calendar rule does, before `closed days of …`."""


def describe_cron(expression: str, timezone: str) -> str:
    """Return a sentence such as `At 09:00, Monday through Friday (Europe/London)`; UTC is not mentioned."""
    words = _sentence(expression)
    return words if timezone == "UTC" else f"{words} ({timezone})"


def describe_interval(seconds: int) -> str:
    """Return `every 90 seconds`, in the largest unit that divides the interval."""
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    count = seconds // size
    return f"every {unit}" if count == 1 else f"every {count} {unit}s"


def describe_instant(instant: datetime) -> str:
    """Return `once at 2026-01-31 09:00:00 UTC`."""
    return f"once at {instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _sentence(expression: str) -> str:
    plain = f"cron {expression}"
    try:
        table = cron.parse(expression)
        fields = split_fields(expression)
    except CronSyntaxError:
        return plain
    if _misread(table, fields):
        return plain
    options = Options(use_24hour_time_format=True, locale_code="en_US")  # not the host's locale
    try:
        return str(ExpressionDescriptor(" ".join(fields), options).get_description())
    except Exception:  # noqa: BLE001 words are decoration: no defect of a formatter may fail a request
        return plain


def _misread(table: cron.CronTable, fields: list[str]) -> bool:
    """Tell whether cron-descriptor's sentence would not be what the table does."""
    day_of_month, day_of_week = fields[3], fields[5]
    both_restricted = day_of_month not in ("*", "?") and day_of_week not in ("*", "?")
    if both_restricted and (table.both_days_must_match or not table.plain):
        return True
    if not table.plain and ("," in day_of_month or "," in day_of_week):
        return True
    # "every 70 minutes" for a step that is taken once, "every 2 days of the week" for one that starts on Monday
    numbers = (table.seconds, table.minutes, table.hours, table.days_of_month, table.months, table.weekdays)
    if any("/" in text and len(values) == 1 for text, values in zip(fields, numbers, strict=True)):
        return True
    return re.search(r"(^|,)[0-9A-Z]+/", day_of_week.upper()) is not None
