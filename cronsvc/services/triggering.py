"""Manual runs that may be asked for twice and happen once.

A caller that got no answer sends the same request with the same key again. Within 24 hours the same key of the same job
stands for the same execution; two requests at once wait for each other in Postgres, and one of them begins it. Keys
are stored as hashes, in the transaction that writes the execution, so neither is there without the other.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cronsvc.domain.execution import Execution, Ticket
from cronsvc.errors import Conflict, InvalidInput
from cronsvc.store import executions, trigger_keys
from cronsvc.store.pool import Conn

FIELD = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Triggered:
    """The execution of a manual run; `replayed`: an earlier request with the same key began it."""

    execution: Execution
    replayed: bool


@dataclass(frozen=True, slots=True)
class OnceKey:
    """A caller's key and what it came with, both hashed."""

    key_hash: bytes
    request_hash: bytes

    @classmethod
    def of(cls, key: str, params: Mapping[str, Any] | None) -> "OnceKey":
        """Check a key; InvalidInput unless it is 1 to 255 visible ASCII characters. No params are empty params."""
        if not _KEY.fullmatch(key):
            raise InvalidInput.of(FIELD, "is 1 to 255 visible ASCII characters, such as a UUID")
        request = json.dumps(params or {}, sort_keys=True, separators=(",", ":"), default=dict)
        return cls(hashlib.sha256(key.encode()).digest(), hashlib.sha256(request.encode()).digest())

    async def begun(self, conn: Conn, job_id: int) -> Execution | None:
        """What this key began before; None when it is new, and from now on this transaction's to `remember`.

        InvalidInput: it came with other params then. Conflict: the execution's row has been removed since.
        """
        if await trigger_keys.take(conn, job_id, key_hash=self.key_hash, request_hash=self.request_hash):
            return None
        taken = await trigger_keys.find(conn, job_id, key_hash=self.key_hash)
        if taken is None or taken.execution_id is None:  # forgotten by upkeep between the two statements
            raise Conflict("the key's 24 hours have just ended: send the request again")
        if taken.request_hash != self.request_hash:
            raise InvalidInput.of(FIELD, "came with other params within the last 24 hours; use a new key for them")
        execution = await executions.find(conn, taken.execution_id)
        if execution is None:
            raise Conflict(f"the key has begun execution {taken.execution_id}, whose row has been removed since")
        return execution

    async def remember(self, conn: Conn, execution: Execution) -> None:
        """Bind the key to the execution that was written in this transaction."""
        await trigger_keys.fill(
            conn,
            execution.job_id,
            key_hash=self.key_hash,
            execution_id=execution.id,
            scheduled_time=execution.scheduled_time,
        )


def ticket_of(execution: Execution) -> Ticket:
    """The ticket of an execution that has just been written, and that nobody has claimed yet."""
    return Ticket(
        execution_id=execution.id,
        job_id=execution.job_id,
        scheduled_time=execution.scheduled_time,
        claim_no=0,
        queue=execution.queue,
        priority=execution.priority,
    )
