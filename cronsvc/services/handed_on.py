"""Params that one execution hands to another: made of data, perhaps a stranger's; nobody with a role asked for them.

Promise: they choose no secrets, reach no job type that only admins may give params to, and where a job names secrets
they change neither where it sends them nor how. Workers ask before anything is begun, so a child says what was wrong.
"""

from collections.abc import Mapping
from typing import Any

from cronsvc.domain.execution import ErrorDetail
from cronsvc.domain.job import JobDefinition
from cronsvc.domain.secret_references import names
from cronsvc.executors.base import Executor
from cronsvc.executors.options import DEFAULT_ROLE, role_needed, routing


def fault_of_handed_on(
    executor: Executor, definition: JobDefinition, params: Mapping[str, Any] | None
) -> ErrorDetail | None:
    """Why this job may not run with params that another execution handed on, or None."""
    if not params:
        return None
    if names(params):
        return _fault("cannot name secrets")
    payload = definition.task_payload
    if (role := role_needed(executor)) != DEFAULT_ROLE:
        return _fault(f"cannot be given to jobs of type {payload.type}: that takes the role {role}")
    touched = sorted(params.keys() & set(routing(executor)))
    if touched and names(payload.config):
        return _fault(f"cannot set {', '.join(touched)} of a job that names secrets: it decides where they are sent")
    return None


def _fault(reason: str) -> ErrorDetail:
    return ErrorDetail("invalid_config", f"params that another execution handed on {reason}")
