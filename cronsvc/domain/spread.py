"""Spreading load the same way in every process: H in cron expressions, and jitter.

Promises: nothing here is random. The same key gives the same place today, after a restart and on every replica,
because it comes from SHA-256 and not from Python's `hash`, which differs between processes.
"""

import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cronsvc.domain.cron_syntax import DAY_OF_MONTH, FIELDS, CronField, CronSyntaxError

# The four forms. A part of a list that looks otherwise is left for the parser to judge.
_FORM = re.compile(r"H(?:\(([0-9]{1,4})-([0-9]{1,4})\))?(?:/([0-9]{1,4}))?", re.ASCII | re.IGNORECASE)
# H in the day of the month avoids the days that some months lack.
_LAST_COMMON_DAY = 28
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def resolve_hash(expression: str, key: str) -> str:
    """Replace each H, H/n, H(a-b), H(a-b)/n by a place chosen from key and field; without H return it unchanged.

    A leading seconds field changes no other field's place. Raises CronSyntaxError for bounds outside the field,
    a range that runs backwards and a step of 0 or longer than the range.
    """
    texts = expression.split()
    if len(texts) not in (5, 6):
        return expression
    fields = FIELDS[-len(texts) :]
    resolved = [
        ",".join(_resolve_part(field, part, key) for part in text.split(","))
        for field, text in zip(fields, texts, strict=True)
    ]
    return expression if resolved == texts else " ".join(resolved)


def _resolve_part(field: CronField, part: str, key: str) -> str:
    form = _FORM.fullmatch(part)
    if form is None:
        return part
    start_text, end_text, step_text = form.groups()
    low = int(start_text) if start_text else field.low
    high = int(end_text) if end_text else (_LAST_COMMON_DAY if field is DAY_OF_MONTH else field.top)
    if not field.low <= low <= high <= field.top:
        raise CronSyntaxError(
            f"{field.name} field: {part!r}: the bounds of H run forwards inside {field.low}-{field.top}"
        )
    span = high - low + 1
    step = int(step_text) if step_text else None
    if step is not None and not 1 <= step <= span:
        raise CronSyntaxError(f"{field.name} field: {part!r}: the step after / is 1 to {span} here")
    place = low + _number(f"{key}\0{field.name}") % (step or span)
    if step is None or place + step > high:
        return str(place)
    return f"{place}-{high}/{step}"


def jitter(job_id: int, instant: datetime, max_seconds: int) -> timedelta:
    """Return how much later than `instant` this job starts: even over 0 to `max_seconds`, in whole microseconds.

    `instant` is aware; the same moment written in another zone gives the same jitter. Raises ValueError for a
    naive instant or a negative maximum.
    """
    if max_seconds < 0:
        raise ValueError("the jitter is 0 seconds or more")
    if instant.tzinfo is None:
        raise ValueError("the instant needs a UTC offset")
    moment = (instant - _EPOCH) // timedelta(microseconds=1)
    return timedelta(microseconds=_number(f"{job_id}\0{moment}") % (max_seconds * 1_000_000 + 1))


def _number(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest())
