"""/api/v1/templates: defining templates, making jobs from them, and bringing those jobs up to date.

A template's document is read by the model of a job, so it means here what it would mean in a request.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from cronsvc.domain.job import JobDefinition
from cronsvc.domain.schedule import ScheduleError
from cronsvc.domain.templates import Parameter, TemplateFields, carried_over, faults, filled_in, rendered
from cronsvc.errors import Conflict, FieldError, InvalidInput
from cronsvc.services.bulk import MOST_ITEMS, Outcome
from cronsvc.services.preview import resolved
from cronsvc.store.templates import Template
from cronsvc.web import job_document
from cronsvc.web.answers import answer
from cronsvc.web.bulk_handlers import item_problem
from cronsvc.web.job_handlers import with_etag
from cronsvc.web.job_models import JobIn, PageQuery
from cronsvc.web.many import each, first_undone
from cronsvc.web.mapping import definition_answer, definition_of
from cronsvc.web.models import api_names
from cronsvc.web.rate_limits import WRITES
from cronsvc.web.revised import expected_revision, revised
from cronsvc.web.routing import Call
from cronsvc.web.template_models import (
    ApplyAnswer,
    ApplyIn,
    ApplyItem,
    ParameterAnswer,
    TemplateAnswer,
    TemplateIn,
    TemplateJobIn,
    TemplateList,
    TemplateQuery,
    TemplateRevisionAnswer,
    TemplateRevisionList,
)
from cronsvc.web.validation import read_model

_UNKNOWN = "no job has such a member"


async def create_template(call: Call) -> Response:
    """Define a template."""
    body: TemplateIn = call.body
    fields = _fields(body, body.namespace or call.caller.only_namespace)
    made = await call.services.templates.create(fields, call.caller)
    return revised(_template(made), made.revision, location=f"/api/v1/templates/{made.id}")


async def list_templates(call: Call) -> Response:
    """Templates that the caller may use."""
    query: TemplateQuery = call.query
    page = await call.services.templates.list(
        call.caller,
        namespace=query.namespace,
        name=query.name,
        sort=query.sort,
        cursor=query.cursor,
        limit=query.limit,
    )
    return answer(TemplateList(items=[_template(each) for each in page.items], next_cursor=page.next_cursor))


async def get_template(call: Call) -> Response:
    """One template."""
    found = await call.services.templates.get(call.id_in_path("templateId"), call.caller)
    return revised(_template(found), found.revision)


async def replace_template(call: Call) -> Response:
    """Give a template another definition; the jobs made from it stay as they are."""
    template_id, body = call.id_in_path("templateId"), call.body
    old = await call.services.templates.get(template_id, call.caller)
    fields = _fields(body, body.namespace or old.fields.namespace)
    expected = expected_revision(call)
    found = await call.services.templates.replace(template_id, fields, call.caller, if_revision=expected)
    return revised(_template(found), found.revision)


async def delete_template(call: Call) -> Response:
    """Take a template away; the jobs made from it stay as they are."""
    await call.services.templates.delete(
        call.id_in_path("templateId"), call.caller, if_revision=expected_revision(call)
    )
    return Response(status_code=204)


async def list_template_revisions(call: Call) -> Response:
    """What a template has said, newest first."""
    query: PageQuery = call.query
    page = await call.services.templates.revisions(
        call.id_in_path("templateId"), call.caller, sort=query.sort, cursor=query.cursor, limit=query.limit
    )
    items = [
        TemplateRevisionAnswer(
            revision=each.revision,
            parameters=[_parameter(parameter) for parameter in each.parameters],
            definition=dict(each.definition),
            actor=each.actor,
            created_at=each.created_at,
        )
        for each in page.items
    ]
    return answer(TemplateRevisionList(items=items, next_cursor=page.next_cursor))


async def create_job(call: Call) -> Response:
    """Make a job from a template, with every check that the job alone would meet."""
    body: TemplateJobIn = call.body
    overrides = dict(body.overrides)
    overrides |= {name: value for name in ("name", "namespace") if (value := getattr(body, name)) is not None}
    template, document, use = await call.services.templates.rendered(
        call.id_in_path("templateId"), call.caller, values=body.values, overrides=overrides
    )
    home = template.fields.namespace or call.caller.home
    definition = _definition(document, overrides, home)
    if template.fields.namespace not in (None, definition.namespace):
        raise InvalidInput.of("namespace", f"is that of the template, {template.fields.namespace}; leave it out")
    job = await call.services.jobs.create(definition, call.caller, use=use)
    return with_etag(job, status=201, location=f"/api/v1/jobs/{job.id}")


async def apply_template(call: Call) -> Response:
    """Bring jobs to the template's present revision, and say what came of each."""
    body: ApplyIn = call.body
    templates, caller = call.services.templates, call.caller
    template = await templates.get(call.id_in_path("templateId"), caller)
    if body.job_ids is not None and body.after_job_id is not None:
        raise InvalidInput.of("afterJobId", "cannot be given beside jobIds, which say it all")
    if body.job_ids is not None:
        job_ids, more = tuple(dict.fromkeys(body.job_ids)), False
    else:
        found = await templates.behind(template, caller, after=body.after_job_id, limit=MOST_ITEMS + 1)
        job_ids, more = found[:MOST_ITEMS], len(found) > MOST_ITEMS
    changed: dict[int, list[str]] = {}
    act = _applying(call, template, body, changed)
    outcomes = await each(call, job_ids, act, kind=WRITES, dry_run=body.dry_run)
    tried = job_ids[: first_undone(outcomes)]
    more = more or (body.job_ids is None and len(tried) < len(job_ids))
    items = [_item(outcome, changed) for outcome in outcomes]
    failed = sum(item.problem is not None for item in items)
    return answer(
        ApplyAnswer(
            template_revision=template.revision,
            dry_run=body.dry_run,
            matched=len(items),
            succeeded=len(items) - failed,
            failed=failed,
            more=more,
            next_after_job_id=(tried[-1] if tried else body.after_job_id) if more else None,
            items=items,
        )
    )


def _applying(
    call: Call, template: Template, body: ApplyIn, changed: dict[int, list[str]]
) -> Callable[[int], Awaitable[None]]:
    """The act on one job; what it changes is told in `changed`."""

    async def act(job_id: int) -> None:
        applied = await call.services.templates.applied(template, job_id, call.caller, values=body.values)

        def change(present: JobDefinition) -> JobDefinition:
            home = template.fields.namespace
            if home not in (None, present.namespace):
                raise Conflict(f"job {job_id} is in {present.namespace} by now, and the template is for {home}")
            # Where a job is, its own editors decide: whoever writes the template may not reach that namespace.
            old, new = (
                _document(
                    call,
                    replace(_definition(each, applied.use.overrides, present.namespace), namespace=present.namespace),
                )
                for each in (applied.old, applied.new)
            )
            before = _document(call, present)
            after, conflicts = carried_over(old, new, before)
            if conflicts and not body.overwrite:
                raise Conflict(
                    f"the template and somebody else have both changed {', '.join(conflicts)}; `overwrite` takes what "
                    f"the template says"
                )
            changed[job_id] = [name for name in after if after[name] != before[name]]
            return definition_of(read_model(JobIn, after), namespace=present.namespace)

        await call.services.jobs.edit(job_id, change, call.caller, use=applied.use)

    return act


def _definition(document: dict[str, Any], overrides: Mapping[str, Any], namespace: str) -> JobDefinition:
    return definition_of(read_model(JobIn, job_document.merge_patch(document, dict(overrides))), namespace=namespace)


def _document(call: Call, definition: JobDefinition) -> dict[str, Any]:
    """A definition in full, with what the service decides already decided, so that two of them can be compared."""
    try:
        schedule = resolved(definition.schedule, f"{definition.namespace}/{definition.name}")
    except ScheduleError:
        schedule = definition.schedule  # the edit will say what is wrong
    whole = replace(definition, schedule=schedule, queue=definition.queue or call.services.jobs.default_queue)
    document: dict[str, Any] = definition_answer(whole).model_dump(mode="json", by_alias=True)
    return document


def _item(outcome: Outcome[int, None], changed: Mapping[int, list[str]]) -> ApplyItem:
    if outcome.error is None:
        return ApplyItem(job_id=outcome.item, status=200, changed=changed.get(outcome.item, []), problem=None)
    status, problem = item_problem(outcome.error)
    return ApplyItem(job_id=outcome.item, status=status, changed=[], problem=problem)


def _fields(body: TemplateIn, namespace: str | None) -> TemplateFields:
    fields = TemplateFields(
        name=body.name,
        namespace=namespace,
        parameters=tuple(
            Parameter(each.name, each.type, each.default, each.description, tuple(each.choices))
            for each in body.parameters
        ),
        definition=body.definition,
        description=body.description,
    )
    names = api_names(JobIn)
    bad = [
        FieldError(
            f"definition.{name[:63]}", "is set by cronsvc; leave it out" if name in JobIn.read_only else _UNKNOWN
        )
        for name in body.definition
        if name not in names
    ]
    bad = bad or faults(fields.parameters, fields.definition)
    if not bad and not any(each.is_required for each in fields.parameters):
        # It can be tried out: a template that makes no job should not wait for the first who wants one.
        document = {"name": fields.name, **rendered(fields.definition, filled_in(fields.parameters, {}))}
        try:
            read_model(JobIn, document)
        except InvalidInput as error:
            bad = [FieldError(f"definition.{each.field}", each.reason) for each in error.errors]
    if bad:
        raise InvalidInput(bad)
    return fields


def _template(found: Template) -> TemplateAnswer:
    fields = found.fields
    return TemplateAnswer(
        id=found.id,
        name=fields.name,
        namespace=fields.namespace,
        description=fields.description,
        parameters=[_parameter(each) for each in fields.parameters],
        definition=dict(fields.definition),
        revision=found.revision,
        jobs=found.jobs,
        behind=found.behind,
        created_by=found.created_by,
        created_at=found.created_at,
        updated_at=found.updated_at,
    )


def _parameter(each: Parameter) -> ParameterAnswer:
    return ParameterAnswer(
        name=each.name,
        type=each.type,
        required=each.is_required,
        default=each.default,
        description=each.description,
        choices=list(each.choices),
    )
