"""Between the domain and the models of dependencies."""

from collections.abc import Mapping, Sequence
from typing import Any

from cronsvc.domain.dependencies import DependencyError, DependsOn, depends_on_json, read_depends_on
from cronsvc.domain.execution import Status
from cronsvc.errors import InvalidInput
from cronsvc.web.dependency_models import (
    CauseAnswer,
    DependsOnAnswer,
    DependsOnIn,
    NamedUpstreamAnswer,
    UpstreamAnswer,
)


def depends_on_of(body: DependsOnIn | None) -> DependsOn | None:
    """What a caller wants to wait for; InvalidInput names the member that means nothing."""
    if body is None:
        return None
    try:
        return read_depends_on(body.model_dump(mode="json", by_alias=True, exclude_unset=True))
    except DependencyError as error:
        field = f"dependsOn.{error.field}" if error.field else "dependsOn"
        raise InvalidInput.of(field, error.reason) from None


def depends_on_answer(wanted: DependsOn | None) -> DependsOnAnswer | None:
    """What a job waits for, as it could be sent back."""
    if wanted is None:
        return None
    return DependsOnAnswer(mode=wanted.mode, on=[_upstream(each) for each in depends_on_json(wanted)["on"]])


def _upstream(said: Mapping[str, Any]) -> UpstreamAnswer | NamedUpstreamAnswer:
    condition = said.get("condition")
    if "jobId" in said:
        return UpstreamAnswer(job_id=said["jobId"], when=said["when"], condition=condition)
    return NamedUpstreamAnswer(job=said["job"], when=said["when"], condition=condition)


def causes_answer(causes: Sequence[Mapping[str, Any]] | None) -> list[CauseAnswer]:
    """The ends that brought an execution about."""
    return [
        CauseAnswer(
            execution_id=cause["executionId"],
            job_id=cause["jobId"],
            job_name=cause.get("jobName"),
            status=Status(cause["status"]),
            is_met=cause["isMet"],
            why=cause.get("why"),
        )
        for cause in causes or ()
    ]
