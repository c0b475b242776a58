"""The text of cron expressions: five or six fields read into sets of numbers, or refused with a reason.

The dialect: `*`, lists, ranges that run forwards, steps, three-letter names, 0 and 7 for Sunday,
`?` in the day fields, L, LW, 15W, 5L, 5#2, and seven macros. Tabs separate fields as in a crontab. Everything that
other crons read in different ways is refused rather than guessed, and the reason names the field, the
element and what would be right. Bounded: at most 256 characters, so a few thousand numbers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_LENGTH = 256

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAY_NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_NUMBER = re.compile(r"[0-9]{1,4}", re.ASCII)
_HASH = re.compile(r"H(\(.*)?(/.*)?", re.ASCII)


class CronSyntaxError(ValueError):
    """The text is not a cron expression; the message says which field is wrong and what would be right."""


@dataclass(frozen=True, slots=True)
class CronField:
    """One column of an expression. `top` is where an open-ended step stops; `high` is the greatest number allowed."""

    name: str
    low: int
    high: int
    top: int
    names: tuple[str, ...] = ()


SECOND = CronField("second", 0, 59, 59)
MINUTE = CronField("minute", 0, 59, 59)
HOUR = CronField("hour", 0, 23, 23)
DAY_OF_MONTH = CronField("day of month", 1, 31, 31)
MONTH = CronField("month", 1, 12, 12, _MONTH_NAMES)
DAY_OF_WEEK = CronField("day of week", 0, 7, 6, _WEEKDAY_NAMES)  # 0 and 7 are Sunday; steps stop at Saturday
FIELDS = (SECOND, MINUTE, HOUR, DAY_OF_MONTH, MONTH, DAY_OF_WEEK)


@dataclass(frozen=True, slots=True)
class CronDays:
    """A day field: plain numbers, and the forms whose meaning depends on the month."""

    numbers: frozenset[int]
    last_day: bool = False  # L
    last_workday: bool = False  # LW
    nearest_workdays: frozenset[int] = frozenset()  # 15W
    nth_weekdays: frozenset[tuple[int, int]] = frozenset()  # 5#2: (weekday, n)
    last_weekdays: frozenset[int] = frozenset()  # 5L

    @property
    def special(self) -> bool:
        return bool(
            self.last_day or self.last_workday or self.nearest_workdays or self.nth_weekdays or self.last_weekdays
        )


def split_fields(expression: str) -> list[str]:
    """Return the six field texts of an expression (second 0 when it has five), macros expanded."""
    if len(expression) > MAX_LENGTH:
        raise CronSyntaxError(f"has {len(expression)} characters; at most {MAX_LENGTH} are allowed")
    for position, character in enumerate(expression):
        if not (" " <= character <= "~" or character == "\t"):
            raise CronSyntaxError(
                f"character {position + 1} is {character!a}; only ASCII letters, digits, spaces and * , - / ? # "
                "are allowed, on one line"
            )
    texts = expression.split()
    if not texts:
        raise CronSyntaxError("is empty; write five fields: minute, hour, day of month, month, day of week")
    if texts[0].startswith("@"):
        texts = _expand_macro(texts)
    if len(texts) == 5:
        return ["0", *texts]
    if len(texts) == 6:
        return texts
    hint = " (a year field is not supported)" if len(texts) == 7 else ""
    raise CronSyntaxError(f"has {len(texts)} fields; write five, or six with leading seconds{hint}")


def _expand_macro(texts: Sequence[str]) -> list[str]:
    macro = texts[0].lower()
    if macro not in MACROS:
        raise CronSyntaxError(f"{texts[0]!r} is not a known macro; use one of {', '.join(MACROS)}")
    if len(texts) > 1:
        raise CronSyntaxError(f"{texts[0]!r} stands alone; remove what follows it")
    return MACROS[macro].split()


def read_numbers(field: CronField, text: str) -> frozenset[int]:
    """Read a field that holds only numbers: second, minute, hour or month."""
    return frozenset().union(*(_read_element(field, part) for part in text.split(",")))


def read_days(field: CronField, text: str) -> CronDays:
    """Read a day-of-month or day-of-week field."""
    if text == "?":
        text = "*"
    numbers: set[int] = set()
    last_day = last_workday = False
    nearest: set[int] = set()
    nth: set[tuple[int, int]] = set()
    last: set[int] = set()
    for part in text.split(","):
        form = part.upper()
        if field is DAY_OF_MONTH and form == "L":
            last_day = True
        elif field is DAY_OF_MONTH and form == "LW":
            last_workday = True
        elif field is DAY_OF_MONTH and form.endswith("W") and len(form) > 1:
            nearest.add(_read_value(field, part[:-1], part))
        elif field is DAY_OF_WEEK and "#" in part:
            weekday, _, count = part.partition("#")
            if count not in ("1", "2", "3", "4", "5"):
                raise _wrong(field, part, "the number after # is 1 to 5, for example 5#2 for the second Friday")
            nth.add((_read_value(field, weekday, part) % 7, int(count)))
        elif field is DAY_OF_WEEK and form.endswith("L") and len(form) > 1:
            last.add(_read_value(field, part[:-1], part) % 7)
        else:
            numbers |= _read_element(field, part)
    return CronDays(
        numbers=frozenset(numbers),
        last_day=last_day,
        last_workday=last_workday,
        nearest_workdays=frozenset(nearest),
        nth_weekdays=frozenset(nth),
        last_weekdays=frozenset(last),
    )


def _read_element(field: CronField, part: str) -> frozenset[int]:
    """Read one element of a list: `*`, `n`, `a-b`, each with an optional `/step`."""
    base, slash, step_text = part.partition("/")
    step = 1
    if slash:
        if not _NUMBER.fullmatch(step_text) or int(step_text) == 0:
            raise _wrong(field, part, "the step after / is a whole number from 1, for example */15")
        step = int(step_text)
    start_text, dash, end_text = base.partition("-")
    if base == "*":
        numbers = range(field.low, field.top + 1, step)
    elif dash and base != "-":
        start, end = _read_value(field, start_text, part), _read_value(field, end_text, part)
        if start > end:
            raise _wrong(field, part, f"the range runs backwards; write {_unwrapped(field, start, end)}")
        numbers = range(start, end + 1, step)
    else:
        start = _read_value(field, base, part)
        if field is DAY_OF_WEEK:
            start %= 7  # 7 is another name of 0, so 7/2 is 0/2
        numbers = range(start, field.top + 1 if slash else start + 1, step)
    if field is DAY_OF_WEEK:
        return frozenset(number % 7 for number in numbers)
    return frozenset(numbers)


def _read_value(field: CronField, text: str, part: str) -> int:
    """Read a number or a three-letter name and check its bounds; `part` is quoted in the error."""
    if _NUMBER.fullmatch(text):
        value = int(text)
    elif text.upper() in field.names:
        value = field.names.index(text.upper()) + field.low
    else:
        raise _wrong(field, part, _expected(field, part))
    if not field.low <= value <= field.high:
        raise _wrong(field, part, f"{value} is outside {field.low}-{field.high}")
    return value


def _wrong(field: CronField, part: str, reason: str) -> CronSyntaxError:
    return CronSyntaxError(f"{field.name} field: {part!r}: {reason}")


def _expected(field: CronField, part: str) -> str:
    """Say what would be right in place of something unreadable."""
    text = part.upper()
    if not text:
        return "an element is missing beside a comma"
    if text == "R" or text.startswith(("R(", "R/")):
        return "R (random) would differ between replicas; use H"
    if _HASH.fullmatch(text):
        return "H takes the forms H, H/15, H(0-29) and H(0-29)/10, and is resolved when the job is created"
    if field is DAY_OF_WEEK and text == "L":
        return "a bare L is ambiguous here; write 6L for the last Saturday or 6 for every Saturday"
    if field is DAY_OF_WEEK and re.fullmatch("L[0-7]", text):
        return f"write {text[1]}L for the last such weekday of the month"
    if field is DAY_OF_MONTH and text.startswith("L-"):
        return "days counted back from the last are not supported; L is the last day, LW the last workday"
    if "?" in text:
        return "? stands alone, and only in the two day fields"
    names = f" or a name such as {field.names[1]}" if field.names else ""
    return f"expected *, a number {field.low}-{field.high}{names}, a range a-b, or a step such as */2"


def _unwrapped(field: CronField, start: int, end: int) -> str:
    """Spell a backwards range as two that run forwards."""
    if field is DAY_OF_WEEK and end == 0:
        return f"{start}-7"
    return f"{start}-{field.top},{field.low}-{end}"


def has_one_value_range(texts: Sequence[str]) -> bool:
    """Tell whether some field holds a range such as 5-5, which some crons take for the whole field."""
    for field, text in zip(FIELDS, texts, strict=True):
        for part in text.split(","):
            start, dash, end = part.partition("/")[0].partition("-")
            if dash and _read_value(field, start, part) == _read_value(field, end, part):
                return True
    return False
