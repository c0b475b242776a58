"""The fence of a request that has a key: what it does, it does once.

The door says which key a request has taken, with `fenced`; the pool calls `enter` in every transaction that a caller
changes something in. The first of them writes into the key's row that there is an effect: it commits with the change
or not at all. When somebody else has taken the key over meanwhile, the transaction fails and nothing is changed. It is
a context variable, so requests without a key pay for one look at it.

`tried_out` lets a change go through all of its checks and takes it back in place of the commit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from cronsvc.errors import Conflict

if TYPE_CHECKING:
    from cronsvc.store.pool import Conn


@dataclass(slots=True)
class Claim:
    """A key that this request has taken. Once `took_effect` is committed nobody can take it over."""

    key_hash: bytes
    claim: UUID
    took_effect: bool = False


_CLAIM: ContextVar[Claim | None] = ContextVar("cronsvc_claim", default=None)


@contextmanager
def fenced(claim: Claim) -> Iterator[None]:
    """What is changed in the block is changed on behalf of this claim."""
    token = _CLAIM.set(claim)
    try:
        yield
    finally:
        _CLAIM.reset(token)


MARK = """
UPDATE request_keys SET took_effect_at = clock_timestamp()
 WHERE key_hash = %(key_hash)s::bytea AND claim = %(claim)s::uuid AND took_effect_at IS NULL
RETURNING 1
"""


async def enter(conn: "Conn") -> Claim | None:
    """Begin the changes of a transaction: mark the key of this request, if it has one that is not marked yet.

    Returns what to call `took_effect` after the commit. Conflict: the key is another request's by now.
    """
    claim = _CLAIM.get()
    if claim is None or claim.took_effect:
        return None
    row = await (await conn.execute(MARK, {"key_hash": claim.key_hash, "claim": claim.claim})).fetchone()
    if row is None:
        raise Conflict("this request took too long to begin: another one with the same key has taken its place")
    return claim


class TakenBackError(Exception):
    """A change that was only tried out went through, and has been taken back."""


_TRYING: ContextVar[bool] = ContextVar("cronsvc_trying", default=False)


@contextmanager
def tried_out() -> Iterator[None]:
    """The first change in the block ends it: taken back when all went well, else with what the change raises."""
    token = _TRYING.set(True)
    try:
        yield
    except TakenBackError:
        pass
    finally:
        _TRYING.reset(token)


def leave() -> None:
    """End the changes of a transaction, before its commit; TakenBackError where they are only tried out."""
    if _TRYING.get():
        raise TakenBackError
