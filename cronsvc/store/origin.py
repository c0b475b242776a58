"""Which request a task works for, so that the audit log can name it beside who asked and from where.

The door says it once a request; the pool passes it on with every transaction that has an actor. A context variable, so
requests at the same time have their own; work without a request has none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_REQUEST_ID: ContextVar[str | None] = ContextVar("cronsvc_request_id", default=None)


@contextmanager
def requested(request_id: str) -> Iterator[None]:
    """What is changed in the block was asked for by this request."""
    token = _REQUEST_ID.set(request_id or None)
    try:
        yield
    finally:
        _REQUEST_ID.reset(token)


def request_id() -> str | None:
    """The request, None outside of any."""
    return _REQUEST_ID.get()
