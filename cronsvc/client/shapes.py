"""What the generated models have in common: snake_case here, the API's camelCase on the wire.

An answer ignores what a newer service adds, so that a client survives an upgrade of the service. A model is built when
it is first needed: there are many, and a command uses a few.
"""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, SkipValidation
from pydantic.alias_generators import to_camel

W = TypeVar("W")

Open = Annotated[W, SkipValidation]
"""One of these words as far as is known; a newer service may say another."""


def api_name(name: str) -> str:
    """The name in JSON: `fire_times` is `fireTimes`, and `from_` is `from`."""
    return to_camel(name.rstrip("_"))


class Answer(BaseModel):
    """What the service answers with, or a part of it."""

    model_config = ConfigDict(
        alias_generator=api_name,
        extra="ignore",
        frozen=True,
        validate_by_name=True,
        validate_by_alias=True,
        defer_build=True,
    )


class Versioned(Answer):
    """Something that has revisions."""

    revision: int

    @property
    def etag(self) -> str:
        """What `if_match=` takes, so that a change is made to this revision or not at all."""
        return f'"{self.revision}"'


class Part(BaseModel):
    """A part of a request. What is not given is not sent."""

    model_config = ConfigDict(
        alias_generator=api_name,
        extra="forbid",
        frozen=True,
        validate_by_name=True,
        validate_by_alias=True,
        defer_build=True,
    )
