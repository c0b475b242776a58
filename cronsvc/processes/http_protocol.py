"""HTTP/1.1 of uvicorn with the bounds it leaves to a proxy in front: cronsvc may stand there alone.

Promises: the head of a request has at most MOST_HEAD_BYTES and arrives within HEAD_SECONDS of its first byte (of the
connection, for the first one), or the connection ends (431, 408). What is left of a body after the answer is read for
LINGER_SECONDS, so that the answer arrives, and no longer.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
MOST_HEAD_BYTES = 65_536
LINGER_SECONDS = 5.0
_HEADER_EXTRA = 4  # colon, space, line end

_TOO_SLOW = b"408 Request Timeout"
_TOO_LARGE = b"431 Request Header Fields Too Large"


class BoundedHttp(HttpToolsProtocol):
    """One connection. Between requests uvicorn's own keep-alive limit counts."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._is_refused = False
        self._is_in_head = False
        self._is_in_body = False
        self._heads = 0
        self._raw_bytes = 0  # of a head that goes on since an earlier read
        self._parsed_bytes = 0  # of its lines, as the parser hands them over
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start(HEAD_SECONDS, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused or self.transport.is_closing():
            return
        heads = self._heads
        super().data_received(data)
        if self._is_in_head and self._heads == heads:
            self._raw_bytes += len(data)
        if max(self._raw_bytes, self._parsed_bytes) > MOST_HEAD_BYTES:
            self._refuse(_TOO_LARGE)
        elif self._timer is None and not self._is_in_body and (self.cycle is None or self.cycle.response_complete):
            self._start(HEAD_SECONDS, self._head_is_late)  # a head began, or line ends that are none of one

    def on_message_begin(self) -> None:
        self._is_in_head = True
        self._heads += 1
        self._raw_bytes = self._parsed_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._parsed_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._parsed_bytes += len(name) + len(value) + _HEADER_EXTRA
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._stop()
        self._is_in_head, self._is_in_body = False, True
        # Too large: data_received says so after this read, and the application never hears of it.
        self._is_refused = self._parsed_bytes > MOST_HEAD_BYTES
        if not self._is_refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._stop()
        self._is_in_body = False
        if not self._is_refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_in_body and self.cycle.response_complete and not self.transport.is_closing():
            self._start(LINGER_SECONDS, self.transport.close)

    def _head_is_late(self) -> None:
        self._timer = None
        if self._is_in_head:
            self._refuse(_TOO_SLOW)
        else:
            self.transport.close()

    def _refuse(self, status: bytes) -> None:
        self._is_refused = True
        self._stop()
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()

    def _start(self, seconds: float, act: Callable[[], None]) -> None:
        self._stop()
        self._timer = self.loop.call_later(seconds, act)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
