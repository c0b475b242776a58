"""Which namespaces the statements of this task may touch, for the policies on the tables to hold them to.

The door says it once a request, with `reaching`; the pool passes it on with every transaction (`SET LOCAL
cronsvc.namespaces`), where row-level security binds the role we are. It is a context variable, so tasks of other
requests have their own, and work without a caller (probes, looking up a key) has none: then such a role sees no row of
any namespace.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

_REACH: ContextVar[str | None] = ContextVar("cronsvc_reach", default=None)

EVERYTHING = "*"


@contextmanager
def reaching(namespaces: Sequence[str] | None) -> Iterator[None]:
    """Bound what is done in the block to these namespaces; None is all of them."""
    token = _REACH.set(EVERYTHING if namespaces is None else _array(namespaces))
    try:
        yield
    finally:
        _REACH.reset(token)


def present() -> str | None:
    """What the setting has to say here, None outside of any `reaching`."""
    return _REACH.get()


def _array(namespaces: Sequence[str]) -> str:
    """A text[] literal of Postgres: within double quotes it escapes as JSON does for what a namespace may hold."""
    return "{" + ",".join(json.dumps(each, ensure_ascii=False) for each in namespaces) + "}"
