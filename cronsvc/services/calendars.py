"""Holiday calendars as people see them: define, read, change, delete.

Promises: a change is one transaction, audited with its caller, and reaches every job that follows the calendar: their
cursors are worked out anew from the first instant that has no row yet. What has a row stays as it is. A calendar that
jobs follow cannot be deleted. Name and namespace are what jobs know it by and stay.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from cronsvc.domain.calendars import ClosedDays
from cronsvc.errors import Conflict, FieldError, Forbidden, InvalidInput, NotFound, PreconditionFailed
from cronsvc.services.access import Caller
from cronsvc.services.job_validation import check_filter
from cronsvc.services.paging import IdSort, Page, check_limit, page_of
from cronsvc.store import audit, calendars, clock
from cronsvc.store.calendars import Calendar, CalendarFields
from cronsvc.store.pool import Conn, Database

MOST_DATES = 2000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
_FIRST, _LAST = date(1970, 1, 1), date(2200, 1, 1)


@dataclass(frozen=True, slots=True)
class Calendars:
    """The calendars of one database."""

    db: Database

    async def create(self, fields: CalendarFields, caller: Caller) -> Calendar:
        """Define a calendar. InvalidInput lists every bad field; Conflict: the name is taken."""
        _allow(fields.namespace, caller)
        _check(fields)
        async with self.db.transaction(actor=caller.actor, source=caller.source) as conn:
            written = await calendars.insert(conn, fields)
            await _record(conn, "create", None, written)
            await calendars.changed(conn, written.id)  # jobs written by SQL may have waited for it
        return written

    async def get(self, calendar_id: int, caller: Caller) -> Calendar:
        """One calendar."""
        async with self.db.statements() as conn:
            return _visible(await calendars.find(conn, calendar_id), calendar_id, caller)

    async def named(self, name: str, caller: Caller, *, namespace: str) -> Calendar | None:
        """The calendar of this name, if the caller sees one."""
        check_filter("name", name)
        check_filter("namespace", namespace)
        if not caller.sees(namespace):
            return None
        async with self.db.statements() as conn:
            return await calendars.find_named(conn, namespace=namespace, name=name)

    async def now(self) -> datetime:
        """The database's clock."""
        async with self.db.statements() as conn:
            return await clock.now(conn)

    async def list(
        self,
        caller: Caller,
        *,
        namespace: str | None = None,
        name: str | None = None,
        sort: IdSort = IdSort.NEWEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Calendar]:
        """Calendars in the order of `sort`. A namespace the caller may not see has none."""
        check_filter("namespace", namespace)
        check_filter("name", name)
        edge, wanted = sort.edge("calendars", cursor), caller.namespaces
        if namespace is not None:
            wanted = (namespace,) if caller.sees(namespace) else ()
        async with self.db.statements() as conn:
            found = await calendars.page(conn, namespaces=wanted, name=name, edge=edge, limit=check_limit(limit) + 1)
        return page_of(found, limit, lambda each: sort.cursor("calendars", each.id))

    async def replace(
        self, calendar_id: int, fields: CalendarFields, caller: Caller, *, if_revision: int | None = None
    ) -> Calendar:
        """Give a calendar other dates. PreconditionFailed: `if_revision` is not the present one."""
        async with self.db.transaction(actor=caller.actor, source=caller.source) as conn:
            old = await self._locked(conn, calendar_id, caller, if_revision)
            if (fields.namespace, fields.name) != (old.fields.namespace, old.fields.name):
                raise InvalidInput.of("name", "and namespace stay: jobs know the calendar by them")
            _check(fields)
            if fields == old.fields:
                return old
            new = await calendars.update(conn, calendar_id, fields)
            await _record(conn, "update", old, new)
            await calendars.changed(conn, calendar_id)
        return new

    async def delete(self, calendar_id: int, caller: Caller, *, if_revision: int | None = None) -> None:
        """Delete a calendar; Conflict while jobs follow it."""
        async with self.db.transaction(actor=caller.actor, source=caller.source) as conn:
            old = await self._locked(conn, calendar_id, caller, if_revision)
            if old.jobs:
                followers = "1 job follows" if old.jobs == 1 else f"{old.jobs} jobs follow"
                raise Conflict(f"{followers} the calendar {old.fields.name!r}; give them another one first")
            await calendars.delete(conn, calendar_id)
            await _record(conn, "delete", old, None)

    async def closed_days(self, namespace: str, name: str, caller: Caller) -> ClosedDays | None:
        """What a calendar closes; None when the caller sees none of that name."""
        check_filter("calendar", name)
        check_filter("namespace", namespace)
        if not caller.sees(namespace):
            return None
        async with self.db.statements() as conn:
            return (await calendars.days(conn, [(namespace, name)])).get((namespace, name))

    async def _locked(self, conn: Conn, calendar_id: int, caller: Caller, if_revision: int | None) -> Calendar:
        found = _visible(await calendars.lock(conn, calendar_id), calendar_id, caller)
        if if_revision is not None and if_revision != found.revision:
            raise PreconditionFailed(
                f"calendar {calendar_id} is at revision {found.revision}, not {if_revision}: read it again"
            )
        return found


def _check(fields: CalendarFields) -> None:
    bad: list[FieldError] = []
    rule = "is 1 to 63 letters, digits or _.- and starts with a letter or digit"
    bad += [
        FieldError(field, rule)
        for field, value in (("name", fields.name), ("namespace", fields.namespace))
        if not _NAME.fullmatch(value)
    ]
    check_filter("description", fields.description)
    if len(fields.description) > 10_000:
        bad.append(FieldError("description", "has at most 10000 characters"))
    if len(set(fields.weekend)) < len(fields.weekend) or not set(fields.weekend) < set(range(1, 8)):
        bad.append(FieldError("weekend", "lists weekdays, each once, and leaves at least one to work"))
    if len(fields.dates) > MOST_DATES:
        bad.append(FieldError("dates", f"lists at most {MOST_DATES} dates"))
    for day, label in fields.dates.items():
        check_filter("dates", label)
        if not _FIRST <= day <= _LAST:
            bad.append(FieldError("dates", f"{day} lies outside {_FIRST.year} to {_LAST.year}"))
        if len(label) > 200:
            bad.append(FieldError("dates", f"the label of {day} has more than 200 characters"))
    if bad:
        raise InvalidInput(bad)


def _allow(namespace: str, caller: Caller) -> None:
    if not caller.sees(namespace):
        allowed = ", ".join(caller.namespaces or ()) or "none"
        raise Forbidden(f"this key does not reach the namespace {namespace[:63]!r}; it reaches: {allowed}")


def _visible(found: Calendar | None, calendar_id: int, caller: Caller) -> Calendar:
    if found is None or not caller.sees(found.fields.namespace):
        raise NotFound(f"there is no calendar {calendar_id}")
    return found


async def _record(conn: Conn, action: str, old: Calendar | None, new: Calendar | None) -> None:
    present = new or old
    assert present is not None
    await audit.append(
        conn,
        action=action,
        entity="calendar",
        entity_id=str(present.id),
        namespace=present.fields.namespace,
        before=None if old is None else _document(old.fields),
        after=None if new is None else _document(new.fields),
    )


def _document(fields: CalendarFields) -> Mapping[str, object]:
    return {
        "name": fields.name,
        "description": fields.description,
        "weekend": list(fields.weekend),
        "dates": {day.isoformat(): label for day, label in sorted(fields.dates.items())},
    }
