"""`capture`: what of an answer becomes the execution's `result`.

    {"body": false, "json": "data.id", "headers": ["X-Job-Number"], "maxBytes": 8192}

Without it the result is `{"status", "headers", "body"}` with a few harmless headers and 8 KB of the body. `json` keeps
one place of the body instead of all of it, or several under names: `{"id": "data.id", "state": "data.state"}`.
"""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cronsvc.errors import FieldError, InvalidInput
from cronsvc.executors.api_call_answer import RESULT_BODY_BYTES, Exchange, storable_json
from cronsvc.executors.config_faults import read_part
from cronsvc.executors.json_place import MISSING, Steps, found, steps_of
from cronsvc.executors.jsonable import storable

MOST_BYTES = 65_536
MOST = 50
LONGEST_HEADER = 1_024
NEVER_KEPT = frozenset({"set-cookie", "set-cookie2", "www-authenticate", "proxy-authenticate", "authorization"})


class CaptureConfig(BaseModel):
    """The `capture` of an API_CALL job."""

    model_config = ConfigDict(strict=True, extra="forbid")

    body: bool = Field(True, description="true or false")
    json_: str | dict[str, str] | None = Field(
        None, alias="json", description="a place in the JSON answer such as data.id, or an object of names and places"
    )
    headers: list[str] | None = Field(None, max_length=MOST, description="a list of names of response headers")
    max_bytes: int = Field(
        RESULT_BODY_BYTES, alias="maxBytes", ge=1, le=MOST_BYTES, description=f"a number from 1 to {MOST_BYTES}"
    )


@dataclass(frozen=True, slots=True)
class Capture:
    """What to keep. `places`: None for the whole body, a single unnamed one for its value alone."""

    body: bool = True
    places: tuple[tuple[str | None, Steps], ...] | None = None
    headers: tuple[str, ...] | None = None
    max_bytes: int = RESULT_BODY_BYTES

    def result(self, exchange: Exchange) -> dict[str, Any]:
        """The result of an answer; what is not there is null."""
        result = exchange.result(self.max_bytes)
        if self.headers is not None:
            result["headers"] = {
                name.lower(): storable(exchange.headers[name])[:LONGEST_HEADER]
                for name in self.headers
                if name in exchange.headers
            }
        if self.places is not None:
            return _without_body(result) | {"body": self._at_places(exchange)}
        return result if self.body else _without_body(result)

    def _at_places(self, exchange: Exchange) -> Any:
        places = self.places or ()
        try:
            value = json.loads(exchange.excerpt() or "") if exchange.complete else MISSING
        except (ValueError, RecursionError):
            value = MISSING
        kept = {name: self._kept(found(value, steps)) for name, steps in places}
        return kept.get(None) if None in kept else kept

    def _kept(self, value: Any) -> Any:
        """A value that jsonb can hold and that is not too long; null otherwise."""
        if value is MISSING:
            return None
        try:
            plain = storable_json(value)
        except ValueError:
            return None
        fits = len(json.dumps(plain, ensure_ascii=False).encode()) <= self.max_bytes
        return plain if fits else {"truncated": True}


USUAL = Capture()


def read_capture(value: object, path: str) -> Capture:
    """`capture` as it was written; InvalidInput names everything that is wrong with it."""
    read = read_part(CaptureConfig, value, path=path, kind="capture")
    bad: list[FieldError] = []
    places: tuple[tuple[str | None, Steps], ...] | None = None
    if read.json_ is not None:
        named = {None: read.json_} if isinstance(read.json_, str) else read.json_
        steps = {name: steps_of(place) for name, place in named.items()}
        for name, each in steps.items():
            if each is None:
                field = f"{path}.json" if name is None else f"{path}.json.{name[:100]}"
                bad.append(FieldError(field, "is not a place in JSON; write for example items[0].id"))
        if not 1 <= len(named) <= MOST:
            bad.append(FieldError(f"{path}.json", f"must name 1 to {MOST} places"))
        if not read.body:
            bad.append(FieldError(f"{path}.body", "cannot be false beside json, which keeps a part of the body"))
        places = tuple((name, each) for name, each in steps.items() if each is not None)
    headers = None if read.headers is None else tuple(read.headers)
    if refused := [name for name in headers or () if name.lower() in NEVER_KEPT]:
        bad.append(FieldError(f"{path}.headers", f"{refused[0]} may carry a credential and is never kept"))
    if bad:
        raise InvalidInput(bad)
    return Capture(read.body, places, headers, read.max_bytes)


def _without_body(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name not in ("body", "truncated")}
