"""An attempt that leaves its worker and waits for its target's call: how it begins to wait, and how silence ends it.

The worker signs a token, its target answers 202, and the row is written as waiting behind the fence of its claim: no
slot, no socket, no worker's lease. From then on the target's calls are its heartbeat (`callbacks`); one that keeps
silent too long loses the attempt to the schedulers, which look here. Each of the two writes only what is still true of
the locked row, so a call that comes at the last moment either counts or finds the attempt ended.

The key of the tokens is a row in Postgres and no setting: every process that signs or checks has it without being told,
and whoever can read it could write the ends themselves.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

from cronsvc.domain import callback_token
from cronsvc.domain.callback_token import CallbackGrant
from cronsvc.domain.execution import Claimed, ErrorDetail, Execution, Finish, Outcome, Reason, Status
from cronsvc.domain.finish import after_cancel, after_outcome
from cronsvc.domain.retry import Backoff
from cronsvc.errors import Unavailable
from cronsvc.services.failing import ACTOR, finish_locked
from cronsvc.store import callbacks, ending, failures, running
from cronsvc.store.callbacks import Calling
from cronsvc.store.pool import Conn, Database
from cronsvc.store.rows import definition_from_json

_log = logging.getLogger("cronsvc.running")

# The answer that says: I have taken it over and will call.
ACCEPTED = 202

# A token outlives its attempt by this, so that a call that comes too late learns what became of it.
_TOO_LATE_SECONDS = 3600


class Tokens:
    """Signs for one attempt; the `callback_tokens` of its RunContext."""

    def __init__(self, db: Database, claimed: Claimed) -> None:
        self._db = db
        self._claimed = claimed

    async def token(self, seconds: float) -> str:
        """See `executors.base.CallbackTokens`."""
        async with self._db.statements() as conn:
            key = await callbacks.newest_key(conn)
        if key is None:
            raise Unavailable("there is no key for callback tokens: INSERT INTO callback_keys DEFAULT VALUES")
        claimed = self._claimed
        grant = CallbackGrant(
            key_id=key.id,
            execution_id=claimed.execution_id,
            job_id=claimed.job_id,
            scheduled_time=claimed.scheduled_time,
            claim_no=claimed.claim_no,
            expires=int(key.now + seconds) + _TOO_LATE_SECONDS,
        )
        return callback_token.write(grant, key.secret)


async def begin_to_wait(db: Database, finishes: Sequence[Finish]) -> set[int]:
    """Write that these attempts wait for their targets; returns the execution ids written.

    What somebody asked to end meanwhile is CANCELLED instead. The others were ended by a call that came before this, or
    belong to another claim.
    """
    async with db.statements() as conn:
        waiting = await callbacks.begin_to_wait(conn, finishes)
        # Under its claim and RUNNING, one that did not begin to wait is one that shall end: the fence lets no other by.
        called_off = [_called_off(each) for each in finishes if each.execution_id not in waiting]
        return waiting | (await running.finish(conn, called_off) if called_off else set())


def _called_off(finish: Finish) -> Finish:
    return replace(
        finish, status=Status.CANCELLED, status_reason=Reason.USER, outcome="cancelled", awaiting=None, result=None
    )


async def end_waiting(conn: Conn, execution: Execution) -> Execution:
    """End a waiting execution, locked and asked to end, as CANCELLED; returns it as it is then."""
    grant = await callbacks.present_grant(conn, execution.id)
    found = None if grant is None else await callbacks.find(conn, grant)
    if found is None or not found.awaits:
        return execution
    await running.finish(conn, [replace(after_cancel(found.claimed), http_status=ACCEPTED)])
    return (await ending.lock(conn, [execution.id])).get(execution.id, execution)


async def end_silent(db: Database, *, batch: int = 500) -> int:
    """End the attempts whose target should have called by now; returns how many. Any replica may, at any time."""
    ended = 0
    while True:
        async with db.statements() as conn:
            keys = await callbacks.silent(conn, batch=batch)
        if not keys:
            return ended
        async with db.transaction(actor=ACTOR) as conn:
            # Jobs first, then executions: the order in which everybody locks them.
            await failures.lock_jobs(conn, sorted({job_id for job_id, _ in keys}))
            found = await callbacks.lock_silent(conn, keys)
            finishes = [after_silence(each) for each in found]
            if finishes:
                await finish_locked(conn, finishes)
                await running.wake_schedulers(conn)
        for each in found:
            _log.warning("execution %s: no call from its target in time", each.claimed.execution_id)
        ended += len(found)
        if len(keys) < batch or not found:
            return ended


def after_silence(found: Calling) -> Finish:
    """What becomes of an attempt whose target did not call in time. Nobody knows what it did, and the row says so."""
    if found.cancel_requested_at is not None:
        return replace(after_cancel(found.claimed), http_status=ACCEPTED)
    if found.is_over:
        error = ErrorDetail("timeout", "the target took it over with 202 and has not reported its end in time")
    else:
        words = f"the target took it over with 202 and has not called for {found.heartbeat_seconds} s"
        error = ErrorDetail("callback_silent", words)
    backoff, at_most_once = policy(found)
    if at_most_once:
        error = ErrorDetail("lost", f"{error.message}; this job runs at most once, so its effect is unknown")
    finish = after_outcome(found.claimed, Outcome(error=error), backoff)
    word = "lost" if error.type == "callback_silent" else finish.outcome
    return replace(finish, outcome=word, http_status=ACCEPTED)


def policy(found: Calling) -> tuple[Backoff, bool]:
    """The backoff of the definition it pinned, and whether that allows one attempt only."""
    try:
        definition = definition_from_json(found.definition or {})
    except (ValueError, KeyError):  # written by SQL, or gone; the attempt was made all the same
        return Backoff(), found.claimed.max_attempts == 1
    return definition.backoff, min(definition.max_attempts, found.claimed.max_attempts) == 1
