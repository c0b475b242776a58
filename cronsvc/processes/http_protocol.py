"""HTTP/1.1 of uvicorn with the bounds it leaves to a proxy in front: cronsvc may stand there alone.

Promises: the head of a request has at most MOST_HEAD_BYTES and arrives within HEAD_SECONDS of its first byte (of the
connection, for the first one; of the answer before it, where that was still under way), or the connection ends (431,
408). What is refused is told in its turn, never in the place of another request's answer, and nothing behind it is
read. What is left of a body after the answer is read for LINGER_SECONDS, so that the answer arrives, and no longer.
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
_MALFORMED = b"400 Bad Request"


class BoundedHttp(HttpToolsProtocol):
    """One connection. Between requests uvicorn's own keep-alive limit counts."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._is_refused = False  # from here on nothing that arrives is a request
        self._refusal = _TOO_LARGE
        self._is_in_head = False
        self._is_in_body = False
        self._heads = 0
        self._bodies = 0
        self._raw_bytes = 0  # of a head, or of trailers, that go on since an earlier read
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
        heads, bodies = self._heads, self._bodies
        super().data_received(data)
        if (self._is_in_head or self._is_in_body) and (self._heads, self._bodies) == (heads, bodies):
            self._raw_bytes += len(data)
        if self._is_in_body and not self._is_refused:
            if self._raw_bytes > MOST_HEAD_BYTES:
                self.send_400_response("Trailers or chunk extensions too large.")
        elif max(self._raw_bytes, self._parsed_bytes) > MOST_HEAD_BYTES:
            self._refuse(_TOO_LARGE)
        elif self._timer is None and not self._is_in_body and not self._is_answering():
            if self._is_in_head:
                self._start(HEAD_SECONDS, self._head_is_late)
            else:  # the rest of a body, or line ends that are none of a head: uvicorn's own count has been stopped
                self._start(self.timeout_keep_alive, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        if self._is_refused:
            return
        if not self._is_in_body and self._is_answering():
            self._refuse(_MALFORMED)
        elif self._is_in_body and (self.pipeline or self.cycle.response_started):
            self.transport.close()  # the answer that is due is another's, or it has begun
        else:
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        if self._is_refused:
            return
        if self._heads:
            self._stop()  # it was idle
        self._is_in_head = True
        self._heads += 1
        self._raw_bytes = self._parsed_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._parsed_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_head:
            return  # a trailer, which is no header of the request
        self._parsed_bytes += len(name) + len(value) + _HEADER_EXTRA
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_refused:
            return
        self._stop()
        self._is_in_head, self._is_in_body = False, True
        self._raw_bytes = 0
        # Too large: data_received says so after this read, and the application never hears of it.
        self._is_refused = self._parsed_bytes > MOST_HEAD_BYTES
        if not self._is_refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._bodies += 1
        self._raw_bytes = 0
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_refused:
            return
        self._stop()
        self._is_in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_answering() or self.transport.is_closing():
            return
        if self._is_refused:
            self._refuse(self._refusal)
        elif self._is_in_body:
            self._start(LINGER_SECONDS, self.transport.close)
        elif self._is_in_head:
            self._start(HEAD_SECONDS, self._head_is_late)

    def _is_answering(self) -> bool:
        """Whether a request has been handed on and its answer is not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    def _head_is_late(self) -> None:
        self._timer = None
        if self._is_in_head:
            self._refuse(_TOO_SLOW)
        else:
            self.transport.close()

    def _refuse(self, status: bytes) -> None:
        self._is_refused, self._refusal = True, status
        self._stop()
        if self._is_answering():
            return  # on_response_complete tells it in its turn
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
