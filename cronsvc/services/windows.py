"""Maintenance windows as people see them, and the release of what they hold.

Promises: whether an instant lies in a window is decided in the transaction that records it. What is held waits until
the end of its window and some of the spread; then a scheduler looks again: still inside another window it stays, else
it is due for dispatch. Any number of schedulers may do that, and one that dies in between has changed nothing. Ending
or changing a window waits for the ticks that plan by it, so nothing is held by it unseen. Everything is audited.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from cronsvc.domain.job import Job
from cronsvc.domain.maintenance import LONGEST_OPENING, Opening, governing, keeping
from cronsvc.domain.schedule import Schedule, ScheduleError, jitter, resolve_hash
from cronsvc.domain.schedule_validation import validate
from cronsvc.errors import Conflict, FieldError, Forbidden, InvalidInput, NotFound, PreconditionFailed
from cronsvc.services.access import Caller
from cronsvc.services.job_validation import check_filter
from cronsvc.services.paging import IdSort, Page, check_limit, page_of
from cronsvc.store import advisory, audit, clock, maintenance, window_holds
from cronsvc.store.maintenance import WindowFields, WindowRow
from cronsvc.store.pool import Conn, Database
from cronsvc.store.running import wake_schedulers
from cronsvc.store.window_holds import Held

MOST_SPREAD = 86_400
MOST_TAGS = 50
RELEASE_BATCH = 1000

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)


class Windows:
    """The maintenance windows of one database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def create(self, fields: WindowFields, caller: Caller) -> WindowRow:
        """Define a window; one that has begun already is open at once. InvalidInput lists every bad field."""
        _allow(fields.selector.namespace, caller)
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            written = await maintenance.insert(conn, _checked(fields, await clock.now(conn)))
            await _record(conn, "create", None, written)
        return written

    async def get(self, window_id: int, caller: Caller) -> WindowRow:
        """One window."""
        async with self._db.statements() as conn:
            return _visible(await maintenance.find(conn, window_id), window_id, caller)

    async def list(
        self,
        caller: Caller,
        *,
        namespace: str | None = None,
        standing: bool = True,
        sort: IdSort = IdSort.NEWEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[WindowRow]:
        """Windows in the order of `sort`; with `standing` only those that are open or ahead.

        With a `namespace` those for it alone, not those for everybody.
        """
        check_filter("namespace", namespace)
        edge = sort.edge("windows", cursor)
        async with self._db.statements() as conn:
            found = await maintenance.page(
                conn,
                namespaces=caller.namespaces,
                namespace=namespace,
                standing=standing,
                edge=edge,
                limit=check_limit(limit) + 1,
            )
        return page_of(found, limit, lambda each: sort.cursor("windows", each.id))

    async def replace(
        self, window_id: int, fields: WindowFields, caller: Caller, *, if_revision: int | None = None
    ) -> WindowRow:
        """Give a window another definition; what it holds already follows it. Conflict: it was cancelled."""
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            old = await self._locked(conn, window_id, caller, if_revision)
            _allow(fields.selector.namespace, caller)
            if old.cancelled_at is not None:
                raise Conflict(f"window {window_id} was cancelled; make another one")
            await maintenance.update(conn, window_id, _checked(fields, await clock.now(conn)))
            return await self._changed(conn, "update", old)

    async def cancel(self, window_id: int, caller: Caller) -> WindowRow:
        """End a window now, or keep it from opening; what it holds is let go over its spread. Cancelled: no change."""
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            old = await self._locked(conn, window_id, caller, None)
            if old.cancelled_at is not None:
                return old
            await maintenance.cancel(conn, window_id)
            return await self._changed(conn, "cancel", old)

    async def concerning(self, job: Job, instants: Sequence[datetime]) -> dict[datetime, Opening]:
        """Which of these instants of a job lie in a window, as far as is known now."""
        if not instants:
            return {}
        async with self._db.statements() as conn:
            windows = await maintenance.standing(conn, since=min(instants), until=max(instants))
        definition = job.definition
        openings = [
            opening
            for window in windows
            if window.selector.matches(definition.namespace, definition.tags, definition.queue)
            for opening in window.openings(min(instants), max(instants))
        ]
        found = {instant: governing(openings, instant, instant) for instant in instants}
        return {instant: opening for instant, opening in found.items() if opening is not None}

    async def _locked(self, conn: Conn, window_id: int, caller: Caller, if_revision: int | None) -> WindowRow:
        found = _visible(await maintenance.lock(conn, window_id), window_id, caller)
        _allow(found.fields.selector.namespace, caller)
        if if_revision is not None and if_revision != found.revision:
            raise PreconditionFailed(
                f"window {window_id} is at revision {found.revision}, not {if_revision}: read it again"
            )
        return found

    async def _changed(self, conn: Conn, action: str, old: WindowRow) -> WindowRow:
        await window_holds.look_again(conn, old.id)
        new = await maintenance.find(conn, old.id)
        assert new is not None  # its row is locked
        await _record(conn, action, old, new)
        await wake_schedulers(conn)
        return new


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What becomes of an execution that is looked at again: it goes, or waits for this window until then."""

    held: Held
    window_id: int | None = None
    release_at: datetime | None = None


async def release_windows(db: Database, *, batch: int = RELEASE_BATCH, now: datetime | None = None) -> int:
    """Look again at what windows held long enough; returns how many rows were looked at. Any replica, any time."""
    async with db.transaction() as conn:
        if not await advisory.try_lock(conn, advisory.WINDOWS_LOCK):
            return 0
        due, judged = await window_holds.releasable(conn, batch=batch, now=now)
        if judged is None:
            return 0
        windows = await maintenance.standing(conn, since=judged, until=judged, hold=True)
        openings = [opening for window in windows for opening in window.openings(judged, judged)]
        verdicts = [_verdict(held, openings, judged) for held in due]
        kept = [
            (each.held, each.window_id, each.release_at)
            for each in verdicts
            if each.window_id is not None and each.release_at is not None
        ]
        if kept:
            await window_holds.keep(conn, kept)
        if released := [each.held for each in verdicts if each.window_id is None]:
            await window_holds.release(conn, released)
    return len(due)


def _verdict(held: Held, openings: Sequence[Opening], now: datetime) -> _Verdict:
    concerned = [each for each in openings if each.window.selector.matches(held.namespace, held.tags, held.queue)]
    opening = keeping(concerned, now)
    if opening is None:
        return _Verdict(held)
    window = opening.window
    return _Verdict(held, window.id, opening.end + jitter(held.job_id, held.scheduled_time, window.spread_seconds))


def _checked(fields: WindowFields, now: datetime) -> WindowFields:
    """The fields as they are to be stored; raises InvalidInput with every bad one."""
    bad = _text_faults(fields)
    recurs = fields.cron_expression is not None
    bounds = {"startsAt": fields.starts_at, "endsAt": fields.ends_at}
    for field, value in bounds.items():
        if value is None and not recurs:
            bad.append(FieldError(field, "is needed, unless the window recurs by cronExpression and durationSeconds"))
        elif value is not None and value.utcoffset() is None:
            bad.append(FieldError(field, "has no UTC offset; write for example 2026-01-31T09:00:00Z"))
    if bad:
        raise InvalidInput(bad)
    start, end = fields.starts_at, fields.ends_at
    if start is not None and end is not None and start >= end:
        bad.append(FieldError("endsAt", "lies after startsAt"))
    elif start is not None and end is not None and not recurs and end - start > LONGEST_OPENING:
        bad.append(FieldError("endsAt", f"lies at most {LONGEST_OPENING.days} days after startsAt"))
    elif end is not None and end <= now:
        bad.append(FieldError("endsAt", f"lies ahead; it is {now:%Y-%m-%dT%H:%M:%SZ}"))
    if recurs != (fields.duration_seconds is not None):
        bad.append(FieldError("durationSeconds", "belongs to a window that recurs by cronExpression, and only there"))
    longest = int(LONGEST_OPENING / timedelta(seconds=1))
    if fields.duration_seconds is not None and not 1 <= fields.duration_seconds <= longest:
        bad.append(FieldError("durationSeconds", f"is 1 to {longest}"))
    if not 0 <= fields.spread_seconds <= MOST_SPREAD:
        bad.append(FieldError("spreadSeconds", f"is 0 to {MOST_SPREAD}"))
    if recurs and not bad:
        try:
            expression = resolve_hash(fields.cron_expression or "", fields.name)
            fields = replace(fields, cron_expression=expression)
            validate(
                Schedule(cron_expression=expression, timezone=fields.timezone, start_at=start, end_at=end), now=now
            )
        except ScheduleError as error:
            name = {"startAt": "startsAt", "endAt": "endsAt"}.get(error.field, error.field)
            bad.append(FieldError(name, error.reason))
    if bad:
        raise InvalidInput(bad)
    return fields


def _text_faults(fields: WindowFields) -> list[FieldError]:
    bad: list[FieldError] = []
    for field, text, least, most in (("name", fields.name, 1, 200), ("reason", fields.reason, 0, 1000)):
        check_filter(field, text)
        if not least <= len(text) <= most:
            bad.append(FieldError(field, f"has {least} to {most} characters"))
    selector = fields.selector
    for field, value in (("namespace", selector.namespace), ("queue", selector.queue)):
        if value is not None and not _SLUG.fullmatch(value):
            bad.append(FieldError(field, "is 1 to 63 letters, digits or _.- and starts with a letter or digit"))
    if len(selector.tags) > MOST_TAGS or not all(1 <= len(tag) <= 100 for tag in selector.tags):
        bad.append(FieldError("tags", f"lists at most {MOST_TAGS} tags of 1 to 100 characters"))
    for tag in selector.tags:
        check_filter("tags", tag)
    return bad


def _allow(namespace: str | None, caller: Caller) -> None:
    if caller.namespaces is not None and (namespace is None or namespace not in caller.namespaces):
        raise Forbidden(f"this key may only make windows for its namespaces: {', '.join(caller.namespaces) or 'none'}")


def _visible(found: WindowRow | None, window_id: int, caller: Caller) -> WindowRow:
    namespace = None if found is None else found.fields.selector.namespace
    if found is None or (namespace is not None and not caller.sees(namespace)):
        raise NotFound(f"there is no maintenance window {window_id}")
    return found


async def _record(conn: Conn, action: str, old: WindowRow | None, new: WindowRow) -> None:
    await audit.append(
        conn,
        action=action,
        entity="maintenance_window",
        entity_id=str(new.id),
        namespace=new.fields.selector.namespace,
        before=None if old is None else _document(old),
        after=_document(new),
    )


def _document(row: WindowRow) -> dict[str, object]:
    columns = {**maintenance.columns(row.fields), "cancelled_at": row.cancelled_at}
    return {
        name: value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
        for name, value in columns.items()
    }
