"""Operations on templates.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from cronsvc.client.calls import UNSET, Call, Paged, Unset, call, nothing
from cronsvc.client.generated import answers, requests


def create_template(
    *,
    name: str,
    definition: Mapping[str, Any],
    namespace: str | Unset | None = UNSET,
    description: str | Unset = UNSET,
    parameters: Sequence[requests.ParameterIn | Mapping[str, Any]] | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.Template]:
    """Define a template of jobs. Needs the role operator."""
    return call(
        "createTemplate",
        "POST",
        "/api/v1/templates",
        answers.Template.model_validate_json,
        statuses=(201,),
        body={
            "name": name,
            "namespace": namespace,
            "description": description,
            "parameters": parameters,
            "definition": definition,
        },
        idempotency_key=idempotency_key,
    )


def list_templates(
    *,
    namespace: str | None = None,
    name: str | None = None,
    sort: Literal["-id", "id", "name", "-name"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[answers.Template, answers.TemplateList]:
    """List templates. Needs the role viewer."""
    first = call(
        "listTemplates",
        "GET",
        "/api/v1/templates",
        answers.TemplateList.model_validate_json,
        query={
            "namespace": namespace,
            "name": name,
            "sort": sort,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)


def get_template(
    template_id: int,
) -> Call[answers.Template]:
    """Read a template. Needs the role viewer."""
    return call(
        "getTemplate",
        "GET",
        "/api/v1/templates/{templateId}",
        answers.Template.model_validate_json,
        names={
            "templateId": template_id,
        },
    )


def replace_template(
    template_id: int,
    *,
    name: str,
    definition: Mapping[str, Any],
    namespace: str | Unset | None = UNSET,
    description: str | Unset = UNSET,
    parameters: Sequence[requests.ParameterIn | Mapping[str, Any]] | Unset = UNSET,
    if_match: str | None = None,
) -> Call[answers.Template]:
    """Replace a template; jobs made from it stay as they are. Needs the role operator."""
    return call(
        "replaceTemplate",
        "PUT",
        "/api/v1/templates/{templateId}",
        answers.Template.model_validate_json,
        names={
            "templateId": template_id,
        },
        body={
            "name": name,
            "namespace": namespace,
            "description": description,
            "parameters": parameters,
            "definition": definition,
        },
        if_match=if_match,
    )


def delete_template(
    template_id: int,
    *,
    if_match: str | None = None,
) -> Call[None]:
    """Delete a template; jobs made from it stay as they are. Needs the role operator."""
    return call(
        "deleteTemplate",
        "DELETE",
        "/api/v1/templates/{templateId}",
        nothing,
        statuses=(204,),
        names={
            "templateId": template_id,
        },
        if_match=if_match,
    )


def list_template_revisions(
    template_id: int,
    *,
    sort: Literal["-id", "id"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[answers.TemplateRevision, answers.TemplateRevisionList]:
    """Everything a template has said. Needs the role viewer."""
    first = call(
        "listTemplateRevisions",
        "GET",
        "/api/v1/templates/{templateId}/revisions",
        answers.TemplateRevisionList.model_validate_json,
        names={
            "templateId": template_id,
        },
        query={
            "sort": sort,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)


def create_job_from_template(
    template_id: int,
    *,
    name: str | Unset | None = UNSET,
    namespace: str | Unset | None = UNSET,
    values: Mapping[str, Any] | Unset = UNSET,
    overrides: Mapping[str, Any] | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.Job]:
    """Make a job from a template. Needs the role operator."""
    return call(
        "createJobFromTemplate",
        "POST",
        "/api/v1/templates/{templateId}/jobs",
        answers.Job.model_validate_json,
        statuses=(201,),
        names={
            "templateId": template_id,
        },
        body={
            "name": name,
            "namespace": namespace,
            "values": values,
            "overrides": overrides,
        },
        idempotency_key=idempotency_key,
    )


def apply_template(
    template_id: int,
    *,
    job_ids: Sequence[int] | Unset | None = UNSET,
    after_job_id: int | Unset | None = UNSET,
    values: Mapping[str, Any] | Unset = UNSET,
    overwrite: bool | Unset = UNSET,
    dry_run: bool | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.Apply]:
    """Bring jobs made from a template to its present revision, each with a result of its own. Needs the role
    operator.
    """
    return call(
        "applyTemplate",
        "POST",
        "/api/v1/templates/{templateId}/apply",
        answers.Apply.model_validate_json,
        names={
            "templateId": template_id,
        },
        body={
            "jobIds": job_ids,
            "afterJobId": after_job_id,
            "values": values,
            "overwrite": overwrite,
            "dryRun": dry_run,
        },
        idempotency_key=idempotency_key,
    )
