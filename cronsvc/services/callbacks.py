"""What targets say of attempts they took over: how far they are, and how it ended.

A call speaks for one claim of one execution, by a signed token or by the key of an operator. It is heard while the row
is RUNNING under that claim, noted as waiting or not yet: a target may be quicker than the worker that records its 202.
The end goes the way of every end, behind the fence, so of two ends one is written. Saying the same end again is
answered as the first time; saying anything of an attempt that is over is Gone, and means: stop.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from cronsvc.domain import callback_token
from cronsvc.domain.callback_token import CallbackGrant
from cronsvc.domain.execution import ErrorDetail, Finish, Outcome, Status
from cronsvc.domain.finish import after_outcome
from cronsvc.errors import Conflict, Gone, NotFound, Unauthenticated
from cronsvc.executors.base import Executor
from cronsvc.executors.jsonable import capped, cut, jsonable, storable
from cronsvc.services.access import Caller
from cronsvc.services.callback_masking import CallbackMasking, Masking
from cronsvc.services.callback_waits import ACCEPTED, policy
from cronsvc.services.callers import everywhere
from cronsvc.services.ending import GREATEST_ID
from cronsvc.services.finishing import Ends
from cronsvc.services.reporting import Report
from cronsvc.services.sealing import Keyring
from cronsvc.store import audit, callbacks
from cronsvc.store.callbacks import Calling
from cronsvc.store.pool import Conn, Database

MESSAGE_BYTES = 4_096
TARGET_FAILED = "target_failed"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # a terminal would act on them
REFUSED = "This is not a callback token, or it was not signed here, or it has expired."


@dataclass(frozen=True, slots=True)
class Line:
    """A line for the execution's log."""

    message: str
    level: str = "info"
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class News:
    """A sign of life, and what goes with it."""

    progress: float | None = None
    note: str | None = None
    lines: Sequence[Line] = ()

    @property
    def has_words(self) -> bool:
        return self.note is not None or bool(self.lines)


@dataclass(frozen=True, slots=True)
class Ending:
    """How it ended, in the target's words. `retry`: another attempt may help."""

    is_success: bool
    result: Any = None
    error: ErrorDetail | None = None
    retry: bool = True

    @property
    def has_words(self) -> bool:
        return self.result is not None or self.error is not None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller is told: what has become of the execution, and until when the next call is expected."""

    execution_id: int
    status: Status
    status_reason: str | None
    cancel_requested: bool
    heartbeat_due: datetime | None
    end_due: datetime | None
    repeated: bool = False


class Callbacks:
    """The calls of targets, for one process. `executors` and `keyring`: what it takes to mask what they say."""

    def __init__(
        self, db: Database, executors: Mapping[str, Executor] | None = None, keyring: Keyring | None = None
    ) -> None:
        self._db = db
        self._masking = CallbackMasking(executors or {}, keyring)
        self._ends = Ends(db)

    async def authenticate(self, token: str) -> CallbackGrant:
        """What the bearer of this token may speak for; Unauthenticated, in the same words whatever is wrong with it."""
        unverified = callback_token.read(token)
        if unverified is None:
            raise Unauthenticated(REFUSED)
        async with self._db.statements() as conn:
            key = await callbacks.key(conn, unverified.grant.key_id)
        if key is None or not unverified.is_signed_with(key.secret) or unverified.grant.expires <= key.now:
            raise Unauthenticated(REFUSED)
        return unverified.grant

    async def progress(self, grant: CallbackGrant, news: News) -> Answer:
        """Note a sign of life. Gone: the attempt is over."""
        async with self._db.transaction() as conn:
            found = await callbacks.find(conn, grant, lock=True)
            if found is None or not _is_current(found, grant):
                raise Gone(_what_became(grant.execution_id, found))
            return await self._hear(conn, found, news, grant.token)

    async def complete(self, grant: CallbackGrant, ending: Ending) -> Answer:
        """End the attempt. Gone: it is over; Conflict: this target has ended it already, in another way."""
        async with self._db.statements() as conn:
            found = await callbacks.find(conn, grant)
            if found is not None and ending.has_words:
                ending = _masked_ending(ending, await self._masking.of(conn, found, grant.token))
        repeated = True
        if found is not None and _is_current(found, grant):
            with everywhere():  # ends of several callers, who were all heard already, may be written in one statement
                repeated = not await self._ends.write(_finish(found, ending))
            async with self._db.statements() as conn:
                found = await callbacks.find(conn, grant)
        if found is None:
            raise Gone(_what_became(grant.execution_id, found))
        if repeated:
            _require_same(found, grant, ending)
        return _answer(found, repeated=repeated)

    async def progress_as(self, execution_id: int, caller: Caller, news: News) -> Answer:
        """`progress` by a person. Conflict: it does not wait for a call."""
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            return await self._hear(conn, await self._waiting(conn, execution_id, caller), news, "")

    async def complete_as(self, execution_id: int, caller: Caller, ending: Ending) -> Answer:
        """`complete` by a person, audited before it is done. Conflict: it does not wait for a call."""
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            found = await self._waiting(conn, execution_id, caller)
            before = {"status": found.status.value, "claim_no": found.claimed.claim_no}
            after = before | {"status": "success" if ending.is_success else "failure"}
            change = audit.Change(execution_id, found.namespace, before, after)
            await audit.append_many(conn, [change], action="complete", entity="execution")
        return await self.complete(_grant(found), ending)

    async def _waiting(self, conn: Conn, execution_id: int, caller: Caller) -> Calling:
        grant = await callbacks.present_grant(conn, execution_id) if 0 < execution_id <= GREATEST_ID else None
        found = None if grant is None else await callbacks.find(conn, grant, lock=True)
        if found is None or not caller.sees(found.namespace):
            raise NotFound(f"there is no execution {execution_id}")
        if not found.awaits:
            raise Conflict(f"execution {execution_id} does not wait for a call: it is {found.status}")
        return found

    async def _hear(self, conn: Conn, found: Calling, news: News, token: str) -> Answer:
        """Write what is said, without secrets, into the locked row, after what was said before."""
        if news.has_words:
            news = _masked_news(news, await self._masking.of(conn, found, token))
        return await _write_down(conn, found, news)


def _masked_news(news: News, masking: Masking) -> News:
    lines = []
    for line in news.lines:
        fields = masking.value(jsonable(line.fields))
        lines.append(Line(masking.text(line.message), line.level, fields if isinstance(fields, Mapping) else {}))
    return replace(news, note=None if news.note is None else masking.text(news.note), lines=lines)


def _masked_ending(ending: Ending, masking: Masking) -> Ending:
    error = ending.error
    if error is not None:
        is_plain = masking.text(error.type) == error.type
        error = ErrorDetail(error.type if is_plain else TARGET_FAILED, masking.text(error.message))
    return replace(ending, result=masking.value(jsonable(ending.result)), error=error)


async def _write_down(conn: Conn, found: Calling, news: News) -> Answer:
    report = Report(found.claimed, lambda _report: None)
    report.restore(found.log_details)
    if news.progress is not None:
        report.progress(news.progress, news.note)
    elif news.note is not None:
        report.progress(0, news.note)
    for line in news.lines:
        report.log(line.message, line.level, line.fields)
    said = report.news()
    progress = None if news.progress is None else said.progress
    due = await callbacks.hear(conn, found.claimed, progress=progress, log_details=said.log_details)
    return replace(_answer(found), heartbeat_due=due)


def _finish(found: Calling, ending: Ending) -> Finish:
    """What the end becomes: success, another attempt, or a failure for good."""
    error = None if ending.is_success else _error(ending)
    outcome = Outcome(error=error, retryable=ending.retry, result=capped(ending.result))
    finish = after_outcome(found.claimed, outcome, policy(found)[0])
    return replace(finish, http_status=ACCEPTED) if found.awaits else finish


def _error(ending: Ending) -> ErrorDetail:
    error = ending.error or ErrorDetail(TARGET_FAILED, "the target reported a failure")
    return ErrorDetail(error.type, _CONTROL.sub("\ufffd", storable(cut(error.message, MESSAGE_BYTES))))


def _is_current(found: Calling, grant: CallbackGrant) -> bool:
    return found.status is Status.RUNNING and found.claimed.claim_no == grant.claim_no


def _require_same(found: Calling, grant: CallbackGrant, ending: Ending) -> None:
    """Pass when the attempt has ended as this says, which is then a repetition."""
    ended_as, ended_with = found.ended_as, found.ended_with or {}
    if ended_as == "success":
        is_last = found.claimed.claim_no == grant.claim_no and found.status is Status.SUCCESS
        if ending.is_success and (not is_last or found.result == capped(ending.result)):
            return
        raise Conflict(f"execution {grant.execution_id} has been completed already, with another result")
    if not ending.is_success and ended_as is not None:
        error = _error(ending)
        if (ended_with.get("type"), ended_with.get("message")) == (error.type, error.message):
            return
    raise Gone(_what_became(grant.execution_id, found))


def _what_became(execution_id: int, found: Calling | None) -> str:
    """Why nobody listens any more, in words."""
    if found is None:
        return f"execution {execution_id} is gone: stop"
    if found.cancel_requested_at is not None and found.status is Status.CANCELLED:
        return f"execution {execution_id} was cancelled by {found.cancel_requested_by}: stop"
    if found.status is Status.RUNNING or found.status is Status.QUEUED:
        how = "another attempt has begun" if found.status is Status.RUNNING else "it waits for another attempt"
        return f"this attempt of execution {execution_id} is over, {how}: stop"
    reason = f" ({found.status_reason})" if found.status_reason else ""
    return f"execution {execution_id} has ended: it is {found.status.value}{reason}: stop"


def _grant(found: Calling) -> CallbackGrant:
    claimed = found.claimed
    return CallbackGrant(0, claimed.execution_id, claimed.job_id, claimed.scheduled_time, claimed.claim_no, 0)


def _answer(found: Calling, *, repeated: bool = False) -> Answer:
    return Answer(
        execution_id=found.claimed.execution_id,
        status=found.status,
        status_reason=found.status_reason,
        cancel_requested=found.cancel_requested_at is not None,
        heartbeat_due=found.due if found.awaits else None,
        end_due=found.until if found.awaits else None,
        repeated=repeated,
    )
