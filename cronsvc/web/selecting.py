"""What the selectors of jobs have in common: what is left out of one selects nothing, and null is refused.

A program that writes `"group": null` may mean a value that it lacks, and would reach every job.
"""

from typing import Any

from pydantic import ConfigDict, field_validator

from cronsvc.services.bulk_pausing import MISREAD
from cronsvc.web.models import RequestModel

_MEMBERS = {
    "tags": "tags",
    "namespace": "namespace",
    "group": "group",
    "queue": "queue",
    "name_prefix": "namePrefix",
    "job_ids": "jobIds",
}


def _without_null(schema: dict[str, Any]) -> None:
    """Do not offer what is refused."""
    for name in _MEMBERS.values():
        field = schema["properties"].get(name, {})
        if "anyOf" in field:
            (branch,) = [branch for branch in field.pop("anyOf") if branch.get("type") != "null"]
            field.pop("default")
            field.update(branch)


class Selecting(RequestModel):
    """A body, or a part of one, that says which jobs."""

    model_config = ConfigDict(json_schema_extra=_without_null)

    @field_validator(*_MEMBERS, mode="before", check_fields=False)
    @classmethod
    def _given(cls, value: Any) -> Any:
        if value is None:
            raise ValueError(MISREAD)
        return value
