"""Values of strangers as JSON that Postgres can hold, and that stays small.

Results and log lines come from handlers, databases and packs: anything Python has. Whatever it is becomes JSON here and
nothing raises: U+0000 and lone surrogates become U+FFFD, numbers that JSON has no spelling for become text, and so does
what is unknown or nested too deeply. Imported by the child of a PYTHON job too, so it imports next to nothing.
"""

import base64
import dataclasses
import json
import math
import re
from collections.abc import Mapping, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

RESULT_BYTES = 65_536
RESULT_EXCERPT_BYTES = 8_192
DEPTH = 32
MOST_DIGITS = 1_000  # of an integer; Python refuses to spell much longer ones

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """The text with what Postgres cannot hold replaced by U+FFFD."""
    return UNSTORABLE.sub("\ufffd", text)


def cut(text: str, limit: int) -> str:
    """At most `limit` bytes of the text's UTF-8, never half a character."""
    if len(text) * 4 <= limit:
        return text
    encoded = text.encode(errors="replace")
    return text if len(encoded) <= limit else encoded[:limit].decode(errors="ignore")


def tail(text: str, limit: int) -> str:
    """The last `limit` bytes of the text's UTF-8, never half a character."""
    encoded = text.encode(errors="replace")
    return text if len(encoded) <= limit else encoded[-limit:].decode(errors="ignore")


def jsonable(value: Any, depth: int = DEPTH) -> Any:
    """The value as JSON that jsonb can hold. Times become ISO 8601, decimals and UUIDs text, bytes base64."""
    match value:
        case None | bool():
            return value
        case Enum():
            return jsonable(value.value, depth)
        case str():
            return storable(value)
        case int():
            return int(value) if value.bit_length() <= MOST_DIGITS * 3 else f"an integer of {value.bit_length()} bits"
        case float():
            return float(value) if math.isfinite(value) else str(float(value))
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal() | UUID():
            return str(value)
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(value).decode()
    if depth <= 0:
        return "nested too deeply"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name), depth - 1) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {storable(_text(name)): jsonable(item, depth - 1) for name, item in value.items()}
    if isinstance(value, list | tuple | Set):
        return [jsonable(item, depth - 1) for item in value]
    return storable(cut(_text(value), 1_000))


def capped(value: Any, limit: int = RESULT_BYTES) -> Any:
    """`jsonable(value)`, or an object that shows its beginning when its JSON is longer than `limit` bytes."""
    plain = jsonable(value)
    text = json.dumps(plain, ensure_ascii=False)
    size = len(text.encode())
    if size <= limit:
        return plain
    return {"truncated": True, "bytes": size, "excerpt": cut(text, min(limit, RESULT_EXCERPT_BYTES))}


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 — a stranger's __str__ must not turn a success into a failure
        return f"<{type(value).__name__}>"
