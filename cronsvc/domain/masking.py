"""Taking secrets out of what is about to be kept: texts of targets, results, messages, log lines.

A secret is looked for as it is and as the web spells it: percent-encoded, in JSON, in HTML, in base64, line by line.
What is kept of an answer may be cut anywhere, so a beginning of a secret at the end of a text goes too, and an end of
one at the beginning. What a target does beyond that to hide a secret from us (spelling it backwards) it can hide.
"""

import base64
import html
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "[secret]"
SHORTEST = 4  # of a secret; anything shorter would be found everywhere
SHORTEST_LINE = 8  # of one with several lines, such as a key in PEM


class Masks:
    """The secrets of one attempt; `hide` adds one, and everything masked afterwards is without it."""

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._likenesses: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def hide(self, secret: str) -> None:
        """Mask this text from now on; one that is too short to be told from others is left alone."""
        parts = [secret, secret.strip()]
        lines = secret.splitlines()
        if len(lines) > 1:
            parts += [line for line in map(str.strip, lines) if len(line) >= SHORTEST_LINE and "-----" not in line]
        forms = {form for part in parts if len(part) >= SHORTEST for form in _spellings(part)}
        if not forms <= self._forms:
            self._forms |= forms
            self._read()

    def hide_like(self, likeness: str) -> None:
        """Mask whatever this regular expression, one of ours, finds."""
        self._likenesses.add(likeness)
        self._read()

    def _read(self) -> None:
        longest_first = sorted(self._forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join([*map(re.escape, longest_first), *sorted(self._likenesses)]))

    @property
    def any(self) -> bool:
        """Whether there is anything to mask."""
        return self._pattern is not None

    def text(self, text: str) -> str:
        """The text without secrets."""
        if self._pattern is None:
            return text
        text = self._pattern.sub(MASK, text)
        tail = max((_overlap(text, form) for form in self._forms), default=0)
        if tail:
            text = text[:-tail] + MASK
        head = max((_overlap(form, text) for form in self._forms), default=0)
        return MASK + text[head:] if head else text

    def value(self, value: Any) -> Any:
        """A JSON value without secrets, in names of members and in numbers too."""
        if self._pattern is None or value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self._pattern.sub(MASK, str(key)): self.value(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(each) for each in value]
        if isinstance(value, int | float) and self._pattern.search(str(value)):
            return MASK
        return value


def _spellings(secret: str) -> Iterable[str]:
    encoded = secret.encode(errors="replace")
    percent = quote(secret, safe="", errors="replace")
    yield from (secret, percent, percent.lower(), quote(secret, errors="replace"), quote_plus(secret, errors="replace"))
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], secret.replace("/", "\\/"))
    yield from (html.escape(secret), html.escape(secret, quote=False))
    for plain in (base64.b64encode(encoded).decode(), base64.urlsafe_b64encode(encoded).decode()):
        yield from (plain, plain.rstrip("="))


def _overlap(left: str, right: str) -> int:
    """The length of the longest end of `left`, of at least SHORTEST, that `right` begins with."""
    begin = right[:SHORTEST]
    if len(begin) < SHORTEST:
        return 0
    at = left.find(begin, max(0, len(left) - len(right)))
    while at >= 0:
        if right.startswith(left[at:]):
            return len(left) - at
        at = left.find(begin, at + 1)
    return 0
