"""Templates as people see them: define, read, change, delete, and what each gives a job.

Promises: a change is one transaction, audited with its caller, and appends a revision; it changes no job. A template
is used by its revisions: a job remembers the one that was applied to it and what was given with it, so that applying
a later one changes what the template changed and leaves what people did. A template of a namespace is for jobs of that
namespace; one of none is for everybody, and only callers that reach everything write it. Nobody writes one of a type
whose jobs they may not define. What a template makes goes through `Jobs` like any other definition.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from cronsvc.domain.templates import Parameter, TemplateFields, TemplateUse, faults, filled_in, rendered
from cronsvc.errors import Conflict, FieldError, Forbidden, InvalidInput, NotFound, PreconditionFailed
from cronsvc.executors.base import Executor
from cronsvc.services.callers import Caller
from cronsvc.services.job_validation import check_filter, json_fault
from cronsvc.services.paging import (
    IdSort,
    Page,
    check_limit,
    id_cursor,
    page_of,
    read_id_cursor,
    read_text_cursor,
    text_cursor,
)
from cronsvc.services.type_roles import check_template_role
from cronsvc.store import audit, templates
from cronsvc.store.pool import Conn, Database
from cronsvc.store.templates import Template, TemplateRevision, parameters_json

MOST_DEFINITION_BYTES = 128 * 1024
MOST_VALUES_BYTES = 64 * 1024

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
_NAME_RULE = "is 1 to 63 letters, digits or _.- and starts with a letter or digit"


class TemplateSort(StrEnum):
    NEWEST = "-id"
    OLDEST = "id"
    NAME = "name"
    NAME_BACKWARDS = "-name"


@dataclass(frozen=True, slots=True)
class Applied:
    """A later revision for a job: its documents by the revision it follows and by the new one, and the new use."""

    old: dict[str, Any]
    new: dict[str, Any]
    old_overrides: Mapping[str, Any]
    use: TemplateUse


class Templates:
    """The templates of one database."""

    def __init__(self, db: Database, executors: Mapping[str, Executor]) -> None:
        self._db = db
        self._executors = executors

    async def create(self, fields: TemplateFields, caller: Caller) -> Template:
        """Define a template. InvalidInput lists every bad field; Conflict: the name is taken."""
        _allow(fields.namespace, caller)
        check_template_role(caller, self._executors, fields)
        _check(fields)
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            template_id = await templates.insert(conn, fields)
            made = await self._found(conn, template_id, caller)
            await _record(conn, "create", None, made)
        return made

    async def get(self, template_id: int, caller: Caller) -> Template:
        """One template."""
        async with self._db.statements() as conn:
            return await self._found(conn, template_id, caller)

    async def list(
        self,
        caller: Caller,
        *,
        namespace: str | None = None,
        name: str | None = None,
        sort: TemplateSort = TemplateSort.NEWEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Template]:
        """Templates that the caller may use. With a `namespace`, those of it alone."""
        check_filter("namespace", namespace)
        check_filter("name", name)
        if namespace is not None and not caller.sees(namespace):
            return Page((), None)
        by_name, kind = sort.value.endswith("name"), f"templates {sort.value}"
        after = read_text_cursor(kind, cursor) if by_name else read_id_cursor(kind, cursor)
        async with self._db.statements() as conn:
            found = await templates.page(
                conn,
                namespaces=caller.namespaces,
                namespace=namespace,
                name=name,
                by_name=by_name,
                descending=sort.value.startswith("-"),
                after=after,
                limit=check_limit(limit) + 1,
            )

        def behind(each: Template) -> str:
            return text_cursor(kind, each.fields.name, each.id) if by_name else id_cursor(kind, each.id)

        return page_of(found, limit, behind)

    async def replace(
        self, template_id: int, fields: TemplateFields, caller: Caller, *, if_revision: int | None = None
    ) -> Template:
        """Give a template another definition; the same one makes no revision. Jobs stay as they are.

        PreconditionFailed: `if_revision` is not the present one.
        """
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            old = await self._locked(conn, template_id, caller, if_revision)
            if fields.namespace != old.fields.namespace:
                raise InvalidInput.of("namespace", "stays: jobs were made from the template there")
            check_template_role(caller, self._executors, old.fields, fields)
            _check(fields)
            if fields == old.fields:
                return old
            await templates.update(conn, template_id, fields)
            new = await self._found(conn, template_id, caller)
            await _record(conn, "update", old, new)
        return new

    async def delete(self, template_id: int, caller: Caller, *, if_revision: int | None = None) -> None:
        """Delete a template; jobs that were made from it stay as they are."""
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            old = await self._locked(conn, template_id, caller, if_revision)
            await templates.delete(conn, template_id)
            await _record(conn, "delete", old, None)

    async def revisions(
        self,
        template_id: int,
        caller: Caller,
        *,
        sort: IdSort = IdSort.NEWEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[TemplateRevision]:
        """What a template has said, by revision."""
        kind = f"template revisions/{template_id}"
        edge = sort.edge(kind, cursor)
        async with self._db.statements() as conn:
            await self._found(conn, template_id, caller)
            found = await templates.revisions(conn, template_id, edge=edge, limit=check_limit(limit) + 1)
        return page_of(found, limit, lambda each: sort.cursor(kind, each.revision))

    async def rendered(
        self, template_id: int, caller: Caller, *, values: Mapping[str, Any], overrides: Mapping[str, Any]
    ) -> tuple[Template, dict[str, Any], TemplateUse]:
        """A job's document as the template makes it with these values, before the overrides; and what to remember."""
        template = await self.get(template_id, caller)
        _check_values(values)
        fields = template.fields
        document = rendered(fields.definition, filled_in(fields.parameters, values))
        return template, document, TemplateUse(template.id, template.revision, values, overrides)

    async def behind(
        self, template: Template, caller: Caller, *, after: int | None = None, limit: int
    ) -> tuple[int, ...]:
        """Jobs of the caller that follow an earlier revision, in order of id, beyond `after`; at most `limit`."""
        async with self._db.statements() as conn:
            found = await templates.behind(
                conn,
                template.id,
                revision=template.revision,
                namespaces=caller.namespaces,
                after=after or 0,
                limit=limit,
            )
        return tuple(found)

    async def applied(self, template: Template, job_id: int, caller: Caller, *, values: Mapping[str, Any]) -> Applied:
        """What this revision makes of a job, with `values` over those that were given before.

        NotFound: no such job came from this template. Values of parameters that are gone are forgotten. InvalidInput:
        a value is missing.
        """
        _check_values(values)
        async with self._db.statements() as conn:
            use = await templates.use_of(conn, job_id, template_id=template.id, namespaces=caller.namespaces)
            if use is None:
                raise NotFound(f"there is no job {job_id} that was made from template {template.id}")
            if use.revision > template.revision:
                raise Conflict(f"job {job_id} follows revision {use.revision} of template {template.id} by now")
            found = await templates.revisions(conn, template.id, revision=use.revision)
        if not found:
            raise Conflict(f"revision {use.revision} of template {template.id}, which job {job_id} follows, is gone")
        fields, was = template.fields, found[0]
        wanted = _kept(fields.parameters, use.values) | dict(values)
        old = rendered(was.definition, filled_in(was.parameters, _kept(was.parameters, use.values)))
        new = rendered(fields.definition, filled_in(fields.parameters, wanted))
        now = replace(use, revision=template.revision, values=wanted)
        return Applied(old, new, use.overrides, now)

    async def _found(self, conn: Conn, template_id: int, caller: Caller) -> Template:
        return _visible(await templates.find(conn, template_id, namespaces=caller.namespaces), template_id, caller)

    async def _locked(self, conn: Conn, template_id: int, caller: Caller, if_revision: int | None) -> Template:
        found = _visible(await templates.lock(conn, template_id, namespaces=caller.namespaces), template_id, caller)
        _allow(found.fields.namespace, caller)
        if if_revision is not None and if_revision != found.revision:
            raise PreconditionFailed(
                f"template {template_id} is at revision {found.revision}, not {if_revision}: read it again"
            )
        return found


def _kept(parameters: tuple[Parameter, ...], values: Mapping[str, Any]) -> dict[str, Any]:
    known = {each.name for each in parameters}
    return {name: value for name, value in values.items() if name in known}


def _check(fields: TemplateFields) -> None:
    bad: list[FieldError] = []
    named = {"name": fields.name, "namespace": fields.namespace}
    bad += [
        FieldError(field, _NAME_RULE)
        for field, value in named.items()
        if value is not None and _NAME.fullmatch(value) is None
    ]
    if fields.namespace is not None and fields.definition.get("namespace") not in (None, fields.namespace):
        bad.append(
            FieldError("definition.namespace", f"is that of the template, {fields.namespace[:63]}; leave it out")
        )
    check_filter("description", fields.description)
    if len(fields.description) > 10_000:
        bad.append(FieldError("description", "has at most 10000 characters"))
    whole = {"parameters": parameters_json(fields.parameters), "definition": dict(fields.definition)}
    fault = json_fault(whole, MOST_DEFINITION_BYTES)
    if fault is not None:
        bad.append(FieldError("definition", fault))
    else:
        bad += faults(fields.parameters, fields.definition)
    if bad:
        raise InvalidInput(bad)


def _check_values(values: Mapping[str, Any]) -> None:
    fault = json_fault(values, MOST_VALUES_BYTES)
    if fault is not None:
        raise InvalidInput.of("values", fault)


def _allow(namespace: str | None, caller: Caller) -> None:
    if namespace is None and caller.namespaces is not None:
        raise Forbidden(
            "a template without a namespace is for everybody: only a key that is bound to none may write it"
        )
    if namespace is not None and not caller.sees(namespace):
        allowed = ", ".join(caller.namespaces or ()) or "none"
        raise Forbidden(f"this key does not reach the namespace {namespace[:63]!r}; it reaches: {allowed}")


def _visible(found: Template | None, template_id: int, caller: Caller) -> Template:
    namespace = None if found is None else found.fields.namespace
    if found is None or (namespace is not None and not caller.sees(namespace)):
        raise NotFound(f"there is no template {template_id}")
    return found


async def _record(conn: Conn, action: str, old: Template | None, new: Template | None) -> None:
    present = new or old
    assert present is not None
    await audit.append(
        conn,
        action=action,
        entity="template",
        entity_id=str(present.id),
        namespace=present.fields.namespace,
        before=None if old is None else _document(old.fields),
        after=None if new is None else _document(new.fields),
    )


def _document(fields: TemplateFields) -> Mapping[str, object]:
    """A template as the audit log holds it: what it would run is where a job's is, which the views leave out."""
    return {
        "name": fields.name,
        "description": fields.description,
        "parameters": parameters_json(fields.parameters),
        "definition": {name: value for name, value in fields.definition.items() if name != "taskPayload"},
        "task_payload": fields.definition.get("taskPayload"),
    }
