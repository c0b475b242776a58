"""What every model of the API has in common: camelCase outside, snake_case inside, strict, nothing unknown accepted.

`RequestModel` is what comes in (API names only), `QueryModel` what a query string may hold, `AnswerModel` what goes
out. The models of each subject are in `job_models`, `run_models` and `service_models`.
"""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class RequestModel(BaseModel):
    """A JSON body, or a part of one."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    # Names that answers have and requests do not: whoever sends one gets told so.
    read_only: ClassVar[frozenset[str]] = frozenset()


class QueryModel(BaseModel):
    """The query string of a route; fields bring their own reading of text."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class AnswerModel(BaseModel):
    """A JSON answer. Built from inside by its snake_case names, so that a typing slip fails at once."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        validate_by_name=True,
        validate_by_alias=True,
        json_schema_serialization_defaults_required=True,
    )


def api_names(model: type[BaseModel]) -> list[str]:
    """The names a model's fields have in JSON, in order."""
    return [field.alias or name for name, field in model.model_fields.items()]
