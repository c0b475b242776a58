"""Requests that may be sent twice and are carried out once.

A request with an Idempotency-Key first takes the key, in a transaction of its own. The first transaction that changes
anything writes so into the key's row (`store.effects`); the answer follows when it is known. Hence, for 24 hours:

- an answer that is kept is sent again; while the first request is under way, the second is refused (`StillRunning`);
- a process that dies before it has changed anything frees the key after ABANDONED, and if it was only frozen, its
  change fails from then on; one that dies after it has changed something leaves a key that is refused to the end of
  its day: what was asked for has happened, in part perhaps, and is never begun a second time;
- a request that was refused and changed nothing frees the key at once.

Answers beyond LARGEST_ANSWER are not kept, and of one caller no more than MOST_KEYS keys.

A key belongs to who sent it, as far as they reach now, and to the route. Keys are stored as hashes. Triggers keep the
execution they began instead (`triggering`).
"""

import hashlib
import json
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from cronsvc.errors import Conflict, InvalidInput
from cronsvc.services.callers import Caller
from cronsvc.services.remembered_counts import RememberedCounts
from cronsvc.services.triggering import FIELD
from cronsvc.store import request_keys
from cronsvc.store.effects import Claim, fenced
from cronsvc.store.pool import Database
from cronsvc.store.request_keys import KeptAnswer, TakenRequest

ABANDONED = timedelta(seconds=60)
LARGEST_ANSWER = 131_072  # what became of 1,000 jobs of a bulk fits, unless most were refused
MOST_KEYS = 100_000  # of one caller within 24 hours
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class StillRunning(Conflict):
    """The first request with this key is under way."""


class TooManyKeys(Conflict):
    """This caller has as many keys as anybody may have."""


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """Who asks for what, under which key. `content` is path, query and body in a fixed spelling."""

    caller: Caller
    route: str
    key: str
    content: bytes

    def key_hash(self) -> bytes:
        """What the key is stored under; InvalidInput unless it is 1 to 255 visible ASCII characters."""
        if not _KEY.fullmatch(self.key):
            raise InvalidInput.of(FIELD, "is 1 to 255 visible ASCII characters, such as a UUID")
        reach = None if self.caller.namespaces is None else sorted(self.caller.namespaces)
        return hashlib.sha256(json.dumps([self.caller.actor, reach, self.route, self.key]).encode()).digest()

    def caller_hash(self) -> bytes:
        """Whose key it is, whatever they reach."""
        return hashlib.sha256(self.caller.actor.encode()).digest()


class Replays:
    """Keys of requests of one database, for one process."""

    def __init__(self, db: Database, *, most_keys: int = MOST_KEYS) -> None:
        self._db = db
        self._most_keys = most_keys
        self._counts = RememberedCounts(seconds=60.0, margin=most_keys // 100)

    async def begin(self, request: KeyedRequest, *, now: datetime | None = None) -> KeptAnswer | Claim:
        """Take the key of a request, or return the answer that it got before.

        InvalidInput: the key cannot be one, or came with another request. StillRunning and Conflict: see above.
        TooManyKeys: the caller has no room for a new one.
        """
        key_hash, request_hash = request.key_hash(), hashlib.sha256(request.content).digest()
        claim = Claim(key_hash, uuid4())
        for _ in range(3):
            async with self._db.statements() as conn:
                taken = await request_keys.find(conn, key_hash, abandoned=ABANDONED, now=now)
            if taken is not None and not taken.is_free:
                return _answer_of(taken, request_hash)
            await self._make_room(request.caller_hash(), now)
            async with self._db.transaction() as conn:
                if await request_keys.take(
                    conn,
                    key_hash,
                    request_hash=request_hash,
                    caller_hash=request.caller_hash(),
                    namespaces=request.caller.namespaces,
                    claim=claim.claim,
                    abandoned=ABANDONED,
                    now=now,
                ):
                    return claim
        raise StillRunning("other requests with the same key keep coming; one of them is being carried out")

    async def _make_room(self, caller_hash: bytes, now: datetime | None) -> None:
        """Raise TooManyKeys when the caller has as many as anybody may have; the count may be a minute old."""
        name, most = caller_hash.hex(), self._most_keys
        if self._counts.let_through(name, most):
            return
        async with self._db.statements() as conn:
            there = await request_keys.count(conn, caller_hash, most=most, now=now)
        if there >= most:
            raise TooManyKeys(
                f"you have sent {most} requests with an Idempotency-Key within 24 hours, as many as are remembered:"
                " send this one without, or later"
            )
        self._counts.remember(name, there + 1)

    def acting(self, claim: Claim) -> AbstractContextManager[None]:
        """What is changed in the block is changed for this claim, or not at all."""
        return fenced(claim)

    async def keep(self, claim: Claim, answer: KeptAnswer) -> None:
        """Keep the answer, of LARGEST_ANSWER at most, for whoever sends the request again."""
        assert len(answer.body) <= LARGEST_ANSWER
        async with self._db.statements() as conn:
            await request_keys.keep(conn, claim.key_hash, claim.claim, answer)

    async def release(self, claim: Claim) -> None:
        """Free the key of a request that failed, unless it has changed something."""
        async with self._db.statements() as conn:
            await request_keys.release(conn, claim.key_hash, claim.claim)


async def forget_request_keys(db: Database, *, batch: int = 1000, now: datetime | None = None) -> int:
    """Forget the keys whose day is over, in small transactions; returns how many."""
    forgotten = 0
    while True:
        async with db.statements() as conn:
            rows = await request_keys.prune(conn, batch=batch, now=now)
        forgotten += rows
        if rows < batch:
            return forgotten


def _answer_of(taken: TakenRequest, request_hash: bytes) -> KeptAnswer:
    if taken.request_hash != request_hash:
        raise InvalidInput.of(FIELD, "came with another request within the last 24 hours; use a new key for this one")
    if taken.answer is not None:
        return taken.answer
    if taken.took_effect and taken.age > ABANDONED:
        raise Conflict(
            "the first request with this key has changed something and has not answered since: it is still at work, or"
            " its process died. Look at what is there, and use a new key for what is missing"
        )
    raise StillRunning("the first request with this key is being carried out: ask again later")
