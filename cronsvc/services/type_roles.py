"""Some job types reach further than others: a SQL or COMMAND job acts with what the operator's servers may do.

Promise: nobody defines such a job, changes one, turns another job into one, gives one params or runs one again with
the params it was given, unless they have the role that its type asks for in its namespace; nor do they write or change
a template of such jobs, which somebody who has the role may apply. The refusal comes before anything is written.
Pausing, resuming and running such a job as it is defined need no more than for any other.
"""

from collections.abc import Mapping

from cronsvc.domain.job import JobDefinition
from cronsvc.domain.templates import TemplateFields
from cronsvc.errors import Forbidden
from cronsvc.executors.base import Executor
from cronsvc.executors.options import role_needed
from cronsvc.services.callers import Caller, Role


def check_type_role(
    caller: Caller, executors: Mapping[str, Executor], *definitions: JobDefinition, act: str = "define or change"
) -> None:
    """Raise Forbidden unless the caller has the role that the type of each asks for; an unknown type asks for none."""
    for definition in definitions:
        refusal = type_role_refusal(caller, executors, definition.task_payload.type, definition.namespace, act=act)
        if refusal is not None:
            raise refusal


def type_role_refusal(
    caller: Caller, executors: Mapping[str, Executor], kind: str, namespace: str, *, act: str
) -> Forbidden | None:
    """What keeps the caller from this act on a job of this type, or None; an unknown type asks for no role."""
    needed, role = Role(role_needed(executors.get(kind))), _role(caller, namespace)
    if role.reaches(needed):
        return None
    return Forbidden(f"to {act} jobs of type {kind} takes the role {needed}; in {namespace} you have {role}")


def check_template_role(caller: Caller, executors: Mapping[str, Executor], *templates: TemplateFields) -> None:
    """Raise Forbidden unless the caller may write templates of each of these types.

    A type that only the values or the overrides tell may become any, so it takes an admin.
    """
    for fields in templates:
        payload = fields.definition.get("taskPayload")
        if payload is None:
            continue
        kind = payload.get("type") if isinstance(payload, Mapping) else None
        if isinstance(kind, str) and "${" not in kind:
            needed, what = Role(role_needed(executors.get(kind))), f"of type {kind[:64]}"
        else:
            needed, what = Role.ADMIN, "whose taskPayload.type is not written out"
        role = _role(caller, fields.namespace)
        if not role.reaches(needed):
            where = fields.namespace or "all namespaces"
            raise Forbidden(f"to write templates {what} takes the role {needed}; in {where} you have {role}")


def _role(caller: Caller, namespace: str | None) -> Role:
    if caller.roles is None or namespace is None:
        return caller.role
    return caller.roles.get(namespace, caller.role)
