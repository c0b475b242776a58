"""What is kept of an answer can always be stored, and never grows."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronsvc.executors.api_call_answer import EXCERPT_BYTES, RESULT_BODY_BYTES, Exchange


def exchange(body: bytes, headers: dict[str, str] | None = None, *, complete: bool = True) -> Exchange:
    return Exchange(written=True, status=200, headers=headers or {}, body=bytearray(body), complete=complete)


@pytest.mark.parametrize(
    ("body", "headers", "kept"),
    [
        (b'{"a": [1, null]}', {}, {"a": [1, None]}),
        (b"[1]", {"Content-Type": "text/plain"}, [1]),
        (b"12", {"Content-Type": "application/json"}, 12),
        (b"12", {"Content-Type": "text/plain"}, "12"),
        (b"done", {}, "done"),
        (b"{broken", {"Content-Type": "application/json"}, "{broken"),
        (b"", {}, None),
        (b'{"a": 1e999}', {}, '{"a": 1e999}'),
        (b'{"a": NaN}', {}, '{"a": NaN}'),
        (b"[" * 4000 + b"]" * 4000, {}, "[" * 4000 + "]" * 4000),
        (b"[" * 40 + b"]" * 40, {}, "[" * 40 + "]" * 40),
        (b'{"a\\u0000b": "\\ud800 \\u0000"}', {}, {"a\ufffdb": "\ufffd \ufffd"}),
        (b"a\x00b", {}, "a\ufffdb"),
        (b"caf\xe9", {}, "caf\ufffd"),
        (b"caf\xe9", {"Content-Type": 'text/plain; charset="ISO-8859-1"'}, "café"),
        ("grün".encode("utf-16"), {"Content-Type": "text/plain; charset=utf-16"}, "grün"),
        (b"\\x41", {"Content-Type": "text/plain; charset=unicode_escape"}, "\\x41"),
    ],
)
def test_bodies(body: bytes, headers: dict[str, str], kept: Any) -> None:
    assert exchange(body, headers).result() == {
        "status": 200,
        "headers": {name.lower(): value for name, value in headers.items()},
        "body": kept,
    }


def test_a_long_or_cut_body_is_text_and_says_so() -> None:
    long = json.dumps({"a": "x" * RESULT_BODY_BYTES}).encode()
    result = exchange(long).result()
    assert result["truncated"] is True
    assert result["body"] == long[:RESULT_BODY_BYTES].decode()
    assert exchange(b'{"a": 1}', complete=False).result()["truncated"] is True


def test_a_bomb_stays_closed() -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    kept = exchange(bomb, {"Content-Encoding": "gzip"})
    assert kept.excerpt() == f"({len(bomb)} bytes in a content encoding that was not asked for; not decoded)"
    assert exchange(b"plain", {"Content-Encoding": "identity"}).excerpt() == "plain"


def test_only_harmless_headers_are_kept() -> None:
    kept = exchange(b"", {"Set-Cookie": "s=secret", "X-Request-Id": "r\x00-1", "ETag": "e" * 1000}).result()["headers"]
    assert kept == {"x-request-id": "r\ufffd-1", "etag": "e" * 512}


def test_no_answer_has_no_excerpt() -> None:
    assert Exchange(written=True).excerpt() is None


@given(
    body=st.binary(max_size=200) | st.text(alphabet='{}[]",:\\u0d8e1\x00é', max_size=60).map(lambda t: t.encode()),
    content_type=st.sampled_from(["", "application/json", "text/plain; charset=utf-16", "text/html; charset=cp1252"]),
)
def test_whatever_comes_can_be_stored(body: bytes, content_type: str) -> None:
    kept = exchange(body, {"Content-Type": content_type})
    excerpt = kept.excerpt()
    assert excerpt is not None
    stored = json.dumps(kept.result(), allow_nan=False, ensure_ascii=False) + excerpt
    assert "\x00" not in stored
    assert "\\u0000" not in json.dumps(kept.result())
    stored.encode("utf-8", "strict")


def test_replacing_bad_bytes_does_not_outgrow_the_cap() -> None:
    excerpt = exchange(b"\xff" * EXCERPT_BYTES, complete=False).excerpt()
    assert excerpt is not None
    assert len(excerpt.encode()) <= EXCERPT_BYTES
