"""What is kept of an answer: at most 64 KB, as text and JSON that Postgres can store.

Bodies are never decompressed (we ask for none), so a bomb stays as small as it was sent. U+0000 and lone surrogates,
which neither `text` nor `jsonb` can hold, become U+FFFD; numbers that `jsonb` has no spelling for keep a body text.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from yarl import URL

from cronsvc.executors.jsonable import cut, storable

EXCERPT_BYTES = 65_536
RESULT_BODY_BYTES = 8_192  # the result sits in the hot table; the excerpt holds the rest
JSON_DEPTH = 32

# Response headers worth keeping, none of which carries a credential (Set-Cookie would).
KEPT_HEADERS = (
    "Content-Type",
    "Content-Length",
    "Content-Encoding",
    "Date",
    "ETag",
    "Last-Modified",
    "Location",
    "Retry-After",
    "X-Request-Id",
    "X-Correlation-Id",
)
KEPT_HEADER_CHARACTERS = 512

# Not every codec Python knows may meet a stranger's bytes; these are what the web uses.
CHARSET = re.compile(r"charset=\"?([A-Za-z0-9_-]{1,40})", re.ASCII | re.IGNORECASE)
CODECS = {"iso-8859-1": "latin-1", "latin1": "latin-1", "windows-1252": "cp1252", "utf-16": "utf-16"}


@dataclass(slots=True)
class Exchange:
    """What has happened on the wire so far; filled in as it happens, so that a cut leaves what is known."""

    written: bool = False  # the request may have reached the target
    url: URL | None = None  # where it went last
    hops: int = 0  # redirects that were followed
    ruled_by: str | None = None  # the namespace whose egress list decides by address where it may go
    not_followed: str | None = None  # why the redirect that is the answer was not
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False  # the whole answer was read; False too when it was longer than what is kept

    def excerpt(self) -> str | None:
        """The answer's text, at most 64 KB of UTF-8; None when no answer came."""
        if self.status is None:
            return None
        encoding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity") and self.body:
            return f"({len(self.body)} bytes in a content encoding that was not asked for; not decoded)"
        charset = CHARSET.search(self.headers.get("Content-Type", ""))
        codec = CODECS.get(charset.group(1).lower(), "utf-8") if charset else "utf-8"
        text = bytes(self.body).decode(codec, errors="replace")
        return cut(storable(text), EXCERPT_BYTES)

    def result(self, limit: int = RESULT_BODY_BYTES) -> dict[str, Any]:
        """`{"status", "headers", "body"}`: the body as JSON when it is complete, within `limit` and JSON, else as text.

        `"truncated": true` stands beside a body that is not all of the answer.
        """
        text = self.excerpt() or ""
        kept = {
            name.lower(): storable(self.headers[name])[:KEPT_HEADER_CHARACTERS]
            for name in KEPT_HEADERS
            if name in self.headers
        }
        result: dict[str, Any] = {"status": self.status, "headers": kept}
        if not self.complete or len(self.body) > limit:
            return result | {"body": cut(text, limit), "truncated": True}
        return result | {"body": self._json(text, limit)}

    def _json(self, text: str, limit: int) -> Any:
        """The body as JSON when it says or looks so and jsonb can store it; else the text, None when empty."""
        if not text:
            return None
        if "json" not in self.headers.get("Content-Type", "").lower() and text.lstrip()[:1] not in ("{", "["):
            return cut(text, limit)
        try:
            return storable_json(json.loads(text))
        except (ValueError, RecursionError):
            return cut(text, limit)


def storable_json(value: Any, depth: int = JSON_DEPTH) -> Any:
    """A parsed JSON value that jsonb can hold; raises ValueError when it is nested too deeply or not finite."""
    if depth < 0:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not a finite number")
    if isinstance(value, list):
        return [storable_json(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {storable(name): storable_json(item, depth - 1) for name, item in value.items()}
    return value
