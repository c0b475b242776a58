"""`expect`: what an answer must be for the attempt to count as a success.

    {"status": [200, 204, "300-399", "2xx"],
     "body": {"contains": "ok", "notContains": "error", "json": {"state": "done", "items[0].id": 7}, "matches": "…"}}

Without `status` it is any 2xx. Everything in `body` must hold. It is looked for in the 64 KB that are kept of an
answer; `json` needs a whole answer. A regular expression is read and run in a process of its own that is given a
second: so `pattern_fault` says what is wrong with one, and reading an `expect` does not.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cronsvc.errors import FieldError, InvalidInput
from cronsvc.executors import matching
from cronsvc.executors.api_call_answer import Exchange
from cronsvc.executors.config_faults import PATH, read_part
from cronsvc.executors.json_place import MISSING, Steps, found, steps_of

MOST = 50  # entries of a list, or of `json`
LONGEST_TEXT = 4_096
LONGEST_PATTERN = 1_000
MATCHES = "expect.body.matches"
NO_PATTERN = "is not a regular expression as Python reads it"

STATUS_WORDS = 'a status such as 200, a class such as "2xx", a range such as "200-299", or a list of those'
RANGE = re.compile(r"([1-5])xx|([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?", re.ASCII | re.IGNORECASE)
SUCCESS = ((200, 299),)

Texts = str | list[str]


class ExpectConfig(BaseModel):
    """The `expect` of an API_CALL job."""

    model_config = ConfigDict(strict=True, extra="forbid")

    status: int | str | list[int | str] | None = Field(None, description=STATUS_WORDS)
    body: dict[str, Any] | None = Field(None, description="an object with contains, notContains, json or matches")


class BodyConfig(BaseModel):
    """Its `body`."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    contains: Texts | None = Field(None, description="a text, or a list of them that must all be there")
    not_contains: Texts | None = Field(None, alias="notContains", description="a text, or a list, none to be there")
    json_: dict[str, Any] | None = Field(None, alias="json", description="an object of places, each with its value")
    matches: str | None = Field(None, description=f"a regular expression of 1 to {LONGEST_PATTERN} characters")


@dataclass(frozen=True, slots=True)
class Expectation:
    """What to ask of an answer."""

    statuses: tuple[tuple[int, int], ...] = SUCCESS
    contains: tuple[str, ...] = ()
    not_contains: tuple[str, ...] = ()
    places: tuple[tuple[str, Steps, Any], ...] = ()
    pattern: str | None = None

    def accepts(self, status: int) -> bool:
        """Whether this is one of the wanted statuses."""
        return any(low <= status <= high for low, high in self.statuses)

    async def unmet(self, exchange: Exchange) -> str | None:
        """What the answer lacks, in words that repeat nothing of it; None when it is as wanted.

        InvalidInput: its regular expression is none.
        """
        if not (self.contains or self.not_contains or self.places or self.pattern):
            return None
        text = exchange.excerpt() or ""
        for number, part in enumerate(self.contains, start=1):
            if part not in text:
                return _lacks("the answer does not hold the text of expect.body.contains", number, len(self.contains))
        for number, part in enumerate(self.not_contains, start=1):
            if part in text:
                return _lacks("the answer holds the text of expect.body.notContains", number, len(self.not_contains))
        return self._unmet_json(exchange, text) or await self._unmet_pattern(text)

    def _unmet_json(self, exchange: Exchange, text: str) -> str | None:
        if not self.places:
            return None
        if not exchange.complete:
            return "the answer is longer than what is kept, so expect.body.json cannot be judged"
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return "the answer is not JSON, as expect.body.json wants"
        for name, steps, wanted in self.places:
            there = found(value, steps)
            if there is MISSING:
                return f"the answer has nothing at {name}"
            if not _same(there, wanted):
                return f"the answer has another value at {name} than expected"
        return None

    async def _unmet_pattern(self, text: str) -> str | None:
        if self.pattern is None:
            return None
        try:
            verdict = await matching.matches(self.pattern, text)
        except matching.NotAPattern as error:  # written by SQL
            raise InvalidInput.of(f"{PATH}.{MATCHES}", f"{NO_PATTERN}: {error}") from None
        if verdict is None:
            return f"expect.body.matches took longer than {matching.SECONDS:g} s on this answer"
        return None if verdict else "the answer does not match expect.body.matches"


ANY_SUCCESS = Expectation()


def read_expectation(value: object, path: str) -> Expectation:
    """`expect` as it was written; InvalidInput names everything that is wrong with it."""
    read = read_part(ExpectConfig, value, path=path, kind="expect")
    bad: list[FieldError] = []
    statuses = SUCCESS if read.status is None else tuple(_ranges(read.status))
    if not statuses or any(low > high or not 100 <= low <= high <= 599 for low, high in statuses):
        bad.append(FieldError(f"{path}.status", f"must be {STATUS_WORDS}"))
    body = BodyConfig()
    if read.body is not None:
        try:
            body = read_part(BodyConfig, read.body, path=f"{path}.body", kind="expect.body")
        except InvalidInput as error:
            bad.extend(error.errors)
    contains, not_contains = _texts(body.contains), _texts(body.not_contains)
    for name, texts in (("contains", contains), ("notContains", not_contains)):
        if len(texts) > MOST or not all(1 <= len(each) <= LONGEST_TEXT for each in texts):
            words = f"must be a text of 1 to {LONGEST_TEXT} characters, or at most {MOST} of them"
            bad.append(FieldError(f"{path}.body.{name}", words))
    places = [(name, steps_of(name), wanted) for name, wanted in (body.json_ or {}).items()]
    for name, steps, _ in places:
        if steps is None:
            words = "is not a place in JSON; write for example items[0].id"
            bad.append(FieldError(f"{path}.body.json.{name[:100]}", words))
    if len(places) > MOST:
        bad.append(FieldError(f"{path}.body.json", f"must name at most {MOST} places"))
    if body.matches is not None and not 1 <= len(body.matches) <= LONGEST_PATTERN:
        words = f"must be a regular expression of 1 to {LONGEST_PATTERN} characters"
        bad.append(FieldError(f"{path}.body.matches", words))
    if bad:
        raise InvalidInput(bad)
    known = tuple((name, steps, wanted) for name, steps, wanted in places if steps is not None)
    return Expectation(statuses, contains, not_contains, known, body.matches)


async def pattern_fault(expect: object) -> str | None:
    """What is wrong with the regular expression of an `expect`, if it has one that `read_expectation` lets pass."""
    body = expect.get("body") if isinstance(expect, Mapping) else None
    pattern = body.get("matches") if isinstance(body, Mapping) else None
    if not isinstance(pattern, str) or not 1 <= len(pattern) <= LONGEST_PATTERN:
        return None
    try:
        verdict = await matching.matches(pattern, "")
    except matching.NotAPattern as error:
        return f"{NO_PATTERN}: {error}"
    return f"takes longer than {matching.SECONDS:g} s to read" if verdict is None else None


def _ranges(status: int | str | list[int | str]) -> Iterator[tuple[int, int]]:
    """The statuses as pairs, both ends included; (0, 0) for what is none."""
    for each in (status if isinstance(status, list) else [status])[: MOST + 1]:
        match = RANGE.fullmatch(str(each))
        if match is None:
            yield 0, 0
        elif match[1]:
            yield int(match[1]) * 100, int(match[1]) * 100 + 99
        else:
            yield int(match[2]), int(match[3] or match[2])


def _texts(value: Texts | None) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def _same(there: Any, wanted: Any) -> bool:
    """Equal as JSON is: 1 and 1.0 are, 1 and true are not."""
    if isinstance(there, bool) or isinstance(wanted, bool):
        return there is wanted
    if isinstance(there, list) and isinstance(wanted, list):
        return len(there) == len(wanted) and all(map(_same, there, wanted))
    if isinstance(there, Mapping) and isinstance(wanted, Mapping):
        return there.keys() == wanted.keys() and all(_same(there[key], wanted[key]) for key in there)
    return bool(there == wanted)


def _lacks(words: str, number: int, count: int) -> str:
    return words if count == 1 else f"{words} (the {number}. of {count})"
